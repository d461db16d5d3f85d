"""The reference renderer, in numpy: what a picture of a street is, one quad after the other.

A picture is made in four steps: solid quads with a depth buffer; the road wherever no solid is, then the pieces of
ground in their order, and the sky; last the sprites, from far to near. Colours are whole numbers; geometry is float64,
in additions, multiplications and divisions only and in an order that `fast` keeps, so that both give the same bytes.
"""

import numpy as np

from ruleshift.tasks.virl.views.atlas import SHIFT, Textures
from ruleshift.tasks.virl.views.camera import NEAR, Camera
from ruleshift.tasks.virl.views.quads import Quads
from ruleshift.tasks.virl.views.scene import Visible
from ruleshift.tasks.virl.views.weather import CLOUDS, DOME, FOG_STEPS, ROAD, SKY_STEPS, Weather

SOLID, GROUND, SPRITE = 0, 1, 2  # how a quad is drawn: see `_Canvas.draw`


def render(size: int, camera: Camera, near: Visible, textures: Textures, weather: Weather) -> np.ndarray:
    """The view (size, size, 3) uint8 of a camera that stands at the point of `near`."""
    canvas = _Canvas(size, camera, textures, weather)
    canvas.draw(near.solid, near.solids, SOLID)
    canvas.draw_road()
    canvas.draw(near.ground, near.grounds, GROUND)
    canvas.draw_sky()
    canvas.draw(near.sprites, np.arange(len(near.sprites)), SPRITE)
    return canvas.colours.astype(np.uint8)


class _Canvas:
    """A picture in the making: colours (rows, columns, 3) int64 and 1 / depth (rows, columns), 0 for nothing yet."""

    def __init__(self, size: int, camera: Camera, textures: Textures, weather: Weather) -> None:
        self.size, self.half, self.camera = size, size / 2, camera
        self.textures, self.weather = textures, weather
        self.colours = np.zeros((size, size, 3), np.int64)
        self.nearness = np.zeros((size, size))
        self.across = (np.arange(size) + 0.5 - self.half) / self.half  # (columns,)
        self.up = (self.half - (np.arange(size) + 0.5)) / self.half  # (rows,)

    def draw(self, quads: Quads, numbers: np.ndarray, mode: int) -> None:
        """The quads with these numbers: where they are nearer than what is there (SOLID, SPRITE), or where nothing is
        (GROUND)."""
        c = self.camera
        x, y = quads.corners[numbers, :, 0] - c.x, quads.corners[numbers, :, 1] - c.y
        aside, above, ahead = x * c.north - y * c.east, quads.corners[numbers, :, 2] - c.z, x * c.east + y * c.north
        before = (ahead >= NEAR).any(1) & (aside >= -ahead - 0.001).any(1) & (aside <= ahead + 0.001).any(1)
        for at in np.flatnonzero(before):
            self._draw(quads, int(numbers[at]), self._outline(np.stack([aside[at], above[at], ahead[at]], 1)), mode)

    def _draw(self, quads: Quads, number: int, outline: list[tuple[float, float]], mode: int) -> None:
        spans = self._spans(outline)
        if spans is None:
            return
        rows, columns, within = spans
        c, plane = self.camera, quads.planes[number]
        depth = plane[0, 3] - _dot(plane[0], c)
        i0, i1, i2 = (part / depth for part in _turned(plane[0], c))
        across, up = self.across[columns][None, :], self.up[rows][:, None]
        nearness = (i0 + i1 * across) + i2 * up
        z = 1.0 / np.where(within, nearness, 1.0)
        if mode == GROUND:
            seen = within & (self.nearness[rows, columns] == 0.0)
        else:
            seen = within & (nearness > self.nearness[rows, columns])
        if not seen.any():
            return
        u_row, v_row = _turned(plane[1], c), _turned(plane[2], c)
        u = (_dot(plane[1], c) + plane[1, 3]) + z * ((u_row[0] + u_row[1] * across) + u_row[2] * up)
        v = (_dot(plane[2], c) + plane[2, 3]) + z * ((v_row[0] + v_row[1] * across) + v_row[2] * up)
        area = abs(_determinant(u_row, v_row, (i0, i1, i2))) / (self.half * self.half)
        picture, *tint = quads.looks[number].tolist()
        colour, opacity = self._shaded(picture, u, v, z, area * (z * z * z), tint)
        self._blend(rows, columns, seen, colour, opacity)
        if mode == SOLID:
            there = self.nearness[rows, columns]
            there[...] = np.where(seen & (opacity >= 128), nearness, there)

    def draw_road(self) -> None:
        """The plane z = 0 wherever no solid is, below the horizon."""
        down = self.up < 0
        if not down.any():
            return
        rows, columns = slice(int(down.argmax()), self.size), slice(0, self.size)
        z = np.broadcast_to((-self.camera.z / self.up[rows])[:, None], (self.size - rows.start, self.size))
        self._plane(rows, columns, z, ROAD, self.weather.road_texels, self.camera.x, self.camera.y, 255)

    def draw_sky(self) -> None:
        """Colours by height above the horizon, and clouds."""
        level = self.up >= 0
        rows, columns = slice(0, int(level.sum())), slice(0, self.size)
        steps = np.minimum((self.up[rows] * SKY_STEPS).astype(np.int64), SKY_STEPS - 1)
        there = self.colours[rows, columns]
        empty = self.nearness[rows, columns] == 0.0
        there[...] = np.where(empty[..., None], self.weather.sky[steps][:, None, :], there)
        above = np.maximum(self.up[rows], 1e-3)
        z = np.broadcast_to((DOME / above)[:, None], (rows.stop, self.size))
        self._plane(rows, columns, z, CLOUDS, self.weather.cloud_texels, 0.0, 0.0, 0)

    def _plane(
        self, rows: slice, columns: slice, z: np.ndarray, picture: int, texels: float, x: float, y: float, fog: int
    ) -> None:
        """A level plane without end, at depths `z` (rows, columns), wherever nothing is: the road, or clouds."""
        c = self.camera
        across = self.across[columns][None, :]
        u = texels * (x + z * (c.east + c.north * across))
        v = texels * (y + z * (c.north - c.east * across))
        step = texels / self.half
        area = (step * step) * (z * z * z) / (self.camera.z if fog else DOME)
        seen = self.nearness[rows, columns] == 0.0
        if fog:
            colour, opacity = self._shaded(picture, u, v, z, area, [256, 256, 256])
        else:
            texel = self._texel(picture, u, v, area)
            fade = np.minimum((self.up[rows] * 1024.0).astype(np.int64), 256)[:, None]
            colour, opacity = texel[..., :3], (texel[..., 3] * fade) >> 8
        self._blend(rows, columns, seen, colour, opacity)

    def _blend(self, rows: slice, columns: slice, seen: np.ndarray, colour: np.ndarray, opacity: np.ndarray) -> None:
        there = self.colours[rows, columns]
        weight = np.where(seen, opacity + (opacity >> 7), 0)[..., None]
        there += ((colour - there) * weight) >> 8

    def _shaded(
        self, picture: int, u: np.ndarray, v: np.ndarray, z: np.ndarray, area: np.ndarray, tint: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Colour (rows, columns, 3) with tint and fog, and opacity (rows, columns)."""
        texel = self._texel(picture, u, v, area)
        colour = (texel[..., :3] * np.array(tint)) >> 8
        fog = self.weather.fog[np.minimum(np.maximum(z, 0.0), FOG_STEPS - 1.0).astype(np.int64)][..., None]
        return colour + (((self.weather.haze - colour) * fog) >> 8), texel[..., 3]

    def _texel(self, picture: int, u: np.ndarray, v: np.ndarray, area: np.ndarray) -> np.ndarray:
        """Texels (rows, columns, 4) at places of a picture, of the copy in which a pixel is about one texel.

        `area` is that of a pixel in texels. Between texels, linear, with weights of 1/256.
        """
        row = self.textures.table[picture]
        _, exponent = np.frexp(area)
        level = np.minimum(np.maximum(exponent.astype(np.int64), 0) >> 1, row[2])
        scale = 256.0 / (1 << level)
        s, t = ((part * scale + (SHIFT - 128.0)).astype(np.int64) for part in (u, v))
        wide, high = np.maximum(row[0] - level, 0), np.maximum(row[1] - level, 0)
        mask_s, mask_t, start = (1 << wide) - 1, (1 << high) - 1, row[3 + level]
        left, top = (s >> 8) & mask_s, (t >> 8) & mask_t
        right, low = (left + 1) & mask_s, (top + 1) & mask_t
        a, b = (s & 255)[..., None], (t & 255)[..., None]
        upper, lower = start + (top << wide), start + (low << wide)
        e, f, g = ((256 - a) * (256 - b)) >> 8, (a * (256 - b)) >> 8, ((256 - a) * b) >> 8
        texels = self.textures.texels
        return (
            texels[upper + left] * e + texels[upper + right] * f + texels[lower + left] * g
            + texels[lower + right] * (256 - e - f - g)
        ) >> 8  # fmt: skip

    def _outline(self, corners: np.ndarray) -> list[tuple[float, float]]:
        """Corners (aside, above, ahead) in pixels (columns, rows), cut where they come too near."""
        points, found = corners.tolist(), []
        for (ax, ay, az), (bx, by, bz) in zip(points, [*points[1:], points[0]], strict=True):
            if az >= NEAR:
                found.append((self.half + ax / az * self.half, self.half - ay / az * self.half))
            if (az >= NEAR) != (bz >= NEAR):
                if az > bz:
                    ax, ay, az, bx, by, bz = bx, by, bz, ax, ay, az  # the same point from either side
                share = (NEAR - az) / (bz - az)
                x, y = ax + share * (bx - ax), ay + share * (by - ay)
                found.append((self.half + x / NEAR * self.half, self.half - y / NEAR * self.half))
        return found

    def _spans(self, outline: list[tuple[float, float]]) -> tuple[slice, slice, np.ndarray] | None:
        """The rows, the columns, and which of these pixels (rows, columns) have their middle in the outline."""
        first, last = _pixels(min(x for x, _ in outline), max(x for x, _ in outline), self.size)
        if first >= last:
            return None
        middles = np.arange(first, last) + 0.5
        top, low = np.full(last - first, 1e30), np.full(last - first, -1e30)
        for a, b in zip(outline, [*outline[1:], outline[0]], strict=True):
            (ax, ay), (bx, by) = (a, b) if a[0] <= b[0] else (b, a)
            start, stop = (max(side, first) for side in _pixels(ax, bx, self.size))
            if start < stop:
                slope = (by - ay) / (bx - ax)
                part = slice(start - first, stop - first)
                y = ay + (middles[part] - ax) * slope
                top[part], low[part] = np.minimum(top[part], y), np.maximum(low[part], y)
        upper = np.clip(np.ceil(top - 0.5), 0, self.size).astype(np.int64)
        lower = np.clip(np.ceil(low - 0.5), 0, self.size).astype(np.int64)
        rows = slice(int(upper.min()), int(lower.max()))
        if rows.start >= rows.stop:
            return None
        number = np.arange(rows.start, rows.stop)[:, None]
        return rows, slice(first, last), (number >= upper) & (number < lower)


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """The pixels whose middles lie between two places: the first, and that after the last."""
    low, high = min(max(low, -1.0), size + 1.0), min(max(high, -1.0), size + 1.0)
    return max(int(np.ceil(low - 0.5)), 0), min(int(np.ceil(high - 0.5)), size)


def _dot(row: np.ndarray, c: Camera) -> float:
    return float((row[0] * c.x + row[1] * c.y) + row[2] * c.z)


def _turned(row: np.ndarray, c: Camera) -> tuple[float, float, float]:
    """A vector's parts ahead, to the right and up."""
    return row[0] * c.east + row[1] * c.north, row[0] * c.north - row[1] * c.east, row[2]


def _determinant(a: tuple[float, ...], b: tuple[float, ...], c: tuple[float, ...]) -> float:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
