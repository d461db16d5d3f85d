"""What one sees on a map without shops: street signs at the corners, and houses with their numbers."""

from collections import defaultdict
from collections.abc import Iterator

from ruleshift.tasks.virl.world.graph import Place, Side, StreetGraph
from ruleshift.tasks.virl.world.lines import point_at, rounded

AHEAD, BESIDE = 8.0, 5.0  # metres of a sign from its crossing, along its street and beside it
FACADE = 9.0  # metres of a house from the middle of its street
FIRST, APART = 25.0, 25.0  # metres of the first house from a crossing, and of the others from each other


def signs(graph: StreetGraph) -> tuple[Place, ...]:
    """Where streets of different names meet, a sign for each of them; and houses along the streets.

    A house's number is the length of its street up to there, in metres, even on the right and odd on the left.
    """
    found = list(_street_signs(graph))
    walked: dict[str, float] = defaultdict(float)
    for street, piece in enumerate(graph.streets):
        length = graph.length(street)
        for count in range(int((length - 2 * FIRST) // APART) + 1):
            along = FIRST + count * APART
            side: Side = "left" if count % 2 else "right"
            number = 2 * round((walked[piece.name] + along) / 2) + count % 2
            found.append(_beside(graph, street, along, side, FACADE, f"{number} {piece.name}", "house"))
        walked[piece.name] += length
    return tuple(found)


def _street_signs(graph: StreetGraph) -> Iterator[Place]:
    """Each a few metres into its street, on the right of who leaves the corner."""
    for corner, meeting in enumerate(graph.streets_at):
        leaving = {graph.streets[street].name: street for street in meeting}
        for name, street in leaving.items() if len(leaving) > 1 else ():
            length = graph.length(street)
            ahead = min(AHEAD, length / 2)
            if graph.streets[street].a == corner:
                yield _beside(graph, street, ahead, "right", BESIDE, name, "street sign")
            else:
                yield _beside(graph, street, length - ahead, "left", BESIDE, name, "street sign")


def _beside(graph: StreetGraph, street: int, along: float, side: Side, metres: float, name: str, kind: str) -> Place:
    (x, y), (east, north) = point_at(graph.line(street), along)
    out = metres if side == "right" else -metres
    return Place(name, kind, rounded((x + out * north, y - out * east)), street, round(along, 2), side)
