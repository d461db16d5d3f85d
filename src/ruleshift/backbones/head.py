"""The output matrix of a model apart from its decoder: logits are there for some places only, and for a few at once.

Logits of all places are what fills the memory of small models: 3,000 tokens of a vocabulary of 262,144 are 3 GB, and
their log-softmax and gradient as much again.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ruleshift.errors import RuleshiftError

AT_ONCE = 2**23  # logits of one chunk
APART = 0.02  # of the largest logit: more than rounding in half precision makes of the same product

Numbers = tuple[torch.Tensor, ...]


def unwrapped(model: nn.Module) -> Any:
    """The model itself, of one that may be wrapped for several processes."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def last_states(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """What the output matrix is multiplied with, (B, T, H), for token ids (B, T) padded on the right.

    The model is called as a whole, so that what wraps it (several processes, mixed precision) takes part, for the
    logits of one column; nothing of the layers before is kept but what a gradient needs. No attention mask: causal
    attention never looks at padding on the right, and kernels are faster without one.
    """
    return _read(model, ids)[0]


def _read(model: nn.Module, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Last states (B, T, H), and the logits of the last column as the model itself gives them (B, 1, V)."""
    found: list[torch.Tensor] = []
    hook = (
        unwrapped(model)
        .get_decoder()
        .register_forward_hook(lambda module, given, output: found.append(output.last_hidden_state))
    )
    try:
        output = model(input_ids=ids, use_cache=False, logits_to_keep=1)
    finally:
        hook.remove()
    return found[0], output.logits


def logits_of(model: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """Logits (..., V) in float32 of last states (..., H): those that the model's own forward pass gives."""
    whole = unwrapped(model)
    return _finished(whole, whole.get_output_embeddings()(states))


def logits_later(model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """`logits_of` with the output matrix that the model has now, whatever it has by then. No gradient flows into that
    matrix."""
    whole = unwrapped(model)
    head = whole.get_output_embeddings()
    now = {name: weight.detach() for name, weight in head.named_parameters()}
    return lambda states: _finished(whole, functional_call(head, now, (states,)))


def _finished(model: Any, product: torch.Tensor) -> torch.Tensor:
    """What a model makes of the product with its output matrix."""
    config = model.config.get_text_config()  # by attribute, since each of these is of few families
    logits = product.float()
    factor = (getattr(config, "logit_scale", None) or 1.0) / getattr(config, "logits_scaling", 1.0)  # Cohere, Granite
    logits = logits if factor == 1 else logits * factor
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    return logits if cap is None else cap * torch.tanh(logits / cap)


def vocabulary(model: nn.Module) -> int:
    """How many logits a place has."""
    return int(unwrapped(model).get_output_embeddings().weight.shape[0])


def chunks(model: nn.Module, count: int) -> list[slice]:
    """So many places, in parts whose logits fit into AT_ONCE."""
    rows = max(1, AT_ONCE // vocabulary(model))
    return [slice(first, first + rows) for first in range(0, count, rows)] or [slice(0, 0)]


def by_chunks(model: nn.Module, states: torch.Tensor, of: Callable[[torch.Tensor, slice], Numbers]) -> Numbers:
    """What `of` makes of last states (T, H), a part at a time: it is given some of them and where they stand, and
    returns tensors (t,), which are joined to (T,). Where there are several parts, the logits of each are computed again
    in the backward pass, and none is kept."""
    parts = chunks(model, len(states))
    if len(parts) == 1:
        return of(states, parts[0])

    def found(part: slice) -> Numbers:
        numbers: Numbers = checkpoint(
            of, states[part], part, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
        )
        return numbers

    return tuple(map(torch.cat, zip(*map(found, parts), strict=True)))


def check_head(model: PreTrainedModel) -> None:
    """Raise RuleshiftError for a model whose forward pass does more to its logits than is known here."""
    with torch.no_grad():
        ids = torch.arange(8, device=model.device)[None] % vocabulary(model)  # no single one, which may mean nothing
        states, expected = _read(model, ids)
        apart = (logits_of(model, states[:, -1:]) - expected.float()).abs().max()
    if apart > APART * expected.abs().max():
        raise RuleshiftError(
            f"{type(model).__name__} changes its logits in a way that is not known here: choose a model of another "
            "family"
        )
