"""Where the cards of a hand lie."""

from dataclasses import dataclass

from ruleshift.tasks.generalpoints.pictures.cards import HIGH, WIDE, turned_size
from ruleshift.tasks.generalpoints.pictures.looks import Look

MOST_CARDS = 6
MOST_ANGLE = 20
LEAST_SIDE = 32
MARGIN = 3  # hundredths of each side that stay free
ROW_STEP = 105  # from row to row, in hundredths of a card's height


@dataclass(frozen=True)
class Spot:
    """The box of a card on the canvas, its upper left corner in pixels; the card's own width, and how it is turned."""

    top: int
    left: int
    width: int
    angle: int


def spots(cards: int, look: Look, size: tuple[int, int]) -> tuple[Spot, ...]:
    """A spot for every card, in reading order, all within the canvas (height, width).

    Cards are as large as the canvas allows, in as many rows as that takes. Raises ValueError for numbers out of range.
    """
    _check(cards, look, size)
    step = 100 - look.overlap
    width, rows = max((_card_width(-(-cards // rows), rows, step, size), -rows) for rows in range(1, cards + 1))
    columns, height = -(-cards // -rows), width * HIGH // WIDE
    step_x, step_y = width * step // 100, height * ROW_STEP // 100
    left = _placed(size[1], width + (columns - 1) * step_x, look.place[0])
    top = _placed(size[0], height + (-rows - 1) * step_y, look.place[1])
    found = []
    for number, (angle, shift) in enumerate(zip(look.angles, look.shifts, strict=True)):
        row, column = divmod(number, columns)
        missing = max(0, (row + 1) * columns - cards)  # a last row that is not full lies in the middle
        x = left + column * step_x + missing * step_x // 2 + width // 2 + width * shift[0] // 100
        y = top + row * step_y + height // 2 + width * shift[1] // 100
        high, wide = turned_size(width, angle)
        found.append(Spot(_inside(y - high // 2, high, size[0]), _inside(x - wide // 2, wide, size[1]), width, angle))
    return tuple(found)


def _check(cards: int, look: Look, size: tuple[int, int]) -> None:
    if not 1 <= cards <= MOST_CARDS:
        raise ValueError(f"{cards} cards; a picture shows 1 to {MOST_CARDS}")
    if not len(look.angles) == len(look.shifts) == cards:
        raise ValueError(f"the look is made for {len(look.angles)} cards, not for {cards}")
    if max(map(abs, look.angles)) > MOST_ANGLE:
        raise ValueError(f"a card may be turned by {MOST_ANGLE} degrees at most")
    if min(size) < LEAST_SIDE:
        raise ValueError(f"a picture is at least {LEAST_SIDE} pixels high and wide")


def _card_width(columns: int, rows: int, step: int, size: tuple[int, int]) -> int:
    """The widest that a card can be with this many in a row and a column, and with any one of them turned."""
    height, width = (side * (100 - 2 * MARGIN) // 100 for side in size)
    high, wide = (side * 1000 for side in turned_size(1000, MOST_ANGLE))
    return min(
        width * 100 // (100 + (columns - 1) * step),
        height * 100 * WIDE // (HIGH * (100 + (rows - 1) * ROW_STEP)),
        height * 1_000_000 // high,
        width * 1_000_000 // wide,
    )


def _placed(side: int, length: int, place: int) -> int:
    """Where something of this length begins, at `place` hundredths of the room that the margins leave it."""
    margin = side * MARGIN // 100
    return margin + max(0, side - 2 * margin - length) * place // 100


def _inside(start: int, length: int, side: int) -> int:
    return max(0, min(start, side - length))
