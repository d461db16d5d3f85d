"""Points beside and along lines of points, in metres."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

from ruleshift.tasks.virl.world.graph import XY


def between(a: XY, b: XY, share: float) -> XY:
    """The point at a share of the way from a to b."""
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def direction(a: XY, b: XY) -> XY:
    """The unit vector from a to b; (0, 0) where they are one point."""
    far = math.dist(a, b)
    return ((b[0] - a[0]) / far, (b[1] - a[1]) / far) if far else (0.0, 0.0)


def foot(at: XY, a: XY, b: XY) -> float:
    """The share of the way from a to b at which the straight line through them is nearest to a point."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    square = dx * dx + dy * dy
    return ((at[0] - a[0]) * dx + (at[1] - a[1]) * dy) / square if square else 0.0


def nearest(at: XY, line: Sequence[XY]) -> tuple[float, int, float]:
    """Where on a line the point nearest to `at` is: metres away, step of the line, share of that step."""
    found = []
    for step, (a, b) in enumerate(pairwise(line)):
        share = min(1.0, max(0.0, foot(at, a, b)))
        found.append((math.dist(at, between(a, b, share)), step, share))
    return min(found)


def onto(at: XY, line: Sequence[XY]) -> XY:
    """The point of a line that is nearest to `at`."""
    _, step, share = nearest(at, line)
    return between(line[step], line[step + 1], share)


def marks(line: Sequence[XY]) -> list[float]:
    """Metres along a line of its points, the first of them 0."""
    return list(accumulate((math.dist(a, b) for a, b in pairwise(line)), initial=0.0))


def point_at(line: Sequence[XY], metres: float) -> tuple[XY, XY]:
    """The point so many metres along a line, or its end, and the line's direction there."""
    for a, b in pairwise(line):
        step = math.dist(a, b)
        if step and metres <= step:
            return between(a, b, metres / step), direction(a, b)
        metres -= step
    return line[-1], direction(line[-2], line[-1])


def rounded(at: XY) -> XY:
    """To the centimetre, so that the last digits of a cosine make no difference between machines."""
    return round(at[0], 2), round(at[1], 2)
