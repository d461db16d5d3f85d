"""Why a model solves nothing: how its replies were judged, and how many of them were cut at the token limit.

A model that was never taught the form of replies is at 0% on everything, and so is one that reads the wrong rule; only
the verdicts tell which.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from ruleshift.evaluation.asking import Episodes, Questions
from ruleshift.evaluation.statistics import pooled_share, share_interval
from ruleshift.records import Episode
from ruleshift.results import Row

NEARLY_NOTHING = 0.02  # of the task's metric
OF_REPLIES = "replies:"  # begins the names of these metrics
CUT = f"{OF_REPLIES}cut"


def explains(rows: Sequence[Row], metric: str) -> bool:
    """Whether rows of a split call for an explanation: at the most turns they have, the metric is at or near 0."""
    values = [(row.turns, row.value) for row in rows if row.metric == metric]
    return bool(values) and max(values)[1] <= NEARLY_NOTHING


def with_explanations(rows: Sequence[Row], questions: Questions, episodes: Episodes) -> list[Row]:
    """The rows of an evaluation, split by split, and where nothing is solved, those that say why."""
    found: list[Row] = []
    for split in questions.splits:
        mine = [row for row in rows if row.split == split]
        found += mine
        if explains(mine, questions.task.metric):
            last = max(mine, key=lambda row: row.turns)
            found += failure_rows(last, [e for place, e in episodes.items() if place.split == split])
    return found


def failure_rows(like: Row, episodes: Sequence[Episode]) -> list[Row]:
    """Of all replies of a split (at most `like.turns` to a problem or step), the share of each verdict, the most
    frequent first, and of those that were cut at the token limit; intervals are over problems."""
    verdicts = [Counter(turn.verdict.outcome or "unnamed" for turn in episode.turns) for episode in episodes]
    cut = [sum(turn.completion.stop_reason == "length" for turn in episode.turns) for episode in episodes]
    counted = {f"{OF_REPLIES}{name}": [c[name] for c in verdicts] for name, _ in sum(verdicts, Counter()).most_common()}
    return [_row(like, name, counts, episodes) for name, counts in {**counted, CUT: cut}.items()]


def _row(like: Row, metric: str, counts: Sequence[int], episodes: Sequence[Episode]) -> Row:
    values = pooled_share(counts, [len(episode.turns) for episode in episodes])
    low, high = share_interval(values)
    where = (like.task, like.arm, like.seed, like.step, like.split, metric, like.turns, like.decoding)
    return Row(*where, fmean(values), len(values), low, high, like.kl_to_start, like.train_flops, like.kl_error)
