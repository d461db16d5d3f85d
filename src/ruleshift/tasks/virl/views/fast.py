"""The fast renderer: what `rasterise` says, step by step, compiled by numba.

Both make the same bytes: every product and sum is made in the same order, without fused or reordered arithmetic. What
differs is only how the work is ordered: column by column, since most quads stand upright, and in an upright quad a
column has one depth.

Compiling takes some seconds, once: numba keeps the result beside this file. It notices when this file changes, but not
when constants change that come from others; then this file has to be touched.
"""

from math import ceil

import numpy as np
from numba import njit

from ruleshift.tasks.virl.views.atlas import SHIFT, Textures
from ruleshift.tasks.virl.views.camera import NEAR, Camera
from ruleshift.tasks.virl.views.scene import Near
from ruleshift.tasks.virl.views.weather import CLOUDS, DOME, FOG_STEPS, ROAD, SKY_STEPS, Weather

SOLID, GROUND, SPRITE = 0, 1, 2


def render(size: int, camera: Camera, near: Near, textures: Textures, weather: Weather) -> np.ndarray:
    """The view (size, size, 3) uint8 of a camera that stands at the point of `near`: see `rasterise.render`."""
    eye = (camera.x, camera.y, camera.z, camera.east, camera.north)
    packed = textures.texels.view("<u4").ravel()
    pictures = (packed, textures.table, weather.haze, weather.fog)
    colours = np.zeros((size, size), np.uint32)  # (columns, rows), red in the lowest byte
    nearness = np.zeros((size, size))  # (columns, rows)
    frame = (eye, pictures, colours, nearness)
    _draw_all(SOLID, near.solids, near.solid.corners, near.solid.planes, near.solid.looks, *frame)
    _draw_road(eye, pictures, weather.road_texels, colours, nearness)
    _draw_all(GROUND, near.grounds, near.ground.corners, near.ground.planes, near.ground.looks, *frame)
    _draw_sky(eye, pictures, weather.sky, weather.cloud_texels, colours, nearness)
    every = np.arange(len(near.sprites))
    _draw_all(SPRITE, every, near.sprites.corners, near.sprites.planes, near.sprites.looks, *frame)
    return _unpacked(colours)


@njit(cache=True)
def _unpacked(colours):  # type: ignore[no-untyped-def]
    """(rows, columns, 3) uint8, from blocks of columns that fit a cache."""
    size = colours.shape[0]
    view = np.empty((size, size, 3), np.uint8)
    for first in range(0, size, 16):
        for j in range(size):
            for i in range(first, min(first + 16, size)):
                pixel = colours[i, j]
                view[j, i, 0], view[j, i, 1], view[j, i, 2] = pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255
    return view


@njit(cache=True, inline="always")
def _level(area, last):  # type: ignore[no-untyped-def]
    """The copy in which a pixel is about one texel; `area` is that of a pixel in texels of the first."""
    level = 0
    while area >= 2.0 and level < last:
        area *= 0.25
        level += 1
    return level


@njit(cache=True, inline="always")
def _spread(texel):  # type: ignore[no-untyped-def]
    """The four bytes of a texel, 16 bits apart: red, blue, green, opacity."""
    wide = np.uint64(texel)
    return (wide & _EVEN) | (((wide >> _EIGHT) & _EVEN) << _HALF)


_EVEN, _EIGHT, _HALF = np.uint64(0x00FF00FF), np.uint64(8), np.uint64(32)


@njit(cache=True, inline="always")
def _place(u, scale):  # type: ignore[no-untyped-def]
    """A place in the first copy of a picture in 1/256 of texels of another; `scale` is that of the copy, times 256."""
    return np.int64(u * scale + (SHIFT - 128.0))


@njit(cache=True, inline="always")
def _texel(texels, start, wide, mask_s, mask_t, s, t):  # type: ignore[no-untyped-def]
    """The colour at a place of a copy of a picture, between four texels, as `_spread` lays it out, times 256.

    `s` and `t` count 1/256 of texels: see `_place`.
    """
    left, top = (s >> 8) & mask_s, (t >> 8) & mask_t
    right, low = (left + 1) & mask_s, (top + 1) & mask_t
    a, b = s & 255, t & 255
    upper, lower = start + (top << wide), start + (low << wide)
    e, f, g = ((256 - a) * (256 - b)) >> 8, (a * (256 - b)) >> 8, ((256 - a) * b) >> 8
    h = 256 - e - f - g
    return (
        _spread(texels[np.uint64(upper + left)]) * np.uint64(e)
        + _spread(texels[np.uint64(upper + right)]) * np.uint64(f)
        + _spread(texels[np.uint64(lower + left)]) * np.uint64(g)
        + _spread(texels[np.uint64(lower + right)]) * np.uint64(h)
    )


@njit(cache=True, inline="always")
def _parts(texel):  # type: ignore[no-untyped-def]
    """Red, green, blue and opacity of what `_texel` gives."""
    red, blue = np.int64((texel >> 8) & 255), np.int64((texel >> 24) & 255)
    return red, np.int64((texel >> 40) & 255), blue, np.int64(texel >> 56)


@njit(cache=True, inline="always")
def _over(pixel, red, green, blue, opacity):  # type: ignore[no-untyped-def]
    """A colour over that of a pixel."""
    weight = opacity + (opacity >> 7)
    if weight < 256:
        r, g, b = np.int64(pixel & 255), np.int64((pixel >> 8) & 255), np.int64((pixel >> 16) & 255)
        red, green, blue = (
            r + (((red - r) * weight) >> 8),
            g + (((green - g) * weight) >> 8),
            b + (((blue - b) * weight) >> 8),
        )
    return np.uint32(red | (green << 8) | (blue << 16))


@njit(cache=True)
def _draw_all(mode, numbers, corners, planes, looks, eye, pictures, colours, nearness):  # type: ignore[no-untyped-def]
    """All quads, one after the other: see `_Canvas.draw` in `rasterise`."""
    size = colours.shape[0]
    half = size / 2
    x, y, z, east, north = eye
    texels, table, haze, fog = pictures
    haze_r, haze_g, haze_b = haze[0], haze[1], haze[2]
    ahead, aside, above = np.empty(4), np.empty(4), np.empty(4)
    points = np.empty((8, 2))
    top, low, ups = np.empty(size), np.empty(size), np.empty(size)
    for j in range(size):
        ups[j] = (half - (j + 0.5)) / half
    for number in numbers:
        behind = left_out = right_out = 0
        for k in range(4):
            dx, dy = corners[number, k, 0] - x, corners[number, k, 1] - y
            aside[k], above[k] = dx * north - dy * east, corners[number, k, 2] - z
            ahead[k] = dx * east + dy * north
            behind += ahead[k] < NEAR
            left_out += aside[k] < -ahead[k] - 0.001
            right_out += aside[k] > ahead[k] + 0.001
        if behind == 4 or (behind == 0 and (left_out == 4 or right_out == 4)):
            continue
        count = _cut(aside, above, ahead, half, points)
        first, last, upper_most, lower_most = _bounds(points, count, size)
        if first >= last or upper_most >= lower_most:
            continue
        _spans(points, count, first, last, size, top, low)
        n, g, h = planes[number, 0], planes[number, 1], planes[number, 2]
        depth = n[3] - ((n[0] * x + n[1] * y) + n[2] * z)
        i0, i1, i2 = (n[0] * east + n[1] * north) / depth, (n[0] * north - n[1] * east) / depth, n[2] / depth
        u0, u1, u2 = g[0] * east + g[1] * north, g[0] * north - g[1] * east, g[2]
        v0, v1, v2 = h[0] * east + h[1] * north, h[0] * north - h[1] * east, h[2]
        u_base = ((g[0] * x + g[1] * y) + g[2] * z) + g[3]
        v_base = ((h[0] * x + h[1] * y) + h[2] * z) + h[3]
        determinant = u0 * (v1 * i2 - v2 * i1) - u1 * (v0 * i2 - v2 * i0) + u2 * (v0 * i1 - v1 * i0)
        area = abs(determinant) / (half * half)
        picture = looks[number, 0]
        tint_r, tint_g, tint_b = looks[number, 1], looks[number, 2], looks[number, 3]
        log_wide, log_high, smallest = table[picture, 0], table[picture, 1], table[picture, 2]
        upright = i2 == 0.0
        there = z_here = scale = 0.0
        level = -1
        thick = start = wide = mask_s = mask_t = s = 0
        steady = upright and u2 == 0.0  # a column of the quad is one of its picture
        for i in range(first, last):
            start_row = np.uint64(min(max(ceil(top[i] - 0.5), 0.0), float(size)))
            end_row = np.uint64(min(max(ceil(low[i] - 0.5), 0.0), float(size)))
            if start_row >= end_row:
                continue
            across = (i + 0.5 - half) / half
            i_part, u_part, v_part = i0 + i1 * across, u0 + u1 * across, v0 + v1 * across
            near_column, colour_column = nearness[i], colours[i]
            fresh = True
            for j in range(start_row, end_row):
                if mode == GROUND and near_column[j] != 0.0:
                    continue
                if fresh or not upright:
                    there = i_part + i2 * ups[j]
                    if mode != GROUND and there <= near_column[j] and not upright:
                        continue
                    z_here = 1.0 / there
                    fresh = False
                    thick = fog[np.uint64(min(max(z_here, 0.0), FOG_STEPS - 1.0))]
                    one = _level(area * (z_here * z_here * z_here), smallest)
                    if one != level:
                        level = one
                        wide, high = max(log_wide - level, 0), max(log_high - level, 0)
                        start, mask_s, mask_t = table[picture, 3 + level], (1 << wide) - 1, (1 << high) - 1
                        scale = 256.0 / (1 << level)
                    if steady:
                        s = _place(u_base + z_here * (u_part + u2 * ups[j]), scale)
                if mode != GROUND and there <= near_column[j]:
                    continue
                if not steady:
                    s = _place(u_base + z_here * (u_part + u2 * ups[j]), scale)
                t = _place(v_base + z_here * (v_part + v2 * ups[j]), scale)
                texel = _texel(texels, start, wide, mask_s, mask_t, s, t)
                red, green, blue, opacity = _parts(texel)
                if opacity == 0:
                    continue
                red, green, blue = (red * tint_r) >> 8, (green * tint_g) >> 8, (blue * tint_b) >> 8
                red += ((haze_r - red) * thick) >> 8
                green += ((haze_g - green) * thick) >> 8
                blue += ((haze_b - blue) * thick) >> 8
                colour_column[j] = _over(colour_column[j], red, green, blue, opacity)
                if mode == SOLID and opacity >= 128:
                    near_column[j] = there


@njit(cache=True)
def _cut(aside, above, ahead, half, points):  # type: ignore[no-untyped-def]
    """The corners in pixels into `points`, cut where they come too near; how many there are."""
    count = 0
    for k in range(4):
        m = (k + 1) & 3
        ax, ay, az, bx, by, bz = aside[k], above[k], ahead[k], aside[m], above[m], ahead[m]
        if az >= NEAR:
            points[count, 0] = half + ax / az * half
            points[count, 1] = half - ay / az * half
            count += 1
        if (az >= NEAR) != (bz >= NEAR):
            if az > bz:
                ax, ay, az, bx, by, bz = bx, by, bz, ax, ay, az
            share = (NEAR - az) / (bz - az)
            px, py = ax + share * (bx - ax), ay + share * (by - ay)
            points[count, 0] = half + px / NEAR * half
            points[count, 1] = half - py / NEAR * half
            count += 1
    return count


@njit(cache=True)
def _bounds(points, count, size):  # type: ignore[no-untyped-def]
    """The first column and that after the last; the highest and the lowest place, kept near the picture."""
    x_low = x_high = points[0, 0]
    y_low = y_high = points[0, 1]
    for k in range(1, count):
        x_low, x_high = min(x_low, points[k, 0]), max(x_high, points[k, 0])
        y_low, y_high = min(y_low, points[k, 1]), max(y_high, points[k, 1])
    first, last = _pixels(x_low, x_high, size)
    return first, last, max(y_low, 0.0), min(y_high, float(size))


@njit(cache=True)
def _pixels(low, high, size):  # type: ignore[no-untyped-def]
    low, high = min(max(low, -1.0), size + 1.0), min(max(high, -1.0), size + 1.0)
    return max(ceil(low - 0.5), 0), min(ceil(high - 0.5), size)


@njit(cache=True)
def _spans(points, count, first, last, size, top, low):  # type: ignore[no-untyped-def]
    """Per column from `first` to `last`, where the outline begins and ends."""
    for i in range(first, last):
        top[i], low[i] = 1e30, -1e30
    for k in range(count):
        m = k + 1 if k + 1 < count else 0
        if points[k, 0] <= points[m, 0]:
            ax, ay, bx, by = points[k, 0], points[k, 1], points[m, 0], points[m, 1]
        else:
            ax, ay, bx, by = points[m, 0], points[m, 1], points[k, 0], points[k, 1]
        start, stop = _pixels(ax, bx, size)
        if max(start, first) < stop:
            slope = (by - ay) / (bx - ax)
            for i in range(max(start, first), stop):
                at = ay + (i + 0.5 - ax) * slope
                top[i], low[i] = min(top[i], at), max(low[i], at)


@njit(cache=True)
def _draw_road(eye, pictures, road_texels, colours, nearness):  # type: ignore[no-untyped-def]
    """The plane z = 0 wherever no solid is, below the horizon."""
    size = colours.shape[0]
    half = size / 2
    x, y, height, east, north = eye
    texels, table, haze, fog = pictures
    step = road_texels / half
    depths, levels, thicks = np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64)
    first = (size + 1) // 2
    for j in range(first, size):
        z = -height / ((half - (j + 0.5)) / half)
        depths[j], levels[j] = z, _level((step * step) * (z * z * z) / height, table[ROAD, 2])
        thicks[j] = fog[int(min(max(z, 0.0), FOG_STEPS - 1.0))]
    for i in range(size):
        across = (i + 0.5 - half) / half
        e, n = east + north * across, north - east * across
        for j in range(first, size):
            if nearness[i, j] != 0.0:
                continue
            z, level = depths[j], levels[j]
            u, v = road_texels * (x + z * e), road_texels * (y + z * n)
            texel = _plane_texel(texels, table[ROAD], level, u, v)
            red, green, blue, _ = _parts(texel)
            red += ((haze[0] - red) * thicks[j]) >> 8
            green += ((haze[1] - green) * thicks[j]) >> 8
            blue += ((haze[2] - blue) * thicks[j]) >> 8
            colours[i, j] = np.uint32(red | (green << 8) | (blue << 16))


@njit(cache=True)
def _draw_sky(eye, pictures, sky, cloud_texels, colours, nearness):  # type: ignore[no-untyped-def]
    """Colours by height above the horizon, and clouds, wherever no solid is."""
    size = colours.shape[0]
    half = size / 2
    _, _, _, east, north = eye
    texels, table, _, _ = pictures
    step = cloud_texels / half
    rows = (size + 1) // 2
    depths, levels = np.empty(rows), np.empty(rows, np.int64)
    for j in range(rows):
        z = DOME / max((half - (j + 0.5)) / half, 1e-3)
        depths[j], levels[j] = z, _level((step * step) * (z * z * z) / DOME, table[CLOUDS, 2])
    for i in range(size):
        across = (i + 0.5 - half) / half
        e, n = east + north * across, north - east * across
        for j in range(rows):
            if nearness[i, j] != 0.0:
                continue
            up = (half - (j + 0.5)) / half
            row = sky[min(int(up * SKY_STEPS), SKY_STEPS - 1)]
            plain = np.uint32(row[0] | (row[1] << 8) | (row[2] << 16))
            u, v = cloud_texels * (depths[j] * e), cloud_texels * (depths[j] * n)
            texel = _plane_texel(texels, table[CLOUDS], levels[j], u, v)
            red, green, blue, opacity = _parts(texel)
            colours[i, j] = _over(plain, red, green, blue, (opacity * min(int(up * 1024.0), 256)) >> 8)


@njit(cache=True, inline="always")
def _plane_texel(texels, row, level, u, v):  # type: ignore[no-untyped-def]
    wide, high = max(row[0] - level, 0), max(row[1] - level, 0)
    scale = 256.0 / (1 << level)
    s, t = _place(u, scale), _place(v, scale)
    return _texel(texels, row[3 + level], wide, (1 << wide) - 1, (1 << high) - 1, s, t)
