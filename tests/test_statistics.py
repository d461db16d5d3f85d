"""Statistics against hand-set values, identities, and controls that must fail."""

import itertools
import math
import random
from statistics import fmean

import numpy as np
import pytest

from over_problems import clustered_difference
from ruleshift.evaluation.evaluate import Cell, Point, rows_of
from ruleshift.evaluation.statistics import (
    crossed_difference,
    crossed_estimate,
    is_precise,
    mean_interval,
    pooled_share,
    share_interval,
    standard_error,
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


# ---------------------------------------------------------------- seeds and problems


T_TABLE = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 99: 1.98422}  # the 97.5% points of printed tables


@pytest.mark.parametrize("df", [1, 2, 3, 4, 99])
def test_quantiles_are_those_of_the_tables(df: int) -> None:
    values = [float(i % 2) for i in range(df + 1)]
    found = crossed_difference([values], [[0.0] * len(values)])
    error = math.sqrt(sum((x - found.mean) ** 2 for x in values) / df / (df + 1))
    assert found.high - found.mean == pytest.approx(T_TABLE[df] * error, rel=1e-5)


def test_crossed_difference_by_hand() -> None:
    """Two seeds, four problems. y = 1 1 1 0 / 1 0 1 0: means of seeds 3/4, 1/2, of problems 1, 1/2, 1, 0; mean 5/8.

    MS_S = 4 * 2 / 64 = 1/8, MS_P = 2 * (9 + 1 + 9 + 25) / 64 / 3 = 11/24. The residuals are -1/8, 3/8, -1/8, -1/8 and
    their opposites, MS_E = 2 * (3 + 9) / 64 / 3 = 1/8. Var = (1/8 + 11/24 - 1/8) / 8 = 11/192.
    """
    estimate = crossed_estimate([[1, 1, 1, 0], [1, 0, 1, 0]], [[0, 0, 0, 0]])
    assert estimate.mean == 5 / 8
    assert (estimate.problems, estimate.seeds, estimate.over) == (4, 2, "seeds and problems")
    both, seeds, least = estimate.readings
    assert least == (math.sqrt(2) / 6, math.inf)
    assert both.error == pytest.approx(math.sqrt(11 / 192))
    assert both.df == pytest.approx((11 / 24) ** 2 / ((1 / 8) ** 2 + (11 / 24) ** 2 / 3 + (1 / 8) ** 2 / 3))
    assert seeds == pytest.approx((1 / 8, 1.0))  # half the difference of 3/4 and 1/2
    found = estimate.interval()
    assert found == crossed_difference([[1, 1, 1, 0], [1, 0, 1, 0]], [[0, 0, 0, 0]])
    assert found.high - found.mean == pytest.approx(T_TABLE[1] / 8, rel=1e-5)  # the wider of the two


def test_the_variance_is_never_less_than_that_of_the_rest() -> None:
    y = [[1.0, 0.0], [0.0, 1.0]]  # all rest: MS_S = MS_P = 0, MS_E = 1
    estimate = crossed_estimate(y, [[0, 0]])
    assert estimate.readings[0] == pytest.approx((1 / 2, 1.0))


def test_one_seed_is_students_t_over_problems_and_says_so() -> None:
    a, b = [1, 1, 0, 1, 0], [0, 1, 0, 0, 1]
    estimate = crossed_estimate([a], [b])
    assert estimate.over == "problems"
    found, normal = estimate.interval(), clustered_difference([a], [b])
    assert (found.mean, found.n) == (normal.mean, 5)
    assert (found.high - found.mean) / (normal.high - normal.mean) == pytest.approx(T_TABLE[4] / Z, rel=1e-5)


def test_seeds_that_are_alike_tell_no_more_than_one() -> None:
    a, b = [1, 1, 0, 1, 0], [0, 1, 0, 0, 1]
    assert crossed_difference([a] * 3, [b]) == pytest.approx(crossed_difference([a], [b]))
    assert crossed_difference([a] * 3, [b] * 2) == pytest.approx(crossed_difference([a], [b]))
    for other in ([b], [b] * 2, [b] * 3):
        assert crossed_estimate([a] * 3, other).over == "problems"
    assert crossed_estimate([a, a, b], [b]).over == "seeds and problems"
    assert crossed_estimate([[0] * 9] * 5, [[0] * 9]).over == "problems"  # none learned anything: another seed might


def test_crossed_difference_turns_round() -> None:
    rng = np.random.default_rng(0)
    for seeds in ((3, 3), (3, 1), (3, 5)):
        a, b = (rng.random((count, 20)).round() for count in seeds)
        there, back = crossed_difference(a, b), crossed_difference(b, a)
        assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
        assert there.n == 20


def test_seeds_are_paired_where_the_arms_have_as_many() -> None:
    rng = np.random.default_rng(0)
    shared = np.array([[-0.2], [0.0], [0.2]])  # what seed s does to both arms
    a, b = shared + rng.normal(0.7, 0.1, (3, 200)), shared + rng.normal(0.5, 0.1, (3, 200))
    paired, shuffled = crossed_difference(a, b), crossed_difference(a, b[[1, 2, 0]])
    assert paired.mean == pytest.approx(shuffled.mean)
    assert 0.15 < paired.low < paired.high < 0.25
    assert shuffled.low < 0 < shuffled.high  # the control: pairs of other seeds do not take out what they share


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (10, 3)])
@pytest.mark.parametrize("problems", [1, 2, 30])
@pytest.mark.parametrize("values", [(0.0, 0.0), (1.0, 1.0), (0.1, 0.1), (1.0, 0.0)])
def test_tables_without_spread_have_an_answer(
    seeds: tuple[int, int], problems: int, values: tuple[float, float]
) -> None:
    a, b = ([[value] * problems] * count for value, count in zip(values, seeds, strict=True))
    estimate = crossed_estimate(a, b)
    mean, low, high, n = estimate.interval()
    assert mean == pytest.approx(values[0] - values[1])
    assert 0 <= estimate.p_value <= 1
    assert n == problems
    if problems == 1:
        assert (low, high, estimate.p_value) == (-math.inf, math.inf, 1.0)
    else:
        half = 1.959964 * math.sqrt(2) / (problems + 2)
        assert (low, high) == pytest.approx((mean - half, mean + half))
        assert (estimate.p_value < 0.05) == (values[0] != values[1])


def test_hardly_any_difference_is_not_known_beyond_doubt() -> None:
    """One problem of 100 in one direction has an error of 1/100; as one each way and two more, sqrt(2) / 102."""
    few = crossed_difference([[1] + [0] * 99], [[0] * 100])
    assert few.high - few.mean == pytest.approx(1.959964 * math.sqrt(2) / 102)
    many = crossed_difference([[1] * 30 + [0] * 70], [[0] * 100])
    assert many.high - many.mean == pytest.approx(1.984217 * math.sqrt(0.3 * 0.7 / 99))
    smooth = crossed_difference([[0.01] + [0.0] * 99], [[0.0] * 100])  # no outcomes of 0 and 1
    assert smooth.high - smooth.mean < 0.001


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ([], [[1]], "no seed"),
        ([[]], [[]], "no problem"),
        ([[1, 0], [1]], [[1, 0]], "same problems"),
        ([[1, 0]], [[1, 0, 1]], "same problems: 2 and 3"),
        ([[1, math.nan]], [[1, 0]], "not a finite"),
    ],
)
def test_what_is_no_table_is_refused(a: list, b: list, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        crossed_difference(a, b)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_p_values_and_intervals_agree(level: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        y = rng.normal(rng.normal(0, 0.1), 0.3, (3, 15)) + rng.normal(0, 0.1, (3, 1))
        estimate = crossed_estimate(y, [[0.0] * 15])
        at_zero = estimate.interval(1 - estimate.p_value)
        assert min(abs(at_zero.low), abs(at_zero.high)) == pytest.approx(0, abs=1e-9)
        found = estimate.interval(level)
        assert (found.low > 0 or found.high < 0) == (estimate.p_value < 1 - level)


EFFECTS = {"absent": 0.0, "seen": 0.2, "large": 0.4, "huge": 1.6}
"""Seed effects as standard deviations of a normal threshold: 0, about 4, 8 and 26 points in the share solved."""


def tables(seeds: int, problems: int, effect: float, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Outcomes of a trained arm (count, S, P), of its start (count, 1, P), and the true difference of their shares.

    Right where 0.8 + effect u_s + 1.5 v_p + e_sp > 0, and for the start where 1.5 v_p + e_p > 0, all normal: problems
    differ in difficulty, and e holds what seed and problem make together. A share is the normal chance
    Phi(0.8 / sqrt(1 + effect^2 + 1.5^2)).
    """
    rng = np.random.default_rng((seeds, problems, round(100 * effect)))
    difficulty = 1.5 * rng.standard_normal((count, 1, problems))
    luck = effect * rng.standard_normal((count, seeds, 1))
    trained = 0.8 + luck + difficulty + rng.standard_normal((count, seeds, problems)) > 0
    start = difficulty + rng.standard_normal((count, 1, problems)) > 0
    return trained, start, math.erf(0.8 / math.sqrt(2 * (1 + effect**2 + 1.5**2))) / 2


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("problems", [100, 400])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_crossed_intervals_cover(seeds: int, problems: int, effect: str) -> None:
    """95% intervals cover in 93-98% of simulated studies, whatever the seeds do; 91% where most end near 0 or 1.

    600 studies have a standard error of 0.9% of their own.
    """
    trained, start, truth = tables(seeds, problems, EFFECTS[effect], 600)
    found = [crossed_difference(a, b) for a, b in zip(trained, start, strict=True)]
    covered = fmean(low <= truth <= high for _, low, high, _ in found)
    assert (0.90 if effect == "huge" else 0.92) <= covered <= 0.985
    error = float(np.std([mean for mean, *_ in found]))
    t = Z if effect == "absent" else T_TABLE.get(seeds - 1, 2.2622)
    assert fmean(high - low for _, low, high, _ in found) < 1.2 * 2 * t * error  # and are not wide without need
    if effect in ("large", "huge"):  # the control: over problems only
        narrow = [clustered_difference(a, b) for a, b in zip(trained[:200], start[:200], strict=True)]
        assert fmean(low <= truth <= high for _, low, high, _ in narrow) < 0.93 - 0.02


def test_crossed_intervals_cover_where_arms_have_different_seeds() -> None:
    trained, _, _ = tables(8, 100, 0.4, 600)  # both arms alike
    found = [crossed_difference(y[:3], y[3:]) for y in trained]
    assert 0.93 <= fmean(low <= 0 <= high for _, low, high, _ in found) <= 0.98
    unshared = [crossed_difference(y[:3], z[3:]) for y, z in itertools.pairwise(trained)]
    assert fmean(x.high - x.low for x in unshared) > fmean(x.high - x.low for x in found)  # problems are paired


# ---------------------------------------------------------------- shares


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


def test_a_kl_is_precise_by_its_share_or_in_nats() -> None:
    assert standard_error([1.0, 3.0]) == pytest.approx(1.0)  # sd sqrt(2), by sqrt(2)
    assert standard_error([2.0]) == math.inf
    assert is_precise(2.0, 0.1)
    assert not is_precise(2.0, 0.11)
    assert is_precise(0.01, 0.005)
    assert not is_precise(0.01, 0.006)
    assert is_precise(0.0, 0.0)


def test_mean_interval() -> None:
    assert mean_interval([1.0, 3.0]) == pytest.approx((2 - 1.96, 2 + 1.96))
    assert mean_interval([2.0, 2.0]) == (2.0, 2.0)


def test_the_interval_of_steps_passed_ends_at_zero() -> None:
    cell = Cell("id", "greedy", ((-2,), (-2,), (-2,), (1, -2)), (1, 1, 1, 2), (1, 1, 1, 2))
    rows = rows_of(Point("virl-l", "base", 0, 0, 0.0, 0.0, (cell,)), [2])
    (passed,) = [row for row in rows if row.metric == "steps_passed"]
    assert mean_interval([0.0, 0.0, 0.0, 1.0]) == pytest.approx((0.25 - 0.49, 0.25 + 0.49))
    assert (passed.value, passed.ci_low, passed.ci_high) == pytest.approx((0.25, 0.0, 0.74))
