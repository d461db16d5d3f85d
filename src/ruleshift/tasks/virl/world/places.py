"""Shops and parks along the streets of an invented city."""

import math
import random
from collections.abc import Iterator, Sequence

from ruleshift.tasks.virl.world.geometry import inside
from ruleshift.tasks.virl.world.graph import XY, Place, Side, StreetGraph, heading
from ruleshift.tasks.virl.world.lines import between, nearest, rounded
from ruleshift.tasks.virl.world.names import FIRST, KINDS
from ruleshift.tasks.virl.world.near import Near
from ruleshift.tasks.virl.world.styles import Style

WIDEST = 10.0  # metres from the middle of a street to its houses, at most
CORNER = 17.5  # metres from a street corner to its places, at most
SPACING = 8.0  # metres between two entrances, at least
TRIES = 4
WALL = 150.0  # degrees between two streets of a corner from which on there is no house corner, but a wall, between

Spot = tuple[XY, int, float, Side]  # as in Place: at, street, along, side


def furnish(bare: StreetGraph, parks: Sequence[Sequence[XY]], style: Style, rng: random.Random) -> tuple[Place, ...]:
    """Gates of the parks, places at street corners, then along the streets; no name twice."""
    facades = _Facades(bare, parks, style, rng)
    gates = [spot for park in parks if (spot := facades.gate(park))]
    shops = [spot for corner in range(len(bare.nodes)) for spot in facades.at_corner(corner, style.corners)]
    shops += [spot for street in range(len(bare.streets)) for spot in facades.along(street, style.places)]
    names = [(first, kind) for first in FIRST for kind in KINDS]
    rng.shuffle(names)
    firsts = list(FIRST)
    rng.shuffle(firsts)
    found = [Place(f"{first} Park", "park", *spot) for first, spot in zip(firsts, gates, strict=False)]
    found += [Place(f"{first} {kind}", kind, *spot) for (first, kind), spot in zip(names, shops, strict=False)]
    return tuple(found)


class _Facades:
    """The houses' fronts, and the entrances found so far. Every street is as wide on its left as on its right."""

    def __init__(self, bare: StreetGraph, parks: Sequence[Sequence[XY]], style: Style, rng: random.Random) -> None:
        self.bare, self.parks, self.rng = bare, parks, rng
        self.widths = [round(rng.uniform(*style.facade), 1) for _ in bare.streets]
        self.streets, self.others = Near(WIDEST), Near(SPACING)
        for street in range(len(bare.streets)):
            self.streets.add(street, bare.line(street))
        self.entrances: list[XY] = []

    def at_corner(self, node: int, chance: float) -> Iterator[Spot]:
        """At most one place between every two neighbouring streets of a corner, `chance` that there is one."""
        here = self.bare.nodes[node]
        ways = sorted((heading(here, self._far(street, node)), street) for street in self.bare.streets_at[node])
        if len(ways) < 3:
            return
        for (first, left), (second, right) in zip(ways, [*ways[1:], ways[0]], strict=True):
            if self.rng.random() >= chance:
                continue
            nearest = 1.0 if (second - first) % 360 >= WALL else 6.0
            for _ in range(TRIES):
                side = self._either_side()  # seen by who leaves the corner
                street = left if side == "right" else right
                spot = self._spot(street, node, self.rng.uniform(nearest, CORNER), side)
                if math.dist(spot[0], here) <= CORNER and not self._in_park(spot[0]) and self._take(spot):
                    yield spot
                    break

    def along(self, street: int, density: float) -> Iterator[Spot]:
        """Places between the corners, about `density` per 100 m."""
        length = self.bare.length(street)
        for _ in range(int(density * length / 100 + self.rng.random())):
            side, metres = self._either_side(), self.rng.uniform(CORNER, length - CORNER)
            spot = self._spot(street, self.bare.streets[street].a, metres, side)
            if length > 2 * CORNER and not self._in_park(spot[0]) and self._take(spot):
                yield spot

    def gate(self, park: Sequence[XY]) -> Spot | None:
        """The entrance of a park, where a street runs along it."""
        near = sorted({street for corner in park for street in self.streets.of(corner)})
        for _ in range(TRIES * len(near)):
            street = self.rng.choice(near)
            side, metres = self._either_side(), self.rng.uniform(0.2, 0.8) * self.bare.length(street)
            spot = self._spot(street, self.bare.streets[street].a, metres, side)
            if inside(spot[0], park) and self._take(spot):
                return spot
        return None

    def _either_side(self) -> Side:
        return "left" if self.rng.random() < 0.5 else "right"

    def _far(self, street: int, node: int) -> XY:
        piece = self.bare.streets[street]
        return self.bare.nodes[piece.b if piece.a == node else piece.a]

    def _spot(self, street: int, node: int, metres: float, side: Side) -> Spot:
        """An entrance so many metres from a corner of the street, on that side for who leaves the corner."""
        (ax, ay), (bx, by) = start, end = self.bare.line(street)
        length = math.dist(start, end)
        along = metres
        if self.bare.streets[street].b == node:
            along, side = length - metres, "left" if side == "right" else "right"
        x, y = between(start, end, along / length)
        out = self.widths[street] / length * (1 if side == "right" else -1)
        return rounded((x + out * (by - ay), y - out * (bx - ax))), street, round(along, 2), side

    def _take(self, spot: Spot) -> bool:
        """Keep the spot for a place, unless it lies on a street or next to another place."""
        at, home, *_ = spot
        on_street = any(
            nearest(at, self.bare.line(street))[0] < self.widths[street]
            for street in self.streets.of(at)
            if street != home
        )
        if on_street or any(math.dist(at, self.entrances[other]) < SPACING for other in self.others.of(at)):
            return False
        self.others.add(len(self.entrances), (at, at))
        self.entrances.append(at)
        return True

    def _in_park(self, at: XY) -> bool:
        return any(inside(at, park) for park in self.parks)
