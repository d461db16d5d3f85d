"""What card faces, decks, tables and lights there are, as data. Colours are (red, green, blue), 0 to 255.

Which of them a split shows is in `looks.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ruleshift.tasks.generalpoints.pictures.ranks import Lettering

Colour = tuple[int, int, int]

BLACK: Colour = (26, 26, 30)
RED: Colour = (198, 26, 40)
BLUE: Colour = (28, 72, 172)
GREEN: Colour = (20, 122, 62)
ORANGE: Colour = (226, 122, 18)
PURPLE: Colour = (112, 48, 150)
BROWN: Colour = (116, 76, 40)


@dataclass(frozen=True)
class Deck:
    """What is drawn for each suit: an emblem (`suits.EMBLEMS`) in an ink."""

    emblems: Mapping[str, str]
    inks: Mapping[str, Colour]


SUITS = ("clubs", "spades", "hearts", "diamonds")
FRENCH = dict(zip(SUITS, SUITS, strict=True))


def _deck(clubs: Colour, spades: Colour, hearts: Colour, diamonds: Colour, emblems: Mapping[str, str] = FRENCH) -> Deck:
    return Deck(emblems, {"clubs": clubs, "spades": spades, "hearts": hearts, "diamonds": diamonds})


def _emblems(clubs: str, spades: str) -> dict[str, str]:
    """Emblems for the suits that pretraining and validation deal; the others keep theirs."""
    return FRENCH | {"clubs": clubs, "spades": spades}


DECKS = {
    "two-colour": _deck(BLACK, BLACK, RED, RED),
    "four-colour": _deck(GREEN, BLACK, RED, BLUE),
    "blue": _deck(BLUE, BLUE, BLUE, BLUE),
    "orange": _deck(ORANGE, ORANGE, ORANGE, ORANGE),
    "purple": _deck(PURPLE, PURPLE, PURPLE, PURPLE),
    "stars-and-moons": _deck(PURPLE, BLUE, PURPLE, BLUE, _emblems("stars", "moons")),
    "bells-and-shields": _deck(ORANGE, BROWN, ORANGE, BROWN, _emblems("bells", "shields")),
    "leaves-and-acorns": _deck(GREEN, GREEN, GREEN, GREEN, _emblems("leaves", "acorns")),
}


@dataclass(frozen=True)
class Clothes:
    """The colours of court figures; `None` stands for the suit's ink."""

    robe: Colour | None
    sleeve: Colour
    gold: Colour
    hair: Colour
    skin: Colour


@dataclass(frozen=True)
class CardStyle:
    """How card faces look. Lengths are in tenths of a millimetre on a card of 63 by 88 mm.

    `index` is the height of the rank in the corners, with its middle `inset` from the side, above an emblem of
    `index_emblem`. Number cards show their pips, `pip` high and `spread` apart to each side of the middle, or, where
    `centre` is `rank` or `emblem`, one large sign. `frame` is the colour of a line around the face.
    """

    lettering: Lettering
    paper: Colour = (252, 251, 247)
    edge: Colour = (150, 148, 142)
    radius: int = 36
    index: int = 112
    inset: int = 64
    index_emblem: int = 76
    centre: Literal["pips", "rank", "emblem"] = "pips"
    pip: int = 116
    spread: int = 118
    frame: Colour | None = None
    clothes: Clothes = Clothes(None, (70, 104, 152), (226, 178, 62), (84, 62, 44), (242, 212, 182))


CARD_STYLES = {
    "classic": CardStyle(Lettering(thick=19, thin=10, width=0.92, feet=True)),
    "club": CardStyle(
        Lettering(thick=16, thin=14, width=0.95),
        paper=(248, 246, 238),
        radius=44,
        index=120,
        inset=66,
        clothes=Clothes((92, 116, 104), (148, 164, 128), (222, 186, 92), (60, 52, 48), (236, 204, 172)),
    ),
    "jumbo": CardStyle(
        Lettering(thick=22, thin=17, width=0.88),
        index=168,
        inset=82,
        index_emblem=104,
        pip=104,
        spread=92,
        clothes=Clothes(None, (96, 132, 170), (232, 190, 84), (120, 88, 52), (244, 216, 188)),
    ),
    "plain": CardStyle(
        Lettering(thick=13, thin=12, width=1.0, round_ends=True),
        paper=(250, 250, 252),
        radius=24,
        clothes=Clothes((168, 188, 204), (120, 146, 168), (214, 184, 110), (96, 80, 66), (240, 210, 184)),
    ),
    "parchment": CardStyle(
        Lettering(thick=20, thin=9, width=0.86, feet=True, lean=0.12),
        paper=(240, 228, 196),
        edge=(150, 130, 92),
        radius=30,
        index=122,
        inset=74,
        frame=(176, 150, 96),
        clothes=Clothes((124, 132, 84), (164, 148, 92), (206, 164, 60), (104, 84, 60), (238, 208, 170)),
    ),
    "large-pips": CardStyle(
        Lettering(thick=24, thin=20, width=0.9, round_ends=True),
        paper=(244, 248, 250),
        radius=56,
        index=130,
        inset=70,
        index_emblem=84,
        pip=124,
        spread=118,
        clothes=Clothes((84, 140, 150), (176, 200, 196), (230, 196, 100), (70, 62, 60), (232, 198, 164)),
    ),
    "great-rank": CardStyle(
        Lettering(thick=15, thin=15, width=1.1, lean=0.1),
        paper=(232, 234, 238),
        edge=(112, 118, 128),
        radius=64,
        index=118,
        inset=70,
        centre="rank",
        clothes=Clothes((150, 156, 170), (112, 120, 138), (196, 170, 104), (58, 58, 64), (232, 206, 182)),
    ),
    "tinted": CardStyle(
        Lettering(thick=26, thin=8, width=1.0, feet=True),
        paper=(214, 230, 220),
        edge=(96, 128, 110),
        radius=20,
        index=124,
        inset=80,
        spread=110,
        frame=(96, 128, 110),
        clothes=Clothes((200, 176, 120), (126, 158, 138), (236, 206, 120), (98, 70, 44), (244, 218, 192)),
    ),
    "one-emblem": CardStyle(
        Lettering(thick=17, thin=11, width=0.84, round_ends=True),
        paper=(246, 238, 226),
        edge=(168, 150, 128),
        index=176,
        inset=84,
        index_emblem=100,
        centre="emblem",
        clothes=Clothes(None, (176, 160, 128), (220, 184, 96), (74, 60, 50), (240, 210, 180)),
    ),
    "linen": CardStyle(
        Lettering(thick=18, thin=16, width=0.9, lean=0.06),
        paper=(236, 236, 226),
        edge=(134, 134, 118),
        radius=40,
        index=126,
        inset=76,
        spread=112,
        frame=(170, 172, 150),
        clothes=Clothes(None, (152, 160, 104), (216, 190, 90), (110, 84, 56), (238, 206, 176)),
    ),
}


@dataclass(frozen=True)
class Table:
    """A table top: its colour, a second one, and what it is made of."""

    colour: Colour
    second: Colour
    material: Literal["felt", "wood", "checks"] = "felt"


TABLES = {
    "green-felt": Table((38, 108, 72), (30, 92, 60)),
    "blue-felt": Table((44, 76, 118), (36, 64, 102)),
    "grey-felt": Table((92, 98, 102), (80, 86, 90)),
    "teal-felt": Table((34, 110, 116), (26, 94, 100)),
    "sand-cloth": Table((196, 180, 146), (182, 164, 130)),
    "violet-felt": Table((84, 66, 118), (72, 56, 102)),
    "slate": Table((62, 68, 78), (52, 58, 68)),
    "oak": Table((158, 116, 70), (132, 92, 52), "wood"),
    "walnut": Table((98, 66, 44), (78, 50, 32), "wood"),
    "checked-cloth": Table((214, 216, 206), (126, 150, 172), "checks"),
    "moss-felt": Table((104, 116, 62), (90, 102, 52)),
}


@dataclass(frozen=True)
class Light:
    """A lamp: where it stands in hundredths of the picture (x, y), its colour (256 leaves a channel as it is), how
    much darker the farthest corner is (of 256), how dark shadows are (of 256), and how far they fall in thousandths of
    the card's width (x, y)."""

    lamp: tuple[int, int]
    tint: tuple[int, int, int] = (256, 256, 256)
    falloff: int = 24
    shadow: int = 90
    reach: tuple[int, int] = (10, 22)


LIGHTS = {
    "overhead": Light((50, 40)),
    "lamp-left": Light((5, 10), (256, 252, 244), 56, 104, (26, 24)),
    "lamp-right": Light((95, 10), (256, 252, 244), 56, 104, (-26, 24)),
    "daylight": Light((50, 0), (248, 252, 256), 30, 76, (8, 30)),
    "window": Light((0, 50), (250, 254, 256), 64, 96, (34, 10)),
    "evening": Light((80, 100), (256, 232, 196), 84, 116, (-16, -26)),
    "dim": Light((20, 90), (214, 212, 220), 72, 110, (20, -24)),
    "cloudy": Light((60, 20), (238, 240, 242), 16, 60, (4, 14)),
}
