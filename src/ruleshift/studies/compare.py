"""From points to comparisons: at the end of training, at matched ID success, at matched KL to the start."""

import itertools
import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.evaluation.evaluate import Point, budgets
from ruleshift.evaluation.matching import POINTS, Crossing, Matched, Measured, Tolerance, matched_difference
from ruleshift.evaluation.statistics import ROUNDING, Estimate, crossed_estimate
from ruleshift.studies.study import Pair

Curve = Sequence[Point]
What = tuple[str, str, int, str]  # metric, split, turns, decoding
Curves = dict[str, dict[int, Curve]]  # arm -> seed -> points by step

TOLERANCES: dict[MatchedOn, Tolerance] = {"id": POINTS, "kl": Tolerance(0.05, POINTS.outcome)}
"""How far apart two evaluated steps may be for a value to be read between them; KL in nats per reply."""


def curves_of(points: Iterable[Point]) -> Curves:
    """Points by arm and seed, each in the order of steps."""
    curves: dict[str, dict[int, list[Point]]] = {}
    for point in sorted(points, key=lambda p: p.step):
        curves.setdefault(point.arm, {}).setdefault(point.seed, []).append(point)
    return curves  # type: ignore[return-value]


def compare(
    points: Iterable[Point],
    pairs: Sequence[Pair],
    turns: Sequence[int],
    metrics: Sequence[str],
    start: str,
    trained: str,
) -> list[Comparison]:
    """The comparison of every pair, for each metric, split, number of turns and decoding.

    `start` is the arm that all others begin from, `trained` the split of the training rule, on whose metric arms are
    matched. Pairs of which an arm has no points (it diverged, say) are left out, and seeds that one of them lacks; the
    start model has one seed for all. Raises ValueError where the start was not evaluated.
    """
    curves = curves_of(points)
    if start not in curves:
        raise ValueError(f"there is no arm `{start}` to compare with")
    first = next(iter(curves[start].values()))[0]
    there = [pair for pair in pairs if _seeds(curves, pair, start)]
    return [
        _compared(curves, pair, first, (metric, cell.split, budget, cell.decoding), trained)
        for metric in metrics
        for cell, budget in itertools.product(first.cells, budgets(metric, turns))
        for pair in there
    ]


def end_difference(points: Iterable[Point], arm: str, start: str, what: What) -> Estimate | None:
    """The difference of an arm at its end to the start model, before a level is chosen; None where there is no arm."""
    curves = curves_of(points)
    if arm not in curves or start not in curves:
        return None
    return crossed_estimate(
        [outcomes(curve[-1], what) for curve in curves[arm].values()],
        [outcomes(next(iter(curves[start].values()))[0], what)],
    )


def outcomes(point: Point, what: What) -> list[float]:
    """Per problem: its part of the metric (see `Cell.outcomes`)."""
    metric, split, turns, decoding = what
    return point.cell(split, decoding).outcomes(metric, turns)


def _seeds(curves: Curves, pair: Pair, start: str) -> list[int]:
    """The seeds of a pair, in order: those that both arms have."""
    with_start = set(curves.get(pair.arm, {}))
    return sorted(with_start if pair.reference == start else with_start & set(curves.get(pair.reference, {})))


def _compared(curves: Curves, pair: Pair, first: Point, what: What, trained: str) -> Comparison:
    """One pair: at the ends of both, or where they match, both followed from the start model `first` on."""
    seeds, at_start = _seeds(curves, pair, first.arm), pair.reference == first.arm
    a: list[Curve] = [curves[pair.arm][seed] for seed in seeds]
    b: list[Curve] = [[first] if at_start else curves[pair.reference][seed] for seed in seeds]
    if pair.matched_on is None:
        return _at_ends(pair, what, [curve[-1] for curve in a], [curve[-1] for curve in b], at_start)
    return _where_matched(pair, pair.matched_on, what, [[first, *x] for x in a], [[first, *y] for y in b], trained)


def _at_ends(pair: Pair, what: What, a: Sequence[Point], b: Sequence[Point], at_start: bool) -> Comparison:
    """At the ends of both arms, one point for each seed; the start model is the same for every seed."""
    metric, split, turns, decoding = what
    arm, reference = [outcomes(point, what) for point in a], [outcomes(point, what) for point in b]
    change = crossed_estimate(arm, reference[:1] if at_start else reference)
    title = "{} at its end against {}" if at_start else "{} against {}, both at their end"
    steps = [point.step for point in a]
    return Comparison(
        title=title.format(pair.arm, pair.reference),
        split=split,
        turns=turns,
        decoding=decoding,
        arm=pair.arm,
        reference=pair.reference,
        point_arm=f"{pair.arm} step {_span(steps)}",
        value=fmean(map(fmean, arm)),
        reference_value=fmean(map(fmean, reference)),
        difference=change.mean,
        ci_low=_finite(change.interval().low),
        ci_high=_finite(change.interval().high),
        metric=metric,
        over=change.over,
        by_seed=tuple(fmean(x) - fmean(y) for x, y in zip(arm, reference, strict=True)),
    )


def _where_matched(
    pair: Pair, on: MatchedOn, what: What, a: Sequence[Curve], b: Sequence[Curve], trained: str
) -> Comparison:
    """Where two arms are level: both read at the same value, or between the two steps that it lies between."""
    metric, split, turns, decoding = what

    def measured(curve: Curve) -> list[Measured]:
        levels = [[p.kl_to_start] if on == "kl" else outcomes(p, (metric, trained, turns, decoding)) for p in curve]
        return [Measured(p.step, level, outcomes(p, what)) for p, level in zip(curve, levels, strict=True)]

    found = matched_difference([measured(x) for x in a], [measured(y) for y in b], TOLERANCES[on])
    mine, others = _read(found.a, found.targets), _read(found.b, found.targets)
    change, level = found.interval(), fmean(found.targets)
    name = "KL to the start" if on == "kl" else "ID " + metric.replace("_", " ")
    return Comparison(
        title=f"{pair.arm} against {pair.reference} at matched {name}",
        split=split,
        turns=turns,
        decoding=decoding,
        arm=pair.arm,
        reference=pair.reference,
        point_arm=_label(pair.arm, found.a, found.targets),
        value=fmean(map(fmean, mine)),
        reference_value=fmean(map(fmean, others)),
        difference=change.mean,
        ci_low=_finite(change.low),
        ci_high=_finite(change.high),
        matched_on=on,
        matched_value=level,
        matched_reference_value=level,
        metric=metric,
        over=found.ends[0].over,
        by_seed=tuple(fmean(x) - fmean(y) for x, y in zip(mine, others, strict=True)),
        spread=fmean((high - low) / 2 for low, high in mine),
        reference_spread=fmean((high - low) / 2 for low, high in others),
        note=_note(pair, found),
    )


def _read(crossings: Sequence[Sequence[Crossing]], targets: Sequence[float]) -> list[tuple[float, float]]:
    """For each seed, the least and the most that the outcome is where its curve first has the target."""
    read = []
    for (first, *_), target in zip(crossings, targets, strict=True):
        value = first.outcome[0] + _share(first, target) * (first.outcome[1] - first.outcome[0])
        read.append((value, value) if first.close else (min(first.outcome), max(first.outcome)))
    return read


def _share(crossing: Crossing, target: float) -> float:
    """How far from the first of its two steps to the second a curve has the target."""
    gap = crossing.matched[1] - crossing.matched[0]
    return (target - crossing.matched[0]) / gap if abs(gap) > ROUNDING else 0.0


def _label(arm: str, crossings: Sequence[Sequence[Crossing]], targets: Sequence[float]) -> str:
    """The arm with the steps of all seeds: rounded where they are read between two, both where they cannot be."""
    if all(first.close for first, *_ in crossings):
        read = [
            first.steps[0] + _share(first, target) * (first.steps[1] - first.steps[0])
            for (first, *_), target in zip(crossings, targets, strict=True)
        ]
        return f"{arm} step {_span(map(round, read))}"
    steps = sorted({step for first, *_ in crossings for step in first.steps})
    return f"{arm} between step {steps[0]} and {steps[-1]}"


def _note(pair: Pair, found: Matched) -> str:
    """Every crossing of the curves that have the matched value more than once, the first of which is read."""
    seeds = [
        f"{arm} ({'; '.join(', '.join(_span(c.steps) for c in crossings) for crossings in many)})"
        for arm, curves in ((pair.arm, found.a), (pair.reference, found.b))
        if (many := [crossings for crossings in curves if len(crossings) > 1])
    ]
    return f"not monotone, read at the first of several steps: {', '.join(seeds)}" if seeds else ""


def _span(steps: Iterable[int]) -> str:
    first, *rest = sorted(set(steps))
    return f"{first} to {rest[-1]}" if rest else str(first)


def _finite(bound: float) -> float | None:
    """An end of an interval as JSON can hold it: a single problem has an endless one."""
    return bound if math.isfinite(bound) else None
