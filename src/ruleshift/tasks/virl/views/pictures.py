"""All pictures that a city needs, in one atlas."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.views import facades, flora, surfaces
from ruleshift.tasks.virl.views.atlas import Atlas, Textures, in_colour, padded
from ruleshift.tasks.virl.views.font import spelled, stacked, written
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.world.names import KINDS

LETTER = 20  # texels of a capital


@dataclass(frozen=True)
class Word:
    """A picture of lettering: texels from (1, 1), `columns` x `rows` of them, for capitals of LETTER texels."""

    picture: int
    columns: int
    rows: int


@dataclass(frozen=True)
class Pictures:
    """Numbers of pictures in `textures`; the fields with several hold variants, one row per wall where they are two
    deep. `logos` has a picture per pair of colours and trade."""

    textures: Textures
    facades: tuple[tuple[int, ...], ...]
    sides: tuple[int, ...]
    houses: tuple[tuple[int, ...], ...]
    shutters: tuple[int, ...]
    shops: tuple[int, ...]
    trees: tuple[int, ...]
    lamp: int
    pavement: int
    kerb: int
    centre: int
    crosswalk: int
    board: int
    awnings: tuple[int, int]
    cornice: int
    car: tuple[int, int, int, int]  # side, front, back, pane
    shadow: int
    fence: int
    grass: int
    logos: tuple[tuple[int, ...], ...]
    words: dict[str, Word]
    stacked: dict[str, Word]


def draw_pictures(look: CityLook, words: Iterable[str]) -> Pictures:
    """Everything in one look, with lettering for these words."""
    rng = stream("virl-pictures", *look.walls, look.window, look.material)
    atlas = Atlas()
    atlas.add(surfaces.clouds(look, rng))
    atlas.add(surfaces.road(look, rng))
    facade_rows = tuple(tuple(atlas.add(facades.facade(look, colour, rng)) for _ in range(2)) for colour in look.walls)
    house_rows = tuple(
        tuple(atlas.add(facades.house_front(look, colour, rng)) for _ in range(2)) for colour in look.walls
    )
    shops = tuple(atlas.add(facades.shop_front(look, colour, door, rng)) for colour in look.fronts for door in range(3))
    lettering: dict[str, Word] = {}
    upright: dict[str, Word] = {}
    for word in sorted({spelled(word) for word in words} - {""}):
        for text, kept, draw in ((word, lettering, written), (word, upright, stacked)):
            if draw is stacked and look.blade != "tall":
                continue
            coverage = draw(text, LETTER, look.pen, look.slant)
            kept[word] = Word(atlas.add(padded(in_colour(coverage))), coverage.shape[1], coverage.shape[0])
    centre = {
        "dashes": surfaces.stripe(look.paint, 28, 12, 19), "edge": surfaces.stripe(look.paint, 64, 13, 18),
        "double": surfaces.double_line(look.paint), "none": surfaces.stripe(look.paint, 0, 12, 20),
    }[look.marking]  # fmt: skip
    return Pictures(
        facades=facade_rows,
        sides=tuple(atlas.add(facades.side_wall(look, colour, rng)) for colour in look.walls),
        houses=house_rows,
        shutters=tuple(atlas.add(facades.shutters(look, colour, rng)) for colour in look.walls),
        shops=shops,
        trees=tuple(atlas.add(flora.tree(look, rng)) for _ in range(3)),
        lamp=atlas.add(flora.lamp(look)),
        pavement=atlas.add(surfaces.pavement(look, rng)),
        kerb=atlas.add(surfaces.kerb(look)),
        centre=atlas.add(centre),
        crosswalk=atlas.add(surfaces.crosswalk(look)),
        board=atlas.add(surfaces.board()),
        awnings=(atlas.add(surfaces.awning(False)), atlas.add(surfaces.awning(True))),
        cornice=atlas.add(surfaces.cornice(look)),
        car=(
            atlas.add(surfaces.car_side()), atlas.add(surfaces.car_end(True)), atlas.add(surfaces.car_end(False)),
            atlas.add(surfaces.pane()),
        ),
        shadow=atlas.add(surfaces.shadow()),
        fence=atlas.add(surfaces.fence(look.iron)),
        grass=atlas.add(surfaces.grass(rng)),
        logos=tuple(
            tuple(atlas.add(surfaces.logo(number, ink, ground)) for number in range(32))
            for ground, ink in look.signs
        ),
        words=lettering,
        stacked=upright,
        textures=atlas.textures(),
    )  # fmt: skip


def trade(kind: str) -> int:
    """The number of a trade's logo; the same in every city."""
    return KINDS.index(kind) if kind in KINDS else zlib.crc32(kind.encode()) % 32
