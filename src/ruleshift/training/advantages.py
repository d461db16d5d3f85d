"""Turn-level advantages. One turn is one action; pure functions, no model and no configuration."""

import torch


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation over the turns of episodes.

        delta_k = r_k + gamma * V_{k+1} - V_k
        A_k     = delta_k + gamma * lam * A_{k+1}

    rewards, values, mask: (B, K), K turns, `mask` 1 on real turns, which come first in each row. V_{k+1} and A_{k+1}
    are 0 after the last real turn: episodes end, because a spent verification budget is part of the task.
    Returns advantages and returns (A + V), both (B, K) and 0 where the mask is 0.
    Source: Schulman et al., arXiv 1506.02438, equation 16; turns as actions as in arXiv 2501.17161, section 3.
    """
    advantages = torch.zeros_like(rewards)
    next_value = torch.zeros_like(rewards[:, 0])
    next_advantage = torch.zeros_like(next_value)
    for k in reversed(range(rewards.shape[1])):
        delta = rewards[:, k] + gamma * next_value - values[:, k]
        advantages[:, k] = (delta + gamma * lam * next_advantage) * mask[:, k]
        next_value = values[:, k] * mask[:, k]
        next_advantage = advantages[:, k]
    return advantages, (advantages + values) * mask


def normalise(values: torch.Tensor, mask: torch.Tensor, epsilon: float = 1e-8) -> torch.Tensor:
    """Shift and scale to mean 0 and standard deviation 1 over the masked entries; 0 elsewhere. Any shape."""
    count = mask.sum()
    mean = (values * mask).sum() / count
    variance = (((values - mean) * mask) ** 2).sum() / count
    return (values - mean) / (variance.sqrt() + epsilon) * mask
