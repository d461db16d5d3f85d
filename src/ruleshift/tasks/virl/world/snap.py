"""Places of a real map on their streets: which piece of street, how far along it, and on which side."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ruleshift.tasks.virl.world.graph import XY, Place, StreetGraph
from ruleshift.tasks.virl.world.lines import between, direction, marks, nearest, rounded
from ruleshift.tasks.virl.world.near import Near

REACH = 25.0  # metres from a place to its street, at most
LEAST = 1.0  # metres: what is nearer to a street stands on it, and on no side
APART = 40.0  # metres: two places of one name that are nearer to each other are one
LONGEST = 60  # characters of a name


@dataclass(frozen=True)
class NamedPoint:
    """A named point of a map; `address` is the street that its address tells, "" where it tells none."""

    name: str
    kind: str
    at: XY
    address: str = ""


def clean(name: str, longest: int = LONGEST) -> str:
    """A name from a file as one line of printable characters, at most so many of them."""
    if not name.isprintable():
        name = "".join(letter if letter.isprintable() else " " for letter in name)
    return " ".join(name.split())[:longest].rstrip()


def snapped(graph: StreetGraph, spots: Iterable[NamedPoint]) -> tuple[Place, ...]:
    """The spots within REACH of a street as places on it: on the street of their address, else on the nearest.

    A name that stands twice within APART counts once.
    """
    streets = Near(REACH)
    for street in range(len(graph.streets)):
        streets.add(street, graph.line(street))
    known: dict[str, list[XY]] = defaultdict(list)
    found = []
    for spot in spots:
        near = [(nearest(spot.at, graph.line(street)), street) for street in streets.of(spot.at)]
        near = [(point, street) for point, street in near if LEAST <= point[0] <= REACH]
        if not near or any(math.dist(spot.at, other) <= APART for other in known[spot.name]):
            continue
        (_, step, share), street = min(near, key=lambda one: (graph.streets[one[1]].name != spot.address, one))
        found.append(_place(spot, street, graph.line(street), step, share))
        known[spot.name].append(spot.at)
    return tuple(found)


def _place(spot: NamedPoint, street: int, line: tuple[XY, ...], step: int, share: float) -> Place:
    """The spot as a place beside its nearest point of the line, which lies `share` along step `step`."""
    x, y = between(line[step], line[step + 1], share)
    along = marks(line)[step] + math.dist(line[step], (x, y))
    beside = {step, step - (share == 0), step + (share == 1)} & set(range(len(line) - 1))  # at a bend: both steps
    ways = [direction(line[one], line[one + 1]) for one in beside]
    east, north = sum(way[0] for way in ways), sum(way[1] for way in ways)
    right = east * (spot.at[1] - y) < north * (spot.at[0] - x)
    return Place(spot.name, spot.kind, rounded(spot.at), street, round(along, 2), "right" if right else "left")
