"""What a city is made of, one factor at a time: the same walks on the same map in another look, or with other names.

A cell of the design pairs a map, a look and a set of names. Cells that share a map share its walks: routes are drawn on
the map as it is, and only the names in them change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, permutations, product

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.route import Milestone, Route, Sight
from ruleshift.tasks.virl.rules import Names
from ruleshift.tasks.virl.views.cities import look_of
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.world.graph import StreetGraph
from ruleshift.tasks.virl.world.names import KINDS, STREET_KINDS, STREETS
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import WORLD, procedural_route

FIRST = tuple(word for word in (*STREETS, *STREET_KINDS) if word not in KINDS)  # no place of any city begins so


@dataclass(frozen=True)
class DesignCell:
    """One cell of the design: whose map, whose look, and which names the places have."""

    map: str
    look: str
    names: Names = "seen"

    def scene(self) -> tuple[StreetGraph, CityLook]:
        """What `street_view` needs."""
        graph = _renamed_city(self.map) if self.names == "heldout" else procedural(WORLD, self.map)
        return graph, look_of(self.look)

    def route(self, seed: int | str, index: int, legs: tuple[int, int] = (3, 4)) -> Route:
        """The route at `index` of a series that all cells of the same map share, with this cell's names."""
        route = procedural_route(self.map, seed, index, legs, heldout=True)
        return _told(route, _names_of(self.map)) if self.names == "heldout" else route


def cells(trained: str, tested: str) -> Iterator[DesignCell]:
    """The eight cells between the city of training and another: both maps in both looks with both sets of names."""
    names: tuple[Names, ...] = ("seen", "heldout")
    for where, look, words in product((trained, tested), (trained, tested), names):
        yield DesignCell(where, look, words)


def new_names(graph: StreetGraph) -> dict[str, str]:
    """For every place of a city a name that no city has; a bakery stays a bakery, and no name is given twice."""
    fresh: dict[str, Iterator[str]] = {}
    found = {}
    for place in graph.places:
        kind = place.name.split()[-1]
        if kind not in fresh:
            words = list(FIRST)
            stream("virl-new-names", graph.name, kind).shuffle(words)
            fresh[kind] = chain(words, map(" ".join, permutations(words, 2)))
        found[place.name] = f"{next(fresh[kind])} {kind}"
    return found


def renamed(graph: StreetGraph) -> StreetGraph:
    """The same city with names that no city has."""
    return _with_names(graph, new_names(graph))


@lru_cache(maxsize=64)
def _names_of(city: str) -> dict[str, str]:
    return new_names(procedural(WORLD, city))


@lru_cache(maxsize=64)
def _renamed_city(city: str) -> StreetGraph:
    """Always the same object, so that its scene is remembered."""
    return _with_names(procedural(WORLD, city), _names_of(city))


def _with_names(graph: StreetGraph, names: dict[str, str]) -> StreetGraph:
    return replace(graph, places=tuple(replace(place, name=names[place.name]) for place in graph.places))


def _told(route: Route, names: dict[str, str]) -> Route:
    """The same walk with other names of places."""

    def stop(milestone: Milestone) -> Milestone:
        sight = milestone.sight
        return replace(milestone, sight=Sight(names[sight.name], sight.side) if sight else None)

    return replace(route, milestones=tuple(map(stop, route.milestones)))
