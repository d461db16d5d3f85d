"""Pictures for surfaces, with smaller copies of each (mip maps), in one array that a renderer can index.

Everything is whole numbers, so that the copies are the same on every machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHIFT = float(1 << 40)  # 1/256 of texels, a multiple of every picture's sides, so that no place is below zero
LEVELS = 10  # copies of a picture at most, so that it has at most 512 x 512 texels


@dataclass(frozen=True)
class Textures:
    """All pictures: `texels` (texels, 4) uint8 of red, green, blue, opacity; `table` (pictures, 3 + LEVELS) int64
    with log2 of columns, log2 of rows, the last level, and where each level begins."""

    texels: np.ndarray
    table: np.ndarray


class Atlas:
    """Collects pictures."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._table: list[list[int]] = []
        self._size = 0

    def add(self, picture: np.ndarray) -> int:
        """The number of a picture, (rows, columns, 4) uint8, both powers of two."""
        rows, columns = picture.shape[:2]
        wide, high = columns.bit_length() - 1, rows.bit_length() - 1
        if 1 << wide != columns or 1 << high != rows or max(wide, high) >= LEVELS:
            raise ValueError(f"a picture of {columns} x {rows} texels fits no atlas")
        starts: list[int] = []
        while True:
            starts.append(self._size)
            self._parts.append(picture.reshape(-1, 4))
            self._size += picture.shape[0] * picture.shape[1]
            if picture.shape[:2] == (1, 1):
                break
            picture = _halved(picture)
        self._table.append([wide, high, len(starts) - 1, *starts, *[0] * (LEVELS - len(starts))])
        return len(self._table) - 1

    def textures(self) -> Textures:
        return Textures(np.concatenate(self._parts), np.array(self._table, np.int64))


def _halved(picture: np.ndarray) -> np.ndarray:
    """Half as many rows and columns (one stays one): colours by opacity, so that what is clear has no say."""
    rows, columns = picture.shape[:2]
    whole = picture.astype(np.int32)
    parts = [whole[i::2, j::2] for i in range(min(rows, 2)) for j in range(min(columns, 2))]
    opacity = np.add.reduce([part[..., 3:] for part in parts])
    colour = np.add.reduce([part[..., :3] * part[..., 3:] for part in parts]) // np.maximum(opacity, 1)
    plain = np.add.reduce([part[..., :3] for part in parts]) // len(parts)
    mean = (opacity + len(parts) // 2) // len(parts)
    return np.concatenate([np.where(opacity > 0, colour, plain), mean], -1).astype(np.uint8)


def padded(picture: np.ndarray) -> np.ndarray:
    """The picture in the upper left of a clear one with powers of two for sides, a clear texel around it."""
    rows, columns = picture.shape[:2]
    high, wide = 1 << (rows + 1).bit_length(), 1 << (columns + 1).bit_length()
    found = np.zeros((high, wide, 4), np.uint8)
    found[..., :3] = picture.reshape(-1, 4)[0, :3]
    found[1 : rows + 1, 1 : columns + 1] = picture
    return found


def in_colour(coverage: np.ndarray, colour: Sequence[int] = (255, 255, 255)) -> np.ndarray:
    """A picture (rows, columns, 4) of one colour, as opaque as `coverage` (rows, columns) uint8 says."""
    return np.concatenate([np.broadcast_to(np.array(colour, np.uint8), (*coverage.shape, 3)), coverage[..., None]], -1)
