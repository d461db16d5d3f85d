"""The study of SmolLM2: its plan in full and small, and its warm start, on a tiny untrained model."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ruleshift.commands.study import StudyCommand as Command
from ruleshift.commands.study_status import StudyStatus
from ruleshift.errors import RuleshiftError
from ruleshift.results import load_results
from ruleshift.runs import RunFolder
from ruleshift.studies.estimates import Basis
from ruleshift.studies.headline import HEADLINE
from ruleshift.studies.log import StudyLog
from ruleshift.studies.pool import Job
from ruleshift.studies.progress import StudyRecord, Totals, seconds_left, states_of
from ruleshift.studies.run import run_study
from ruleshift.studies.smollm2 import SMOLLM2, WarmStart
from ruleshift.tasks import get_task
from ruleshift.training.train import train
from study_helpers import in_process, in_this_process, plan_of, tiny_start

__all__ = ["in_process"]

RESULTS = Path(__file__).parent.parent / "docs" / "results"


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
def test_all_arms_begin_with_the_warm_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_start(tmp_path)
    plan = plan_of(SMOLLM2, model, options=WarmStart(warm_steps=1), style="terse")
    run_study([plan], tmp_path)
    before, after = [line for line in capsys.readouterr().out.splitlines() if "0 of them done" in line]
    assert before.startswith("3 runs after a warm start, 0 of them done; at most about ")
    assert after.startswith("3 runs, 0 of them done; at most about ")
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


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("workers", "said"),
    [
        (None, "1 of the runs at a time, not 2: the 1 MB of this machine have no room for more\n"),
        (2, "warning: the 1 MB of this machine have no room for 2 workers: give --workers 1\n"),
    ],
)
def test_want_of_room_is_told_before_the_warm_start(
    workers: int | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default one worker more than there are cores, of at most as many runs as are left, or fewer that have room;
    those that are asked for are kept, and warned of."""
    monkeypatch.setattr("ruleshift.studies.log.os.cpu_count", lambda: 1)
    monkeypatch.setattr("ruleshift.studies.log.memory_here", lambda: 1_000_000)
    told, status = list[str](), list[str]()
    used: list[int | None] = []

    def carry(jobs: list[Job], workers: int | None) -> None:
        used.append(workers)
        in_this_process(jobs)

    monkeypatch.setattr("ruleshift.studies.run.run_jobs", carry)

    def train_and_listen(*args: Any, **more: Any) -> Any:
        told.append("".join(capsys.readouterr()))
        StudyStatus(str(tmp_path)).run()
        status.append(capsys.readouterr().out)
        return train(*args, **more)

    monkeypatch.setattr("ruleshift.studies.run.train", train_and_listen)
    plan = plan_of(SMOLLM2, tiny_start(tmp_path), options=WarmStart(warm_steps=1), style="terse")
    run_study([plan], tmp_path, workers=workers)
    (before,), (meanwhile,) = told, status
    assert re.search(r"gp-l warm start +running +0 of 1 ", meanwhile)
    assert "4 jobs: 1 running, 3 waiting" in meanwhile
    assert said in before
    assert {*used} == {workers or 1}
    assert ("warning" in before) == (workers is not None)
    assert "warning" not in capsys.readouterr().err
    run_study([plan], tmp_path, workers=workers)  # nothing is left to be made
    assert "no room" not in "".join(capsys.readouterr())


def test_the_usual_study_is_the_one_that_was_timed() -> None:
    """What stands in the published results was made by its command with all that the study has by itself now."""
    timed = load_results(RESULTS / "smollm2" / "virl-l" / "results.json").meta
    (plan,) = Command("smollm2", Path("out")).plans(SMOLLM2)
    told = timed["config"]
    assert {name: told[name] for name in ("seeds", "points", "kept", "further")} == {
        name: getattr(plan, name) for name in ("seeds", "points", "kept", "further")
    }
    assert {name: told["measurement"][name] for name in asdict(plan.measurement)} == json.loads(
        json.dumps(asdict(plan.measurement))
    )
    training = json.loads(json.dumps({arm.name: asdict(arm.training) for arm in plan.arms() if arm.training}))
    assert {arm: {name: told["training"][arm][name] for name in now} for arm, now in training.items()} == training
    assert timed["duration_s"] < 3 * 3600
    assert Command("smollm2", Path("out"), further=2).plans(SMOLLM2)[0].further == 2


def test_the_warm_start_counts_until_it_is_made(tmp_path: Path) -> None:
    """100 steps of 4 walks of 12 replies, each read with a backward pass."""
    (plan,) = Command("smollm2", Path("out")).plans(SMOLLM2)
    log = StudyLog(tmp_path, {"virl-l": Basis(1, 1, 1, 1, 1, 1.0, drawing=1.0, reading=0.1, process=0)})
    entry = log.warm_start(plan)
    assert entry is not None
    record = StudyRecord("", 0.0, (entry,), 0.0, Totals(0, 0, 0, 0))

    def left() -> float:
        return seconds_left(record, states_of(record, tmp_path), tmp_path)

    assert left() == pytest.approx(3 * 100 * 4 * 12 * 0.1)
    folder = tmp_path / plan.folder / "init"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 25}\n')
    assert left() == pytest.approx(3 * 75 * 4 * 12 * 0.1)
    assert log.warms_up([plan])
    (folder / "model").mkdir()
    assert left() == 0
    assert not log.warms_up([plan])


def test_what_is_measured_is_what_the_pages_say() -> None:
    (plan,) = Command("smollm2", Path("out")).plans(SMOLLM2)
    (usual,) = Command("headline", Path("out"), ("virl-l",)).plans(HEADLINE)
    m = plan.measurement
    assert (m.n, m.decodings, m.kl_problems, m.kl_most) == (100, ("sampled",), 16, 32)
    assert set(usual.measurement.splits) > {*m.splits}
    assert m.turns == usual.measurement.turns
    assert SMOLLM2.tables == HEADLINE.tables[:2]
    pages = Path(__file__).parent.parent / "docs"
    assert "100 routes of the training rule and of the shifted one, sampled only" in " ".join(
        (pages / "models.md").read_text().split()
    )
    assert "section 46" in SMOLLM2.cost
    assert "`study smollm2`, in part" in (pages / "log.md").read_text().partition("## 46.")[2]
