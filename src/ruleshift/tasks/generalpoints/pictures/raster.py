"""Polygons to pixels, in integers: the same coverage on every machine.

Shapes are turned and scaled to 1/256 of a pixel. Each row of pixels is crossed by 16 lines; along a line the covered
part of every pixel is exact. A pixel's coverage is the mean of the 16, in 0..256.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ruleshift.tasks.generalpoints.pictures.paths import Shape

Mask = NDArray[np.uint16]  # (H, W), 0..256
GRID = 256  # positions in a pixel
LINES = 16  # lines across a pixel
UNIT = 64  # parts of a unit of the drawing
TURN = 1 << 14


@dataclass(frozen=True)
class Viewport:
    """How a drawing gets on a canvas (height, width): `zoom` = (pixels, units), turned clockwise by `angle` degrees
    around `pivot` (in units), which lands in the middle of the canvas."""

    height: int
    width: int
    zoom: tuple[int, int]
    angle: int
    pivot: tuple[int, int]


def turn(angle: int) -> tuple[int, int]:
    """Cosine and sine of whole degrees in parts of `TURN`. No value is near enough to a half to round two ways."""
    radians = math.radians(angle % 360)
    return round(math.cos(radians) * TURN), round(math.sin(radians) * TURN)


def coverage(shape: Shape, view: Viewport) -> tuple[Mask, int, int]:
    """How much of each pixel a shape covers (0 to 256), in the box that it touches; the box's top row and left column.

    What several polygons cover counts once; only in pixels that edges cross do their shares add up, to 256 at most.
    What lies outside the canvas is cut off; the box may be empty.
    """
    starts, ends = _edges(shape, view)
    top, bottom = _span(starts[:, 1], view.height)
    left, right = _span(starts[:, 0], view.width)
    height, width = bottom - top, right - left
    if height <= 0 or width <= 0:
        return np.zeros((0, 0), np.uint16), 0, 0
    row, x, sign = _crossings(starts, ends, top, bottom)
    x = np.clip(x - left * GRID, 0, width * GRID)
    column, part = x // GRID, x % GRID
    cells = row * (width + 2) + column
    size = height * (width + 2)
    added = np.bincount(cells, sign * (GRID - part), size) + np.bincount(cells + 1, sign * part, size)
    summed = added.astype(np.int64).reshape(height, width + 2).cumsum(axis=1)[:, :width]
    covered = np.minimum(np.abs(summed), LINES * GRID)
    return ((covered + LINES // 2) // LINES).astype(np.uint16), top, left


def _edges(shape: Shape, view: Viewport) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end points of all edges on the canvas, (N, 2), in 1/256 pixels."""
    cosine, sine = turn(view.angle)
    pixels, units = view.zoom
    x, y = np.rint((np.concatenate(shape) - np.array(view.pivot)) * UNIT).astype(np.int64).T
    points = np.stack((x * cosine - y * sine, x * sine + y * cosine), axis=1)
    scaled = points * (pixels * GRID) // (units * UNIT * TURN) + np.array((view.width, view.height)) * GRID // 2
    lengths = np.array([len(polygon) for polygon in shape])
    lasts = np.cumsum(lengths) - 1
    following = np.arange(1, len(scaled) + 1)
    following[lasts] = lasts - lengths + 1
    return scaled, scaled[following]


def _span(values: NDArray[np.int64], size: int) -> tuple[int, int]:
    """The pixels that these positions lie in, within the canvas."""
    return max(0, int(values.min()) // GRID), min(size, int(values.max()) // GRID + 1)


def _crossings(
    starts: NDArray[np.int64], ends: NDArray[np.int64], top: int, bottom: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where edges cross the lines of the rows from `top` to `bottom`: row, x in 1/256 pixels, and direction."""
    step = GRID // LINES
    sign = np.sign(ends[:, 1] - starts[:, 1])
    upper = np.where((sign > 0)[:, None], starts, ends)
    lower = np.where((sign > 0)[:, None], ends, starts)
    first = np.maximum(-((step // 2 - upper[:, 1]) // step), top * LINES)
    last = np.minimum(-((step // 2 - lower[:, 1]) // step), bottom * LINES)
    counts = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(counts)), counts)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    run, rise = (lower - upper).T
    slope = run / np.maximum(rise, 1)
    x = upper[edge, 0] + np.floor((line * step + step // 2 - upper[edge, 1]) * slope[edge]).astype(np.int64)
    return line // LINES - top, x, sign[edge]
