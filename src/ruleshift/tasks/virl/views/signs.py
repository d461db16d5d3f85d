"""Signs of shops: the board with its lettering and logo, the sign that sticks out, the awning; gates of parks."""

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.views.font import spelled
from ruleshift.tasks.virl.views.houses import Unit, Wall
from ruleshift.tasks.virl.views.looks import Look
from ruleshift.tasks.virl.views.pictures import LETTER, Pictures, Word, trade
from ruleshift.tasks.virl.views.quads import Draft
from ruleshift.tasks.virl.world.graph import XY, Place

BOARD, LETTERING = 0.12, 0.15  # metres in front of the wall
READ = 90.0  # metres from which lettering is seen
SEEN = 160.0  # metres from which boards are seen
Box = tuple[tuple[float, float], tuple[float, float]]


def sign_place(draft: Draft, wall: Wall, unit: Unit, place: Place, look: Look, pictures: Pictures) -> None:
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
        _awning(
            draft, wall, start, end, low, look.awnings[rng.randrange(len(look.awnings))], pictures, rng.random() < 0.6
        )
    if look.blade != "none":
        at = end - 0.2 if rng.random() < 0.5 else start + 0.2
        _blade(draft, wall, at, place, look, pictures, logo, ink)


def write_name(
    draft: Draft, wall: Wall, name: str, box: Box, look: Look, pictures: Pictures, colour: tuple[int, int, int]
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
            _word(
                draft,
                wall.at(at, LETTERING),
                wall.at(at + word.columns * best, LETTERING),
                middle,
                best,
                word,
                wall,
                colour,
            )
            at += (word.columns + gap) * best


def _word(
    draft: Draft, left: XY, right: XY, middle: float, scale: float, word: Word, wall: Wall, colour: tuple[int, int, int]
) -> None:
    half = word.rows * scale / 2
    box = ((1.0, 1.0), (word.columns + 1.0, word.rows + 1.0))
    draft.wall(left, right, middle - half, middle + half, box, word.picture, wall.tint(colour), READ)


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
    draft: Draft, wall: Wall, at: float, place: Place, look: Look, pictures: Pictures, logo: int, ink: int
) -> None:
    """A sign across the pavement with the logo on both faces, and below it the name where it is a tall one."""
    ground, colour = look.signs[ink]
    side = {"panel": 1.15, "tall": 1.0, "disc": 0.95, "none": 0.0}[look.blade]
    near, far = 0.3, 0.3 + side
    low = look.ground + 0.25
    words = (
        [pictures.stacked[spelled(word)] for word in place.name.split() if spelled(word)]
        if look.blade == "tall"
        else []
    )
    tall = side + max((word.rows for word in words), default=0) * 0.022 + (0.15 if words else 0.0)
    high = low + tall
    iron = wall.tint(look.iron)
    draft.wall(
        wall.at(at, 0.0),
        wall.at(at, near),
        high - 0.3,
        high - 0.2,
        ((2.0, 2.0), (9.0, 9.0)),
        pictures.board,
        iron,
        READ,
    )
    draft.wall(
        wall.at(at, near),
        wall.at(at, 0.0),
        high - 0.3,
        high - 0.2,
        ((2.0, 2.0), (9.0, 9.0)),
        pictures.board,
        iron,
        READ,
    )
    thick = 0.06
    for s, ends in ((at - thick, (near, far)), (at + thick, (far, near))):
        a, b = wall.at(s, ends[0]), wall.at(s, ends[1])
        # seen from the left the wall is on the left, seen from the right on the right
        step = -0.02 if s < at else 0.02
        draft.wall(a, b, low, high, ((0.5, 0.5), (63.5, 31.5)), pictures.board, wall.tint(ground), SEEN)
        a, b = wall.at(s + step, ends[0]), wall.at(s + step, ends[1])
        draft.wall(a, b, high - side, high, ((0.5, 0.5), (63.5, 63.5)), logo, (250, 250, 250), SEEN)
        for number, word in enumerate(words):
            scale, share = 0.022, (number + 0.5) / len(words)
            middle = ends[0] + (ends[1] - ends[0]) * share
            half = word.columns * scale / 2 * (1 if ends[1] > ends[0] else -1)
            box = ((1.0, 1.0), (word.columns + 1.0, word.rows + 1.0))
            top = high - side - 0.05
            ends_of_word = wall.at(s + step, middle - half), wall.at(s + step, middle + half)
            draft.wall(*ends_of_word, top - word.rows * scale, top, box, word.picture, wall.tint(colour), READ)
    rim = wall.at(at - thick, far), wall.at(at + thick, far)
    draft.wall(*rim, low, high, ((2.0, 2.0), (9.0, 30.0)), pictures.board, wall.tint(look.iron), READ)
