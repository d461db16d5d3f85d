"""Several samples of each problem: rows, pass@k, distinct answers, pass rates from easy to hard, calibration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import ArrayLike

from ruleshift.evaluation.asking import Episodes, Questions
from ruleshift.evaluation.evaluate import Point, cell_of, over_samples, rows_of
from ruleshift.evaluation.statistics import mean_interval, share_interval
from ruleshift.records import Episode
from ruleshift.results import Row

DISTINCT = ("distinct_right", "distinct_wrong")  # answers, counted for each problem


def points_of(questions: Questions, episodes: Episodes, decoding: str) -> list[Point]:
    """A point for each sample, all about the same problems in the same order."""
    points = []
    for sample in range(questions.samples):
        cells = []
        for split in questions.splits:
            mine = [e for place, e in episodes.items() if (place.split, place.sample) == (split, sample)]
            cells.append(cell_of(split, decoding, mine))
        points.append(Point(questions.task.id, "base", 0, 0, 0.0, 0.0, tuple(cells)))
    return points


def rows_of_samples(questions: Questions, episodes: Episodes, decoding: str, turns: Sequence[int]) -> list[Row]:
    """Result rows. With several samples each number is the mean over problems of the mean over samples, its interval is
    over problems, and `pass@k` stands beside success within the fewest turns and within the most."""
    points = points_of(questions, episodes, decoding)
    rows = [row for point in points for row in rows_of(point, turns, questions.task.metric != "success")]
    if questions.samples == 1:
        return rows
    measured = {(row.split, row.metric, row.turns): row for row in rows}  # of some samples, if not of all
    order = {split: place for place, split in enumerate(questions.splits)}
    found: list[Row] = []
    for row in sorted(measured.values(), key=lambda row: order[row.split]):
        values = over_samples([point.cell(row.split, decoding) for point in points], row.metric, row.turns)
        found.append(_with(row, row.metric, values))
        if row.metric == "success" and row.turns in (min(turns), max(turns)):
            solved = [round(questions.samples * share) for share in values]
            found += [
                _with(row, f"pass@{k}", [pass_at_k(questions.samples, count, k) for count in solved])
                for k in _ks(questions.samples)
            ]
    for split in questions.splits:
        profiles = [profile for profile in problem_profiles(questions, episodes) if profile.split == split]
        if len(profiles) == 1:  # one mean has no interval
            continue
        last = [row for row in found if row.split == split][-1]
        counts = [
            _with(replace(last, turns=1), metric, [float(getattr(profile, metric)) for profile in profiles])
            for metric in DISTINCT
        ]
        after = found.index(last) + 1
        found[after:after] = counts
    return found


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


def _with(row: Row, metric: str, values: Sequence[float]) -> Row:
    low, high = (mean_interval if metric in ("steps_passed", *DISTINCT) else share_interval)(values)
    low = max(low, 0.0)
    return replace(row, metric=metric, value=fmean(values), n=len(values), ci_low=low, ci_high=high)


def _ks(samples: int) -> list[int]:
    """2, 4, 8 ... and all."""
    powers = [2**i for i in range(1, samples.bit_length()) if 2**i < samples]
    return [*powers, samples] if samples > 1 else []


@dataclass(frozen=True)
class ProblemProfile:
    """How one problem went: over its samples, the shares that the first reply solved (or whose first step it passed)
    and that were solved in all turns, the mean number of replies, and how many distinct first replies were right, or
    wrong."""

    split: str
    index: int
    samples: int
    first: float
    solved: float
    replies: float
    distinct_right: int
    distinct_wrong: int


def problem_profiles(questions: Questions, episodes: Episodes) -> list[ProblemProfile]:
    """All problems, by split, from easy to hard."""
    groups: dict[tuple[str, int], list[Episode]] = {}
    for place, episode in episodes.items():
        groups.setdefault((place.split, place.index), []).append(episode)
    profiles = [
        ProblemProfile(
            split,
            index,
            len(group),
            fmean(first_right(episode) for episode in group),
            fmean(episode.solved for episode in group),
            fmean(len(episode.turns) for episode in group),
            *(len({_said(episode) for episode in group if first_right(episode) == right}) for right in (True, False)),
        )
        for (split, index), group in groups.items()
    ]
    order = {split: place for place, split in enumerate(questions.splits)}
    return sorted(profiles, key=lambda p: (order[p.split], -p.solved, -p.first, p.replies, p.index))


def _said(episode: Episode) -> str:
    return " ".join(episode.turns[0].completion.text.split())


def first_right(episode: Episode) -> bool:
    """Whether the first reply was right."""
    return episode.turns[0].verdict.right


@dataclass(frozen=True)
class Bin:
    """Replies of similar confidence: its mean, the share that was right, and how many they are."""

    confidence: float
    right: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """Whether first replies are right as often as they are likely; see `calibration`."""

    n: int
    brier: float
    error: float
    bins: tuple[Bin, ...]


def calibration(confidences: ArrayLike, right: ArrayLike, bins: int = 10) -> Calibration:
    """Confidence against outcomes, confidences (N,) in [0, 1], right (N,).

        brier = mean (c_i - r_i)^2        error = sum over bins b of n_b / N |mean c - mean r|

    in bins of equal numbers of replies, as far as N allows. Bins that share replies of equal confidence share their
    outcomes evenly. Raises ValueError without any reply.
    Source: G. W. Brier, Monthly Weather Review 78 (1950); the expected calibration error with bins of equal mass, K.
    Nguyen and B. O'Connor, Posterior calibration and exploratory analysis for NLP models (arXiv 1508.05154).
    """
    said, outcomes = np.asarray(confidences, float), np.asarray(right, float)
    if not len(said):
        raise ValueError("no reply has a confidence")
    _, tied, ties = np.unique(said, return_inverse=True, return_counts=True)
    alike = (np.bincount(tied, outcomes) / ties)[tied]
    order = np.argsort(said)
    count, bins = len(said), min(bins, len(said))
    firsts = count * np.arange(bins) // bins
    sizes = np.diff(np.append(firsts, count))
    means = [np.add.reduceat(values[order], firsts) / sizes for values in (said, alike)]
    found = tuple(map(Bin, means[0].tolist(), means[1].tolist(), sizes.tolist()))
    error = float((sizes * np.abs(means[0] - means[1])).sum() / count)
    return Calibration(count, float(((said - outcomes) ** 2).mean()), error, found)


def calibration_of(episodes: Sequence[Episode]) -> Calibration | None:
    """Of first replies, whose confidence is their probability, exp(sum of log-probs). None where these are missing."""
    known = [episode for episode in episodes if episode.turns[0].completion.logprobs]
    if not known:
        return None
    confidences = [min(1.0, math.exp(math.fsum(episode.turns[0].completion.logprobs))) for episode in known]
    return calibration(confidences, [first_right(episode) for episode in known])
