"""Letters and digits of our own: middle lines, drawn with a pen whose proportions are the style.

Lines live in a box 100 high. Ends that are to be cut level lie beyond it.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from ruleshift.tasks.generalpoints.pictures.paths import (
    Pen,
    Polygon,
    Shape,
    cut,
    ellipse,
    outline,
    place,
    rectangle,
    stroke,
)


@dataclass(frozen=True)
class Lettering:
    """A way of writing: width of upright strokes and of level ones (parts of 100 of the height), width of the letters
    against the normal, how far they lean (top to the right, as a share of the height), feet, and round ends."""

    thick: float = 18
    thin: float = 12
    width: float = 1.0
    lean: float = 0.0
    feet: bool = False
    round_ends: bool = False


@dataclass(frozen=True)
class Sign:
    """A rank: its width, its lines, where feet stand (x, y), and how thick its uprights are against other ranks'."""

    width: float
    lines: tuple[str, ...]
    feet: tuple[tuple[float, float], ...] = ()
    thick: float = 1.0


SIGNS = {
    "A": Sign(80, ("M -7 120 L 36 0 L 44 0 L 87 120", "M 14 68 L 66 68"), ((1, 100), (79, 100))),
    "2": Sign(
        62,
        (
            "M 3 30 C 3 11 15 0 31 0 C 48 0 60 10 60 26 C 60 42 49 53 34 66 C 18 80 7 88 4 106",
            "M -4 100 L 64 100",
        ),
    ),
    "3": Sign(
        60,
        (
            "M 3 20 C 8 7 17 0 29 0 C 45 0 56 9 56 24 C 56 38 46 47 28 47",
            "M 22 47 C 47 47 60 56 60 73 C 60 90 47 100 29 100 C 14 100 4 92 0 79",
        ),
    ),
    "4": Sign(66, ("M 49 120 L 49 0 L 44 0 L 0 70 L 70 70",), ((49, 100),)),
    "5": Sign(
        60,
        (
            "M 56 0 L 11 0 L 6 52",
            "M 6 49 C 14 42 22 38 31 38 C 48 38 60 50 60 68 C 60 87 48 100 29 100 C 14 100 4 92 0 80",
        ),
    ),
    "6": Sign(62, ("M 53 8 C 48 3 42 0 35 0 C 14 0 0 28 0 68", ellipse(31, 68, 31, 32))),
    "7": Sign(60, ("M 0 20 L 0 0 L 60 0 C 40 34 26 64 20 120",)),
    "8": Sign(62, (ellipse(31, 24, 26, 24), ellipse(31, 73, 31, 27))),
    "9": Sign(62, ("M 9 92 C 14 97 20 100 27 100 C 48 100 62 72 62 32", ellipse(31, 32, 31, 32))),
    "10": Sign(70, ("M 7 120 L 7 -20", "M -8 24 L 7 7", ellipse(52, 50, 18, 50)), thick=0.8),
    "J": Sign(54, ("M 46 -20 L 46 66 C 46 89 37 100 23 100 C 9 100 0 90 0 74",), ((46, 0),)),
    "Q": Sign(76, (ellipse(37, 50, 37, 50), "M 42 68 L 82 108")),
    "K": Sign(76, ("M 6 -20 L 6 120", "M 84 -16 L 8 64", "M 33 40 L 87 120"), ((6, 0), (6, 100), (66, 0), (72, 100))),
}


@cache
def sign(rank: str, lettering: Lettering) -> tuple[Shape, float, float]:
    """A rank 100 high from y = 0 down, and where it begins and ends on x. Raises KeyError for an unknown one."""
    drawn = SIGNS[rank]
    across, down = lettering.thick * drawn.thick / 2, lettering.thin / 2
    pen = Pen(across, down, lettering.round_ends)
    fit = lettering.width, (100 - 2 * down) / 100  # lines are fitted into what the pen's thickness leaves of the box
    parts = [cut(part, 0, 100) for line in drawn.lines for part in stroke(_fitted(line, across, down, fit), pen)]
    if lettering.feet:
        parts += [part for x, y in drawn.feet for part in _foot(across + x * fit[0], y, lettering)]
    shape = tuple(_leaning(part, lettering.lean) for part in parts if len(part))
    return shape, min(float(part[:, 0].min()) for part in shape), max(float(part[:, 0].max()) for part in shape)


def _leaning(part: Polygon, lean: float) -> Polygon:
    return np.stack((part[:, 0] + lean * (50 - part[:, 1]), part[:, 1]), axis=1)


def _fitted(path: str, x: float, y: float, fit: tuple[float, float]) -> str:
    """The path with its points scaled and moved."""
    words = path.split()
    places = [number for number, word in enumerate(words) if not word.isalpha()]
    for turn, number in enumerate(places):
        value = float(words[number])
        words[number] = repr(y + value * fit[1] if turn % 2 else x + value * fit[0])
    return " ".join(words)


def _foot(x: float, y: float, lettering: Lettering) -> Shape:
    reach, height = lettering.thick * 0.5 + 9, lettering.thin * 0.8
    top = 0.0 if y == 0 else 100 - height
    return outline(rectangle(x - reach, top, x + reach, top + height))


def write(rank: str, lettering: Lettering, x: float, y: float, height: float, widest: float) -> Shape:
    """A rank, its middle at (x, y), `height` high, and no wider than `widest`."""
    shape, left, right = sign(rank, lettering)
    down = height / 100
    across = min(down, widest / (right - left))
    return place(shape, x - across * (left + right) / 2, y - height / 2, across, down)
