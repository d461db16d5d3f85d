"""Drawing a city's streets: a grid of straight pieces, to which diagonals and dead ends are added with care."""

import math
from itertools import pairwise

from ruleshift.tasks.virl.world.geometry import XY, angle_between, crossing, gap, inside, toward
from ruleshift.tasks.virl.world.graph import heading

APART = 18.0  # metres that streets keep from corners and streets which they do not meet
LEAST_ANGLE = 22.0  # degrees between two streets of a corner
Piece = tuple[int, int]  # corners, the lower index first


class Plan:
    """Corners and the straight pieces of street between them, each with the label of its street.

    Whatever is added keeps the plan flat: pieces meet at corners only.
    """

    def __init__(self) -> None:
        self.points: list[XY] = []
        self.pieces: dict[Piece, str] = {}
        self.parks: list[list[XY]] = []

    def add(self, at: XY) -> int:
        """A new corner; coordinates are kept to the centimetre."""
        self.points.append((round(at[0], 2), round(at[1], 2)))
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
                at = toward(start, end, share * math.dist(start, end))
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
        at = toward(start, end, share * whole)
        turn = (1 if left else -1) * length / whole
        tip = at[0] - turn * (by - ay), at[1] + turn * (bx - ax)
        corner, last = self.split(piece, at), self.add(tip)
        if self._has_room(corner, last):
            self.connect(corner, last, label)

    def _ends(self, piece: Piece) -> tuple[XY, XY]:
        return self.points[piece[0]], self.points[piece[1]]

    def _has_room(self, a: int, b: int) -> bool:
        """Whether a piece from a to b would keep apart from all others, and out of the parks."""
        start, end = self.points[a], self.points[b]
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        if math.dist(start, end) < APART or any(inside(middle, park) or inside(end, park) for park in self.parks):
            return False
        return all(self._keeps_apart(a, b, piece) for piece in self.pieces if self._near(start, end, piece))

    def _near(self, start: XY, end: XY, piece: Piece) -> bool:
        return all(
            min(start[axis], end[axis]) - APART < max(other[axis] for other in self._ends(piece))
            and max(start[axis], end[axis]) + APART > min(other[axis] for other in self._ends(piece))
            for axis in (0, 1)
        )

    def _keeps_apart(self, a: int, b: int, piece: Piece) -> bool:
        shared = {a, b} & set(piece)
        if len(shared) == 2:
            return False
        start, end = self.points[a], self.points[b]
        if shared:
            corner = shared.pop()
            tips = [self.points[other] for other in (a, b, *piece) if other != corner]
            ways = [heading(self.points[corner], tip) for tip in tips]
            return angle_between(*ways) >= LEAST_ANGLE
        c, d = self._ends(piece)
        apart = min(gap(start, c, d), gap(end, c, d), gap(c, start, end), gap(d, start, end))
        return crossing(start, end, c, d) is None and apart >= APART
