"""What is optimised: a policy loss of three choices, and the losses beside it. Pure functions on flat tensors.

The choices are the probability ratio (one for a token, or one for a whole reply), whether and where it is
clipped, and how its terms are weighed against each other.

T tokens of N turns are given flat, without padding: `turn` (T,) holds the turn of each token.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

Level = Literal["token", "sequence"]
Weighing = Literal["ratio", "turn", "episode"]


class PolicyLoss(NamedTuple):
    """`loss` of each ratio (a token's, or a turn's), where the clip decided, and the k3 estimate of KL(old || new) in
    nats."""

    loss: torch.Tensor  # (T,) or (N,)
    clipped: torch.Tensor  # (T,) or (N,), 1 where the clip decided
    approx_kl: torch.Tensor  # scalar


def policy_loss(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    turn: torch.Tensor,
    advantages: torch.Tensor,
    level: Level,
    clip: float | None,
) -> PolicyLoss:
    """The clipped objective with one ratio per token, or one per turn: the product over its tokens, not normalised by
    length. Every token of a turn has the turn's advantage.

    logprobs, old_logprobs: (T,); turn: (T,) integers in 0..N-1; advantages: (N,). `loss` is (T,) or (N,).
    Source of the latter: the official code of arXiv 2501.17161.
    """
    log_ratio = logprobs - old_logprobs
    approx_kl = k3(log_ratio.detach()).mean()
    if level == "sequence":
        log_ratio = torch.zeros_like(advantages).index_add(0, turn, log_ratio)  # (N,)
    else:
        advantages = advantages[turn]
    return PolicyLoss(*clipped_objective(log_ratio, advantages, clip), approx_kl)


def clipped_objective(
    log_ratio: torch.Tensor, advantage: torch.Tensor, clip: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A) for r = exp(log_ratio), entry by entry, and where the clip decided.

    Without a clip (None) it is -r A, whose gradient at r = 1 is the policy gradient.
    Source: Schulman et al., arXiv 1707.06347, equation 7.
    """
    ratio = log_ratio.exp()
    plain = ratio * advantage
    if clip is None:
        return -plain, torch.zeros_like(plain)
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantage
    return -torch.minimum(plain, bounded), (bounded < plain).to(ratio.dtype)


def weights(tokens: Sequence[int], level: Level, weighing: Weighing) -> list[float]:
    """How much each term of the policy loss of an episode counts, in the order of its ratios.

    tokens: how many each of its turns has. `ratio`: all terms alike, so that long replies count more where each token
    has a ratio; `turn`: the terms of a turn make 1 together; `episode`: those of the episode do (the 1/|o| of GRPO,
    arXiv 2402.03300, equation 3). The loss of a mini-batch is the weighed sum of terms divided by the sum of weights.
    """
    counts = list(tokens) if level == "token" else [1] * len(tokens)
    if weighing == "turn":
        return [1 / count for count in counts for _ in range(count)]
    share = 1 / sum(counts) if weighing == "episode" else 1.0
    return [share] * sum(counts)


def k3(log_ratio: torch.Tensor) -> torch.Tensor:
    """A low-variance, non-negative estimate of KL(q || p) from samples of q, entry by entry: exp(d) - 1 - d.

    log_ratio: d = log p - log q at the samples, any shape. Source: Schulman, "Approximating KL divergence" (2020).
    """
    return log_ratio.exp() - 1 - log_ratio


def value_loss(values: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """Half the squared error, (N,)."""
    return 0.5 * (values - returns) ** 2


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of each row of logits (T, V): (T,)."""
    logprobs = torch.log_softmax(logits, dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def chosen_logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities in nats of `tokens` (T,) under `logits` (T, V): (T,)."""
    return torch.log_softmax(logits, dim=-1).gather(1, tokens[:, None])[:, 0]
