"""The fused pass of plain Llama models gives what transformers gives, and leaves other models alone."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig

from engine_helpers import FAMILIES, LLAMA, RANDOM, reply_ids, routes, tiny_chat, tiny_model
from ruleshift.engines import local
from ruleshift.engines.forward import ModelForward, forward_of
from ruleshift.engines.llama import FusedLlama, can_fuse
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.window import Window
from ruleshift.revision import revise

SHAPES = {
    "one key head": {"num_key_value_heads": 1},
    "two key heads": {"num_key_value_heads": 2},
    "four key heads": {"num_key_value_heads": 4},
    "tied embeddings": {"tie_word_embeddings": True},
    "wide heads": {"head_dim": 24},
    "large epsilon": {"rms_norm_eps": 0.1},
    "one layer": {"num_hidden_layers": 1},
    "llama3 positions": {
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    },
    "yarn positions": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 4.0,
            "original_max_position_embeddings": 128,
        }
    },
}


pytestmark = pytest.mark.usefixtures("on_one_thread")


def shaped(name: str):
    """A model of this shape, with norms that do something."""
    model = tiny_model(LlamaConfig(**{**LLAMA.to_dict(), **SHAPES[name]}))
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if "RMSNorm" in type(module).__name__:
            nn.init.uniform_(module.weight, 0.3, 2.0, generator=generator)
    return model


@torch.inference_mode()
def logits_of(forward, pieces: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
    """Logits after each piece (ids, which of them are real), of the leading rows that it has."""
    window = Window.empty(forward.new_cache(len(pieces[0][0])), len(pieces[0][0]), torch.float32, torch.device("cpu"))
    found = []
    for ids, new in pieces:
        position, mask = window.extend(new)
        found.append(forward(ids, position, mask, window.cache))
        if len(found) == 3:
            window.keep(torch.tensor([2, 0, 3]))
    return found


def some_pieces() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Prompts with holes, single tokens of all rows and of leading ones, more of other rows, single tokens again."""
    generator = torch.Generator().manual_seed(0)
    pieces = []
    for rows, length in [(6, 9), (6, 1), (4, 1), (3, 1), (3, 4), (2, 1), (2, 300), (2, 1)]:
        ids = torch.randint(5, 140, (rows, length), generator=generator)
        new = torch.rand(rows, length, generator=generator) < (0.7 if length > 1 else 1.0)
        new[:, -1] = True
        pieces.append((ids, new))
    return pieces


@pytest.mark.parametrize("name", SHAPES)
def test_the_fused_pass_gives_the_logits_of_transformers(name):
    model = shaped(name)
    fused = forward_of(model)
    assert isinstance(fused, FusedLlama)
    for found, expected in zip(*(logits_of(f, some_pieces()) for f in (fused, ModelForward(model))), strict=True):
        assert expected.std() > 0.3
        torch.testing.assert_close(found, expected, atol=2e-5 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("name", ["two key heads", "tied embeddings"])
def test_conversations_are_those_of_the_general_path(monkeypatch, name):
    model, chat = shaped(name), tiny_chat(30)
    fused = revise(routes(24), LocalEngine(model, chat, RANDOM, 7), turns=3)
    monkeypatch.setattr(local, "forward_of", ModelForward)
    general = revise(routes(24), LocalEngine(model, chat, RANDOM, 7), turns=3)
    assert [reply_ids(episode) for episode in fused] == [reply_ids(episode) for episode in general]
    for a, b in zip(fused, general, strict=True):
        for turn_a, turn_b in zip(a.turns, b.turns, strict=True):
            assert turn_a.completion.logprobs == pytest.approx(turn_b.completion.logprobs, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_llamas_are_fused_and_nothing_else(family):
    assert can_fuse(tiny_model(FAMILIES[family])) == family.startswith("llama")


def biased(model) -> None:
    model.model.layers[1].mlp.down_proj.bias = nn.Parameter(torch.ones(32))


def adapted(model) -> None:
    class Adapted(nn.Linear):
        pass

    model.model.layers[0].self_attn.q_proj.__class__ = Adapted


@pytest.mark.parametrize(
    "change",
    [
        biased,
        adapted,
        lambda model: model.model.norm.register_forward_hook(lambda *arguments: None),
        lambda model: model.model.layers[0].register_forward_pre_hook(lambda *arguments: None),
        lambda model: setattr(model.lm_head, "forward", lambda x: x),
        lambda model: model.double(),
        lambda model: model.set_attn_implementation("eager"),
        lambda model: setattr(model.model.layers[0].mlp, "act_fn", nn.GELU()),
    ],
)
def test_a_model_with_anything_else_takes_the_general_path(change):
    model = tiny_model()
    assert can_fuse(model)
    change(model)
    assert not can_fuse(model)


def test_a_model_whose_hidden_states_were_asked_for_is_fused_still():
    model = tiny_model()
    model(torch.ones(1, 3, dtype=torch.long), output_hidden_states=True)
    assert model.model.layers[0]._forward_hooks  # which transformers keeps
    assert can_fuse(model)


def test_positions_that_depend_on_the_length_take_the_general_path():
    rope = {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}
    assert not can_fuse(tiny_model(LlamaConfig(**{**LLAMA.to_dict(), "rope_parameters": rope})))
