"""Lettering of our own: capitals, digits and a few marks as strokes of a round pen, drawn to bitmaps by plain
arithmetic, so that they look the same on every machine."""

import unicodedata
from functools import lru_cache
from itertools import pairwise

import numpy as np

HEIGHT = 9  # units from the base line to the top of a capital
GAP = 2.6  # units between two letters
SAMPLES = 4  # per texel and axis
LONGEST = 18  # letters of a word that are written

# Strokes are points "xy" that are joined: x counts to the right, y downwards from the top of a capital.
_STROKES = {
    "A": "09 30 69,16 56", "B": "44 04 00 40 51 53 44 55 58 49 09 04", "C": "61 50 20 02 07 29 59 68",
    "D": "00 09 39 57 52 30 00", "E": "50 00 09 59,04 44", "F": "50 00 09,04 44",
    "G": "61 50 20 02 07 29 49 67 65 35", "H": "00 09,50 59,04 54", "I": "00 09", "J": "40 47 39 19 07",
    "K": "00 09,50 05,23 59", "L": "00 09 49", "M": "09 00 35 60 69", "N": "09 00 59 50",
    "O": "20 02 07 29 49 67 62 40 20", "P": "09 00 40 51 54 45 05", "Q": "20 02 07 29 49 67 62 40 20,46 69",
    "R": "09 00 40 51 54 45 05,25 59", "S": "51 40 10 01 03 14 44 55 58 49 19 08", "T": "00 60,30 39",
    "U": "00 07 29 39 57 50", "V": "00 39 60", "W": "00 29 42 69 80", "X": "00 59,50 09", "Y": "00 34 60,34 39",
    "Z": "00 50 09 59", "0": "20 02 07 29 39 57 52 30 20", "1": "02 20 29", "2": "02 20 30 52 53 09 59",
    "3": "00 50 24 44 56 57 39 19 07", "4": "49 40 06 56", "5": "50 00 04 34 56 57 39 09",
    "6": "40 20 03 07 29 39 57 56 34 04", "7": "00 50 19", "8": "14 03 01 10 40 51 53 44 14 05 08 19 49 58 55 44",
    "9": "19 39 56 52 30 20 02 03 25 55", "-": "05 35", "'": "00 02", ".": "08 09", ",": "08 19", "/": "09 50",
    "&": "69 12 11 20 30 41 42 05 07 29 39 66",
}  # fmt: skip


def letters(name: str) -> str:
    """A name in the letters that there are: capitals, without accents; what cannot be written is left out."""
    plain = unicodedata.normalize("NFKD", name).upper()
    return "".join(letter for letter in plain if letter in _STROKES or letter == " ").strip()


def spelled(word: str) -> str:
    """A word as signs write it."""
    return letters(word)[:LONGEST]


@lru_cache(maxsize=4096)
def glyph(letter: str, height: int, pen: float, slant: float) -> np.ndarray:
    """Coverage of one letter, (rows, columns) uint8: `height` texels high, the pen's width in units beside it.

    `slant` is units to the right per unit upwards.
    """
    scale, edge = height / HEIGHT, pen / 2
    strokes = [[(int(p[0]), int(p[1])) for p in stroke.split()] for stroke in _STROKES[letter].split(",")]
    wide = max(x for stroke in strokes for x, _ in stroke) + pen + slant * HEIGHT
    rows, columns = int((HEIGHT + pen) * scale) + 1, int(wide * scale) + 1
    y = ((np.arange(rows * SAMPLES) + 0.5) / (SAMPLES * scale) - edge)[:, None]
    x = ((np.arange(columns * SAMPLES) + 0.5) / (SAMPLES * scale) - edge)[None, :] - slant * (HEIGHT - y)
    covered = np.zeros((rows * SAMPLES, columns * SAMPLES), bool)
    for stroke in strokes:
        for (ax, ay), (bx, by) in pairwise(stroke):
            dx, dy = bx - ax, by - ay
            share = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
            off_x, off_y = x - ax - share * dx, y - ay - share * dy
            covered |= off_x * off_x + off_y * off_y <= edge * edge
    hits = covered.reshape(rows, SAMPLES, columns, SAMPLES).sum((1, 3))  # of whole numbers: exact in any order
    return (hits * 255 // SAMPLES**2).astype(np.uint8)


def written(text: str, height: int, pen: float, slant: float) -> np.ndarray:
    """Coverage of a line of text, (rows, columns) uint8."""
    scale = height / HEIGHT
    step, space = int((GAP - pen) * scale) if pen < GAP else 0, int(3.5 * scale)
    glyphs = [None if letter == " " else glyph(letter, height, pen, slant) for letter in letters(text)]
    step = max(step, 1)
    wide = sum(space if g is None else g.shape[1] + step for g in glyphs) or 1
    line = np.zeros((int((HEIGHT + pen) * scale) + 1, wide), np.uint8)
    at = 0
    for g in glyphs:
        if g is not None:
            line[:, at : at + g.shape[1]] = np.maximum(line[:, at : at + g.shape[1]], g)
        at += space if g is None else g.shape[1] + step
    return line


def stacked(text: str, height: int, pen: float, slant: float) -> np.ndarray:
    """Coverage of letters one below the other, (rows, columns) uint8."""
    glyphs = [glyph(letter, height, pen, 0.0) for letter in letters(text) if letter != " "]
    wide = max((g.shape[1] for g in glyphs), default=1)
    step = (glyphs[0].shape[0] if glyphs else 1) + 1
    line = np.zeros((max(step * len(glyphs), 1), wide), np.uint8)
    for number, g in enumerate(glyphs):
        left = (wide - g.shape[1]) // 2
        line[number * step : number * step + g.shape[0], left : left + g.shape[1]] = g
    return line
