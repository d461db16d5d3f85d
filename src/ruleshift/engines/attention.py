"""Attention for decoding on a CPU: one query per row against a long cache; and masks of layers that look back so far
only.

PyTorch's CPU kernel for a single masked query is bound by its own overhead, and some versions of transformers repeat
the keys and values of grouped-query models for it. Two batched matrix products over the key-value heads read the cache
once.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ruleshift.errors import RuleshiftError

NAME = "ruleshift_decode"
FULL, SLIDING = "full_attention", "sliding_attention"


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

    query (B, H, 1, D), key and value (B, G, L, D) with H a multiple of G, mask (B, 1, 1, L), additive; a sliding window
    is in the mask (see `layer_masks`).
    """
    plain = not {"softcap", "position_bias"} & {k for k, v in kwargs.items() if v is not None}
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


def layer_masks(decoder: PreTrainedModel, mask: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
    """What `decoder` takes as attention mask where `mask` (B, 1, T, L), additive, hides what is unused or to come: the
    mask itself, the one of its sliding window where all layers have one, or both by the kind of layer.

    transformers takes a mask of four dimensions as it is, for every layer: windows are up to who gives it. Raises
    RuleshiftError for layers of other kinds, whose state no cache of ours holds.
    """
    config = decoder.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {FULL, SLIDING}:
        raise RuleshiftError(
            f"{type(decoder).__name__} has layers of the kind {min(kinds - {FULL, SLIDING})}, which cannot be sampled "
            "from here: choose a model whose layers attend fully or in sliding windows"
        )
    if SLIDING in kinds:
        return {FULL: mask, SLIDING: within(mask, config.sliding_window)}
    windowed = not kinds and "create_sliding_window_causal_mask" in vars(sys.modules[type(decoder).__module__])
    window = getattr(config, "sliding_window", None) if windowed else None
    return mask if window is None else within(mask, window)


def within(mask: torch.Tensor, window: int) -> torch.Tensor:
    """The mask (B, 1, T, L) of the last T of L columns where these see no further back than `window` tokens, their own
    included. Unused columns are no tokens."""
    if mask.shape[-1] <= window:
        return mask
    place = (mask[:, 0, -1] == 0).cumsum(-1)  # of each column among the tokens of its row, (B, L)
    far = place[:, None] <= place[:, -mask.shape[2] :, None] - window  # (B, T, L)
    return mask.masked_fill(far[:, None], torch.finfo(mask.dtype).min / 2)
