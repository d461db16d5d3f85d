"""Evaluations of models that solve nothing say why."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cli_helpers import save_tiny_model
from ruleshift.cli import main
from ruleshift.evaluation.failures import CUT, explains, failure_rows
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
    rows = failure_rows(ROW, episodes)
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
