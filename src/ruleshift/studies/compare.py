"""From points to comparisons: at the end of training, at matched ID success, KL to the start, or training FLOPs."""

import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.evaluation.evaluate import Point, budgets
from ruleshift.evaluation.matching import POINTS, Crossing, Matched, Measured, Tolerance, matched_difference
from ruleshift.evaluation.statistics import ROUNDING, Estimate, crossed_estimate
from ruleshift.studies.recipes import main_metric
from ruleshift.studies.study import Pair
from ruleshift.tasks.protocol import Task

Curve = Sequence[Point]
What = tuple[str, str, int, str]  # metric, split, turns, decoding
Curves = dict[str, dict[int, Curve]]  # arm -> seed -> points by step
Origins = Mapping[str, tuple[str, int]]  # of arms that go on from others: from which, and after which step

TOLERANCES: dict[MatchedOn, Tolerance] = {
    "id": POINTS,
    "kl": Tolerance(0.05, POINTS.outcome),
    "flops": Tolerance(0.05, POINTS.outcome),
}
"""How far apart two evaluated steps may be for a value to be read between them: KL in nats per reply, FLOPs as a share
of the most that an arm spent."""
NAMES: dict[MatchedOn, str] = {"kl": "KL to the start", "flops": "training FLOPs"}


def curves_of(points: Iterable[Point]) -> Curves:
    """Points by arm and seed, each in the order of steps."""
    curves: dict[str, dict[int, list[Point]]] = {}
    for point in sorted(points, key=lambda p: p.step):
        curves.setdefault(point.arm, {}).setdefault(point.seed, []).append(point)
    return curves  # type: ignore[return-value]


def path_of(curves: Curves, arm: str, seed: int, first: Point, origins: Origins) -> Curve:
    """All points from the start model `first` on, those of what the arm went on from too: their steps count backwards
    from 0, where its own training begins."""
    if arm not in origins:
        return [first, *curves[arm][seed]]
    before, last = origins[arm]
    way = [point for point in path_of(curves, before, seed, first, origins) if point.step <= last]
    return [*(replace(point, step=point.step - last) for point in way), *curves[arm][seed]]


def compare(
    points: Iterable[Point],
    pairs: Sequence[Pair],
    turns: Sequence[int],
    metrics: Sequence[str],
    start: str,
    trained: str,
    matched_turns: Sequence[int] | None = None,
    origins: Origins | None = None,
) -> list[Comparison]:
    """The comparison of every pair, for each metric, split, number of turns and decoding.

    matched_turns: the numbers of turns in which arms can be matched, where points along a training tell of fewer.

    `start` is the arm that all others begin from, those of `origins` by way of another; `trained` is the split of the
    training rule, on whose metric arms are matched. Pairs of which an arm has no points (it diverged, say) are left
    out, and seeds that one of them lacks, or where pairs are matched, what it went on from; the start model has one
    seed for all. Raises ValueError where the start was not evaluated.
    """
    curves, origins = curves_of(points), origins or {}
    if start not in curves:
        raise ValueError(f"there is no arm `{start}` to compare with")
    first = next(iter(curves[start].values()))[0]
    there = [pair for pair in pairs if seeds_of(curves, pair, start, origins)]
    matched = set(whats_of(first, turns if matched_turns is None else matched_turns, metrics))
    return [
        _compared(curves, pair, first, what, trained, origins)
        for what in whats_of(first, turns, metrics)
        for pair in there
        if pair.matched_on is None or what in matched
    ]


def metrics_of(task: Task) -> tuple[str, ...]:
    """What arms are compared by: what decides, the task's metric, others beside it and, where there are pictures,
    recognition."""
    return tuple(
        dict.fromkeys(
            (main_metric(task), task.metric, *task.recipe.beside, *(("recognition",) if task.pictures else ()))
        )
    )


def whats_of(point: Point, turns: Sequence[int], metrics: Sequence[str]) -> list[What]:
    """All that arms are compared in: each metric, split, number of turns and decoding."""
    return [
        (metric, cell.split, budget, cell.decoding)
        for metric in metrics
        for cell, budget in itertools.product(point.cells, budgets(metric, turns))
    ]


def end_difference(points: Iterable[Point], arm: str, reference: str, start: str, what: What) -> Estimate | None:
    """The difference of an arm at its end to another, before a level is chosen; None where one of them is not there.
    The start model has one seed for all."""
    curves = curves_of(points)
    seeds = seeds_of(curves, Pair(arm, reference), start)
    if not seeds or reference not in curves:
        return None
    others = [next(iter(curves[start].values()))] if reference == start else [curves[reference][s] for s in seeds]
    return crossed_estimate(
        [outcomes(curves[arm][seed][-1], what) for seed in seeds],
        [outcomes(curve[-1], what) for curve in others],
    )


def outcomes(point: Point, what: What) -> list[float]:
    """Per problem: its part of the metric (see `Cell.outcomes`)."""
    metric, split, turns, decoding = what
    return point.cell(split, decoding).outcomes(metric, turns)


def matched_curves(
    a: Curve, b: Curve, on: MatchedOn, what: What, trained: str
) -> tuple[list[Measured], list[Measured]]:
    """Two arms of one seed by what they are matched on: metric on the split `trained`, KL, or FLOPs as a share
    of the most that either of them spent."""
    metric, _, turns, decoding = what
    most = most_flops(a, b)

    def level(point: Point) -> Sequence[float]:
        if on == "id":
            return outcomes(point, (metric, trained, turns, decoding))
        return (point.kls or [point.kl_to_start]) if on == "kl" else [point.train_flops / most]

    return tuple([Measured(p.step, level(p), outcomes(p, what)) for p in curve] for curve in (a, b))  # type: ignore[return-value]


def most_flops(a: Curve, b: Curve) -> float:
    return max(point.train_flops for point in (*a, *b)) or 1.0


def seeds_of(curves: Curves, pair: Pair, start: str, origins: Origins | None = None) -> list[int]:
    """The seeds of a pair, in order: those that both arms have, and where they are matched, all that they went on
    from, of which a matched pair is followed."""

    def there(arm: str) -> set[int]:
        mine, before = set(curves.get(arm, {})), (origins or {}).get(arm)
        return mine & there(before[0]) if before and pair.matched_on else mine

    mine = there(pair.arm)
    return sorted(mine if pair.reference == start else mine & there(pair.reference))


def _compared(curves: Curves, pair: Pair, first: Point, what: What, trained: str, origins: Origins) -> Comparison:
    """One pair: at the ends of both, or where they match, both followed from the start model `first` on."""
    seeds, at_start = seeds_of(curves, pair, first.arm, origins), pair.reference == first.arm
    a: list[Curve] = [curves[pair.arm][seed] for seed in seeds]
    b: list[Curve] = [[first] if at_start else curves[pair.reference][seed] for seed in seeds]
    if pair.matched_on is None:
        return _at_ends(pair, what, [curve[-1] for curve in a], [curve[-1] for curve in b], at_start)
    mine, others = (
        [path_of(curves, arm, seed, first, origins) for seed in seeds] for arm in (pair.arm, pair.reference)
    )
    return _where_matched(pair, pair.matched_on, what, mine, others, trained)


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
        point_reference=pair.reference if at_start else f"{pair.reference} step {_span([point.step for point in b])}",
    )


def _where_matched(
    pair: Pair, on: MatchedOn, what: What, a: Sequence[Curve], b: Sequence[Curve], trained: str
) -> Comparison:
    """Where two arms are level: both read at the same value, or between the two steps that it lies between."""
    metric, split, turns, decoding = what
    measured = [matched_curves(x, y, on, what, trained) for x, y in zip(a, b, strict=True)]
    found = matched_difference([x for x, _ in measured], [y for _, y in measured], TOLERANCES[on])
    mine, others = _read(found.a, found.targets), _read(found.b, found.targets)
    units = [most_flops(x, y) if on == "flops" else 1.0 for x, y in zip(a, b, strict=True)]
    change, level = found.interval(), fmean(map(operator.mul, found.targets, units))
    name = NAMES.get(on, "ID " + metric.replace("_", " "))
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
        point_reference=_label(pair.reference, found.b, found.targets),
        matched_error=_kl_error((*a, *b), (*found.a, *found.b)) if on == "kl" else None,
    )


def _kl_error(curves: Sequence[Curve], crossings: Sequence[Sequence[Crossing]]) -> float | None:
    """The largest standard error of a KL at which an arm is read, and not between two that are far apart; None where
    none was measured."""
    errors = [
        point.kl_error
        for curve, (first, *_) in zip(curves, crossings, strict=True)
        for point in curve
        if first.close and point.step in first.steps and point.kl_error is not None
    ]
    return max(errors, default=None)


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
    """Every crossing of the curves that have the matched value more than once, the first of which is read; and that a
    curve is read before the arm itself begins."""
    both = (pair.arm, found.a), (pair.reference, found.b)
    seeds = [
        f"{arm} ({'; '.join(', '.join(_span(c.steps) for c in crossings) for crossings in many)})"
        for arm, curves in both
        if (many := [crossings for crossings in curves if len(crossings) > 1])
    ]
    notes = [f"not monotone, read at the first of several steps: {', '.join(seeds)}"] if seeds else []
    notes += [
        f"steps of {arm} below 0 are of what it went on from"
        for arm, curves in both
        if any(first.steps[0] < 0 for first, *_ in curves)
    ]
    return "; ".join(notes)


def _span(steps: Iterable[int]) -> str:
    first, *rest = sorted(set(steps))
    return f"{first} to {rest[-1]}" if rest else str(first)


def _finite(bound: float) -> float | None:
    """An end of an interval as JSON can hold it: a single problem has an endless one."""
    return bound if math.isfinite(bound) else None
