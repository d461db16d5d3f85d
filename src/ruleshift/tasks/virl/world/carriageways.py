"""Wide roads, which maps draw as two lines side by side: the walker's street is one line, in their middle."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from ruleshift.tasks.virl.world.graph import XY
from ruleshift.tasks.virl.world.lines import between, direction, foot, marks, point_at
from ruleshift.tasks.virl.world.near import Near
from ruleshift.tasks.virl.world.ways import Node, Way, cut, joined, meeting

APART = 30.0  # metres between two carriageways, at most
PARALLEL = math.cos(math.radians(30))  # of the angle between their directions, at least
ASKEW = math.cos(math.radians(60))  # of the angle between them and the way across, at most


def laddered(ways: Sequence[Way], at: dict[Node, XY]) -> list[Way]:
    """The ways, and a nameless rung from every corner of a street across to the street's other carriageway, if any.

    The rungs end at new nodes, so that both carriageways have their corners at the same places.
    """
    rungs: list[Way] = []
    feet: dict[tuple[int, int], list[tuple[float, Node]]] = defaultdict(list)
    for corner, index, step, share in _opposite(ways, at):
        node = object()
        before, after = ways[index].nodes[step : step + 2]
        at[node] = between(at[before], at[after], share)
        feet[index, step].append((share, node))
        rungs.append(Way("", (corner, node)))
    longer = []
    for index, way in enumerate(ways):
        nodes = [way.nodes[0]]
        for step, node in enumerate(way.nodes[1:]):
            nodes += [foot for _, foot in sorted(feet[index, step], key=lambda pair: pair[0])]
            nodes.append(node)
        longer.append(Way(way.name, tuple(nodes)))
    return joined(cut(longer) + rungs)


def _opposite(ways: Sequence[Way], at: Mapping[Node, XY]) -> Iterator[tuple[Node, int, int, float]]:
    """Per corner, where a street that ends there also runs beside it: way, step along it, share of that step."""
    near = Near(APART)
    for index, way in enumerate(ways):
        near.add(index, [at[node] for node in way.nodes])
    for corner, here in meeting(ways).items():
        for index in near.of(at[corner]):
            same = [other for other in here if ways[other].name == ways[index].name]
            if same and index not in here:
                headings = [_heading(ways[other], corner, at) for other in same]
                found = _nearest(at[corner], headings, ways[index], at)
                if found is not None:
                    yield corner, index, *found


def _heading(way: Way, corner: Node, at: Mapping[Node, XY]) -> XY:
    first, second = way.nodes[:2] if way.nodes[0] == corner else way.nodes[:-3:-1]
    return direction(at[first], at[second])


def _nearest(here: XY, directions: Sequence[XY], way: Way, at: Mapping[Node, XY]) -> tuple[int, float] | None:
    """The step of a way, and the share of it, that runs beside a corner in one of these directions, or None."""
    best = None
    for step, (first, second) in enumerate(pairwise(way.nodes)):
        a, b = at[first], at[second]
        share = min(1.0, max(0.0, foot(here, a, b)))
        opposite = between(a, b, share)
        ahead, across = direction(a, b), direction(here, opposite)
        is_beside = abs(_product(ahead, across)) <= ASKEW  # and not before or behind
        if is_beside and any(abs(_product(ahead, other)) >= PARALLEL for other in directions):
            found = math.dist(here, opposite), step, share
            best = found if best is None else min(best, found)
    return None if best is None or best[0] > APART else best[1:]


def _product(one: XY, other: XY) -> float:
    """The cosine of the angle between two directions."""
    return one[0] * other[0] + one[1] * other[1]


def without_twins(ways: Sequence[Way], at: dict[Node, XY]) -> list[Way]:
    """Ways of one street that run side by side from corner to corner become one, in their middle."""
    found: dict[tuple[str, frozenset[Node]], list[Way]] = defaultdict(list)
    for way in ways:
        lines = found[way.name, frozenset(way.ends)]
        for index, other in enumerate(lines):
            middle = _middle(other, way, at)
            if middle is not None:
                lines[index] = middle
                break
        else:
            lines.append(way)
    return [way for lines in found.values() for way in lines]


def _middle(one: Way, other: Way, at: dict[Node, XY]) -> Way | None:
    """The line halfway between two ways with the same ends; None where they are too far apart."""
    turned = other.nodes if other.nodes[0] == one.nodes[0] else other.nodes[::-1]
    lines = [[at[node] for node in nodes] for nodes in (one.nodes, turned)]
    lengths = [marks(line)[-1] for line in lines]
    shares = {
        mark / length for line, length in zip(lines, lengths, strict=True) if length for mark in marks(line)[1:-1]
    }
    bends: list[Node] = []
    for share in sorted(shares):
        a, b = (point_at(line, share * length)[0] for line, length in zip(lines, lengths, strict=True))
        if math.dist(a, b) > APART:
            return None
        bend = object()
        at[bend] = between(a, b, 0.5)
        bends.append(bend)
    return Way(one.name, (one.nodes[0], *bends, one.nodes[-1]))
