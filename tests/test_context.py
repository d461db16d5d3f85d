"""Conversations that are longer than the model's context are refused before the model reads them, and foretold."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from helpers import EchoTask, new_rl, tiny_chat, tiny_model
from ruleshift.commands.planning import _print
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.training.algorithms import configured
from ruleshift.training.plan import Forecast, forecast
from ruleshift.training.sft import train_sft

LONGEST = 13  # tokens of the expert's conversation about three ranks; its prompt has 7
SFT = SFTConfig(steps=1, examples=8, batch=8, micro_batch=8)
RL = RLConfig(updates=1, episodes=8, turns=1, max_new_tokens=1, minibatches=1, value_only=0, value_steps=1)
SHOWN = replace(RL, sft_coef=0.1)
TAUGHT = configured(DistilConfig(**vars(RL)), "opd", privileged_context="demonstration")
SAID = {
    "lessons": (
        SFT,
        r"of 13 tokens outgrows the model's context of 10 tokens: take another --style, .*longer context$",
    ),
    "demonstrations": (SHOWN, r"of 13 tokens outgrows the model's context of 10 tokens: leave --sft-coef and"),
    "teaching": (
        TAUGHT,
        r"of \d+ tokens outgrows the teacher's context of 10 tokens: take another --privileged-context",
    ),
    "episodes": (
        replace(RL, max_new_tokens=4),
        "outgrew the model's context of 10 tokens: take fewer turns",
    ),  # sampled
}


pytestmark = pytest.mark.usefixtures("on_one_thread")


def model_of(family: str, context: int) -> PreTrainedModel:
    """A model with learned places, or one that turns by them, that has room for so many tokens."""
    if family == "llama":
        return LlamaForCausalLM(
            LlamaConfig(**{**tiny_model(layers=1).config.to_dict(), "max_position_embeddings": context})
        )
    tokens = len(tiny_chat().tokenizer)
    return GPT2LMHeadModel(GPT2Config(vocab_size=tokens, n_embd=32, n_layer=1, n_head=2, n_positions=context))


def learn(model: PreTrainedModel, config: SFTConfig | RLConfig, path: Path) -> None:
    """One step of SFT, or one update."""
    if isinstance(config, RLConfig):
        new_rl(model, tiny_chat(), EchoTask(), "terse", config).update()
        return
    with RunFolder.open(path, config) as run:
        train_sft(model, tiny_chat(), EchoTask(), "terse", config, run)


def planned(context: int, config: SFTConfig | RLConfig) -> Forecast:
    with torch.device("meta"):
        model = model_of("gpt2", context)
    return forecast(model, tiny_chat(), EchoTask(), "terse", config)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", SAID)
def test_what_outgrows_the_context_is_refused(kind: str, family: str, tmp_path: Path) -> None:
    config, said = SAID[kind]
    with pytest.raises(RuleshiftError, match=f"^a conversation {said}"):
        learn(model_of(family, 10), config, tmp_path / "run")
    learn(model_of(family, 2 * LONGEST), config, tmp_path / "roomy")


@pytest.mark.parametrize("kind", ["lessons", "demonstrations", "teaching"])
def test_a_plan_says_it_too(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    config, said = SAID[kind]
    plan = planned(10, config)
    _print(plan, 0, "cpu", 1e9)
    assert f"context     {plan.outgrown}\n" in capsys.readouterr().out
    with pytest.raises(RuleshiftError, match=f"^a conversation {said}"):
        raise RuleshiftError(plan.outgrown)
    assert planned(2 * LONGEST, config).outgrown == ""
