"""From degrees to metres, the way back from `StreetGraph.geocode`, and what every map read from a file must be."""

import math
from collections.abc import Collection
from pathlib import Path
from statistics import median

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.route import Geocode, Route
from ruleshift.tasks.virl.world.graph import METRES_PER_DEGREE, XY, StreetGraph

WIDEST = 100_000.0  # metres: a plane is not good for more


def middle(points: Collection[Geocode]) -> Geocode:
    """The median of each axis, to the sixth digit: a middle that strays do not move; (0, 0) for an empty map."""
    if not points:
        return 0.0, 0.0
    latitudes, longitudes = zip(*points, strict=True)
    return round(median(latitudes), 6), round(median(longitudes), 6)


def flat(at: Geocode, origin: Geocode) -> XY:
    """Metres east and north of the origin."""
    east = METRES_PER_DEGREE * math.cos(math.radians(origin[0]))
    return (at[1] - origin[1]) * east, (at[0] - origin[0]) * METRES_PER_DEGREE


def walked(route: Route, origin: Geocode) -> list[XY]:
    """The points of a route's way; without a polyline, those where its legs end."""
    return [flat(at, origin) for at in route.polyline or (route.start, *(stop.at for stop in route.milestones))]


def checked(graph: StreetGraph, file: str | Path) -> StreetGraph:
    """The map itself; RuleshiftError if it has no streets, or covers more than a city."""
    if not graph.streets:
        raise RuleshiftError(f"{file} holds no named streets that meet: name the map of a city.")
    widths = (max(axis) - min(axis) for axis in zip(*graph.nodes, strict=True))
    if max(widths) > WIDEST:
        raise RuleshiftError(f"the map {file} is more than {WIDEST / 1000:g} km wide: cut a city out of it.")
    return graph
