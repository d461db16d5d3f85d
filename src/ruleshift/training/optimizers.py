"""Adam, its moments in float32 or in 8 bits."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

from ruleshift.errors import RuleshiftError

BLOCK = 256  # weights of a parameter that share a scale in bitsandbytes, and values that 8 bits stand for
SHARED = {"absmax1", "absmax2", "qmap1", "qmap2"}  # what a parameter whose moments have 8 bits has beside these


def check_8bit(wanted: bool) -> None:
    """Raise RuleshiftError where moments in 8 bits are `wanted` and bitsandbytes is missing."""
    if wanted and find_spec("bitsandbytes") is None:
        raise RuleshiftError("--adam-8bit needs bitsandbytes: pip install 'ruleshift[adam-8bit]'")


def adam(groups: list[dict[str, Any]], rate: float, epsilon: float, in_8bit: bool) -> torch.optim.Optimizer:
    """Adam over groups of parameters. In 8 bits, blocks of moments have a scale of their own, and those of parameters
    of fewer than 4,096 weights stay in float32. Source: Dettmers et al., arXiv 2110.02861, as in bitsandbytes."""
    if not in_8bit:
        return torch.optim.Adam(groups, lr=rate, eps=epsilon)
    check_8bit(in_8bit)
    from bitsandbytes.optim import Adam8bit

    optimizer: torch.optim.Optimizer = Adam8bit(groups, lr=rate, eps=epsilon)
    return optimizer


def moments(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What it remembers, as one flat record: by the index of a parameter and the name of the entry."""
    known = optimizer.state_dict()["state"]
    return {f"{i}.{key}": torch.as_tensor(value) for i, state in known.items() for key, value in state.items()}


def fits(parameter: torch.Tensor, state: Mapping[str, object]) -> bool:
    """Whether what is remembered of a parameter has its shape, or that of its blocks."""
    blocks = (-(-parameter.numel() // BLOCK),)
    shapes = {"absmax1": blocks, "absmax2": blocks, "qmap1": (BLOCK,), "qmap2": (BLOCK,)}
    found = {key: tuple(value.shape) for key, value in state.items() if isinstance(value, torch.Tensor) and value.dim()}
    return all(shape == shapes.get(key, tuple(parameter.shape)) for key, shape in found.items())
