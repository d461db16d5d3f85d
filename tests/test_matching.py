"""Matched points against curves worked out by hand, cliffs that must not be read across, and simulated coverage."""

import itertools
import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest

from over_problems import clustered_difference
from ruleshift.evaluation.claims import corrected, verdict
from ruleshift.evaluation.matching import (
    Measured,
    Tolerance,
    crossings,
    matched_difference,
    next_steps,
    reach,
)
from ruleshift.evaluation.statistics import crossed_estimate


def curve(*points: tuple[int, float, float]) -> list[Measured]:
    """A curve of one problem each: step, matched quantity, outcome."""
    return [Measured(step, [matched], [outcome]) for step, matched, outcome in points]


START = (0, 0.60, 0.80)
SFT = curve(START, (3, 0.965, 0.82), (9, 0.995, 0.31))  # 51 points lost between two evaluated steps
PPO = curve(START, (10, 0.97, 0.80), (20, 0.98, 0.80))


# ---------------------------------------------------------------- crossings


def test_a_value_between_close_neighbours_is_read() -> None:
    (found,) = crossings(curve(START, (1, 0.61, 0.78)), 0.605)
    assert found.close
    assert (found.steps, found.matched, found.outcome) == ((0, 1), (0.60, 0.61), (0.80, 0.78))


def test_a_cliff_is_not_read_across() -> None:
    (found,) = crossings(SFT, 0.98)
    assert (found.steps, found.outcome, found.close) == ((3, 9), (0.82, 0.31), False)
    wide = Tolerance(matched=0.02, outcome=0.6)  # the matched quantity alone is too far apart, and so is the outcome
    assert not crossings(SFT, 0.98, wide)[0].close
    assert crossings(SFT, 0.98, Tolerance(0.03, 0.6))[0].close


def test_every_crossing_of_a_curve_that_turns_back() -> None:
    back = curve((0, 0.5, 0.9), (1, 0.7, 0.9), (2, 0.6, 0.5), (3, 0.6, 0.4), (4, 0.8, 0.1))
    assert [found.steps for found in crossings(back, 0.65)] == [(0, 1), (1, 2), (3, 4)]
    assert [found.steps for found in crossings(back, 0.6)] == [(0, 1), (2, 2), (3, 3)]  # points that have just that
    assert [found.steps for found in crossings(back, 0.8)] == [(4, 4)]
    assert all(found.close for found in crossings(back, 0.6)[1:])
    assert crossings(back, 0.9) == crossings(back, 0.4) == ()


def test_reach_is_as_far_as_both_get() -> None:
    assert reach(SFT, PPO) == reach(PPO, SFT) == 0.98


# ---------------------------------------------------------------- which checkpoints to evaluate


def truth(step: int) -> tuple[int, float, float]:
    """A run whose outcome falls off a cliff after step 37, while its ID success goes on rising evenly."""
    return step, 0.5 + 0.4 * step / 128, 0.8 if step <= 37 else 0.3


@pytest.mark.parametrize("kept", [range(1, 129), [2, 4, 8, 16, 32, 37, 45, 64, 90, 128]])
def test_bisection_closes_in_on_the_cliff(kept: Sequence[int]) -> None:
    evaluated, target = {0, 128}, truth(37)[1] + 0.001
    rounds = 0
    while wanted := next_steps(curve(*map(truth, sorted(evaluated))), target, kept):
        assert len(wanted) == 1
        assert not evaluated & set(wanted)
        evaluated.update(wanted)
        rounds += 1
    assert rounds <= math.ceil(math.log2(len(kept)))
    (found,) = crossings(curve(*map(truth, sorted(evaluated))), target)
    after = 38 if 38 in kept else 45
    assert (found.steps, found.outcome, found.close) == ((37, after), (0.8, 0.3), False)


def test_nothing_more_is_evaluated_than_the_match_needs() -> None:
    assert next_steps(curve(START, (8, 0.61, 0.78)), 0.605, range(9)) == ()  # close
    assert next_steps(SFT, 0.98, [3, 9]) == ()  # nothing kept between
    assert next_steps(SFT, 0.98, range(12)) == (6,)
    assert next_steps(SFT, 0.965, range(12)) == ()  # measured
    assert next_steps(SFT, 0.965, range(12), slack=0.01) == (2, 6)  # within the error of the matched quantity
    back = curve((0, 0.5, 0.9), (4, 0.7, 0.9), (8, 0.6, 0.5), (12, 0.8, 0.1))
    assert next_steps(back, 0.65, range(13)) == (2, 6, 10)  # every crossing


# ---------------------------------------------------------------- differences


def spread(found: Sequence[tuple[int, float, float]], known: bool = False) -> list[Measured]:
    """The same shares as outcomes 0 and 1 of 200 problems; the matched quantity too, unless it is `known`."""
    share = (np.arange(200) + 0.5) / 200
    return [Measured(step, [m] if known else (share < m).tolist(), (share < o).tolist()) for step, m, o in found]


def test_matched_difference_by_hand() -> None:
    a = spread([START, (1, 0.61, 0.76), (2, 0.63, 0.74)])
    b = spread([START, (5, 0.62, 0.80)])
    found = matched_difference([a], [b], replicates=50)
    # both reach 0.62: a half-way between 0.76 and 0.74, b at its end
    assert found.interval().mean == pytest.approx(0.75 - 0.80)
    assert found.targets == pytest.approx((0.62,))
    assert (found.close, found.once) == (True, True)
    assert (found.a[0][0].steps, found.b[0][0].steps) == ((1, 2), (5, 5))
    assert found.ends[0].mean == found.ends[1].mean
    assert found.ends[0].over == "problems"
    back = matched_difference([b], [a], replicates=50).interval()
    assert back[:3] == pytest.approx((0.05, -found.interval().high, -found.interval().low))


def test_across_a_cliff_the_difference_has_two_ends() -> None:
    a, b = ([spread([(step, m, o) for step, (m,), (o,) in arm], known=True)] for arm in (PPO, SFT))
    found = matched_difference(a, b, replicates=50)
    assert not found.close
    assert found.b[0][0].outcome == pytest.approx((0.82, 0.31))
    assert [end.mean for end in found.ends] == pytest.approx([-0.02, 0.49])
    interval = found.interval()
    assert interval.low < -0.02 < 0.49 < interval.high
    assert (verdict(interval), found.p_value) == ("undecided", 1.0)
    straight = matched_difference(a, b, Tolerance(1, 1), replicates=50)  # the control: a line across the cliff
    assert straight.interval().mean == pytest.approx(0.80 - (0.82 + 0.31) / 2)
    assert verdict(straight.interval()) == "raises"


def test_a_curve_that_turns_back_is_told() -> None:
    a = spread([START, (1, 0.62, 0.80), (2, 0.61, 0.78), (3, 0.63, 0.75)])
    b = spread([START, (4, 0.615, 0.80)])
    found = matched_difference([a], [b], replicates=10)
    assert not found.once
    assert [x.steps for x in found.a[0]] == [(0, 1), (1, 2), (2, 3)]


def test_the_bootstrap_agrees_with_the_crossed_table() -> None:
    """Where both arms are read at measured points of a known quantity, only seeds and problems are left to vary."""
    rng = np.random.default_rng(0)
    tables = rng.random((2, 4, 150)) + rng.normal(0, 0.3, (1, 1, 150)) + rng.normal(0, 0.1, (2, 4, 1))
    start = Measured(0, [0.0], [0.0] * 150)
    a, b = ([[start, Measured(10, [1e9], list(y))] for y in table] for table in tables)
    found = matched_difference(a, b, replicates=4000).ends[0]
    wanted = crossed_estimate(tables[0], tables[1])
    assert found.mean == pytest.approx(wanted.mean)
    assert (found.over, found.problems, found.seeds) == (wanted.over, 150, 4)
    assert found.readings[0] == pytest.approx(wanted.readings[0], rel=0.05)
    assert found.readings[1] == pytest.approx(wanted.readings[1])


def test_the_same_seed_draws_the_same_and_levels_widen() -> None:
    a, b = ([spread([START, (1, 0.61, 0.80 - loss)])] for loss in (0.0, 0.04))
    found = matched_difference(a, b, replicates=100)
    assert found == matched_difference(a, b, replicates=100)
    assert found != matched_difference(a, b, replicates=100, seed=1)
    assert found.interval(0.99).low < found.interval(0.5).low
    assert found.interval(1 - found.p_value).low == pytest.approx(0)
    assert corrected([found]) == [found.interval()]


def test_curves_that_cannot_be_matched_are_refused() -> None:
    with pytest.raises(ValueError, match="1 and 2 seeds"):
        matched_difference([SFT], [PPO, PPO])
    with pytest.raises(ValueError, match="0 and 0 seeds"):
        matched_difference([], [])
    with pytest.raises(ValueError, match="same problems"):
        matched_difference([SFT], [spread([START, (1, 0.7, 0.7)])])
    with pytest.raises(ValueError, match="same start model"):
        matched_difference([curve((0, 0.9, 0.9), (1, 0.95, 0.9))], [PPO[:1]])
    found = matched_difference([SFT], [PPO], replicates=10).interval()  # one problem: no end, but no failure
    assert (found.low, found.high) == (-math.inf, math.inf)


# ---------------------------------------------------------------- coverage

COARSE, FINE = np.linspace(0, 1, 13), np.linspace(0, 1, 61)
SPREAD = math.hypot(1, 0.7)  # of difficulties and of what seed and problem make together


def study(
    rng: np.random.Generator, seeds: int, effects: tuple[float, float], problems: int, at: np.ndarray = COARSE
) -> list[list[list[Measured]]]:
    """Two arms that gain ID success at a pace, and lose the outcome with it at a slope (1.2 and 0.4), by seed.

    Seeds differ in pace and slope by `effects`. A problem is right where what the model can do exceeds its difficulty;
    without problems, the true shares.
    """
    difficulty = rng.standard_normal((2, 1, problems))
    start = 0.7 * rng.standard_normal((2, 1, problems))
    arms = []
    for slope in (1.2, 0.4):
        arms.append([])
        for _ in range(seeds):
            gain = at * (1 + effects[0] * rng.uniform(-1, 1))
            loss = gain * (slope + effects[1] * rng.standard_normal())
            ability = np.stack([-0.5 + 1.5 * gain, 0.8 - loss])[..., None]  # (2, K, 1)
            if problems:
                own = np.where(at[:, None] > 0, 0.7 * rng.standard_normal((2, 1, problems)), start)
                values = (ability + difficulty + own > 0).astype(float)
            else:
                values = np.vectorize(lambda x: (1 + math.erf(x / SPREAD / math.sqrt(2))) / 2)(ability)
            arms[-1].append([Measured(k, *values[:, k]) for k in range(len(at))])
    return arms


EFFECTS = {"absent": (0.0, 0.0), "like those seen": (0.1, 0.1), "large": (0.2, 0.4)}


@pytest.mark.parametrize("effect", EFFECTS)
def test_matched_intervals_cover(effect: str) -> None:
    """95% intervals cover in at least 92% of 240 simulated studies of 3, 5 and 10 seeds, with 100 and 400 problems,
    whatever the seeds do (1.5% standard error), and in 85% of the 40 of each kind."""
    rng = np.random.default_rng(list(EFFECTS).index(effect))
    true = matched_difference(*study(rng, 400, EFFECTS[effect], 0), Tolerance(1, 1), replicates=1).interval().mean
    covered, narrow, widths = {}, {}, {}
    for kind in itertools.product((3, 5, 10), (100, 400)):
        seeds, problems = kind
        studies = [study(rng, seeds, EFFECTS[effect], problems) for _ in range(40)]
        found = [matched_difference(*arms, replicates=60).interval() for arms in studies]
        covered[kind] = fmean(low <= true <= high for _, low, high, _ in found)
        widths[kind] = fmean(high - low for _, low, high, _ in found)
        places = [at_known_places(*arms) for arms in studies]
        narrow[kind] = fmean(low <= true <= high for low, high in places)
    assert fmean(covered.values()) >= 0.92
    assert min(covered.values()) >= 0.85
    assert all(widths[10, problems] < widths[3, problems] < 1 for problems in (100, 400))
    if effect == "large":  # the control: places taken as known, and no other seeds
        assert fmean(narrow.values()) < 0.85


def test_matched_intervals_cover_where_values_are_read_between_close_steps() -> None:
    """Coarse curves, as above, have neighbours too far apart for that in nearly all studies."""
    rng, effect = np.random.default_rng(7), EFFECTS["like those seen"]
    true = matched_difference(*study(rng, 400, effect, 0, FINE), replicates=1).interval().mean
    studies = [study(rng, seeds, effect, 1_600, FINE) for seeds in (3, 10) for _ in range(15)]
    found = [matched_difference(*arms, replicates=40) for arms in studies]
    assert fmean(one.close for one in found) > 0.9
    intervals = [one.interval() for one in found]
    assert fmean(low <= true <= high for _, low, high, _ in intervals) >= 0.9
    assert abs(fmean(mean for mean, *_ in intervals) - true) < 0.01


def at_known_places(a: list[list[Measured]], b: list[list[Measured]]) -> tuple[float, float]:
    ends = []
    for arm, other in ((a, b), (b, a)):
        targets = [reach(x, y) for x, y in zip(arm, other, strict=True)]
        places = [next(p for p in x if fmean(p.matched) >= t) for x, t in zip(arm, targets, strict=True)]
        ends.append([place.outcomes for place in places])
    return clustered_difference(*ends)[1:3]
