"""What one sees on a map without shops: houses with their numbers."""

from collections import defaultdict
from collections.abc import Iterator

from ruleshift.tasks.virl.world.graph import Place, Side, StreetGraph
from ruleshift.tasks.virl.world.lines import point_at, rounded

FACADE = 9.0  # metres of a house from the middle of its street
CORNER, SHORTEST = 12.0, 30.0  # metres of a corner house from its crossing, on streets of so many metres at least
FIRST, APART = 25.0, 25.0  # metres of the first of the others from a crossing, and of these from each other


def houses(graph: StreetGraph) -> tuple[Place, ...]:
    """Houses at the crossings and along the streets.

    A house's number is the length of its street up to there, in metres, even on the right and odd on the left.
    """
    found = []
    walked: dict[str, float] = defaultdict(float)
    for street, piece in enumerate(graph.streets):
        for along, side in _lots(graph, street):
            number = 2 * round((walked[piece.name] + along) / 2) + (side == "left")
            (x, y), (east, north) = point_at(graph.line(street), along)
            out = FACADE if side == "right" else -FACADE
            at = rounded((x + out * north, y - out * east))
            found.append(Place(f"{number} {piece.name}", "house", at, street, round(along, 2), side))
        walked[piece.name] += graph.length(street)
    return tuple(found)


def _lots(graph: StreetGraph, street: int) -> Iterator[tuple[float, Side]]:
    """Where along a street its houses stand, and on which side: those at a crossing on the right of who leaves it."""
    piece, length = graph.streets[street], graph.length(street)
    if length >= SHORTEST and len(graph.streets_at[piece.a]) >= 3:
        yield CORNER, "right"
    for count in range(int((length - 2 * FIRST) // APART) + 1):
        yield FIRST + count * APART, "left" if count % 2 else "right"
    if length >= SHORTEST and len(graph.streets_at[piece.b]) >= 3:
        yield length - CORNER, "left"
