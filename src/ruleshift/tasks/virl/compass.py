"""Headings and the words for them. Headings are degrees clockwise from north."""

from collections.abc import Sequence
from math import cos, hypot, radians, sin, sqrt

from ruleshift.tasks.virl.route import Geocode

ABSOLUTE = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
RELATIVE = ("left", "right", "slightly left", "slightly right")
SIXTEEN = (
    *("north", "north-northeast", "northeast", "east-northeast"),
    *("east", "east-southeast", "southeast", "south-southeast"),
    *("south", "south-southwest", "southwest", "west-southwest"),
    *("west", "west-northwest", "northwest", "north-northwest"),
)

_EQUATOR = 6_378_137.0  # metres, WGS 84
_ECCENTRICITY = 0.00669437999014  # squared


def heading_of(degrees: float) -> float:
    """The same heading in [0, 360)."""
    heading = degrees % 360.0
    return 0.0 if heading == 360.0 else heading  # a tiny negative number comes to 360.0


def wrap(degrees: float) -> float:
    """The same turn in (-180, 180]: to the left below 0, to the right above."""
    back = (180.0 - degrees) % 360.0
    return 180.0 if back == 360.0 else 180.0 - back


def compass_name(heading: float, names: Sequence[str] = ABSOLUTE) -> str:
    """The nearest of `names`, which begin at north and go round clockwise in equal steps.

    Halfway between two, the one that stands first in `names` counts, as in V-IRL: 67.5 is northeast, 337.5 is north.
    """
    step = 360.0 / len(names)
    return names[min(range(len(names)), key=lambda i: abs(wrap(heading - i * step)))]


def relative_name(previous: float, following: float, compat: str = "fixed") -> str:
    """The word of RELATIVE for the turn from one heading to the next.

    -45 to 0 degrees are slightly left, above 0 to 45 slightly right, what is below or above left or right. `fixed`
    takes the shorter way round (exactly behind is right); `official` takes the plain difference of the two numbers, so
    that 350 to 80 is left.
    """
    turn = following - previous
    if check_compat(compat) == "fixed":
        turn = wrap(turn)
    if turn < -45:
        return "left"
    if turn > 45:
        return "right"
    return "slightly left" if turn <= 0 else "slightly right"


def check_compat(compat: str) -> str:
    """The mode itself; ValueError if there is none of that name."""
    if compat not in ("fixed", "official"):
        raise ValueError(f"unknown compat {compat!r}: choose fixed or official")
    return compat


def metres_between(a: Geocode, b: Geocode) -> float:
    """Metres between two points up to a few kilometres apart, on the plane that touches WGS 84 halfway between."""
    latitude = radians((a[0] + b[0]) / 2)
    bulge = 1.0 - _ECCENTRICITY * sin(latitude) ** 2
    north = _EQUATOR * (1.0 - _ECCENTRICITY) / bulge**1.5 * radians(b[0] - a[0])
    east = _EQUATOR / sqrt(bulge) * cos(latitude) * radians(wrap(b[1] - a[1]))
    return hypot(north, east)
