"""A route, whatever map it comes from. `official.py` reads and writes it in the schema of the paper's data."""

from collections.abc import Callable
from dataclasses import dataclass

Geocode = tuple[float, float]  # latitude, longitude in degrees

SIDES = ("front", "right front", "right", "right back", "back", "left back", "left", "left front")


@dataclass(frozen=True)
class Sight:
    """A place as a walker sees it: its name, and the side it is on (one of SIDES)."""

    name: str
    side: str

    def __str__(self) -> str:
        return f"{self.name} is on your {self.side}"


@dataclass(frozen=True)
class Milestone:
    """The end of a leg: an intersection, or (the last one) the destination.

    `heading` is that of the leg which leads here, in degrees clockwise from north as the source gives it;
    `distance` the leg's length in metres; `sight` the landmark seen on arrival, None where there is none.
    """

    at: Geocode
    heading: float
    distance: float
    sight: Sight | None


@dataclass(frozen=True)
class Route:
    """A walk from `start` along `milestones`, the last of which is the destination.

    `initial_heading` is None where it is to be drawn at random (0 in the official data). `polyline` holds the points
    of the way. `id` names the route within its source.
    """

    id: str
    city: str
    start_name: str
    start: Geocode
    initial_heading: float | None
    milestones: tuple[Milestone, ...]
    polyline: tuple[Geocode, ...] = ()

    @property
    def legs(self) -> int:
        return len(self.milestones)

    @property
    def destination(self) -> str:
        """Name of the destination, as the walker sees it."""
        sight = self.milestones[-1].sight
        return "" if sight is None else sight.name


OwnRoutes = Callable[[tuple[int, int]], tuple[Route, ...]]
"""Routes of a user's own: those for a split whose routes have at least and at most so many legs."""
