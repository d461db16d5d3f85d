"""Arms of studies that start from what other arms were."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.table import Table

from ruleshift.errors import RuleshiftError
from ruleshift.results import load_results
from ruleshift.runs import RunFolder
from ruleshift.studies.headline import HEADLINE
from ruleshift.studies.pool import Job
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Arm, Findings, Pair, Plan, Start, StartModel, Study, head_to_head
from study_helpers import MEASUREMENT, RECIPE, SFT, in_process, plan_of, rows_in, tiny_start

__all__ = ["in_process"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_start(tmp_path_factory.mktemp("models"))


def chained(recipe: StudyRecipe, options: None) -> list[Arm]:
    """SFT; a critic alone from its second step, which changes no weight, since nothing weighs in the model's own loss;
    that one again, told less; more SFT after."""
    still = replace(recipe.rl, updates=1, value_only=0, reward_coef=0.0, kl_coef=0.0)
    return [
        Arm("sft", recipe.sft, dense=False),
        Arm("still", still, dense=False, start=Start("sft", 2)),
        Arm("told", None, start=Start("still"), feedback="silent"),
        Arm("more", recipe.sft, dense=False, start=Start("still")),
    ]


CHAINED = replace(HEADLINE, name="chained", arms=chained, options=None, pairs=(Pair("more", "sft"),), primary=())


def test_arms_that_start_from_others_are_made_after_them() -> None:
    plan = Plan(CHAINED, RECIPE, MEASUREMENT, seeds=2)
    runs = {run.folder: run for run in plan.runs()}
    assert runs["sft-seed1"].points == (2, 3)  # the step that another starts from is evaluated
    origin = runs["still-seed1"].start
    assert origin is not None
    assert (origin.run, origin.step) == (runs["sft-seed1"], 2)
    jobs = {run.name: Job(run, StartModel("m"), MEASUREMENT, Path("x")) for run in runs.values() if run.seed == 0}
    assert jobs["sft"].after is None
    assert jobs["still"].after == jobs["sft"].name
    assert jobs["told"].after == jobs["more"].after == jobs["still"].name

    assert plan.origins() == {"still": ("sft", 2), "told": ("still", 1), "more": ("still", 1)}
    pairs = (*head_to_head("more", "sft"), *head_to_head("more", "told"))
    compared = [pair for pair in replace(plan, study=replace(CHAINED, pairs=pairs)).pairs() if pair.arm == "more"]
    assert [pair for pair in compared if pair.reference == "sft"] == [Pair("more", "sft")]  # they match where it begins
    assert {pair.matched_on for pair in compared if pair.reference == "told"} == {None, "id", "kl", "flops"}

    def without(name: str) -> Study:
        return replace(CHAINED, pairs=(), arms=lambda *given: [arm for arm in chained(*given) if arm.name != name])

    with pytest.raises(RuleshiftError, match="still starts from sft, which no arm before it"):
        replace(plan, study=without("sft")).runs()
    with pytest.raises(RuleshiftError, match="starts from step 2 of sft, which is trained for 1"):
        replace(plan, recipe=replace(RECIPE, sft=replace(SFT, steps=1))).runs()


@pytest.mark.usefixtures("in_process")
def test_an_arm_starts_from_what_another_was(model: str, tmp_path: Path) -> None:
    seen: list[Findings] = []

    def look(found: Findings, width: int) -> list[Table]:
        seen.append(found)
        return []

    measurement = replace(MEASUREMENT, profile_problems=2, profile_samples=2)
    plan = plan_of(replace(CHAINED, tables=(look,)), model, measurement)
    run_study([plan], tmp_path)
    drawn = seen[0].drawn  # conversations, with those before
    assert drawn["sft", 0] == {step: SFT.batch * step for step in (1, 2, 3)}
    assert drawn["still", 0] == {1: 2 * SFT.batch + RECIPE.rl.episodes}
    assert drawn["told", 0] == {0: drawn["still", 0][1]}
    assert drawn["more", 0][3] == drawn["still", 0][1] + 3 * SFT.batch
    arms = tmp_path / "gp-l" / "arms"
    assert weights(arms / "still-seed0/models/step-000001") == weights(arms / "sft-seed0/models/step-000002")
    assert weights(arms / "more-seed0/models/step-000003") != weights(arms / "still-seed0/models/step-000001")
    flops = {(row["arm"], row["step"]): row["train_flops"] for row in rows_in(tmp_path)}
    assert flops["sft", 2] < flops["still", 1] == flops["told", 0] < flops["more", 3]
    kl = {(row["arm"], row["step"]): row["kl_to_start"] for row in rows_in(tmp_path)}
    assert kl["still", 1] == kl["told", 0] == kl["sft", 2] > 0  # to the start model, whatever an arm starts from
    profiles = {one["arm"]: one for one in json.loads((tmp_path / "gp-l" / "profiles.json").read_text())}
    assert profiles["sft"]["kl_to_origin"] is None
    assert profiles["sft"]["kl_from_origin"] is None
    for name in ("kl_to_origin", "kl_from_origin"):  # a critic alone learned: its model is the one that it began from
        assert profiles["still"][name] == pytest.approx(0.0, abs=1e-6) == profiles["told"][name]
        assert profiles["more"][name] > 0
    assert profiles["still"]["kl_from_start"] > 0
    learned = {name: one["trained_tokens"] for name, one in profiles.items()}  # with what was learned before
    first = json.loads((arms / "sft-seed0/models/step-000002.json").read_text())["trained"]
    own = {name: json.loads(next(arms.glob(f"{name}-seed0/models/*.json")).read_text()) for name in ("still", "more")}
    assert 0 < first < learned["sft"]
    assert learned["still"] == learned["told"] == first + own["still"]["trained"]
    assert learned["more"] == learned["still"] + own["more"]["trained"] > learned["still"]
    assert profiles["more"]["seconds"] > profiles["still"]["seconds"] > 0 == profiles[CHAINED.start]["seconds"]
    assert profiles["more"]["generated_tokens"] == profiles["still"]["generated_tokens"] > 0
    (line,) = RunFolder(arms / "still-seed0").read_metrics()
    assert profiles["still"]["generated_tokens"] == pytest.approx(line["reply_tokens"] * line["drawn_episodes"])
    config = json.loads((arms / "told-seed0" / "config.json").read_text())["config"]
    assert config["measurement"]["feedback"] == "silent"
    assert config["arm"]["start"]["run"]["start"]["run"]["name"] == "sft"

    before = rows_in(tmp_path)
    for folder in ("more-seed0", "told-seed0"):
        shutil.rmtree(arms / folder)
    run_study([plan], tmp_path)
    assert rows_in(tmp_path) == before
    shutil.rmtree(arms / "more-seed0")
    shutil.rmtree(arms / "still-seed0" / "models" / "step-000001")
    with pytest.raises(RuleshiftError, match=r"starts from step 1 of .*still-seed0, which lacks it: delete the folder"):
        run_study([plan], tmp_path)


@pytest.mark.usefixtures("in_process")
def test_an_arm_whose_start_diverged_says_so(model: str, tmp_path: Path) -> None:
    def arms(recipe: StudyRecipe, options: None) -> list[Arm]:
        wild = replace(recipe.sft, learning_rate=1e30, warmup_share=0.0, max_grad_norm=1e30)
        return [Arm("sft", wild), Arm("rl", recipe.rl, start=Start("sft")), Arm("fine", recipe.rl, dense=False)]

    run_study([plan_of(replace(CHAINED, arms=arms, pairs=()), model)], tmp_path)
    meta = load_results(tmp_path / "gp-l" / "results.json").meta
    assert [entry["arm"] for entry in meta["diverged"]] == ["sft", "rl"]
    assert "it starts from step 3 of sft-seed0, which diverged before it came there" in meta["diverged"][1]["why"]
    assert {row["arm"] for row in rows_in(tmp_path)} == {"base", "fine", "random", "expert"}


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()
