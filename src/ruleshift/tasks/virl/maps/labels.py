"""Where on a picture there is room for a label: greedy, one label after another."""

import math
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ruleshift.tasks.virl.world.graph import XY, StreetGraph
from ruleshift.tasks.virl.world.lines import marks, point_at
from ruleshift.tasks.virl.world.ways import Node, Way, joined

CELL = 4.0  # pixels
SHIFT = 12.0  # pixels along a street from one place for its name to the next
BULGE = 5.0  # pixels that a street may swing out under its name
BESIDE = 1.15  # sizes of the text from the middle of a street to that of a name beside it


@dataclass(frozen=True)
class Box:
    """A rectangle on the picture for a line of text: its centre, its size, and by how many degrees it is turned.

    Degrees count clockwise. The text is set from its `anchor`, as SVG names it: start, middle or end.
    """

    x: float
    y: float
    width: float
    height: float
    degrees: float = 0.0
    anchor: str = "middle"

    def cells(self) -> set[tuple[int, int]]:
        """The squares of CELL pixels that it covers."""
        cosine, sine = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        covered = set()
        for along in _steps(self.width):
            for across in _steps(self.height):
                x, y = self.x + along * cosine - across * sine, self.y + along * sine + across * cosine
                covered.add((math.floor(x / CELL), math.floor(y / CELL)))
        return covered

    def within(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Whether all of it is inside a frame."""
        wide, high = self.width / 2, self.height / 2
        cosine, sine = abs(math.cos(math.radians(self.degrees))), abs(math.sin(math.radians(self.degrees)))
        x, y = wide * cosine + high * sine, wide * sine + high * cosine
        return left <= self.x - x and self.x + x <= right and top <= self.y - y and self.y + y <= bottom


@dataclass
class Room:
    """The frame of a picture and what is taken of it."""

    left: float
    top: float
    right: float
    bottom: float
    taken: set[tuple[int, int]] = field(default_factory=set)

    def take(self, box: Box) -> None:
        self.taken |= box.cells()

    def is_free(self, box: Box) -> bool:
        return self.taken.isdisjoint(box.cells())

    def first_free(self, boxes: Iterable[Box]) -> Box | None:
        """The first of some boxes that is inside the frame and covers nothing taken; it is taken then."""
        for box in boxes:
            if box.within(self.left, self.top, self.right, self.bottom) and self.taken.isdisjoint(cells := box.cells()):
                self.taken |= cells
                return box
        return None


def text_width(text: str, size: float) -> float:
    """About how many pixels a line of text takes in the font of the pictures."""
    return size * sum(_letter_width(letter) for letter in text)


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    if letter in "fijltrI.,:;'!|()[]/ ":
        return 0.33
    return 0.86 if letter in "mwMW@" else 0.7 if letter.isupper() else 0.56


def street_boxes(
    graph: StreetGraph, streets: Iterable[int], pixel: Callable[[XY], XY], size: float, focus: Sequence[XY]
) -> Iterator[tuple[str, list[Box]]]:
    """For these streets, joined as far as they go on, their names and the boxes where those could be written.

    A name is written where its street is straight: near one of the pixels `focus`, on the street or just beside it.
    """
    at: dict[Node, XY] = {}
    ways = defaultdict(list)
    for index in streets:
        street = graph.streets[index]
        nodes = (street.a, *((index, bend) for bend in range(len(street.bends))), street.b)
        at |= zip(nodes, map(pixel, graph.line(index)), strict=True)
        ways[street.name].append(Way(street.name, nodes))

    def cost(box: Box, middle: XY) -> float:
        return min(math.dist(middle, point) for point in focus) + 3 * math.dist(middle, (box.x, box.y))

    for name, pieces in ways.items():
        for way in joined(pieces):
            boxes = _along([at[node] for node in way.nodes], text_width(name, size) + 4, size)
            yield name, [box for box, _ in sorted(boxes, key=lambda pair: cost(*pair))]


def _along(line: Sequence[XY], width: float, size: float) -> Iterator[tuple[Box, XY]]:
    """Boxes on a line and at its sides where it is straight, each with the middle of that piece of line."""
    slack = marks(line)[-1] - width
    for step in range(math.floor(slack / SHIFT) + 1):
        start = slack % SHIFT / 2 + step * SHIFT
        a, b = point_at(line, start)[0], point_at(line, start + width)[0]
        (x, y), half = point_at(line, start + width / 2)[0], ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
        if math.dist(a, b) >= 0.97 * width and math.dist((x, y), half) <= BULGE:
            turn = (math.degrees(math.atan2(b[1] - a[1], b[0] - a[0])) + 90) % 180 - 90
            east, south = -math.sin(math.radians(turn)), math.cos(math.radians(turn))
            for beside in (0.0, -BESIDE * size, BESIDE * size):
                yield Box(half[0] + beside * east, half[1] + beside * south, width, size, turn), (x, y)


def _steps(length: float) -> list[float]:
    """Points from one end of a length to the other, around 0, at most 3/4 of a cell apart."""
    count = math.ceil(length / (0.75 * CELL))
    return [length * (step / count - 0.5) for step in range(count + 1)] if count else [0.0]
