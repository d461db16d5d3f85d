"""What a model is like at one moment of its training, beside its scores: how sure and how varied its replies are, which
of them repeat the training, how much of them comes from the stated rule, and how far its weights moved.

Measured at every point that asks for it, and kept as one record, problem by problem; all numbers are made of that.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.profile import calibration, pass_at_k
from ruleshift.evaluation.rule_flow import ASKED, RuleFlow
from ruleshift.evaluation.sampled import Sampled
from ruleshift.evaluation.selective import agreement, aurc, majority, selected, threshold
from ruleshift.evaluation.statistics import mean_interval, share_interval
from ruleshift.files import reason_of, write_atomically
from ruleshift.results import Row

COVERAGE = 0.8  # of the first split's replies, at which the threshold of abstaining is set
RESAMPLED = 200  # times, for intervals of what is no mean over problems
SHARES = (
    "copied",
    "copied_answer",
    "expert_copied",
    "expert_copied_answer",
    "majority",
    "agreement",
    "strict",
    "rule_follows",
    "rule_clings",
)
Rows = Sequence[Sequence[float]]  # (P, K)


@dataclass(frozen=True)
class Insight:
    """`moved` is the share of parameters that differ from the start's (`share_moved`), `rotation` how far the leading
    singular directions of its matrices have turned from those of the start, in degrees (`subspaces.rotation`)."""

    task: str
    arm: str
    seed: int
    step: int
    replies: tuple[Sampled, ...]
    flow: RuleFlow | None
    moved: float
    rotation: float


def rows_of_insight(insight: Insight, kl: float | None = None, flops: float | None = None) -> list[Row]:
    """A row for each number, with a 95% interval over problems; of what is no mean of problems (ece, aurc) that of the
    bootstrap. What is of no split stands at `id-val`. kl, flops: those of the point."""
    return [
        Row(insight.task, insight.arm, insight.seed, insight.step, split, metric, 1, "sampled", *found, kl, flops)
        for split, metric, found in _numbers(insight)
    ]


Found = tuple[float, int, float, float]  # value, problems, and the ends of its interval


def _numbers(insight: Insight) -> list[tuple[str, str, Found]]:
    numbers = []
    least = threshold(_flat(insight.replies[0].per_token()), COVERAGE) if insight.replies else 0.0
    for replies in insight.replies:
        numbers += [(replies.split, metric, found) for metric, found in _of_replies(replies, least).items()]
    of_weights = {"moved": insight.moved, "rotation": insight.rotation}
    numbers += [(ASKED, metric, (value, 1, value, value)) for metric, value in of_weights.items()]
    if insight.flow is not None:
        numbers += [(ASKED, metric, found) for metric, found in _of_flow(insight.flow).items()]
    return numbers


def _of_replies(replies: Sampled, least: float) -> dict[str, Found]:
    """What is said of the replies to a split. least: the confidence per token below which one abstains."""
    samples, right = len(replies.right[0]), replies.right
    agreed = [agreement(row) for row in replies.answers]
    chosen = [majority(row) for row in replies.answers]
    means = {
        "copied": [fmean(row) for row in replies.copied],
        "copied_answer": [fmean(row) for row in replies.copied_answer],
        "expert_copied": replies.expert_copied,
        "expert_copied_answer": replies.expert_copied_answer,
        "distinct_right": [_distinct(row, told, True) for row, told in zip(replies.answers, right, strict=True)],
        "distinct_wrong": [_distinct(row, told, False) for row, told in zip(replies.answers, right, strict=True)],
        "agreement": [max(row) for row in agreed],
        "majority": [row[place] for row, place in zip(right, chosen, strict=True)],
        "strict": [fmean(row) for row in replies.strict],
    }
    means |= {f"pass@{k}": [pass_at_k(samples, sum(row), k) for row in right] for k in _ks(samples)}
    found = {metric: _mean(metric, [float(value) for value in values]) for metric, values in means.items()}
    sure = {"": replies.probabilities(), "_per_token": replies.per_token(), "_agreement": agreed}
    for name, confidences in sure.items():
        found[f"ece{name}"] = _bootstrapped(lambda c, r: calibration(c, r).error, confidences, right)
        squares = [fmean((c - r) ** 2 for c, r in zip(*row, strict=True)) for row in zip(confidences, right, strict=True)]
        found[f"brier{name}"] = _mean("brier", squares)
        found[f"aurc{name}"] = _bootstrapped(aurc, confidences, right)
    given = selected(_flat(replies.per_token()), _flat(right), least)
    found["answered"] = _bootstrapped(lambda c, r: selected(c, r, least).coverage, replies.per_token(), right)
    found["answered_wrong"] = _bootstrapped(lambda c, r: selected(c, r, least).risk, replies.per_token(), right)
    assert found["answered"][0] == given.coverage
    return found


def _of_flow(flow: RuleFlow) -> dict[str, Found]:
    """What is said of the flow from rule to answer. `rule_read`: the share that the rule's own words still carry, mean
    over the levels between the embedding and the last block."""
    between = flow.shares()[1:-1] or flow.shares()[:1]
    means = {
        "rule_kl": flow.kl,
        "rule_follows": flow.follows,
        "rule_clings": flow.clings,
        "rule_moved": flow.moved,
        "rule_read": [fmean(levels) for levels in zip(*between, strict=True)],
        "rule_attention": [fmean(layers) for layers in zip(*flow.attention, strict=True)],
    }
    return {metric: _mean(metric, [float(value) for value in values]) for metric, values in means.items()}


def _mean(metric: str, values: Sequence[float]) -> Found:
    share = metric in SHARES or metric.startswith("pass@")
    low, high = share_interval(values) if share else mean_interval(values)
    return fmean(values), len(values), *((low, high) if len(values) > 1 else (fmean(values), fmean(values)))


def _bootstrapped(
    statistic: Callable[[Sequence[float], Sequence[bool]], float], confidences: Rows, right: Rows
) -> Found:
    """A statistic of all replies, with the percentiles of those of problems drawn anew."""
    count = len(right)

    def of(problems: Sequence[int]) -> float:
        return statistic([c for p in problems for c in confidences[p]], [bool(r) for p in problems for r in right[p]])

    draws = np.random.default_rng(0).integers(count, size=(RESAMPLED, count))
    low, high = np.percentile([of(draw.tolist()) for draw in draws], [2.5, 97.5])
    return of(range(count)), count, float(low), float(high)


def _distinct(answers: Sequence[int], right: Sequence[float], told: bool) -> int:
    return len({answer for answer, is_right in zip(answers, right, strict=True) if bool(is_right) == told})


def _flat(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]


def _ks(samples: int) -> list[int]:
    return [2**i for i in range(samples.bit_length()) if 2**i <= samples]


def save_insight(path: Path, insight: Insight) -> None:
    write_atomically(path, json.dumps(asdict(insight), allow_nan=False) + "\n")


def load_insight(path: Path) -> Insight:
    """Read back a record. Raises RuleshiftError for one that is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        replies = tuple(_made(Sampled, one) for one in content.pop("replies"))
        flow = content.pop("flow")
        insight = Insight(replies=replies, flow=None if flow is None else _made(RuleFlow, flow), **content)
        rows_of_insight(insight)
        return insight
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise RuleshiftError(
            f"{path} cannot be read ({reason_of(error)[:100]}): delete it and run the same command again, which "
            "measures it anew"
        ) from error


def _made(kind: Any, content: dict[str, Any]) -> Any:
    """A record whose lists are tuples again. Raises TypeError or KeyError for other fields."""
    if set(content) != {field.name for field in fields(kind)}:
        raise TypeError("it has other fields")
    return kind(**{name: _tuples(value) for name, value in content.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
