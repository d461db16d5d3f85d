"""Pictures of roads, pavements, markings, boards, cars and clouds."""

import random

import numpy as np

from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.paint import RGB, Sheet, mixed, shade, smooth_noise

ROAD_TEXELS = 24.0  # per metre
PAVING_TEXELS = 32.0
CAR = (128, 64)  # texels of a car's side


def clouds(look: CityLook, rng: random.Random) -> np.ndarray:
    """White with soft holes, (256, 256, 4) uint8."""
    seed = rng.getrandbits(16)
    parts = [smooth_noise(256, 256, seed + cell, cell) for cell in (64, 32, 16, 8)]
    thick = (parts[0] * 4 + parts[1] * 2 + parts[2] + parts[3]) // 8
    opacity = np.clip((thick - (176 - look.clouds // 2)) * 5, 0, look.clouds + 60)
    sheet = Sheet(256, 256, mixed((255, 255, 255), look.horizon, 60))
    sheet.texels[..., :3] = np.minimum(
        sheet.texels[..., :3] * (256 - np.clip(opacity - 90, 0, 90) // 4)[..., None] >> 8, 255
    )
    sheet.texels[..., 3] = np.minimum(opacity, 255)
    return sheet.picture()


def road(look: CityLook, rng: random.Random) -> np.ndarray:
    sheet = Sheet(256, 256, look.road)
    sheet.grain(26, rng.getrandbits(16))
    sheet.grain(18, rng.getrandbits(16), 32)
    sheet.grain(12, rng.getrandbits(16), 64)
    return sheet.picture()


def pavement(look: CityLook, rng: random.Random) -> np.ndarray:
    """128 texels are 4 m."""
    sheet = Sheet(128, 128, look.pavement)
    joint, seed = 206, rng.getrandbits(16)
    if look.paving == "slabs":
        sheet.grain(26, seed, 32)
        sheet.lines(32, 1, joint)
        sheet.lines(32, 1, joint, upright=True)
    elif look.paving == "tiles":
        sheet.grain(40, seed, 16)
        sheet.lines(16, 1, joint - 20)
        sheet.lines(16, 1, joint - 20, upright=True)
    elif look.paving == "setts":
        sheet.grain(70, seed, 8)
        sheet.lines(8, 1, joint - 40)
        sheet.lines(8, 1, joint - 40, upright=True)
    elif look.paving == "concrete":
        sheet.grain(16, seed, 32)
        sheet.lines(64, 1, joint - 20)
    else:
        sheet.grain(60, seed, 16)
        sheet.grain(40, seed + 1, 32)
    sheet.grain(12, seed + 2)
    return sheet.picture()


def kerb(look: CityLook) -> np.ndarray:
    """Across, from the houses: stone, its edge, and the gutter before it; along, 64 texels for 2 m."""
    sheet = Sheet(32, 64, look.kerb)
    sheet.box(0, 0, 2, 64, shade(look.kerb, 210))
    sheet.box(14, 0, 18, 64, shade(look.kerb, 130))
    sheet.box(18, 0, 32, 64, shade(look.road, 200))
    sheet.lines(64, 1, 200)
    return sheet.picture()


def stripe(colour: RGB, on: int, left: int, right: int) -> np.ndarray:
    """A line in the middle of a clear picture of 32 x 64 texels, from `left` to `right`, for `on` of 64 rows."""
    sheet = Sheet(32, 64, colour, opacity=0)
    sheet.box(left, 0, right, on, colour, 225)
    return sheet.picture()


def double_line(colour: RGB) -> np.ndarray:
    sheet = Sheet(32, 64, colour, opacity=0)
    for left in (7, 20):
        sheet.box(left, 0, left + 5, 64, colour, 225)
    return sheet.picture()


def crosswalk(look: CityLook) -> np.ndarray:
    """Across the road u, 32 texels for 1 m; v over its whole depth, 64 texels."""
    white = (236, 236, 232)
    sheet = Sheet(32, 64, white, opacity=0)
    if look.crossing in ("zebra", "ladder"):
        sheet.box(8, 4, 24, 60, white, 225)
    if look.crossing in ("lines", "ladder"):
        sheet.box(0, 2, 32, 9, white, 225)
        sheet.box(0, 55, 32, 62, white, 225)
    return sheet.picture()


def board() -> np.ndarray:
    """White with a rim, to be tinted."""
    sheet = Sheet(64, 32, (255, 255, 255))
    sheet.box(0, 0, 64, 1, (190, 190, 190))
    sheet.box(0, 31, 64, 32, (150, 150, 150))
    return sheet.picture()


def awning(stripes: bool) -> np.ndarray:
    """White, with stripes or without, darker below; to be tinted."""
    sheet = Sheet(32, 32, (250, 250, 250))
    if stripes:
        sheet.box(16, 0, 32, 32, (150, 150, 150))
    for row in range(32):
        sheet.texels[row, :, :3] = sheet.texels[row, :, :3] * (256 - row * 2) >> 8
    return sheet.picture()


def cornice(look: CityLook) -> np.ndarray:
    sheet = Sheet(32, 32, look.trim)
    sheet.lines(32, 3, 280)
    sheet.lines(32, 5, 215, shift=22)
    sheet.box(0, 20, 32, 28, shade(look.trim, 200))
    for at in range(2, 32, 8):
        sheet.box(at, 20, at + 4, 28, shade(look.trim, 250))
    return sheet.picture()


def car_side() -> np.ndarray:
    """White body, dark windows and wheels; clear around; to be tinted. The front is on the right."""
    body, dark = (250, 250, 250), (62, 72, 84)
    sheet = Sheet(*CAR, body, opacity=0)
    sheet.polygon(((2, 30), (20, 27), (40, 4), (78, 4), (98, 26), (124, 32), (126, 52), (2, 52)), body)
    sheet.polygon(((22, 27), (40, 5), (79, 5), (95, 27)), (200, 200, 200))
    sheet.polygon(((24, 26), (41, 7), (56, 7), (56, 26)), dark)
    sheet.polygon(((60, 7), (77, 7), (92, 26), (60, 26)), dark)
    sheet.box(2, 44, 126, 46, (190, 190, 190))
    sheet.box(57, 28, 58, 50, (170, 170, 170))
    sheet.box(2, 50, 126, 54, (60, 60, 60))
    for x in (26, 102):
        sheet.disc(x, 52, 12, (40, 40, 40))
        sheet.disc(x, 52, 10, (24, 24, 26))
        sheet.disc(x, 52, 5, (170, 172, 176))
    sheet.box(122, 34, 126, 38, (255, 240, 200))
    sheet.box(2, 32, 5, 37, (220, 60, 50))
    return sheet.picture()


def car_end(front: bool) -> np.ndarray:
    """Below the windows: lights, bumper, number plate."""
    sheet = Sheet(64, 32, (245, 245, 245))
    sheet.box(0, 20, 64, 32, (70, 70, 72))
    light = (255, 248, 224) if front else (210, 40, 36)
    for left in (3, 49):
        sheet.box(left, 6, left + 12, 13, light)
    if front:
        sheet.box(18, 7, 46, 14, (50, 50, 54))
    sheet.box(24, 19, 40, 26, (230, 230, 224))
    return sheet.picture()


def pane() -> np.ndarray:
    """A car's window between pillars."""
    sheet = Sheet(64, 32, (245, 245, 245))
    sheet.ramp(4, 2, 60, 31, (110, 124, 140), (40, 46, 54))
    return sheet.picture()


def shadow() -> np.ndarray:
    """Soft and dark, (32, 64, 4) uint8."""
    sheet = Sheet(64, 32, (12, 12, 14), opacity=0)
    for step in range(8):
        sheet.box(step, step // 2, 64 - step, 32 - step // 2, (12, 12, 14), 22 * step)
    return sheet.picture()


LOGO = 64
_SHAPES = ("disc", "square", "diamond", "shield", "hexagon", "drop", "arch", "cross")
_MARKS = ("ring", "bar", "dot", "halves")


def logo(number: int, ground: RGB, ink: RGB) -> np.ndarray:
    """The mark of a trade, one of 32: a shape in `ink` on `ground`, with a smaller sign in it."""
    sheet = Sheet(LOGO, LOGO, ground)
    shape, mark = _SHAPES[number % 8], _MARKS[number // 8 % 4]
    if shape == "disc":
        sheet.disc(32, 32, 27, ink)
    elif shape == "square":
        sheet.box(7, 7, 57, 57, ink)
    elif shape == "diamond":
        sheet.polygon(((32, 3), (61, 32), (32, 61), (3, 32)), ink)
    elif shape == "shield":
        sheet.polygon(((8, 6), (56, 6), (56, 34), (32, 61), (8, 34)), ink)
    elif shape == "hexagon":
        sheet.polygon(((18, 6), (46, 6), (61, 32), (46, 58), (18, 58), (3, 32)), ink)
    elif shape == "drop":
        sheet.disc(32, 40, 20, ink)
        sheet.polygon(((32, 2), (50, 34), (14, 34)), ink)
    elif shape == "arch":
        sheet.disc(32, 28, 24, ink)
        sheet.box(8, 28, 56, 60, ink)
    else:
        sheet.box(22, 5, 42, 59, ink)
        sheet.box(5, 22, 59, 42, ink)
    if mark == "ring":
        sheet.disc(32, 34, 14, ground)
        sheet.disc(32, 34, 8, ink)
    elif mark == "bar":
        sheet.box(16, 29, 48, 38, ground)
    elif mark == "dot":
        sheet.disc(32, 34, 9, ground)
    else:
        sheet.polygon(((32, 24), (44, 44), (20, 44)), ground)
    return sheet.picture()


def fence(iron: RGB) -> np.ndarray:
    """Iron bars around a park, 32 texels for 1 m."""
    sheet = Sheet(32, 64, iron, opacity=0)
    for at in range(2, 32, 8):
        sheet.box(at, 2, at + 2, 64, iron)
    sheet.box(0, 8, 32, 11, iron)
    sheet.box(0, 54, 32, 57, iron)
    return sheet.picture()


def grass(rng: random.Random) -> np.ndarray:
    sheet = Sheet(64, 64, (98, 134, 66))
    sheet.grain(50, rng.getrandbits(16))
    sheet.grain(50, rng.getrandbits(16), 16)
    return sheet.picture()
