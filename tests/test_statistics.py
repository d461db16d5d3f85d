"""Statistics against hand-set values, identities, and controls that must fail."""

import itertools
import math
import random
from statistics import fmean

import pytest

from ruleshift.evaluation.evaluate import Cell, Point, rows_of
from ruleshift.evaluation.statistics import (
    clustered_difference,
    mean_interval,
    paired_difference,
    pass_at_k,
    pooled_share,
    seed_interval,
    share_interval,
    student_t_cdf,
    student_t_quantile,
    wilson_interval,
)

Z = 1.96


def wald_interval(successes: int, n: int) -> tuple[float, float]:
    """The interval of the textbooks, which fails near 0 and 1: the control."""
    p = successes / n
    half = Z * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


def coverage(interval, n: int, p: float) -> float:
    """The exact chance that the interval of n trials holds p."""
    chances = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    return sum(chance for k, chance in enumerate(chances) if interval(k, n)[0] <= p <= interval(k, n)[1])


# ---------------------------------------------------------------- Wilson


def test_wilson_by_hand() -> None:
    # 8 of 10: centre 0.8 + 3.8416/20 = 0.99208, half 1.96 sqrt(0.016 + 0.009604) = 0.3136245, scale 1.38416
    assert wilson_interval(8, 10) == pytest.approx((0.6784555 / 1.38416, 1.3057045 / 1.38416), abs=1e-6)
    assert wilson_interval(0, 10) == pytest.approx((0, 3.8416 / 13.8416))
    assert wilson_interval(10, 10) == pytest.approx((10 / 13.8416, 1))
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n"), [(1, 7), (3, 7), (37, 100), (999, 1000)])
def test_wilson_ends_are_just_not_rejected(successes: int, n: int) -> None:
    p = successes / n
    for q in wilson_interval(successes, n):
        assert abs(p - q) == pytest.approx(Z * math.sqrt(q * (1 - q) / n))
    assert any(abs(p - q) != pytest.approx(Z * math.sqrt(abs(q * (1 - q)) / n)) for q in wald_interval(successes, n))


def test_wilson_is_symmetric_and_stays_in_range() -> None:
    for n in (1, 2, 5, 50):
        for k in range(n + 1):
            low, high = wilson_interval(k, n)
            assert 0 <= low <= k / n <= high <= 1
            assert low < high
            assert wilson_interval(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_wilson_covers_where_the_normal_interval_does_not() -> None:
    assert coverage(wilson_interval, 40, 0.05) > 0.93
    assert coverage(wald_interval, 40, 0.05) < 0.90


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2), (0, -1)])
def test_wilson_rejects_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson_interval(successes, n)


# ---------------------------------------------------------------- differences


def test_paired_difference_by_hand() -> None:
    # d = 1, 0, 0, 1: mean 1/2, sd sqrt(1/3), standard error sqrt(1/12)
    found = paired_difference([True, True, False, True], [False, True, False, False])
    half = Z * math.sqrt(1 / 12)
    assert found == pytest.approx((0.5, 0.5 - half, 0.5 + half, 4))


def test_paired_difference_is_mcnemars() -> None:
    """With only-a and only-b counts, the variance of the mean is (a + b - (a - b)^2 / n) / (n (n - 1))."""
    n, only_a, only_b = 50, 12, 5
    a = [1] * only_a + [0] * only_b + [1] * (n - only_a - only_b)
    b = [0] * only_a + [1] * only_b + [1] * (n - only_a - only_b)
    found = paired_difference(a, b)
    variance = (only_a + only_b - (only_a - only_b) ** 2 / n) / (n * (n - 1))
    assert found.mean == pytest.approx((only_a - only_b) / n)
    assert found.high - found.mean == pytest.approx(Z * math.sqrt(variance))


def test_paired_difference_turns_round_and_uses_the_pairs() -> None:
    a, b = [1, 1, 1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0, 1, 0]
    there, back = paired_difference(a, b), paired_difference(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    unpaired = paired_difference(a, b[::-1])  # the control: same shares, wrong pairs
    assert unpaired.mean == there.mean
    assert unpaired.high - unpaired.low > 1.5 * (there.high - there.low)


def test_paired_difference_needs_pairs() -> None:
    with pytest.raises(ValueError, match="at least two problems"):
        paired_difference([1], [0])
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1, 0], [0])


def test_clusters_of_one_seed_are_pairs() -> None:
    a, b = [1, 1, 0, 1, 0], [0, 1, 0, 0, 1]
    assert clustered_difference([a], [b]) == paired_difference(a, b)


def test_repeated_seeds_do_not_narrow_the_interval() -> None:
    a, b = [1, 1, 0, 1, 0], [0, 1, 0, 0, 1]
    once = clustered_difference([a], [b])
    assert clustered_difference([a] * 3, [b]) == pytest.approx(once)
    pooled = paired_difference(a * 3, b * 3)  # the control: as if 15 problems had been answered
    assert pooled.high - pooled.low < 0.6 * (once.high - once.low)


def test_seeds_are_averaged_per_problem() -> None:
    # per problem (1 + 0) / 2 - 0, (1 + 1) / 2 - 1: differences 1/2, 0
    found = clustered_difference([[1, 1], [0, 1]], [[0, 1]])
    half = Z * math.sqrt(0.125 / 2)
    assert found == pytest.approx((0.25, 0.25 - half, 0.25 + half, 2))
    with pytest.raises(ValueError, match="no seed"):
        clustered_difference([], [[1, 0]])


# ---------------------------------------------------------------- Student's t


@pytest.mark.parametrize(
    ("df", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (29, 2.0452)]
)
def test_t_quantiles_of_the_tables(df: int, t: float) -> None:
    assert student_t_quantile(0.975, df) == pytest.approx(t, abs=5e-5)
    assert student_t_quantile(0.025, df) == pytest.approx(-t, abs=5e-5)
    assert t != pytest.approx(1.96, abs=0.05)  # the control: the normal point would not do


def test_t_distribution_has_its_closed_forms_and_limit() -> None:
    for t in (-3.0, -0.5, 0.0, 0.1, 2.0, 40.0):
        assert student_t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi)
        assert student_t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)))
        assert student_t_cdf(t, 2000) == pytest.approx(0.5 * (1 + math.erf(t / math.sqrt(2))), abs=1e-3)
    for df, p in itertools.product((1, 2, 7, 8), (0.01, 0.3, 0.5, 0.9)):
        assert student_t_cdf(student_t_quantile(p, df), df) == pytest.approx(p)


def test_seed_interval_by_hand() -> None:
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert seed_interval([0.1, 0.2, 0.3]) == pytest.approx((0.2, 0.2 - half, 0.2 + half, 3), abs=1e-6)
    with pytest.raises(ValueError, match="at least two seeds"):
        seed_interval([0.1])


# ---------------------------------------------------------------- pass@k


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)
    assert pass_at_k(5, 2, 4) == 1.0
    assert pass_at_k(5, 0, 3) == 0.0


def test_pass_at_k_is_the_share_of_subsets() -> None:
    for n in range(1, 7):
        for c, k in itertools.product(range(n + 1), range(1, n + 1)):
            subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert pass_at_k(n, c, k) == pytest.approx(fmean(any(subset) for subset in subsets))
    assert pass_at_k(5, 2, 2) != pytest.approx(1 - (1 - 2 / 5) ** 2)  # the control: the biased estimate


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, 1, 0), (3, 1, 4), (3, -1, 1)])
def test_pass_at_k_rejects_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k"):
        pass_at_k(n, c, k)


# ---------------------------------------------------------------- matched points


def test_pooled_share_has_the_pooled_mean_and_is_the_outcome_itself_for_single_counts() -> None:
    assert pooled_share([1.0, 0.0, 1.0], [1, 1, 1]) == [1.0, 0.0, 1.0]
    values = pooled_share([3.0, 1.0], [4, 2])
    assert fmean(values) == pytest.approx(4 / 6)
    # by hand: R = 2/3, mean count 3; 2/3 + (3 - 8/3) / 3 and 2/3 + (1 - 4/3) / 3
    assert values == pytest.approx([2 / 3 + 1 / 9, 2 / 3 - 1 / 9])
    assert pooled_share([0.0], [0]) == [0.0]


def test_share_interval_is_wilson_for_outcomes_and_widens_with_clusters() -> None:
    outcomes = [1.0] * 30 + [0.0] * 10
    assert share_interval(outcomes) == pytest.approx(wilson_interval(30, 40))
    # ten attempts a problem: all alike within a problem tell no more than one, independent ones tell ten times as much
    alike = share_interval(pooled_share([10.0] * 30 + [0.0] * 10, [10] * 40))
    assert alike == pytest.approx(wilson_interval(30, 40), abs=0.01)
    rng = random.Random(0)
    hits = [float(sum(rng.random() < 0.75 for _ in range(10))) for _ in range(40)]
    low, high = share_interval(pooled_share(hits, [10] * 40))
    assert (high - low) < 0.6 * (alike[1] - alike[0])


def test_mean_interval() -> None:
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 1.96, 2 + 1.96))
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)


def test_the_interval_of_steps_passed_ends_at_zero() -> None:
    cell = Cell("id", "greedy", ((-2,), (-2,), (-2,), (1, -2)), (1, 1, 1, 2), (1, 1, 1, 2))
    rows = rows_of(Point("virl-l", "base", 0, 0, 0.0, 0.0, (cell,)), [2])
    (passed,) = [row for row in rows if row.metric == "steps_passed"]
    assert mean_interval([0.0, 0.0, 0.0, 1.0]) == pytest.approx((0.25 - 0.49, 0.25 + 0.49))
    assert (passed.value, passed.ci_low, passed.ci_high) == pytest.approx((0.25, 0.0, 0.74))
