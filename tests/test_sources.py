"""Routes from files of the user's own."""

import json
from pathlib import Path

import pytest

from ruleshift.cli import main
from ruleshift.engines.text import expert
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.episodes import load_episodes
from ruleshift.evaluation.evaluate import cell_of
from ruleshift.revision import revise
from ruleshift.tasks.virl.schema import to_official
from ruleshift.tasks.virl.sources import city_of, routes_from
from ruleshift.tasks.virl.task import Virl
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
    assert [route.city for route in task.routes] == ["milan"] * 4
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
    (route, *_) = routes_from(official)
    assert city_of(route, official).streets == ()
    assert city_of(route).streets
