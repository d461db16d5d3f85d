"""The blocks between the streets: where the houses' fronts and the kerbs run.

Every side of every piece of street is a `Front`. Walking along it with the block on the left, its houses run from
`start` to `end`; who stands in the street and looks at them has `start` on his left. Neighbouring fronts meet at the
corners of the block, so that the houses close it without a gap, whatever angles the streets have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ruleshift.tasks.virl.world.graph import XY, StreetGraph

CAP = 4.0  # metres from a dead end to the house that closes it
STRAIGHT = 0.35  # sine of the angle below which two pieces of street count as one that is straight
FACADE, NARROWEST, WIDEST = 6.5, 5.0, 12.0  # metres from the middle of a street to its houses, unless places tell
ROAD = 2.7  # metres from the middle of a street to the kerb, at least
SHORTEST = 0.5  # metres of a front, at least

Vertex = tuple[int, int]  # a corner of the graph and 0, or a street and the number of its bend, counted from 1


@dataclass(frozen=True)
class Front:
    """One side of a straight piece of street; `street` is None where it closes a dead end or a sharp bend.

    `offset` is metres along the street of the piece's beginning; `forward` whether the front runs with the street.
    `base` and `way` are the middle of the street where the piece begins and its unit direction, `length` its metres.
    `width` and `road` are metres from the middle to houses and kerb. `start`, `end` are the houses' ends, None where a
    block has no room for houses; `kerb` the ends of the kerb.
    """

    index: int
    block: int
    street: int | None
    forward: bool
    offset: float
    base: XY
    way: XY
    length: float
    width: float
    road: float
    houses: tuple[XY, XY] | None = None
    kerb: tuple[XY, XY] | None = None


@dataclass(frozen=True)
class Line:
    """A line beside which a block lies, to its left: a point, a unit direction, metres to houses and to the kerb."""

    base: XY
    way: XY
    width: float
    road: float


@dataclass(frozen=True)
class _Half:
    """A piece of street, walked in one of its two directions."""

    start: Vertex
    end: Vertex
    street: int
    forward: bool
    offset: float
    line: Line
    length: float


def widths(graph: StreetGraph) -> list[float]:
    """Per street, metres from its middle to its houses: where its places are, else `FACADE` or what is usual here."""
    found: list[list[float]] = [[] for _ in graph.streets]
    for place in graph.places:
        line = graph.line(place.street)
        if len(line) == 2:
            (ax, ay), (dx, dy, _) = line[0], _unit(*line)
            found[place.street].append(abs(dx * (place.at[1] - ay) - dy * (place.at[0] - ax)))
    near = [min(max(round(min(metres), 1), NARROWEST), WIDEST) if metres else 0.0 for metres in found]
    usual = min((metres for metres in near if metres), default=FACADE)
    return [metres or usual for metres in near]


def fronts(graph: StreetGraph, sidewalk: float) -> list[Front]:
    """All fronts of a city, block by block; `sidewalk` is metres from the kerb to the houses."""
    halves, following = _halves(graph, sidewalk)
    found: list[Front] = []
    seen: set[int] = set()
    block = 0
    for first in range(len(halves)):
        if first in seen:
            continue
        cycle, here = [], first
        while here not in seen:
            seen.add(here)
            cycle.append(halves[here])
            here = following[here]
        found += _block(block, cycle, len(found), sidewalk)
        block += 1
    return found


def _unit(a: XY, b: XY) -> tuple[float, float, float]:
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.sqrt(dx * dx + dy * dy)
    return dx / length, dy / length, length


def _halves(graph: StreetGraph, sidewalk: float) -> tuple[list[_Half], list[int]]:
    """All pieces in both directions, and for each the one that follows with the same block on its left."""
    halves: list[_Half] = []
    leaving: dict[Vertex, list[int]] = {}
    for street, width in enumerate(widths(graph)):
        road = max(width - sidewalk, ROAD)
        points, piece, offset = graph.line(street), graph.streets[street], 0.0
        inner: list[Vertex] = [(-1 - street, number) for number in range(1, len(points) - 1)]
        vertices: list[Vertex] = [(piece.a, 0), *inner, (piece.b, 0)]
        for number in range(len(points) - 1):
            a, b = points[number], points[number + 1]
            dx, dy, length = _unit(a, b)
            forth = Line(a, (dx, dy), width, road)
            back = Line(b, (-dx, -dy), width, road)
            ends = vertices[number], vertices[number + 1]
            halves.append(_Half(*ends, street, True, offset, forth, length))
            halves.append(_Half(*ends[::-1], street, False, offset, back, length))
            offset += length
    for index, half in enumerate(halves):
        leaving.setdefault(half.start, []).append(index)
    following = [0] * len(halves)
    for out in leaving.values():
        out.sort(key=lambda index: math.atan2(halves[index].line.way[1], halves[index].line.way[0]))
        for position, index in enumerate(out):
            following[index ^ 1] = out[position - 1]  # of the half that comes in where this one leaves
    return halves, following


def _block(block: int, cycle: Sequence[_Half], first: int, sidewalk: float) -> list[Front]:
    """The fronts around one block, in order."""
    lines: list[tuple[Line, _Half | None]] = []
    for half, after in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        lines.append((half.line, half))
        cap = _cap(half.line, after.line, sidewalk)
        if cap:
            lines.append((cap, None))
    bare = [line for line, _ in lines]
    houses = inset(bare, [line.width for line in bare])
    kerbs = inset(bare, [line.road for line in bare])
    found = []
    for number, (line, piece) in enumerate(lines):
        found.append(
            Front(
                index=first + number,
                block=block,
                street=piece.street if piece else None,
                forward=piece.forward if piece else True,
                offset=piece.offset if piece else 0.0,
                base=line.base,
                way=line.way,
                length=piece.length if piece else 0.0,
                width=line.width,
                road=line.road,
                houses=houses[number] if houses else None,
                kerb=kerbs[number] if kerbs else None,
            )
        )
    return found


def _cap(line: Line, after: Line, sidewalk: float) -> Line | None:
    """What closes a dead end, or cuts the point that the houses around a sharp bend would make."""
    (ax, ay), (bx, by) = line.way, after.way
    across, along = ax * by - ay * bx, ax * bx + ay * by
    if along < -0.999:
        return Line(after.base, (ay, -ax), CAP, max(CAP - sidewalk, 1.0))
    if across < 0 and along < -0.2:
        dx, dy, _ = _unit((0.0, 0.0), (ax + bx, ay + by))
        return Line(after.base, (dx, dy), max(line.width, after.width), max(line.road, after.road))
    return None


def inset(lines: Sequence[Line], distances: Sequence[float]) -> list[tuple[XY, XY]] | None:
    """Both ends of every line, moved so many metres to its left and cut where it meets its neighbours.

    A line for which there is no room shrinks to a point. None where there is room for no block at all.
    """
    alive = list(range(len(lines)))
    while len(alive) >= 3:
        meets = [
            _meet(lines[i], distances[i], lines[j], distances[j], j == (i + 1) % len(lines))
            for i, j in zip(alive, [*alive[1:], alive[0]], strict=True)
        ]
        if None in meets:
            return None
        sound = [meet for meet in meets if meet]
        ends = {i: (sound[k - 1][1], sound[k][0]) for k, i in enumerate(alive)}
        long = {i: (b[0] - a[0]) * lines[i].way[0] + (b[1] - a[1]) * lines[i].way[1] for i, (a, b) in ends.items()}
        worst = min(alive, key=lambda i: long[i])
        if long[worst] >= SHORTEST:
            found, last = [], ends[alive[-1]][1]
            for i in range(len(lines)):
                last = ends[i][1] if i in ends else last
                found.append(ends.get(i, (last, last)))
            return found
        alive.remove(worst)
    return None


def _meet(e: Line, far_e: float, f: Line, far_f: float, adjacent: bool) -> tuple[XY, XY] | None:
    """Where the end of one moved line and the beginning of the next are: one point, or two beside a straight street."""
    (ax, ay), (bx, by) = e.way, f.way
    across, along = ax * by - ay * bx, ax * bx + ay * by
    if abs(across) < STRAIGHT and along > 0 and adjacent:
        x, y = -(ay + by) / (1 + along), (ax + bx) / (1 + along)
        end = f.base[0] + far_e * x, f.base[1] + far_e * y
        return end, (f.base[0] + far_f * x, f.base[1] + far_f * y)
    if abs(across) < 0.02:
        return None
    px, py = e.base[0] - far_e * ay, e.base[1] + far_e * ax
    qx, qy = f.base[0] - far_f * by, f.base[1] + far_f * bx
    share = ((qx - px) * by - (qy - py) * bx) / across
    at = px + share * ax, py + share * ay
    return at, at
