"""Attention of the engine's own, for models that use PyTorch's."""

from types import SimpleNamespace

import pytest
import torch

from engine_helpers import tiny_model
from ruleshift.engines.attention import NAME, decode_attention, fast_decoding


def random_attention(groups: int, queries: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(groups)
    query = torch.randn(5, 4, queries, 8, generator=generator)
    key, value = (torch.randn(5, groups, 13, 8, generator=generator) for _ in range(2))
    allowed = torch.rand(5, 1, queries, 13, generator=generator) < 0.6
    allowed[..., 0] = True
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return query, key, value, mask


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("queries", [1, 3])
def test_decode_attention_is_pytorch_attention(groups, queries):
    query, key, value, mask = random_attention(groups, queries)
    module = SimpleNamespace(num_key_value_groups=4 // groups, is_causal=True)
    mixed, _ = decode_attention(module, query, key, value, mask, scaling=0.3)
    key, value = (part.repeat_interleave(4 // groups, dim=1) for part in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3)
    torch.testing.assert_close(mixed, expected.transpose(1, 2), atol=1e-6, rtol=1e-5)


def test_decode_attention_reads_neither_masked_keys_nor_masked_values():
    query, key, value, mask = random_attention(2)
    module = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    before, _ = decode_attention(module, query, key, value, mask, scaling=0.3)
    hidden = (mask < 0)[:, :, 0, :, None]  # (B, 1, L, 1)
    after, _ = decode_attention(module, query, key + 9 * hidden, value - 9 * hidden, mask, scaling=0.3)
    torch.testing.assert_close(after, before, atol=0, rtol=0)


def test_fast_decoding_is_taken_back_even_after_an_error():
    model = tiny_model()

    def fail() -> None:
        with fast_decoding(model):
            assert model.config._attn_implementation == NAME
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.config._attn_implementation == "sdpa"


def test_fast_decoding_leaves_other_attention_alone():
    model = tiny_model()
    model.set_attn_implementation("eager")
    with fast_decoding(model):
        assert model.config._attn_implementation == "eager"
