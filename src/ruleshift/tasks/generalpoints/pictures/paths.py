"""Shapes as polygons: outlines from path strings, and strokes of an elliptical pen.

Only additions, products, quotients and square roots of doubles are used, which IEEE 754 fixes to the last bit; so a
polygon is the same on every machine. A shape is a tuple of polygons, each an array (N, 2) of x and y (y downwards),
counter-clockwise or clockwise: what a polygon adds inside is +1 or -1, so a hole is a ring turned the other way.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]  # (N, 2)
Shape = tuple[Polygon, ...]
Point = tuple[float, float]

CURVE_STEPS = 16
ARC = 0.5522847498307936  # control points of a quarter circle
HALF_TURN = ((0.9238795325112867, 0.3826834323650898), 8)  # cosine and sine of 22.5 degrees; how many make 180


@dataclass(frozen=True)
class Pen:
    """An ellipse that strokes are drawn with: half its width and height. `round_ends` shows it at the ends."""

    across: float
    down: float
    round_ends: bool = False


def curves(path: str) -> Iterator[tuple[list[Point], bool]]:
    """The lines of a path and whether they are closed. Absolute `M x y`, `L x y`, `Q x y x y`, `C x y x y x y`, `Z`."""
    words = iter(path.split())
    points: list[Point] = []
    for command in words:
        if command == "M":
            if points:
                yield points, False
            points = [_point(words)]
        elif command == "Z":
            yield points, True
            points = []
        else:
            controls = [_point(words) for _ in range({"L": 1, "Q": 2, "C": 3}[command])]
            points += [controls[0]] if command == "L" else _bezier([points[-1], *controls])
    if points:
        yield points, False


def _point(words: Iterator[str]) -> Point:
    return float(next(words)), float(next(words))


def _bezier(controls: Sequence[Point]) -> list[Point]:
    """Points on a curve of any degree (de Casteljau), the first left out."""
    points = []
    for step in range(1, CURVE_STEPS + 1):
        share = step / CURVE_STEPS
        level = list(controls)
        while len(level) > 1:
            level = [(a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share) for a, b in pairwise(level)]
        points += level
    return points


@cache
def outline(path: str) -> Shape:
    """The area inside a path. Every line is closed and fills; where lines overlap, the area is filled once."""
    return tuple(_turned(points, 1) for points, _ in curves(path))


def ellipse(x: float, y: float, across: float, down: float) -> str:
    """The path of an ellipse around (x, y) with half its width and half its height."""
    a, b = across * ARC, down * ARC
    return (
        f"M {x - across} {y} C {x - across} {y - b} {x - a} {y - down} {x} {y - down} "
        f"C {x + a} {y - down} {x + across} {y - b} {x + across} {y} "
        f"C {x + across} {y + b} {x + a} {y + down} {x} {y + down} "
        f"C {x - a} {y + down} {x - across} {y + b} {x - across} {y} Z"
    )


def rectangle(left: float, top: float, right: float, bottom: float, radius: float = 0) -> str:
    """The path of a rectangle with rounded corners."""
    if not radius:
        return f"M {left} {top} L {right} {top} L {right} {bottom} L {left} {bottom} Z"
    c = radius * (1 - ARC)
    return (
        f"M {left + radius} {top} L {right - radius} {top} "
        f"C {right - c} {top} {right} {top + c} {right} {top + radius} L {right} {bottom - radius} "
        f"C {right} {bottom - c} {right - c} {bottom} {right - radius} {bottom} L {left + radius} {bottom} "
        f"C {left + c} {bottom} {left} {bottom - c} {left} {bottom - radius} L {left} {top + radius} "
        f"C {left} {top + c} {left + c} {top} {left + radius} {top} Z"
    )


@cache
def stroke(path: str, pen: Pen) -> Shape:
    """The area that a pen covers when its middle follows a path."""
    shape: list[Polygon] = []
    for points, closed in curves(path):
        points = _without_repeats(points, closed)
        left, right = _side(points, pen, closed, 1), _side(points, pen, closed, -1)
        if closed:
            outer, inner = sorted((left, right), key=lambda side: -abs(_area(side)))
            shape += [_turned(outer, 1), _turned(inner, -1)]
        else:
            end, start = _cap(left[-1], points[-1], pen), _cap(right[0], points[0], pen)
            shape.append(_turned([*left, *end, *right[::-1], *start], 1))
    return tuple(shape)


def _without_repeats(points: Sequence[Point], closed: bool) -> list[Point]:
    kept = [point for point, before in zip(points, [None, *points[:-1]], strict=True) if point != before]
    return kept[:-1] if closed and kept[0] == kept[-1] else kept


def _side(points: Sequence[Point], pen: Pen, closed: bool, sign: int) -> list[Point]:
    """The line along one side of a stroke: pieces moved by the pen's reach, met at their crossings."""
    ends = [*points[1:], points[0]] if closed else points[1:]
    pieces = [_moved(a, b, pen, sign) for a, b in zip(points, ends, strict=False)]
    side = [] if closed else [pieces[0][0]]
    for number in range(0 if closed else 1, len(pieces)):
        side += _join(pieces[number - 1], pieces[number], sign)
    return side if closed else [*side, pieces[-1][1]]


def _moved(a: Point, b: Point, pen: Pen, sign: int) -> tuple[Point, Point]:
    """The piece from a to b, moved sideways to where the pen's edge runs parallel to it."""
    nx, ny = b[1] - a[1], a[0] - b[0]
    scale = sign / math.sqrt((pen.across * nx) ** 2 + (pen.down * ny) ** 2)
    dx, dy = pen.across * pen.across * nx * scale, pen.down * pen.down * ny * scale
    return (a[0] + dx, a[1] + dy), (b[0] + dx, b[1] + dy)


def _join(before: tuple[Point, Point], after: tuple[Point, Point], sign: int) -> list[Point]:
    """Where two pieces meet: their crossing; at the outside of a sharp corner, a straight cut."""
    (ax, ay), (bx, by) = before
    (cx, cy), (dx, dy) = after
    ux, uy, vx, vy = bx - ax, by - ay, dx - cx, dy - cy
    cross, along = ux * vy - uy * vx, ux * vx + uy * vy
    size = math.sqrt((ux * ux + uy * uy) * (vx * vx + vy * vy))
    if abs(cross) < 1e-6 * size or (along < -0.7 * size and cross * sign > 0):
        return [(bx, by), (cx, cy)]
    share = ((cx - bx) * vy - (cy - by) * vx) / cross
    return [(bx + ux * share, by + uy * share)]


def _cap(start: Point, middle: Point, pen: Pen) -> list[Point]:
    """Points around the end of a stroke, from its one side to the other; none where it is cut straight."""
    if not pen.round_ends:
        return []
    (cosine, sine), steps = HALF_TURN
    x, y = (start[0] - middle[0]) / pen.across, (start[1] - middle[1]) / pen.down
    points = []
    for _ in range(1, steps):
        x, y = x * cosine - y * sine, x * sine + y * cosine
        points.append((middle[0] + x * pen.across, middle[1] + y * pen.down))
    return points


def _area(points: Sequence[Point]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, [*points[1:], points[0]], strict=True)) / 2


def _turned(points: Sequence[Point], sign: int) -> Polygon:
    """The polygon, turned so that it adds `sign` inside."""
    return np.array(points[::-1] if _area(points) * sign < 0 else points, np.float64)


def cut(polygon: Polygon, top: float, bottom: float) -> Polygon:
    """The part of a polygon between two heights."""
    for height, sign in ((top, 1.0), (bottom, -1.0)):
        kept: list[Point] = []
        for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if (ay - height) * sign >= 0:
                kept.append((ax, ay))
            if (ay - height) * (by - height) < 0:
                kept.append((ax + (bx - ax) * (height - ay) / (by - ay), height))
        polygon = np.array(kept, np.float64).reshape(-1, 2)
    return polygon


def place(shape: Shape, x: float, y: float, across: float, down: float) -> Shape:
    """The shape scaled, then moved. A half turn is `across` and `down` both below 0."""
    return tuple(polygon * np.array((across, down)) + np.array((x, y)) for polygon in shape)
