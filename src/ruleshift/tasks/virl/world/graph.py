"""A city as data: street corners, named streets between them, and places along the streets.

Coordinates are metres: x grows to the east, y to the north, from an origin given in degrees. Headings are degrees
clockwise from north, in [0, 360).
"""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeVar

METRES_PER_DEGREE = 111_320.0  # of latitude
Side = Literal["left", "right"]
XY = tuple[float, float]
Corner = TypeVar("Corner", bound=Hashable)


@dataclass(frozen=True)
class Street:
    """A piece of street between the corners `a` and `b` (indices of nodes), straight but for its `bends`."""

    a: int
    b: int
    name: str
    bends: tuple[XY, ...] = ()


@dataclass(frozen=True)
class Place:
    """A shop, a park, a station: where its entrance is, on which piece of street, and on which side going a to b.

    `along` is the distance in metres from corner `a`, along the street, of the point nearest to the entrance.
    """

    name: str
    kind: str
    at: XY
    street: int
    along: float
    side: Side


@dataclass(frozen=True)
class StreetGraph:
    """One city. `nodes` are corners where streets meet or end; `origin` is (latitude, longitude) of (0, 0)."""

    name: str
    origin: tuple[float, float]
    nodes: tuple[XY, ...]
    streets: tuple[Street, ...]
    places: tuple[Place, ...]

    @cached_property
    def streets_at(self) -> tuple[tuple[int, ...], ...]:
        """Per node, the indices of the streets that meet there."""
        meeting: list[list[int]] = [[] for _ in self.nodes]
        for index, street in enumerate(self.streets):
            meeting[street.a].append(index)
            meeting[street.b].append(index)
        return tuple(map(tuple, meeting))

    def line(self, street: int) -> tuple[XY, ...]:
        """The street's points from corner `a` to corner `b`."""
        piece = self.streets[street]
        return (self.nodes[piece.a], *piece.bends, self.nodes[piece.b])

    def length(self, street: int) -> float:
        """Metres along the street."""
        points = self.line(street)
        return sum(math.dist(p, q) for p, q in pairwise(points))

    def geocode(self, at: XY) -> tuple[float, float]:
        """(latitude, longitude) in degrees of a point, on a plane that touches the globe at the origin."""
        latitude, longitude = self.origin
        east = METRES_PER_DEGREE * math.cos(math.radians(latitude))
        return latitude + at[1] / METRES_PER_DEGREE, longitude + at[0] / east

    def locate(self, geocode: tuple[float, float]) -> XY:
        """Where a (latitude, longitude) in degrees is, in metres: the inverse of `geocode`."""
        latitude, longitude = self.origin
        east = METRES_PER_DEGREE * math.cos(math.radians(latitude))
        return (geocode[1] - longitude) * east, (geocode[0] - latitude) * METRES_PER_DEGREE


def heading(start: XY, end: XY) -> float:
    """Degrees clockwise from north of the way from `start` to `end`, in [0, 360)."""
    return math.degrees(math.atan2(end[0] - start[0], end[1] - start[1])) % 360


def hanging_together(links: Iterable[tuple[Corner, Corner]]) -> list[set[Corner]]:
    """Groups of corners that links join, directly or through others, in the order of their first links."""
    neighbours: dict[Corner, list[Corner]] = {}
    for a, b in links:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    groups: list[set[Corner]] = []
    seen: set[Corner] = set()
    for first in neighbours:
        if first in seen:
            continue
        group, waiting = {first}, [first]
        while waiting:
            fresh = [there for there in neighbours[waiting.pop()] if there not in group]
            group.update(fresh)
            waiting += fresh
        seen |= group
        groups.append(group)
    return groups
