"""Levels of feedback: what is said of a fault, and that it is on record."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli_helpers import refusal
from ruleshift.cli import main
from ruleshift.commands.study import StudyCommand
from ruleshift.engines.text import expert, random_guesser
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.records import Feedback
from ruleshift.results import load_results
from ruleshift.studies import STUDIES
from ruleshift.studies.recipes import task_of
from ruleshift.tasks import get_task
from ruleshift.tasks.feedback import SILENT
from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.protocol import Style, Task
from ruleshift.tasks.virl.compass import RELATIVE, SIXTEEN
from ruleshift.tasks.virl.task import Virl

TASKS = ("gp-l", "gp-vl", "virl-l", "virl-vl")
STYLES: tuple[Style, ...] = ("full", "terse", "varied")
FORMULAS = ("11+12+13", "1+2+3+4", "J+Q", "24", "(1+2", "1/0", "9*9*9*9*9", "no solution", "")
ACTIONS = ("forward()", "stop()", "turn_direction(left)", "turn_direction(north)", "turn_direction(11)", "jump", "")


def told(name: str, level: Feedback) -> Task:
    task = get_task(name).unseen()
    return task.with_options(replace(task.options(), feedback=level))


def said_of_faults(name: str, level: Feedback, style: Style, split: str = "rule-ood") -> set[tuple[str, str]]:
    """What is said of many wrong replies, each with its outcome."""
    said = set()
    for index in range(12):
        for answer in FORMULAS if name.startswith("gp") else ACTIONS:
            problem = told(name, level).problem(split, 5, index, style)
            for reply in (problem.reply(answer), problem.guess(index), answer, '{"cards": ["2"], "formula": "2"}'):
                verdict = problem.submit(reply, last=False)
                if verdict.advanced or verdict.solved:
                    break
                said.add((verdict.outcome, verdict.feedback))
    return said


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", TASKS)
def test_silent_says_the_same_of_every_fault(name: str, style: Style) -> None:
    assert {text for _, text in said_of_faults(name, "silent", style)} == {SILENT[style == "terse"]}
    assert len({text for _, text in said_of_faults(name, "outcome", style)}) > 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", TASKS)
def test_outcome_names_the_fault_and_nothing_that_the_rule_gives(name: str, style: Style) -> None:
    """One text for each kind of fault, the same under every rule, without numbers and words for turns."""
    kinds = said_of_faults(name, "outcome", style)
    assert len(kinds) == len({outcome for outcome, _ in kinds}) >= 2
    assert len(kinds | said_of_faults(name, "outcome", style, "id")) == len(kinds)
    for _, text in kinds:
        assert not re.search(r"\d", text)
        words = re.findall(r"[a-z]+", text.lower().replace("not right here", ""))
        assert not {*RELATIVE, *SIXTEEN} & set(words)


@pytest.mark.parametrize("name", ["gp-l", "gp-vl"])
def test_full_tells_numbers_of_the_shifted_rule(name: str) -> None:
    """What the other two keep back."""
    said = said_of_faults(name, "full", "terse")
    assert any(re.search(r"missing .*1[1-3]", text) for _, text in said)
    assert len(said) > len({outcome for outcome, _ in said})


@pytest.mark.parametrize("name", TASKS)
def test_the_level_changes_nothing_but_the_words(name: str) -> None:
    def judged(level: Feedback) -> list[tuple]:
        episodes = evaluate(random_guesser(), told(name, level), "rule-ood", 8, 3)
        return [
            (v.outcome, v.reward, v.solved, v.advanced, v.found) for e in episodes for v in (t.verdict for t in e.turns)
        ]

    assert judged("silent") == judged("outcome") == judged("full")
    assert all(episode.solved for episode in evaluate(expert(), told(name, "silent"), "rule-ood", 4, 2))


@pytest.mark.parametrize("name", ["virl-l", "virl-vl"])
def test_what_is_seen_next_is_no_feedback_on_a_fault(name: str) -> None:
    for level in ("silent", "outcome", "full"):
        problem = told(name, level).problem("id", 0, 0)  # type: ignore[arg-type]
        assert problem.submit(problem.gold(), last=False).feedback.startswith("Right. Observation: ")


def test_levels_that_are_none() -> None:
    for kind in (GeneralPoints, Virl):
        with pytest.raises(RuleshiftError, match="unknown feedback 'loud'"):
            kind(feedback="loud")  # type: ignore[arg-type]
        with pytest.raises(RuleshiftError, match="leave it out beside compat 'official'"):
            kind(compat="official", feedback="outcome")
        assert kind(compat="official").feedback == "full"


# ---------------------------------------------------------------- on record


def test_an_evaluation_says_its_level(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (
        f"eval gp-l --model random --n 3 --turns 2 --split rule-ood --json {tmp_path}/x.json --episodes {tmp_path}/x"
    )
    assert main([*command.split(), "--feedback", "silent"]) == 0
    assert "feedback silent" in " ".join(capsys.readouterr().out.split())
    assert load_results(tmp_path / "x.json").meta["feedback"] == "silent"
    assert main(command.split()) == 0
    assert "feedback" not in capsys.readouterr().out
    assert "feedback" not in load_results(tmp_path / "x.json").meta


def test_a_run_has_its_level_on_record(tmp_path: Path) -> None:
    from cli_helpers import save_tiny_model

    model = save_tiny_model(tmp_path)
    options = "--updates 1 --episodes 4 --turns 2 --max-new-tokens 4 --value-only 0 --threads 1 --feedback outcome"
    assert main(f"rl gp-l --model {model} --out {tmp_path}/rl {options}".split()) == 0
    assert json.loads((tmp_path / "rl" / "config.json").read_text())["config"]["feedback"] == "outcome"


def test_a_study_trains_and_measures_at_its_level(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = StudyCommand("headline", Path("x"), tasks=("virl-l",), feedback="silent").plans(STUDIES["headline"])
    assert plan.measurement.feedback == "silent"
    task = task_of(plan.measurement)
    assert isinstance(task, Virl)
    assert task.feedback == "silent"
    assert task_of(replace(plan.measurement, feedback="full")) == get_task("virl-l")
    said = refusal(capsys, "study", "headline", "--tasks", "clock:Clock", "--out", "x", "--feedback", "silent")
    assert said == "error: clock:Clock has no levels of feedback: leave --feedback out"


def test_playing_by_hand_tells_no_more(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = iter(["1+1", "(("])
    monkeypatch.setattr("builtins.input", lambda *_: next(typed))
    assert main(["play", "gp-l", "--turns", "2", "--feedback", "silent"]) == 0
    said = capsys.readouterr().out
    assert said.count(SILENT[0]) == 2
    assert "reward" not in said.split("A right answer")[0]
    typed = iter(["1+1", "(("])
    assert main(["play", "gp-l", "--turns", "2"]) == 0
    assert "wrong numbers, reward -2" in capsys.readouterr().out
