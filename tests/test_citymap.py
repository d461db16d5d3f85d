"""Pictures of routes: everything named is on them, inside the frame and unharmed by hostile names."""

import math
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import pytest
from rich.cells import cell_len

from ruleshift.tasks.virl.maps.labels import Box, Room, text_width
from ruleshift.tasks.virl.maps.svg import draw_route
from ruleshift.tasks.virl.maps.terminal import ARROWS, terminal_map
from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.route import Milestone, Route, Sight
from ruleshift.tasks.virl.world.graph import Place, Street, StreetGraph
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import build_routes

SVG = "{http://www.w3.org/2000/svg}"
NODES = ((0.0, 0.0), (100.0, 0.0), (100.0, 120.0), (200.0, 0.0))
TOWN = StreetGraph(
    "Port Town",
    (45.0, 7.0),
    NODES,
    (Street(0, 1, "Vale Street"), Street(1, 2, "Hill Road", ((105.0, 60.0),)), Street(1, 3, "Vale Street")),
    (
        Place("Amber Cafe", "cafe", (108.0, -9.0), 0, 100.0, "right"),
        Place("Opal Inn", "inn", (96.0, 100.0), 1, 100.0, "left"),
        Place("Far Farm", "farm", (190.0, 60.0), 2, 90.0, "left"),
    ),
)


def walk(destination: str = "Opal Inn") -> Route:
    """East along Vale Street, then north along Hill Road."""
    points = [TOWN.geocode(at) for at in ((20.0, 0.0), (100.0, 0.0), (105.0, 60.0), (102.0, 100.0))]
    milestones = (
        Milestone(points[1], 90.0, 80.0, Sight("Amber Cafe", "right front")),
        Milestone(points[3], 1.0, 100.0, Sight(destination, "left")),
    )
    return Route("town/0", "Port Town", "Vale Street", points[0], 270.0, milestones, tuple(points))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_everything_named_is_on_the_picture() -> None:
    route = walk()
    written = texts(draw_route(TOWN, route, build_rail(route), credit="© somebody"))
    assert {"Vale Street", "Hill Road", "Amber Cafe", "Opal Inn", "To Opal Inn", "© somebody", "N", "S", "1"} <= {
        *written
    }
    assert {"start on Vale Street", "after 80 m: Amber Cafe is on your right front"} <= {*written}
    assert "Port Town · 2 legs, 180 m" in written
    assert "Far Farm" not in written
    assert written.count("Opal Inn") == written.count("Amber Cafe") == 1


def test_picture_is_to_scale() -> None:
    """The scale bar is as long as it says, on a map whose crossings are 100 m apart."""
    root = ElementTree.fromstring(draw_route(TOWN, walk()))
    lines = [[tuple(map(float, p.split(","))) for p in e.get("points").split()] for e in root.iter(f"{SVG}polyline")]
    scale = math.dist(lines[0][0], lines[0][-1]) / 100
    (bar,) = (
        re.search(r"h([\d.]+)v", e.get("d"))
        for e in root.iter(f"{SVG}path")
        if "h" in e.get("d") and e.get("fill") == "none"
    )
    (label,) = (text for text in texts(draw_route(TOWN, walk())) if re.fullmatch(r"\d+ m", text))
    assert float(bar[1]) / scale == pytest.approx(float(label[:-2]), rel=0.01)
    assert lines[0][0][0] < lines[0][-1][0]  # east is right
    assert lines[1][0][1] > lines[1][-1][1]  # north is up


def test_rail_points_lie_on_the_way() -> None:
    route = walk()
    rail = build_rail(route)
    without, with_rail = (ElementTree.fromstring(draw_route(TOWN, route, r)) for r in (None, rail))
    circles = [len(list(root.iter(f"{SVG}circle"))) for root in (without, with_rail)]
    assert circles[1] - circles[0] == len(rail)


HOSTILE = '<script>alert("x")</script> & ]]> \x00\u202e\ud800'


def test_hostile_names_stay_text() -> None:
    graph = replace(
        TOWN,
        name=HOSTILE,
        streets=tuple(replace(street, name=HOSTILE) for street in TOWN.streets),
        places=tuple(replace(place, name=HOSTILE) for place in TOWN.places),
    )
    route = replace(walk(HOSTILE), city=HOSTILE, start_name=HOSTILE)
    svg = draw_route(graph, route, credit=HOSTILE)
    root = ElementTree.fromstring(svg)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "rect", "g", "polyline", "circle", "path", "text")
    }
    assert any('<script>alert("x")</script> & ]]>' in text for text in texts(svg))
    svg.encode()
    assert "\u202e" not in svg + terminal_map(graph, route, build_rail(route)[0])


@pytest.mark.parametrize("places", [True, False])
def test_route_without_map(places: bool) -> None:
    """The paper's routes come with neither streets nor the points between their intersections."""
    graph = StreetGraph("nowhere", (45.0, 7.0), (), (), TOWN.places if places else ())
    route = replace(walk(), polyline=(), initial_heading=None)
    assert {"S", "1", "To Opal Inn"} <= {*texts(draw_route(graph, route, build_rail(route)))}
    assert "X" in terminal_map(graph, route, build_rail(route)[0])


def test_labels_keep_apart() -> None:
    """On crowded maps too, no two names share a pixel, except that those which the route names are always written."""
    graph = procedural(0, "new-york")
    for route in build_routes(graph, 4, seed=1, legs=(3, 6)):
        svg = draw_route(graph, route)
        root = ElementTree.fromstring(svg)
        names = {place.name for place in graph.places} | {street.name for street in graph.streets}
        boxes = []
        for element in root.iter(f"{SVG}text"):
            if element.text in names and element.get("font-weight") == "400":
                x, y, size = (float(element.get(key)) for key in ("x", "y", "font-size"))
                width = text_width(element.text, size)
                turn = float(re.search(r"rotate\(([-\d.]+)", element.get("transform", "rotate(0"))[1])
                x += {"start": width / 2, "middle": 0, "end": -width / 2}[element.get("text-anchor")]
                boxes.append(Box(x, y - 0.35 * size, width - 8, size - 5, turn).cells())
        assert len(boxes) > 8
        assert all(a.isdisjoint(b) for a, b in combinations(boxes, 2))
        marked = {stop.sight.name for stop in route.milestones if stop.sight}
        assert marked <= {*texts(svg)}
        assert max(float(e.get("cx")) for e in root.iter(f"{SVG}circle")) <= 900


def test_boxes_and_room() -> None:
    flat, upright = Box(50, 50, 40, 8), Box(50, 50, 40, 8, degrees=90)
    assert flat.within(30, 46, 70, 54)
    assert not upright.within(30, 46, 70, 54)
    assert upright.within(46, 30, 54, 70)
    assert (15, 12) in flat.cells() - upright.cells()
    assert (12, 15) in upright.cells() - flat.cells()
    room = Room(0, 0, 100, 100)
    room.take(flat)
    assert room.first_free([upright, Box(95, 50, 40, 8), Box(50, 70, 40, 8)]) == Box(50, 70, 40, 8)
    assert room.first_free([Box(50, 70, 40, 8)]) is None
    assert text_width("東京", 10) == 20


def test_terminal_map() -> None:
    route = walk()
    rail = build_rail(route)
    drawn = terminal_map(TOWN, route, rail[0], width=60, height=20)
    lines = drawn.split("\n")
    assert len(lines) == 20
    assert max(map(cell_len, lines)) <= 60
    assert all(name in drawn for name in ("Amber Cafe", "Opal Inn", "Vale Street", "Hill Road"))
    body = lines[:-1]
    assert ARROWS[6] in "".join(body)  # at the start it looks to the west
    row = {letter: next(n for n, line in enumerate(body) if letter in line) for letter in ("1", "X", ARROWS[6])}
    assert row["X"] < row["1"] == row[ARROWS[6]]
    assert body[row["1"]].index(ARROWS[6]) < body[row["1"]].index("1")


@pytest.mark.parametrize(("heading", "arrow"), [(0, "↑"), (22, "↑"), (23, "↗"), (135, "↘"), (340, "↑"), (271, "←")])
def test_walker_looks_where_it_goes(heading: float, arrow: str) -> None:
    route = walk()
    position = replace(build_rail(route)[3], heading=float(heading))
    assert arrow in terminal_map(TOWN, route, position)


def test_a_terminal_without_braille_letters_gets_a_plain_map() -> None:
    """In ASCII, with the same streets, letters and columns; the way it faces is said."""
    route = walk()
    position = build_rail(route)[0]
    plain, drawn = (
        terminal_map(TOWN, route, position, width=40, height=20, plain=p).split("\n") for p in (True, False)
    )
    assert all(line.isascii() and len(line) <= 40 for line in plain)
    assert len(plain) == len(drawn) == 20
    assert "@: you, facing west" in "\n".join(plain)
    assert all(any(letter in line for line in plain[:-3]) for letter in "@#.1XS")
    assert not all(line.isascii() for line in drawn)


def test_wide_letters_keep_the_columns() -> None:
    graph = replace(TOWN, places=(replace(TOWN.places[0], name="東京カフェ"), *TOWN.places[1:]))
    route = walk()
    seen = replace(
        route, milestones=(replace(route.milestones[0], sight=Sight("東京カフェ", "right")), route.milestones[1])
    )
    drawn = terminal_map(graph, seen, build_rail(seen)[0], width=60)
    assert "東京カフェ" in drawn
    assert max(map(cell_len, drawn.split("\n"))) <= 60
