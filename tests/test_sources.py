"""Routes from files of the user's own."""

import json
from pathlib import Path

import pytest

from map_helpers import OsmFile
from ruleshift.cli import main
from ruleshift.engines.text import expert
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.episodes import load_episodes
from ruleshift.evaluation.evaluate import cell_of
from ruleshift.revision import revise
from ruleshift.tasks import get_task
from ruleshift.tasks.virl.rules import SPLITS, USUAL_LEGS
from ruleshift.tasks.virl.schema import to_official
from ruleshift.tasks.virl.sources import ROUTES_OF_A_MAP, city_of, routes_from
from ruleshift.tasks.virl.task import VERSION_ON_MAPS, Virl, WalkOptions
from ruleshift.tasks.virl.world.routes import procedural_route


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A folder in the form of the paper's data, with routes through an invented city."""
    routes = [to_official(procedural_route("milan", "test", index)) for index in range(4)]
    folder = tmp_path / "nyc_1k_routes"
    folder.mkdir()
    (folder / "route_infos.json").write_text(json.dumps([routes, 3]))
    return tmp_path


def test_official_routes_are_walked_under_the_rule_of_a_split(official: Path) -> None:
    task = Virl(routes=routes_from(official))
    assert [task.problem("id", 0, index).route.city for index in range(task.count("id") or 0)] == ["milan"] * 4
    problems = [task.problem("rule-ood", 0, index) for index in range(6)]
    assert [problem.route for problem in problems[:2]] == [problem.route for problem in problems[4:]]
    assert all("slightly left" in problem.context()[0].content for problem in problems)
    for compat in ("fixed", "official"):
        task = Virl(routes=task.routes, compat=compat)
        walks = [task.problem("id", 0, index) for index in range(4)]
        assert all(episode.solved for episode in revise(walks, expert(), task.default_turns))


def test_eval_data_and_play_take_routes(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    routes = ["--routes", str(official)]
    assert main(["eval", "virl-l", "--model", "expert", "--n", "4", "--split", "id", *routes]) == 0
    assert "step accuracy within 2" in capsys.readouterr().out
    out = tmp_path / "walks.jsonl"
    assert main(["data", "virl-l", "--n", "4", "--out", str(out), *routes]) == 0
    walks = [json.loads(line) for line in out.read_text().splitlines()]
    assert [json.loads(walk["facts"])["city"] for walk in walks] == ["milan"] * 4
    assert all(walk["messages"][-1]["content"].endswith('"stop()"}') for walk in walks)
    picture = tmp_path / "walk.svg"
    assert main(["play", "virl-l", "--model", "expert", "--map", str(picture), *routes]) == 0
    assert "solved" in capsys.readouterr().out
    assert picture.read_text().startswith("<svg")


@pytest.fixture
def town(tmp_path: Path) -> Path:
    """A map of streets in a grid of 9 by 9 crossings, with a place on every side of a block."""
    file, lines = OsmFile(), range(9)
    for line in lines:
        file.street(f"Vale Street {line}", *((100 * along, 100 * line) for along in lines))
        file.street(f"Hill Road {line}", *((100 * line, 100 * along) for along in lines))
        for along in lines[:-1]:
            file.place(f"Amber Cafe {line}-{along}", (100 * along + 50, 100 * line + 8))
            file.place(f"Opal Cafe {line}-{along}", (100 * line + 8, 100 * along + 50))
    return file.write(tmp_path / "town.osm")


@pytest.mark.parametrize("kind", ["virl-l", "virl-vl"])
def test_routes_through_a_map_have_as_many_legs_as_the_split_asks_for(kind: str, town: Path) -> None:
    task = get_task(kind)
    task = task.with_options(task.options(routes=town)).unseen()
    assert task.version == VERSION_ON_MAPS
    for split in ("id", "five-legs", "long", "train-long"):
        count = task.count(split)
        assert count == ROUTES_OF_A_MAP
        legs = {task.problem(split, 0, index).route.legs for index in range(count)}  # type: ignore[attr-defined]
        least, most = SPLITS[split].legs
        assert legs == set(range(least, most + 1))


def test_routes_of_official_data_have_as_many_legs_as_the_split_asks_for(tmp_path: Path) -> None:
    routes = [
        to_official(procedural_route("milan", "test", index, legs)) for index, legs in enumerate([(3, 4), (8, 8)])
    ]
    (tmp_path / "routes.json").write_text(json.dumps(routes))
    task = Virl().with_options(WalkOptions(routes=tmp_path / "routes.json"))
    assert task.version == Virl().version
    assert (task.count("id"), task.count("long")) == (2, 1)
    assert task.problem("long", 0, 0).route.legs == 8
    with pytest.raises(RuleshiftError, match=r"routes.json holds no routes of 5 legs, .*: name another split"):
        task.count("five-legs")


def test_a_map_without_long_routes_is_refused_with_what_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crossing = OsmFile().street("Vale Street", (-200, 0), (0, 0), (200, 0)).street("Hill Road", (0, -200), (0, 0))
    town = crossing.place("Amber Cafe", (60, 8)).write(tmp_path / "town.osm")
    assert main(["play", "virl-l", "--model", "expert", "--split", "long", "--routes", str(town)]) == 2
    said = capsys.readouterr().err
    assert "no route of 8 to 10 legs on the map of town: take a larger map, or a split whose routes have fewer" in said


def test_maps_are_of_walks_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "gp-l", "--model", "expert", "--map", "x.svg"]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_going_on_meets_every_position(tmp_path: Path) -> None:
    reached = {}
    for name, option in (("ends", []), ("goes on", ["--go-on"])):
        out = tmp_path / f"{name}.parquet"
        settings = ["--model", "random", "--split", "id", "--n", "20", "--episodes", str(out), *option]
        assert main(["eval", "virl-l", *settings]) == 0
        cell = cell_of("id", "greedy", load_episodes(out))
        assert cell.goes_on == (name == "goes on")
        reached[name] = sum(map(len, cell.tries))
    positions = sum(len(Virl().problem("id", 1000, index).itinerary.points) for index in range(20))
    assert reached["goes on"] == positions > 3 * reached["ends"]


@pytest.mark.parametrize(("name", "message"), [("nothing.osm", "there is nothing"), ("notes.txt", "cannot tell")])
def test_what_is_no_map_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(RuleshiftError, match=message):
        routes_from(tmp_path / name)


def test_a_person_walks_with_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = Virl().problem("id", 0, 0)
    typed = ["turn_direction(nowhere)"]
    while True:
        typed.append(problem.action)
        if not problem.submit(problem.gold(), last=False).advanced:
            break
    answers = iter(typed)
    monkeypatch.setattr("rich.console.Console.input", lambda *_, **__: next(answers))
    assert main(["play", "virl-l", "--split", "id"]) == 0
    out = capsys.readouterr().out
    assert out.count("S: start") == len(typed)
    assert out.count("right, reward +1") == len(typed) - 1
    assert "wrong action, reward -1" in out
    assert "you have arrived" in out
    assert "A right answer" not in out


def test_a_route_without_a_map_has_a_city_without_streets(official: Path) -> None:
    (route, *_) = routes_from(official)(USUAL_LEGS)
    assert city_of(route, official).streets == ()
    assert city_of(route).streets
