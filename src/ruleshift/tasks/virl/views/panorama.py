"""Views cut out of the paper's panoramas, which are equirectangular: columns are headings, rows are heights.

A heading is found at the share (heading + rotation) / 360 of a panorama's columns, where `rotation` in degrees comes
with the picture.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.compass import check_compat
from ruleshift.tasks.virl.entries import read_json

if TYPE_CHECKING:
    from PIL.Image import Image as Opened

# Degrees to the right of the walker's heading of the views in a grid, row by row. The prompt says front, right, back
# and left; the official code looks half a right angle beside that.
TURNS = {"fixed": (0.0, 90.0, 180.0, 270.0), "official": (-135.0, -45.0, 45.0, 135.0)}
GAP = {"fixed": 0, "official": 5}  # pixels between the views of a grid
MOST_METADATA = 1 << 20  # bytes
LEAST_COLUMNS = 64
TOLERANCE = 0.15  # share by which columns may differ from twice the rows: mosaics of tiles may lack their last ones


def panorama_view(panorama: np.ndarray, rotation: float, heading: float, size: int) -> np.ndarray:
    """The view (size, size, 3) uint8, 90 degrees wide and high, along a heading in degrees.

    `panorama` (rows, columns, 3) uint8 spans 360 degrees by 180. Between its pixels, linear.
    """
    rows, columns = panorama.shape[:2]
    across = (np.arange(size) + 0.5 - size / 2) / (size / 2)  # to the right, for 1 ahead
    up = -across[:, None]
    angle = np.degrees(np.arctan(across))[None, :]
    height = np.degrees(np.arctan(up / np.sqrt(1 + across * across)[None, :]))
    x = (heading + rotation + angle) / 360 * columns - 0.5
    y = np.clip((90 - height) / 180 * rows - 0.5, 0, rows - 1)
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    a, b = (x - left)[..., None], (y - top)[..., None]
    low = np.minimum(top + 1, rows - 1)
    left, right = left % columns, (left + 1) % columns
    left, right = np.broadcast_to(left, top.shape), np.broadcast_to(right, top.shape)
    upper = panorama[top, left] * (1 - a) + panorama[top, right] * a
    lower = panorama[low, left] * (1 - a) + panorama[low, right] * a
    return np.rint(upper * (1 - b) + lower * b).astype(np.uint8)


def panorama_grid(
    panorama: np.ndarray, rotation: float, heading: float, size: int, compat: str = "fixed"
) -> np.ndarray:
    """Four views, two by two, as (2 * size + gap, 2 * size + gap, 3) uint8 with black between them.

    `fixed` shows front and right above back and left, without a gap; `official` the views at -135, -45, 45 and 135
    degrees of the official code, 5 pixels apart.
    """
    return grid_of(partial(panorama_view, panorama, rotation), heading, size, compat)


def grid_of(view: Callable[[float, int], np.ndarray], heading: float, size: int, compat: str = "fixed") -> np.ndarray:
    """As `panorama_grid`, of views that `view(heading, size)` makes."""
    gap = GAP[check_compat(compat)]
    grid = np.zeros((2 * size + gap, 2 * size + gap, 3), np.uint8)
    for number, turn in enumerate(TURNS[compat]):
        row, column = (part * (size + gap) for part in divmod(number, 2))
        grid[row : row + size, column : column + size] = view(heading + turn, size)
    return grid


@contextmanager
def open_panorama(path: Path, name: str) -> "Iterator[Opened]":
    """The picture of a panorama, called `name` in what is said of it; its pixels are read once they are asked for.

    Raises RuleshiftError for one that is missing, broken or not of a panorama's size.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("JPEG",)) as picture:
            _check_size(name, picture.width, picture.height)
            yield picture
    except FileNotFoundError as error:
        raise RuleshiftError(f"{name} is missing: download it") from error
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RuleshiftError(f"{name} is not read as a JPEG picture ({error}): download it again") from error


def _check_size(name: str, columns: int, rows: int) -> None:
    if columns < LEAST_COLUMNS or abs(columns - 2 * rows) > TOLERANCE * 2 * rows:
        raise RuleshiftError(
            f"{name} has {columns} x {rows} pixels, but a panorama is about twice as wide as high and at least "
            f"{LEAST_COLUMNS} wide: download it again"
        )


def read_panorama(folder: Path, id: str) -> tuple[np.ndarray, float]:
    """The picture (rows, columns, 3) uint8 and the rotation in degrees of a panorama in a folder of street views.

    Raises RuleshiftError for what is missing or broken.
    """
    rotation = read_json(folder / f"{id}.metadata.json", f"{id}.metadata.json", MOST_METADATA)["rotation"]
    with open_panorama(folder / f"{id}.jpg", f"{id}.jpg") as picture:
        return np.asarray(picture.convert("RGB")), rotation.number(-360, 360)
