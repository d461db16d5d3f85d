"""The page over HTTP: it answers what the page asks and nothing else, and follows a study that runs."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

import synthetic
from cli_helpers import refusal
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.report.server import HOST, serve
from ruleshift.results import save_results
from ruleshift.rollouts import KeptEpisode, point_file, save
from ruleshift.studies.live import live_results
from ruleshift.studies.report import served


def kept(folder: Path, arm: str, step: int) -> None:
    episodes = [KeptEpisode.of(e, "rule-ood", "sampled") for found in synthetic.episodes().values() for e in found]
    save(point_file(folder / "arms" / f"{arm}-seed0", step), episodes)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with results and the episodes of two arms."""
    told = synthetic.results()
    save_results(tmp_path / "results.json", told.rows, told.meta)
    for arm, step in (("base", 0), ("sft", 80)):
        kept(tmp_path, arm, step)
    return tmp_path


def test_what_cannot_be_served_is_named_as_it_was_typed(study: Path, tmp_path: Path, capsys) -> None:
    def said(source: Path) -> str:
        return refusal(capsys, "report", source, "--serve")

    assert f"{tmp_path}/nope is not there: run the study first" in said(tmp_path / "nope")
    (tmp_path / "clock.py").touch()
    assert f"{tmp_path}/clock.py is damaged or cut short" in said(tmp_path / "clock.py")
    (study / "results.json").rename(tmp_path / "base.json")
    assert f"--serve shows the folder of a results.json: leave it out for {tmp_path}/base.json" in said(
        tmp_path / "base.json"
    )
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path}/empty/results.json is not there" in said(tmp_path / "empty")
    for name in ("a", "b"):
        (tmp_path / "several" / name).mkdir(parents=True)
        (tmp_path / "several" / name / "results.json").write_bytes((tmp_path / "base.json").read_bytes())
    assert f"name one of {tmp_path}/several/a, {tmp_path}/several/b" in said(tmp_path / "several")
    (tmp_path / "began" / "arms").mkdir(parents=True)
    assert f"{tmp_path}/began holds neither results.json nor a point yet: wait" in said(tmp_path / "began")


def test_one_folder_of_results_is_served(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Path] = []

    def stop(folder: Path, ood: str | None) -> None:
        shown.append(folder)
        raise RuleshiftError("enough")

    monkeypatch.setattr("ruleshift.studies.report.served", stop)
    for source in (study, study / "results.json"):
        assert main(["report", str(source), "--serve"]) == 2
    assert shown == [study] * 2


@pytest.fixture
def port(study: Path) -> Iterator[int]:
    server = serve(served(study))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, path: str, **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_the_page_asks_only_where_it_comes_from_and_holds_no_episode(port: int) -> None:
    answer, content = ask(port, "/")
    page = content.decode()
    assert answer.status == 200
    assert "connect-src 'self'" in page
    assert 'class="chunk"' not in page
    assert '<script type="application/json" id="index">null</script>' in page
    assert len(page) < 6_000_000


def test_index_episodes_and_search(port: int) -> None:
    index = json.loads(ask(port, "/index")[1])
    assert index["count"] == 8
    for number in range(8):
        told = json.loads(ask(port, f"/episode/{number}")[1])
        assert told["problem"] == index["names"]["problem"][index["columns"]["problem"][number]]
    assert json.loads(ask(port, "/search?q=CANNOT+be+read")[1]) == [0, 4]
    packed = ask(port, "/", **{"Accept-Encoding": "gzip"})[1]
    assert b"<html" in gzip.decompress(packed)


@pytest.mark.parametrize("path", ["/episode/8", "/episode/-1", "/episode/1x", "/episode/", "/../results.json", "/x"])
def test_nothing_else_is_there(port: int, path: str) -> None:
    answer, content = ask(port, path)
    assert (answer.status, content) == (404, b"there is nothing here")


def test_a_foreign_name_for_this_machine_is_refused(port: int) -> None:
    assert ask(port, "/index", Host="evil.example")[0].status == 403
    assert ask(port, "/index", Host=f"localhost:{port}")[0].status == 200  # the control


def test_episodes_that_come_later_are_shown_and_numbers_stay(study: Path, port: int) -> None:
    before = ask(port, "/episode/5")[1]
    assert json.loads(ask(port, "/index")[1])["count"] == 8
    kept(study, "base", 0)  # the same file again
    kept(study, "rl", 80)
    assert json.loads(ask(port, "/index")[1])["count"] == 12
    assert ask(port, "/episode/5")[1] == before


def test_a_damaged_file_is_told(study: Path, port: int) -> None:
    point_file(study / "arms" / "base-seed0", 0).write_bytes(b"damaged")
    answer, content = ask(port, "/episode/0")
    assert (answer.status, b"delete that file" in content) == (500, True)
    assert ask(port, "/episode/7")[0].status == 200


def test_a_port_that_is_taken(port: int, study: Path) -> None:
    with pytest.raises(RuleshiftError, match="another --port"):
        serve(served(study), port)


def test_pages_of_a_study_at_work_run_no_code_that_its_folder_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "arms" / "base-seed0"
    run.mkdir(parents=True)
    arm = {"name": "base", "start": None, "training": None, "feedback": None}
    config = {"arm": arm, "measurement": {"task": "stranger.module:Class", "turns": [1]}}
    (run / "config.json").write_text(json.dumps({"config": config}))
    monkeypatch.setattr("ruleshift.studies.live.points_in", lambda path: [None])
    with pytest.raises(RuleshiftError, match=r"is of stranger\.module:Class, whose pages are made at the end"):
        live_results(tmp_path)


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuleshiftError, match="wait for the first one"):
        live_results(tmp_path)
