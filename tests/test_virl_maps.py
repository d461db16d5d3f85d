"""Real maps as street graphs: maps written by hand with known answers, and the two that packages carry."""

import math
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from map_helpers import OsmFile, degrees, graphml_text, helsinki, metres, upper_west_side
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.sources import ON_REAL_MAPS
from ruleshift.tasks.virl.world.graph import XY, Place, StreetGraph, heading
from ruleshift.tasks.virl.world.graphml import graphml
from ruleshift.tasks.virl.world.legs import Limits
from ruleshift.tasks.virl.world.osm import osm
from ruleshift.tasks.virl.world.routes import RouteBuilder, build_routes
from ruleshift.tasks.virl.world.simplify import simplified
from ruleshift.tasks.virl.world.ways import Way

CENTRE, NORTH, EAST, SOUTH, WEST = (0, 0), (0, 100), (100, 0), (0, -100), (-100, 0)


def crossroads() -> OsmFile:
    """Vale Street from west to east, Hill Road from south to north, 100 m each way."""
    return OsmFile().street("Vale Street", WEST, CENTRE, EAST).street("Hill Road", SOUTH, CENTRE, NORTH)


@pytest.fixture
def read(tmp_path: Path):
    return lambda file: osm(file.write(tmp_path / "town.osm"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StreetGraph]:
    folder = tmp_path_factory.mktemp("maps")
    return {"helsinki": osm(helsinki(folder)), "new york": graphml(upper_west_side(folder))}


def corners(graph: StreetGraph) -> dict[XY, set[str]]:
    """Where the corners are, and the names of the streets that meet there."""
    return {
        metres(graph, at): {graph.streets[street].name for street in graph.streets_at[corner]}
        for corner, at in enumerate(graph.nodes)
    }


def crossings(graph: StreetGraph) -> list[XY]:
    return [metres(graph, at) for at, meeting in zip(graph.nodes, graph.streets_at, strict=True) if len(meeting) > 2]


def crossing_of(graph: StreetGraph) -> int:
    (crossing,) = (corner for corner, meeting in enumerate(graph.streets_at) if len(meeting) > 2)
    return crossing


def seen(graph: StreetGraph, place: Place, going: float) -> tuple[str, float, str]:
    """The street of a place, metres along it in the direction nearest to `going` degrees, and the side it is on."""
    street = graph.streets[place.street]
    forth = abs((heading(graph.nodes[street.a], graph.nodes[street.b]) - going + 180) % 360 - 180) < 90
    along = place.along if forth else graph.length(place.street) - place.along
    return street.name, round(along, 1), place.side if forth else {"left": "right", "right": "left"}[place.side]


def check_invariants(graph: StreetGraph) -> None:
    """Connected, no street without length, no corner that is none, places where they say that they are."""
    reached, waiting = {0}, [0]
    while waiting:
        for street in graph.streets_at[waiting.pop()]:
            fresh = {graph.streets[street].a, graph.streets[street].b} - reached
            reached |= fresh
            waiting += fresh
    assert len(reached) == len(graph.nodes)
    for street, piece in enumerate(graph.streets):
        assert piece.a != piece.b
        assert graph.length(street) > 10
        assert piece.name
    for meeting in graph.streets_at:
        assert len(meeting) != 2 or len({graph.streets[street].name for street in meeting}) == 2
    for place in graph.places:
        check_place(graph, place)


def check_place(graph: StreetGraph, place: Place) -> None:
    """No point of its street is nearer than the one at `along`; from there, a step to its side comes nearer to it."""
    samples, walked = [], 0.0
    for a, b in pairwise(graph.line(place.street)):
        step = math.dist(a, b)
        ahead = (b[0] - a[0]) / step, (b[1] - a[1]) / step
        for metre in (*range(math.floor(step)), step, min(max(place.along - walked, 0), step)):
            at = a[0] + metre * ahead[0], a[1] + metre * ahead[1]
            samples.append((abs(walked + metre - place.along), at, ahead))
        walked += step
    _, here, ahead = min(samples)
    far = math.dist(here, place.at)
    assert 0.9 <= far <= 25.1
    assert far <= min(math.dist(at, place.at) for _, at, _ in samples) + 0.05
    if 0.01 < place.along < walked - 0.01:
        left = here[0] - 0.1 * ahead[1], here[1] + 0.1 * ahead[0]
        assert (math.dist(left, place.at) < far) == (place.side == "left")


def test_crossroads(read) -> None:
    graph = read(crossroads())
    assert graph.name == "town"
    assert corners(graph) == {
        CENTRE: {"Vale Street", "Hill Road"},
        NORTH: {"Hill Road"},
        SOUTH: {"Hill Road"},
        EAST: {"Vale Street"},
        WEST: {"Vale Street"},
    }
    assert sorted(round(graph.length(street)) for street in range(4)) == [100] * 4
    check_invariants(graph)


@pytest.mark.parametrize(
    ("at", "going", "expected"),
    [
        ((20, 8), 90, ("Vale Street", 20, "left")),
        ((20, -8), 90, ("Vale Street", 20, "right")),
        ((-30, 8), 90, ("Vale Street", 70, "left")),  # 70 m east of the western end
        ((-30, 8), 270, ("Vale Street", 30, "right")),
        ((9, 40), 0, ("Hill Road", 40, "right")),
        ((-24.9, 40), 0, ("Hill Road", 40, "left")),
        ((104, 3), 90, ("Vale Street", 100, "left")),  # past the end
    ],
)
def test_place_on_its_street(read, at: XY, going: float, expected: tuple[str, float, str]) -> None:
    (place,) = read(crossroads().place("Amber Cafe", at)).places
    graph = read(crossroads().place("Amber Cafe", at))
    assert (place.name, place.kind) == ("Amber Cafe", "cafe")
    assert metres(graph, place.at) == pytest.approx(at, abs=0.11)
    name, along, side = seen(graph, place, going)
    assert (name, side) == (expected[0], expected[2])
    assert along == pytest.approx(expected[1], abs=0.11)


def test_side_at_a_sharp_bend(read) -> None:
    """A street goes 50 m east and comes back 40 m west, a little to the north: outside of the tip is right of it."""
    bent = OsmFile().street("Loop Lane", (0, 0), (50, 0), (12, 12)).street("Vale Street", (0, -60), (0, 0), (0, 60))
    for at in ((60, 4), (58, 9), (60, -4)):
        graph = read(bent.place(f"Place {at}", at))
    sides = {place.name: seen(graph, place, heading((0, 0), (12, 12)))[2] for place in graph.places}
    assert sides == {f"Place {at}": "right" for at in ((60, 4), (58, 9), (60, -4))}


def test_address_chooses_the_street(read) -> None:
    near_both = (10, 6)
    without = read(crossroads().place("Corner Cafe", near_both))
    assert seen(without, without.places[0], 90)[0] == "Vale Street"
    graph = read(crossroads().place("Corner Cafe", near_both, addr__street="Hill Road"))
    assert seen(graph, graph.places[0], 0) == ("Hill Road", 6.0, "right")
    elsewhere = read(crossroads().place("Corner Cafe", near_both, addr__street="Far Away Road"))
    assert seen(elsewhere, elsewhere.places[0], 90)[0] == "Vale Street"


def test_building_stands_at_its_middle(read) -> None:
    tags = {"building": "yes", "tourism": "museum", "name": "Opal Museum"}
    graph = read(crossroads().way(tags, (30, 10), (50, 10), (50, 30), (30, 30), (30, 10)))
    (place,) = graph.places
    assert (place.kind, metres(graph, place.at)) == ("museum", (40, 20))
    assert seen(graph, place, 90) == ("Vale Street", 40, "left")


@pytest.mark.parametrize(
    ("at", "tags"),
    [
        ((30, 25.3), {}),
        ((30, 0.4), {}),
        ((30, 8), {"name": " "}),
        ((30, 8), {"amenity": "parking"}),
        ((30, 8), {"amenity": "no"}),
        ((30, 8), {"amenity": "no", "natural": "tree"}),
        ((30, 8), {"level": "-1"}),
        ((30, 8), {"tunnel": "yes"}),
    ],
)
def test_no_place(read, at: XY, tags: dict[str, str]) -> None:
    name = tags.pop("name", "Amber Cafe")
    assert read(crossroads().place(name, at, **tags)).places == ()


def test_twins_of_a_place_count_once(read) -> None:
    file = crossroads().place("Amber Cafe", (30, 8)).place("Amber Cafe", (40, 9)).place("Amber Cafe", (85, 8))
    assert len(read(file).places) == 2


def test_names_become_one_printable_line(read) -> None:
    file = OsmFile().street("Vale\u202e\n  Street", WEST, EAST).place("<b>&amp;\t" + "long " * 50, (20, 8))
    graph = read(file)
    assert graph.streets[0].name == "Vale Street"
    assert graph.places[0].name == ("<b>&amp; " + "long " * 50)[:60].strip()


@pytest.mark.parametrize(
    "tags",
    [
        {"highway": "motorway"},
        {"highway": "construction"},
        {"highway": "cycleway"},
        {"access": "private"},
        {"foot": "no"},
        {"tunnel": "yes"},
        {"layer": "-1"},
        {"indoor": "yes"},
        {"area": "yes"},
        {"name": " "},
    ],
)
def test_no_street_to_walk_on(read, tags: dict[str, str]) -> None:
    file = crossroads().way({"highway": "residential", "name": "Nowhere Lane"} | tags, EAST, (100, 80))
    assert {street.name for street in read(file).streets} == {"Vale Street", "Hill Road"}


@pytest.mark.parametrize(
    "tags", [{"highway": "cycleway", "foot": "yes"}, {"access": "private", "foot": "yes"}, {"tunnel": "no"}]
)
def test_street_to_walk_on(read, tags: dict[str, str]) -> None:
    file = crossroads().way({"highway": "residential", "name": "Somewhere Lane"} | tags, EAST, (100, 80))
    assert "Somewhere Lane" in {street.name for street in read(file).streets}


def test_pieces_of_a_street_are_joined(read) -> None:
    file = crossroads().street("Vale Street", EAST, (150, 40)).street("Vale Street", (200, 40), (150, 40))
    graph = read(file)
    assert EAST not in corners(graph)
    (long,) = (street for street in range(len(graph.streets)) if graph.streets[street].bends)
    assert [metres(graph, bend) for bend in graph.streets[long].bends] in ([EAST, (150, 40)], [(150, 40), EAST])
    assert graph.length(long) == pytest.approx(100 + math.hypot(50, 40) + 50, abs=0.1)


def test_street_that_changes_its_name_has_a_corner_there(read) -> None:
    graph = read(crossroads().street("Far Street", EAST, (200, 0)))
    assert corners(graph)[EAST] == {"Vale Street", "Far Street"}


def test_bends_that_nobody_sees_are_left_out(read) -> None:
    graph = read(OsmFile().street("Vale Street", (0, 0), (50, 1.5), (100, -1.5), (150, 0)))
    assert graph.streets[0].bends == ()
    graph = read(OsmFile().street("Vale Street", (0, 0), (50, 4), (100, 0)))
    assert len(graph.streets[0].bends) == 1


@pytest.mark.parametrize(("offset", "count"), [(8, 1), (16, 2)])
def test_offset_crossing(read, offset: float, count: int) -> None:
    """Two side streets meet Vale Street from both sides, not quite opposite each other."""
    file = OsmFile().street("Vale Street", WEST, CENTRE, (offset, 0), EAST)
    graph = read(file.street("Hill Road", CENTRE, NORTH).street("Dale Road", (offset, 0), (offset, -100)))
    assert len(crossings(graph)) == count
    check_invariants(graph)
    if count == 1:
        assert crossings(graph) == [(offset / 2, 0)]


def wide_road(names: tuple[str, str] = ("Broad Way", "Broad Way"), gap: float = 16) -> OsmFile:
    """Two lines from west to east, crossed by Hill Road at 0, with Side Lane to the north from the upper one at 120."""
    low, high = -gap / 2, gap / 2
    file = OsmFile().street(names[0], (-100, low), (0, low), (240, low))
    file.street(names[1], (240, high), (120, high), (0, high), (-100, high))
    return file.street("Hill Road", (0, -90), (0, low), (0, high), (0, 90)).street("Side Lane", (120, high), (120, 90))


def test_carriageways_become_one_street(read) -> None:
    graph = read(wide_road())
    assert sorted(crossings(graph)) == [(0, 0), (120, 0)]
    assert Counter(street.name for street in graph.streets) == {"Broad Way": 3, "Hill Road": 2, "Side Lane": 1}
    assert all(abs(metres(graph, at)[1]) <= 0.1 for at in graph.nodes if abs(metres(graph, at)[1]) < 50)
    check_invariants(graph)


@pytest.mark.parametrize(("names", "gap"), [(("Broad Way", "Narrow Way"), 16), (("Broad Way", "Broad Way"), 40)])
def test_parallel_streets_stay_two(read, names: tuple[str, str], gap: float) -> None:
    graph = read(wide_road(names, gap))
    assert len(crossings(graph)) == 3
    check_invariants(graph)


def test_crescent_keeps_both_its_sides(read) -> None:
    """A street that leaves itself and comes back 60 m away is no second carriageway."""
    file = OsmFile().street("Vale Street", WEST, CENTRE, EAST, (200, 0))
    graph = read(file.street("Vale Street", CENTRE, (0, 60), (100, 60), EAST).street("Hill Road", CENTRE, SOUTH))
    assert sorted(round(graph.length(street)) for street in range(len(graph.streets))) == [100, 100, 100, 100, 220]


def test_only_the_largest_part_is_kept(read) -> None:
    file = crossroads().street("Far Street", (1000, 0), (1300, 0)).place("Far Cafe", (1100, 8))
    graph = read(file)
    assert "Far Street" not in {street.name for street in graph.streets}
    assert graph.places == ()


def test_ring_and_missing_nodes(read) -> None:
    """A closed ring leads nowhere; a way goes on over a node that the extract does not hold."""
    file = crossroads().street("Ring Road", EAST, (160, 40), (160, -40), EAST)
    file.things.append(file.things[0].replace('<way id="1">', '<way id="99"><nd ref="777"/>'))
    graph = read(file)
    assert {street.name for street in graph.streets} == {"Vale Street", "Hill Road"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.osm.pbf", None, "there is no file"),
        ("empty.osm.pbf", b"", "cannot read"),
        ("garbage.osm.pbf", b"no map " * 100, "cannot read"),
        ("page.osm", b"<html></html>", "cannot read"),
        ("cut.osm", b'<osm version="0.6"><node id="1" lat="1', "cannot read"),
        ("entity.osm", b'<!DOCTYPE x [<!ENTITY a "b">]><osm version="0.6"/>', "cannot read"),
        ("latitude.osm", b'<osm version="0.6"><node id="1" lat="999" lon="2"/></osm>', "cannot read"),
        ("notes.txt", b"hello", "cannot read"),
        ("bare.osm", b'<osm version="0.6"></osm>', "holds no named streets"),
    ],
)
def test_bad_extract(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RuleshiftError, match=message) as error:
        osm(tmp_path / name)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_extract(tmp_path: Path) -> None:
    whole = helsinki(tmp_path).read_bytes()
    (tmp_path / "half.osm.pbf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RuleshiftError, match="fetch it again"):
        osm(tmp_path / "half.osm.pbf")


def test_map_of_a_country(read) -> None:
    with pytest.raises(RuleshiftError, match="cut a city out"):
        read(OsmFile().street("Long Road", (0, 0), (120_000, 0)))


@pytest.mark.parametrize(("reader", "library"), [(osm, "osmium"), (graphml, "networkx")])
def test_missing_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reader, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RuleshiftError, match=r'pip install "ruleshift\[maps\]"'):
        reader(tmp_path / "town.osm")


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.lists(st.integers(0, 24), min_size=2, max_size=5)), min_size=1, max_size=14
    ),
    st.sampled_from([9.0, 14.0, 40.0]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_ways_make_a_sound_graph(drawn: list[tuple[str, list[int]]], spacing: float) -> None:
    points = {node: (node % 5 * spacing + node / 7, node // 5 * spacing) for node in range(25)}
    nodes, streets = simplified([Way(name, tuple(way)) for name, way in drawn], points)
    if streets:
        check_invariants(StreetGraph("any", (0, 0), nodes, streets, ()))


def test_helsinki(real: dict[str, StreetGraph]) -> None:
    graph = real["helsinki"]
    assert graph.name == "Helsinki"
    assert graph.origin == pytest.approx((60.17, 24.94), abs=0.02)
    assert len({street.name for street in graph.streets}) >= 65
    assert sum(len(meeting) > 2 for meeting in graph.streets_at) >= 90
    assert len(graph.places) >= 800
    check_invariants(graph)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Aleksanterinkatu", "Fabianinkatu"), ("Bulevardi", "Annankatu"), ("Yrjönkatu", "Lönnrotinkatu")],
)
def test_crossings_of_helsinki_are_where_osm_says(real, tmp_path: Path, one: str, other: str) -> None:
    import osmium

    graph = real["helsinki"]
    lines: dict[str, dict[int, tuple[float, float]]] = {one: {}, other: {}}
    for way in osmium.FileProcessor(helsinki(tmp_path), osmium.osm.NODE | osmium.osm.WAY).with_locations():
        if way.is_way() and way.tags.get("name") in lines:
            lines[way.tags["name"]] |= {node.ref: (node.lat, node.lon) for node in way.nodes if node.location.valid()}
    truth = [lines[one][node] for node in lines[one].keys() & lines[other].keys()]
    names = [{graph.streets[street].name for street in meeting} for meeting in graph.streets_at]
    (corner,) = (corner for corner, here in enumerate(names) if {one, other} <= here)
    latitude, longitude = graph.geocode(graph.nodes[corner])
    away = min(math.hypot(latitude - lat, (longitude - lon) * math.cos(math.radians(60))) for lat, lon in truth)
    assert away * 111_320 < 10


def test_upper_west_side(real: dict[str, StreetGraph]) -> None:
    graph = real["new york"]
    assert graph.origin == pytest.approx((40.789, -73.973), abs=0.005)
    assert len({street.name for street in graph.streets}) == 14
    assert 25 <= sum(len(meeting) > 2 for meeting in graph.streets_at) <= 40
    blocks = [graph.length(i) for i, street in enumerate(graph.streets) if street.name == "Broadway"]
    assert all(75 < block < 90 for block in blocks)  # its two carriageways made one
    check_invariants(graph)
    assert {place.kind for place in graph.places} == {"house"}
    assert len({place.name for place in graph.places}) == len(graph.places)
    for corner, meeting in enumerate(graph.streets_at):
        houses = [place for place in graph.places if math.dist(place.at, graph.nodes[corner]) < 16]
        if len(meeting) >= 3 and all(graph.length(street) >= 30 for street in meeting):
            assert {place.street for place in houses} == set(meeting)


@pytest.mark.parametrize("city", ["helsinki", "new york"])
def test_a_hundred_routes(real: dict[str, StreetGraph], city: str) -> None:
    routes = build_routes(real[city], 100, seed=0)
    assert len({(route.start, *(stop.at for stop in route.milestones)) for route in routes}) == 100
    assert all(route.destination for route in routes)
    assert sum(stop.sight is not None for route in routes for stop in route.milestones[:-1]) > 50


@pytest.mark.parametrize("city", ["helsinki", "new york"])
@pytest.mark.parametrize("limits", [Limits(), ON_REAL_MAPS], ids=["default", "wide"])
def test_routes_never_turn_back_and_never_name_a_street(real: dict[str, StreetGraph], city: str, limits) -> None:
    """No leg doubles back on the one before, as told or as walked; landmarks and destinations are places."""
    graph = real[city]
    streets = {street.name for street in graph.streets}
    for route in build_routes(graph, 200, seed=3, legs=(2, 5), limits=limits):
        told = [route.initial_heading, *(stop.heading for stop in route.milestones)]
        line = [graph.locate(at) for at in route.polyline]
        walked = [heading(a, b) for a, b in pairwise(line) if math.dist(a, b) > 0.1]
        for turns in (told, walked):
            assert max(180 - abs(abs(b - a) % 360 - 180) for a, b in pairwise(turns)) <= 160
        assert streets.isdisjoint(stop.sight.name for stop in route.milestones if stop.sight)


def test_places_called_as_a_street_are_not_told(read) -> None:
    """A tram stop that bears the name of its street is on the map, but neither a landmark nor a destination."""
    file = crossroads().street("Far Road", EAST, (100, 100)).street("Low Road", EAST, (100, -100))
    for number, along in enumerate((30, 45, 60, 75)):
        file.place(f"Amber Cafe {number}", (100 + 8, along)).place(f"Opal Cafe {number}", (8, along))
    for name, at in (
        ("Vale Street", (8, 8)),
        ("HILL ROAD", (92, -8)),
        ("Hill Road", (8, -50)),
        ("Vale street", (50, 8)),
    ):
        file.place(name, at)
    graph = read(file)
    assert {"Vale Street", "HILL ROAD", "Hill Road", "Vale street"} <= {place.name for place in graph.places}
    table = RouteBuilder(graph).table
    assert {place.name.split()[0] for place in table.places} == {"Amber", "Opal"}
    assert all(table.landmarks(crossing) == [] for crossing in table.crossings)
    goals = {leg.goal.name.split()[0] for crossing in table.crossings for leg in table.goals(crossing) if leg.goal}
    assert goals == {"Amber", "Opal"}


def test_no_way_back_to_a_place_that_was_passed(read) -> None:
    """Coming down Hill Road, which bends a little, a place on it is no destination; one round the corner is."""
    file = OsmFile().street("Hill Road", (0, 150), (15, 70), CENTRE).street("Vale Street", WEST, CENTRE, EAST)
    graph = read(file.place("Passed Cafe", (3, 50)).place("Amber Cafe", (60, 8)))
    for limits, found in ((Limits(), {"Amber Cafe"}), (Limits(sharpest=180), {"Amber Cafe", "Passed Cafe"})):
        table = RouteBuilder(graph, limits).table
        (crossing,) = table.crossings
        (hill,) = (i for i in graph.streets_at[crossing] if graph.streets[i].name == "Hill Road")
        arrival = table.arrival(crossing, hill, 0.9)
        assert arrival is not None
        assert {leg.goal.name for leg in table.after(arrival, set(arrival.corners), True) if leg.goal} == found


def test_reading_twice_gives_the_same(real: dict[str, StreetGraph], tmp_path: Path) -> None:
    assert graphml(upper_west_side(tmp_path)) == real["new york"]


NODES = {"a": (-100, 0), "b": (0, 0), "c": (100, 0), "d": (0, 100)}
EDGES = (
    ("a", "b", {"name": "Vale Street"}),
    ("b", "c", {"name": "['Vale Street', 'Old Street']"}),
    ("b", "d", {"name": "Hill Road"}),
    ("c", "d", {}),
)


@pytest.fixture
def network(tmp_path: Path):
    """Reads a network of these edges; nodes are in degrees, in metres, or in metres with their degrees."""

    def read(edges=EDGES, kind: str = "degrees", **changes: str) -> StreetGraph:
        nodes = {}
        for name, (x, y) in NODES.items():
            latitude, longitude = degrees((x, y))
            nodes[name] = {"x": longitude, "y": latitude} if kind == "degrees" else {"x": 5000 + x, "y": 9000 + y}
            nodes[name] |= {"lat": latitude, "lon": longitude} if kind == "located" else {}
        (tmp_path / "town.graphml").write_text(graphml_text(nodes, edges))
        return graphml(tmp_path / "town.graphml")

    return read


@pytest.mark.parametrize("kind", ["degrees", "metres", "located"])
def test_network(network, kind: str) -> None:
    graph = network(kind=kind)
    assert Counter(street.name for street in graph.streets) == {"Vale Street": 2, "Hill Road": 1}
    assert [round(graph.length(street)) for street in range(3)] == [100] * 3
    if kind != "metres":
        assert set(corners(graph)) == set(NODES.values())
    check_invariants(graph)


def test_houses(network) -> None:
    graph = network()
    houses = graph.places
    assert {house.kind for house in houses} == {"house"}
    assert len({house.name for house in houses}) == len(houses) == 12
    hill = {seen(graph, place, 0) for place in houses if "Hill" in place.name}
    along = {("Hill Road", 25, "right"), ("Hill Road", 50, "left"), ("Hill Road", 75, "right")}
    assert hill == along | {("Hill Road", 12, "right")}  # 12 m up Hill Road, on the right of who leaves the crossing
    corner = {metres(graph, place.at) for place in houses if math.dist(place.at, graph.nodes[crossing_of(graph)]) < 20}
    assert corner == {(9, 12), (12, -9), (-12, 9)}


@pytest.mark.parametrize("reverse", [False, True])
def test_course_of_an_edge(network, reverse: bool) -> None:
    line = [(0, 0), (30, 0), (60, 40), (0, 100)]
    text = ", ".join(f"{lon:.9f} {lat:.9f}" for lat, lon in map(degrees, line[::-1] if reverse else line))
    graph = network((*EDGES[:2], ("b", "d", {"name": "Hill Road", "geometry": f"LINESTRING ({text})"})))
    (hill,) = (street for street in range(3) if graph.streets[street].name == "Hill Road")
    assert graph.length(hill) == pytest.approx(30 + 50 + math.hypot(60, 60), abs=0.1)


def test_edges_in_both_directions_count_once(network) -> None:
    both = (*EDGES, *((b, a, values) for a, b, values in EDGES))
    assert Counter(map(repr, network(both).streets)) == Counter(map(repr, network().streets))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        ("", "cannot read"),
        ("<html></html>", "cannot read"),
        ("<graphml><graph", "cannot read"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><graphml>&a;</graphml>', "document type"),
        (graphml_text({"a": {}, "b": {}}, EDGES[:1]), "no street network"),
        (graphml_text({"a": {"x": "nan", "y": 0}}, ()), "no street network"),
        (graphml_text({"a": {"x": "east", "y": 0}}, ()), "no street network"),
        (graphml_text({"a": {"x": 1, "y": 0}}, EDGES[:1]), "no street network"),
        (graphml_text({"a": {"x": 1, "y": 0}}, ()), "holds no named streets"),
        (
            graphml_text(
                {"a": {"x": 1, "y": 0}, "b": {"x": 1, "y": 1}}, [("a", "b", {"name": "A", "geometry": "POINT (1 2)"})]
            ),
            "no LINESTRING",
        ),
        (graphml_text({"a": {"x": 1, "y": 0}, "b": {"x": 5, "y": 1}}, EDGES[:1]), "cut a city out"),
    ],
)
def test_bad_network(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "town.graphml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RuleshiftError, match=message) as error:
        graphml(path)
    assert "town.graphml" in str(error.value)
    assert "\n" not in str(error.value)


def test_hidden_entities_are_found(tmp_path: Path) -> None:
    """In UTF-16 the declaration has other bytes."""
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><graphml/>'
    (tmp_path / "town.graphml").write_bytes(text.encode("utf-16"))
    with pytest.raises(RuleshiftError, match="document type"):
        graphml(tmp_path / "town.graphml")
