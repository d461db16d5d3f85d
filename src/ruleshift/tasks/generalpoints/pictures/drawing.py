"""Pictures of hands: a table, cards laid on it one after the other, a lamp, and blur.

Cards, shadows, tables and lamps are drawn once for each size and then kept, so that most of a picture is three passes
of 16-bit integers over the pixels of each card.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ruleshift.tasks.generalpoints.deal import Card
from ruleshift.tasks.generalpoints.pictures.blur import blurred, steps_for
from ruleshift.tasks.generalpoints.pictures.cards import Face, bake, left_over, shadow, shadow_rim
from ruleshift.tasks.generalpoints.pictures.kept import Kept
from ruleshift.tasks.generalpoints.pictures.layout import Spot, spots
from ruleshift.tasks.generalpoints.pictures.looks import Look
from ruleshift.tasks.generalpoints.pictures.styles import CARD_STYLES, DECKS, LIGHTS, TABLES
from ruleshift.tasks.generalpoints.pictures.tables import Pixels, lamp, table_top

KEPT = Kept(256 * 2**20)


def draw(cards: Sequence[Card], look: Look, size: int | tuple[int, int]) -> NDArray[np.uint8]:
    """A picture of a hand, (height, width, 3), RGB.

    `size` is height and width in pixels, or one number for both. Cards lie in reading order, each over those before it.
    Raises ValueError for no card or more than 6, for a look that is made for another number of cards or turns them
    too far, and for a picture smaller than 32 pixels.
    """
    height, width = size = (size, size) if isinstance(size, int) else size
    canvas = KEPT.get(("table", look.table, size), lambda: table_top(TABLES[look.table], size)).copy()
    for card, spot in zip(cards, spots(len(cards), look, size), strict=True):
        _lay_shadow(canvas, look, spot)
        _lay_card(canvas, card, look, spot)
    canvas *= KEPT.get(("lamp", look.light, size), lambda: lamp(LIGHTS[look.light], size))
    canvas >>= 8
    steps = steps_for(look.blur, max(size))
    if steps:
        canvas = blurred(canvas, steps, 3)
    return canvas.astype(np.uint8).reshape(height, width, 3)


def _lay_card(canvas: Pixels, card: Card, look: Look, spot: Spot) -> None:
    deck, style, where = DECKS[look.deck], CARD_STYLES[look.style], (spot.width, spot.angle)
    face = Face(card.rank, deck.emblems[card.suit], deck.inks[card.suit], style)
    keep = KEPT.get(("card", style.radius, *where), lambda: left_over(style.radius, *where))
    pixels = KEPT.get((face.rank, face.emblem, face.ink, look.style, *where), lambda: bake(face, *where))
    below, rows, columns = _under(canvas, pixels, spot.top, spot.left)
    below *= keep[rows, columns]
    below += pixels[rows, columns]
    below >>= 8


def _lay_shadow(canvas: Pixels, look: Look, spot: Spot) -> None:
    light, radius = LIGHTS[look.light], CARD_STYLES[look.style].radius
    key = ("shadow", radius, light.shadow, spot.width, spot.angle)
    keep = KEPT.get(key, lambda: shadow(radius, spot.width, spot.angle, light.shadow))
    x, y = (reach * spot.width // 1000 - shadow_rim(spot.width) for reach in light.reach)
    below, rows, columns = _under(canvas, keep, spot.top + y, spot.left + x)
    below *= keep[rows, columns]
    below >>= 8


def _under(canvas: Pixels, above: Pixels, top: int, left: int) -> tuple[Pixels, slice, slice]:
    """The part of the canvas below pixels laid at (top, left), and which of these lie on the canvas."""
    (height, width), (high, wide) = canvas.shape, above.shape
    left *= 3
    first_row, first_column = max(0, -top), max(0, -left)
    rows, columns = slice(first_row, min(high, height - top)), slice(first_column, min(wide, width - left))
    return canvas[top + first_row : top + high, left + first_column : left + wide], rows, columns
