"""Turn-level GAE: hand values, identities, an independent recomputation, and a long episode with its control."""

import math

import pytest
import torch

from ruleshift.training import estimators
from ruleshift.training.estimators import (
    ESTIMATORS,
    Turns,
    discounted,
    explained_variance,
    group_mean,
    group_over_mean,
    normalise,
    without_variance,
)


def turns_of(rewards, values, mask, group=None, after=None) -> Turns:
    """All in one group, and none cut, where nothing is said."""
    group = torch.zeros(len(rewards), dtype=torch.long) if group is None else group
    return Turns(rewards, values, mask, group, torch.zeros_like(rewards[:, 0]) if after is None else after)


def gae(rewards, values, mask, gamma, lam):
    """Without groups, which it does not look at."""
    return estimators.gae(turns_of(rewards, values, mask), gamma, lam, "turn")


def group_scaled(rewards, values, mask, group, gamma, lam, credit="episode"):
    return ESTIMATORS["group_scaled"](turns_of(rewards, values, mask, group), gamma, lam, credit)


def leave_one_out(rewards, values, mask, group, gamma, lam, credit="episode"):
    return ESTIMATORS["leave_one_out"](turns_of(rewards, values, mask, group), gamma, lam, credit)


def reward_to_go(rewards, mask, gamma):
    return discounted(turns_of(rewards, rewards, mask), gamma)


def table(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def ragged(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random rewards and values of five episodes with 1 to 5 turns; padding holds rubbish."""
    generator = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, 5, 5, dtype=torch.float64, generator=generator)
    mask = (torch.arange(5) < torch.tensor([3, 1, 5, 2, 4])[:, None]).double()
    return rewards, values, mask


def by_definition(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """A_k = sum over l of (gamma lam)^l delta_{k+l}, term by term."""
    after = [*values[1:], 0.0]
    deltas = [r + gamma * v_next - v for r, v, v_next in zip(rewards, values, after, strict=True)]
    return [sum((gamma * lam) ** (j - k) * deltas[j] for j in range(k, len(deltas))) for k in range(len(deltas))]


def test_hand_values():
    # gamma 0.5, lam 0.5. delta = (-1 + 0.5*4 - 2, -1 + 0.5*6 - 4, 5 - 6) = (-1, -2, -1)
    # A_2 = -1, A_1 = -2 + 0.25*-1 = -2.25, A_0 = -1 + 0.25*-2.25 = -1.5625
    advantages, returns = gae(table([-1, -1, 5]), table([2, 4, 6]), table([1, 1, 1]), gamma=0.5, lam=0.5)
    assert advantages.tolist() == [[-1.5625, -2.25, -1.0]]
    assert returns.tolist() == [[0.4375, 1.75, 5.0]]


def test_lambda_one_gives_the_discounted_return_minus_the_value():
    rewards, values, mask = ragged()
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=1.0)
    for row, count in enumerate(mask.sum(1).int().tolist()):
        for k in range(count):
            discounted = sum(0.9 ** (j - k) * float(rewards[row, j]) for j in range(k, count))
            assert float(returns[row, k]) == pytest.approx(discounted, abs=1e-12)
            assert float(advantages[row, k]) == pytest.approx(discounted - float(values[row, k]), abs=1e-12)


def test_lambda_zero_gives_the_one_step_error():
    rewards, values, mask = ragged()
    advantages, _ = gae(rewards, values, mask, gamma=0.9, lam=0.0)
    after = torch.cat([(values * mask)[:, 1:], torch.zeros(5, 1, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(advantages, (rewards + 0.9 * after - values) * mask, atol=1e-12, rtol=0)


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_without_a_future_only_the_reward_at_hand_counts(lam):
    rewards, values, mask = ragged()
    advantages, returns = gae(rewards, values, mask, gamma=0.0, lam=lam)
    torch.testing.assert_close(advantages, (rewards - values) * mask, atol=1e-12, rtol=0)
    torch.testing.assert_close(returns, rewards * mask, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("gamma", "lam"), [(0.9, 0.95), (1.0, 1.0), (0.3, 0.7)])
def test_agrees_with_the_definition_episode_by_episode(gamma, lam):
    rewards, values, mask = ragged(seed=1)
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for row, count in enumerate(mask.sum(1).int().tolist()):
        expected = by_definition(rewards[row, :count].tolist(), values[row, :count].tolist(), gamma, lam)
        assert advantages[row, :count].tolist() == pytest.approx(expected, abs=1e-12)
        assert advantages[row, count:].tolist() == returns[row, count:].tolist() == [0.0] * (5 - count)
    torch.testing.assert_close(returns, (advantages + values) * mask, atol=1e-12, rtol=0)


def test_padding_does_not_matter_and_turns_do():
    rewards, values, mask = ragged()
    before = gae(rewards, values, mask, 0.9, 0.95)
    rubbish = torch.where(mask == 0, 1e6, 0.0).double()
    wider = [torch.cat([t + rubbish, torch.full((5, 2), -7.0, dtype=torch.float64)], dim=1) for t in (rewards, values)]
    after = gae(*wider, torch.cat([mask, torch.zeros(5, 2, dtype=torch.float64)], dim=1), 0.9, 0.95)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a, b[:, :5])
    rewards[0, 2] += 1e-3  # the last real turn of the first episode
    changed, _ = gae(rewards, values, mask, 0.9, 0.95)
    assert (changed != before[0])[0].tolist() == [True, True, True, False, False]
    assert torch.equal(changed[1:], before[0][1:])


def fitted_value(turns: int, gamma: float) -> float:
    """One value for all states but the end, fitted to the return of the first turn again and again; reward 1."""
    value = 0.0
    for _ in range(50):
        values = torch.full((1, turns), value, dtype=torch.float64)
        _, returns = gae(torch.ones_like(values), values, torch.ones_like(values), gamma, lam=0.9)
        value = float(returns[0, 0])
    return value


def test_the_value_of_a_long_episode_approaches_the_geometric_sum():
    assert fitted_value(turns=200, gamma=0.95) == pytest.approx(1 / (1 - 0.95), abs=1e-6)
    # Control: an end that is near is not forgotten.
    assert fitted_value(turns=5, gamma=0.95) < 6


def test_normalise_gives_mean_zero_and_deviation_one_on_the_mask():
    values, _, mask = ragged()
    shifted = normalise(3 * values + 11 + 1e6 * (1 - mask), mask)
    chosen = shifted[mask == 1]
    assert float(chosen.mean()) == pytest.approx(0, abs=1e-9)
    assert float(chosen.std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert torch.all(shifted[mask == 0] == 0)
    torch.testing.assert_close(shifted, normalise(values, mask), atol=1e-6, rtol=0)  # shift and scale are gone
    assert not torch.allclose(normalise(values, torch.ones_like(mask))[mask == 1], chosen, atol=1e-3)


def test_normalise_of_equal_values_is_zero():
    assert normalise(table([4.0, 4.0]), table([1, 1])).tolist() == [[0.0, 0.0]]


# Without a critic


def test_gae_with_lambda_one_and_a_baseline_is_reinforce_with_it():
    rewards, values, mask = ragged()
    to_go = reward_to_go(rewards, mask, 0.9)
    for baseline in (0.0, 1.7):
        advantages, returns = gae(rewards, torch.full_like(values, baseline), mask, 0.9, 1.0)
        torch.testing.assert_close(advantages, (to_go - baseline) * mask, atol=1e-12, rtol=0)
        torch.testing.assert_close(returns, to_go, atol=1e-12, rtol=0)
    assert not torch.allclose(to_go, gae(rewards, values, mask, 0.9, 1.0)[0])  # control: values matter there


def test_discounted_hand_values_cross_turns():
    rewards, mask = table([-1, -1, 5], [2, 9, 9]), table([1, 1, 1], [1, 0, 0])
    assert reward_to_go(rewards, mask, 0.5).tolist() == [[-1 + 0.5 * (-1 + 0.5 * 5), -1 + 0.5 * 5, 5.0], [2.0, 0, 0]]


def test_group_scaled_hand_values():
    # Sums 1, 3 | 5, 5 | 7: group means 2, 5, 7; deviations 1, 0, 0.
    rewards = table([1, 0], [1, 2], [5, 99], [2, 3], [7, 0])
    mask = table([1, 1], [1, 1], [1, 0], [1, 1], [1, 1])
    advantages, returns = group_scaled(rewards, rewards, mask, torch.tensor([0, 0, 1, 1, 2]), 1.0, 0.0)
    torch.testing.assert_close(advantages, table([-1, -1], [1, 1], [0, 0], [0, 0], [0, 0]), atol=1e-7, rtol=0)
    assert returns.tolist() == [[1, 0], [3, 2], [5, 0], [5, 3], [7, 0]]


def test_group_scaled_is_reward_to_go_with_the_baseline_of_the_group_in_units_of_its_deviation():
    rewards, values, mask = ragged(2)
    group = torch.tensor([0, 1, 0, 1, 0])
    to_go = reward_to_go(rewards, mask, 0.9)[:, 0]
    advantages, _ = group_scaled(rewards, values, mask, group, 0.9, 1.0)
    for number in (0, 1):
        some = to_go[group == number]
        torch.testing.assert_close(
            advantages[group == number, 0], (some - some.mean()) / some.std(correction=0), atol=1e-6, rtol=0
        )
    assert group_mean(table([1, 2, 6])[0], torch.tensor([1, 1, 0])).tolist() == [1.5, 1.5, 6.0]


def test_leave_one_out_hand_values():
    # Sums 1, 3, 8 | 5 and 5 | 7: the others' means are 5.5, 4.5, 2 | 5, 5 | none.
    rewards = table([1, 0], [1, 2], [5, 3], [5, 99], [2, 3], [7, 0])
    mask = table([1, 1], [1, 1], [1, 1], [1, 0], [1, 1], [1, 1])
    advantages, returns = leave_one_out(rewards, rewards, mask, torch.tensor([0, 0, 0, 1, 1, 2]), 1.0, 0.0)
    expected = table([-4.5, -4.5], [-1.5, -1.5], [6, 6], [0, 0], [0, 0], [0, 0])
    torch.testing.assert_close(advantages, expected, atol=1e-12, rtol=0)
    assert returns.tolist() == [[1, 0], [3, 2], [8, 3], [5, 0], [5, 3], [7, 0]]


def test_leave_one_out_is_group_scaled_in_other_units():
    rewards, values, mask = ragged(2)
    group = torch.tensor([0, 1, 0, 1, 0])
    scaled, to_go = group_scaled(rewards, values, mask, group, 0.9, 1.0)
    advantages, _ = leave_one_out(rewards, values, mask, group, 0.9, 1.0)
    for number, factor in ((0, 3 / 2), (1, 2.0)):
        units = to_go[group == number, 0].std(correction=0) * factor
        torch.testing.assert_close(advantages[group == number], scaled[group == number] * units, atol=1e-6, rtol=0)


def test_group_over_mean_hand_values():
    # 1 of 4 solved: (1 - 1/4) / (1/4) = 3, and -1 for the others; none solved; all solved; a mean below 0.
    group = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 3, 3])
    values = table([1, 0, 0, 0, 0, 0, 1, 1, -3, 1])[0]
    assert group_over_mean(values, group).tolist() == [3, -1, -1, -1, 0, 0, 0, 0, 0, 0]


def test_group_over_mean_ascends_the_log_of_the_rate_of_success():
    """Of a coin with p = sigmoid(x), d log p / dx = 1 - p and dp / dx = p (1 - p). The mean over groups of n of A times
    the score is the gradient of log p up to order n: -sum over k of (1 - p)^k / k."""
    p, n = 0.3, 6
    found = centred = 0.0
    for solved in range(n + 1):
        coins = table([1.0] * solved + [0.0] * (n - solved))[0]
        score = coins - p  # d log P(coin) / dx
        chance = math.comb(n, solved) * p**solved * (1 - p) ** (n - solved)
        one_group = torch.zeros(n, dtype=torch.long)
        found += chance * float((group_over_mean(coins, one_group) * score).mean())
        centred += chance * float((estimators.group_centred(coins, one_group) * score).mean())
    orders = sum((1 - p) ** (k - 1) for k in range(1, n)) * p * (1 - p)  # of pass@1 ... pass@(n - 1)
    assert found == pytest.approx(orders, abs=1e-12)
    assert centred == pytest.approx((n - 1) / n * p * (1 - p), abs=1e-12)  # control: that of p itself


def test_without_the_deviation_scaled_is_centred():
    rewards, values, mask = ragged(2)
    group = torch.tensor([0, 1, 0, 1, 0])
    centred, to_go = ESTIMATORS["group_centred"](turns_of(rewards, values, mask, group), 0.9, 1.0, "episode")
    scaled, _ = group_scaled(rewards, values, mask, group, 0.9, 1.0)
    alone, _ = leave_one_out(rewards, values, mask, group, 0.9, 1.0)
    for number, count in ((0, 3), (1, 2)):
        deviation = to_go[group == number, 0].std(correction=0)
        mine = group == number
        torch.testing.assert_close(scaled[mine] * deviation, centred[mine], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone[mine], centred[mine] * count / (count - 1), atol=1e-12, rtol=0)


# Credit, and episodes that were cut


def test_credit_to_turns_compares_each_with_the_same_turn_of_the_group():
    # gamma 1. Returns: 3, 2 | 1, 4 | 8 in one group, 10, 7 | 6 in another. The means of the first group: 4 of turn 0,
    # 3 of the two that have a turn 1 (3.6 of all five returns); of the second: 8, and 7 of the only one.
    rewards = table([1, 2], [-3, 4], [8, 9], [3, 7], [6, -5])
    mask = table([1, 1], [1, 1], [1, 0], [1, 1], [1, 0])
    turns = turns_of(rewards, rewards, mask, torch.tensor([0, 0, 0, 1, 1]))
    advantages, returns = ESTIMATORS["group_centred"](turns, 1.0, 1.0, "turn")
    assert returns.tolist() == [[3, 2], [1, 4], [8, 0], [10, 7], [6, 0]]
    assert advantages.tolist() == [[-1, -1], [-3, 1], [4, 0], [2, 0], [-2, 0]]
    whole, _ = ESTIMATORS["group_centred"](turns, 1.0, 1.0, "episode")
    assert whole.tolist() == [[-1, -1], [-3, -3], [4, 0], [2, 2], [-2, 0]]
    # The means of the others: 4.5, 5.5, 2 | 6, 10 of turn 0, 4, 2 of turn 1.
    alone, _ = ESTIMATORS["leave_one_out"](turns, 1.0, 1.0, "turn")
    torch.testing.assert_close(alone, table([-1.5, -2], [-4.5, 2], [6, 0], [4, 0], [-4, 0]), atol=1e-12, rtol=0)


def test_credit_of_gae_to_the_episode_is_that_of_its_first_turn():
    rewards, values, mask = ragged()
    by_turn, returns = gae(rewards, values, mask, 0.9, 0.95)
    whole, same = estimators.gae(turns_of(rewards, values, mask), 0.9, 0.95, "episode")
    assert torch.equal(whole, by_turn[:, :1] * mask)
    assert torch.equal(returns, same)


def test_the_value_after_a_cut_stands_for_what_would_have_followed():
    # gamma 0.5, lam 0.5, cut after two turns with 8 to come: delta = (-1 + 0.5*4 - 2, -1 + 0.5*8 - 4) = (-1, -1).
    rewards, values, mask = table([-1, -1, 7]), table([2, 4, 7]), table([1, 1, 0])
    after = torch.tensor([8.0], dtype=torch.float64)
    cut = turns_of(rewards, values, mask, after=after)
    advantages, returns = estimators.gae(cut, 0.5, 0.5, "turn")
    assert advantages.tolist() == [[-1.25, -1.0, 0.0]]
    assert returns.tolist() == [[0.75, 3.0, 0.0]]
    assert discounted(cut, 0.5).tolist() == [[-1 + 0.5 * 3, 3.0, 0.0]]
    # With the value that the rest really has, nothing is lost by the cut (lam 1).
    full = turns_of(table([-1, -1, 8]), values, table([1, 1, 1]))
    whole, _ = estimators.gae(full, 0.5, 1.0, "turn")
    assert estimators.gae(cut, 0.5, 1.0, "turn")[0][:, :2].tolist() == whole[:, :2].tolist()


def test_groups_without_variance():
    rewards = table([1, 0], [1, 0], [2, 1], [2, 3], [5, 9], [5, 0], [0.1, 0.2], [0.1, 0.2], [0.1, 0.2])
    mask = table([1, 1], [1, 1], [1, 1], [1, 1], [1, 0], [1, 0], [1, 1], [1, 1], [1, 1])
    group = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 3])
    assert without_variance(rewards, mask, group).tolist() == [True] * 2 + [False] * 2 + [True] * 5
    mask[5, 1] = 1  # as much, in another number of turns
    assert without_variance(rewards, mask, group).tolist() == [True] * 2 + [False] * 4 + [True] * 3


@pytest.mark.parametrize("credit", ["turn", "episode"])
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_neither_order_nor_padding_matters(estimator, credit):
    rewards, values, mask = ragged(3)
    group, after = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 0.7, 0, 0], dtype=torch.float64)
    given = (rewards, values, mask, group, after)
    before = estimator(Turns(*given), 0.9, 0.95, credit)
    order = torch.tensor([3, 0, 4, 2, 1])
    changed = estimator(Turns(*(t[order] for t in given)), 0.9, 0.95, credit)
    rubbish = torch.where(mask == 0, 1e6, 0.0).double()
    padded = estimator(Turns(rewards + rubbish, values + rubbish, mask, group, after), 0.9, 0.95, credit)
    for a, b, c in zip(before, changed, padded, strict=True):
        torch.testing.assert_close(a[order], b, atol=1e-12, rtol=0)
        assert torch.equal(a, c)
        assert torch.all(a[mask == 0] == 0)
    # Control: rewards of real turns matter.
    more = Turns(rewards + mask * rewards, values, mask, group, after)
    assert not torch.equal(estimator(more, 0.9, 0.95, credit)[1], before[1])


def test_explained_variance():
    rewards, _, mask = ragged()
    assert explained_variance(rewards, rewards, mask) == 1.0
    assert explained_variance(torch.full_like(rewards, 3.0), rewards, mask) == pytest.approx(0.0, abs=1e-12)
    assert explained_variance(-rewards, rewards, mask) == pytest.approx(-3.0, abs=1e-9)
