"""Adapters are merged into a copy to sample from: the same numbers as apart, and the weights that learn stay as they
are."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from engine_helpers import GREEDY, RANDOM, puzzles, reply_ids
from family_helpers import FAMILIES, build, problems
from helpers import Bandit, new_rl, tiny_chat, tiny_model
from ruleshift.backbones.lora import adapted_layers, add_lora, without_lora
from ruleshift.backbones.sampler import sampler_of
from ruleshift.engines.forward import ModelForward, forward_of
from ruleshift.engines.llama import FusedLlama
from ruleshift.engines.local import LocalEngine
from ruleshift.revision import revise
from ruleshift.settings import RLConfig
from ruleshift.training.trajectories import Trajectory, forward
from vision_helpers import BUILDERS, shows

pytestmark = pytest.mark.usefixtures("on_one_thread")


def adapt(model) -> None:
    """Adapters that do something."""
    add_lora(model, 4, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(weight, std=0.1, generator=generator)


def assert_sampled_as_trained(model, chat, asked, sampling) -> None:
    """What the merged copy says of its replies is what the model says, adapters apart; and not what it would say
    without them."""
    assert adapted_layers(model)
    assert not adapted_layers(sampler_of(model))
    episodes = revise(asked, LocalEngine(model, chat, sampling), turns=2)
    trajectories = [Trajectory.of(episode) for episode in episodes]
    drawn = torch.tensor([p for t in trajectories for p in t.old_logprobs])
    apart = forward(model, trajectories, chat.eye).logprobs.detach()
    torch.testing.assert_close(drawn, apart, atol=1e-4, rtol=0)
    with without_lora(model):
        assert float((forward(model, trajectories, chat.eye).logprobs - drawn).abs().max()) > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_adapters_give_the_numbers_of_those_apart(family):
    model, chat = build(family)
    adapt(model)
    assert isinstance(forward_of(model), FusedLlama if FAMILIES[family].fused else ModelForward)
    assert_sampled_as_trained(model, chat, problems(2), replace(RANDOM, max_new_tokens=6))


@pytest.mark.parametrize("family", BUILDERS)
def test_and_so_they_do_in_models_that_see(family):
    model, chat = BUILDERS[family]()
    adapt(model)
    assert_sampled_as_trained(model, chat, shows(2), replace(RANDOM, max_new_tokens=6))


def test_the_copy_shares_what_is_the_same_and_leaves_the_model_as_it_was():
    model, _ = build("qwen2.5")
    assert sampler_of(model) is model
    adapt(model)
    model.train()
    before = {name: (weight, weight.clone(), weight.requires_grad) for name, weight in model.named_parameters()}
    copy = sampler_of(model)
    assert model.training
    assert not copy.training
    assert copy.get_input_embeddings().weight is model.get_input_embeddings().weight
    assert copy.get_output_embeddings().weight is copy.get_input_embeddings().weight  # tied, as they were
    own = {weight.data_ptr() for weight in model.parameters()}
    merged = [module for name, module in copy.named_modules() if name in dict(adapted_layers(model))]
    assert merged
    assert all(type(module) is nn.Linear and module.weight.data_ptr() not in own for module in merged)
    assert not any(module.weight.requires_grad for module in merged)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    for name, (weight, values, learns) in before.items():
        assert after[name] is weight
        assert torch.equal(weight, values)
        assert weight.requires_grad == learns
    with without_lora(model):
        assert all(
            torch.equal(copied.weight, layer.base_layer.weight)
            for copied, (_, layer) in zip(_linears(sampler_of(model), model), adapted_layers(model), strict=True)
        )


def _linears(copy, model) -> list[nn.Linear]:
    return [copy.get_submodule(name) for name, _ in adapted_layers(model)]


def test_nothing_drifts_over_many_updates():
    """The base is the same to the last bit after updates that sample in between, and each samples from what has
    learned."""
    config = RLConfig(
        episodes=8, updates=6, turns=1, max_new_tokens=3, lora_rank=2, warmup=0, value_only=0, learning_rate=0.05
    )
    model = tiny_model(spread=0.3)
    base = {id(weight): weight.clone() for weight in model.parameters()}
    rl = new_rl(model, tiny_chat(), Bandit(), "terse", config)
    metrics = [rl.update() for _ in range(config.updates)]
    assert all(torch.equal(weight, base[id(weight)]) for weight in model.parameters() if id(weight) in base)
    assert len(base) == sum(id(weight) in base for weight in model.parameters())
    assert max(update["mismatch_max"] for update in metrics) < 1e-4
    assert metrics[-1]["kl_to_start"] > 1e-3  # it has moved


@pytest.mark.parametrize("family", ["llama", "gemma 3"])
def test_beside_weights_of_less_precision_adapters_stay_apart(family):
    """A merged weight is rounded back to where it was where less than half a step is added to it."""
    model, chat = build(family)
    model = model.to(torch.bfloat16)
    adapt(model)
    assert sampler_of(model) is model
    layer = adapted_layers(model)[0][1]
    assert layer.base_layer.weight.dtype == torch.bfloat16
    assert layer.lora_A.default.weight.dtype == torch.float32
    revise(problems(1), LocalEngine(model, chat, replace(GREEDY, max_new_tokens=2)), turns=1)
    small = 1e-4 * layer.base_layer.weight
    assert torch.equal((layer.base_layer.weight.float() + small.float()).bfloat16(), layer.base_layer.weight)


# ---------------------------------------------------------------- in another precision


@pytest.mark.parametrize("lora", [False, True])
def test_a_sampler_in_bfloat16_is_the_model_rounded(lora):
    model, chat = build("llama")
    if lora:
        adapt(model)
    sampling = replace(RANDOM, max_new_tokens=4)
    rounded = sampler_of(model, torch.bfloat16)
    assert {weight.dtype for weight in rounded.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert rounded.model.rotary_emb.inv_freq.dtype == torch.float32
    exact = dict(sampler_of(model).named_parameters())
    assert all(torch.equal(weight, exact[name].bfloat16()) for name, weight in rounded.named_parameters())
    here = revise(puzzles(2), LocalEngine(model, chat, sampling, dtype=torch.bfloat16), turns=2)
    there = revise(puzzles(2), LocalEngine(rounded, chat, sampling), turns=2)
    assert [reply_ids(e) for e in here] == [reply_ids(e) for e in there]
    same = LocalEngine(model, chat, sampling, dtype=torch.float32)
    assert same.open([]).model is model


def test_pictures_are_looked_at_in_that_precision_too():
    for family in ("idefics3", "qwen3_vl", "mllama"):
        model, chat = BUILDERS[family]()
        engine = LocalEngine(model, chat, replace(RANDOM, max_new_tokens=3), dtype=torch.bfloat16)
        assert len(revise(shows(2), engine, turns=3)) == 2
        assert model.dtype == torch.float32
