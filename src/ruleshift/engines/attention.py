"""Attention for decoding on a CPU: one query per row against a long cache.

PyTorch's CPU kernel for a single masked query is bound by its own overhead, and some versions of transformers repeat
the keys and values of grouped-query models for it. Two batched matrix products over the key-value heads read the cache
once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "ruleshift_decode"


def decode_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """softmax(q k^T * scaling + mask) v for one query per row; PyTorch's own kernel for anything else.

    query (B, H, 1, D), key and value (B, G, L, D) with H a multiple of G, mask (B, 1, 1, L), additive.
    """
    plain = not {"softcap", "position_bias", "sliding_window"} & {k for k, v in kwargs.items() if v is not None}
    if query.shape[2] != 1 or not plain or scaling is None or attention_mask is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)  # type: ignore[arg-type]
    batch, heads, _, width = query.shape
    groups = key.shape[1]
    grouped = query.view(batch, groups, heads // groups, width) * scaling
    scores = torch.matmul(grouped, key.transpose(-1, -2)).add_(attention_mask)  # (B, G, H/G, L)
    mixed = torch.matmul(scores.softmax(dim=-1), value)  # (B, G, H/G, D)
    return mixed.view(batch, 1, heads, -1), None


AttentionInterface.register(NAME, decode_attention)


@contextmanager
def fast_decoding(model: PreTrainedModel) -> Iterator[None]:
    """Use `decode_attention` inside, where it helps: on a CPU, for models that use PyTorch's attention."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if model.device.type != "cpu" or before != "sdpa":
        yield
        return
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
