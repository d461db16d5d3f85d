"""The lines of a real map, before they are corners and streets: named ways through nodes."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ruleshift.tasks.virl.world.graph import XY

Node = Hashable  # a name for a point; ways meet where they share one


@dataclass(frozen=True)
class Way:
    """A named line through nodes."""

    name: str
    nodes: tuple[Node, ...]

    @property
    def ends(self) -> tuple[Node, Node]:
        return self.nodes[0], self.nodes[-1]


def length(way: Way, at: Mapping[Node, XY]) -> float:
    """Metres along the way."""
    return sum(math.dist(at[a], at[b]) for a, b in pairwise(way.nodes))


def meeting(ways: Sequence[Way]) -> dict[Node, list[int]]:
    """Per corner (a node where ways end), the indices of these ways; a ring stands twice at its corner."""
    found: dict[Node, list[int]] = defaultdict(list)
    for index, way in enumerate(ways):
        for end in way.ends:
            found[end].append(index)
    return found


def cut(ways: Iterable[Way]) -> list[Way]:
    """The ways in pieces from node to node, each once."""
    found: dict[frozenset[Node], Way] = {}
    for way in ways:
        for a, b in pairwise(way.nodes):
            if a != b:
                found.setdefault(frozenset((a, b)), Way(way.name, (a, b)))
    return list(found.values())


def joined(ways: Sequence[Way]) -> list[Way]:
    """Two ways become one where nothing but these two meets and their name is the same."""
    at_corner = meeting(ways)
    used: set[int] = set()

    def prolonged(nodes: tuple[Node, ...], name: str) -> tuple[Node, ...]:
        line = list(nodes)
        while True:
            here = at_corner[line[-1]]
            others = [index for index in here if index not in used]
            if len(here) != 2 or len(others) != 1 or ways[others[0]].name != name:
                return tuple(line)
            used.add(others[0])
            more = ways[others[0]].nodes
            line += more[1:] if more[0] == line[-1] else more[-2::-1]

    found = []
    for index, way in enumerate(ways):
        if index not in used:
            used.add(index)
            forward = prolonged(way.nodes, way.name)
            found.append(Way(way.name, prolonged(forward[::-1], way.name)[::-1]))
    return found
