"""Table tops and lamps, in integers."""

import numpy as np
from numpy.typing import NDArray

from ruleshift.tasks.generalpoints.pictures.styles import Light, Table

Pixels = NDArray[np.uint16]  # (H, 3 W)
Size = tuple[int, int]  # height, width


def table_top(table: Table, size: Size) -> Pixels:
    """The colours of a table, 0..255."""
    share = {"felt": _felt, "wood": _wood, "checks": _checks}[table.material](size)[:, :, None]
    first, second = np.array(table.colour, np.int64), np.array(table.second, np.int64)
    return _flat((first * (256 - share) + second * share) >> 8)


def lamp(light: Light, size: Size) -> Pixels:
    """What every channel is multiplied by, 0..256: darker with the square of the distance from the lamp."""
    height, width = size
    side = max(size)
    y = (_line(height) - height * light.lamp[1] // 100)[:, None] * 1024 // side
    x = (_line(width) - width * light.lamp[0] // 100)[None, :] * 1024 // side
    squares = x * x + y * y
    share = 256 - light.falloff * squares // int(squares.max())
    return _flat((share[:, :, None] * np.array(light.tint, np.int64)) >> 8)


def _flat(pixels: NDArray[np.int64]) -> Pixels:
    return pixels.astype(np.uint16).reshape(pixels.shape[0], -1)


def _felt(size: Size) -> NDArray[np.int64]:
    """Fibres of about a five-hundredth of the picture, and slow changes of tone."""
    fine, slow = max(1, max(size) // 512), max(1, max(size) // 6)
    return (_noise(size, (fine, fine), 1) * 3 + _noise(size, (slow, slow), 2) * 5) >> 3


def _wood(size: Size) -> NDArray[np.int64]:
    """Planks from left to right with grain along them and dark seams."""
    side = max(size)
    plank = max(8, side // 5)
    rows = _line(size[0])[:, None]
    grain = _noise(size, (max(1, side // 220), max(2, side // 5)), 3)
    bands = _noise(size, (max(1, side // 40), max(2, side // 2)), 4)
    tone = _hash(rows // plank, np.zeros((1, size[1]), np.int64), 5) >> 2
    seam = np.where(rows % plank < max(1, side // 240), 150, 0)
    return np.minimum(((grain * 2 + bands * 3) >> 3) + tone + seam, 256)


def _checks(size: Size) -> NDArray[np.int64]:
    """Woven checks: stripes both ways, darkest where they cross."""
    cell = max(3, max(size) // 14)
    across, down = (_line(length) // cell % 2 * 112 for length in (size[1], size[0]))
    thread = max(1, max(size) // 400)
    return across[None, :] + down[:, None] + (_noise(size, (thread, thread), 6) >> 4)


def _noise(size: Size, cell: Size, seed: int) -> NDArray[np.int64]:
    """Chance values 0..255 on a grid of cells, joined smoothly in between."""
    y, x = _line(size[0])[:, None], _line(size[1])[None, :]
    row, column = y // cell[0], x // cell[1]
    down, across = _smooth(y % cell[0], cell[0]), _smooth(x % cell[1], cell[1])
    upper = _mixed(_hash(row, column, seed), _hash(row, column + 1, seed), across)
    lower = _mixed(_hash(row + 1, column, seed), _hash(row + 1, column + 1, seed), across)
    return _mixed(upper, lower, down) >> 16


def _line(length: int) -> NDArray[np.int64]:
    return np.arange(length, dtype=np.int64)


def _mixed(first: NDArray[np.int64], second: NDArray[np.int64], share: NDArray[np.int64]) -> NDArray[np.int64]:
    """256 times what lies between two values, at a share of 256 from the first to the second."""
    return first * (256 - share) + second * share


def _smooth(offset: NDArray[np.int64], cell: int) -> NDArray[np.int64]:
    share = offset * 256 // cell
    return share * share * (768 - 2 * share) >> 16


def _hash(row: NDArray[np.int64], column: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A number from 0 to 255 for every cell, the same everywhere."""
    mixed = (row.astype(np.uint32) * np.uint32(0x9E3779B1)) ^ (column.astype(np.uint32) * np.uint32(0x85EBCA77))
    mixed = (mixed ^ np.uint32(seed * 0x27D4EB2F & 0xFFFFFFFF)) * np.uint32(0xC2B2AE3D)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2545F491)
    return ((mixed ^ (mixed >> np.uint32(13))) >> np.uint32(7) & np.uint32(255)).astype(np.int64)
