"""On a GPU, where there is one: sampling, every algorithm and SFT give the numbers of a CPU, and commands run there."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

import family_helpers
from helpers import EchoTask, new_rl, tiny_chat, tiny_model
from ruleshift.backbones.load import load_backbone
from ruleshift.chat import Chat
from ruleshift.cli import main
from ruleshift.engines.llama import can_fuse
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.revision import revise
from ruleshift.runs import RunFolder
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task
from ruleshift.training.algorithms import ALGORITHMS, DISTILLATIONS, configured
from ruleshift.training.sft import train_sft
from ruleshift.training.train import train
from vision_helpers import BUILDERS, LookTask

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

RL_CONFIG = RLConfig(
    updates=2,
    episodes=16,
    turns=3,
    max_new_tokens=5,
    learning_rate=1e-3,
    schedule="constant",
    warmup=0,
    value_only=0,
    value_steps=3,
    minibatches=2,
    kl_coef=0.1,
    target_kl=None,
    save_every=1,
)
SFT_CONFIG = SFTConfig(steps=2, examples=16, batch=8, micro_batch=4, learning_rate=1e-3, save_every=1)
TOLD = ("success", "reply_tokens", "policy_loss", "kl_to_start", "entropy", "grad_norm", "value_loss", "sft_loss")


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Products of float32 as precise as on a CPU."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def both(model: PreTrainedModel) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The model on the CPU and on the GPU."""
    return model, deepcopy(model).to("cuda")  # type: ignore[arg-type]


def said(
    model: PreTrainedModel, chat: Chat, task: Task, temperature: float
) -> list[tuple[tuple[int, ...], list[float]]]:
    """Reply tokens of each conversation, and their log-probs."""
    engine = LocalEngine(model, chat, Sampling(temperature, 8, seed=3))
    episodes = revise([task.problem("train", 0, i, "terse") for i in range(12)], engine, 3)
    replies = [[turn.completion for turn in episode.turns] for episode in episodes]
    return [
        (tuple(token for one in of for token in one.token_ids), [drawn for one in of for drawn in one.logprobs])
        for of in replies
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", ["tiny", "bundled", *family_helpers.FAMILIES, *BUILDERS])
def test_the_same_is_sampled(name: str, temperature: float) -> None:
    task: Task = EchoTask()
    if name == "bundled":
        found = load_backbone("bundled", "cpu")
        model, chat, task = found.model, found.chat, get_task("gp-l")
    elif name == "tiny":
        model, chat = tiny_model(spread=0.3), tiny_chat()
    elif name in BUILDERS:
        (model, chat), task = BUILDERS[name](), LookTask()
    else:
        model, chat = family_helpers.build(name)
    here, there = both(model)
    assert can_fuse(here) == can_fuse(there)
    replies, others = (said(one, chat, task, temperature) for one in (here, there))
    same = [one[0] == other[0] for one, other in zip(replies, others, strict=True)]
    # Where a draw falls on the border of two tokens, rounding decides which it is, and what is said after it.
    assert sum(same) >= (len(same) if temperature == 0 else 0.9 * len(same))
    for (ids, expected), (other_ids, logprobs) in zip(replies, others, strict=True):
        if ids == other_ids:
            assert logprobs == pytest.approx(expected, abs=2e-4)


VARIANTS: dict[str, dict[str, object]] = {
    "adapters": {"lora_rank": 4},
    "again": {"gradient_checkpointing": True},
    "far": {"reference": "cpu"},
    "file": {"reference": "disk"},
    "corrected": {"importance_sampling_cap": 2.0},
    "mixed": {"sft_coef": 0.5},
    "noise": {"sft_mix": "noise"},
    "resampled": {"resample": 1, "group": 4},
}


def updates(model: PreTrainedModel, chat: Chat, task: Task, config: RLConfig) -> list[dict[str, float]]:
    rl = new_rl(model, chat, task, "terse", config)
    return [rl.update() for _ in range(config.updates)]


def check_updates(model: PreTrainedModel, chat: Chat, task: Task, config: RLConfig) -> None:
    ours, theirs = (updates(m, chat, task, config) for m in both(model))
    for here, there in zip(ours, theirs, strict=True):
        assert set(here) == set(there)
        for name in set(TOLD) & set(here):
            assert there[name] == pytest.approx(here[name], rel=2e-3, abs=2e-4), name


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms_learn_the_same(name: str) -> None:
    check_updates(tiny_model(layers=1, spread=0.3), tiny_chat(), EchoTask(), configured(RL_CONFIG, name))


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_teachers_teach_the_same(name: str) -> None:
    base = DistilConfig(**{f: getattr(RL_CONFIG, f) for f in RL_CONFIG.__dataclass_fields__})
    config = configured(base, name)
    assert isinstance(config, DistilConfig)
    if config.teacher == "self" and config.privileged_context == "none":
        config = replace(config, privileged_context="demonstration")
    check_updates(tiny_model(layers=1, spread=0.3), tiny_chat(), EchoTask(), config)


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_do_the_same(variant: str) -> None:
    config = replace(RL_CONFIG, **VARIANTS[variant])  # type: ignore[arg-type]
    check_updates(tiny_model(layers=1, spread=0.3), tiny_chat(), EchoTask(), config)


@pytest.mark.parametrize("family", BUILDERS)
def test_pictures_teach_the_same(family: str) -> None:
    model, chat = BUILDERS[family]()
    check_updates(model, chat, LookTask(), replace(RL_CONFIG, turns=2))


@pytest.mark.parametrize("changes", [{"bf16": True}, {"rollout_dtype": "bfloat16", "importance_sampling_cap": 2.0}])
def test_half_precision_learns(changes: dict[str, object]) -> None:
    model = tiny_model(layers=1, spread=0.3).to("cuda")  # type: ignore[arg-type]
    for metrics in updates(model, tiny_chat(), EchoTask(), replace(RL_CONFIG, **changes)):  # type: ignore[arg-type]
        assert metrics["mismatch_max"] < 0.2


@pytest.mark.parametrize(
    "changes", [{}, {"loss": "psft", "loss_lag": 1}, {"loss": "talr"}, {"loss": "dft"}, {"lora_rank": 4}]
)
@pytest.mark.parametrize("sees", [False, True])
def test_sft_learns_the_same(tmp_path: Path, changes: dict[str, object], sees: bool) -> None:
    model, chat = BUILDERS["idefics3"]() if sees else (tiny_model(layers=1, spread=0.3), tiny_chat())
    task: Task = LookTask() if sees else EchoTask()
    config, lines = replace(SFT_CONFIG, **changes), []  # type: ignore[arg-type]
    for place, one in zip(("here", "there"), both(model), strict=True):
        with RunFolder.open(tmp_path / place, config) as run:
            train_sft(one, chat, task, "terse", config, run)
            lines.append([row for row in run.read_metrics() if "loss" in row])
    for here, there in zip(*lines, strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=2e-3)
        assert there["grad_norm"] == pytest.approx(here["grad_norm"], rel=5e-3)


@pytest.mark.parametrize("config", [RL_CONFIG, replace(RL_CONFIG, lora_rank=4), SFT_CONFIG])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, config: RLConfig | SFTConfig) -> None:
    def stop(step: int, metrics: dict[str, float]) -> None:
        if step == 1:
            raise RuleshiftError("stopped")

    def trained(
        folder: Path, progress: Callable[[int, dict[str, float]], None] | None = None
    ) -> list[dict[str, float]]:
        model = tiny_model(layers=1, spread=0.3).to("cuda")  # type: ignore[arg-type]
        with RunFolder.open(folder, config) as run:
            train(config, model, tiny_chat(), EchoTask(), "terse", run, progress=progress)
            return list(run.read_metrics())

    whole = trained(tmp_path / "whole")
    with pytest.raises(RuleshiftError, match="stopped"):
        trained(tmp_path / "parts", stop)
    for here, there in zip(trained(tmp_path / "parts"), whole, strict=True):
        for name in set(TOLD) & set(here):
            assert here[name] == pytest.approx(there[name], rel=2e-3, abs=2e-4), name


@pytest.mark.parametrize("task", ["gp-l", "virl-vl"])
def test_commands_train_and_measure(task: str, tmp_path: Path) -> None:
    few = ["--episodes", "8", "--turns", "2", "--save-every", "1", "--minibatches", "2", "--value-only", "0"]
    main(["rl", task, "--updates", "2", *few, "--out", str(tmp_path / "rl")])
    few = ["--steps", "2", "--examples", "8", "--batch", "4", "--micro-batch", "4"]
    main(["sft", task, *few, "--out", str(tmp_path / "sft")])
    for way in ("rl", "sft"):
        out = tmp_path / f"{way}.json"
        main(["eval", task, "--model", str(tmp_path / way / "model"), "--n", "4", "--split", "id", "--json", str(out)])
        assert json.loads(out.read_text())


@pytest.mark.slow
def test_a_study_runs(tmp_path: Path) -> None:
    few = ["rl.updates=2", "rl.episodes=16", "sft.steps=4", "sft.examples=64", "measurement.decodings=sampled"]
    few = [word for setting in few for word in ("--set", setting)]
    few += ["--n", "8", "--points", "1", "--further", "0", "--splits", "id", "rule-ood", "--workers", "2"]
    main(["study", "headline", "--quick", "--tasks", "gp-l", *few, "--out", str(tmp_path)])
    assert (tmp_path / "gp-l" / "results.json").is_file()
