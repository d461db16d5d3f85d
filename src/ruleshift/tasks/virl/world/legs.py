"""The legs that a map offers: from crossing to crossing, from a crossing to a place, from a street to a crossing.

A crossing is a corner where three streets or more meet; other corners are bends, which are passed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ruleshift.tasks.virl.compass import wrap
from ruleshift.tasks.virl.route import SIDES
from ruleshift.tasks.virl.world.graph import XY, Place, StreetGraph, heading
from ruleshift.tasks.virl.world.lines import marks, point_at
from ruleshift.tasks.virl.world.near import Near

SECTOR = 45.0  # degrees of a compass word, and of a side


@dataclass(frozen=True)
class Limits:
    """What a route may look like: metres along the streets, and degrees. V-IRL's values for start, leg and landmark.

    `start` is how far the first crossing is from the start, at least and at most; on shorter streets down to
    `short_start`. `leg` is the length of a leg between crossings, `goal` that of the last one. A landmark is within
    `landmark` of its crossing. `straight_on` is the share of crossings that are passed by a turn of 45 degrees or
    less, where there is a choice. The ends of a leg are at least `straightness` of its length apart. No turn is sharper
    than `sharpest`, neither from leg to leg nor at the crossing itself. `margin` is how far headings, turns and sides
    keep from the borders between two words.
    """

    start: tuple[float, float] = (40.0, 150.0)
    short_start: float = 12.0
    leg: tuple[float, float] = (15.0, 150.0)
    goal: tuple[float, float] = (20.0, 150.0)
    landmark: float = 18.0
    straight_on: float = 0.3
    straightness: float = 0.9
    sharpest: float = 160.0
    margin: float = 3.0

    def clear_heading(self, degrees: float) -> bool:
        """Whether a heading keeps from the borders between two of the eight compass words, or sides."""
        return abs(degrees % SECTOR - SECTOR / 2) >= self.margin

    def clear_turn(self, before: float, after: float) -> bool:
        """Whether a turn is none of those back, and keeps from the borders between left, slightly left, slightly right
        and right."""
        turn = abs(wrap(after - before))
        return self.margin <= turn <= min(180 - self.margin, self.sharpest) and abs(turn - 45) >= self.margin


@dataclass(frozen=True)
class Leg:
    """A way to the crossing `end`, or to the place `goal`. Its heading is that from its first to its last point.

    `corners` are all that it touches, but for the crossing that it leaves; `length` in metres, `heading` in whole
    degrees.
    """

    points: tuple[XY, ...]
    corners: tuple[int, ...]
    length: float
    heading: int
    end: int | None = None
    goal: Place | None = None


@dataclass(frozen=True)
class Stretch:
    """The way out of a crossing by one of its streets, up to the next crossing or a dead end."""

    points: tuple[XY, ...]
    corners: tuple[int, ...]  # without the crossing
    streets: tuple[tuple[int, bool], ...]  # index, and whether it is walked from its corner a to b
    length: float

    def cut(self, metres: float) -> tuple[XY, ...]:
        """The first so many metres."""
        passed = [point for point, mark in zip(self.points, marks(self.points), strict=True) if mark < metres]
        return (*passed, point_at(self.points, metres)[0])


class LegTable:
    """All legs on one map within some limits.

    `places` are those that routes may name: not those that are called as a street is, such as a stop or a sign, for a
    walker could not tell which of the two is meant.
    """

    def __init__(self, graph: StreetGraph, limits: Limits) -> None:
        self.graph, self.limits = graph, limits
        streets = {street.name.casefold() for street in graph.streets}
        self.places = tuple(place for place in graph.places if place.name.casefold() not in streets)
        self._stretches: dict[tuple[int, int], Stretch] = {}
        self._onward: dict[int, tuple[Leg, ...]] = {}
        self._goals: dict[int, tuple[Leg, ...]] = {}

    @cached_property
    def starts(self) -> tuple[tuple[int, int], ...]:
        """The crossings, each with a street by which a route may come to it and go on for two legs."""
        found = [(crossing, street) for crossing in self.crossings for street in self.graph.streets_at[crossing]]
        return tuple(start for start in found if self._leads_on(self.arrival(*start, 0.5)))

    def _leads_on(self, first: Leg | None) -> bool:
        if first is None:
            return False
        visited = set(first.corners)
        return any(self.after(leg, visited | set(leg.corners), True) for leg in self.after(first, visited, False))

    @cached_property
    def crossings(self) -> tuple[int, ...]:
        return tuple(corner for corner, streets in enumerate(self.graph.streets_at) if len(streets) >= 3)

    def arrival(self, crossing: int, street: int, share: float) -> Leg | None:
        """A leg that comes to a crossing by one of its streets; `share` in [0, 1) says from how far away."""
        stretch = self.stretch(crossing, street)
        least, most = self.limits.start
        most = min(most, stretch.length - self.limits.short_start)
        metres = least + share * (most - least) if most > least else most
        if metres < self.limits.short_start:
            return None
        return self._leg(stretch.cut(metres)[::-1], (crossing, *stretch.corners), metres, end=crossing)

    def after(self, leg: Leg, visited: set[int], to_place: bool) -> list[Leg]:
        """The legs to a place, or else to a crossing, that a clear turn leads to and that touch no corner visited."""
        assert leg.end is not None
        offered = self.goals(leg.end) if to_place else self.onward(leg.end)
        return [
            other
            for other in offered
            if visited.isdisjoint(other.corners)
            and self.limits.clear_turn(leg.heading, other.heading)
            and abs(wrap(heading(*other.points[:2]) - heading(*leg.points[-2:]))) <= self.limits.sharpest
        ]

    def onward(self, crossing: int) -> tuple[Leg, ...]:
        """The legs from one crossing to the next ones."""
        if crossing not in self._onward:
            stretches = [self.stretch(crossing, street) for street in self.graph.streets_at[crossing]]
            legs = [self._leg(s.points, s.corners, s.length, s.corners[-1]) for s in stretches if self._fits(s)]
            self._onward[crossing] = tuple(leg for leg in legs if leg)
        return self._onward[crossing]

    def goals(self, crossing: int) -> tuple[Leg, ...]:
        """The legs from a crossing to the places on its streets."""
        if crossing not in self._goals:
            legs = [leg for street in self.graph.streets_at[crossing] for leg in self._to_places(crossing, street)]
            self._goals[crossing] = tuple(legs)
        return self._goals[crossing]

    def landmarks(self, corner: int) -> list[Place]:
        """The places near a crossing; none near other corners."""
        return self._near.get(corner, [])

    def side(self, leg: Leg, place: Place) -> str | None:
        """On which side a place is from the end of a leg; None too close to the border between two sides."""
        bearing = (heading(leg.points[-1], place.at) - leg.heading) % 360
        return SIDES[round(bearing / SECTOR) % len(SIDES)] if self.limits.clear_heading(bearing) else None

    def stretch(self, crossing: int, street: int) -> Stretch:
        if (crossing, street) not in self._stretches:
            self._stretches[crossing, street] = self._follow(crossing, street)
        return self._stretches[crossing, street]

    def _follow(self, crossing: int, street: int) -> Stretch:
        points, corners, streets, length = [self.graph.nodes[crossing]], [crossing], [], 0.0
        while True:
            piece, line = self.graph.streets[street], self.graph.line(street)
            forth = piece.a == corners[-1]
            points += (line if forth else line[::-1])[1:]
            streets.append((street, forth))
            length += self.graph.length(street)
            corners.append(piece.b if forth else piece.a)
            meeting = self.graph.streets_at[corners[-1]]
            if len(meeting) != 2 or corners[-1] in corners[:-1]:
                return Stretch(tuple(points), tuple(corners[1:]), tuple(streets), length)
            street = meeting[1] if meeting[0] == street else meeting[0]

    def _fits(self, stretch: Stretch) -> bool:
        least, most = self.limits.leg
        return least <= stretch.length <= most and len(self.graph.streets_at[stretch.corners[-1]]) >= 3

    def _to_places(self, crossing: int, street: int) -> Iterator[Leg]:
        """Legs to the places along a stretch that are not landmarks of its ends."""
        stretch = self.stretch(crossing, street)
        least, most = self.limits.goal
        landmarks = (*self.landmarks(crossing), *self.landmarks(stretch.corners[-1]))
        walked = 0.0
        for passed, (piece, forth) in enumerate(stretch.streets):
            length = self.graph.length(piece)
            for place in self._places.get(piece, ()):
                metres = walked + (place.along if forth else length - place.along)
                if least <= metres <= most and place not in landmarks:
                    leg = self._leg(stretch.cut(metres), stretch.corners[:passed], metres, goal=place)
                    if leg and self.side(leg, place):
                        yield leg
            walked += length

    def _leg(
        self,
        points: tuple[XY, ...],
        corners: tuple[int, ...],
        metres: float,
        end: int | None = None,
        goal: Place | None = None,
    ) -> Leg | None:
        """The leg, if it is straight enough and its heading clear of the borders between compass words."""
        chord = math.dist(points[0], points[-1])
        degrees = round(heading(points[0], points[-1])) % 360
        if chord < self.limits.straightness * metres or not self.limits.clear_heading(degrees):
            return None
        return Leg(points, corners, metres, degrees, end, goal)

    @cached_property
    def _places(self) -> dict[int, list[Place]]:
        """The places of each street."""
        found: dict[int, list[Place]] = {}
        for place in self.places:
            found.setdefault(place.street, []).append(place)
        return found

    @cached_property
    def _near(self) -> dict[int, list[Place]]:
        """The landmarks of each crossing."""
        reach, places = self.limits.landmark, self.places
        near = Near(reach)
        for number, place in enumerate(places):
            near.add(number, (place.at, place.at))
        found = {}
        for crossing in self.crossings:
            at = self.graph.nodes[crossing]
            found[crossing] = [places[n] for n in near.of(at) if math.dist(places[n].at, at) <= reach]
        return found
