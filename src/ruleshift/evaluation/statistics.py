"""Intervals and comparisons: pure functions of counts and outcomes.

Axes, in the names of nested sequences: S seeds, P problems. z = 1.96 is the two-sided 95% point of the normal
distribution.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Difference(NamedTuple):
    """A mean (of differences, say) with its interval. `n` counts the units it was averaged over: problems or seeds."""

    mean: float
    low: float
    high: float
    n: int


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


def paired_difference(a: Sequence[bool | float], b: Sequence[bool | float], z: float = 1.96) -> Difference:
    """The mean of a - b over problems that both arms answered, with a normal interval.

        d_p = a_p - b_p        mean(d)  +-  z sd(d) / sqrt(P)        sd with the divisor P - 1

    a, b (P,): outcomes of problem p at the same place in both. Pairing removes what problems have in common, so
    the interval is narrower than that of two independent proportions where the arms solve the same problems. It has
    no width if every problem differs by the same amount (all zero, say): then more problems are needed, not faith.
    Source: the paired z interval; for evaluations E. Miller, Adding error bars to evals (arXiv 2411.00640), section 4.
    """
    differences = [float(x) - float(y) for x, y in zip(a, b, strict=True)]
    if len(differences) < 2:
        raise ValueError(f"an interval needs at least two problems, not {len(differences)}")
    half = z * stdev(differences) / math.sqrt(len(differences))
    mean = fmean(differences)
    return Difference(mean, mean - half, mean + half, len(differences))


def clustered_difference(
    a_seeds: Sequence[Sequence[bool | float]], b_seeds: Sequence[Sequence[bool | float]], z: float = 1.96
) -> Difference:
    """`paired_difference` for several seeds that answered the same problems, with problems as clusters.

        d_p = mean over s of a_sp  -  mean over s of b_sp, then as in `paired_difference`

    a_seeds, b_seeds (S, P); the two arms may have different numbers of seeds (one start model, three trainings).
    Answers to one problem are correlated, so S x P answers are not S x P problems: averaging over seeds first keeps
    the interval honest. It says what other problems would give for these seeds; `seed_interval` says what other
    seeds would give.
    Source: cluster means, as in arXiv 2411.00640, section 2.
    """
    return paired_difference(_mean_over_seeds(a_seeds), _mean_over_seeds(b_seeds), z)


def pooled_share(hits: Sequence[float], counts: Sequence[int]) -> list[float]:
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


def seed_interval(values: Sequence[float], level: float = 0.95) -> Difference:
    """The mean of one value per seed with Student's t interval, S - 1 degrees of freedom.

        mean(x)  +-  t_{S-1} sd(x) / sqrt(S)

    values (S,): a score, or a difference of two arms, per seed. Needs two seeds; with so few it is wide (t = 12.7
    for two, 4.3 for three), which is what two or three seeds can say.
    Source: Student, The probable error of a mean, Biometrika 6 (1908).
    """
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two seeds, not {len(values)}")
    half = student_t_quantile((1 + level) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    mean = fmean(values)
    return Difference(mean, mean - half, mean + half, len(values))


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of k answers is right, from n drawn answers of which c are right.

        1 - C(n - c, k) / C(n, k)

    The unbiased estimate, in exact integers up to the last division.
    Source: M. Chen et al., Evaluating large language models trained on code (arXiv 2107.03374), equation 1.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= c <= n and 1 <= k <= n: n={n}, c={c}, k={k}")
    every = math.comb(n, k)
    return (every - math.comb(n - c, k)) / every


def student_t_cdf(t: float, df: int) -> float:
    """P(T <= t) for Student's t with a whole number of degrees of freedom, as a finite sum.

    With theta = atan(t / sqrt(df)), the chance A of |T| <= |t| is
        df = 1      2 theta / pi
        df odd      2/pi (theta + sin theta (cos theta + 2/3 cos^3 theta + ... up to cos^(df-2)))
        df even     sin theta (1 + 1/2 cos^2 theta + 1*3/(2*4) cos^4 theta + ... up to cos^(df-2))
    Source: M. Abramowitz and I. Stegun, Handbook of mathematical functions, 26.7.3 and 26.7.4.
    """
    if df < 1:
        raise ValueError(f"degrees of freedom must be at least 1, not {df}")
    theta = math.atan(t / math.sqrt(df))
    cosine = math.cos(theta)
    odd = df % 2
    term, total = cosine if odd else 1.0, 0.0
    for power in range(odd, df - 1, 2):  # `term` is the coefficient times cos^power
        total += term
        term *= (power + 1) / (power + 2) * cosine**2
    within = math.sin(theta) * total
    if odd:
        within = 2 / math.pi * (theta + within)
    return (1 + within) / 2


def student_t_quantile(p: float, df: int) -> float:
    """The t with P(T <= t) = p for 0 < p < 1, by bisection on `student_t_cdf`."""
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, not {p}")
    high = 1.0
    while student_t_cdf(high, df) < max(p, 1 - p):
        high *= 2
    low = 0.0
    for _ in range(80):
        middle = (low + high) / 2
        if student_t_cdf(middle, df) < max(p, 1 - p):
            low = middle
        else:
            high = middle
    return math.copysign(high, p - 0.5)


def _mean_over_seeds(outcomes: Sequence[Sequence[bool | float]]) -> list[float]:
    if not outcomes:
        raise ValueError("no seed at all")
    return [fmean(map(float, problem)) for problem in zip(*outcomes, strict=True)]
