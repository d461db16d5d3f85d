"""Reading fields out of a model's reply: strictly, as JSON in the requested form, or tolerantly, out of any text.

All patterns are bounded and possessive, so that reading is linear in the length of the text.
"""

import json
import re
from collections.abc import Collection
from functools import lru_cache

MAX_REPLY = 100_000

_IS = r"""\s{0,20}+[:=]\*{0,2}+\s{0,20}+"""
_VALUE = r"""(?:"(?P<double>[^"\n]{0,400}+)"|'(?P<single>[^'\n]{0,400}+)'|["']?+(?P<bare>[^"'\n},]{1,400}+))"""
_CURLY_QUOTES = str.maketrans("“”„‘’", '"""\'\'')


def strict_fields(text: str, names: Collection[str]) -> dict | None:
    """The reply as a JSON object with exactly these fields, else None."""
    if len(text) > 4_000 or text.count("[") > 10 or text.count("{") > 1:
        return None
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) and set(fields) == set(names) else None


def plain_quotes(text: str) -> str:
    """The text with typographic quotes made plain."""
    return text.translate(_CURLY_QUOTES)


def tolerant_field(text: str, name: str) -> str | None:
    """The last value given to a field, quoted in any way, inside any amount of other text; None if there is none.

    A quoted name wins over a bare one, which may be prose.
    """
    quoted, bare = _patterns(name)
    found = last_match(quoted, text) or last_match(bare, text)
    return None if found is None else _value(found)


@lru_cache(maxsize=100)
def _patterns(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    words = re.escape(name)
    quoted = re.compile(r"""["'`]""" + words + r"""["'`]""" + _IS + _VALUE, re.IGNORECASE)
    return quoted, re.compile(words + r"""["'`*]{0,3}+""" + _IS + _VALUE, re.IGNORECASE)


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    match = None
    for match in pattern.finditer(text):  # noqa: B007
        pass
    return match


def _value(found: re.Match[str]) -> str:
    """The value of a matched field, JSON escapes resolved where they can be."""
    if found["double"] is None:
        return (found["single"] or found["bare"] or "").strip(" \t\r`$")
    try:
        return str(json.loads(f'"{found["double"]}"')).strip()
    except ValueError:
        return found["double"].strip()
