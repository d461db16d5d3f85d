"""Why a model solves nothing: rows of how its replies were judged, and of how many were cut at the token limit."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from ruleshift.evaluation.asking import Episodes, Questions
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.evaluation.statistics import pooled_share, share_interval
from ruleshift.outcomes import counts_of, is_nothing, replies_in
from ruleshift.records import Episode
from ruleshift.results import Row


def explains(rows: Sequence[Row], metric: str) -> bool:
    """Whether rows of a split call for an explanation: at the most turns they have, the metric is at or near 0."""
    values = [(row.turns, row.value) for row in rows if row.metric == metric]
    return bool(values) and is_nothing(max(values)[1])


def with_explanations(rows: Sequence[Row], questions: Questions, episodes: Episodes) -> list[Row]:
    """The rows of an evaluation, split by split, and where nothing is solved, those that say why."""
    found: list[Row] = []
    for split in questions.splits:
        mine = [row for row in rows if row.split == split]
        found += mine
        if explains(mine, questions.task.metric):
            last = max(mine, key=lambda row: row.turns)
            found += failure_rows(last, counts_of([e for place, e in episodes.items() if place.split == split]))
    return found


def explained(cell: Cell, metric: str, episodes: Sequence[Episode]) -> Cell:
    """A cell, which is given what its replies were where next to nothing is solved."""
    if not is_nothing(fmean(cell.outcomes(metric, cell.most))):
        return cell
    return replace(cell, replies=tuple((name, tuple(part)) for name, part in counts_of(episodes).items()))


def rows_of_failures(point: Point) -> list[Row]:
    """Of a point, the rows that say what replies were, where next to nothing is solved."""
    found: list[Row] = []
    for cell in point.cells:
        where = (point.task, point.arm, point.seed, point.step, cell.split, "", cell.most, cell.decoding)
        like = Row(*where, 0.0, 0, 0.0, 0.0, point.kl_to_start, point.train_flops, point.kl_error)
        found += failure_rows(like, dict(cell.replies)) if cell.replies else []
    return found


def failure_rows(like: Row, counts: Mapping[str, Sequence[int]]) -> list[Row]:
    """Of all replies of a split (at most `like.turns` to a problem or step), the share of each verdict, the most
    frequent first, and of those that were cut at the token limit; intervals are over problems."""
    replies = replies_in(counts)
    found = []
    for name, part in counts.items():
        values = pooled_share(part, replies)
        low, high = share_interval(values)
        row = replace(like, metric=name, value=fmean(values), n=len(values), ci_low=low, ci_high=high)
        found.append(row)
    return found
