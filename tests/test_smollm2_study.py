"""The study of SmolLM2: its plan in full and small, and its warm start, on a tiny untrained model."""

import json
from pathlib import Path

import pytest

from ruleshift.commands.study import StudyCommand as Command
from ruleshift.errors import RuleshiftError
from ruleshift.results import load_results
from ruleshift.runs import RunFolder
from ruleshift.studies.run import run_study
from ruleshift.studies.smollm2 import SMOLLM2, WarmStart
from ruleshift.tasks import get_task
from study_helpers import in_process, plan_of, tiny_start

__all__ = ["in_process"]


@pytest.mark.parametrize("task", ["virl-l", "gp-l"])
@pytest.mark.parametrize("preset", ["small-llm", "gpu"])
def test_the_plan_begins_with_many_rules_and_never_the_tested_ones(task: str, preset: str) -> None:
    (plan,) = Command("smollm2", Path("out"), (task,), preset=preset).plans(SMOLLM2)
    warm_up = plan.warm_up()
    assert warm_up is not None
    assert (plan.model, plan.style, plan.study.start) == ("smollm2", "terse", "warm")
    assert warm_up.split == "pretrain"
    assert {warm_up.lora_rank, plan.recipe.sft.lora_rank, plan.recipe.rl.lora_rank} == {16}
    assert {plan.recipe.sft.split, plan.recipe.rl.split} == {"train"}
    tested = {get_task(task).problem(split, 0, 0, "terse").context()[0].content for split in ("id", "rule-ood")}
    shown = [get_task(task).problem("pretrain", 0, i, "terse").context()[0].content for i in range(20)]
    assert tested.isdisjoint(shown)
    assert len(set(shown)) == 20


def test_the_small_study_is_a_part_of_it() -> None:
    (whole,) = Command("smollm2", Path("out")).plans(SMOLLM2)
    (small,) = Command("smollm2", Path("out"), quick=True).plans(SMOLLM2)
    assert small.measurement.n * 7 <= whole.measurement.n
    assert small.recipe.rl.updates * 6 <= whole.recipe.rl.updates
    episodes = [{arm.name: arm.training for arm in plan.arms()}["rl"].episodes for plan in (whole, small)]
    assert episodes == [16, 4]
    with pytest.raises(RuleshiftError, match="no preset 'small-llm' of SFT"):
        Command("smollm2", Path("out"), ("virl-vl",)).plans(SMOLLM2)


@pytest.mark.usefixtures("in_process")
def test_all_arms_begin_with_the_warm_start(tmp_path: Path) -> None:
    model = tiny_start(tmp_path)
    plan = plan_of(SMOLLM2, model, options=WarmStart(warm_steps=1), style="terse")
    run_study([plan], tmp_path)
    folder = tmp_path / "gp-l"
    config = RunFolder(folder / "init").read_config()
    assert config is not None
    assert (config["config"]["training"]["split"], config["config"]["model"]) == ("pretrain", model)
    warm = folder / "init" / "model"
    assert (warm / "model.safetensors").read_bytes() != (Path(model) / "model.safetensors").read_bytes()
    for arm in ("warm", "sft", "rl"):
        settings = json.loads((folder / "arms" / f"{arm}-seed0" / "config.json").read_text())["config"]
        assert settings["model"] == str(warm)
        assert settings["chat"] == {"style": "terse"}
    results = load_results(folder / "results.json")
    assert results.meta["start"] == "warm"
    assert results.meta["config"]["warm_up"]["steps"] == 1
    assert {row.kl_to_start for row in results.rows if row.arm == "warm"} == {0}
