"""Flat convex surfaces with four corners, as arrays: what a street is built of.

Points are metres: x to the east, y to the north, z up. Seen from its front, a quad's corners go from the upper left
clockwise; its picture has u to the right and v down, in texels, and repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

XYZ = tuple[float, float, float]
UV = tuple[float, float]
Tint = tuple[int, int, int]  # times the picture's colours, 256 for the same

GRID = 1024.0  # coordinates are kept to 1/1024 m, so that the last digits of a cosine make no difference
PLAIN: Tint = (256, 256, 256)
SLIVER = 0.01  # square metres below which nothing is drawn
FAR = 330.0  # metres up to which anything is drawn


@dataclass(frozen=True)
class Quads:
    """N surfaces.

    `corners` (N, 4, 3) float64. `planes` (N, 3, 4) float64: the rows are the plane (normal towards the viewer, its
    product with any point of the plane), then u and v as a gradient per metre and a constant. `looks` (N, 4) int64:
    picture, tint in red, green and blue. `reach` (N,): metres from which it is seen. `layer` (N,): the order on the
    ground. `discs` (N, 3): the middle on the map and the radius of a circle around all corners, a little larger.
    """

    corners: np.ndarray
    planes: np.ndarray
    looks: np.ndarray
    reach: np.ndarray
    layer: np.ndarray
    discs: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)


class Pile:
    """Quads to which more can be added. What `quads` has handed out stays as it is."""

    def __init__(self) -> None:
        self.quads = Draft().quads()
        self._room = _parts(self.quads)

    def add(self, more: Quads) -> np.ndarray:
        """The numbers that these have from now on."""
        start, end = len(self.quads), len(self.quads) + len(more)
        if end > len(self._room[0]):
            spare = [np.zeros((end, *part.shape[1:]), part.dtype) for part in self._room]
            self._room = tuple(map(np.concatenate, zip(_parts(self.quads), spare, strict=True)))
        for room, part in zip(self._room, _parts(more), strict=True):
            room[start:end] = part
        self.quads = Quads(*(room[:end] for room in self._room))
        return np.arange(start, end)


def _parts(quads: Quads) -> tuple[np.ndarray, ...]:
    return quads.corners, quads.planes, quads.looks, quads.reach, quads.layer, quads.discs


@dataclass
class Draft:
    """Quads as they are being made; `quads` hands them out as arrays."""

    _corners: list[Sequence[XYZ]] = field(default_factory=list)
    _uv: list[tuple[UV, UV, UV]] = field(default_factory=list)
    _looks: list[tuple[int, int, int, int]] = field(default_factory=list)
    _reach: list[float] = field(default_factory=list)
    _layer: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._corners)

    def add(
        self, corners: Sequence[XYZ], uv: tuple[UV, UV, UV], picture: int, tint: Tint = PLAIN,
        reach: float = FAR, layer: int = 0,
    ) -> None:  # fmt: skip
        """A quad; `uv` are those of its first, second and fourth corner."""
        self._corners.append(corners)
        self._uv.append(uv)
        self._looks.append((picture, *tint))
        self._reach.append(reach)
        self._layer.append(layer)

    def wall(
        self, left: tuple[float, float], right: tuple[float, float], low: float, high: float, box: tuple[UV, UV],
        picture: int, tint: Tint = PLAIN, reach: float = FAR,
    ) -> None:  # fmt: skip
        """An upright rectangle; `box` holds (u, v) of its upper left and of its lower right corner."""
        (u, v), (u_right, v_low) = box
        if (abs(left[0] - right[0]) + abs(left[1] - right[1])) * (high - low) < SLIVER:
            return
        corners = ((*left, high), (*right, high), (*right, low), (*left, low))
        self.add(corners, ((u, v), (u_right, v), (u, v_low)), picture, tint, reach)

    def ground(
        self, points: Sequence[tuple[float, float]], way: tuple[float, float], texels: tuple[float, float],
        picture: int, tint: Tint = PLAIN, reach: float = FAR, layer: int = 0, base: tuple[float, float] = (0.0, 0.0),
    ) -> None:  # fmt: skip
        """A piece of ground. Its picture's v runs along `way` and its u to the right of it, from `base`, with so many
        texels per metre."""

        def uv(at: tuple[float, float]) -> UV:
            x, y = at[0] - base[0], at[1] - base[1]
            return texels[0] * (x * way[1] - y * way[0]), texels[1] * (x * way[0] + y * way[1])

        turns = [[*points[k:], *points[:k]] for k in range(4)]  # two corners may be one point
        a, b, c, d = max(turns, key=lambda p: abs(_across(p[0], p[1], p[3])))
        if abs(_across(a, b, d)) > SLIVER:
            self.add([(*at, 0.0) for at in (a, b, c, d)], (uv(a), uv(b), uv(d)), picture, tint, reach, layer)

    def quads(self) -> Quads:
        count = len(self._corners)
        corners = np.rint(np.array(self._corners, np.float64).reshape(count, 4, 3) * GRID) / GRID
        uv = np.array(self._uv, np.float64).reshape(count, 3, 2)
        return Quads(
            corners, planes_of(corners, uv), np.array(self._looks, np.int64).reshape(count, 4),
            np.array(self._reach, np.float64), np.array(self._layer, np.int64), discs_of(corners),
        )  # fmt: skip


def discs_of(corners: np.ndarray) -> np.ndarray:
    """Circles on the map, (N, 3), around quads with these corners (N, 4, 3)."""
    low, high = corners[:, :, :2].min(1), corners[:, :, :2].max(1)
    x, y = (high - low).T / 2
    return np.concatenate([(low + high) / 2, (np.sqrt(x * x + y * y) + 0.01)[:, None]], 1)


def planes_of(corners: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Planes and gradients (N, 3, 4) of quads from their corners (N, 4, 3) and three of their (u, v) (N, 3, 2)."""
    first = corners[:, 0]
    e, f = corners[:, 1] - first, corners[:, 3] - first
    normal = np.stack([f[:, i - 2] * e[:, i - 1] - f[:, i - 1] * e[:, i - 2] for i in range(3)], 1)
    ee, ef, ff = _dot(e, e), _dot(e, f), _dot(f, f)
    gram = np.maximum(ee * ff - ef * ef, 1e-12)
    rows = [normal]
    for axis in range(2):
        along, down = uv[:, 1, axis] - uv[:, 0, axis], uv[:, 2, axis] - uv[:, 0, axis]
        p, q = (along * ff - down * ef) / gram, (down * ee - along * ef) / gram
        rows.append(p[:, None] * e + q[:, None] * f)
    constants = [_dot(normal, first), *(uv[:, 0, axis] - _dot(rows[1 + axis], first) for axis in range(2))]
    return np.stack(
        [np.concatenate([row, constant[:, None]], 1) for row, constant in zip(rows, constants, strict=True)], 1
    )


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


def _across(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
