"""How much the expert's replies weigh beside rewards, where both are in one loss. Pure functions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

Gradient = Sequence[torch.Tensor]


class Mix(NamedTuple):
    """The weight of the expert's replies, and what it is made of."""

    weight: float
    noise_rl: float
    noise_sft: float
    apart: float


def noise_aware(rl: tuple[Gradient, Gradient], sft: tuple[Gradient, Gradient]) -> Mix:
    """The weight mu at which the gradient (1 - mu) g_rl + mu g_sft errs least from the true gradient of RL:

        mu = s_rl / (s_rl + s_sft + d),   s = |a - b|^2,   d = max(0, |g_sft - g_rl|^2 - s_rl - s_sft)

    with a and b the parts of a gradient g = a + b from either half of a mini-batch, so that s estimates its variance,
    and d the squared distance of the true gradients. It minimises mu^2 (s_sft + d) + (1 - mu)^2 s_rl. Noisy rewards
    lean on the expert, a noisy expert or one that points elsewhere on rewards; 0 where nothing is noisy.
    Source: GAC, Hu et al., arXiv 2605.26184; there with estimates from token statistics, smoothed, with a schedule as
    prior and capped changes, here from halves, of one mini-batch alone.
    """
    s_rl, s_sft = (_squared([a - b for a, b in zip(*halves, strict=True)]) for halves in (rl, sft))
    between = [(c + d) - (a + b) for a, b, c, d in zip(*rl, *sft, strict=True)]
    apart = max(0.0, _squared(between) - s_rl - s_sft)
    whole = s_rl + s_sft + apart
    return Mix(s_rl / whole if whole else 0.0, s_rl, s_sft, apart)


def _squared(gradient: Gradient) -> float:
    return sum(float(part.double().square().sum()) for part in gradient)
