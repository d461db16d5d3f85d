"""What each city looks like, as data. Everything is invented in the manner of the place whose name it carries."""

from dataclasses import dataclass
from typing import Literal

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.views.paint import RGB

Material = Literal["brick", "stucco", "stone", "concrete", "tile", "glass", "boards", "render"]
Window = Literal["sash", "arch", "shutter", "ribbon", "square", "bay", "grille", "loft", "tall", "wide"]
Extra = Literal["", "escape", "balcony", "cooler", "box", "arcade"]
Marking = Literal["dashes", "double", "edge", "none"]
Crossing = Literal["zebra", "lines", "ladder", "none"]
Paving = Literal["slabs", "setts", "concrete", "tiles", "earth"]
Tree = Literal["round", "tall", "palm", "column", "bush", "bare"]
Lamp = Literal["arms", "lantern", "globe", "hook", "pole"]
Blade = Literal["panel", "tall", "disc", "none"]


@dataclass(frozen=True)
class Look:
    """A city's factors. Metres, colours in red, green and blue; `counts` per 100 m of kerb.

    Houses: `walls` are their colours, of a `material` with `trim`; windows one per `bay` and `floor`, of the shape
    `window`, with an `extra` before some; `floors` at least and at most and a share of `towers` with up to
    `tower` floors; `lot` the width of a house; `cornice` its height.
    Shops: `signs` are pairs of ground and lettering; `fascia` the height of the board; `blade` the sign that sticks out;
    `awnings` colours, and the share of shops that have one; lettering with a `pen` in ninths of its height, `slant`.
    Street: colours of `road`, `marking`, `kerb`, `paving`, with `sidewalk` metres wide; `cars` and `trees` per 100 m.
    Sky: colours from `zenith` to `horizon`, which is that of the haze; half of what is `sight` metres away is haze;
    `clouds` of 256; `sun` is where it stands in degrees, and `contrast` of 256 how much darker its shadow is.
    """

    walls: tuple[RGB, ...]
    trim: RGB
    material: Material
    window: Window
    glass: RGB
    bay: float
    floor: float
    floors: tuple[int, int]
    lot: tuple[float, float]
    signs: tuple[tuple[RGB, RGB], ...]
    fronts: tuple[RGB, ...]
    road: RGB
    paint: RGB
    kerb: RGB
    pavement: RGB
    zenith: RGB
    horizon: RGB
    sight: int
    extra: Extra = ""
    towers: float = 0.0
    tower: int = 12
    cornice: float = 0.5
    ground: float = 4.3
    fascia: float = 1.3
    blade: Blade = "panel"
    awnings: tuple[RGB, ...] = ()
    awning: float = 0.0
    pen: float = 1.5
    slant: float = 0.0
    marking: Marking = "dashes"
    crossing: Crossing = "zebra"
    paving: Paving = "slabs"
    sidewalk: float = 3.0
    tree: Tree = "round"
    leaves: RGB = (70, 110, 50)
    trees: float = 3.0
    height: float = 8.0
    spread: float = 0.8
    lamp: Lamp = "arms"
    iron: RGB = (60, 62, 66)
    car: tuple[RGB, ...] = ((200, 200, 205), (40, 42, 48), (120, 20, 24), (30, 50, 90), (90, 94, 98))
    cars: float = 6.0
    left_hand: bool = False
    clouds: int = 120
    sun: float = 200.0
    contrast: int = 70


LOOKS: dict[str, Look] = {
    "new-york": Look(
        walls=((138, 66, 50), (158, 84, 62), (120, 88, 70), (176, 150, 122), (98, 62, 52)),
        trim=(196, 180, 156), material="brick", window="sash", glass=(64, 84, 104), bay=2.7, floor=3.3,
        floors=(4, 7), towers=0.12, tower=16, lot=(8.0, 16.0), extra="escape", cornice=0.9,
        signs=(((20, 60, 44), (240, 236, 220)), ((150, 22, 28), (255, 250, 240)), ((24, 26, 30), (250, 206, 70)),
               ((18, 44, 92), (245, 245, 250))),
        fronts=((40, 42, 44), (58, 40, 30), (30, 50, 44)), blade="panel",
        awnings=((24, 84, 56), (150, 30, 34), (30, 50, 100)), awning=0.3, pen=1.6,
        road=(74, 76, 80), paint=(236, 190, 40), marking="double", crossing="ladder",
        kerb=(150, 150, 148), pavement=(172, 170, 164), paving="slabs", sidewalk=3.2,
        tree="round", leaves=(82, 122, 54), trees=3.0, lamp="hook", iron=(70, 74, 78), cars=9.0,
        car=((246, 196, 30), (246, 196, 30), (36, 38, 42), (220, 222, 224), (110, 114, 120), (120, 24, 28)),
        zenith=(70, 128, 208), horizon=(196, 216, 236), sight=300, clouds=110, sun=150.0, contrast=80,
    ),
}  # fmt: skip


def look_of(city: str) -> Look:
    """The look of a named city."""
    if city in LOOKS:
        return LOOKS[city]
    raise RuleshiftError(f"no city named {city!r} has a look: choose from {', '.join(LOOKS)}")
