"""Routes on a street graph, whatever map it comes from: a pure function of (graph, seed, index, legs).

A route starts on a street, walks leg by leg from crossing to crossing, and ends at a place on a further street. It
visits no corner twice. Headings are whole degrees and distances whole metres, which the schema of the paper's data
holds exactly.
"""

import random
import zlib
from functools import lru_cache

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.compass import wrap
from ruleshift.tasks.virl.route import Geocode, Milestone, Route, Sight
from ruleshift.tasks.virl.world.graph import XY, Place, StreetGraph
from ruleshift.tasks.virl.world.legs import Leg, LegTable, Limits
from ruleshift.tasks.virl.world.procedural import procedural

ATTEMPTS, FROM_ONE_START = 400, 40  # to find a way; after some of them, from other starts
HELD_OUT = 3
LARGER = "take a larger map, or a split whose routes have fewer legs"
WORLD = 0  # seed of the cities that `procedural_route` walks through
DEFAULT = Limits()
INVENTED = Limits(sharpest=180.0)  # in invented cities routes may also turn back, as they did when studies began


class RouteBuilder:
    """Draws routes on one map.

    One in HELD_OUT of the ways through a map is held out, by a checksum of its crossings and destination: with
    `heldout` False or True a series is made of the others or of those alone, so that no way is in both.
    """

    def __init__(self, graph: StreetGraph, limits: Limits = DEFAULT) -> None:
        self.graph, self.limits, self.table = graph, limits, LegTable(graph, limits)
        self._orders: dict[int | str, list[tuple[int, int]]] = {}

    def route(self, seed: int | str, index: int, legs: tuple[int, int] = (2, 4), heldout: bool | None = None) -> Route:
        """The route at `index` of an endless series.

        Every start on the map is used once before one is used again. Raises RuleshiftError if none leads anywhere.
        """
        part = {None: "", False: "/kept", True: "/heldout"}[heldout]
        name = f"{self.graph.name}/{seed}/{legs[0]}-{legs[1]}{part}/{index}"
        rng = stream("virl-route", name)
        starts = self._starts(seed)
        for attempt in range(ATTEMPTS if starts else 0):
            crossing, street = starts[index % len(starts)] if attempt < FROM_ONE_START else rng.choice(starts)
            way = self._walk(crossing, street, rng.randint(*legs), rng)
            if way and heldout in (None, self._is_heldout(way)):
                return self._describe(name, self.graph.streets[street].name, way, rng)
        raise RuleshiftError(f"found no route of {counted(legs)} on the map of {self.graph.name}: {LARGER}")

    def distinct(
        self, count: int, seed: int | str, legs: tuple[int, int] = (2, 4), heldout: bool | None = None
    ) -> list[Route]:
        """The first `count` routes of a series that go different ways; RuleshiftError if there are not so many."""
        found: dict[object, Route] = {}
        for index in range(20 * count + 200):
            if len(found) == count:
                break
            route = self.route(seed, index, legs, heldout)
            found.setdefault((route.milestones[0].heading, *(stop.at for stop in route.milestones)), route)
        if len(found) < count:
            raise RuleshiftError(
                f"found {len(found)} different routes of {counted(legs)} on the map of {self.graph.name}, not {count}: "
                f"{LARGER}"
            )
        return list(found.values())

    def _is_heldout(self, way: list[Leg]) -> bool:
        crossings = [leg.end for leg in way if leg.end is not None]
        name = way[-1].goal.name if way[-1].goal else ""
        return zlib.crc32(f"{self.graph.name}/{crossings}/{name}".encode()) % HELD_OUT == 0

    def _starts(self, seed: int | str) -> list[tuple[int, int]]:
        """All starts in an order that the seed gives."""
        if seed not in self._orders:
            starts = list(self.table.starts)
            stream("virl-starts", self.graph.name, seed).shuffle(starts)
            self._orders[seed] = starts
        return self._orders[seed]

    def _walk(self, crossing: int, street: int, legs: int, rng: random.Random) -> list[Leg] | None:
        """Legs that come to a crossing by one of its streets and lead on to a destination; None from a blind alley."""
        first = self.table.arrival(crossing, street, rng.random())
        if first is None:
            return None
        way, visited = [first], set(first.corners)
        while len(way) < legs:
            options = self.table.after(way[-1], visited, to_place=len(way) == legs - 1)
            if not options:
                return None
            way.append(self._choose(options, way[-1].heading, rng))
            visited.update(way[-1].corners)
        return way

    def _choose(self, legs: list[Leg], before: int, rng: random.Random) -> Leg:
        """Mostly one round a corner, where there is a choice."""
        straight_on = rng.random() < self.limits.straight_on
        preferred = [leg for leg in legs if (abs(wrap(leg.heading - before)) <= 45) == straight_on]
        return rng.choice(preferred or legs)

    def _describe(self, name: str, start_name: str, way: list[Leg], rng: random.Random) -> Route:
        """The route as data, with the landmarks seen on the way and a heading to begin with."""
        taken = {leg.goal.name for leg in way if leg.goal}
        milestones = []
        for leg in way:
            sight = self._see(leg, taken, rng)
            taken |= {sight.name} if sight else set()
            milestones.append(
                Milestone(self._geocode(leg.points[-1]), float(leg.heading), float(round(leg.length)), sight)
            )
        points = [way[0].points[0], *(point for leg in way for point in leg.points[1:])]
        initial = rng.randint(1, 359)
        while not self.limits.clear_turn(initial, way[0].heading):
            initial = rng.randint(1, 359)
        polyline = tuple(map(self._geocode, points))
        return Route(name, self.graph.name, start_name, polyline[0], float(initial), tuple(milestones), polyline)

    def _see(self, leg: Leg, taken: set[str], rng: random.Random) -> Sight | None:
        """The destination, or one of the landmarks at the end of a leg that the route has not had."""
        places = [leg.goal] if leg.goal else [place for place in self._landmarks(leg) if place.name not in taken]
        sights = [Sight(place.name, side) for place in places if (side := self.table.side(leg, place))]
        return rng.choice(sights) if sights else None

    def _landmarks(self, leg: Leg) -> list[Place]:
        return [] if leg.end is None else self.table.landmarks(leg.end)

    def _geocode(self, at: XY) -> Geocode:
        latitude, longitude = self.graph.geocode(at)
        return round(latitude, 7), round(longitude, 7)


def counted(legs: tuple[int, int]) -> str:
    """Such numbers of legs in words."""
    least, most = legs
    return f"{least} legs" if least == most else f"{least} to {most} legs"


def build_routes(
    graph: StreetGraph, count: int, seed: int, legs: tuple[int, int] = (2, 4), limits: Limits = DEFAULT
) -> list[Route]:
    """So many routes that go different ways; RuleshiftError if the map does not hold them."""
    return RouteBuilder(graph, limits).distinct(count, seed, legs)


def procedural_route(
    city: str, seed: int | str, index: int, legs: tuple[int, int] = (2, 4), heldout: bool | None = None
) -> Route:
    """The route at `index` of an endless series through an invented city; see RouteBuilder."""
    return builder_of(city).route(seed, index, legs, heldout)


@lru_cache(maxsize=64)
def builder_of(city: str) -> RouteBuilder:
    """The builder of an invented city, made once."""
    return RouteBuilder(procedural(WORLD, city), INVENTED)
