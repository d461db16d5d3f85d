"""Reading what a model carries at some places of a text after each of its layers, and putting it into another text.

Works on any decoder of transformers whose blocks stand in `layers`. Levels: 0 is what the embedding gives, l what the
l-th block leaves behind (the residual stream). L levels, N places, H width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ruleshift.errors import RuleshiftError

Places = tuple[torch.Tensor, torch.Tensor]  # rows and columns (N,) of a batch


def levels_of(model: PreTrainedModel) -> list[nn.Module]:
    """The modules whose outputs are the levels. Raises RuleshiftError for a model whose blocks are kept elsewhere."""
    layers = getattr(model.get_decoder(), "layers", None)
    if layers is None:
        raise RuleshiftError(
            f"what {type(model).__name__} carries cannot be read, since its decoder has no `layers`: give "
            "--set measurement.flow_problems=0, or choose a model like Llama"
        )
    return [model.get_input_embeddings(), *layers]


@contextmanager
def states_at(model: PreTrainedModel, places: Places) -> Iterator[list[torch.Tensor]]:
    """What the model carries at these places in a pass that is made inside: (N, H) for each level, in order."""
    found: list[torch.Tensor] = []

    def read(module: nn.Module, given: Any, output: Any) -> None:
        found.append(_stream(output)[places].detach().clone())

    with ExitStack() as stack:
        for module in levels_of(model):
            stack.callback(module.register_forward_hook(read).remove)
        yield found


@contextmanager
def patched(model: PreTrainedModel, writes: Mapping[int, tuple[Places, torch.Tensor]]) -> Iterator[None]:
    """In a pass that is made inside, the model carries on from each of these levels the states (N, H) at the places
    that are given for it."""

    def writer(places: Places, states: torch.Tensor) -> Callable[..., Any]:
        def write(module: nn.Module, given: Any, output: Any) -> Any:
            stream = _stream(output).clone()
            stream[places] = states
            return (stream, *output[1:]) if isinstance(output, tuple) else stream

        return write

    levels = levels_of(model)
    with ExitStack() as stack:
        for level, (places, states) in writes.items():
            stack.callback(levels[level].register_forward_hook(writer(places, states)).remove)
        yield


def _stream(output: Any) -> torch.Tensor:
    """The residual stream (B, T, H) in what a block returns."""
    stream: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return stream


@torch.no_grad()
def attention_to(
    model: PreTrainedModel, ids: torch.Tensor, asking: Sequence[int], asked: Sequence[int]
) -> torch.Tensor:
    """How much of their attention the places `asking` of one text (T,) give to the places `asked`, as a share of all:
    (layers,), the mean over heads and over those that ask. Attention is computed the plain way for it."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        layers = model(input_ids=ids[None], use_cache=False, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return torch.stack([one[0][:, asking][:, :, asked].sum(-1).mean() for one in layers])


def exchanged_places(a: Sequence[int], b: Sequence[int]) -> tuple[list[int], list[int]]:
    """Where two texts of tokens differ, place by place: those of `a`, and those of `b` that stand for them.

    Of equal length: every place whose token differs. Otherwise stretches that replace each other are aligned at their
    ends, where a word's last token has read the whole word, and the rest of the longer one has no counterpart.
    """
    if len(a) == len(b):
        places = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        return places, places
    left: list[int] = []
    right: list[int] = []
    for kind, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if kind == "replace":
            count = min(j - i, m - k)
            left += range(j - count, j)
            right += range(m - count, m)
    return left, right
