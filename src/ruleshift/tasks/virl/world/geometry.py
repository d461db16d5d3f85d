"""Points, segments and polygons on a plane in metres."""

import math
from collections.abc import Sequence

from ruleshift.tasks.virl.world.graph import XY


def turned(at: XY, degrees: float) -> XY:
    """The point turned clockwise around (0, 0)."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return at[0] * cosine + at[1] * sine, at[1] * cosine - at[0] * sine


def crossing(a: XY, b: XY, c: XY, d: XY) -> float | None:
    """Where segment a-b meets segment c-d, as a share of the way from a to b; None where they do not meet."""
    across = _cross(b, a, d, c)
    if across == 0:
        return None
    share, other = _cross(c, a, d, c) / across, _cross(c, a, b, a) / across
    return share if 0 <= share <= 1 and 0 <= other <= 1 else None


def _cross(p: XY, q: XY, r: XY, s: XY) -> float:
    return (p[0] - q[0]) * (r[1] - s[1]) - (p[1] - q[1]) * (r[0] - s[0])


def inside(at: XY, polygon: Sequence[XY]) -> bool:
    """Whether a point lies in a polygon (even-odd rule)."""
    x, y = at
    odd = False
    for (ax, ay), (bx, by) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
            odd = not odd
    return odd
