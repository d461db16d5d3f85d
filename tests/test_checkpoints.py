"""Checkpoints of reinforcement learning that are of something else: refused by name, and the remedy works."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import EchoTask, new_rl, one_thread, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig
from ruleshift.training.checkpoints import load_learner
from ruleshift.training.rl import RL, train_rl

CONFIG = RLConfig(
    entropy_coef=0.01,  # by which the model moves where all episodes earn the same
    updates=2,
    episodes=8,
    turns=2,
    max_new_tokens=4,
    value_steps=2,
    warmup=0,
    value_only=0,
    minibatches=2,
    save_every=1,
)
Tensors = dict[str, torch.Tensor]


def new(config: RLConfig = CONFIG) -> RL:
    return new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), EchoTask(), "terse", config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "finished"
    with one_thread(), RunFolder.open(path, CONFIG) as run:
        train_rl(new(), run)
    return path


def renamed(tensors: Tensors) -> None:
    first = next(iter(tensors))
    tensors[f"other.{first}"] = tensors.pop(first)


def lost(tensors: Tensors) -> None:
    tensors.pop(next(iter(tensors)))


def more(tensors: Tensors) -> None:
    tensors["7000.exp_avg"] = torch.zeros(3)


def reshaped(tensors: Tensors) -> None:
    name = next(name for name, tensor in tensors.items() if tensor.dim())
    tensors[name] = torch.zeros(1, 2, 3)


def retyped(tensors: Tensors) -> None:
    first = next(iter(tensors))
    tensors[first] = tensors[first].double()


CHANGES: list[tuple[str, Callable[[Tensors], None]]] = [
    *((name, change) for name in ("policy", "value") for change in (renamed, lost, more, reshaped, retyped)),
    *(("optimizer", change) for change in (renamed, lost, more, reshaped)),
    *(("tokens", change) for change in (renamed, lost, reshaped, retyped)),
    *((name, Tensors.clear) for name in ("policy", "value", "tokens")),
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
def test_a_file_of_something_else_is_refused_and_the_remedy_leads_to_the_same_numbers(finished, tmp_path, name, change):
    run_path = tmp_path / "run"
    shutil.copytree(finished, run_path)
    last = run_path / "checkpoints" / "step-000002"
    file = last / f"{name}.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    rl = new()
    before = weights_of(rl.learner.model)
    with one_thread(), RunFolder.open(run_path, CONFIG) as run:
        with pytest.raises(RuleshiftError) as raised:
            train_rl(rl, run)
        message = str(raised.value)
        assert message.startswith(f"{file} is not of this run: it holds ")
        assert f"Delete the checkpoint folder {last}" in message
        assert "\n" not in message
        assert len(message) < 600
        assert same_weights(rl.learner.model, before) or name == "tokens"
        shutil.rmtree(last)
        train_rl(new(), run)
        assert run.metrics_path.read_bytes() == (finished / "metrics.jsonl").read_bytes()
        for part in ("policy", "value", "optimizer", "tokens"):
            whole = finished / "checkpoints" / "step-000002" / f"{part}.safetensors"
            assert (last / f"{part}.safetensors").read_bytes() == whole.read_bytes()


def test_a_checkpoint_of_a_model_of_another_size_is_refused(finished):
    other = new_rl(tiny_model(layers=2), tiny_chat(), EchoTask(), "terse", CONFIG)
    with pytest.raises(RuleshiftError, match=r"policy\.safetensors is not of this run.*missing"):
        load_learner(finished / "checkpoints" / "step-000002", other.learner)
    adapters = new(replace(CONFIG, lora_rank=2))
    with pytest.raises(RuleshiftError, match="is not of this run"):
        load_learner(finished / "checkpoints" / "step-000002", adapters.learner)


def test_an_untouched_checkpoint_is_taken(finished):
    rl = new()
    load_learner(finished / "checkpoints" / "step-000002", rl.learner)
    assert rl.learner.account.tokens.trained > 0
    assert not same_weights(rl.learner.model, weights_of(new().learner.model))
