"""What each city looks like, as data. Everything is invented in the manner of the place whose name it carries."""

from dataclasses import dataclass
from typing import Literal

from ruleshift.tasks.virl.views.paint import RGB

Material = Literal["brick", "stucco", "stone", "concrete", "tile", "glass", "boards", "render"]
Window = Literal[
    "sash", "arch", "shutter", "ribbon", "square", "bay", "grille", "loft", "tall", "wide",
    "slit", "pair", "hatch", "grid", "broad", "low",
]  # fmt: skip
Extra = Literal["", "escape", "balcony", "cooler", "box"]
Marking = Literal["dashes", "double", "edge", "none"]
Crossing = Literal["zebra", "lines", "ladder", "none"]
Paving = Literal["slabs", "setts", "concrete", "tiles", "earth"]
Tree = Literal["round", "tall", "palm", "column", "bush", "bare"]
Lamp = Literal["arms", "lantern", "globe", "hook", "pole"]
Blade = Literal["panel", "tall", "disc", "none"]


@dataclass(frozen=True)
class CityLook:
    """A city's factors. Metres, colours in red, green and blue.

    Houses: `walls` are their colours, of a `material` with `trim`; windows one per `bay` and `floor`, of the shape
    `window`, with an `extra` before some; `floors` at least and at most and a share of `towers` with up to
    `tower` floors; `lot` the width of a house; `cornice` its height.
    Shops: `signs` are pairs of ground and lettering; `fascia` the height of the board; `blade` the sign across the
    pavement; `awnings` colours, and the share of shops that have one; lettering with a `pen` in ninths of its height,
    and `slant`.
    Street: colours of `road`, `marking`, `kerb`, `paving`, with `sidewalk` metres wide; `cars` and `trees` per 100 m
    of kerb, trees with leaves of a colour, `height` and `spread` (their width, as a share of it); a `lamp` is of
    `iron`.
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
