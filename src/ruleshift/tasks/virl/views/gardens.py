"""Parks: blocks without houses, behind a fence."""

from ruleshift.tasks.virl.views.houses import Wall
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.pictures import Pictures
from ruleshift.tasks.virl.views.quads import Draft
from ruleshift.tasks.virl.views.signs import BOARD, write_name
from ruleshift.tasks.virl.views.streets import PAVEMENT
from ruleshift.tasks.virl.world.graph import XY, Place

FENCE = 1.4  # metres
GATE, GATE_LOW, GATE_HIGH = 5.0, 2.1, 3.2  # metres of the board with the park's name: width, lower and upper edge
ROWS = (3.0, 10.0)  # metres of the rows of trees behind the fence
APART = 8.0  # metres between two trees
GRASS_TEXELS = (16.0, 16.0)  # per metre


def plant(draft: Draft, ground: Draft, wall: Wall, end: XY, middle: XY, look: CityLook, pictures: Pictures) -> None:
    """The fence along one side of a park, and the grass from there to the park's middle."""
    box = (0.0, 0.0), (wall.length * 32, 64.0)
    for a, b in ((wall.start, end), (end, wall.start)):
        draft.wall(a, b, 0.0, FENCE, box, pictures.fence, wall.tint())
    ground.ground((end, wall.start, middle, middle), wall.way, GRASS_TEXELS, pictures.grass, layer=PAVEMENT)


def name_gate(draft: Draft, wall: Wall, along: float, place: Place, look: CityLook, pictures: Pictures) -> None:
    """A board with the park's name on two posts."""
    ground, ink = look.signs[0]
    start = min(max(along - GATE / 2, 0.1), max(wall.length - GATE, 0.1))
    end = start + GATE
    plain = (2.0, 2.0), (9.0, 9.0)
    for left in (start, end - 0.15):
        draft.wall(wall.at(left, BOARD), wall.at(left + 0.15, BOARD), 0.0, GATE_HIGH, plain, pictures.board, look.iron)
    board = wall.at(start, BOARD + 0.02), wall.at(end, BOARD + 0.02)
    rim = (0.5, 0.5), (63.5, 31.5)
    draft.wall(*board, GATE_LOW, GATE_HIGH, rim, pictures.board, wall.tint(ground))
    draft.wall(*board[::-1], GATE_LOW, GATE_HIGH, rim, pictures.board, wall.tint(ground))
    write_name(draft, wall, place.name, ((start + 0.2, GATE_LOW), (end - 0.2, GATE_HIGH)), look, pictures, ink)


def trees(wall: Wall, look: CityLook, pictures: Pictures, depth: float) -> list[tuple[float, ...]]:
    """Rows of trees along one side of a park, as deep as it is: see `streets.stand`."""
    found: list[tuple[float, ...]] = []
    for row, inwards in enumerate(ROWS):
        along = APART * (0.5 + row / 2)
        while along < wall.length - APART / 2 and inwards < depth:
            kind = (int(along) + row) % len(pictures.trees)
            tall = look.height * (0.9 + 0.1 * kind)
            at = wall.at(along, -inwards)
            found.append((*at, pictures.trees[kind], tall * look.spread, tall, 236 + 10 * row))
            along += APART
    return found
