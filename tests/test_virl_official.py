"""Routes in the schema of the paper's data: reading, writing, and what is said of broken ones."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl import entries, official, schema
from ruleshift.tasks.virl.official import load_routes
from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.route import SIDES, Milestone, Route, Sight
from ruleshift.tasks.virl.schema import from_official, to_official
from virl_fixtures import ROUTE, block, raw_route

QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

# ---------------------------------------------------------------- the schema


def test_a_route_is_read_as_the_data_hold_it() -> None:
    route = from_official(raw_route(), id="nyc/0", city="nyc")
    assert route == Route(
        id="nyc/0",
        city="Test_Town",
        start_name="Amber Bakery",
        start=(10.0, 20.0),
        initial_heading=None,
        milestones=(
            Milestone((10.0, 20.006), 80.0, 657.0, Sight("Copper Cafe", "right behind")),
            Milestone((10.006, 20.006), 10.0, 664.0, None),
            Milestone((10.006, 20.0), 340.0, 657.0, Sight("Lilac Library", "left")),
        ),
        polyline=route.polyline,
    )
    assert len(route.polyline) == 4
    assert route.destination == "Lilac Library"
    assert [point.landmark for point in build_rail(route, "official", points_per_leg=0)] == [
        *(None, "Copper Cafe is on your right behind", None, "The destination Lilac Library is on your left")
    ]


def test_an_encoded_polyline_is_read() -> None:
    raw = raw_route()
    raw["route_results"]["polyline"] = "_p~iF~ps|U_ulLnnqC_mqNvxq`@"  # the example of the format's description
    assert from_official(raw).polyline == ((38.5, -120.2), (40.7, -120.95), (43.252, -126.453))


def test_one_line_blocks_and_missing_extras_are_read() -> None:
    raw = raw_route()
    raw["milestone_info"] = re.sub(r"\s+", " ", raw["milestone_info"])
    assert from_official(raw) == from_official(raw_route())
    del raw["init_heading"], raw["instruction"], raw["start_place"]["name"], raw["start_place"]["relocated_geocode"]
    for key in ("distance_list", "time_list", "n_landmarks", "polyline"):
        raw["route_results"].pop(key)
    raw["milestone_info"] = raw["milestone_info"].replace('"landmarks": "No landmark nearby",', "")
    route = from_official(raw)
    assert [milestone.distance for milestone in route.milestones] == [657, 664, 657]
    assert (route.start_name, route.start, route.polyline) == ("", (10.0001, 20.0), ())


def test_names_may_hold_what_would_end_a_value() -> None:
    name = 'The "Blue", {Note} is on your way'
    raw = raw_route()
    raw["milestone_info"] = raw["milestone_info"].replace("Copper Cafe", name)
    assert from_official(raw).milestones[0].sight == Sight(name, "right behind")


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
geocodes = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
headings = st.floats(0, 360) | st.integers(0, 359).map(float)
milestones = st.builds(
    Milestone, geocodes, headings, st.floats(0, 5_000), st.none() | st.builds(Sight, names, st.sampled_from(SIDES))
)
routes = st.builds(
    Route,
    id=names,
    city=names,
    start_name=names,
    start=geocodes,
    initial_heading=st.none() | headings.filter(bool),
    milestones=st.lists(milestones, min_size=1, max_size=4).map(tuple),
    polyline=st.lists(geocodes, max_size=3).map(tuple),
)


@given(routes)
@QUICK
def test_any_route_of_ours_comes_back_whole(route: Route) -> None:
    written = json.dumps(to_official(route))
    assert from_official(json.loads(written), id="x", city="y") == route


def test_what_is_written_is_read_by_the_official_rules() -> None:
    """Line by line, as the official parser does: quotes and commas off, whole degrees and the word in brackets."""
    written = to_official(ROUTE)
    lines = [line.strip().rstrip(",") for line in written["milestone_info"].splitlines() if ":" in line]
    pairs = [tuple(part.strip().strip("\"'") for part in line.split(":", 1)) for line in lines]
    assert pairs[:5] == [
        ("intersection_idx", "1"),
        ("landmarks", "Copper Cafe is on your right front"),
        ("distance", "657.0 meters"),
        ("human_heading", "350"),
        ("to_next_intersection_heading", "80 (east)"),
    ]
    assert [value for key, value in pairs if key == "landmarks"][1:] == [
        *("No landmark nearby", "The destination Lilac Library is on your left")
    ]
    assert written["init_heading"] == 350
    assert written["route_results"]["landmark_list"][1] is None
    assert {"start_place", "dest_place", "route_results", "init_heading", "instruction"} < set(written)


@pytest.mark.parametrize(
    "change",
    [
        {"initial_heading": 0.0},
        {"initial_heading": 361.0},
        {"initial_heading": float("nan")},
        {"start_name": "two\nlines"},
        {"milestones": (Milestone((0.0, 0.0), -1.0, 1.0, None),)},
        {"milestones": (Milestone((0.0, 0.0), 1.0, 1.0, Sight('x", "distance": "1', "left")),)},
    ],
)
def test_what_the_schema_cannot_hold_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(RuleshiftError, match="route hand: "):
        to_official(replace(ROUTE, **change))


# ---------------------------------------------------------------- broken routes

Change = Callable[[dict[str, Any]], object]


def put(*way: object) -> Change:
    """Set the value at the keys `way[:-1]` to `way[-1]`."""

    def change(raw: dict[str, Any]) -> None:
        inner: Any = raw
        for key in way[:-2]:
            inner = inner[key]
        inner[way[-2]] = way[-1]

    return change


def info(old: str, new: str) -> Change:
    return lambda raw: raw.update(milestone_info=raw["milestone_info"].replace(old, new))


RESULTS, INFO = "route_results", "milestone_info"
BROKEN: dict[str, Change] = {
    "route_results is missing (there is 'route_result')": lambda raw: raw.update(route_result=raw.pop(RESULTS)),
    "route_results.geocode_list is missing": lambda raw: raw[RESULTS].pop("geocode_list"),
    "milestone_info is missing": lambda raw: raw.pop(INFO),
    "dest_place.name is missing": lambda raw: raw["dest_place"].pop("name"),
    "start_place must be an object in braces, not text": put("start_place", "here"),
    "start_place.relocated_geocode must have 2 entries, not 1": put("start_place", "relocated_geocode", [1.0]),
    "start_place.name must be text, not a number": put("start_place", "name", 7),
    "geocode_list must be a list, not an object": put(RESULTS, "geocode_list", {}),
    "geocode_list is empty": put(RESULTS, "geocode_list", []),
    "geocode_list[1][0] must be a number, not text": put(RESULTS, "geocode_list", 1, ["10", 20]),
    "geocode_list[2][0] must be from -90 to 90, not 91": put(RESULTS, "geocode_list", 2, [91, 20]),
    "geocode_list[0][1] must be from -180 to 180, not nan": put(RESULTS, "geocode_list", 0, [1, float("nan")]),
    "geocode_list[0][0] must be a number, not true or false": put(RESULTS, "geocode_list", 0, [True, 1]),
    "landmark_list must have 2 entries, not 1": put(RESULTS, "landmark_list", [None]),
    "landmark_list[0].geocode is missing": put(RESULTS, "landmark_list", 0, {"name": "x"}),
    "landmark_list[1] must be an object in braces, not text": put(RESULTS, "landmark_list", 1, "x"),
    "distance_list must have 3 entries, not 2": put(RESULTS, "distance_list", [1, 2]),
    "distance_list[0] must be from 0 to 50000, not a huge number": put(RESULTS, "distance_list", 0, 10**400),
    "polyline[0] is no encoded polyline": put(RESULTS, "polyline", ["\x00"]),
    "polyline is no encoded polyline": put(RESULTS, "polyline", "_p~iF"),
    "polyline[0][0] must be from -90 to 90": put(RESULTS, "polyline", ["~~~~~~H~~~~~~H"]),
    "init_heading must be a number, not text": put("init_heading", "north"),
    "init_heading must be from 0 to 360, not -90": put("init_heading", -90),
    "dest_place.name holds half of a character": put("dest_place", "name", "\ud800"),
    "dest_place.name has 2001 characters, more than 2000": put("dest_place", "name", 2001 * "x"),
    "milestone_info must be text, not a list": put(INFO, []),
    "milestone_info does not begin with a block": put(INFO, "nothing"),
    "milestone_info is broken after 'to_next_intersection_heading' of block 3": lambda raw: raw.update(
        milestone_info=raw[INFO].rstrip("}\n")
    ),
    "milestone_info is broken after 'distance' of block 1": info('657 meters",', '657 meters"; '),
    "milestone_info is broken at 'landmarks' of block 1": info('right behind",', "right behind,"),
    "milestone_info is broken at 'distance' of block 1": info('"human_heading": "0"', '"distance": "0"'),
    "has 2 blocks for 3 milestones": lambda raw: raw.update(milestone_info=raw[INFO].partition("}\n")[2]),
    "block 2:.to_next_intersection_heading is missing": lambda raw: raw.update(
        milestone_info=block(1, "No landmark nearby", "80 (east)")
        + '{"landmarks": "No landmark nearby"}'
        + block(3, "No landmark nearby", "10 (north)")
    ),
    "must be like '298 (northwest)', not '80 east'": info("80 (east)", "80 east"),
    "must be like '298 (northwest)', not '1e999 (east)'": info("80 (east)", "1e999 (east)"),
    "must be like '298 (northwest)', not '361 (north)'": info("80 (east)", "361 (north)"),
    "is '80 (west)', but 80 is east": info("80 (east)", "80 (west)"),
    "must be like 'Prince St is on your left front', not 'Copper Cafe is on your roof'": info("right behind", "roof"),
    "must be like 'Prince St is on your left front', not 'Copper Cafe'": info(" is on your right behind", ""),
    "must be like '16 meters', not '657 yards'": lambda raw: (
        raw[RESULTS].pop("distance_list"),
        raw.update(milestone_info=raw[INFO].replace("657 meters", "657 yards")),
    ),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_route_is_named_with_its_field(said: str, tmp_path: Path) -> None:
    raw = raw_route()
    BROKEN[said](raw)
    file = tmp_path / "route_infos.json"
    file.write_text(json.dumps([[raw_route(), raw], 2]))
    with pytest.raises(RuleshiftError) as error:
        load_routes(file)
    line = str(error.value)
    assert line.startswith(f"{file}: route 1: ")
    assert said in line
    assert line.endswith(entries.REMEDY)
    assert "\n" not in line


def ways(value: Any, way: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The keys that lead to every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*way, key)
        yield from ways(inner, (*way, key))


def assert_refused_or_read(raw: dict[str, Any]) -> None:
    """Nothing but a RuleshiftError comes of it, in one line that begins with the place."""
    said = "here: "
    try:
        build_rail(from_official(raw, "here"), "official")
    except RuleshiftError as error:
        said = str(error)
    assert said.startswith("here: ")
    assert "\n" not in said


JUNK = st.sampled_from([None, True, -1, 0, 1e308, float("inf"), "", "x", "}", [], [[]], {}, {"a": []}, 10**30])


@given(st.sampled_from(list(ways(raw_route()))), JUNK)
@QUICK
def test_no_value_makes_the_reader_fail(way: tuple[object, ...], junk: object) -> None:
    raw = raw_route()
    put(*way, junk)(raw)
    assert_refused_or_read(raw)


@given(st.text('"{}:,\n a1(', max_size=60))
@QUICK
def test_no_text_makes_the_block_reader_fail(text: str) -> None:
    for content in (text, raw_route()[INFO] + text, raw_route()[INFO].replace("Copper", text)):
        assert_refused_or_read({**raw_route(), INFO: content})


@pytest.mark.parametrize("piece", ['"a":"', '{"a":"b"}', '"a": "b",', '"' + 50 * "a", '"a"          '])
def test_long_blocks_are_read_in_one_walk(piece: str) -> None:
    text = "{" + piece * (100_000 // len(piece))
    with pytest.raises(RuleshiftError):
        from_official({**raw_route(), INFO: text})
    with pytest.raises(RuleshiftError, match="characters, more than"):
        from_official({**raw_route(), INFO: schema.MOST_INFO * "xx"})


# ---------------------------------------------------------------- files


def test_every_form_of_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "town"
    folder.mkdir()
    file = folder / "route_infos.json"
    for content in ([[raw_route(), raw_route()], 7], [raw_route(), raw_route()]):
        file.write_text(json.dumps(content))
        assert [route.id for route in load_routes(file)] == ["town/0", "town/1"]
    file.write_text(json.dumps(raw_route()))
    for path in (file, folder, tmp_path, str(tmp_path)):
        (route,) = load_routes(path)
        assert route == from_official(raw_route(), id="town/0", city="town")
    file.write_text(json.dumps([to_official(ROUTE)]))
    assert load_routes(file) == [ROUTE]


def test_which_folder_is_meant(tmp_path: Path) -> None:
    with pytest.raises(RuleshiftError, match=r"holds no route_infos\.json: name the folder"):
        load_routes(tmp_path)
    (tmp_path / "nyc_1k_routes.zip").touch()
    with pytest.raises(RuleshiftError, match=r"unpack nyc_1k_routes\.zip first"):
        load_routes(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "route_infos.json").write_text(json.dumps([raw_route()]))
    with pytest.raises(RuleshiftError, match=r"2 sets of routes: choose from .*a.route_infos\.json, .*b.route_infos"):
        load_routes(tmp_path)
    (tmp_path / "route_infos.json").write_text(json.dumps([raw_route(), raw_route()]))
    assert len(load_routes(tmp_path)) == 2
    with pytest.raises(RuleshiftError, match="is missing"):
        load_routes(tmp_path / "elsewhere.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps([[raw_route()], 1])[:-300], "is not JSON from line 1, column"),
        ("", "is not JSON from line 1, column 1"),
        (b"\xff\xfe\x00", "is not JSON"),
        (100_000 * "[", "is not JSON"),
        ("1" + 5_000 * "0", "is not JSON"),
        ("7", "must be a list, not a number"),
        ("[]", "holds no route"),
        ("[[], 0]", "holds no route"),
        ('[[{}], "x"]', "second entry must be a number, not text"),
        ("[7]", "route 0 must be an object in braces, not a number"),
    ],
)
def test_a_broken_file_is_named(content: str | bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "routes.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RuleshiftError) as error:
        load_routes(file)
    assert str(file) in str(error.value)
    assert said in str(error.value)
    assert len(str(error.value)) < 500


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "routes.json"
    file.write_text(json.dumps([raw_route(), raw_route()]))
    monkeypatch.setattr(schema, "MOST_MILESTONES", 2)
    with pytest.raises(RuleshiftError, match="geocode_list has 3 entries, more than 2"):
        load_routes(file)
    monkeypatch.setattr(official, "MOST_ROUTES", 1)
    with pytest.raises(RuleshiftError, match="has 2 entries, more than 1"):
        load_routes(file)
    monkeypatch.setattr(official, "MOST_BYTES", 100)
    with pytest.raises(RuleshiftError, match="more than 100"):
        load_routes(file)
    with file.open("wb") as sparse:
        sparse.truncate((1 << 30) + 1)
    monkeypatch.undo()
    with pytest.raises(RuleshiftError, match="1,073,741,825 bytes"):
        load_routes(file)
