"""Text that is nothing but text wherever the page puts it: JSON that cannot end a script element, the names by which
scripts are allowed, numbers as they are typeset."""

import base64
import hashlib
import json

import plotly.graph_objects as go
from markupsafe import Markup


def as_json(figure: go.Figure) -> Markup:
    """Plotly's JSON without any character that could end the element it stands in."""
    return _inert(figure.to_json(engine="json"))


def safe_json(content: object) -> Markup:
    """JSON without any character that could end the element it stands in."""
    return _inert(json.dumps(content, separators=(",", ":"), allow_nan=False))


def _inert(text: str) -> Markup:
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def csp_hash(script: str) -> str:
    """The name by which a content security policy allows an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def typeset(number: str) -> str:
    """A number with a true minus sign."""
    return number.replace("-", "\u2212")


def interval_in_words(interval: str) -> str:
    """ "[-3.0, 1.0]" as it stands in a sentence."""
    return typeset(interval.strip("[]").replace(", ", " to "))
