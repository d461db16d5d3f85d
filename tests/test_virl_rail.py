"""Headings, words and rails, against values worked out by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ruleshift.tasks.virl.compass import (
    ABSOLUTE,
    RELATIVE,
    SIXTEEN,
    compass_name,
    heading_of,
    metres_between,
    relative_name,
    wrap,
)
from ruleshift.tasks.virl.rail import RailPoint, build_rail
from ruleshift.tasks.virl.route import Milestone, Route, Sight
from virl_fixtures import ROUTE

QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
degrees = st.floats(-1e4, 1e4)

# ---------------------------------------------------------------- words

EVERY_15_DEGREES = [
    *[(0, "north"), (15, "north"), (30, "northeast"), (45, "northeast"), (60, "northeast"), (75, "east")],
    *[(90, "east"), (105, "east"), (120, "southeast"), (135, "southeast"), (150, "southeast"), (165, "south")],
    *[(180, "south"), (195, "south"), (210, "southwest"), (225, "southwest"), (240, "southwest"), (255, "west")],
    *[(270, "west"), (285, "west"), (300, "northwest"), (315, "northwest"), (330, "northwest"), (345, "north")],
]


@pytest.mark.parametrize(("heading", "name"), EVERY_15_DEGREES)
def test_compass_name_every_15_degrees(heading: int, name: str) -> None:
    assert [compass_name(heading + turns) for turns in (-360, 0, 360)] == 3 * [name]


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        *[(-1, "north"), (-0.001, "north"), (0.001, "north"), (1, "north"), (359, "north"), (360, "north")],
        *[(22, "north"), (22.5, "north"), (22.6, "northeast"), (67.5, "northeast"), (67.6, "east")],
        *[(292.5, "west"), (292.6, "northwest"), (337.4, "northwest"), (337.5, "north")],
    ],
)
def test_compass_name_around_north_and_halfway(heading: float, name: str) -> None:
    assert compass_name(heading) == name


def test_compass_of_other_sizes() -> None:
    assert [compass_name(22.5 * i, SIXTEEN) for i in range(16)] == list(SIXTEEN)
    assert SIXTEEN[::2] == ABSOLUTE
    assert compass_name(348.8, SIXTEEN) == "north"
    assert compass_name(348.7, SIXTEEN) == "north-northwest"
    tens = [str(10 * i) for i in range(36)]
    assert compass_name(356, tens) == "0"
    assert compass_name(124, tens) == "120"


FIXED_WORDS = {  # by how far one turns clockwise
    "slightly left": (0, 315, 330, 345),
    "slightly right": (15, 30, 45),
    "right": (60, 75, 90, 105, 120, 135, 150, 165, 180),
    "left": (195, 210, 225, 240, 255, 270, 285, 300),
}


@pytest.mark.parametrize("word", FIXED_WORDS)
def test_fixed_relative_name_from_every_15_degrees(word: str) -> None:
    for previous in range(0, 360, 15):
        for turn in FIXED_WORDS[word]:
            assert relative_name(previous, (previous + turn) % 360) == word, (previous, turn)


@pytest.mark.parametrize(
    ("previous", "following", "fixed", "official"),
    [
        (350, 80, "right", "left"),
        (80, 350, "left", "right"),
        (350, 10, "slightly right", "left"),
        (10, 350, "slightly left", "right"),
        (0, 270, "left", "right"),
        (270, 0, "right", "left"),
        (0, 180, "right", "right"),
        (180, 0, "right", "left"),
        (0, 315, "slightly left", "right"),
        (315, 0, "slightly right", "left"),
        (90, 45, "slightly left", "slightly left"),
        (90, 44, "left", "left"),
        (90, 90, "slightly left", "slightly left"),
        (90, 91, "slightly right", "slightly right"),
        (90, 135, "slightly right", "slightly right"),
        (90, 136, "right", "right"),
        (359, 0, "slightly right", "left"),
        (0, 359, "slightly left", "right"),
        (1, 0, "slightly left", "slightly left"),
    ],
)
def test_relative_name_in_both_modes(previous: int, following: int, fixed: str, official: str) -> None:
    assert relative_name(previous, following) == fixed
    assert relative_name(previous, following, "official") == official


def test_a_quarter_of_official_words_is_wrong() -> None:
    pairs = [(a, b) for a in range(0, 360, 5) for b in range(0, 360, 5)]
    wrong = sum(relative_name(a, b) != relative_name(a, b, "official") for a, b in pairs)
    assert wrong / len(pairs) == pytest.approx(0.25, abs=0.01)
    corners = [(a, (a + turn) % 360) for a in (0, 90, 180, 270) for turn in (90, 270)]
    assert sum(relative_name(a, b) != relative_name(a, b, "official") for a, b in corners) == 2


@QUICK
@given(degrees)
def test_wrapping_keeps_the_direction(angle: float) -> None:
    assert -180 < wrap(angle) <= 180
    assert 0 <= heading_of(angle) < 360
    for wrapped in (wrap(angle), heading_of(angle)):
        assert abs(wrap(wrapped - angle)) < 1e-9


def test_wrapping_at_the_ends() -> None:
    assert [wrap(x) for x in (-540, -180, -179, 0, 180, 181, 540)] == [180, 180, -179, 0, 180, -179, 180]
    assert [heading_of(x) for x in (-360, -90, 0, 360, 720.5, -1e-20)] == [0, 270, 0, 0, 0.5, 0]


@QUICK
@given(st.floats(0, 360), st.floats(0, 360), st.integers(-720, 720))
def test_fixed_words_do_not_depend_on_where_north_is(previous: float, following: float, turn: int) -> None:
    if min(abs(abs(wrap(following - previous)) - edge) for edge in (0, 45, 180)) > 1e-6:
        assert relative_name(previous, following) == relative_name(previous + turn, following + turn)


@pytest.mark.parametrize(
    ("a", "b", "metres"),
    [  # known lengths of a degree on WGS 84
        ((0.0, 0.0), (0.001, 0.0), 110.574),
        ((0.0, 0.0), (0.0, 0.001), 111.320),
        ((60.0, 25.0), (60.001, 25.0), 111.412),
        ((60.0, 25.0), (60.0, 25.001), 55.800),
        ((45.0, 179.9995), (45.0, -179.9995), 78.847),
    ],
)
def test_metres_between(a: tuple[float, float], b: tuple[float, float], metres: float) -> None:
    assert metres_between(a, b) == pytest.approx(metres, abs=0.01)
    assert metres_between(b, a) == metres_between(a, b)


# ---------------------------------------------------------------- rails by hand


def shape(point: RailPoint) -> tuple[object, ...]:
    at = tuple(round(number, 9) for number in point.at)
    return (point.kind, at, point.heading, point.next_heading, point.leg, point.line)


def test_fixed_rail_by_hand() -> None:
    rail = build_rail(ROUTE)
    assert [shape(point) for point in rail] == [
        ("start", (10.0, 20.0), 350, 80, 0, 0),
        ("way", (10.0, 20.001), 80, None, 0, 1),
        ("way", (10.0, 20.002), 80, None, 0, 1),
        ("way", (10.0, 20.003), 80, None, 0, 1),
        ("way", (10.0, 20.004), 80, None, 0, 1),
        ("way", (10.0, 20.005), 80, None, 0, 1),
        ("intersection", (10.0, 20.006), 80, 10, 0, 2),
        ("way", (10.001, 20.006), 10, None, 1, 3),
        ("way", (10.002, 20.006), 10, None, 1, 3),
        ("way", (10.003, 20.006), 10, None, 1, 3),
        ("way", (10.004, 20.006), 10, None, 1, 3),
        ("way", (10.005, 20.006), 10, None, 1, 3),
        ("intersection", (10.006, 20.006), 10, 340, 1, 4),
        ("way", (10.006, 20.005), 340, None, 2, 5),
        ("way", (10.006, 20.004), 340, None, 2, 5),
        ("way", (10.006, 20.003), 340, None, 2, 5),
        ("way", (10.006, 20.002), 340, None, 2, 5),
        ("way", (10.006, 20.001), 340, None, 2, 5),
        ("destination", (10.006, 20.0), 340, None, 2, 5),
    ]
    turns = [point for point in rail if point.next_heading is not None]
    assert [point.action_absolute for point in turns] == [f"turn_direction({x})" for x in ("east", "north", "north")]
    assert [point.action_relative for point in turns] == [
        "turn_direction(right)",
        "turn_direction(left)",
        "turn_direction(slightly left)",
    ]


def test_official_rail_by_hand() -> None:
    rail = build_rail(ROUTE, compat="official")
    assert [shape(point) for point in rail] == [
        ("start", (10.0, 20.0), 350, 80, 0, 0),
        ("way", (10.0, 20.0012), 80, None, 0, 1),
        ("way", (10.0, 20.0024), 80, None, 0, 1),
        ("way", (10.0, 20.0036), 80, None, 0, 1),
        ("way", (10.0, 20.0048), 80, None, 0, 1),
        ("way", (10.0, 20.006), 80, None, 0, 1),
        ("intersection", (10.0, 20.006), 80, 10, 0, 2),
        ("way", (10.0012, 20.006), 10, None, 1, 3),
        ("way", (10.0024, 20.006), 10, None, 1, 3),
        ("way", (10.0036, 20.006), 10, None, 1, 3),
        ("way", (10.0048, 20.006), 10, None, 1, 3),
        ("way", (10.006, 20.006), 10, None, 1, 3),
        ("intersection", (10.006, 20.006), 10, 340, 1, 4),
        ("way", (10.006, 20.0048), 340, None, 2, 5),
        ("way", (10.006, 20.0036), 340, None, 2, 5),
        ("way", (10.006, 20.0024), 340, None, 2, 5),
        ("way", (10.006, 20.0012), 340, None, 2, 5),
        ("way", (10.006, 20.0), 340, None, 2, 5),
        ("destination", (10.006, 20.0), 340, None, 2, 5),
    ]
    turns = [point for point in rail if point.next_heading is not None]
    assert [point.action_absolute for point in turns] == [f"turn_direction({x})" for x in ("east", "north", "north")]
    assert [point.action_relative for point in turns] == [  # 80 - 350, 10 - 80, 340 - 10
        "turn_direction(left)",
        "turn_direction(left)",
        "turn_direction(right)",
    ]


@pytest.mark.parametrize("compat", ["fixed", "official"])
def test_what_is_seen_and_done(compat: str) -> None:
    rail = build_rail(ROUTE, compat, points_per_leg=1)
    assert [point.kind for point in rail] == [
        *("start", "way", "intersection", "way", "intersection", "way", "destination")
    ]
    assert [point.intersection for point in rail] == [False, False, True, False, True, False, False]
    assert [point.landmark for point in rail] == [
        *(None, None, "Copper Cafe is on your right front", None, None, None),
        "The destination Lilac Library is on your left",
    ]
    assert rail[-1].sight == Sight("Lilac Library", "left")
    for kind, action in (("way", "forward()"), ("destination", "stop()")):
        actions = {(point.action_absolute, point.action_relative) for point in rail if point.kind == kind}
        assert actions == {(action, action)}


def route_of(*legs: tuple[float, float], start: float | None = 90.0) -> Route:
    """Legs of (heading, metres), drawn along the equator; the last one ends at the destination."""
    at, milestones = 0.0, []
    for heading, metres in legs:
        at += metres / 111_319.49
        milestones.append(Milestone((0.0, at), heading, metres, Sight("Olive Inn", "back")))
    return Route("legs", "Testville", "", (0.0, 0.0), start, tuple(milestones))


def test_short_legs_have_no_points_between_their_ends() -> None:
    route = route_of((90, 5.01), (90, 4.99), (90, 100))
    for compat in ("fixed", "official"):
        ways = [point.leg for point in build_rail(route, compat, points_per_leg=2) if point.kind == "way"]
        assert ways == [0, 0, 2, 2]


@pytest.mark.parametrize(("compat", "lines"), [("fixed", [0, 1, 2, 4, 5, 5]), ("official", [0, 1, 2, 3, 4, 4])])
def test_a_short_leg_lets_the_official_line_fall_behind(compat: str, lines: list[int]) -> None:
    route = route_of((90, 50), (0, 4), (90, 50))
    assert [point.line for point in build_rail(route, compat, points_per_leg=1)] == lines


def test_headings_are_wrapped_or_cut() -> None:
    route = route_of((-90.0, 50), (382.9, 50), start=-0.5)
    fixed, official = build_rail(route, points_per_leg=0), build_rail(route, "official", points_per_leg=0)
    assert [point.heading for point in fixed] == [359.5, 270.0, pytest.approx(22.9)]
    assert [point.next_heading for point in fixed] == [270.0, pytest.approx(22.9), None]
    assert fixed[1].action_absolute == "turn_direction(northeast)"
    assert [point.heading for point in official] == [0, -90, 382]
    assert official[1].action_absolute == "turn_direction(north)"


# ---------------------------------------------------------------- chance


def test_an_open_initial_heading_is_drawn_from_a_stream_of_its_own() -> None:
    route = replace(ROUTE, initial_heading=None)
    drawn = [build_rail(route, seed=seed)[0].heading for seed in range(300)]
    assert drawn == [build_rail(route, seed=seed)[0].heading for seed in range(300)]
    assert {heading % 1 for heading in drawn} == {0.0}
    assert 0 <= min(drawn) < 20
    assert 340 < max(drawn) < 360
    assert build_rail(replace(route, id="other"), seed=0)[0].heading != drawn[0]
    for start, seed in zip(drawn[:20], range(20), strict=True):
        word = build_rail(route, seed=seed)[0].action_relative
        assert word == f"turn_direction({relative_name(start, 80)})"


def test_points_are_dropped_at_the_rate_asked_for() -> None:
    assert {p.kind for p in build_rail(ROUTE, drop_rate=1.0)} == {"start", "intersection", "destination"}
    counts = [sum(p.kind == "way" for p in build_rail(ROUTE, drop_rate=0.5, seed=seed)) for seed in range(400)]
    assert sum(counts) / len(counts) == pytest.approx(7.5, abs=0.4)
    whole = build_rail(ROUTE)
    for seed in range(20):
        rail = build_rail(ROUTE, drop_rate=0.5, seed=seed)
        assert rail == build_rail(ROUTE, drop_rate=0.5, seed=seed)
        assert [point for point in whole if point in rail] == rail


def test_both_modes_drop_the_same_points() -> None:
    route = replace(ROUTE, initial_heading=None)
    for seed in range(20):
        rails = [build_rail(route, compat, drop_rate=0.5, seed=seed) for compat in ("fixed", "official")]
        assert len({tuple(point.kind for point in rail) for rail in rails}) == 1


legs = st.lists(st.tuples(st.floats(-400, 800), st.sampled_from([2.0, 5.5, 80.0])), min_size=1, max_size=12)


@QUICK
@given(legs, st.none() | st.floats(-400, 800), st.sampled_from([0.0, 0.3]), st.integers(0, 6))
def test_fixed_words_agree_with_the_headings(
    legs: list[tuple[float, float]], start: float | None, drop_rate: float, points: int
) -> None:
    rail = build_rail(route_of(*legs, start=start), drop_rate=drop_rate, points_per_leg=points)
    assert sum(point.kind != "way" for point in rail) == len(legs) + 1
    for here, there in pairwise(rail):
        assert 0 <= here.heading < 360
        if here.next_heading is None:
            assert there.heading == here.heading
            assert here.action_absolute == here.action_relative == "forward()"
        else:
            assert there.heading == here.next_heading
            assert there.leg == here.leg + (here.kind == "intersection")
            absolute, relative = (action[15:-1] for action in (here.action_absolute, here.action_relative))
            assert abs(wrap(45 * ABSOLUTE.index(absolute) - here.next_heading)) <= 22.5
            turn = wrap(here.next_heading - here.heading)
            assert ("left" in relative) == (turn <= 0)
            assert relative.startswith("slightly") == (abs(turn) <= 45)
            assert relative in RELATIVE


def test_what_no_rail_can_be_made_of() -> None:
    with pytest.raises(ValueError, match="unknown compat 'paper'"):
        build_rail(ROUTE, compat="paper")
    with pytest.raises(ValueError, match="unknown compat"):
        relative_name(0, 90, "paper")
    with pytest.raises(ValueError, match="no milestones"):
        build_rail(replace(ROUTE, milestones=()))
    for numbers in ({"drop_rate": -0.1}, {"drop_rate": 1.1}, {"points_per_leg": -1}, {"drop_rate": float("nan")}):
        with pytest.raises(ValueError, match="no rail has"):
            build_rail(ROUTE, **numbers)
