"""Several samples of each problem: rows, pass@k, distinct answers, pass rates from easy to hard, calibration."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from ruleshift.evaluation.asking import Episodes, Questions
from ruleshift.evaluation.evaluate import Point, cell_of, rows_of
from ruleshift.evaluation.statistics import mean_interval, pass_at_k, share_interval
from ruleshift.results import Row


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
    rows = rows_of(points[0], turns)
    if questions.samples == 1:
        return rows
    found: list[Row] = []
    for row in rows:
        outcomes = [p.cell(row.split, decoding).outcomes(row.metric, row.turns) for p in points]
        values = [fmean(problem) for problem in zip(*outcomes, strict=True)]
        found.append(_with(row, row.metric, values))
        if row.metric == "success" and row.turns in (min(turns), max(turns)):
            for k in _ks(questions.samples):
                shares = [
                    pass_at_k(questions.samples, round(sum(problem)), k) for problem in zip(*outcomes, strict=True)
                ]
                found.append(_with(row, f"pass@{k}", shares))
    return found


def _with(row: Row, metric: str, values: Sequence[float]) -> Row:
    low, high = mean_interval(values) if metric == "steps_passed" else share_interval(values)
    low = max(low, 0.0)
    return replace(row, metric=metric, value=fmean(values), n=len(values), ci_low=low, ci_high=high)


def _ks(samples: int) -> list[int]:
    """2, 4, 8 ... and all."""
    powers = [2**i for i in range(1, samples.bit_length()) if 2**i < samples]
    return [*powers, samples] if samples > 1 else []
