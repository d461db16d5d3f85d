"""Points, segments and polygons on a plane in metres."""

import math
from collections.abc import Sequence

XY = tuple[float, float]


def toward(start: XY, end: XY, metres: float) -> XY:
    """The point `metres` away from `start` in the direction of `end`."""
    share = metres / math.dist(start, end)
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def turned(at: XY, degrees: float) -> XY:
    """The point turned clockwise around (0, 0)."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return at[0] * cosine + at[1] * sine, at[1] * cosine - at[0] * sine


def gap(at: XY, start: XY, end: XY) -> float:
    """Metres from a point to the nearest point of a segment."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    share = ((at[0] - start[0]) * dx + (at[1] - start[1]) * dy) / (dx * dx + dy * dy)
    share = min(1.0, max(0.0, share))
    return math.hypot(at[0] - start[0] - share * dx, at[1] - start[1] - share * dy)


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


def angle_between(first: float, second: float) -> float:
    """Degrees between two headings, in [0, 180]."""
    return abs((first - second + 180) % 360 - 180)
