"""Evaluations of models that solve nothing say why."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from cli_helpers import metrics, refusal, save_tiny_model
from ruleshift.cli import main
from ruleshift.evaluation.evaluate import Cell, Point, cell_of
from ruleshift.evaluation.failures import explained, explains, failure_rows, rows_of_failures
from ruleshift.outcomes import CUT, counts_of, in_words, shares, shares_of
from ruleshift.records import Completion, Episode, Turn, Verdict
from ruleshift.results import Row

ROW = Row("gp-l", "base", 0, 0, "id", "success", 5, "greedy", 0.0, 2, 0.0, 0.5)


def episode(*said: tuple[str, str]) -> Episode:
    """Turns, each with its outcome and why it stopped."""
    turns = [Turn((), Completion("", stop_reason=why), Verdict(name, -1.0, False, "")) for name, why in said]  # type: ignore[arg-type]
    return Episode("p", tuple(turns), ())


def test_shares_are_of_all_replies_the_most_frequent_verdict_first() -> None:
    episodes = [
        episode(("illegal", "length"), ("illegal", "stop"), ("wrong", "stop")),
        episode(("illegal", "length")),
    ]
    rows = failure_rows(ROW, counts_of(episodes))
    assert {row.metric: row.value for row in rows} == {
        "replies:illegal": pytest.approx(3 / 4),
        "replies:wrong": pytest.approx(1 / 4),
        CUT: pytest.approx(2 / 4),
    }
    assert next(iter(rows)).metric == "replies:illegal"
    assert all(row.n == 2 and row.ci_low <= row.value <= row.ci_high for row in rows)


def test_only_what_is_nearly_nothing_is_explained() -> None:
    within_1 = replace(ROW, turns=1)
    assert explains([within_1, ROW], "success")
    assert explains([replace(ROW, value=0.02)], "success")
    assert not explains([within_1, replace(ROW, value=0.03)], "success")
    assert not explains([ROW], "decision_accuracy")


def test_an_untrained_model_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model")
    command = f"eval gp-l --model {model} --split id --n 3 --turns 1 --max-new-tokens 4 --json {tmp_path}/found.json"
    assert main(command.split()) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cut at the token" in said
    assert "reply tokens/s" in said
    found = json.loads((tmp_path / "found.json").read_text())
    shares = {row["metric"]: row["value"] for row in found["rows"] if row["metric"].startswith("replies:")}
    assert shares.pop(CUT) > 0.9
    assert sum(shares.values()) == pytest.approx(1)
    assert found["meta"]["tokens_per_s"] > 0
    assert main(f"eval gp-l --model expert --split id --n 3 --json {tmp_path}/expert.json".split()) == 0
    assert "replies:" not in (tmp_path / "expert.json").read_text()


def test_shares_in_words() -> None:
    episodes = [episode(("illegal", "length"), ("illegal", "stop"), ("wrong_value", "stop")), episode(("", "stop"))]
    assert shares_of(episodes) == {
        "replies:illegal": 1 / 2,
        "replies:wrong_value": 1 / 4,
        "replies:unnamed": 1 / 4,
        CUT: 1 / 4,
    }
    assert in_words(shares_of(episodes)) == "50% illegal, 25% wrong value, 25% unnamed; 25% cut at the token limit"
    assert in_words(shares_of(episodes), 1) == "50% illegal; 25% cut at the token limit"
    assert in_words({"success": 0.0, "replies:a": 0.001, "replies:b": 0.999, CUT: 1.0}).startswith("100% b; 100% cut")
    assert shares({}) == {}


def test_a_point_keeps_what_replies_were_only_where_next_to_nothing_is_solved() -> None:
    lost = [episode(("illegal", "length"), ("wrong", "stop")), episode(("wrong", "stop"))]
    solved = Turn((), Completion(""), Verdict("right", 1.0, True, ""))
    cells = [
        explained(replace(cell_of(split, "sampled", episodes), most=2), "success", episodes)
        for split, episodes in (("id", [*lost, Episode("q", (solved,), ())]), ("rule-ood", lost))
    ]
    assert cells[0].replies == ()
    rows = rows_of_failures(Point("gp-l", "sft", 3, 7, 1.0, 0.5, tuple(cells)))
    assert [(row.metric, row.value) for row in rows] == [
        ("replies:wrong", pytest.approx(2 / 3)),
        ("replies:illegal", pytest.approx(1 / 3)),
        (CUT, pytest.approx(1 / 3)),
    ]
    like = rows[0]
    assert (like.arm, like.seed, like.step, like.split, like.turns, like.n) == ("sft", 3, 7, "rule-ood", 2, 2)
    assert isinstance(cells[1], Cell)


@pytest.mark.parametrize(
    "options", ["", "--chat-template plain --system 'be brief' --style stepwise --feedback silent"]
)
def test_the_command_that_is_told_shows_what_was_said(options: str, tmp_path: Path, capsys) -> None:
    model = save_tiny_model(tmp_path / "a model")
    if options:  # without them the model is refused
        (model / "chat_template.jinja").unlink()
    words = ["eval", "gp-l", "--model", str(model), *shlex.split(options), "--split", "id", "--n", "2"]
    numbers = ["--turns", "2", "--max-new-tokens", "4", "--decoding", "sampled", "--seed", "7", "--temperature", "0.5"]
    assert main([*words, *numbers]) == 0
    told = capsys.readouterr().out.split("what was said: ")[1].split(", or here with")[0]
    typed = shlex.split(told)
    assert typed[:2] == ["ruleshift", "play"]
    for name in ("--split id", "--seed 7", "--turns 2", "--temperature 0.5", "--max-new-tokens 4"):
        assert name in told
    assert "--decoding" not in told  # as it is by default there
    assert main(typed[1:]) == 0
    assert "not solved, 2 replies" in capsys.readouterr().out


def test_a_reply_that_is_played_is_as_long_as_it_was_evaluated(tmp_path: Path, capsys) -> None:
    model = save_tiny_model(tmp_path / "model")
    limits = []
    for count in (4, 9):
        assert main(["play", "gp-l", "--model", str(model), "--turns", "1", "--max-new-tokens", str(count)]) == 0
        limits.append(len(capsys.readouterr().out))
    assert limits[0] != limits[1]
    assert "--max-new-tokens must be at least 1" in refusal(capsys, "play", "gp-l", "--max-new-tokens", 0)


def test_one_walk_says_what_is_decided_and_why_nothing_is(tmp_path: Path) -> None:
    for n in (1, 2):
        assert main(f"eval virl-l --model random --split id --n {n} --json {tmp_path}/{n}.json".split()) == 0
        found = {
            row["metric"] for row in json.loads((tmp_path / f"{n}.json").read_text())["rows"] if row["arm"] == "base"
        }
        assert {"decision_accuracy", "step_accuracy", "first_try_accuracy", CUT} <= found
        assert ("steps_passed" in found) == (n == 2)  # the mean of one has no interval


def test_several_replies_to_one_problem(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    assert main(f"eval gp-l --model random --split id --n 1 --decoding sampled --samples 3 --json {file}".split()) == 0
    found = {row["metric"]: row for row in json.loads(file.read_text())["rows"] if row["arm"] == "base"}
    assert found[CUT]["n"] == 3
    assert "pass@3" in found
    assert "distinct_wrong" not in found


def test_a_comparison_says_it_of_subjects_that_solve_nothing(tmp_path: Path, capsys, monkeypatch) -> None:
    save_tiny_model(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    common = "--split id --split rule-ood --n 3 --turns 2"
    assert main(f"eval gp-l --model model {common} --max-new-tokens 4 --out lost".split()) == 0
    assert main(f"eval gp-l --model expert {common} --out right".split()) == 0
    capsys.readouterr()
    assert main(["compare", "lost", "right", "--out", "card"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "What all replies were, where next to nothing is solved" in said
    assert "cut at the token limit" in said
    (card,) = json.loads(Path("card/card.json").read_text())["tasks"]
    failures = {subject["name"]: subject["failures"] for subject in card["subjects"]}
    assert failures["right"] == {}
    assert failures["lost"].keys() == {"id", "rule-ood"}
    assert failures["lost"]["id"][CUT] > 0.9


def test_updates_of_rl_say_it(tmp_path: Path, capsys) -> None:
    model = save_tiny_model(tmp_path / "model")
    few = "--updates 2 --episodes 4 --turns 2 --max-new-tokens 4"
    assert main(f"rl gp-l --model {model} --out {tmp_path}/run {few}".split()) == 0
    for line in metrics(tmp_path / "run"):
        judged = {name: share for name, share in line.items() if name.startswith("replies:") and name != CUT}
        assert sum(judged.values()) == pytest.approx(1)
        assert line[CUT] > 0.5
        assert "tokens_per_s" not in line  # lines are those of a run that was killed, to the byte
    bar = capsys.readouterr().err
    assert "rl: 2/2, success 0% (" in bar
    assert "cut at the token limit), " in bar
    assert " tokens/s, done" in bar


def test_a_start_model_that_is_never_right_is_explained(tmp_path: Path, capsys) -> None:
    model = save_tiny_model(tmp_path / "model")
    few = "--steps 1 --examples 4 --batch 4 --turns 1 --max-new-tokens 4"
    said = refusal(capsys, *f"sft gp-l --model {model} --data self-verified --out {tmp_path}/run {few}".split())
    assert "accepted no reply of the start model to 4 problems (" in said
    assert "cut at the token limit), and --data" in said
