"""Signs of shops: the board with its lettering and logo, the sign that sticks out, the awning; gates of parks."""

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.views.font import spelled
from ruleshift.tasks.virl.views.houses import Unit, Wall
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.pictures import LETTER, Pictures, trade
from ruleshift.tasks.virl.views.quads import Draft
from ruleshift.tasks.virl.world.graph import Place

BOARD, LETTERING = 0.12, 0.15  # metres in front of the wall
READ = 90.0  # metres from which lettering is seen
SEEN = 160.0  # metres from which boards are seen
THICK = 0.06  # metres from the middle of a sign across the pavement to its faces
STACKED = 0.022  # metres of a texel of letters one below the other
FULL = (250, 250, 250)  # the tint of logos that both sides of a street's light reach
Box = tuple[tuple[float, float], tuple[float, float]]


def sign_place(draft: Draft, wall: Wall, unit: Unit, place: Place, look: CityLook, pictures: Pictures) -> None:
    """Everything that names the place of a unit."""
    rng = stream("virl-sign", place.name)
    ink = rng.randrange(len(look.signs))
    ground, colour = look.signs[ink]
    logo = pictures.logos[ink][trade(place.kind)]
    start, end = unit.start + 0.15, unit.end - 0.15
    low = look.ground - 0.15 - look.fascia
    high = low + look.fascia
    draft.wall(
        wall.at(start, BOARD), wall.at(end, BOARD), low, high, ((0.5, 0.5), (63.5, 31.5)), pictures.board,
        wall.tint(ground), SEEN,
    )  # fmt: skip
    side = look.fascia * 0.84
    middle = (low + high) / 2
    draft.wall(
        wall.at(start + 0.1, LETTERING), wall.at(start + 0.1 + side, LETTERING), middle - side / 2, middle + side / 2,
        ((0.5, 0.5), (63.5, 63.5)), logo, wall.tint(), SEEN,
    )  # fmt: skip
    box = ((start + 0.25 + side, low), (end - 0.15, high))
    write_name(draft, wall, place.name, box, look, pictures, colour)
    if look.awnings and rng.random() < look.awning:
        cloth = look.awnings[rng.randrange(len(look.awnings))]
        _awning(draft, wall, start, end, low, cloth, pictures, striped=rng.random() < 0.6)
    if look.blade != "none":
        at = end - 0.2 if rng.random() < 0.5 else start + 0.2
        _blade(draft, wall, at, place, look, pictures, logo, ink)


def write_name(
    draft: Draft, wall: Wall, name: str, box: Box, look: CityLook, pictures: Pictures, colour: tuple[int, int, int]
) -> None:
    """The name in one line or two, whichever is larger, in the middle of a box of (metres along, height)."""
    words = [pictures.words[spelled(word)] for word in name.split() if spelled(word)]
    (left, low), (right, high) = box
    if not words or right - left < 0.5:
        return
    gap = LETTER * 0.6
    splits = [[words]] + [[words[:cut], words[cut:]] for cut in range(1, len(words))]
    best, lines = 0.0, splits[0]
    for split in splits:
        widest = max(sum(word.columns for word in line) + gap * (len(line) - 1) for line in split)
        scale = min((right - left) / widest, (high - low) * 0.9 / (len(split) * words[0].rows * 1.12))
        if scale > best:
            best, lines = scale, split
    step = (high - low) / len(lines)
    for number, line in enumerate(lines):
        wide = (sum(word.columns for word in line) + gap * (len(line) - 1)) * best
        at, middle = (left + right - wide) / 2, high - (number + 0.5) * step
        for word in line:
            ends = wall.at(at, LETTERING), wall.at(at + word.columns * best, LETTERING)
            half, whole = word.rows * best / 2, ((1.0, 1.0), (word.columns + 1.0, word.rows + 1.0))
            draft.wall(*ends, middle - half, middle + half, whole, word.picture, wall.tint(colour), READ)
            at += (word.columns + gap) * best


def _awning(
    draft: Draft, wall: Wall, start: float, end: float, low: float, colour: tuple[int, int, int], pictures: Pictures,
    striped: bool,
) -> None:  # fmt: skip
    """A slope of cloth over the window, with a border that hangs down and closed sides."""
    high, edge, out = low - 0.02, low - 0.75, 1.25
    picture, wide = pictures.awnings[striped], round((end - start) * 2) * 32.0
    a, b, c, d = wall.at(start, 0.1), wall.at(end, 0.1), wall.at(end, out), wall.at(start, out)
    draft.add(
        ((*a, high), (*b, high), (*c, edge), (*d, edge)), ((0.0, 0.0), (wide, 0.0), (0.0, 31.0)), picture,
        wall.tint(colour), SEEN,
    )  # fmt: skip
    draft.wall(d, c, edge - 0.25, edge, ((0.0, 0.0), (wide, 8.0)), picture, wall.tint(colour), SEEN)
    plain, dark = pictures.awnings[0], wall.tint(tuple(part * 200 >> 8 for part in colour))  # type: ignore[arg-type]
    for corners in (
        ((*a, high), (*d, edge), (*d, edge - 0.25), (*a, edge - 0.25)),
        ((*b, high), (*b, edge - 0.25), (*c, edge - 0.25), (*c, edge)),
    ):
        draft.add(corners, ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0)), plain, dark, READ)


def _blade(
    draft: Draft, wall: Wall, at: float, place: Place, look: CityLook, pictures: Pictures, logo: int, ink: int
) -> None:
    """A sign across the pavement with the logo on both faces, and below it the name where it is a tall one."""
    spelt = [spelled(word) for word in place.name.split()] if look.blade == "tall" else []
    words = [pictures.stacked[word] for word in spelt if word]
    side = {"panel": 1.15, "tall": 1.0, "disc": 0.95, "none": 0.0}[look.blade]
    near, far, low = 0.3, 0.3 + side, look.ground + 0.25
    high = low + side + max((word.rows for word in words), default=0) * STACKED + (0.15 if words else 0.0)
    ground, colour = look.signs[ink]
    plain, iron = ((2.0, 2.0), (9.0, 9.0)), wall.tint(look.iron)
    for a, b in ((0.0, near), (near, 0.0)):  # the bracket, from both sides
        draft.wall(wall.at(at, a), wall.at(at, b), high - 0.3, high - 0.2, plain, pictures.board, iron, READ)
    for towards, (left, right) in ((-1, (near, far)), (1, (far, near))):  # who comes along has the wall on the left
        board, front = at + towards * THICK, at + towards * (THICK + 0.02)
        rim = (0.5, 0.5), (63.5, 31.5)
        draft.wall(wall.at(board, left), wall.at(board, right), low, high, rim, pictures.board, wall.tint(ground), SEEN)
        whole = (0.5, 0.5), (63.5, 63.5)
        draft.wall(wall.at(front, left), wall.at(front, right), high - side, high, whole, logo, FULL, SEEN)
        for number, word in enumerate(words):
            middle = left + (right - left) * (number + 0.5) / len(words)
            half = word.columns * STACKED / 2 * (1 if right > left else -1)
            ends, top = (wall.at(front, middle - half), wall.at(front, middle + half)), high - side - 0.05
            box = (1.0, 1.0), (word.columns + 1.0, word.rows + 1.0)
            draft.wall(*ends, top - word.rows * STACKED, top, box, word.picture, wall.tint(colour), READ)
    edge = wall.at(at - THICK, far), wall.at(at + THICK, far)
    draft.wall(*edge, low, high, ((2.0, 2.0), (9.0, 30.0)), pictures.board, iron, READ)
