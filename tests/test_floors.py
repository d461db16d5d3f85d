"""Floors and ceilings: measured on the very problems, kept with the results, shown in tables."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ruleshift.backbones.config import INSIDERS
from ruleshift.cli import main
from ruleshift.engines.text import insider
from ruleshift.evaluation.evaluate import cell_of, evaluate
from ruleshift.evaluation.floors import reference_rows
from ruleshift.report.arms import legend_of, references_in
from ruleshift.report.page import render_report
from ruleshift.report.tables import headline
from ruleshift.report.terminal import headline_tables
from ruleshift.results import CEILING, FLOORS, Results, Row, load_results
from ruleshift.tasks import TASKS, get_task
from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.generalpoints.visual import GeneralPointsVLProblem
from ruleshift.tasks.virl.eyes import Eyes


def rows_on(name: str, *splits: str, n: int = 20) -> dict[tuple[str, str, str, int], float]:
    task = get_task(name)
    rows = reference_rows(task, splits, n, (1, 2), ("greedy", "sampled"), 1_000)
    assert {row.decoding for row in rows} == {"greedy", "sampled"}
    assert all(row.kl_to_start is None for row in rows)
    return {(row.arm, row.split, row.metric, row.turns): row.value for row in rows}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_floors_and_its_ceiling(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*_: object) -> None:
        raise AssertionError("nobody looks")

    monkeypatch.setattr(GeneralPointsVLProblem, "picture", property(draw))
    monkeypatch.setattr(Eyes, "picture", draw)
    found, task = rows_on(name, "id", "rule-ood"), get_task(name)
    assert {arm for arm, *_ in found} == {*task.recipe.floors, CEILING} <= {*FLOORS, CEILING}
    for split in ("id", "rule-ood"):
        assert found[CEILING, split, "success", 1] == found[CEILING, split, task.metric, 1] == 1.0
        assert all(found[floor, split, task.metric, 1] < 0.4 for floor in task.recipe.floors)


def test_one_who_never_looks_walks_all_routes_and_decides_little() -> None:
    """Why decisions are the metric of walks: nothing else tells walkers who look from those who do not."""
    found = rows_on("virl-l", "id", "rule-ood")
    for split in ("id", "rule-ood"):
        assert found["blind", split, "success", 2] == 1.0
        assert found["blind", split, "step_accuracy", 2] > 0.75
        assert found["blind", split, "decision_accuracy", 1] < 0.35


def test_they_answer_the_problems_that_models_answer() -> None:
    task = get_task("gp-vl")
    seen, unseen = ([t.problem("id", 1_000, k).describe() for k in range(5)] for t in (task, task.unseen()))
    assert seen == unseen
    (row,) = [
        r for r in reference_rows(task, ["id"], 30, [5], ["greedy"], 7) if (r.arm, r.metric) == ("random", "success")
    ]
    cell = cell_of("id", "greedy", evaluate(insider("random", 7), task.unseen(), "id", 30, 5, seed=7))
    assert (row.value, row.n) == (sum(cell.outcomes("success", 5)) / 30, 30)


def test_insiders_by_name() -> None:
    problem = get_task("virl-l").problem("id", 0, 0)
    said = {
        name: evaluate(insider(name), get_task("virl-l"), "id", 1, 1)[0].turns[0].completion.text for name in INSIDERS
    }
    assert said["expert"] == problem.gold()
    assert len(set(said.values())) == 3


def with_references() -> Results:
    def row(arm: str, step: int, value: float) -> Row:
        return Row("gp-l", arm, 0, step, "id", "success", 1, "greedy", value, 10, 0.0, 1.0)

    rows = (row("base", 0, 0.5), row("sft", 3, 0.7), row("random", 0, 0.01), row("expert", 0, 1.0))
    return Results(rows, {"start": "base"})


def test_tables_show_them_below_the_arms_that_were_trained() -> None:
    results = with_references()
    assert legend_of(results).names == ["base", "sft"]
    assert references_in(results.rows) == {"random": "floor", "expert": "ceiling"}
    lines = headline(results, [], "greedy").arms
    assert [(line.arm, line.label) for line in lines[2:]] == [("random", "floor"), ("expert", "ceiling")]
    assert lines[2].cells["id", 1].value == "1.0"
    assert lines[2].cells["id", 1].change == ""
    console = Console(width=100, record=True, file=None, quiet=False)
    with console.capture() as shown:
        for table in headline_tables(results, [], "greedy"):
            console.print(table)
    assert "ceiling" in shown.get()
    page = render_report(results, [], {}, "id")
    assert "ceiling" in page
    assert "2 models were evaluated" in page
    without = replace(results, rows=results.rows[:2])
    assert page.count("ceiling") > render_report(without, [], {}, "id").count("ceiling")


def test_eval_shows_and_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"eval virl-l --model random --n 5 --split id --json {tmp_path}/x.json".split()) == 0
    said = capsys.readouterr().out
    assert "floor:" in said
    assert "ceiling:" in said
    found = load_results(tmp_path / "x.json")
    assert {row.arm for row in found.rows} == {"base", "blind", "expert"}  # who answers is no reference of itself
    assert next(iter(found.rows)).metric == "decision_accuracy"


def test_cards_are_evaluated_on_numbers_that_no_training_shows() -> None:
    for name in ("gp-l", "gp-vl"):
        measurement = get_task(name).recipe.measurement
        assert measurement is not None
        assert {"id", "rule-ood", "heldout", "rule-ood-heldout"} <= set(measurement.splits)
        assert measurement.turns == (1, 5)
    assert GeneralPoints().metric == "success"
