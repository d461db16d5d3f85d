"""What a model is like at one moment of its training, beside its scores: how sure and how varied its replies are, which
of them repeat the training, how much of them comes from the stated rule, and how far its weights moved.

Measured at every point that asks for it, and kept as one record, problem by problem; all numbers are made of that.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.names import GREEDY, OUTSIDE, SHARES
from ruleshift.evaluation.profile import calibration, pass_at_k
from ruleshift.evaluation.rule_flow import ASKED, RuleFlow
from ruleshift.evaluation.sampled import Sampled
from ruleshift.evaluation.selective import agreement, aurc, majority, risk_coverage, threshold
from ruleshift.evaluation.statistics import mean_interval, pooled_share, share_interval
from ruleshift.files import reason_of, write_atomically
from ruleshift.results import Row

COVERAGE = 0.8  # of the first split's replies: where the threshold of abstaining is set
RESAMPLED = 200  # times, for intervals of what is no mean over problems
Found = tuple[float, int, float, float]  # a value, the number of problems, and the ends of its interval
Values = dict[tuple[str, str], list[float]]  # split, metric -> a number per problem


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

    @property
    def least(self) -> float:
        """The confidence (per token) below which one abstains, so that 80% of the replies to the first split are
        given."""
        return threshold(_flat(self.replies[0].per_token()), COVERAGE)


def values_of(insight: Insight) -> Values:
    """What is a mean over problems, problem by problem (see `report.measures` for words). The flow stands at the split
    whose problems it is measured on."""
    found: Values = {}
    for replies in insight.replies:
        numbers = _of_replies(replies, insight.least)
        found |= {(replies.split, metric): list(map(float, values)) for metric, values in numbers.items()}
    if insight.flow is not None:
        found |= {(ASKED, metric): list(map(float, values)) for metric, values in _of_flow(insight.flow).items()}
    return found


def rows_of_insight(insight: Insight, kl: float | None = None, flops: float | None = None) -> list[Row]:
    """A row for each number, with a 95% interval over problems: of what is no mean of theirs (ece, aurc) that of the
    bootstrap, of weights the number itself, at the split of the flow. kl, flops: those of the point."""
    numbers = {key: _mean(key[1], values) for key, values in values_of(insight).items()}
    for replies in insight.replies:
        numbers |= {(replies.split, metric): found for metric, found in _of_confidence(replies).items()}
    for metric, value in (("moved", insight.moved), ("rotation", insight.rotation)):
        numbers[ASKED, metric] = (value, 1, value, value)
    where = (insight.task, insight.arm, insight.seed, insight.step)
    return [
        Row(*where, split, metric, 1, "greedy" if metric in GREEDY else "sampled", *found, kl, flops)
        for (split, metric), found in numbers.items()
    ]


def coverage_curve(replies: Sampled, points: int = 20) -> list[tuple[float, float]]:
    """(coverage, risk) where the replies of which the model is surest per token are given first, at even steps."""
    curve = risk_coverage(_flat(replies.per_token()), _flat(replies.right))
    return [tuple(curve[-(-len(curve) * k // points) - 1]) for k in range(1, points + 1)]  # type: ignore[misc]


def _of_replies(replies: Sampled, least: float) -> dict[str, Sequence[float]]:
    """What single problems say. least: the confidence per token below which one abstains."""
    samples, right, sure = len(replies.right[0]), replies.right, replies.per_token()
    told = list(zip(replies.answers, right, strict=True))
    given = [[confidence >= least for confidence in row] for row in sure]
    wrong = [[g and not r for g, r in zip(*rows, strict=True)] for rows in zip(given, right, strict=True)]
    confidences = {"": replies.probabilities(), "_per_token": sure, "_agreement": _agreed(replies)}
    return {
        **_of_copies(replies),
        "distinct_right": [len({a for a, r in zip(*rows, strict=True) if r}) for rows in told],
        "distinct_wrong": [len({a for a, r in zip(*rows, strict=True) if not r}) for rows in told],
        **{f"pass@{k}": [pass_at_k(samples, sum(row), k) for row in right] for k in _ks(samples)},
        "agreement": [max(row) for row in _agreed(replies)],
        "majority": [row[majority(answers)] for answers, row in told],
        **_of_constraint(replies),
        "strict": list(map(fmean, replies.strict)),
        "answered": list(map(fmean, given)),
        "answered_wrong": pooled_share(list(map(sum, wrong)), list(map(sum, given))),
        "sure_wrong": list(map(fmean, wrong)),
        **{f"brier{name}": list(map(_squares, rows, right)) for name, rows in confidences.items()},
    }


def _of_copies(replies: Sampled) -> dict[str, Sequence[float]]:
    """How many of the replies repeat what the training shows, where that is known."""
    if not replies.copied:
        return {}
    return {
        "copied": list(map(fmean, replies.copied)),
        "copied_answer": list(map(fmean, replies.copied_answer)),
        "start_copied": list(map(fmean, replies.start_copied)),
        "start_copied_answer": list(map(fmean, replies.start_copied_answer)),
        "expert_copied": replies.expert_copied,
        "expert_copied_answer": replies.expert_copied_answer,
    }


def _of_constraint(replies: Sampled) -> dict[str, Sequence[float]]:
    """What drawing anew until a reply is admitted solves, where all samples may be needed, and how many it takes."""
    if not replies.admitted:
        return {}
    first = replies.first_admitted()
    solved = [0 if place is None else row[place] for place, row in zip(first, replies.right, strict=True)]
    drawn = [len(row) if place is None else place + 1 for place, row in zip(first, replies.right, strict=True)]
    return {"constrained": solved, "constrained_draws": drawn}


def _of_confidence(replies: Sampled) -> dict[str, Found]:
    """Calibration error, and area under the curve of risk against coverage, by what a model may be sure by: the
    probability of its reply, that of a token of it, and the agreement of its replies."""
    found = {}
    confidences = {"": replies.probabilities(), "_per_token": replies.per_token(), "_agreement": _agreed(replies)}
    for name, rows in confidences.items():
        found[f"ece{name}"] = _bootstrapped(lambda c, r: calibration(c, r).error, rows, replies.right)
        found[f"aurc{name}"] = _bootstrapped(aurc, rows, replies.right)
    return found


def _of_flow(flow: RuleFlow) -> dict[str, Sequence[float]]:
    """`rule_read`: the share that the rule's own words still carry, mean over the levels between the embedding and the
    last block."""
    between = flow.shares()[1:-1] or flow.shares()[:1]
    return {
        "rule_kl": flow.kl,
        "rule_follows": flow.follows,
        "rule_clings": flow.clings,
        "rule_moved": flow.moved,
        "rule_read": [fmean(levels) for levels in zip(*between, strict=True)],
        "rule_attention": [fmean(layers) for layers in zip(*flow.attention, strict=True)],
    }


def _agreed(replies: Sampled) -> list[list[float]]:
    return [agreement(row) for row in replies.answers]


def _squares(confidences: Sequence[float], right: Sequence[int]) -> float:
    return fmean((c - r) ** 2 for c, r in zip(confidences, right, strict=True))


def _mean(metric: str, values: Sequence[float]) -> Found:
    if len(values) == 1:
        return values[0], 1, values[0], values[0]
    counted = metric in SHARES and metric not in OUTSIDE
    return fmean(values), len(values), *(share_interval(values) if counted else mean_interval(values))


def _bootstrapped(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    confidences: Sequence[Sequence[float]],
    right: Sequence[Sequence[int]],
) -> Found:
    """A statistic of all replies, (problems, samples) each, with the percentiles of those of problems drawn anew."""
    sure, outcomes = np.array(confidences), np.array(right)
    count = len(outcomes)
    draws = np.random.default_rng(0).integers(count, size=(RESAMPLED, count))
    low, high = np.percentile([statistic(sure[draw].ravel(), outcomes[draw].ravel()) for draw in draws], [2.5, 97.5])
    return statistic(sure.ravel(), outcomes.ravel()), count, float(low), float(high)


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
        values_of(insight)
        if any(one.copied and not one.start_copied for one in replies):
            raise ValueError("copies are counted otherwise now")
        return insight
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise RuleshiftError(
            f"{path} cannot be read ({reason_of(error)[:100]}): delete it and run the same command again, which "
            "measures it anew"
        ) from error


def _made(kind: Any, content: dict[str, Any]) -> Any:
    """A record whose lists are tuples again. Raises TypeError for other fields, and where one without a default is
    missing."""
    known = {field.name: field.default is MISSING for field in fields(kind)}
    if not {name for name, needed in known.items() if needed} <= set(content) <= set(known):
        raise TypeError("it has other fields")
    return kind(**{name: _tuples(value) for name, value in content.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
