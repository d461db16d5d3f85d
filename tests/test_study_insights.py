"""Studies of what is memorised, of failures and of phases, from end to end on a tiny untrained model, and what is read
from their folders afterwards."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny_chat, tiny_model
from ruleshift.commands.foretell import Foretell
from ruleshift.commands.study import StudyCommand, label_starts
from ruleshift.engines.local import LocalEngine
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.copying import TrainingReplies
from ruleshift.evaluation.insight import rows_of_insight
from ruleshift.evaluation.phases import PhaseCell, beyond_drift, explanations
from ruleshift.report.insights import insights_in
from ruleshift.report.phase import beyond_drift_in_words, cells_in, phase_map, what_explains
from ruleshift.results import Results, Row, load_results
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies import insights
from ruleshift.studies.arms import load_points
from ruleshift.studies.failures import FAILURES
from ruleshift.studies.foretell import ENDS_ALONE, NO_INSIGHTS, NO_ORIGIN, Trained, reasons, signs_of, trainings_in
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.memorisation import MEMORISATION
from ruleshift.studies.phase import PHASE, Ground
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Origin, Run
from ruleshift.tasks import get_task
from ruleshift.training.sft_lessons import Lessons
from study_helpers import MEASUREMENT, in_process, plan_of, tiny_start

__all__ = ["in_process"]
SMALL = replace(MEASUREMENT, insight_samples=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_start(tmp_path_factory.mktemp("models"))


def test_memorisation_is_measured_at_every_point_and_once(
    model: str, tmp_path: Path, in_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(MEMORISATION, model, SMALL, options=MEMORISATION.quick, further=0)
    plan = replace(plan, recipe=replace(plan.recipe, sft=replace(plan.recipe.sft, steps=4)))
    run_study([plan], tmp_path)
    folder, told = tmp_path / "gp-l", capsys.readouterr().out
    points = sorted(path.relative_to(folder).as_posix() for path in folder.glob("arms/*/points/*.insight.json"))
    assert len(points) == sum(len(run.points) for run in plan.runs()) == 4  # of SFT two
    content = json.loads((folder / "insights.json").read_text())
    measured = {(one["arm"], name) for one in content["points"] for of in one["measures"].values() for name in of}
    assert {"base", "sft", "rl"} == {arm for arm, _ in measured}
    assert {"rule_follows", "rotation", "pass@2", "aurc"} <= {metric for _, metric in measured}
    assert {arm for arm, metric in measured if "copied" in metric} == {"sft", "rl"}  # the start model is shown nothing
    assert len(content["levels"][0]["carried"]) == 2  # the embedding, and a layer
    assert "What is memorised at the end of training" in told
    assert "carry on after each layer" in told
    changes = json.loads((folder / "changes.json").read_text())
    primary = [change for change in changes if change["of"] > 1]
    assert {(c["arm"], c["metric"]) for c in primary} == {
        (arm, metric) for arm in ("sft", "rl") for metric in ("rule_follows", "rule_moved")
    }
    assert {change["of"] for change in primary} == {4}
    assert {(c["arm"], c["split"]) for c in changes if c["metric"] == "copied"} == {
        (arm, split) for arm in ("sft", "rl") for split in ("id", "rule-ood")
    }
    page = (folder / "report.html").read_text()
    assert all(f'id="page-{name}"' in page for name in ("insights", "layers", "risk"))

    found = insights_in(folder)
    assert found is not None
    assert list(found.levels) == ["base", "sft", "rl"]
    runs = plan.runs()
    points_of = [point for run in runs for point in load_points(folder / "arms", run, plan.measurement)]
    known = {(point.arm, point.seed, point.step): (point.kl_to_start, point.train_flops) for point in points_of}
    kept = insights.load_insights(folder / "arms", runs)
    exact = [row for one in kept for row in rows_of_insight(one, *known[one.arm, one.seed, one.step])]
    told, wanted = ({astuple(row)[:8]: astuple(row)[8:14] for row in rows} for rows in (found.rows, exact))
    assert told.keys() == wanted.keys()
    assert all(told[key] == pytest.approx(wanted[key], rel=1e-4) for key in wanted)
    before = (folder / "insights.json").read_bytes()
    (folder / points[-1]).unlink()
    run_study([plan], tmp_path)  # from the model that was kept
    assert "3 runs, 2 of them done" in capsys.readouterr().out
    assert (folder / "insights.json").read_bytes() == before
    (folder / "insights.json").write_text('{"rows": 3}')
    assert insights_in(folder) is None


def test_copies_are_of_what_a_training_shows(tmp_path: Path) -> None:
    """Of SFT the replies that it learns from, of RL the expert's to the problems that it draws, and of a second phase
    those of the first one too."""
    task, m = get_task("gp-l"), replace(SMALL, splits=("id", "rule-ood"), insight_problems=2)
    engine = LocalEngine(tiny_model(layers=1), tiny_chat(), insights.sampling_of(m))

    def shown(run: Run) -> TrainingReplies | None:
        found = insights.shown_to(run, m, (task, "terse"), engine, tmp_path)
        assert [one is not None for one in found.start] == [found.replies is not None] * 2
        return found.replies

    def golds(numbers: Iterable[int]) -> set[str]:
        return {task.problem("train", 5, index, "terse").gold() for index in numbers}

    training = SFTConfig(steps=3, batch=4, examples=40, seed=5)
    sft, rl = Run("sft", 5, training, (1, 3)), Run("rl", 5, RLConfig(episodes=6, group=2, updates=2, seed=5), (2,))
    lessons = Lessons(tiny_chat(), task, "terse", training)
    some, all_of_them = shown(sft), shown(replace(sft, training=replace(training, steps=10)))
    assert some is not None
    assert some.texts == golds(lessons.shown(3))
    assert len(some.texts) == 12
    assert all_of_them is not None
    assert all_of_them.texts == golds(range(40))  # more is shown
    (tmp_path / "rl-seed5").mkdir()
    lines = [{"step": step, "drawn_episodes": 6.0 * step} for step in (1, 2)]
    (tmp_path / "rl-seed5" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert getattr(shown(rl), "texts", None) == golds(range(9))  # of two for each problem, and a round drawn again
    then = replace(rl, start=Origin(sft, 1))
    assert getattr(shown(then), "texts", None) == golds([*lessons.shown(1), *range(9)])
    assert getattr(shown(Run("again", 5, None, (0,), start=Origin(sft, 1))), "texts", None) == golds(lessons.shown(1))
    own = replace(sft, name="self-sft", training=replace(training, data="self-verified"))
    assert shown(own) is None  # its samples are not there
    assert shown(replace(rl, start=Origin(own, 3))) is None
    assert shown(Run("base", 0, None, (0,))) is None


def test_failures_are_measured_at_the_ends(
    model: str, tmp_path: Path, in_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(FAILURES, model, replace(SMALL, kl_problems=2, kl_most=2), further=0)
    plan = replace(plan, recipe=replace(plan.recipe, rl=replace(plan.recipe.rl, updates=1, value_only=0)))
    run_study([plan], tmp_path)
    folder, told = tmp_path / "gp-l", capsys.readouterr().out
    assert "Confident and wrong, and what mitigates" in told
    assert "AURC" in told
    content = json.loads((folder / "insights.json").read_text())
    assert content["levels"] == []
    assert {(entry["arm"], entry["split"]) for entry in content["coverage"]} >= {("base", "id"), ("rl", "rule-ood")}
    primary = {c["metric"] for c in json.loads((folder / "changes.json").read_text()) if c["of"] > 1}
    assert primary == {"sure_wrong"}
    assert "Wrong replies that are given" in told
    mitigations = json.loads((folder / "mitigations.json").read_text())
    assert {(one["arm"], one["split"]) for one in mitigations} >= {("base", "id"), ("rl", "rule-ood")}
    assert {one["by"] for one in mitigations} >= {"majority", "abstaining"}
    rows = load_results(folder / "results.json").rows
    ends = {run.name: run.points for run in plan.runs()}
    assert {(row.arm, row.step) for row in rows if row.step} <= {(arm, step) for arm, (step,) in ends.items()}


def test_phases_are_mapped_over_start_models(
    model: str, tmp_path: Path, in_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(SMALL, kl_problems=2, kl_most=2, insight_problems=2)  # the last as by --set, in any study
    plan = plan_of(PHASE, model, small, options=Ground((1e-3,), free=False), further=0)
    run_study([replace(plan, label="weak"), replace(plan, label="strong")], tmp_path)
    told = capsys.readouterr().out
    assert "what explains the change" in told
    content = json.loads((tmp_path / "gp-l@weak" / "phase.json").read_text())
    ways = {(cell["way"], cell["learning_rate"]) for cell in content["cells"]}
    assert ways == {("sft", 1e-3), ("rl", 1e-3)}
    assert all(cell["ci_low"] <= cell["ood_change"] <= cell["ci_high"] for cell in content["cells"])
    both = cells_in(tmp_path / "gp-l@weak")
    assert len(both) == 2 * len(content["cells"])
    assert {cell.start for cell in both} == {"weak", "strong"}
    assert 'id="page-map"' in (tmp_path / "gp-l@weak" / "report.html").read_text()
    found = insights_in(tmp_path / "gp-l@weak")
    assert found is not None
    assert {("sft", "pass@2"), ("rl", "copied")} <= {(one.arm.split("-")[0], one.metric) for one in found.rows}


def test_claims_of_several_start_models_are_told_apart(
    model: str, tmp_path: Path, in_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(HEADLINE, model, SMALL, options=Rates("none", "none"), further=0)
    run_study([replace(plan, label="weak"), replace(plan, label="strong")], tmp_path)
    claimed = capsys.readouterr().out.rpartition("Primary endpoints")[2]
    assert re.findall(r"gp-l@\w+", claimed) == ["gp-l@weak", "gp-l@weak", "gp-l@strong", "gp-l@strong"]


def cell(way: str, kl: float, change: float) -> PhaseCell:
    return PhaseCell("base", 0.5, way, 1e-3, 3, 0.1, change, change, change, "problems", kl, 1.0, 1)


def test_the_map_shows_every_dose_at_every_rate() -> None:
    made = [
        replace(cell(way, 0.1, 0.01 * step - rate), start=start, strength=strength, learning_rate=rate, step=step)
        for way in ("sft", "rl")
        for start, strength in (("strong", 0.9), ("weak", 0.2))
        for rate in (0.1, 0.2)
        for step in (1, 10)
    ]
    drawn = phase_map(made)
    assert drawn is not None
    assert [one.text for one in drawn.layout.annotations] == [
        "weak (20% at the start)",
        "strong (90% at the start)",
        "sft",
        "rl",
    ]
    assert len(drawn.data) == 4
    assert [list(line) for line in drawn.data[0].z] == [pytest.approx([-9, 0]), pytest.approx([-19, -10])]
    assert (drawn.data[0].zmin, drawn.data[0].zmax) == (-19, 19)
    assert phase_map([]) is None


def test_drift_and_the_way_to_train_are_told_apart() -> None:
    kls = (0.01, 0.04, 0.25, 0.49, 1.0, 1.44)
    by_drift = [cell(way, kl, -(kl**0.5)) for kl in kls for way in ("sft", "rl")]
    told = {one.by: one for one in explanations(by_drift)}
    assert told["drift: root of KL"].q2 == pytest.approx(1.0)
    assert told["the way to train alone"].r2 == pytest.approx(0.0, abs=1e-9)
    by_way = [cell(way, kl, -0.3 if way == "sft" else 0.1) for kl in kls for way in ("sft", "rl")]
    told = {one.by: one for one in explanations(by_way)}
    assert told["the way to train alone"].q2 < 0  # one training of each: what is left out is told by the other
    rates = [replace(one, learning_rate=rate) for one in by_way for rate in (1e-4, 1e-3)]
    told = {one.by: one for one in explanations(rates)}
    assert told["the way to train alone"].q2 == pytest.approx(1.0)
    assert told["drift: root of KL"].r2 == pytest.approx(0.0, abs=1e-9)
    assert explanations([])[0].r2 is None


def test_what_the_way_tells_beyond_drift_has_an_interval_over_trainings() -> None:
    doses = [(rate, step, rate * step) for rate in (0.1, 0.2, 0.3, 0.4) for step in (1, 2, 3)]

    def grid(of_way: float, of_drift: float) -> list[PhaseCell]:
        return [
            replace(cell(way, kl, of_way * (way == "sft") - of_drift * kl**0.5), learning_rate=rate, step=step)
            for way in ("sft", "rl")
            for rate, step, kl in doses
        ]

    by_drift = beyond_drift(grid(0.0, 1.0), samples=50)
    assert by_drift is not None
    assert (by_drift.difference, by_drift.trainings) == (pytest.approx(0.0, abs=1e-9), 8)
    by_way = beyond_drift(grid(1.0, 0.1), samples=50)
    assert by_way is not None
    assert 0 < by_way.ci_low <= by_way.difference <= by_way.ci_high
    assert beyond_drift_in_words(grid(1.0, 0.1)).endswith("over 8 trainings)")
    assert "all 24 cells (and over trainings left out of the fit) that is" in what_explains(grid(1.0, 0.1))
    assert beyond_drift([one for one in grid(1.0, 0.1) if one.way == "sft"]) is None
    assert beyond_drift([]) is None


def test_start_models_are_told_apart_by_name() -> None:
    assert label_starts(("runs/a/models/step-1", "runs/a/models/step-2/")) == {
        "step-1": "runs/a/models/step-1",
        "step-2": "runs/a/models/step-2/",
    }
    assert list(label_starts(("a/model", "b/model"))) == ["a-model", "b-model"]
    assert label_starts(()) == {}
    plans = StudyCommand("phase", tasks=("gp-l", "virl-l"), starts=("a/x", "b/y")).plans(PHASE)
    assert [(plan.folder, plan.model) for plan in plans] == [
        ("gp-l@x", "a/x"),
        ("gp-l@y", "b/y"),
        ("virl-l@x", "a/x"),
        ("virl-l@y", "b/y"),
    ]
    assert [plan.folder for plan in StudyCommand("phase").plans(PHASE)] == ["gp-l", "virl-l"]
    with pytest.raises(RuleshiftError, match="twice"):
        label_starts(("a", "a"))


# ---------------------------------------------------------------- what foretells a loss


def row(arm: str, seed: int, step: int, split: str, value: float, metric: str = "success") -> Row:
    return Row("gp-l", arm, seed, step, split, metric, 1, "sampled", value, 10, value, value, 0.1 * step)


def results_of(runs: int, begun: Mapping[str, Any] | None = None, rate: float = 1e-3) -> Results:
    """Trainings whose loss under shift is twice what they gained early on the training rule. `begun`: where in their
    study they went on from, which has `bare` before them."""
    rows = [row("base", 0, 0, "id", 0.5), row("base", 0, 0, "rule-ood", 0.9)]
    for seed in range(runs):
        gain = 0.05 * (seed + 1)
        rows += [row("bare", seed, 4, "id", 0.2), row("bare", seed, 4, "rule-ood", 0.1)]
        rows += [row("sft", seed, 3, "id", 0.5 + gain), row("sft", seed, 9, "id", 0.99)]
        rows += [row("sft", seed, 3, "rule-ood", 0.9), row("sft", seed, 9, "rule-ood", 0.9 - 2 * gain)]
        rows += [row("sft", seed, 3, "id", 1.0, "validity"), row("bare", seed, 4, "id", 0.4, "validity")]
    training = {"sft": {"learning_rate": 1e-3}, "bare": {"learning_rate": rate}}
    config = {"training": training, **({"starts": {"sft": begun}} if begun else {})}
    return Results(tuple(rows), {"metric": "success", "start": "base", "config": config})


def write(folder: Path, results: Results) -> Path:
    from ruleshift.results import save_results

    folder.mkdir(parents=True)
    save_results(folder / "results.json", results.rows, results.meta)
    return folder


def test_early_signs_foretell_the_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write(tmp_path / "one" / "gp-l", results_of(5))
    trainings, left = trainings_in([tmp_path / "one"])
    assert [one.loss for one in trainings] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert trainings[0].signs == pytest.approx(
        {"success, id": 0.05, "KL to the start": 0.3}
    )  # validity of the start: unknown
    told = {ENDS_ALONE: [f"{study} (bare)"], NO_INSIGHTS: [str(study)]}
    assert reasons(left, trainings) == told
    found = signs_of(trainings)  # nothing that does not vary
    assert [(sign.name, sign.runs) for sign in found] == [("success, id", 5)]
    assert (found[0].spearman, found[0].r2, found[0].q2) == pytest.approx((1.0, 1.0, None))  # of one study
    assert signs_of(trainings[:3]) == []
    assert found[0].within == pytest.approx(1.0)
    assert found[0].chance == pytest.approx(2 / 120, abs=0.01)  # of 120 orders, those there and back
    Foretell((tmp_path / "one",), tmp_path / "signs.json").run()
    said = capsys.readouterr().out
    assert "success, id" in said
    assert f"{ENDS_ALONE}: {study} (bare)" in said
    content = json.loads((tmp_path / "signs.json").read_text())
    assert (content["counted"], content["left_out"]) == ({str(study): 5}, told)
    assert content["signs"][0]["runs"] == 5


def test_an_arm_that_recovers_from_a_bad_start_lost_nothing(tmp_path: Path) -> None:
    """It went on from a model with 0.1 under the shifted rule; had it begun at the start, with 0.9, it would have lost
    up to a half."""
    for name, begun in (
        ("at-the-start", None),
        ("end", {"arm": "bare", "step": None}),
        ("step", {"arm": "bare", "step": 4}),
    ):
        write(tmp_path / name / "gp-l", results_of(5, begun))
    losses, signs = {}, {}
    for name in ("at-the-start", "end", "step"):
        trainings, _ = trainings_in([tmp_path / name])
        losses[name], signs[name] = [one.loss for one in trainings], trainings[0].signs
    assert losses["at-the-start"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert losses["end"] == losses["step"] == pytest.approx([-0.7, -0.6, -0.5, -0.4, -0.3])
    assert signs["end"] == pytest.approx({"success, id": 0.35, "validity, id": 0.6})  # how far the start is, is no sign

    write(tmp_path / "lacking" / "gp-l", results_of(5, {"arm": "bare", "step": 2}))
    trainings, left = trainings_in([tmp_path / "lacking"])
    assert trainings == []
    assert f"{tmp_path / 'lacking' / 'gp-l'} (sft)" in reasons(left, trainings)[NO_ORIGIN]


def test_all_seeds_of_an_arm_are_read_at_the_same_step(tmp_path: Path) -> None:
    """Of single seeds further steps are evaluated, and what was measured at another dose is another sign."""
    usual = results_of(5)
    further = [row("sft", 0, 2, split, 0.5) for split in ("id", "rule-ood")]
    write(tmp_path / "gp-l", replace(usual, rows=(*usual.rows, *further)))
    trainings, _ = trainings_in([tmp_path])
    assert [one.signs["KL to the start"] for one in trainings] == pytest.approx([0.3] * 5)


def test_a_training_that_studies_share_counts_once(tmp_path: Path) -> None:
    first, again = (write(tmp_path / name / "gp-l", results_of(5)) for name in ("1", "2"))
    points = [
        {
            **{"arm": "sft", "seed": seed, "step": 3, "kl_to_start": 0.1, "train_flops": 1.0},
            "measures": {"id": {"copied": [0.1 * seed, 9, 0.0, 1.0], "start_copied": [0.0, 9, 0.0, 1.0]}},
        }
        for seed in range(5)
    ]
    content = {"task": "gp-l-v1", "points": points, "levels": [], "coverage": []}
    (again / "insights.json").write_text(json.dumps(content))
    trainings, left = trainings_in([tmp_path])
    assert [(one.study, one.seed) for one in trainings] == [(str(first), seed) for seed in range(5)]
    assert trainings[1].signs["copied, id"] == pytest.approx(0.1)  # with what the other one has
    assert reasons(left, trainings)[f"the same trainings as in {first}"] == [f"{again} (sft)"]

    end = {"arm": "bare", "step": None}
    write(tmp_path / "3" / "gp-l", results_of(5, end))
    write(tmp_path / "4" / "gp-l", results_of(5, end, rate=1e-4))  # and begins from a model that was made another way
    told = results_of(5)
    write(tmp_path / "5" / "gp-l", replace(told, meta={**told.meta, "feedback": "silent"}))
    assert [one.study[-6:] for one in trainings_in([tmp_path])[0][::5]] == ["1/gp-l", "3/gp-l", "4/gp-l", "5/gp-l"]


def test_arms_of_the_same_name_in_two_studies_are_two(tmp_path: Path) -> None:
    """In each of two studies the higher sign goes with the lower loss; one of them has more of both."""
    made = [
        Trained(study, study, "gp-l", "rl", seed, {"success, id": 0.1 * seed + more}, more - 0.1 * seed)
        for study, more in (("slow", 0.0), ("fast", 5.0))
        for seed in range(5)
    ]
    (apart,) = signs_of(made)
    assert apart.within == pytest.approx(-1.0)
    assert apart.chance == pytest.approx(2 / 120, abs=0.01)  # of the orders of five seeds, which both studies share
    assert apart.spearman > 0.4
    (as_one,) = signs_of([replace(one, study="one") for one in made])
    assert as_one.within == as_one.spearman
    assert apart.q2 is not None
    assert apart.q2 < 0 < as_one.r2  # a study that is left out is told by the other one
    (starts,) = signs_of([replace(one, study=f"phase/gp-l@{one.study}") for one in made])
    assert (starts.within, starts.q2) == (apart.within, None)  # from several start models it is one all the same


def test_too_few_trainings_foretell_nothing(tmp_path: Path) -> None:
    study = write(tmp_path / "one" / "gp-l", results_of(3))
    with pytest.raises(RuleshiftError, match=f"fewer than 4 trainings of its task: {study}"):
        Foretell((tmp_path / "one",)).run()
    with pytest.raises(RuleshiftError, match="holds no results"):
        Foretell((tmp_path / "none",)).run()
