"""From the lines of a real map to the corners and streets of a graph.

Maps cut streets wherever a property of the road changes, draw a wide road as two lines and a wide crossing as a dozen
nodes. A walker knows one street and one crossing. So lines are joined where nothing meets them, carriageways and
corners that belong together become one, and what does not hang together with most of the map is left out.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ruleshift.tasks.virl.world.carriageways import APART, laddered, without_twins
from ruleshift.tasks.virl.world.graph import XY, Street, hanging_together
from ruleshift.tasks.virl.world.lines import nearest, rounded
from ruleshift.tasks.virl.world.ways import Node, Way, cut, joined, length, meeting

CROSSING = 12.0  # metres: corners joined by a shorter piece are one
STRAIGHT = 2.0  # metres that a street may be drawn beside where it is


def simplified(ways: Iterable[Way], points: Mapping[Node, XY]) -> tuple[tuple[XY, ...], tuple[Street, ...]]:
    """Corners and streets of a map, as StreetGraph wants them; `points` are the nodes' coordinates in metres."""
    at = dict(points)
    pieces = laddered(joined(cut(ways)), at)
    count = len(pieces) + 1
    while len(pieces) < count:
        count = len(pieces)
        pieces = joined(without_twins(_merged(pieces, at), at))
    pieces = [_straightened(piece, at) for piece in _connected(pieces, at)]
    corners = list(dict.fromkeys(end for piece in pieces for end in piece.ends))
    index = {corner: position for position, corner in enumerate(corners)}
    streets = []
    for piece in pieces:
        first, *bends, last = piece.nodes
        streets.append(Street(index[first], index[last], piece.name, tuple(rounded(at[bend]) for bend in bends)))
    return tuple(rounded(at[corner]) for corner in corners), tuple(streets)


def _merged(pieces: Sequence[Way], at: dict[Node, XY]) -> list[Way]:
    """Corners that belong together become one, in their middle; moves the corners in `at`.

    That is: joined by a piece shorter than CROSSING, or shorter than APART between two carriageways of one street.
    """
    at_corner = meeting(pieces)
    leader: dict[Node, Node] = {corner: corner for corner in at_corner}

    def lead(corner: Node) -> Node:
        while leader[corner] != corner:
            leader[corner] = corner = leader[leader[corner]]
        return corner

    for piece in pieces:
        others = [{pieces[index].name for index in at_corner[end]} - {piece.name, ""} for end in piece.ends]
        if length(piece, at) <= (APART if others[0] & others[1] else CROSSING):
            leader[lead(piece.nodes[0])] = lead(piece.nodes[-1])
    groups: dict[Node, list[XY]] = defaultdict(list)
    for corner in at_corner:
        groups[lead(corner)].append(at[corner])
    inside: dict[Node, float] = {}  # metres around a corner, within which a street has no bends
    for corner, points in groups.items():
        xs, ys = zip(*points, strict=True)
        at[corner] = sum(xs) / len(xs), sum(ys) / len(ys)
        inside[corner] = CROSSING + max(math.dist(at[corner], point) for point in points)
    moved = []
    for piece in pieces:
        ends = first, last = lead(piece.nodes[0]), lead(piece.nodes[-1])
        bends = [n for n in piece.nodes[1:-1] if all(math.dist(at[n], at[end]) > inside[end] for end in ends)]
        if first != last:
            moved.append(Way(piece.name, (first, *bends, last)))
    return moved


def _connected(pieces: Sequence[Way], at: Mapping[Node, XY]) -> list[Way]:
    """The pieces that hang together with the greatest length of street."""
    groups = hanging_together(piece.ends for piece in pieces)
    of_group = [[piece for piece in pieces if piece.ends[0] in group] for group in groups]
    return max(of_group, key=lambda group: sum(length(piece, at) for piece in group), default=[])


def _straightened(piece: Way, at: Mapping[Node, XY]) -> Way:
    """The piece without bends that lie within STRAIGHT of the line drawn without them (Douglas and Peucker)."""
    kept, waiting = {0, len(piece.nodes) - 1}, [(0, len(piece.nodes) - 1)]
    while waiting:
        first, last = waiting.pop()
        ends = at[piece.nodes[first]], at[piece.nodes[last]]
        far, bend = max(((nearest(at[piece.nodes[k]], ends)[0], k) for k in range(first + 1, last)), default=(0.0, 0))
        if far > STRAIGHT:
            kept.add(bend)
            waiting += [(first, bend), (bend, last)]
    return Way(piece.name, tuple(piece.nodes[index] for index in sorted(kept)))
