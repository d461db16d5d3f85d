"""The fast renderer: what `rasterise` says, step by step, compiled by numba.

Both make the same bytes: every product and sum is made in the same order, without fused or reordered arithmetic. What
differs is only how the work is ordered, and what is left out because it cannot be seen:

- The work goes column by column. Nearly all solids stand upright, and a column of an upright quad has one depth.
- Solids come from near to far, and every column remembers what they have filled: its *cover*. Quads, or rows of them,
  that are behind the cover are passed over, and so are road, ground and sky there.
- What is the same for a row of the ground is found once per row.

Compiling takes some seconds, once: numba keeps the result beside this file. It notices when this file changes, but not
when constants change that come from others; then this file has to be touched. So all that is compiled is in here.
"""

from math import ceil, floor

import numpy as np
from numba import njit

from ruleshift.tasks.virl.views.atlas import SHIFT, Textures
from ruleshift.tasks.virl.views.camera import NEAR, Camera
from ruleshift.tasks.virl.views.quads import Quads
from ruleshift.tasks.virl.views.scene import Visible
from ruleshift.tasks.virl.views.weather import CLOUDS, DOME, FOG_STEPS, ROAD, SKY_STEPS, Weather

SOLID, GROUND, SPRITE = 0, 1, 2
# Division as IEEE 754 has it, as in numpy; without this, every division asks first whether it is by 0.
_compiled = njit(cache=True, error_model="numpy")
_inlined = njit(cache=True, error_model="numpy", inline="always")


def render(size: int, camera: Camera, near: Visible, textures: Textures, weather: Weather) -> np.ndarray:
    """The view (size, size, 3) uint8 of a camera that stands at the point of `near`: see `rasterise.render`."""
    eye = (camera.x, camera.y, camera.z, camera.east, camera.north)
    pictures = (textures.texels.view("<u4").ravel(), textures.table, weather.haze, weather.fog)
    every = np.arange(len(near.sprites))
    solid, ground, sprites = _arrays(near.solid), _arrays(near.ground), _arrays(near.sprites)
    air = (weather.sky, weather.cloud_texels, weather.road_texels)
    return _view(size, eye, pictures, air, near.solids, solid, near.grounds, ground, every, sprites)


def _arrays(quads: Quads) -> tuple[np.ndarray, ...]:
    return quads.corners, quads.planes, quads.looks, quads.discs


@_compiled
def _view(size, eye, pictures, air, solids, solid, grounds, ground, every, sprites):  # type: ignore[no-untyped-def]
    """The picture. A `frame` is what is being drawn, column by column, and where its pixels are:

    colours and nearness (columns, rows), colours with red in the lowest byte; how far the middles of columns lie to the
    right and those of rows above, for 1 ahead; and the cover: per column its first row, the row after its last, and
    the least nearness between them.
    """
    half = size / 2
    colours, nearness = np.zeros((size, size), np.uint32), np.zeros((size, size))
    across, up = np.empty(size), np.empty(size)
    for i in range(size):
        across[i], up[i] = (i + 0.5 - half) / half, (half - (i + 0.5)) / half
    frame = (colours, nearness, across, up, np.zeros(size, np.int64), np.zeros(size, np.int64), np.zeros(size))
    _draw_all(SOLID, solids, solid, eye, pictures, frame)
    _draw_road(eye, pictures, air[2], frame)
    _draw_all(GROUND, grounds, ground, eye, pictures, frame)
    _draw_sky(eye, pictures, air[0], air[1], frame)
    _draw_all(SPRITE, every, sprites, eye, pictures, frame)
    return _unpacked(colours)


@_compiled
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


@_inlined
def _level(area, last):  # type: ignore[no-untyped-def]
    """The copy in which a pixel is about one texel; `area` is that of a pixel in texels of the first."""
    level = 0
    while area >= 2.0 and level < last:
        area *= 0.25
        level += 1
    return level


@_inlined
def _copy(row, level):  # type: ignore[no-untyped-def]
    """Of a copy of a picture: where it begins, log2 of its columns, masks of columns and rows, and its size, times 256,
    compared with the first."""
    wide, high = max(row[0] - level, 0), max(row[1] - level, 0)
    return row[3 + level], wide, (1 << wide) - 1, (1 << high) - 1, 256.0 / (1 << level)


@_inlined
def _thickness(fog, z):  # type: ignore[no-untyped-def]
    return fog[np.uint64(np.int64(min(max(z, 0.0), FOG_STEPS - 1.0)))]


@_inlined
def _spread(texel):  # type: ignore[no-untyped-def]
    """The four bytes of a texel, 16 bits apart: red, blue, green, opacity."""
    wide = np.uint64(texel)
    return (wide & _EVEN) | (((wide >> _EIGHT) & _EVEN) << _HALF)


_EVEN, _EIGHT, _HALF = np.uint64(0x00FF00FF), np.uint64(8), np.uint64(32)


@_inlined
def _place(u, scale):  # type: ignore[no-untyped-def]
    """A place in the first copy of a picture in 1/256 of texels of another; `scale` is that of the copy, times 256."""
    return np.int64(u * scale + (SHIFT - 128.0))


@_inlined
def _texel(texels, copy, s, t):  # type: ignore[no-untyped-def]
    """The colour at a place of a copy of a picture, between four texels, as `_spread` lays it out, times 256.

    `s` and `t` count 1/256 of texels: see `_place`.
    """
    start, wide, mask_s, mask_t, _ = copy
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


@_inlined
def _clear(texels, copy, s, t):  # type: ignore[no-untyped-def]
    """Whether all four texels that `_texel` would mix are clear."""
    start, wide, mask_s, mask_t, _ = copy
    left, top = (s >> 8) & mask_s, (t >> 8) & mask_t
    right, low = (left + 1) & mask_s, (top + 1) & mask_t
    upper, lower = start + (top << wide), start + (low << wide)
    one, two = texels[np.uint64(upper + left)], texels[np.uint64(upper + right)]
    three, four = texels[np.uint64(lower + left)], texels[np.uint64(lower + right)]
    return (one | two | three | four) < _OPAQUE


_OPAQUE = np.uint32(1 << 24)


@_inlined
def _opacity(texel):  # type: ignore[no-untyped-def]
    return np.int64(texel >> np.uint64(56))


@_inlined
def _tinted(texel, tint):  # type: ignore[no-untyped-def]
    """What `_texel` gives in 8 bits each, its colour times `tint`: red, green and blue, 256 for the same."""
    wide = (texel >> _EIGHT) & _LANES
    return (((wide & _RED) * tint[0] + (wide & _GREEN) * tint[1] + (wide & _BLUE) * tint[2]) >> _EIGHT) & _LANES


@_inlined
def _mixed(wide, other, share):  # type: ignore[no-untyped-def]
    """Colours as `_spread` lays them out, `share` of 256 of the way to others.

    Since a + ((b - a) * share >> 8) is (a * (256 - share) + b * share) >> 8, and that is below 2 ** 16 before the
    shift, one product does for all.
    """
    return ((wide * np.uint64(256 - share) + other * np.uint64(share)) >> _EIGHT) & _LANES


@_inlined
def _over(pixel, wide, opacity):  # type: ignore[no-untyped-def]
    """A colour, as `_spread` lays it out, over that of a pixel."""
    if opacity < 255:
        wide = _mixed(_spread(pixel), wide, opacity + (opacity >> 7))
    return np.uint32((wide | (wide >> np.uint64(24))) & np.uint64(0xFFFFFFFF))


_LANES = np.uint64(0x00FF00FF00FF00FF)
_RED, _BLUE, _GREEN = np.uint64(0xFF), np.uint64(0xFF << 16), np.uint64(0xFF << 32)


@_inlined
def _lanes(colour):  # type: ignore[no-untyped-def]
    """Red, green and blue of an array as `_spread` lays them out."""
    return np.uint64(colour[0] | (colour[1] << 32) | (colour[2] << 16))


_DIAGONAL = 1.4143  # of a square, a little longer


@_compiled
def _draw_all(mode, numbers, quads, eye, pictures, frame):  # type: ignore[no-untyped-def]
    """All quads, one after the other: see `_Canvas.draw` in `rasterise`."""
    corners, planes, looks, discs = quads
    size = frame[0].shape[0]
    half = size / 2
    x, y, z, east, north = eye
    ahead, aside, above = np.empty(4), np.empty(4), np.empty(4)
    points = np.empty((8, 2))
    top, low = np.empty(size), np.empty(size)
    rows = (np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64))
    for number in numbers:
        dx, dy = discs[number, 0] - x, discs[number, 1] - y
        if abs(dx * north - dy * east) - (dx * east + dy * north) > _DIAGONAL * discs[number, 2]:
            continue  # out of the right angle that is seen
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
        first, last, highest, lowest = _bounds(points, count, size)
        if first >= last or highest >= lowest:
            continue
        n, g, h = planes[number, 0], planes[number, 1], planes[number, 2]
        depth = n[3] - ((n[0] * x + n[1] * y) + n[2] * z)
        i = ((n[0] * east + n[1] * north) / depth, (n[0] * north - n[1] * east) / depth, n[2] / depth)
        if _hidden(mode, i, first, last, floor(highest), min(ceil(lowest), size), frame):
            continue
        _spans(points, count, first, last, size, top, low)
        u = (
            g[0] * east + g[1] * north, g[0] * north - g[1] * east, g[2],
            ((g[0] * x + g[1] * y) + g[2] * z) + g[3],
        )  # fmt: skip
        v = (
            h[0] * east + h[1] * north, h[0] * north - h[1] * east, h[2],
            ((h[0] * x + h[1] * y) + h[2] * z) + h[3],
        )  # fmt: skip
        determinant = (
            u[0] * (v[1] * i[2] - v[2] * i[1]) - u[1] * (v[0] * i[2] - v[2] * i[0]) + u[2] * (v[0] * i[1] - v[1] * i[0])
        )
        plane = (i, u, v, abs(determinant) / (half * half))
        look, span = looks[number], (first, last, top, low)
        if mode != GROUND and i[2] == 0.0 and u[2] == 0.0:
            _fill_upright(mode, span, plane, look, pictures, frame)
        elif mode == GROUND and i[0] == 0.0 and i[1] == 0.0:
            _fill_level(span, plane, look, pictures, frame, rows, floor(highest), min(ceil(lowest), size))
        else:
            _fill(mode, span, plane, look, pictures, frame)


@_compiled
def _hidden(mode, i, first, last, start, end, frame):  # type: ignore[no-untyped-def]
    """Whether the cover is before all of a quad, which is within these columns and rows.

    The nearness in the middle of a pixel grows or falls with its row and column alone, rounding included, so that it is
    nowhere more than at one of the ends.
    """
    _, _, across, up, tops, lows, walls = frame
    tilt = 0.0 if end <= start else max(i[2] * up[start], i[2] * up[end - 1])
    for k in range(first, last):
        if start < tops[k] or end > lows[k] or (mode != GROUND and (i[0] + i[1] * across[k]) + tilt > walls[k]):
            return False
    return True


@_inlined
def _rows(span, k, size):  # type: ignore[no-untyped-def]
    """The first row of a quad in a column, and the row after the last."""
    start, end = ceil(span[2][k] - 0.5), ceil(span[3][k] - 0.5)
    return np.int64(min(max(start, 0), size)), np.int64(min(max(end, 0), size))


@_inlined
def _before(start, end, top, low):  # type: ignore[no-untyped-def]
    """Rows without those that a cover hides at either end."""
    if start >= top:
        start = max(start, low)
    if end <= low:
        end = min(end, top)
    return np.uint64(start), np.uint64(max(start, end))


@_compiled
def _fill_upright(mode, span, plane, look, pictures, frame):  # type: ignore[no-untyped-def]
    """A quad that stands upright, its picture too: depth, haze and columns of the picture are those of a column.

    It adds to the cover.
    """
    i, u, v, area = plane
    texels, table, haze, fog = pictures
    colours, nearness, across, up, tops, lows, walls = frame
    row = table[look[0]]
    tint, mist = (np.uint64(look[1]), np.uint64(look[2]), np.uint64(look[3])), _lanes(haze)
    level = -1
    copy = _copy(row, 0)
    for k in range(span[0], span[1]):
        start, end = _rows(span, k, len(up))
        there = i[0] + i[1] * across[k]
        if start >= end or there <= 0.0:
            continue
        begin, stop = np.uint64(start), np.uint64(end)
        if there <= walls[k]:
            begin, stop = _before(start, end, tops[k], lows[k])
            if begin >= stop:
                continue
        z = 1.0 / there
        thick, one = _thickness(fog, z), _level(area * (z * z * z), row[2])
        if one != level:
            level = one
            copy = _copy(row, level)
        u_part, v_part = u[0] + u[1] * across[k], v[0] + v[1] * across[k]
        s = _place(u[3] + z * u_part, copy[4])
        near_column, column = nearness[k], colours[k]
        whole = mode == SOLID
        for j in range(begin, stop):
            if there <= near_column[j]:
                continue
            t = _place(v[3] + z * (v_part + v[2] * up[j]), copy[4])
            if mode == SPRITE and _clear(texels, copy, s, t):
                continue
            texel = _texel(texels, copy, s, t)
            opacity = _opacity(texel)
            if opacity < 128:
                whole = False
                if opacity == 0:
                    continue
            elif mode == SOLID:
                near_column[j] = there
            column[j] = _over(column[j], _mixed(_tinted(texel, tint), mist, thick), opacity)
        if whole:
            _cover(k, start, end, there, tops, lows, walls)


@_inlined
def _cover(k, start, end, there, tops, lows, walls):  # type: ignore[no-untyped-def]
    """Add rows that are now at least so near: where they meet the cover it grows, else the larger of the two stays."""
    top, low = tops[k], lows[k]
    around = start <= top and low <= end
    if around or end < top or low < start:
        if around or end - start > low - top:
            tops[k], lows[k], walls[k] = start, end, there
    else:
        tops[k], lows[k], walls[k] = min(start, top), max(end, low), min(there, walls[k])


@_compiled
def _fill_level(span, plane, look, pictures, frame, rows, highest, lowest):  # type: ignore[no-untyped-def]
    """A piece of ground: depth, haze and copy of the picture are those of a row."""
    i, u, v, area = plane
    texels, table, haze, fog = pictures
    colours, nearness, across, up, tops, lows, _ = frame
    row = table[look[0]]
    tint, mist = (np.uint64(look[1]), np.uint64(look[2]), np.uint64(look[3])), _lanes(haze)
    depths, levels, thicks = rows
    for j in range(highest, lowest):
        z = 1.0 / (i[2] * up[j])
        depths[j], levels[j], thicks[j] = z, _level(area * (z * z * z), row[2]), _thickness(fog, z)
    level = -1
    copy = _copy(row, 0)
    for k in range(span[0], span[1]):
        start, end = _rows(span, k, len(up))
        begin, stop = _before(start, end, tops[k], lows[k])
        u_part, v_part = u[0] + u[1] * across[k], v[0] + v[1] * across[k]
        near_column, column = nearness[k], colours[k]
        for j in range(begin, stop):
            if near_column[j] != 0.0:
                continue
            if levels[j] != level:
                level = levels[j]
                copy = _copy(row, level)
            z = depths[j]
            s = _place(u[3] + z * (u_part + u[2] * up[j]), copy[4])
            t = _place(v[3] + z * (v_part + v[2] * up[j]), copy[4])
            texel = _texel(texels, copy, s, t)
            opacity = _opacity(texel)
            if opacity != 0:
                column[j] = _over(column[j], _mixed(_tinted(texel, tint), mist, thicks[j]), opacity)


@_compiled
def _fill(mode, span, plane, look, pictures, frame):  # type: ignore[no-untyped-def]
    """Any quad, pixel by pixel."""
    i, u, v, area = plane
    texels, table, haze, fog = pictures
    colours, nearness, across, up, _, _, _ = frame
    row = table[look[0]]
    tint, mist = (np.uint64(look[1]), np.uint64(look[2]), np.uint64(look[3])), _lanes(haze)
    level = -1
    copy = _copy(row, 0)
    for k in range(span[0], span[1]):
        start, end = _rows(span, k, len(up))
        i_part, u_part, v_part = i[0] + i[1] * across[k], u[0] + u[1] * across[k], v[0] + v[1] * across[k]
        near_column, column = nearness[k], colours[k]
        for j in range(np.uint64(start), np.uint64(max(start, end))):
            there = i_part + i[2] * up[j]
            if near_column[j] != 0.0 if mode == GROUND else there <= near_column[j]:
                continue
            z = 1.0 / there
            one = _level(area * (z * z * z), row[2])
            if one != level:
                level = one
                copy = _copy(row, level)
            s = _place(u[3] + z * (u_part + u[2] * up[j]), copy[4])
            t = _place(v[3] + z * (v_part + v[2] * up[j]), copy[4])
            texel = _texel(texels, copy, s, t)
            opacity = _opacity(texel)
            if opacity == 0:
                continue
            column[j] = _over(column[j], _mixed(_tinted(texel, tint), mist, _thickness(fog, z)), opacity)
            if mode == SOLID and opacity >= 128:
                near_column[j] = there


@_compiled
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


@_compiled
def _bounds(points, count, size):  # type: ignore[no-untyped-def]
    """The first column and that after the last; the highest and the lowest place, kept near the picture."""
    x_low = x_high = points[0, 0]
    y_low = y_high = points[0, 1]
    for k in range(1, count):
        x_low, x_high = min(x_low, points[k, 0]), max(x_high, points[k, 0])
        y_low, y_high = min(y_low, points[k, 1]), max(y_high, points[k, 1])
    first, last = _pixels(x_low, x_high, size)
    return first, last, max(y_low, 0.0), min(y_high, float(size))


@_compiled
def _pixels(low, high, size):  # type: ignore[no-untyped-def]
    low, high = min(max(low, -1.0), size + 1.0), min(max(high, -1.0), size + 1.0)
    return max(ceil(low - 0.5), 0), min(ceil(high - 0.5), size)


@_compiled
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


@_compiled
def _draw_road(eye, pictures, road_texels, frame):  # type: ignore[no-untyped-def]
    """The plane z = 0 wherever no solid is, below the horizon."""
    x, y, height, east, north = eye
    texels, table, haze, fog = pictures
    colours, nearness, across, up, tops, lows, _ = frame
    size = len(up)
    row, mist = table[ROAD], _lanes(haze)
    step, first = road_texels / (size / 2), (size + 1) // 2
    depths, levels, thicks = np.empty(size), np.empty(size, np.int64), np.empty(size, np.int64)
    for j in range(first, size):
        z = -height / up[j]
        depths[j], thicks[j] = z, _thickness(fog, z)
        levels[j] = _level((step * step) * (z * z * z) / height, row[2])
    level = -1
    copy = _copy(row, 0)
    for k in range(size):
        e, n = east + north * across[k], north - east * across[k]
        near_column, column = nearness[k], colours[k]
        begin, stop = _before(first, size, tops[k], lows[k])
        for j in range(begin, stop):
            if near_column[j] != 0.0:
                continue
            if levels[j] != level:
                level = levels[j]
                copy = _copy(row, level)
            z = depths[j]
            s, t = _place(road_texels * (x + z * e), copy[4]), _place(road_texels * (y + z * n), copy[4])
            wide = (_texel(texels, copy, s, t) >> _EIGHT) & _LANES
            column[j] = _over(np.uint32(0), _mixed(wide, mist, thicks[j]), 255)


@_compiled
def _draw_sky(eye, pictures, sky, cloud_texels, frame):  # type: ignore[no-untyped-def]
    """Colours by height above the horizon, and clouds, wherever no solid is."""
    _, _, _, east, north = eye
    texels, table, _, _ = pictures
    colours, nearness, across, up, tops, lows, _ = frame
    size = len(up)
    row = table[CLOUDS]
    step, rows = cloud_texels / (size / 2), (size + 1) // 2
    depths, levels, fades = np.empty(rows), np.empty(rows, np.int64), np.empty(rows, np.int64)
    blues = np.empty(rows, np.uint32)
    for j in range(rows):
        z = DOME / max(up[j], 1e-3)
        depths[j], fades[j] = z, min(int(up[j] * 1024.0), 256)
        levels[j] = _level((step * step) * (z * z * z) / DOME, row[2])
        colour = sky[min(int(up[j] * SKY_STEPS), SKY_STEPS - 1)]
        blues[j] = np.uint32(colour[0] | (colour[1] << 8) | (colour[2] << 16))
    level = -1
    copy = _copy(row, 0)
    for k in range(size):
        e, n = east + north * across[k], north - east * across[k]
        near_column, column = nearness[k], colours[k]
        begin, stop = _before(0, rows, tops[k], lows[k])
        for j in range(begin, stop):
            if near_column[j] != 0.0:
                continue
            if levels[j] != level:
                level = levels[j]
                copy = _copy(row, level)
            s, t = _place(cloud_texels * (depths[j] * e), copy[4]), _place(cloud_texels * (depths[j] * n), copy[4])
            texel = _texel(texels, copy, s, t)
            column[j] = _over(blues[j], (texel >> _EIGHT) & _LANES, (_opacity(texel) * fades[j]) >> 8)
