"""From rewards to advantages. One turn is one action; pure functions, no model and no configuration.

An estimator takes the turns of an update (`Turns`), the discount `gamma`, GAE's `lam`, and whether credit is given turn
by turn (`turn`: each for what is earned from it on) or to all turns of an episode alike (`episode`: for what the whole
of it earns). It returns advantages, and returns: what a critic's values should have been. Both are (B, K), of B
episodes with up to K turns, and 0 where the mask is 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

Credit = Literal["turn", "episode"]


@dataclass(frozen=True)
class Turns:
    """What is known of the turns of an update: B episodes of up to K turns, real ones first in each row.

    `values` are a critic's, or a baseline, of the state before each turn; `after` that of the state after the last turn
    of an episode that was cut before its end, and 0 of one that ended. Episodes of one `group`, a whole number from 0,
    are compared with each other.
    """

    rewards: torch.Tensor  # (B, K)
    values: torch.Tensor  # (B, K)
    mask: torch.Tensor  # (B, K), 1 on real turns
    group: torch.Tensor  # (B,)
    after: torch.Tensor  # (B,)


Estimates = tuple[torch.Tensor, torch.Tensor]
Estimator = Callable[[Turns, float, float, Credit], Estimates]


def gae(turns: Turns, gamma: float, lam: float, credit: Credit) -> Estimates:
    """Generalised advantage estimation over the turns of episodes; groups are not looked at.

        delta_k = r_k + gamma * V_{k+1} - V_k
        A_k     = delta_k + gamma * lam * A_{k+1}

    After the last real turn V is `after` and A is 0: episodes end, because a spent verification budget is part of the
    task. Returns are A + V. With credit to the episode all of its turns have A_0. With lam 1 and values of b this is
    REINFORCE with the baseline b: A_k = G_k - b, G_k the discounted rewards from turn k on.
    Sources: Schulman et al., arXiv 1506.02438, equation 16; turns as actions as in arXiv 2501.17161, section 3;
    Williams (1992), "Simple statistical gradient-following algorithms".
    """
    rewards, values, mask = turns.rewards, turns.values, turns.mask
    advantages = torch.zeros_like(rewards)
    next_value = turns.after
    next_advantage = torch.zeros_like(next_value)
    for k in reversed(range(rewards.shape[1])):
        real = mask[:, k]
        delta = rewards[:, k] + gamma * next_value - values[:, k]
        advantages[:, k] = (delta + gamma * lam * next_advantage) * real
        next_value = torch.where(real > 0, values[:, k], turns.after)
        next_advantage = advantages[:, k]
    returns = (advantages + values) * mask
    return (advantages if credit == "turn" else advantages[:, :1] * mask), returns


def discounted(turns: Turns, gamma: float) -> torch.Tensor:
    """The sum of the rewards from each turn on, G_k = r_k + gamma * G_{k+1}: (B, K), 0 where the mask is 0."""
    returns = torch.zeros_like(turns.rewards)
    following = turns.after
    for k in reversed(range(returns.shape[1])):
        real = turns.mask[:, k]
        returns[:, k] = (turns.rewards[:, k] + gamma * following) * real
        following = torch.where(real > 0, returns[:, k], following)
    return returns


def _against_group(compare: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Estimator:
    """An estimator that compares returns within groups: those of whole episodes, or (credit to turns) the returns from
    turn k on with those of the other episodes that have a turn k. Values and lam are not looked at."""

    def estimator(turns: Turns, gamma: float, lam: float, credit: Credit) -> Estimates:
        returns = discounted(turns, gamma)
        if credit == "episode":
            return compare(returns[:, 0], turns.group)[:, None] * turns.mask, returns
        places = torch.arange(returns.shape[1])
        cells = turns.group[:, None] * len(places) + places  # (B, K): a number for each turn of each group
        real = turns.mask > 0
        advantages = torch.zeros_like(returns)
        advantages[real] = compare(returns[real], cells[real])
        return advantages, returns

    return estimator


def group_centred(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """x - mean(x), the mean over the group. values, group, result: (B,), as in the functions below.

    Source: Dr. GRPO, Liu et al., arXiv 2503.20783, section 3.
    """
    return values - group_mean(values, group)


def group_scaled(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """(x - mean(x)) / (std(x) + 1e-8), mean and deviation over the group.

    A group in which all are equal, or of one, teaches nothing.
    Source: GRPO, Shao et al., arXiv 2402.03300, section 4.1.2 (outcome supervision).
    """
    centred = group_centred(values, group)
    return centred / (group_mean(centred**2, group).sqrt() + 1e-8)


def leave_one_out(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """x_i less the mean of the others in its group of n: x_i - 1 / (n - 1) sum over j != i of x_j = n / (n - 1)
    (x_i - mean(x)).

    The baseline does not depend on x_i, so that the gradient is unbiased. A group of one teaches nothing.
    Source: Kool et al. (2019), "Buy 4 REINFORCE samples, get a baseline for free!"; RLOO, Ahmadian et al., arXiv
    2402.14740, section 2.3.
    """
    count = torch.bincount(group)[group]
    return group_centred(values, group) * count / (count - 1).clamp(min=1)


def group_over_mean(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """(x - mean(x)) / mean(x), the mean over the group; 0 where that is not above 0.

    For x in {0, 1} the mean is the share of successes p, and the gradient in expectation that of log p, up to the order
    that the size of the group allows. Source: MaxRL, arXiv 2602.02710.
    """
    mean = group_mean(values, group)
    return torch.where(mean > 0, (values - mean) / mean.clamp(min=1e-8), torch.zeros_like(mean))


ESTIMATORS: dict[str, Estimator] = {
    "gae": gae,
    "group_centred": _against_group(group_centred),
    "group_scaled": _against_group(group_scaled),
    "leave_one_out": _against_group(leave_one_out),
    "group_over_mean": _against_group(group_over_mean),
}


def group_mean(values: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """The mean of each entry's group. values, group: (B,), group in whole numbers from 0; returns (B,)."""
    counts = torch.bincount(group).clamp(min=1)
    sums = torch.zeros(len(counts), dtype=values.dtype).index_add(0, group, values)
    return (sums / counts)[group]


def without_variance(rewards: torch.Tensor, mask: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """Of each episode, whether all of its group have as many turns as it, and earned the same in each (to 1e-9): then
    nothing can be learned from comparing them. rewards, mask: (B, K), group: (B,); (B,) of truth values."""
    rows = torch.cat([rewards * mask, mask], dim=1)  # (B, 2K)
    index = group[:, None].expand_as(rows)
    empty = rows.new_zeros(int(group.max()) + 1, rows.shape[1])
    highest, lowest = (empty.scatter_reduce(0, index, rows, way, include_self=False) for way in ("amax", "amin"))
    return (highest - lowest <= 1e-9).all(1)[group]


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
