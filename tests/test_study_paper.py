"""The studies of the paper's claims and open questions: what they name beforehand, and each from end to end."""

import importlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest

from ruleshift.commands.study import StudyCommand
from ruleshift.engines.text import expert
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.evaluate import Cell, cell_of, evaluate
from ruleshift.evaluation.phases import PhaseCell
from ruleshift.evaluation.tries import Spent, Tally, number_of_try
from ruleshift.records import Completion, Turn, Verdict
from ruleshift.report.arms import legend_of, origins_in
from ruleshift.results import Row, load_results, save_results
from ruleshift.revision import Conversation
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies import STUDIES
from ruleshift.studies.changes import MeasureChange
from ruleshift.studies.live import live_results
from ruleshift.studies.memorisation import PRIMARY
from ruleshift.studies.recipes import recipe_of
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Plan
from ruleshift.studies.verification import Budgets, turn_gains
from ruleshift.tasks import get_task
from ruleshift.training.sft_lessons import bare_answer
from study_helpers import in_process, tiny_start

__all__ = ["in_process"]

ROOT = Path(__file__).resolve().parent.parent
PAPER = [name for name, study in STUDIES.items() if study.primary]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_start(tmp_path_factory.mktemp("models"))


def plans_of(name: str, model: str = "bundled", **options: object) -> list[Plan]:
    return list(StudyCommand(name, Path("x"), model=model, **options).plans(STUDIES[name]))  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is named beforehand


def test_the_studies_of_the_paper_are_there() -> None:
    assert {"table", "verification", "no-sft", "overfit", "rewards", "horizon", "data-shift", "retention"} <= {*PAPER}


@pytest.mark.parametrize("name", PAPER)
def test_what_is_claimed_is_trained_and_measured(name: str) -> None:
    study = STUDIES[name]
    for plan in plans_of(name):
        arms = {study.start, *(arm.name for arm in plan.arms())}
        assert plan.runs()
        for claimed in study.primary:
            assert {*claimed.tasks} <= {*study.tasks}
            if claimed.tasks and plan.task not in claimed.tasks:
                continue
            assert {claimed.arm, claimed.reference or study.start} <= arms
            end, m = claimed.endpoint or get_task(plan.task).recipe.primary, plan.measurement
            assert end is not None
            assert end.split in m.splits
            assert end.decoding in m.decodings
            assert end.turns <= max(m.turns)
    assert study.paper
    about = [
        (claimed.arm, claimed.reference, claimed.word, claimed.endpoint, claimed.tasks) for claimed in study.primary
    ]
    assert len({*about}) == len(about)


def test_an_update_has_about_as_many_replies_whatever_the_budget() -> None:
    recipe = recipe_of("gp-l")
    arms = {arm.name: arm.training for arm in STUDIES["verification"].arms(recipe, Budgets((1, 5, 10)))}
    trained = [arms[f"rl-turns{turns}"] for turns in (1, 5, 10)]
    assert all(isinstance(training, RLConfig) for training in trained)
    assert [t.episodes for t in trained] == [333, 128, 113]  # type: ignore[union-attr]  # of 1, 2.6 and 2.95 replies
    grouped = replace(recipe, rl=replace(recipe.rl, episodes=40, group=8))
    (one, *_) = [
        a.training for a in STUDIES["verification"].arms(grouped, Budgets((3,))) if a.training and a.name != "sft"
    ]
    assert isinstance(one, RLConfig)
    assert one.episodes == 48  # 49, in whole groups


def test_settings_hold_for_both_tasks_and_the_rest_is_each_ones_own() -> None:
    (plan,) = plans_of("retention", set=("rl.updates=3", "ways=rl"))
    trained = {arm.name: arm.training for arm in plan.arms()}
    for part in ("gp-l", "virl-l"):
        assert trained[f"rl-{part}"] == replace(recipe_of(part).rl, updates=3, split=f"{part}-train")
    usual = recipe_of(STUDIES["retention"].tasks[0]).rl.learning_rate
    (plan,) = plans_of("retention", set=(f"rl.learning_rate={usual}", "ways=rl"))  # set by hand, if to what is usual
    rates = [arm.training.learning_rate for arm in plan.arms() if arm.training]
    assert rates == [usual] * 4
    assert {recipe_of(part).rl.learning_rate for part in ("gp-l", "virl-l")} > {usual}  # one of them has another
    with pytest.raises(RuleshiftError, match="there is no 'prayer'"):
        plans_of("retention", set=("ways=prayer",))
    with pytest.raises(RuleshiftError, match="choose from 2, 4, 8, not 2,3"):
        plans_of("data-shift", set=("rules=2,3",))


def test_a_quick_study_trains_the_same_share_of_both_tasks() -> None:
    (plan,) = plans_of("retention", quick=True)
    trained = {arm.name: arm.training for arm in plan.arms()}
    for part in ("gp-l", "virl-l"):
        usual = recipe_of(part)
        assert trained[f"sft-{part}"] == replace(usual.sft, steps=round(usual.sft.steps / 3), split=f"{part}-train")
        assert trained[f"rl-{part}"] == replace(usual.rl, updates=round(usual.rl.updates / 3), split=f"{part}-train")


def test_a_potential_stands_beside_outcomes_of_its_discount() -> None:
    """Any other two arms differ in nothing but the reward, and do not pay a failed try for going on."""
    trained = {arm.name: arm.training for plan in plans_of("rewards") for arm in plan.arms()}
    apart = {name: replace(training, reward="success", overlong=0.0) for name, training in trained.items()}  # type: ignore[type-var]
    assert apart["rl-potential"] == apart["rl-discounted"] != apart["rl-outcome"]
    assert apart["rl-outcome"] == apart["rl-verifier"] == apart["rl-partial"] == apart["rl-length"]
    assert trained["rl-partial"].gamma == 0  # type: ignore[union-attr]


def test_overfitting_starts_from_models_of_one_rate() -> None:
    for quick in (False, True):
        for plan in plans_of("overfit", quick=quick):
            arms = {arm.name: arm for arm in plan.arms()}
            sft = arms["sft"].training
            assert isinstance(sft, SFTConfig)
            assert sft.schedule == "constant_with_warmup"
            assert sft.steps > recipe_of(plan.task).sft.steps
            assert len({arm.start for arm in arms.values() if arm.start}) >= 3


# ---------------------------------------------------------------- what turns take


def turn(read: int, written: int, advanced: bool = False) -> Turn:
    reply = Completion("", (1,) * written, (0.0,) * written)
    return Turn((1,) * read, reply, Verdict("", 1.0 if advanced else -1.0, False, "", advanced=advanced))


def test_tries_are_counted_anew_at_every_step() -> None:
    said = [turn(10, 2), turn(3, 4, advanced=True), turn(5, 1), turn(5, 2), turn(5, 3)]
    assert [number_of_try(said[: i + 1]) for i in range(5)] == [1, 2, 1, 2, 3]
    tally = Tally(lambda tokens: 100.0 * tokens)
    conversation = Conversation(get_task("gp-l").problem("id", 0, 0), 5)
    for one in said:
        conversation.turns.append(one)
        conversation.seconds = 0.5
        tally.hear(conversation)
    assert tally.spent() == (Spent(2, 18, 1800.0), Spent(2, 14, 1400.0), Spent(1, 8, 800.0))
    assert tally.seconds() == (1.0, 1.0, 0.5)


def test_gains_of_turns_are_worked_out_by_hand() -> None:
    # Of ten problems four are solved at first, two with a second try, none with a third, and four never.
    tries = ((1,),) * 4 + ((2,),) * 2 + ((-3,),) * 4
    spent = (Spent(10, 500, 1e6), Spent(6, 120, 2e5), Spent(4, 80, 1e5))
    found = turn_gains(Cell("id", "sampled", tries, (1,) * 10, (1,) * 10, spent=spent), (2.0, 1.0, 0.5))
    assert [gain.gain.mean for gain in found] == pytest.approx([0.4, 0.2, 0.0])
    assert [(gain.replies, gain.tokens, gain.seconds) for gain in found] == [(10, 50, 0.2), (6, 12, 0.1), (4, 8, 0.05)]
    assert [gain.pays for gain in found] == [True, True, False]


def test_an_expert_takes_one_try_a_step() -> None:
    tally = Tally(float)
    cell = cell_of("id", "greedy", evaluate(expert(), get_task("virl-l"), "id", 3, 2, heard=tally.hear))
    assert [spent.replies for spent in tally.spent()] == [sum(map(len, cell.tries))]


# ---------------------------------------------------------------- from end to end

FEW = (
    *("sft.steps=2", "sft.examples=4", "sft.batch=2", "sft.micro_batch=2", "measurement.kl_problems=2"),
    *("rl.updates=1", "rl.episodes=4", "rl.value_only=0", "rl.value_steps=1", "rl.minibatches=1"),
    *("measurement.kl_most=2", "rl.max_new_tokens=8"),
)
SMALL = {
    "verification": ("turns=1,3",),
    "no-sft": ("steps=1,2", "unlearned=1"),
    "overfit": ("past=2", "between=1", "measurement.sharpness_problems=2"),
    "data-shift": ("rules=8",),
    "retention": ("ways=sft,distil",),
}


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", [name for name in PAPER if name in (*SMALL, "rewards", "horizon")])
def test_from_end_to_end(name: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = STUDIES[name].tasks[-1]
    plans = plans_of(name, model, tasks=(task,), n=2, points=1, kept=2, set=(*FEW, *SMALL.get(name, ())))
    run_study(plans, tmp_path, keep="none")
    said = capsys.readouterr().out
    assert said.count("Primary endpoints, named before") == 1
    found = load_results(tmp_path / get_task(task).id / "results.json")
    diverged = {entry["arm"] for entry in found.meta["diverged"]}
    assert {row.arm for row in found.rows} >= {arm.name for arm in plans[0].arms()} - diverged
    assert "Primary" not in said.split("report:")[0]
    assert (tmp_path / get_task(task).id / "report.html").is_file()
    live = live_results(tmp_path / get_task(task).id)
    assert legend_of(live).start == found.meta["start"]
    assert origins_in(live) == {arm: origin for arm, origin in origins_in(found).items() if arm not in diverged}


# ---------------------------------------------------------------- claims of the paper beside our figures


@pytest.fixture
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that says what the published runs found, with other runs than those in docs."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("expected")
    monkeypatch.setattr(module, "PUBLISHED", tmp_path)
    monkeypatch.setattr(module, "results_in", module.results_in.__wrapped__)
    monkeypatch.setattr(module, "published_folders", lambda: [*tmp_path.glob("*/*")])
    return module


def test_a_published_run_stands_beside_what_was_claimed(expected: ModuleType, tmp_path: Path) -> None:
    where = ("success", "rule-ood", 1, "sampled")
    claim = Claim("gp-l", "rl-verifier", "rl-outcome", *where, 0.02, -0.01, 0.04, "seeds and problems", "keeps", 6)
    rows = [Row("gp-l", "rl-outcome", 0, 30, "rule-ood", "success", 1, "sampled", 0.5, 400, 0.4, 0.6, 0.1, 1e9)]
    meta = {
        "study": "rewards",
        "start": "base",
        "metric": "success",
        "seeds": [0, 1],
        "diverged": [{"arm": "rl-outcome", "seed": 2, "why": ""}],
    }

    def line(word: str) -> tuple[str, str, str]:
        """Figure, verdict and what speaks against it, where the run's claim says this word."""
        folder = tmp_path / "rewards" / "gp-l"
        folder.mkdir(parents=True, exist_ok=True)
        save_results(folder / "results.json", rows, {**meta, "claims": [asdict(claim) | {"word": word}]})
        (found,) = [line for line in expected.lines() if line.study == "rewards" and "by kind of fault" in line.says]
        return found.figure, found.verdict, found.against

    assert {one.verdict for one in expected.lines()} == {"not run yet"}
    figure, verdict, against = line("keeps")
    assert figure == "+2.0 [-1.0, +4.0] points, rl-verifier against rl-outcome " + (
        "(success, rule-ood, 1 turn, sampled; over seeds and problems; seeds: 2)"
    )
    assert verdict == "holds"
    assert against.endswith("2 seeds only; rl-outcome diverged with seed 2")
    assert line("raises")[1] == "does not hold"
    assert line("undecided")[1] == "undecided"
    assert [run.study for run in expected.runs.__wrapped__()] == ["rewards"]
    claim = replace(claim, arm="another")
    assert line("keeps")[:2] == ("not run yet", "not run yet")
    assert {one.verdict for one in expected.lines() if one.study != "rewards"} == {"not run yet"}


def test_what_is_claimed_of_measures_stands_beside_what_they_did(expected: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "memorisation" / "gp-l"
    folder.mkdir(parents=True)
    save_results(folder / "results.json", [], {"start": "base", "seeds": [0, 1, 2], "study": "memorisation"})
    change = MeasureChange("sft", *PRIMARY[0], 0.4, 0.6, -0.2, -0.3, -0.1, "seeds and problems", "lowers", 8)
    other = replace(change, metric=PRIMARY[1][1], word="undecided", ci_high=0.1)
    (folder / "changes.json").write_text(json.dumps([asdict(change), asdict(other)]))
    found = [line for line in expected.lines() if (line.study, line.task) == ("memorisation", "gp-l")]
    assert [line.verdict for line in found] == ["holds", "undecided"]
    assert found[0].figure == (
        "-20.0 [-30.0, -10.0] points, sft against base (rule_follows, id-val; over seeds and problems; seeds: 3)"
    )


def test_the_map_of_phases_is_claimed_of_all_start_models_together(expected: ModuleType, tmp_path: Path) -> None:
    def lines() -> list[str]:
        return [line.verdict for line in expected.lines() if line.study == "phase"]

    assert lines() == ["not run yet"] * 2
    for name, strength in (("gp-l@strong", 0.5), ("gp-l@weak", 0.1)):
        cells = [
            PhaseCell(name, strength, way, rate, step, kl**0.5, -0.1 * kl**0.5, None, None, "problems", kl, 1.0, 1)
            for way in ("sft", "rl")
            for rate in (1e-4, 3e-4, 1e-3)
            for step, kl in ((1, 100 * rate), (2, 1000 * rate), (4, 3000 * rate))
        ]
        (tmp_path / "phase" / name).mkdir(parents=True)
        (tmp_path / "phase" / name / "phase.json").write_text(json.dumps({"cells": [asdict(one) for one in cells]}))
    assert lines() == ["holds", "not run yet"]  # drift tells all of it, here


# ---------------------------------------------------------------- answers without their form


@pytest.mark.parametrize("task", ["gp-l", "virl-l"])
def test_no_verifier_reads_an_answer_without_its_form(task: str) -> None:
    for style in ("terse", "stepwise", "full"):
        problem = get_task(task).problem("train", 0, 1, style)  # type: ignore[arg-type]
        gold = problem.gold()
        answer = bare_answer(gold)
        assert answer in gold
        assert len(answer) < len(gold)
        verdict = problem.submit(answer, last=False)
        assert not verdict.right
        assert not verdict.valid
        assert problem.submit(gold, last=False).right  # the control
    with pytest.raises(RuleshiftError, match="take --data expert"):
        bare_answer("forward")
