"""Pictures of what stands along the kerb: trees and lamps, clear around them."""

import random

import numpy as np

from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.paint import RGB, Sheet, mixed, noise, shade, smooth_noise

BARK: RGB = (84, 68, 54)
TREE = (128, 128)  # texels of what stands at the kerb


def tree(look: CityLook, rng: random.Random) -> np.ndarray:
    """One tree, (128, 128, 4) uint8, its foot in the middle of the lower edge."""
    sheet = Sheet(*TREE, look.leaves, opacity=0)
    kind = look.tree
    trunk = {"round": 3, "tall": 3, "palm": 2, "column": 2, "bush": 3, "bare": 3}[kind]
    start = {"round": 58, "tall": 50, "palm": 30, "column": 90, "bush": 76, "bare": 48}[kind]
    sheet.box(64 - trunk, start, 64 + trunk, 128, BARK)
    sheet.box(64, start, 64 + trunk, 128, shade(BARK, 180))
    if kind == "palm":
        _fronds(sheet, look.leaves, rng)
    elif kind == "bare":
        _branches(sheet, 64, 60, 0, 26, rng)
    else:
        blobs = {
            "round": ((64, 42, 36), 26, 38, 30), "tall": ((64, 44, 28), 26, 26, 38),
            "column": ((64, 58, 12), 40, 9, 52), "bush": ((64, 60, 28), 22, 34, 20),
        }[kind]  # fmt: skip
        _crown(sheet, look.leaves, *blobs, rng)
    return sheet.picture()


def _crown(
    sheet: Sheet, leaves: RGB, middle: tuple[int, int, int], count: int, wide: int, high: int, rng: random.Random
) -> None:
    """Overlapping balls of leaves, lighter above, with small gaps."""
    x, y, radius = middle
    balls = []
    for _ in range(count):
        dx, dy = rng.randint(-100, 100), rng.randint(-100, 100)
        if dx * dx + dy * dy <= 10000:
            balls.append((x + dx * wide // 130, y + dy * high // 130))
    balls.sort(key=lambda ball: -ball[1])
    size = max(radius // 3, 6)
    sheet.disc(x, y, min(wide, high) * 3 // 4, shade(leaves, 150))
    for bx, by in balls:
        height = 256 * (y + high - by) // (2 * high)
        sheet.disc(bx, by, size, shade(leaves, 150 + height * 60 // 256))
        sheet.disc(bx - 1, by - 2, size - 2, shade(leaves, 190 + height * 80 // 256))
    rows, columns = sheet.texels.shape[:2]
    seed = rng.getrandbits(16)
    speckle = noise(rows, columns, seed) + smooth_noise(rows, columns, seed + 1, 4)
    bark = [(sheet.texels[..., :3] == colour).all(-1) for colour in (BARK, shade(BARK, 180))]
    crown = ~(bark[0] | bark[1])
    factor = 210 + speckle * 90 // 512
    sheet.texels[..., :3] = np.where(
        crown[..., None], np.minimum(sheet.texels[..., :3] * factor[..., None] >> 8, 255), sheet.texels[..., :3]
    )
    sheet.texels[..., 3] = np.where(crown & (speckle < 130), 0, sheet.texels[..., 3])


def _fronds(sheet: Sheet, leaves: RGB, rng: random.Random) -> None:
    for number in range(15):
        dx, dy = (number - 7) * 8 + rng.randint(-3, 3), -abs(number - 7) * 2 + rng.randint(-4, 4)
        tone = shade(leaves, rng.randint(170, 290))
        for step in range(60):
            x = 64 + dx * step // 60
            y = 32 - (20 - dy // 2) * step // 60 + (36 + abs(dx) // 3) * step * step // 3600
            half = 1 + (step * (60 - step)) // 260
            sheet.box(x - 1, y - 1, x + 1, y + half, tone)
    sheet.disc(64, 33, 4, shade(leaves, 130))


def _branches(sheet: Sheet, x: int, y: int, lean: int, length: int, rng: random.Random) -> None:
    if length < 5:
        return
    for step in range(length):
        at, half = x + lean * step // 24, length // 9
        sheet.box(at - half, y - step, at + half + 1, y - step + 1, BARK)
    for turn in (-14, 12):
        _branches(sheet, x + lean * length // 24, y - length, lean + turn + rng.randint(-5, 5), length * 7 // 10, rng)


def lamp(look: CityLook) -> np.ndarray:
    """A street lamp, (128, 128, 4) uint8, its foot in the middle of the lower edge; the same from every side."""
    sheet = Sheet(64, 128, look.iron, opacity=0)
    iron, light = look.iron, mixed((255, 250, 225), look.horizon, 60)
    sheet.box(31, 12, 33, 128, iron)
    sheet.box(30, 100, 34, 128, shade(iron, 220))
    if look.lamp == "arms":
        sheet.box(12, 12, 52, 14, iron)
        for left in (6, 48):
            sheet.box(left, 12, left + 10, 15, shade(iron, 200))
            sheet.box(left + 1, 15, left + 9, 17, light)
    elif look.lamp == "hook":
        for left in (16, 47):
            sheet.box(min(left, 32), 6, max(left, 32), 8, iron)
            sheet.box(left - 1, 6, left + 1, 14, iron)
            sheet.box(left - 4, 13, left + 4, 18, shade(iron, 190))
            sheet.box(left - 3, 18, left + 3, 21, light)
        sheet.box(31, 6, 33, 14, iron)
    elif look.lamp == "lantern":
        sheet.polygon(((24, 12), (40, 12), (37, 30), (27, 30)), light)
        sheet.box(22, 10, 42, 12, iron)
        sheet.polygon(((26, 10), (38, 10), (32, 2)), iron)
        for at in (24, 39):
            sheet.box(at, 12, at + 1, 30, iron)
        sheet.box(22, 42, 42, 43, iron)
    elif look.lamp == "globe":
        sheet.box(20, 16, 44, 17, iron)
        for x, y in ((20, 12), (44, 12), (32, 6)):
            sheet.disc(x, y, 5, light)
    else:
        sheet.box(27, 8, 37, 13, shade(iron, 200))
        sheet.box(28, 13, 36, 15, light)
    clear = Sheet(32, 128, look.iron, opacity=0).picture()
    return np.concatenate([clear, sheet.picture(), clear], 1)
