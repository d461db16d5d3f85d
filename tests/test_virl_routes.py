"""Routes: one worked out by hand, and what must hold of every route through every city."""

import hashlib
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.compass import ABSOLUTE, RELATIVE, compass_name, relative_name
from ruleshift.tasks.virl.route import Geocode, Route
from ruleshift.tasks.virl.rules import PRETRAINING_CITIES, TEST_CITIES, TRAIN_CITY, VALIDATION_CITIES
from ruleshift.tasks.virl.world.graph import Place, Street, StreetGraph
from ruleshift.tasks.virl.world.legs import Limits
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import RouteBuilder, build_routes, builder_of, procedural_route
from ruleshift.tasks.virl.world.styles import STYLES

XY = tuple[float, float]

# From the south to a first crossing, east to a second one by a corner that is none, north to the destination. The
# other streets are too short to start on, and lead nowhere.
VILLAGE = StreetGraph(
    "village",
    (0.0, 10.0),
    ((0, -100), (0, 0), (0, 20), (50, 12), (100, 10), (120, 10), (100, 130)),
    (
        Street(0, 1, "South Road"),
        Street(1, 2, "Stub Lane"),
        Street(1, 3, "East Street"),
        Street(3, 4, "East Street"),
        Street(4, 5, "Stub Row"),
        Street(4, 6, "North Road", bends=((102, 40),)),
    ),
    (
        Place("Amber Cafe", "Cafe", (8, 9), 2, 10, "left"),
        Place("Copper Bank", "Bank", (92, 70), 5, 60, "left"),
    ),
)
METRE = 1 / 111_320  # of latitude, in degrees; of longitude too on the equator


def metres(graph: StreetGraph, at: Geocode) -> XY:
    """A geocode as metres, which is not needed to make routes."""
    east = 111_320 * math.cos(math.radians(graph.origin[0]))
    return (at[1] - graph.origin[1]) * east, (at[0] - graph.origin[0]) * 111_320


def bearing(start: XY, end: XY) -> float:
    """Degrees clockwise from north, by another way than `graph.heading`: the angle of a complex number."""
    return math.degrees(math.pi / 2 - math.atan2(end[1] - start[1], end[0] - start[0])) % 360


def turn(before: float, after: float) -> float:
    """Degrees to the right, in (-180, 180]."""
    right = (after - before) % 360
    return right - 360 if right > 180 else right


def on_side(side: str, direction: float, margin: float = 0.0) -> bool:
    """Whether a relative direction in degrees (0 is ahead) belongs to a side by its name."""
    centres = {"front": 0, "right": 90, "back": 180, "left": 270}
    words = side.split()
    x = sum(math.sin(math.radians(centres[word])) for word in words)
    y = sum(math.cos(math.radians(centres[word])) for word in words)
    return abs(turn(math.degrees(math.atan2(x, y)), direction)) <= 22.5 - margin


def test_by_hand() -> None:
    """Headings: north; from (0, 0) to (100, 10), atan(100 / 10) = 84.3; from there to (101.3, 69.9), 1.3 degrees."""
    (route,) = build_routes(VILLAGE, 1, seed=0, legs=(3, 3))
    first, second, last = route.milestones
    assert (route.city, route.start_name, route.legs) == ("village", "South Road", 3)
    assert first.at == (0.0, 10.0)
    assert (first.heading, second.heading, last.heading) == (0.0, 84.0, 1.0)
    assert second.at == (round(10 * METRE, 7), round(10 + 100 * METRE, 7))
    assert second.distance == 101  # 51.4 and 50.0
    assert last.distance == 60
    assert 40 <= first.distance <= 88  # so that 12 m of the street are left
    assert route.start == (pytest.approx(-first.distance * METRE, abs=0.6 * METRE), 10.0)
    assert str(first.sight) == "Amber Cafe is on your right front"
    assert second.sight is None
    assert str(last.sight) == "Copper Bank is on your left"
    assert route.destination == "Copper Bank"
    assert route.polyline[:2] == (route.start, first.at)
    assert len(route.polyline) == 6  # start, crossing, corner, crossing, bend, destination


def test_a_leg_round_a_corner_has_no_heading() -> None:
    """With the corner between the crossings 60 m to the side, no leg leads from one to the other."""
    nodes = list(VILLAGE.nodes)
    nodes[3] = (50, 60)
    with pytest.raises(RuleshiftError, match="no route of 3 legs on the map of village"):
        build_routes(replace(VILLAGE, nodes=tuple(nodes)), 1, seed=0, legs=(3, 3))


@pytest.mark.parametrize("graph", [VILLAGE, replace(VILLAGE, places=()), replace(VILLAGE, nodes=(), streets=())])
def test_map_too_small(graph: StreetGraph) -> None:
    with pytest.raises(RuleshiftError, match="larger map"):
        build_routes(graph, 2, seed=0, legs=(3, 3))


def corner_of(graph: StreetGraph, at: Geocode) -> int | None:
    """The corner at a geocode."""
    here = metres(graph, at)
    near = [corner for corner, there in enumerate(graph.nodes) if math.dist(here, there) < 0.05]
    return near[0] if near else None


def check(graph: StreetGraph, route: Route, legs: tuple[int, int], limits: Limits) -> None:
    """What the builder promises of a route, worked out again from the map."""
    assert legs[0] <= route.legs <= legs[1]
    points = [metres(graph, at) for at in (route.start, *(stop.at for stop in route.milestones))]
    headings = [route.initial_heading, *(stop.heading for stop in route.milestones)]
    for before, after in pairwise(headings):
        assert min(abs(abs(turn(before, after)) - border) for border in (0, 45, 180)) >= 3
    for here, there, stop in zip(points, points[1:], route.milestones, strict=False):
        assert abs(turn(bearing(here, there), stop.heading)) <= 0.55
        assert stop.heading == int(stop.heading) % 360
        assert abs(turn(stop.heading, round((stop.heading - 22.5) / 45) * 45 + 22.5)) >= 3
        assert stop.distance * 0.9 - 1 <= math.dist(here, there) <= stop.distance + 0.6
    assert 12 <= round(route.milestones[0].distance) <= 150
    assert all(limits.leg[0] - 1 <= stop.distance <= limits.leg[1] for stop in route.milestones[1:-1])
    assert limits.goal[0] - 1 <= route.milestones[-1].distance <= limits.goal[1]
    corners = [corner_of(graph, at) for at in route.polyline[1:-1]]
    assert None not in corners  # invented streets have no bends
    assert len(set(corners)) == len(corners)
    check_sights(graph, route, points)


def check_sights(graph: StreetGraph, route: Route, points: list[XY]) -> None:
    places = {place.name: place for place in graph.places}
    names = [stop.sight.name for stop in route.milestones if stop.sight]
    assert len(set(names)) == len(names)
    for at, stop in zip(points[1:], route.milestones, strict=True):
        crossing = corner_of(graph, stop.at)
        assert (crossing is None) == (stop is route.milestones[-1])
        if crossing is not None:
            assert len(graph.streets_at[crossing]) >= 3
        if stop.sight:
            place = places[stop.sight.name]
            assert on_side(stop.sight.side, bearing(at, place.at) - stop.heading, margin=2.4)
            assert math.dist(at, place.at) <= 18.02
    goal = places[route.destination]
    line = graph.line(goal.street)
    assert math.dist(line[0], points[-1]) == pytest.approx(goal.along, abs=0.05)
    assert min(math.dist(goal.at, graph.nodes[c]) for c, at in enumerate(graph.streets_at) if len(at) >= 3) > 10


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([*STYLES, "pretrain-0", "pretrain-7"]), st.integers(), st.integers(0, 10**9))
def test_every_route(city: str, seed: int, index: int) -> None:
    builder = builder_of(city)
    for legs in ((2, 2), (2, 4), (8, 10)):
        check(builder.graph, builder.route(seed, index, legs), legs, builder.limits)


def test_other_limits() -> None:
    limits = Limits(leg=(30, 90), goal=(25, 60))
    builder = RouteBuilder(procedural(0, "london"), limits)
    for index in range(50):
        check(builder.graph, builder.route(0, index), (2, 4), limits)


def test_training_routes() -> None:
    """A thousand of them, all different, with every word of both action spaces."""
    routes = [procedural_route(TRAIN_CITY, "train/0", index, (3, 4), heldout=False) for index in range(1000)]
    assert len({ways(route) for route in routes}) >= 995
    assert len(builder_of(TRAIN_CITY).distinct(1000, "train/0", (3, 4), heldout=False)) == 1000
    absolute = Counter(compass_name(stop.heading) for route in routes for stop in route.milestones)
    assert min(absolute[word] for word in ABSOLUTE) > 0.04 * absolute.total()
    turns = Counter(
        relative_name(before.heading, after.heading) for route in routes for before, after in pairwise(route.milestones)
    )
    assert min(turns[word] for word in RELATIVE) > 0.03 * turns.total()
    first = Counter(relative_name(route.initial_heading, route.milestones[0].heading) for route in routes)
    assert min(first[word] for word in RELATIVE) > 0.08 * first.total()
    seen = [stop.sight is not None for route in routes for stop in route.milestones[:-1]]
    assert sum(seen) / len(seen) > 0.75


def ways(route: Route) -> tuple[object, ...]:
    return route.milestones[0].heading, *(stop.at for stop in route.milestones)


def test_held_out_routes() -> None:
    """Routes of the two parts never take the same crossings to the same place."""
    parts = [
        {tuple(stop.at for stop in builder_of("milan").route(seed, index, heldout=part).milestones)}
        for part in (False, True)
        for seed in (0, 1)
        for index in range(200)
    ]
    kept, held = (set().union(*half) for half in (parts[:400], parts[400:]))
    assert len(kept) > 250
    assert len(held) > 150
    assert kept.isdisjoint(held)


@pytest.mark.parametrize("city", TEST_CITIES)
def test_twenty_routes_in_every_test_city(city: str) -> None:
    assert len({ways(route) for route in builder_of(city).distinct(20, 0)}) == 20
    assert len({ways(route) for route in builder_of(city).distinct(20, 0, (8, 10))}) == 20


def test_pure_function_of_its_arguments() -> None:
    """Neither the order of the calls nor what was asked before matters; every argument does."""
    graph = procedural(0, "lagos")
    forth, back = RouteBuilder(graph), RouteBuilder(graph)
    routes = [forth.route(5, index) for index in range(20)]
    assert [back.route(5, index) for index in reversed(range(20))] == routes[::-1]
    assert build_routes(graph, 20, 5)[:5] == routes[:5]
    others = [forth.route(6, 0), forth.route(5, 0, (3, 4)), forth.route(5, 0, heldout=False), forth.route(5, 1)]
    assert len({route.id for route in (routes[0], *others)}) == 5
    assert all(other.start != routes[0].start for other in others)


def test_routes_of_invented_cities_stay() -> None:
    """Studies walk them: a change of their bytes is a change of results."""
    cities = (TRAIN_CITY, *TEST_CITIES, *VALIDATION_CITIES, *PRETRAINING_CITIES[:4])
    parts = (None, False, True)
    routes = [procedural_route(city, "stay", index, (2, 4), parts[index % 3]) for city in cities for index in range(20)]
    assert len(routes) == 320
    assert hashlib.sha256(repr(routes).encode()).hexdigest()[:16] == "f3d2a725390c1851"


def test_straight_on() -> None:
    """Where there is a choice, none or all of the crossings are passed by a turn of 45 degrees or less."""

    def share(straight_on: float) -> float:
        routes = build_routes(procedural(0, "london"), 200, 0, (4, 4), Limits(straight_on=straight_on))
        turns = [
            abs(turn(before.heading, after.heading)) <= 45
            for route in routes
            for before, after in pairwise(route.milestones)
        ]
        return sum(turns) / len(turns)

    assert share(0.0) < 0.15 < 0.4 < share(1.0)


def test_the_check_can_fail() -> None:
    """A route with one heading a degree off, one side changed or one landmark moved away is found."""
    builder = builder_of("milan")
    route = next(route for route in builder.distinct(20, 0) if route.milestones[0].sight)
    first = route.milestones[0]
    check(builder.graph, route, (2, 4), builder.limits)
    side = "left" if first.sight.side != "left" else "right"
    far = next(p.name for p in builder.graph.places if math.dist(p.at, metres(builder.graph, first.at)) > 100)
    for wrong in (
        replace(first, heading=first.heading + 1),
        replace(first, sight=replace(first.sight, side=side)),
        replace(first, sight=replace(first.sight, name=far)),
    ):
        with pytest.raises(AssertionError):
            check(builder.graph, replace(route, milestones=(wrong, *route.milestones[1:])), (2, 4), builder.limits)
