"""What SFT minimises: a loss for each learned token, from its log-probabilities now and before. Pure functions.

`Trainer` (trainer.py) makes the pass, in text as in pictures, since it keeps logits of learned tokens alone, in chunks.
TRL's own losses are `nll` and `dft`, and have the same numbers; on a CPU they keep logits of all tokens.
"""

from collections.abc import Callable

import torch

from ruleshift.settings import SFTConfig
from ruleshift.training.objectives import clipped_objective

LEAST = 0.01  # weight of the most unlikely token in `talr`

# Of (T,) log-probabilities now, and under the weights of a while ago: a loss each, (T,).
Loss = Callable[[torch.Tensor, torch.Tensor | None, SFTConfig], torch.Tensor]


def nll(logprobs: torch.Tensor, old: torch.Tensor | None, config: SFTConfig) -> torch.Tensor:
    """-log p."""
    return -logprobs


def dft(logprobs: torch.Tensor, old: torch.Tensor | None, config: SFTConfig) -> torch.Tensor:
    """-[p] log p; what stands in [] is not differentiated. Source: Wu et al., arXiv 2508.05629, equation 9."""
    return -logprobs * logprobs.exp().detach()


def talr(logprobs: torch.Tensor, old: torch.Tensor | None, config: SFTConfig) -> torch.Tensor:
    """-max([p^(1 / tau)], 0.01) log p: unlikely tokens weigh less, and never nothing. With tau 1 and no floor it is
    `dft`, with a large tau `nll`.

    Source: token-adaptive loss reweighting of arXiv 2509.20758; there tau follows the losses of a batch, here it is
    fixed (`loss_tau`), so that what shares a pass with a conversation does not matter.
    """
    return -logprobs * (logprobs.detach() / config.loss_tau).exp().clamp(min=LEAST)


def psft(logprobs: torch.Tensor, old: torch.Tensor | None, config: SFTConfig) -> torch.Tensor:
    """-min(r, 1 + clip), r = p / p_old: PPO's objective where every token has the advantage 1. A token that has become
    more likely by more than the clip teaches nothing until the old weights follow. Where these are the weights
    themselves, its gradient is that of `nll`.

    Source: proximal SFT, Zhu et al., arXiv 2508.17784; there the old weights are those at the beginning of a batch of
    several mini-batches, here those of the last step that `loss_lag` divides.
    """
    assert old is not None
    return clipped_objective(logprobs - old, torch.ones_like(logprobs), config.loss_clip)[0]


LOSSES: dict[str, Loss] = {"nll": nll, "dft": dft, "talr": talr, "psft": psft}
LAGGING = ("psft",)
