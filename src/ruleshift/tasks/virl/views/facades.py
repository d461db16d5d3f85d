"""Pictures of walls and ground floors, drawn from a look."""

import random

import numpy as np

from ruleshift.tasks.virl.views.looks import CityLook, Material
from ruleshift.tasks.virl.views.paint import RGB, Sheet, mixed, noise, shade

CELL = 64  # texels of a bay, and of a floor
CELLS = 4  # bays and floors in a picture
FRONT = (256, 128)  # texels of a ground floor


def wall(material: Material, colour: RGB, columns: int, rows: int, seed: int) -> Sheet:
    """A wall without windows."""
    sheet = Sheet(columns, rows, colour)
    if material == "brick":
        _bricks(sheet, 4, 2, 40, seed)
        sheet.grain(10, seed + 1, 32)
    elif material == "stone":
        _bricks(sheet, 32, 16, 22, seed)
        sheet.grain(14, seed + 1)
    elif material == "tile":
        sheet.grain(12, seed)
        sheet.lines(4, 1, 226)
        sheet.lines(4, 1, 226, upright=True)
        sheet.grain(26, seed + 1, 32)
    elif material == "boards":
        sheet.lines(6, 1, 190)
        sheet.lines(6, 1, 268, shift=5)
        sheet.grain(10, seed, 16)
    elif material == "concrete":
        sheet.grain(18, seed)
        sheet.grain(36, seed + 1, 32)
        sheet.lines(64, 1, 200)
        sheet.lines(64, 1, 210, upright=True)
    elif material == "glass":
        sheet.grain(14, seed, 32)
    else:
        sheet.grain(12, seed)
        sheet.grain(30 if material == "stucco" else 14, seed + 1, 32)
    return sheet


def _bricks(sheet: Sheet, wide: int, high: int, amount: int, seed: int) -> None:
    """Courses of bricks of different brightness with joints between."""
    rows, columns = sheet.texels.shape[:2]
    y, x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    course = y // high
    along = (x + (course % 2) * (wide // 2)) % columns
    tone = noise(rows // high, columns // wide, seed)[course, along // wide]
    factor = 256 + ((tone - 128) * amount >> 7)
    factor = np.where((y % high == high - 1) | (along % wide == wide - 1), factor * 236 >> 8, factor)
    sheet.texels[..., :3] = np.minimum(sheet.texels[..., :3] * factor[..., None] >> 8, 255)


def facade(look: CityLook, colour: RGB, rng: random.Random) -> np.ndarray:
    """A picture of CELLS x CELLS bays and floors, (rows, columns, 4) uint8."""
    side = CELL * CELLS
    sheet = wall(look.material, colour, side, side, rng.getrandbits(16))
    for row in range(CELLS):
        for column in range(CELLS):
            _window(sheet, look, colour, column * CELL, row * CELL, rng)
    if look.extra == "escape":
        _escape(sheet, CELL, look.iron)
    return sheet.picture()


def _pane(sheet: Sheet, box: tuple[int, int, int, int], look: CityLook, rng: random.Random) -> None:
    """Glass that mirrors the sky above and is dark below, some of it behind a curtain."""
    left, top, right, low = box
    tone = rng.randint(200, 300)
    upper, lower = shade(mixed(look.glass, look.horizon, 70), tone), shade(look.glass, tone * 3 // 4)
    sheet.ramp(left, top, right, low, upper, lower)
    if rng.random() < 0.45:
        curtain = mixed((226, 222, 210), look.glass, rng.randint(30, 150))
        down = rng.randint(1, 3)
        if rng.random() < 0.5:
            sheet.box(left, top, right, top + (low - top) * down // 4, curtain)
        else:
            wide = (right - left) * down // 9
            sheet.box(left, top, left + wide, low, curtain)
            sheet.box(right - wide, top, right, low, curtain)


def _window(sheet: Sheet, look: CityLook, colour: RGB, x: int, y: int, rng: random.Random) -> None:
    """One window in the cell whose upper left corner is given."""
    trim, dark = look.trim, shade(colour, 150)
    frame = mixed(look.trim, (250, 250, 248), 90)
    kind = look.window
    wide, top, low = {
        "sash": (26, 12, 52), "arch": (26, 14, 54), "shutter": (22, 12, 52), "ribbon": (64, 18, 46),
        "square": (34, 18, 50), "bay": (40, 12, 54), "grille": (30, 18, 50), "loft": (46, 8, 56),
        "tall": (22, 6, 56), "wide": (48, 20, 50), "slit": (50, 22, 34), "pair": (44, 14, 52), "hatch": (28, 24, 50),
        "grid": (44, 12, 54), "broad": (56, 16, 52), "low": (36, 30, 56),
    }[kind]  # fmt: skip
    left, right = x + (CELL - wide) // 2, x + (CELL + wide) // 2
    top, low = y + top, y + low
    if kind == "ribbon":
        sheet.box(left, top - 2, right, low + 2, dark)
        _pane(sheet, (left, top, right, low), look, rng)
        for at in range(left, right, 16):
            sheet.box(at, top, at + 2, low, frame)
        return
    sheet.box(left - 4, top - 5, right + 4, top, trim)
    sheet.box(left - 4, low, right + 4, low + 3, trim)
    sheet.box(left - 4, low + 3, right + 4, low + 5, dark)
    if kind in ("bay", "tall", "arch", "loft"):
        sheet.box(left - 4, top, right + 4, low, trim)
    sheet.box(left - 1, top - 1, right + 1, low, shade(dark, 140))
    sheet.box(left, top, right, low, frame)
    _pane(sheet, (left + 2, top + 2, right - 2, low - 2), look, rng)
    middle = (left + right) // 2
    if kind == "sash":
        sheet.box(left, (top + low) // 2 - 1, right, (top + low) // 2 + 1, frame)
    elif kind == "pair":
        sheet.box(middle - 6, top - 1, middle + 6, low + 1, trim)
    elif kind == "hatch":
        for row in range(top, low):
            along = (row - top) * wide // (low - top)
            sheet.box(left + along - 1, row, left + along + 1, row + 1, frame)
            sheet.box(right - along - 1, row, right - along + 1, row + 1, frame)
    elif kind in ("loft", "bay", "wide", "grid", "broad"):
        for at in range(1, 4):
            sheet.box(left + wide * at // 4 - 1, top, left + wide * at // 4 + 1, low, frame)
        if kind in ("loft", "grid"):
            for at in (1, 2):
                sheet.box(left, top + (low - top) * at // 3, right, top + (low - top) * at // 3 + 1, frame)
    else:
        sheet.box(middle - 1, top, middle + 1, low, frame)
    if kind == "arch":
        for row in range(10):  # the corners above the curve, 13 texels wide and 10 high
            inner = 0
            while (13 - inner) * (13 - inner) * 100 + (10 - row) * (10 - row) * 169 > 16900 and inner < 13:
                inner += 1
            sheet.box(left - 1, top + row, left - 1 + inner, top + row + 1, trim)
            sheet.box(right + 1 - inner, top + row, right + 1, top + row + 1, trim)
    elif kind == "shutter":
        green = look.fronts[rng.randrange(len(look.fronts))]
        for edge in (left - 12, right + 1):
            sheet.box(edge, top, edge + 11, low, green)
            for row in range(top + 2, low - 1, 3):
                sheet.box(edge + 1, row, edge + 10, row + 1, shade(green, 190))
    elif kind == "grille":
        for at in range(left + 3, right, 5):
            sheet.box(at, top, at + 1, low, shade(look.iron, 220))
    if look.extra == "cooler" and rng.random() < 0.55:
        at = left + 2 if rng.random() < 0.5 else right - 18
        sheet.box(at, low + 1, at + 16, low + 10, (206, 206, 200))
        sheet.box(at + 2, low + 3, at + 10, low + 9, (120, 122, 122))
    if look.extra in ("balcony", "box") and rng.random() < 0.6:
        _balcony(sheet, look, x, low, rng)


def _balcony(sheet: Sheet, look: CityLook, x: int, low: int, rng: random.Random) -> None:
    if look.extra == "box":
        sheet.box(x + 16, low - 3, x + 48, low + 3, (110, 66, 44))
        for at in range(x + 16, x + 48, 2):
            leaf = ((60, 120, 50), (200, 60, 70), (90, 140, 60))[rng.randrange(3)]
            sheet.box(at, low - 5 - rng.randrange(3), at + 2, low - 2, leaf)
        return
    sheet.box(x + 8, low + 3, x + 56, low + 7, shade(look.trim, 220))
    sheet.box(x + 8, low - 12, x + 56, low - 10, look.iron)
    for at in range(x + 8, x + 56, 4):
        sheet.box(at, low - 12, at + 1, low + 3, look.iron)


def _escape(sheet: Sheet, x: int, iron: RGB) -> None:
    """Iron landings below two bays of every floor, with ladders between them."""
    for row in range(CELLS):
        y = row * CELL
        sheet.box(x + 6, y + 56, x + 2 * CELL - 6, y + 59, shade(iron, 150))
        sheet.box(x + 6, y + 42, x + 2 * CELL - 6, y + 43, shade(iron, 180))
        for at in range(x + 6, x + 2 * CELL - 5, 6):
            sheet.box(at, y + 42, at + 1, y + 57, shade(iron, 170))
        for step in range(44):
            at = x + 34 + step
            sheet.box(
                at, (y + 56 + step) % (CELL * CELLS), at + 3, (y + 56 + step) % (CELL * CELLS) + 2, shade(iron, 140)
            )


def side_wall(look: CityLook, colour: RGB, rng: random.Random) -> np.ndarray:
    """A wall without windows, CELL texels for as many metres as a floor has."""
    sheet = wall(look.material, shade(colour, 236), 64, 64, rng.getrandbits(16))
    return sheet.picture()


def shop_front(look: CityLook, colour: RGB, door: int, rng: random.Random) -> np.ndarray:
    """The ground floor of a shop: windows with goods behind them, a door at `door` of 0..2, a panel for the sign."""
    columns, rows = FRONT
    sheet = Sheet(columns, rows, colour)
    sheet.grain(14, rng.getrandbits(16))
    sheet.box(0, 0, columns, 4, mixed(colour, (255, 255, 255), 40))
    top, low = 42, rows - 14
    slots = [(10, 86), (92, 164), (170, 246)]
    for number, (left, right) in enumerate(slots):
        sheet.box(left - 2, top - 2, right + 2, low + 2, shade(colour, 170))
        if number == door:
            middle = (left + right) // 2
            sheet.box(left, top, right, rows - 3, shade(colour, 120))
            sheet.ramp(left, top, right, top + 14, mixed(look.glass, look.horizon, 90), look.glass)
            sheet.box(middle - 22, top + 16, middle + 22, rows - 3, mixed(colour, (255, 255, 255), 30))
            sheet.ramp(
                middle - 16,
                top + 22,
                middle + 16,
                rows - 22,
                mixed(look.glass, (255, 240, 210), 110),
                shade(look.glass, 150),
            )
            sheet.box(middle + 17, top + 44, middle + 20, top + 54, (220, 200, 140))
            sheet.box(left, rows - 3, right, rows, (120, 118, 112))
        else:
            warm = mixed(look.glass, (255, 228, 180), rng.randint(60, 150))
            sheet.ramp(left, top, right, low, warm, shade(warm, 150))
            _goods(sheet, left, right, low, rng)
            for row in range(top, low):  # the sky in the pane
                start = left + (low - row) // 2
                sheet.texels[row, start : start + 14, :3] += (255 - sheet.texels[row, start : start + 14, :3]) // 7
    for at in (0, 88, 166, 248):
        sheet.box(at, 4, at + 4, rows, mixed(colour, (0, 0, 0), 60))
        sheet.box(at + 4, 4, at + 6, rows, mixed(colour, (255, 255, 255), 40))
    sheet.box(0, rows - 12, slots[door][0], rows, shade(colour, 140))
    sheet.box(slots[door][1], rows - 12, columns, rows, shade(colour, 140))
    return sheet.picture()


def _goods(sheet: Sheet, left: int, right: int, low: int, rng: random.Random) -> None:
    """Things on shelves behind a shop window."""
    for shelf in (low - 4, low - 26):
        at = left + 4
        while at < right - 12:
            wide, high = rng.randint(5, 12), rng.randint(6, 15)
            colour = (rng.randint(60, 230), rng.randint(60, 210), rng.randint(50, 200))
            sheet.box(at, shelf - high, min(at + wide, right - 2), shelf, colour)
            at += wide + rng.randint(2, 6)
        sheet.box(left, shelf, right, shelf + 2, (90, 74, 58))


def house_front(look: CityLook, colour: RGB, rng: random.Random) -> np.ndarray:
    """The ground floor of a house without a shop: a door and two windows in a plinth of the wall's colour."""
    columns, rows = FRONT
    sheet = wall(look.material, shade(colour, 240), columns, rows, rng.getrandbits(16))
    sheet.box(0, 0, columns, 5, look.trim)
    sheet.box(0, rows - 14, columns, rows, shade(colour, 150))
    for left, right in ((22, 82), (174, 234)):
        sheet.box(left - 5, 34, right + 5, 92, look.trim)
        sheet.box(left, 38, right, 88, mixed(look.trim, (255, 255, 255), 100))
        _pane(sheet, (left + 3, 41, right - 3, 85), look, rng)
        sheet.box((left + right) // 2 - 1, 38, (left + right) // 2 + 2, 88, mixed(look.trim, (255, 255, 255), 100))
    door = look.fronts[rng.randrange(len(look.fronts))]
    sheet.box(104, 22, 152, rows, look.trim)
    sheet.box(109, 28, 147, rows - 3, shade(door, 120))
    sheet.ramp(111, 30, 145, 42, mixed(look.glass, look.horizon, 90), look.glass)
    sheet.box(111, 45, 145, rows - 4, door)
    for top in (50, 84):
        sheet.box(116, top, 140, top + 28, shade(door, 210))
    sheet.box(140, 80, 143, 86, (220, 200, 140))
    sheet.box(100, rows - 3, 156, rows, (150, 148, 142))
    return sheet.picture()


def shutters(look: CityLook, colour: RGB, rng: random.Random) -> np.ndarray:
    """A shop that is closed, or a garage: a wide roller shutter."""
    columns, rows = FRONT
    sheet = wall(look.material, shade(colour, 236), columns, rows, rng.getrandbits(16))
    metal = mixed((150, 152, 150), look.fronts[rng.randrange(len(look.fronts))], rng.randint(40, 160))
    sheet.box(20, 30, 236, rows, shade(metal, 130))
    for row in range(34, rows, 5):
        sheet.box(24, row, 232, row + 3, metal)
        sheet.box(24, row + 3, 232, row + 5, shade(metal, 190))
    sheet.box(0, 0, columns, 5, look.trim)
    return sheet.picture()
