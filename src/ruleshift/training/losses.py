"""The losses of multi-turn PPO: pure functions on flat tensors.

T tokens of N turns are given flat, without padding: `turn` (T,) holds the turn of each token.
"""

from typing import NamedTuple

import torch


class PolicyLoss(NamedTuple):
    """`loss` per unit (a token, or a turn), where the clip decided, and the k3 estimate of KL(old || new) in nats."""

    loss: torch.Tensor  # (T,) or (N,)
    clipped: torch.Tensor  # (T,) or (N,), 1 where the clip decided
    approx_kl: torch.Tensor  # scalar


def clipped_objective(
    log_ratio: torch.Tensor, advantage: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A) for r = exp(log_ratio), entry by entry, and where the clip decided.

    Source: Schulman et al., arXiv 1707.06347, equation 7.
    """
    ratio = log_ratio.exp()
    plain = ratio * advantage
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantage
    return -torch.minimum(plain, bounded), (bounded < plain).to(ratio.dtype)


def token_policy_loss(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, turn: torch.Tensor, advantages: torch.Tensor, clip: float
) -> PolicyLoss:
    """The clipped objective with one ratio per token; every token of a turn has the turn's advantage.

    logprobs, old_logprobs: (T,); turn: (T,) integers in 0..N-1; advantages: (N,). `loss` is (T,).
    """
    log_ratio = logprobs - old_logprobs
    loss, clipped = clipped_objective(log_ratio, advantages[turn], clip)
    return PolicyLoss(loss, clipped, k3(log_ratio.detach()).mean())


def sequence_policy_loss(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, turn: torch.Tensor, advantages: torch.Tensor, clip: float
) -> PolicyLoss:
    """The clipped objective with one ratio per turn, the product over its tokens (the paper's official code).

    Arguments as for `token_policy_loss`; `loss` is (N,). The ratio is that of the whole reply, not length-normalised.
    """
    log_ratio = torch.zeros_like(advantages).index_add(0, turn, logprobs - old_logprobs)  # (N,)
    loss, clipped = clipped_objective(log_ratio, advantages, clip)
    return PolicyLoss(loss, clipped, k3((logprobs - old_logprobs).detach()).mean())


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
