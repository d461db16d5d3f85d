"""Intervals and comparisons: pure functions of counts and outcomes.

Axes, in the names of nested sequences: S seeds, P problems. z = 1.96 is the two-sided 95% point of the normal
distribution.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

Outcomes = Sequence[Sequence[bool | float]]  # (S, P)

ROUNDING = 1e-12
"""What is smaller is rounding: a thousand times what means of shares lose, less than any number of problems shows."""

PRECISE = 0.05
"""What the standard error of a KL may be, as a share of it ..."""
CLOSE = 0.005
"""... or in nats: a tenth of what matched KLs may differ by."""


class Difference(NamedTuple):
    """A mean (of differences, say) with its interval. `n` counts the units it was averaged over: problems or seeds."""

    mean: float
    low: float
    high: float
    n: int


class Part(NamedTuple):
    """A part of a mean's variance, estimated with `df` degrees of freedom."""

    variance: float
    df: int


class Reading(NamedTuple):
    """What a mean is uncertain by, in one way of reading its table: standard error and degrees of freedom."""

    error: float
    df: float


class Estimate(NamedTuple):
    """A mean before a level is chosen. Where there are several readings, the widest counts.

    `problems` and `seeds` are how many of each it was averaged over: the fewest seeds, where two arms have different
    numbers of them, and 1 where no arm has more than one, or all are alike.
    """

    mean: float
    readings: tuple[Reading, ...]
    problems: int
    seeds: int

    @property
    def over(self) -> Literal["seeds and problems", "problems"]:
        """What the interval is over. With one seed, or with some that are alike, nothing is known of other seeds, and a
        table must say so."""
        return "seeds and problems" if self.seeds > 1 else "problems"

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference: P(|T| >= |mean| / error), Student's t. Below 1 - level where 0 is left out."""
        t = [(df, abs(self.mean) / max(error, ROUNDING)) for error, df in self.readings]
        return max(float(2 * stdtr(df, -value)) for df, value in t)

    def interval(self, level: float = 0.95) -> Difference:
        """mean +- t_df((1 + level) / 2) error"""
        half = max(error * float(stdtrit(df, (1 + level) / 2)) for error, df in self.readings)
        return Difference(self.mean, self.mean - half, self.mean + half, self.problems)


def wilson_interval(successes: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a proportion p = successes / n.

        (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    These are the proportions q that are not rejected by |p - q| <= z sqrt(q (1 - q) / n). It stays within [0, 1]
    and has a width at p = 0 and p = 1. Without any trial (n = 0) it is [0, 1]. Counts may be fractions.
    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n: {successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def mean_interval(values: Sequence[float], z: float = 1.96) -> tuple[float, float]:
    """The normal interval of a mean: mean(x) +- z sd(x) / sqrt(P), values (P,). A single value has no interval."""
    half = z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return fmean(values) - half, fmean(values) + half


def crossed_difference(a_seeds: Outcomes, b_seeds: Outcomes, level: float = 0.95) -> Difference:
    """The mean of a - b with an interval over other seeds and other problems, both. See `crossed_estimate`.

    a_seeds, b_seeds (S, P); the two arms may have different numbers of seeds. `n` counts the problems.
    """
    return crossed_estimate(a_seeds, b_seeds).interval(level)


def crossed_estimate(a_seeds: Outcomes, b_seeds: Outcomes) -> Estimate:
    """The mean of a - b, with training seeds and problems as crossed random effects.

        y_sp = mean + seed_s + problem_p + rest_sp
        Var(mean) = (MS_S + MS_P - MS_E) / (S P), never less than MS_E / (S P)
        df = (MS_S + MS_P - MS_E)^2 / (MS_S^2 / (S - 1) + MS_P^2 / (P - 1) + MS_E^2 / ((S - 1)(P - 1)))

    a_seeds, b_seeds (S, P). MS are the mean squares of seeds, problems and rest in the two-way table y:
    - As many seeds in both arms: y_sp = a_sp - b_sp. Seed s stands for the same data and order of training in both.
      It need not: pairs of unrelated seeds have honest intervals too, which are somewhat wider than need be.
    - One seed in one arm, S in the other: y_sp = a_sp - b_p. The one model is taken as given (a start model, say, that
      no seed had a part in).
    - Different numbers of seeds: each arm has its own table; MS_P is that of the differences of their means per
      problem, and what seeds and rest add to the variance is summed over the arms.
    - One seed in both: the interval of Student's t over problems, and `Estimate.over` says so. So where all seeds of a
      table are alike: none may have learned anything (0 everywhere), and whether one of another seed would is not told
      by that, since what nearly always fails need not always do so. Nor do seeds matter that nothing was trained with.

    A second reading is Student's t over the means of the seeds, MS_S / (S P) with S - 1 degrees of freedom, and the
    wider one counts. Where seeds differ much, the first is too narrow with three or fewer: when three happen to lie
    close together, both its variance and its quantile are small. In simulations with seeds that spread by 0 to 26
    points, nominal 95% intervals of the first reading alone cover 89-95% for three seeds and 83-95% for two; with the
    second 92-96% and 93-98%, three seeds' intervals being 3-23% wider. From five seeds on it hardly ever counts
    (92-96%; the lowest where most seeds end near 0 or 1). A component that comes out negative is not set to 0, so that
    without seed effects the coverage is the nominal one.

    A third reading is for outcomes of 0 and 1, and wherever all y are equal: the error is never less than if two of
    P + 2 problems told the arms apart, one each way, sqrt(2) / (P + 2). Without it arms that both fail at everything
    would be equal beyond doubt, over few problems as over many: 0 against 0 of 67 is 0 +- 4.0 points, of 134 0 +- 2.0.

    A single problem has an endless interval. Raises ValueError for no seed, no problem, problems that differ in number,
    and values not finite.
    Source: the crossed random-effects model, Searle, Casella and McCulloch, Variance components (1992), chapter 4;
    F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics Bulletin 2 (1946);
    the third reading: Bonett and Price, Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data, Journal of Educational and Behavioral Statistics 37 (2012).
    """
    a, b = _table(a_seeds), _table(b_seeds)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both arms must answer the same problems: {a.shape[1]} and {b.shape[1]}")
    paired = len(a) == len(b) or 1 in (len(a), len(b))
    y = [a - b] if paired else [a, b]  # tables whose seeds are independent of one another
    problems = y[0].mean(0) if paired else a.mean(0) - b.mean(0)  # (P,)
    many = [table for table in y if (table != table[0]).any()]  # whose seeds tell more than one
    seeds, rest = zip(*(_seeds_and_rest(table) for table in many), strict=True) if many else ((), ())
    found = combine(float(problems.mean()), seeds, mean_variance(problems), rest, len(problems))
    has_least = all(np.isin(table, (0, 1)).all() for table in (a, b)) or all(np.ptp(table) == 0 for table in y)
    return found._replace(readings=(*found.readings, _one_each_way(len(problems)))) if has_least else found


def _one_each_way(problems: int) -> Reading:
    """The error of a difference where two of P + 2 problems tell the arms apart, one each way."""
    return Reading(math.sqrt(2) / (problems + 2), math.inf)


def combine(mean: float, seeds: Sequence[Part], problems: Part, rest: Sequence[Part], count: int) -> Estimate:
    """The estimate of a mean with Var = seeds + problems - rest, never less than rest; see `crossed_estimate`.

    What `rest` adds to the mean is in `seeds` and in `problems`, hence taken off once. `seeds` and `rest` have one part
    for each group of independent seeds, none where no seed was varied. `count` is the number of problems.
    """
    between, residual = sum(part.variance for part in seeds), sum(part.variance for part in rest)
    both = max(between + problems.variance - residual, residual)
    readings = [_satterthwaite(both, [*seeds, problems, *rest])]
    if seeds:
        readings.append(_satterthwaite(between, seeds))
    return Estimate(mean, tuple(readings), count, min((part.df + 1 for part in seeds), default=1))


def mean_variance(values: np.ndarray) -> Part:
    """sd(x)^2 / n, the variance of the mean of values (n,): infinite for a single one."""
    n = len(values)
    return Part(float(values.var(ddof=1)) / n, n - 1) if n > 1 else Part(math.inf, 1)


def standard_error(values: Sequence[float]) -> float:
    """The standard error of a mean, sd(x) / sqrt(n), values (n,); endless for one value."""
    return mean_variance(np.array(values, dtype=float)).variance ** 0.5


def is_precise(kl: float, error: float) -> bool:
    """Whether a KL is known well enough, by its standard error: to a share of it, or in nats."""
    return error <= max(PRECISE * abs(kl), CLOSE)


def _satterthwaite(variance: float, parts: Sequence[Part]) -> Reading:
    spread = sum(part.variance**2 / part.df for part in parts)
    exact = spread == 0 or math.isinf(variance)  # nothing varies, or nothing is known: any quantile says the same
    return Reading(math.sqrt(variance), 1.0 if exact else variance**2 / spread)


def _seeds_and_rest(y: np.ndarray) -> tuple[Part, Part]:
    """MS_S / (S P) and MS_E / (S P) of a table (S, P) with S > 1; for a single problem MS_E is not known, and 0."""
    seeds, problems = y.shape
    by_seed = y.mean(1, keepdims=True)
    rest = y - by_seed - y.mean(0, keepdims=True) + y.mean()
    df = (seeds - 1) * max(problems - 1, 1)
    return mean_variance(by_seed[:, 0]), Part(float((rest**2).sum()) / df / y.size, df)


def _table(outcomes: Outcomes) -> np.ndarray:
    """Outcomes as an array (S, P) of finite numbers."""
    if len(outcomes) == 0 or len(outcomes[0]) == 0:
        raise ValueError("no seed or no problem at all")
    if len({len(seed) for seed in outcomes}) > 1:
        raise ValueError("every seed must answer the same problems")
    table = np.array(outcomes, dtype=float)
    if not np.isfinite(table).all():
        raise ValueError("an outcome is not a finite number")
    return table


def pooled_share(hits: Sequence[float], counts: Sequence[float]) -> list[float]:
    """A share that is pooled over problems of unequal size, as one number per problem.

        R = sum h / sum c        x_p = R + (h_p - R c_p) / mean(c)

    hits, counts (P,): right ones and all of problem p. The x_p have the mean R, and their spread is that of R to first
    order, so that means and paired differences of them have honest intervals: the attempts of one route are not
    independent. Where all counts are 1, x = h. Without any count, all are 0.
    Source: linearisation of the ratio estimator, Cochran, Sampling Techniques (3rd ed., 1977), section 6.3.
    """
    total = sum(counts)
    if total == 0:
        return [0.0] * len(counts)
    share, size = sum(hits) / total, total / len(counts)
    return [share + (h - share * c) / size for h, c in zip(hits, counts, strict=True)]


def share_interval(values: Sequence[float], z: float = 1.96) -> tuple[float, float]:
    """The Wilson interval of a mean share with one value per problem, as `pooled_share` gives them.

        n = p (1 - p) P (P - 1) / sum (x_p - p)^2

    is the number of independent trials that would be as uncertain (P itself for outcomes 0 and 1, but for P - 1), and
    P where the values do not differ.
    Source: effective sample sizes, Kish, Survey sampling (1965), section 8.2.
    """
    p, count = fmean(values), len(values)
    spread = sum((x - p) ** 2 for x in values)
    plain = all(x in (0, 1) for x in values)
    n = count if plain or spread == 0 else p * (1 - p) * count * (count - 1) / spread
    return wilson_interval(p * n, n, z)
