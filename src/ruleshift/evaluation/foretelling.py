"""How well one quantity foretells another over runs: rank correlation, and explained variance that is not flattered by
the number of what explains. Pure functions of N runs."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from scipy.stats import rankdata

from ruleshift.evaluation.statistics import ROUNDING


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of ranks of x (N,) and y (N,), ties sharing their mean rank; NaN where either does not vary."""
    return _correlation(rankdata(x), rankdata(y))


def spearman_within(x: np.ndarray, y: np.ndarray, group: Sequence[Hashable]) -> float:
    """`spearman` of what is left of x (N,) and y (N,) without the mean of their `group` (N,): how far one goes with the
    other among runs of one kind, and nothing of one that is alone in its group. Over runs of two kinds anything that
    tells these apart goes with all else that does (Simpson's paradox). NaN where nothing varies within a group."""
    return _correlation(_ranks_within(x, group), _ranks_within(y, group))


def chances(
    signs: Sequence[tuple[np.ndarray, np.ndarray]],
    y: np.ndarray,
    group: Sequence[Hashable],
    seed: Sequence[Hashable],
    samples: int = 999,
) -> list[float]:
    """Of each sign, how often the best of all signs goes as far with y (N,) within groups (`spearman_within`) as it
    does, where none foretells anything. signs: values (M,) and the runs that have them (M,), of each.

    y is dealt anew `samples` times within each `group` (N,), and in all groups alike by the `seed` (N,) of a run: runs
    of one seed share what they draw, so that groups go up and down together, and ten groups of five seeds are five
    draws and not fifty. A correlation r over few runs is larger by chance, so each is measured by its own spread
    s over the deals before the largest is taken:

        chance_j = (1 + number of deals with max_i |r_i| / s_i >= |r_j| / s_j) / (1 + samples)

    Sources: Westfall and Young, Resampling-Based Multiple Testing (1993); Phipson and Smyth (2010), for the ones.
    """
    groups, seeds = _numbered(group), _numbered(seed)
    order = np.random.default_rng(0).random((samples, len({*seeds})))[:, seeds]  # of seeds, in each deal: (samples, N)
    sizes = np.zeros((len(signs), 1 + samples))  # as it is, then of every deal
    for sign, (x, runs) in enumerate(signs):
        by_group = np.lexsort((seeds[runs], groups[runs]))
        x, runs = x[by_group], runs[by_group]
        a, b = (_ranks_within(values, groups[runs]) for values in (x, y[runs]))
        dealt = np.argsort(groups[runs] + order[:, runs], axis=1)  # (samples, M): each group stays in its places
        found = np.abs(np.concatenate([[b @ a], b[dealt] @ a]))
        sizes[sign] = found / (np.sqrt((found**2).mean()) or 1.0)
    largest = sizes[:, 1:].max(axis=0, initial=0.0)
    return [float(1 + (largest >= size - ROUNDING).sum()) / (1 + samples) for size in sizes[:, 0]]


def explained(x: np.ndarray, y: np.ndarray, group: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """The share of the variance of y (N,) that a linear model of the columns of x (N, K), with a constant, explains: of
    the runs that it is fitted to, and of runs left out of the fit, one at a time or all of a `group` (N,).

        R2 = 1 - sum (y - y_hat)^2 / sum (y - mean)^2        Q2 = 1 - sum (y - y_out)^2 / sum (y - mean)^2

    y_out is what a fit without the run's group foretells. Runs that share what is not in x, as doses of one training
    do, belong in one group: left out one by one they vouch for each other. Q2 is below 0 where the model foretells
    worse than the mean, and NaN where there is no run of another group. Both are NaN where y does not vary, or N is no
    larger than the number of columns and the constant.
    Source: D. M. Allen, The relationship between variable selection and data augmentation, Technometrics 16 (1974).
    """
    count = len(y)
    design = np.column_stack([np.ones(count), x])
    total = float(((y - y.mean()) ** 2).sum())
    if total == 0 or count <= np.linalg.matrix_rank(design):
        return float("nan"), float("nan")
    rest = y - design @ (np.linalg.pinv(design) @ y)
    groups = _numbered(range(count) if group is None else group)
    if not groups.any():
        return 1 - float((rest**2).sum()) / total, float("nan")
    kept = groups != np.arange(groups.max() + 1)[:, None]  # (G, N); rows of 0 take no part in a fit
    fits = np.linalg.pinv(kept[:, :, None] * design) @ y  # (G, K + 1)
    left_out = y - (design * fits[groups]).sum(1)
    return 1 - float((rest**2).sum()) / total, 1 - float((left_out**2).sum()) / total


def _ranks_within(values: np.ndarray, group: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    """Ranks (N,) of what is left of values (N,) without the mean of their group, counted from the middle: 0 for one
    that is alone in its group, which all others are ranked without."""
    groups = _numbered(group)
    sizes = np.bincount(groups)
    several = sizes[groups] > 1
    rest = (values - (np.bincount(groups, values) / sizes)[groups])[several].round(12)
    ranks = np.zeros(len(values))
    ranks[several] = rankdata(rest) - (len(rest) + 1) / 2
    return ranks


def _numbered(names: Iterable[Hashable]) -> np.ndarray:
    """Names as numbers from 0 on, the same for the same ones, in the order in which they come."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=int)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    a, b = x - x.mean(), y - y.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else float("nan")
