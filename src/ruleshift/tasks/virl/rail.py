"""The rail: the points at which a walker stands, one after another, and what the expert does at each.

The start; on every leg `points_per_leg` points between its ends; the intersection that closes the leg, or at last the
destination. A turn is made on the spot where it is told, and also takes the walker to the next point. Every point of a
leg has the heading of that leg, the intersection that closes it too.

`compat="official"` follows the paper's environment (LeslieTrue/SFTvsRL) bug for bug:

- the points of a leg lie at 1/n, 2/n ... n/n of it, so that the last one is the intersection's own place;
- relative words come from the plain difference of two headings (see `relative_name`);
- headings count in whole degrees, cut off, as its files hold them;
- a leg of 5 m or less lets the instruction fall behind by one line for the rest of the route.

`compat="fixed"` puts the points at 1/(n+1) ... n/(n+1), takes headings in [0, 360) and words from the shorter way
round, and counts lines right. Legs of 5 m or less have no points between their ends in either mode.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.compass import check_compat, compass_name, heading_of, metres_between, relative_name
from ruleshift.tasks.virl.route import Geocode, Route, Sight

SHORT_LEG = 5.0  # metres; no points between the ends of a leg up to here

Kind = Literal["start", "way", "intersection", "destination"]


@dataclass(frozen=True)
class RailPoint:
    """One position of the walker.

    `heading` is the walker's on arrival here, in degrees; `sight` the landmark or the destination seen here;
    `intersection` whether an intersection is observed. `leg` is the leg that leads here, counted from 0 (the start
    belongs to leg 0). `next_heading` is what the expert turns to, None where it does not turn. `line` is the line of
    the instruction that is followed here, counted from 0: line 2k turns to leg k, line 2k + 1 walks along it.
    """

    at: Geocode
    heading: float
    sight: Sight | None
    intersection: bool
    kind: Kind
    leg: int
    next_heading: float | None
    action_absolute: str
    action_relative: str
    line: int

    @property
    def landmark(self) -> str | None:
        """What is said of the place seen here, None where nothing is seen."""
        if self.sight is None:
            return None
        return f"The destination {self.sight}" if self.kind == "destination" else str(self.sight)


def build_rail(
    route: Route, compat: str = "fixed", drop_rate: float = 0.0, points_per_leg: int = 5, seed: int = 0
) -> list[RailPoint]:
    """The rail of a route: a pure function of its arguments.

    Every point between the ends of a leg is left out with probability `drop_rate`. That, and an initial heading that
    the route leaves open (a whole number of degrees), are drawn from a stream of (seed, route.id). Raises ValueError
    for an unknown `compat`, and for a route or numbers of which no rail can be made.
    """
    check_compat(compat)
    if not 0.0 <= drop_rate <= 1.0 or points_per_leg < 0:
        raise ValueError(f"no rail has drop_rate {drop_rate} and points_per_leg {points_per_leg}")
    if not route.milestones:
        raise ValueError(f"route {route.id} has no milestones")
    rng = stream("virl-rail", seed, route.id)
    headings = _headings(route, compat, rng)
    slots = points_per_leg if compat == "official" else points_per_leg + 1
    rail = [_turn(route, compat, headings, -1, line=0)]
    here, behind = route.start, 0
    for leg, milestone in enumerate(route.milestones):
        if metres_between(here, milestone.at) > SHORT_LEG:
            for share in _shares(points_per_leg, slots, drop_rate, rng):
                rail.append(_way(_between(here, milestone.at, share), headings[leg + 1], leg, 2 * leg + 1 - behind))
        elif compat == "official":
            behind += 1
        here = milestone.at
        last = leg == route.legs - 1
        rail.append(
            _stop(route, headings, line=2 * leg + 1 - behind)
            if last
            else _turn(route, compat, headings, leg, line=2 * leg + 2 - behind)
        )
    return rail


def _headings(route: Route, compat: str, rng: random.Random) -> list[float]:
    """The initial heading, then that of every leg, as the mode counts them."""
    initial = float(rng.randint(0, 359)) if route.initial_heading is None else route.initial_heading
    given = [initial, *(milestone.heading for milestone in route.milestones)]
    return [float(int(h)) if compat == "official" else heading_of(h) for h in given]


def _shares(points: int, slots: int, drop_rate: float, rng: random.Random) -> Iterator[float]:
    """How far along a leg its points lie that are not left out."""
    for k in range(1, points + 1):
        if rng.random() >= drop_rate:
            yield k / slots


def _between(a: Geocode, b: Geocode, share: float) -> Geocode:
    return a[0] * (1 - share) + b[0] * share, a[1] * (1 - share) + b[1] * share


def _turn(route: Route, compat: str, headings: list[float], leg: int, line: int) -> RailPoint:
    """The start (`leg` -1), or the intersection that closes a leg: the expert turns to the next leg."""
    heading, following = headings[leg + 1], headings[leg + 2]
    start = leg < 0
    return RailPoint(
        at=route.start if start else route.milestones[leg].at,
        heading=heading,
        sight=None if start else route.milestones[leg].sight,
        intersection=not start,
        kind="start" if start else "intersection",
        leg=max(leg, 0),
        next_heading=following,
        action_absolute=f"turn_direction({compass_name(following)})",
        action_relative=f"turn_direction({relative_name(heading, following, compat)})",
        line=line,
    )


def _way(at: Geocode, heading: float, leg: int, line: int) -> RailPoint:
    return RailPoint(at, heading, None, False, "way", leg, None, "forward()", "forward()", line)


def _stop(route: Route, headings: list[float], line: int) -> RailPoint:
    last = route.milestones[-1]
    return RailPoint(
        last.at, headings[-1], last.sight, False, "destination", route.legs - 1, None, "stop()", "stop()", line
    )
