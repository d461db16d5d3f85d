"""From estimates to claims: what may be said about several differences at once, and in which word."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ruleshift.evaluation.statistics import ROUNDING, Difference, Estimate
from ruleshift.tasks.recipe import Endpoint

Word = Literal["raises", "lowers", "keeps", "undecided"]


class Uncertain(Protocol):
    """What a claim is made of: an `Estimate`, or a `Matched` difference. Below 1 - level, its interval leaves 0 out."""

    @property
    def p_value(self) -> float: ...

    def interval(self, level: float = ...) -> Difference: ...


@dataclass(frozen=True)
class Claim:
    """What may be said of an arm against its start model, by the interval that is corrected for all claims of a study.

    `word` is what was done to the metric; `of` counts the claims. The interval is None where it is endless.
    """

    task: str
    arm: str
    reference: str
    metric: str
    split: str
    turns: int
    decoding: str
    difference: float
    ci_low: float | None
    ci_high: float | None
    over: str
    word: Word
    of: int


def corrected(estimates: Sequence[Uncertain], level: float = 0.95, named: int = 0) -> list[Difference]:
    """Intervals of several estimates, in the order given, that leave 0 out exactly where Holm's procedure rejects it.

    The estimate with the i-th smallest p-value gets the level 1 - alpha / (m - i + 1), alpha = 1 - level; from the
    first one that is not rejected on, all get that one's level. m is how many were `named`, or given if that is more:
    those that are not here are taken for the last in order, which makes no interval narrower than with them. So the
    chance that any interval leaves 0 out where there is no difference is at most alpha. Each interval covers its
    difference with at least `level`. That all do at once is promised by Bonferroni's level for all,
    `interval(1 - alpha / m)`, and not by these: their ends say how large a difference is, one at a time.
    Source: Holm (1979), by the duality of tests and intervals.
    """
    alpha, count = 1 - level, max(named, len(estimates))
    share = count
    intervals: dict[int, Difference] = {}
    rejecting = True
    for rank, index in enumerate(_by_size([estimate.p_value for estimate in estimates])):
        if rejecting:
            share = count - rank
            rejecting = estimates[index].p_value <= alpha / share
        intervals[index] = estimates[index].interval(1 - alpha / share)
    return [intervals[index] for index in range(len(estimates))]


def verdict(difference: Difference, margin: float = 0.0) -> Word:
    """The word that an interval of arm minus reference carries; about several differences, ask their `corrected` ones.

    raises: all of it lies above 0. lowers: all of it lies below 0. keeps: it holds 0 and lies within +-margin, what an
    endpoint that was named beforehand calls no change. undecided: anything else, which is not "no change".
    Source of the margin: D. J. Schuirmann's equivalence test, J. Pharmacokin. Biopharm. 15 (1987).
    """
    if difference.low > ROUNDING:
        return "raises"
    if difference.high < -ROUNDING:
        return "lowers"
    if -margin < difference.low and difference.high < margin:
        return "keeps"
    return "undecided"


Answer = Literal["holds", "does not hold", "undecided", "does not apply at this scale"]
EDGE = 0.05  # so near to its end a share has no room left


def answer(expected: Word, found: Word, reference: float) -> Answer:
    """What a claim about an arm says of an expectation. reference: the share that the arm is compared with; where that
    leaves no room for what is expected, and it was not found, the expectation does not apply."""
    room = {"raises": 1 - reference, "lowers": reference}.get(expected, 1.0)
    if found == expected:
        return "holds"
    if room < EDGE:
        return "does not apply at this scale"
    return "undecided" if found == "undecided" else "does not hold"


def claims(
    about: Sequence[tuple[str, str, str, Endpoint, Estimate]], level: float = 0.95, named: int = 0
) -> list[Claim]:
    """The claims of a study: of each task, arm and reference the estimate of its endpoint, corrected over all that were
    `named`, those of tasks that are not here among them."""
    intervals = corrected([estimate for *_, estimate in about], level, named)
    return [
        Claim(
            task=task,
            arm=arm,
            reference=reference,
            metric=endpoint.metric,
            split=endpoint.split,
            turns=endpoint.turns,
            decoding=endpoint.decoding,
            difference=estimate.mean,
            ci_low=interval.low if math.isfinite(interval.low) else None,
            ci_high=interval.high if math.isfinite(interval.high) else None,
            over=estimate.over,
            word=verdict(interval, endpoint.margin),
            of=max(named, len(about)),
        )
        for (task, arm, reference, endpoint, estimate), interval in zip(about, intervals, strict=True)
    ]


def _by_size(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=lambda index: p_values[index])
