"""From rewards to advantages. One turn is one action; pure functions, no model and no configuration.

An estimator takes rewards, values and mask (B, K), K turns, `mask` 1 on real turns, which come first in each row;
`group` (B,), which tells what other episodes each is compared with; the discount `gamma` and `lam`. It returns
advantages, and returns: what a critic's values should have been. Both are (B, K) and 0 where the mask is 0.
"""

from collections.abc import Callable

import torch

Estimator = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float, float], tuple[torch.Tensor, torch.Tensor]
]


def gae(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, group: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalised advantage estimation over the turns of episodes; groups are not looked at.

        delta_k = r_k + gamma * V_{k+1} - V_k
        A_k     = delta_k + gamma * lam * A_{k+1}

    V_{k+1} and A_{k+1} are 0 after the last real turn: episodes end, because a spent verification budget is part of
    the task. Returns are A + V.
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


def reward_to_go(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, group: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The discounted sum of the rewards from each turn on, without any baseline: G_k = r_k + gamma * G_{k+1}.

    Both results are G; values, groups and lam are not looked at.
    Source: Williams (1992), "Simple statistical gradient-following algorithms"; Sutton and Barto (2018), section 13.3.
    """
    returns = torch.zeros_like(rewards)
    after = torch.zeros_like(rewards[:, 0])
    for k in reversed(range(rewards.shape[1])):
        after = (rewards[:, k] + gamma * after) * mask[:, k]
        returns[:, k] = after
    return returns, returns


def group_scaled(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, group: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The return of an episode against those of its group, the same for all of its turns:

        A = (R - mean(R)) / (std(R) + 1e-8), R = sum over k of gamma^k r_k, mean and std over the group

    A group in which all returns are equal, or of one episode, teaches nothing. Values and lam are not looked at.
    Source: Shao et al., arXiv 2402.03300, section 4.1.2 (outcome supervision).
    """
    returns, _ = reward_to_go(rewards, values, mask, group, gamma, lam)
    centred = returns[:, 0] - group_mean(returns[:, 0], group)
    deviation = group_mean(centred**2, group).sqrt()
    return (centred / (deviation + 1e-8))[:, None] * mask, returns


def leave_one_out(
    rewards: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, group: torch.Tensor, gamma: float, lam: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The return of an episode less the mean of those of the others in its group of n, the same for all of its turns:

        A_i = R_i - 1 / (n - 1) sum over j != i of R_j = n / (n - 1) (R_i - mean(R)), R = sum over k of gamma^k r_k

    The baseline does not depend on the episode, so that the gradient is unbiased. A group of one episode teaches
    nothing. Values and lam are not looked at.
    Source: Kool et al. (2019), "Buy 4 REINFORCE samples, get a baseline for free!"; Ahmadian et al., arXiv 2402.14740,
    section 2.3.
    """
    returns, _ = reward_to_go(rewards, values, mask, group, gamma, lam)
    count = torch.bincount(group)[group]
    centred = returns[:, 0] - group_mean(returns[:, 0], group)
    return (centred * count / (count - 1).clamp(min=1))[:, None] * mask, returns


ESTIMATORS: dict[str, Estimator] = {
    "gae": gae,
    "reward_to_go": reward_to_go,
    "group_scaled": group_scaled,
    "leave_one_out": leave_one_out,
}


def group_mean(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """The mean of each entry's group. values, group: (B,), group in whole numbers from 0; returns (B,)."""
    counts = torch.bincount(group).clamp(min=1)
    sums = torch.zeros(len(counts), dtype=values.dtype).index_add(0, group, values)
    return (sums / counts)[group]


def normalise(values: torch.Tensor, mask: torch.Tensor, epsilon: float = 1e-8) -> torch.Tensor:
    """Shift and scale to mean 0 and standard deviation 1 over the masked entries; 0 elsewhere. Any shape."""
    count = mask.sum()
    mean = (values * mask).sum() / count
    variance = (((values - mean) * mask) ** 2).sum() / count
    return (values - mean) / (variance.sqrt() + epsilon) * mask


def explained_variance(values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """1 - Var(returns - values) / Var(returns) over the masked entries: 1 for a perfect critic, 0 for a constant."""
    return float(1 - _variance(returns - values, mask) / _variance(returns, mask).clamp(min=1e-8))


def _variance(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    mean = (values * mask).sum() / mask.sum()
    return (((values - mean) * mask) ** 2).sum() / mask.sum()
