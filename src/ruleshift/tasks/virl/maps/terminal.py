"""A map for the terminal: a route, and where the walker is on it. `svg` draws the picture."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.cells import cell_len

from ruleshift.tasks.virl.rail import RailPoint
from ruleshift.tasks.virl.route import Route
from ruleshift.tasks.virl.world.graph import XY, StreetGraph
from ruleshift.tasks.virl.world.lines import between, onto, point_at
from ruleshift.tasks.virl.world.plane import flat, walked
from ruleshift.tasks.virl.world.snap import clean

ARROWS = "↑↗→↘↓↙←↖"
WINDS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
BRAILLE = 0x2800
BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of the dots of a braille letter, row by row
MARGIN = 30.0  # metres around the route
SPACING = 3  # dots of a line from one dot of a street to the next
Cell = tuple[int, int]  # column, row


def terminal_map(
    graph: StreetGraph, route: Route, position: RailPoint, width: int = 72, height: int = 22, plain: bool = False
) -> str:
    """So many lines of so many columns. North is up, and the last line (or lines) explains the rest.

    Streets are dotted, the route is a line; S is its start, digits are its intersections, X is its destination. An
    arrow shows where the walker is and looks. Landmarks and streets have their names where there is room. `plain` is
    for terminals that have neither arrows nor braille letters, out of which lines are made: it keeps to ASCII.
    """
    way = walked(route, graph.origin)
    stops = [flat(stop.at, graph.origin) for stop in route.milestones]
    here = onto(flat(position.at, graph.origin), way)
    looks = round(position.heading / 45) % 8
    you = f"@: you, facing {WINDS[looks]}  #: route" if plain else "arrow: you"
    legend = f"{you}  S: start  1-9: intersections  X: destination  a column: {{:.0f}} m"
    grid = _Grid([*way, *stops], width, height - len(textwrap.wrap(legend.format(100), width)))
    for street in range(len(graph.streets)):
        grid.draw(graph.line(street), SPACING)
    grid.draw(way, 1, is_way=True)
    for letter, at in [("S", way[0]), *((str(n % 10), at) for n, at in enumerate(stops[:-1], 1)), ("X", stops[-1])]:
        grid.letters[grid.cell(at)] = letter
    grid.letters[grid.cell(here)] = "@" if plain else ARROWS[looks]
    for stop, at in zip(route.milestones, stops, strict=True):
        if stop.sight is not None:
            grid.write(stop.sight.name, at)
    for street, piece in enumerate(graph.streets):
        grid.write(piece.name, point_at(graph.line(street), graph.length(street) / 2)[0])
    drawn = "\n".join([*grid.rows(plain), *textwrap.wrap(legend.format(2 / grid.scale), width)])
    return drawn.encode("ascii", "replace").decode() if plain else drawn


class _Grid:
    """Cells of a terminal, each a letter or eight dots, two across and four down; `scale` is in dots per metre."""

    def __init__(self, points: Sequence[XY], width: int, height: int) -> None:
        self.width, self.height = width, height
        xs, ys = zip(*points, strict=True)
        wide, high = (max(axis) - min(axis) + 2 * MARGIN for axis in (xs, ys))
        self.scale = min(2 * width / wide, 4 * height / high)
        self.middle = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
        self.dots: dict[Cell, int] = {}
        self.letters: dict[Cell, str] = {}
        self.way: set[Cell] = set()
        self.names: set[str] = set()

    def cell(self, at: XY) -> Cell:
        x, y = self._dot(at)
        return x // 2, y // 4

    def draw(self, line: Sequence[XY], spacing: int, is_way: bool = False) -> None:
        """A dot at every `spacing` dots along a line."""
        for a, b in pairwise(line):
            count = math.ceil(math.dist(a, b) * self.scale / spacing)
            for step in range(count + 1):
                x, y = self._dot(between(a, b, step / max(count, 1)))
                cell = x // 2, y // 4
                if 0 <= x < 2 * self.width and 0 <= y < 4 * self.height:
                    self.dots[cell] = self.dots.get(cell, 0) | BITS[y % 4][x % 2]
                    if is_way:
                        self.way.add(cell)

    def write(self, name: str, at: XY) -> None:
        """A name beside, above or below a point, once, if there is room."""
        text, (column, row) = clean(name), self.cell(at)
        wide = cell_len(text)
        spots = [(column + 2, row), (column - 1 - wide, row)]
        spots += [(column - wide // 2 + shift, row + up) for up in (-1, 1) for shift in (0, wide // 3, -wide // 3)]
        for left, line in spots if text not in self.names else ():
            inside = 0 <= line < self.height and left > 0 and left + wide < self.width
            cells = [(left + shift, line) for shift in range(-1, wide + 1)]
            if inside and not any(cell in self.letters or cell in self.way for cell in cells):
                self.names.add(text)
                for letter in text:
                    self.letters[left, line] = letter
                    left += cell_len(letter)
                return

    def rows(self, plain: bool) -> Iterator[str]:
        for row in range(self.height):
            line, column = "", 0
            while column < self.width:
                letter = self.letters.get((column, row)) or self._line((column, row), plain)
                line += letter
                column += cell_len(letter)
            yield line.replace(chr(BRAILLE), " ").rstrip()

    def _line(self, cell: Cell, plain: bool) -> str:
        if plain:
            return "#" if cell in self.way else "." if cell in self.dots else " "
        return chr(BRAILLE + self.dots.get(cell, 0))

    def _dot(self, at: XY) -> Cell:
        """How many dots a point is from the left and from the top."""
        x, y = (at[0] - self.middle[0]) * self.scale, (at[1] - self.middle[1]) * self.scale
        return self.width + math.floor(x), 2 * self.height - math.floor(y)
