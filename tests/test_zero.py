"""DeepSpeed's ZeRO: the numbers of one process, whole checkpoints, and what is refused."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import torch

from helpers import one_thread, tiny_model
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.training import zero
from ruleshift.training.processes import Processes, start
from ruleshift.training.sharding import Shards
from several import CONFIGS, PPO, SFT, in_processes, run
from test_processes import check_same
from vision_helpers import BUILDERS

WAYS: dict[str, dict[str, Any]] = {
    "stage 1": {"stage": 1},
    "stage 2": {"stage": 2},
    "offloaded": {"stage": 2, "offload_optimizer": {"device": "cpu", "pin_memory": True}},
}
CASES = {
    "ppo": "offloaded",
    "ppo, one by one": "stage 2",
    "ppo, lora": "stage 2",
    "distillation from the expert": "stage 1",
    "ppo on pictures, the projector one by one": "stage 1",
    "sft": "offloaded",
    "sft, lora": "stage 1",
    "sft in passes of few tokens": "stage 2",
    "sft on pictures": "stage 1",
}
RESUMED = {"ppo, lora": 1, "sft": 3}  # stopped once so many steps are told of
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None or which("g++") is None, reason="needs the extra deepspeed, and g++"
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list]]:
    """What two processes come to in every case, and where; and in runs that one process began without DeepSpeed."""
    out = tmp_path_factory.mktemp("zero")
    jobs: dict = {name: (run, (name, out / name, None, False, WAYS[way])) for name, way in CASES.items()}
    with one_thread():
        for name, steps in RESUMED.items():
            one, two, way = out / f"{name}, begun by one", out / f"{name}, begun by two", WAYS[CASES[name]]
            run(name, one, steps=steps)
            jobs[one.name] = (run, (name, one, None, False, way))
            jobs[f"{two.name}, once more"] = (run, (name, out / f"{two.name}, once more", steps, False, way))
            jobs[two.name] = (run, (name, two, steps, False, way))
            jobs[f"{two.name}, resumed"] = (run, (name, out / f"{two.name}, once more", None, False, way))
    return out, in_processes(jobs, out)


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_come_to_the_numbers_of_one(name, found, tmp_path):
    here = run(name, tmp_path / "one")
    for there in found[1][name]:
        check_same(there, here)
        assert len(there["metrics"]) == len(here["metrics"])


@needs_deepspeed
@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_with_it_and_without_it(name, found, tmp_path):
    unbroken = run(name, tmp_path / "unbroken")
    begun = f"{name}, begun by two"
    without = run(name, found[0] / begun)
    for resumed in (found[1][f"{name}, begun by one"][0], found[1][f"{begun}, resumed"][0], without):
        check_same(resumed, unbroken)
        assert len(resumed["metrics"]) == 1  # the last step


@needs_deepspeed
@pytest.mark.slow
def test_a_launcher_says_how(tmp_path):
    """Of one process, whose moments stand on the CPU, by a file of DeepSpeed's own."""
    file = tmp_path / "zero.json"
    section = {"stage": 2, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": "auto"}
    file.write_text(json.dumps({"zero_optimization": section, "bf16": {"enabled": "auto"}}))
    told = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_CONFIG_FILE": str(file)}
    ways = {"alone": ({}, ()), "told": (told, ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"))}
    for name, (environment, launcher) in ways.items():
        words = [sys.executable, *launcher, "-m", "ruleshift", "sft", "gp-l", "--steps", "2", "--out", tmp_path / name]
        options = ["--batch", "2", "--micro-batch", "1", "--examples", "4"]
        done = subprocess.run(
            list(map(str, [*words, *options])),
            env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert ("deepspeed" in (done.stdout + done.stderr).lower()) == (name == "told")
    alone, together = (RunFolder(tmp_path / name).read_metrics() for name in ways)
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, rel=1e-4)


@pytest.fixture
def launched(monkeypatch):
    """As if a launcher had been asked for DeepSpeed, and that were installed."""
    for key, value in {"RANK": "0", "WORLD_SIZE": "2", "ACCELERATE_USE_DEEPSPEED": "true"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(zero, "find_spec", lambda name: True)
    return monkeypatch


def test_settings_are_those_of_the_launcher(launched, tmp_path):
    launched.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "1")
    launched.setenv("ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE", "cpu")
    told = zero.read_settings()
    assert told["stage"] == 1
    assert told["offload_optimizer"]["device"] == "cpu"
    assert told.keys() == {"stage", "offload_optimizer"}
    launched.setattr(zero, "which", lambda name: None)
    launched.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuleshiftError, match="install g\\+\\+, or launch without it"):
        zero.read_settings()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"zero_optimization": {"stage": 3}}, "stage 3 is not supported: .* --zero_stage 1 or 2; .* --shard"),
        ({"zero_optimization": {"stage": 0}}, "stage 0 is not supported"),
        ({"zero_optimization": {"stage": 2}, "optimizer": {"type": "Adam"}}, "leave optimizer out"),
        ({"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}}, "leave bf16 out .* give --bf16"),
        ({"zero_optimization": {"stage": 2}, "fp16": True}, "leave fp16 out"),
        ({"zero_optimization": {"stage": 2, "round_robin_gradients": True}}, "leave round_robin_gradients out"),
        ({"zero_optimization": {"stage": 1, "overlap_comm": True}}, "leave overlap_comm out"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nvme"}}}, "only moments .* to the CPU"),
        ({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}, "only moments"),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu", "ratio": 0.5}}},
            "leave ratio out of offload_optimizer",
        ),
        ({"zero_optimization": True}, "cannot be read"),
        ({"zero_optimization": {"stage": "most"}}, "cannot be read"),
        ({"train_batch_size": 4}, "cannot be read"),
        ("[", "cannot be read"),
    ],
)
def test_what_is_not_supported_is_refused(config, said, launched, tmp_path):
    file = tmp_path / "zero.json"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    launched.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(file))
    with pytest.raises(RuleshiftError, match=said):
        start()


def test_what_nobody_launched_or_what_is_missing_is_refused(launched):
    with pytest.raises(RuleshiftError, match="--shard divides what DeepSpeed would"):
        start(shard=True)
    launched.delenv("RANK")
    with pytest.raises(RuleshiftError, match="no launcher started this process: use accelerate launch --use_deepspeed"):
        start()
    launched.setattr(zero, "find_spec", lambda name: None)
    with pytest.raises(RuleshiftError, match="pip install 'ruleshift\\[deepspeed\\]'"):
        start()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(PPO, adam_8bit=True), "--adam-8bit is not for DeepSpeed: leave it out, or launch with --multi_gpu"),
        (replace(CONFIGS["the expert mixed in by noise"], value_steps=2), "--sft-mix noise is not for DeepSpeed"),
        (replace(PPO, value_steps=0), "--value-steps 0 is not for DeepSpeed: give --value-steps 50, or"),
    ],
)
def test_what_needs_whole_gradients_is_refused(config, said):
    with pytest.raises(RuleshiftError, match=said):
        Shards.of(tiny_model(layers=1), config, Processes(0, 2, zero={"stage": 1}))


def test_stage_2_is_not_for_what_only_pictures_pass_through():
    model, _ = BUILDERS["idefics3"]()
    with pytest.raises(RuleshiftError, match="--zero_stage 1, or learn --train-parts decoder alone"):
        Shards.of(model, SFT, Processes(0, 2, zero={"stage": 2}))
    for stage, config in ((1, SFT), (2, replace(SFT, train_parts=("decoder",))), (2, replace(SFT, lora_rank=2))):
        assert Shards.of(model, config, Processes(0, 2, zero={"stage": stage})).whole() is model


def test_a_model_learns_with_dropout_where_its_trainer_says_so():
    model = tiny_model(layers=1)
    passes = Shards.of(model.eval(), SFT, Processes(0, 2, zero={"stage": 1}), mean=True).root
    assert passes is not None
    assert passes.train()(lambda: model.training)
