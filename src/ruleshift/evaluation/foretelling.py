"""How well one quantity foretells another over runs: rank correlation, and explained variance that is not flattered by
the number of what explains. Pure functions of N runs."""

from collections.abc import Hashable, Sequence

import numpy as np
from scipy.stats import rankdata


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of ranks of x (N,) and y (N,), ties sharing their mean rank; NaN where either does not vary."""
    return _correlation(rankdata(x), rankdata(y))


def spearman_within(x: np.ndarray, y: np.ndarray, group: Sequence[Hashable]) -> float:
    """`spearman` of what is left of x (N,) and y (N,) without the mean of their `group` (N,): how far one goes with the
    other among runs of one kind. Over runs of two kinds anything that tells these apart goes with all else that does
    (Simpson's paradox). NaN where nothing varies within a group."""
    return spearman(_without_means(x, group), _without_means(y, group))


def largest_by_chance(
    signs: Sequence[tuple[np.ndarray, np.ndarray]], y: np.ndarray, group: Sequence[Hashable], samples: int = 500
) -> np.ndarray:
    """The largest |`spearman_within`| that any sign has with y (N,) shuffled within each `group` (N,), where no sign
    foretells anything: (samples,). signs: values (M,) and the runs that have them (M,), of each. Comparing with the
    largest corrects for how many signs there are. Source: Westfall and Young, Resampling-Based Multiple Testing (1993).
    """
    rng, groups = np.random.default_rng(0), [*group]
    members = [np.flatnonzero([each == one for each in groups]) for one in dict.fromkeys(groups)]
    found = np.zeros(samples)
    for sample in range(samples):
        shuffled = y.copy()
        for mine in members:
            shuffled[mine] = y[rng.permutation(mine)]
        for x, runs in signs:
            ranks = spearman_within(x, shuffled[runs], [groups[run] for run in runs])
            found[sample] = max(found[sample], abs(np.nan_to_num(ranks)))
    return found


def explained(x: np.ndarray, y: np.ndarray, group: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """The share of the variance of y (N,) that a linear model of the columns of x (N, K), with a constant, explains: of
    the runs that it is fitted to, and of runs left out of the fit, one at a time or all of a `group` (N,).

        R2 = 1 - sum (y - y_hat)^2 / sum (y - mean)^2        Q2 = 1 - sum (y - y_out)^2 / sum (y - mean)^2

    y_out is what a fit without the run's group foretells. Runs that share what is not in x, as doses of one training
    do, belong in one group: left out one by one they vouch for each other. Q2 is below 0 where the model foretells
    worse than the mean. Both are NaN where y does not vary, or N is no larger than the number of columns and the
    constant.
    Source: D. M. Allen, The relationship between variable selection and data augmentation, Technometrics 16 (1974).
    """
    count = len(y)
    design = np.column_stack([np.ones(count), x])
    total = float(((y - y.mean()) ** 2).sum())
    if total == 0 or count <= np.linalg.matrix_rank(design):
        return float("nan"), float("nan")
    rest = y - design @ (np.linalg.pinv(design) @ y)
    left_out, groups = np.empty(count), [*(range(count) if group is None else group)]
    for one in dict.fromkeys(groups):
        out = np.array([each == one for each in groups])
        left_out[out] = y[out] - design[out] @ (np.linalg.pinv(design[~out]) @ y[~out])
    return 1 - float((rest**2).sum()) / total, 1 - float((left_out**2).sum()) / total


def _without_means(values: np.ndarray, group: Sequence[Hashable]) -> np.ndarray:
    left, groups = np.empty(len(values)), [*group]
    for one in dict.fromkeys(groups):
        mine = np.array([each == one for each in groups])
        left[mine] = values[mine] - values[mine].mean()
    return left.round(12)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    a, b = x - x.mean(), y - y.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else float("nan")
