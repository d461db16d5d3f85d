"""The colours of the page: text can be read on every ground it stands on, by day and by night (WCAG 2.2, AA)."""

import re
from importlib.resources import files

import pytest

from ruleshift.report.palette import COLOURS, INK, SOFT_INK, START_COLOUR

CSS = files("ruleshift.report").joinpath("web", "page.css").read_text()
DAY, NIGHT = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", CSS)[:2])
TEXT, LARGE = 4.5, 3.0  # least ratio of text, and of marks, lines and large text
GROUNDS = ("page", "card", "wash")
PAIRS = [(text, ground) for text in ("ink", "soft", "focus") for ground in GROUNDS]
PAIRS += [("ink", "said"), ("soft", "said"), *((word, f"{word}-wash") for word in ("good", "fair", "bad"))]


def luminance(colour: str) -> float:
    """Relative luminance of #rgb or #rrggbb (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_that_of_the_standard() -> None:
    assert ratio("#000", "#ffffff") == pytest.approx(21)
    assert ratio("#777777", "#fff") == pytest.approx(4.48, abs=0.01)  # known to fail, narrowly


@pytest.mark.parametrize("scheme", [DAY, NIGHT], ids=["day", "night"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_can_be_read(scheme: dict[str, str], text: str, ground: str) -> None:
    assert ratio(scheme[text], scheme[ground]) >= TEXT


@pytest.mark.parametrize("colour", [*COLOURS, START_COLOUR])
def test_arms_are_seen_by_day(colour: str) -> None:
    assert ratio(colour, DAY["page"]) >= LARGE


@pytest.mark.parametrize("colour", [*COLOURS, "#aeb6bf"])  # the start is lighter by night
def test_arms_are_seen_by_night(colour: str) -> None:
    assert ratio(colour, NIGHT["page"]) >= LARGE


def test_figures_can_be_read() -> None:
    assert min(ratio(INK, "#fff"), ratio(SOFT_INK, "#fff")) >= TEXT
