"""Drawing pictures in whole numbers: rectangles, discs, polygons and noise."""

from collections.abc import Sequence

import numpy as np

RGB = tuple[int, int, int]


def noise(rows: int, columns: int, seed: int) -> np.ndarray:
    """Whole numbers from 0 to 255 without pattern, (rows, columns), the same on every machine."""
    x = np.arange(columns, dtype=np.uint32)[None, :] * np.uint32(374761393)
    y = np.arange(rows, dtype=np.uint32)[:, None] * np.uint32(668265263)
    mixed = (x + y) ^ np.uint32(seed * 2246822519 & 0xFFFFFFFF)
    for multiplier, shift in ((2246822519, 13), (3266489917, 16), (668265263, 15)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(multiplier)
    return ((mixed ^ (mixed >> np.uint32(16))) & np.uint32(255)).astype(np.int64)


def smooth_noise(rows: int, columns: int, seed: int, cell: int) -> np.ndarray:
    """Noise from 0 to 255 in soft patches of `cell` texels, (rows, columns); repeats at the edges."""
    coarse = noise(rows // cell, columns // cell, seed)
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    top, left = y // cell, x // cell
    low, right = (top + 1) % (rows // cell), (left + 1) % (columns // cell)
    b, a = y % cell, x % cell
    upper = coarse[top, left] * (cell - a) + coarse[top, right] * a
    lower = coarse[low, left] * (cell - a) + coarse[low, right] * a
    return (upper * (cell - b) + lower * b) // (cell * cell)


def mixed(a: RGB, b: RGB, share: int) -> RGB:
    """A colour between two, `share` of 256 of the way to `b`."""
    return tuple(x + ((y - x) * share >> 8) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def shade(colour: RGB, by: int) -> RGB:
    """The colour times `by` / 256."""
    return tuple(min(255, x * by >> 8) for x in colour)  # type: ignore[return-value]


class Sheet:
    """A picture in the making, (rows, columns, 4) int64; places are texels from the upper left."""

    def __init__(self, columns: int, rows: int, colour: RGB = (0, 0, 0), opacity: int = 255) -> None:
        self.texels = np.zeros((rows, columns, 4), np.int64)
        self.texels[:] = (*colour, opacity)

    def box(self, left: int, top: int, right: int, low: int, colour: RGB, opacity: int = 255) -> None:
        """A rectangle, up to but without `right` and `low`."""
        self.texels[max(top, 0) : max(low, 0), max(left, 0) : max(right, 0)] = (*colour, opacity)

    def ramp(self, left: int, top: int, right: int, low: int, upper: RGB, lower: RGB) -> None:
        """A rectangle with colours that change from top to bottom."""
        for row in range(top, low):
            self.box(left, row, right, row + 1, mixed(upper, lower, 256 * (row - top) // max(low - top - 1, 1)))

    def disc(self, x: int, y: int, radius: int, colour: RGB, opacity: int = 255) -> None:
        rows, columns = self.texels.shape[:2]
        away = (np.arange(columns)[None, :] * 2 + 1 - 2 * x) ** 2 + (np.arange(rows)[:, None] * 2 + 1 - 2 * y) ** 2
        self.texels[away <= 4 * radius * radius] = (*colour, opacity)

    def polygon(self, points: Sequence[tuple[int, int]], colour: RGB, opacity: int = 255) -> None:
        """The texels whose middles lie inside."""
        rows, columns = self.texels.shape[:2]
        x, y = np.arange(columns)[None, :] + 0.5, np.arange(rows)[:, None] + 0.5
        odd = np.zeros((rows, columns), bool)
        for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
            if ay != by:
                odd ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ((bx - ax) / (by - ay)))
        self.texels[odd] = (*colour, opacity)

    def grain(self, amount: int, seed: int, cell: int = 1) -> None:
        """Make all texels lighter and darker by up to `amount` of 256."""
        rows, columns = self.texels.shape[:2]
        texture = noise(rows, columns, seed) if cell == 1 else smooth_noise(rows, columns, seed, cell)
        factor = 256 + ((texture - 128) * amount >> 7)
        self.texels[..., :3] = np.minimum(self.texels[..., :3] * factor[..., None] >> 8, 255)

    def lines(self, every: int, thick: int, by: int, upright: bool = False, shift: int = 0) -> None:
        """Make every so many rows (columns) darker or lighter, by / 256."""
        side = self.texels.shape[1 if upright else 0]
        chosen = (np.arange(side) + shift) % every < thick
        part = self.texels[:, chosen, :3] if upright else self.texels[chosen, :, :3]
        part = np.minimum(part * by >> 8, 255)
        if upright:
            self.texels[:, chosen, :3] = part
        else:
            self.texels[chosen, :, :3] = part

    def picture(self) -> np.ndarray:
        """(rows, columns, 4) uint8."""
        return self.texels.astype(np.uint8)
