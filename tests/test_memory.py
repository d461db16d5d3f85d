"""Memory and precision of training: logits of a few places at once, passes that compute again, what plans foretell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    PreTrainedModel,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import ruleshift.backbones.head as head
from cli_helpers import refusal, save_tiny_model
from helpers import EchoTask, new_rl, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.backbones.head import check_head, last_states, logits_later, logits_of
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.training.footprint import Footprint, weightless
from ruleshift.training.optimizers import fits
from ruleshift.training.parts import StartCopy
from ruleshift.training.plan import forecast
from ruleshift.training.sft import train_sft
from ruleshift.training.trainer import Trainer
from ruleshift.training.trajectories import PassResult, Thrift, Trajectory, forward

SMALL = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": LlamaConfig(**SMALL, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SMALL, tie_word_embeddings=False),
    "gemma2": Gemma2Config(**SMALL, final_logit_softcapping=3.0, sliding_window=4),
    "gemma3": Gemma3TextConfig(**SMALL, sliding_window=4),
    "cohere": CohereConfig(**SMALL, logit_scale=0.25),
    "granite": GraniteConfig(**SMALL, logits_scaling=4.0),
}
RL = RLConfig(updates=1, episodes=4, minibatches=1, max_new_tokens=5, turns=2, value_only=0, value_steps=2, warmup=0)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def of_family(name: str, **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(type(FAMILIES[name])(**{**FAMILIES[name].to_dict(), **changes})).eval()


def talk(length: int, seed: int = 0) -> Trajectory:
    """Random tokens, of which the last half are two replies."""
    ids = torch.randint(1, 90, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    places = tuple(range(length // 2, length))
    turn = tuple(int(place >= 3 * length // 4) for place in places)
    return Trajectory(tuple(ids), places, turn, (-1.0,) * len(places), (places[0] - 1, 3 * length // 4 - 1), (0.0, 1.0))


GROUP = [talk(24), talk(17, seed=1)]


def gradients(model: PreTrainedModel, read: Callable[[], PassResult]) -> tuple[PassResult, dict[str, torch.Tensor]]:
    model.zero_grad()
    result = read()
    weights = torch.linspace(-1, 1, len(result.logprobs))  # tokens do not matter alike
    loss = (weights * result.logprobs).sum() + result.states.sum()
    (loss + (weights * result.entropy).sum() if result.entropy.requires_grad else loss).backward()
    return result, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-5, rtol=1e-4)


# Logits for some places


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_of_last_states_are_those_of_the_model(name):
    model = of_family(name)
    ids = torch.tensor([GROUP[0].ids])
    with torch.no_grad():
        expected = model(input_ids=ids).logits
        torch.testing.assert_close(logits_of(model, last_states(model, ids)), expected, atol=1e-5, rtol=1e-5)
    check_head(model)
    assert not model.get_decoder()._forward_hooks
    with torch.no_grad():
        states, logits = last_states(model, ids), logits_later(model)
        model.get_output_embeddings().weight.data = torch.zeros_like(model.get_output_embeddings().weight)
        torch.testing.assert_close(logits(states), expected, atol=1e-5, rtol=1e-5)


def test_a_model_that_does_more_to_its_logits_is_refused(monkeypatch):
    model = of_family("gemma2")
    monkeypatch.setattr(head, "logits_of", lambda model, states: model.get_output_embeddings()(states).float())
    with pytest.raises(RuleshiftError, match="Gemma2ForCausalLM changes its logits"):
        check_head(model)


@pytest.mark.parametrize("entropy_learns", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_chunks_change_nothing(name, entropy_learns, monkeypatch):
    model = of_family(name)
    whole, expected = gradients(model, lambda: forward(model, GROUP, None, None, 0.7, entropy_learns))
    monkeypatch.setattr(head, "AT_ONCE", 3 * 96)
    found, again = gradients(model, lambda: forward(model, GROUP, None, None, 0.7, entropy_learns))
    assert len(head.chunks(model, len(found.logprobs))) > 5
    torch.testing.assert_close(found.logprobs, whole.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.entropy, whole.entropy, atol=1e-5, rtol=0)
    assert found.entropy.requires_grad == entropy_learns
    close(again, expected)


def peak(model: PreTrainedModel, group: list[Trajectory], thrift: Thrift) -> Footprint:
    """Of a forward and a backward pass on real tensors."""
    with Footprint(model.get_output_embeddings().weight.shape) as footprint:
        forward(model, group, thrift=thrift).logprobs.sum().backward()
    model.zero_grad()
    return footprint


def test_logits_never_fill_the_memory(monkeypatch):
    places, words = sum(len(t.positions) for t in GROUP), 5_000
    model = of_family("llama", vocab_size=words)
    monkeypatch.setattr(head, "AT_ONCE", 2 * words)
    together = 4 * words * 2
    # Of one chunk: logits, their log-softmax, its exponential and product, and in the backward pass gradients.
    assert peak(model, GROUP, Thrift()).most["logits"] <= 6 * together
    monkeypatch.setattr(head, "AT_ONCE", 10**9)
    assert peak(model, GROUP, Thrift()).most["logits"] > 2 * 4 * words * places  # control: all at once


# Passes that compute again, and passes in bfloat16


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_gradient_checkpointing_changes_memory_and_nothing_else(name):
    model = of_family(name, attention_dropout=0.5)  # is to stay off
    whole, expected = gradients(model, lambda: forward(model, GROUP))
    found, again = gradients(model, lambda: forward(model, GROUP, thrift=Thrift(recompute=True)))
    torch.testing.assert_close(found.logprobs, whole.logprobs, atol=1e-6, rtol=0)
    close(again, expected)
    assert not any(module.training or getattr(module, "gradient_checkpointing", False) for module in model.modules())
    deep = of_family(name, num_hidden_layers=6, **({"layer_types": None} if name == "gemma3" else {}))
    kept = [peak(deep, [talk(200)], Thrift(recompute=again)).most["activations"] for again in (False, True)]
    assert kept[1] < 0.6 * kept[0]


def test_bf16_rounds_products_and_keeps_gradients_in_float32():
    model = of_family("llama")
    whole, expected = gradients(model, lambda: forward(model, GROUP))
    found, again = gradients(model, lambda: forward(model, GROUP, thrift=Thrift(bf16=True)))
    apart = (found.logprobs - whole.logprobs).abs().max()
    assert 1e-4 < apart < 0.3
    assert {gradient.dtype for gradient in again.values()} == {torch.float32}
    cosine = [torch.cosine_similarity(again[n].flatten(), expected[n].flatten(), dim=0) for n in expected]
    assert min(cosine) > 0.99


@pytest.mark.parametrize("changes", [{"gradient_checkpointing": True}, {"reference": "cpu"}, {"reference": "disk"}])
def test_what_saves_memory_does_not_change_the_update(changes):
    runs = []
    for config in (RL, replace(RL, **changes)):
        rl = new_rl(tiny_model(spread=0.3, layers=1), tiny_chat(), EchoTask(), "terse", config)
        runs.append((rl.update(), weights_of(rl.learner.model)))
    (expected, weights), (found, others) = runs
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)
    close(others, weights)


@pytest.mark.parametrize("place", ["device", "cpu", "disk"])
def test_the_start_can_be_put_back(place):
    model = tiny_model(layers=1)
    first, start = weights_of(model), StartCopy(model, place)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    second = weights_of(model)
    for _ in range(2):
        with start.in_place():
            assert same_weights(model, first)
        assert same_weights(model, second)


def test_moments_in_8_bits_have_shapes_of_their_own():
    weight = torch.zeros(30, 200)  # 6,000 weights in 24 blocks
    state = {"step": 3, "state1": torch.zeros(30, 200), "absmax1": torch.zeros(24), "qmap1": torch.zeros(256)}
    assert fits(weight, state)
    for wrong in ({"absmax1": torch.zeros(23)}, {"qmap1": torch.zeros(255)}, {"state1": torch.zeros(200, 30)}):
        assert not fits(weight, {**state, **wrong})


# SFT


@pytest.mark.parametrize("loss", ["nll", "talr"])
def test_passes_of_sft_hold_few_tokens(loss, tmp_path, monkeypatch):
    seen: list[int] = []
    whole = Trainer.compute_loss

    def counted(self, model, inputs, *arguments, **more):
        seen.append(inputs["input_ids"].numel())
        return whole(self, model, inputs, *arguments, **more)

    monkeypatch.setattr(Trainer, "compute_loss", counted)
    found = []
    for number, limit in enumerate((10_000, 30)):
        model = tiny_model(layers=1)
        config = SFTConfig(loss=loss, steps=2, examples=8, batch=8, micro_batch=8, learning_rate=1e-2, max_tokens=limit)
        with RunFolder.open(tmp_path / str(number), config) as run:
            train_sft(model, tiny_chat(), EchoTask(), "terse", config, run)
        found.append(weights_of(model))
    assert min(seen[:2]) > 60  # a pass a step
    assert len(seen) == 2 + 2 * 3  # of three conversations, three and two
    assert max(seen[2:]) <= 30
    close(found[1], found[0])


# Where memory runs out: see test_room.py


def test_an_update_that_finds_no_memory_says_so(monkeypatch):
    rl = new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", RL)
    monkeypatch.setattr("ruleshift.training.learner.forward", lambda *_, **__: torch.empty(2**60))
    with pytest.raises(RuleshiftError, match="give --max-tokens 1500"):
        rl.update()


# Plans


def on_meta(make: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    with torch.device("meta"):
        return make()


@pytest.mark.parametrize("recompute", [False, True])
def test_tensors_without_numbers_take_what_real_ones_take(recompute):
    real = peak(of_family("gemma3"), GROUP, Thrift(recompute=recompute))
    model = on_meta(lambda: of_family("gemma3"))
    with FakeTensorMode(allow_non_fake_inputs=True):
        weightless(model.eval(), torch.device("cpu"))
        planned = peak(model, GROUP, Thrift(recompute=recompute))
    assert sum(planned.peak.values()) == pytest.approx(sum(real.peak.values()), rel=0.02)


def test_a_plan_tells_what_each_option_saves():
    plans = {}
    for name, changes in {
        "full": {},
        "spare": {"gradient_checkpointing": True, "reference": "disk", "adam_8bit": True},
        "lora": {"lora_rank": 2},
    }.items():
        model = on_meta(lambda: tiny_model(width=64))
        config = replace(RL, episodes=8, max_new_tokens=12, **changes)
        plans[name] = forecast(model, tiny_chat(), EchoTask(), "terse", config)
    (sampling, full, step) = plans["full"].phases
    size = sum(p.nbytes for p in tiny_model(width=64).parameters())
    assert full.parts["reference"] == full.parts["gradients"] == step.parts["gradients"] == size
    assert size <= full.parts["weights"] < 1.2 * size  # with the value head
    assert sampling.parts["cache"] > 0 == full.parts["cache"]
    learning = {name: plan.phases[1].parts for name, plan in plans.items()}
    assert learning["spare"]["activations"] < 0.8 * learning["full"]["activations"]
    assert learning["spare"]["reference"] == learning["lora"]["reference"] == 0
    assert 3 < learning["full"]["optimiser"] / learning["spare"]["optimiser"] <= 4
    assert learning["lora"]["gradients"] < 0.3 * size
    assert plans["lora"].learning < plans["full"].learning == plans["full"].parameters
    # Three passes over 8 conversations that read, one that learns, as `accounting` has it.
    tokens, n = plans["full"].tokens, plans["full"].parameters
    assert tokens.forward == pytest.approx(3 * tokens.trained, abs=3)
    assert plans["full"].flops == 6 * n * tokens.trained + 2 * n * tokens.forward


@pytest.mark.parametrize("verb", ["rl", "sft"])
def test_plan_trains_nothing(verb, tmp_path, capsys):
    model = save_tiny_model(tmp_path / "model")
    out = tmp_path / "run"
    assert main([verb, "gp-l", "--model", str(model), "--out", str(out), "--plan", "h100"]) == 0
    said = capsys.readouterr().out
    assert not out.exists()
    for word in ("parameters", "tokens", "FLOPs", "weights", "optimiser", "learning", "fits into the 80 GB of h100"):
        assert word in said
    assert ("sampling" in said) == (verb == "rl")
    assert "give --out FOLDER" in refusal(capsys, verb, "gp-l", "--model", model)


def test_8_bits_without_the_library_name_it(tmp_path, capsys, monkeypatch):
    model = save_tiny_model(tmp_path / "model")
    monkeypatch.setattr("ruleshift.training.optimizers.find_spec", lambda name: None)
    for verb in ("rl", "sft"):
        said = refusal(capsys, verb, "gp-l", "--model", model, "--out", tmp_path / verb, "--adam-8bit")
        assert "pip install 'ruleshift[adam-8bit]'" in said


def test_the_file_of_a_start_goes_with_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    start = StartCopy(tiny_model(layers=1), "disk")
    assert len(list(tmp_path.iterdir())) == 1
    del start
    assert not list(tmp_path.iterdir())
