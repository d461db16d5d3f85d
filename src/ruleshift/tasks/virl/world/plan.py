"""Drawing a city's streets: a grid of straight pieces, to which diagonals and dead ends are added with care."""

import math
from itertools import pairwise

from ruleshift.tasks.virl.compass import wrap
from ruleshift.tasks.virl.world.geometry import crossing, inside
from ruleshift.tasks.virl.world.graph import XY, heading
from ruleshift.tasks.virl.world.lines import between, nearest, rounded

APART = 18.0  # metres that streets keep from corners and streets which they do not meet
LEAST_ANGLE = 22.0  # degrees between two streets of a corner
STRAIGHT = 0.5  # degrees by which a street may turn without a corner
Piece = tuple[int, int]  # corners, the lower index first


class CityPlan:
    """Corners and the straight pieces of street between them, each with the label of its street.

    Whatever is added keeps the plan flat: pieces meet at corners only.
    """

    def __init__(self) -> None:
        self.points: list[XY] = []
        self.pieces: dict[Piece, str] = {}
        self.parks: list[list[XY]] = []

    def add(self, at: XY) -> int:
        """A new corner; coordinates are kept to the centimetre."""
        self.points.append(rounded(at))
        return len(self.points) - 1

    def connect(self, a: int, b: int, label: str) -> None:
        self.pieces[min(a, b), max(a, b)] = label

    def split(self, piece: Piece, at: XY) -> int:
        """A new corner on a piece."""
        corner = self.add(at)
        label = self.pieces.pop(piece)
        for end in piece:
            self.connect(end, corner, label)
        return corner

    def draw_diagonal(self, a: int, b: int, label: str) -> None:
        """Straight from corner to corner, with a new corner at every street crossed; nothing where there is no room."""
        start, end = self.points[a], self.points[b]
        cuts = []
        for piece in self.pieces:
            share = None if {a, b} & set(piece) else crossing(start, end, *self._ends(piece))
            if share is not None:
                at = between(start, end, share)
                if min(math.dist(at, corner) for corner in self._ends(piece)) < APART:
                    return
                cuts.append((share, piece, at))
        way = [a, *(self.split(piece, at) for _, piece, at in sorted(cuts)), b]
        for here, there in pairwise(way):
            if self._has_room(here, there):
                self.connect(here, there, label)

    def draw_dead_end(self, piece: Piece, share: float, length: float, left: bool, label: str) -> None:
        """A street that leaves a piece at right angles and ends after `length` metres, if there is room."""
        (ax, ay), (bx, by) = start, end = self._ends(piece)
        whole = math.dist(start, end)
        if min(share, 1 - share) * whole < APART:
            return
        at = between(start, end, share)
        turn = (1 if left else -1) * length / whole
        tip = at[0] - turn * (by - ay), at[1] + turn * (bx - ax)
        corner, last = self.split(piece, at), self.add(tip)
        if self._has_room(corner, last):
            self.connect(corner, last, label)

    def straighten(self) -> None:
        """Take out the corners at which a street only goes straight on."""
        meeting: dict[int, list[Piece]] = {}
        for piece in self.pieces:
            for corner in piece:
                meeting.setdefault(corner, []).append(piece)
        for corner in sorted(corner for corner, pieces in meeting.items() if len(pieces) == 2):
            first, second = (piece for piece in self.pieces if corner in piece)
            a, b = sorted((sum(first) - corner, sum(second) - corner))
            same = self.pieces[first] == self.pieces[second]
            if same and (a, b) not in self.pieces and self._in_line(corner, a, b):
                self.connect(a, b, self.pieces.pop(first))
                del self.pieces[second]

    def _in_line(self, corner: int, a: int, b: int) -> bool:
        return self._angle(corner, a, b) > 180 - STRAIGHT

    def _angle(self, corner: int, a: int, b: int) -> float:
        """Degrees between the ways from a corner to two others, in [0, 180]."""
        here = self.points[corner]
        return abs(wrap(heading(here, self.points[a]) - heading(here, self.points[b])))

    def _ends(self, piece: Piece) -> tuple[XY, XY]:
        return self.points[piece[0]], self.points[piece[1]]

    def _has_room(self, a: int, b: int) -> bool:
        """Whether a piece from a to b would keep apart from all others, and out of the parks."""
        start, end = self.points[a], self.points[b]
        middle = between(start, end, 0.5)
        if math.dist(start, end) < APART or any(inside(middle, park) or inside(end, park) for park in self.parks):
            return False
        return all(self._keeps_apart(a, b, piece) for piece in self.pieces if self._near(start, end, piece))

    def _near(self, start: XY, end: XY, piece: Piece) -> bool:
        """Whether a piece can come near to a segment, judged by circles around both."""
        first, last = self._ends(piece)
        reach = (math.dist(start, end) + math.dist(first, last)) / 2 + APART
        return math.dist(between(start, end, 0.5), between(first, last, 0.5)) < reach

    def _keeps_apart(self, a: int, b: int, piece: Piece) -> bool:
        shared = {a, b} & set(piece)
        if len(shared) == 2:
            return False
        if shared:
            corner = shared.pop()
            return self._angle(corner, *(other for other in (a, b, *piece) if other != corner)) >= LEAST_ANGLE
        start, end = line = self.points[a], self.points[b]
        c, d = other = self._ends(piece)
        gaps = [nearest(start, other), nearest(end, other), nearest(c, line), nearest(d, line)]
        return crossing(start, end, c, d) is None and min(gaps)[0] >= APART
