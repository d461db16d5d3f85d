"""From points to comparisons: at the end of training, at matched ID success, at matched KL to the start."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.statistics import clustered_difference
from ruleshift.studies.study import Pair

Curve = Sequence[Point]
Key = Callable[[Point], float]
What = tuple[str, str, int, str]  # metric, split, turns, decoding
Curves = dict[str, dict[int, Curve]]  # arm -> seed -> points by step


def curves_of(points: Iterable[Point]) -> Curves:
    """Points by arm and seed, each in the order of steps."""
    curves: dict[str, dict[int, list[Point]]] = {}
    for point in sorted(points, key=lambda p: p.step):
        curves.setdefault(point.arm, {}).setdefault(point.seed, []).append(point)
    return curves  # type: ignore[return-value]


@dataclass(frozen=True)
class CurvePlace:
    """A place on an arm's curve: `share` of the way from one evaluated point to the next (the same point at an end)."""

    first: Point
    second: Point
    share: float = 0.0

    def outcomes(self, metric: str, split: str, turns: int, decoding: str) -> list[float]:
        """Per problem: its part of the metric (see `Cell.outcomes`), interpolated linearly between the two points."""
        a = self.first.cell(split, decoding).outcomes(metric, turns)
        b = self.second.cell(split, decoding).outcomes(metric, turns)
        return [(1 - self.share) * x + self.share * y for x, y in zip(a, b, strict=True)]

    def value(self, key: Key) -> float:
        return (1 - self.share) * key(self.first) + self.share * key(self.second)

    @property
    def step(self) -> float:
        return (1 - self.share) * self.first.step + self.share * self.second.step


def match(a: Curve, b: Curve, key: Key) -> tuple[CurvePlace, CurvePlace]:
    """Where two curves match in `key`, as far along as both get: at the highest value that both reach.

    Each curve is followed from its start to where it first reaches that value, interpolated between its points.
    """
    reach = min(max(map(key, a)), max(map(key, b)))
    return _first_reaching(a, reach, key), _first_reaching(b, reach, key)


def _first_reaching(curve: Curve, wanted: float, key: Key) -> CurvePlace:
    index = next(i for i, point in enumerate(curve) if key(point) >= wanted)
    second = curve[index]
    if index == 0:
        return CurvePlace(second, second)
    first = curve[index - 1]
    return CurvePlace(first, second, (wanted - key(first)) / (key(second) - key(first)))


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
        for cell, budget in itertools.product(first.cells, turns)
        for pair in there
    ]


def _seeds(curves: Curves, pair: Pair, start: str) -> list[int]:
    """The seeds of a pair, in order: those that both arms have."""
    with_start = set(curves.get(pair.arm, {}))
    return sorted(with_start if pair.reference == start else with_start & set(curves.get(pair.reference, {})))


def _compared(curves: Curves, pair: Pair, first: Point, what: What, trained: str) -> Comparison:
    """One pair: at the ends of both, or where they match, both followed from the start model `first` on."""
    metric, _, budget, decoding = what
    seeds, at_start = _seeds(curves, pair, first.arm), pair.reference == first.arm
    a: list[Curve] = [curves[pair.arm][seed] for seed in seeds]
    b: list[Curve] = [[first] if at_start else curves[pair.reference][seed] for seed in seeds]
    if pair.matched_on is None:
        title = "{} at its end against {}" if at_start else "{} against {}, both at their end"
        ends = [_end(curve) for curve in (b[:1] if at_start else b)]
        return _difference(pair, title, what, [_end(curve) for curve in a], ends)
    keys: dict[MatchedOn, tuple[str, Key]] = {
        "id": ("ID " + metric.replace("_", " "), lambda point: point.value(metric, trained, budget, decoding)),
        "kl": ("KL to the start", lambda point: point.kl_to_start),
    }
    name, key = keys[pair.matched_on]
    places = [match([first, *x], [first, *y], key) for x, y in zip(a, b, strict=True)]
    title = f"{{}} against {{}} at matched {name}"
    return _difference(pair, title, what, [p[0] for p in places], [p[1] for p in places], key)


def _end(curve: Curve) -> CurvePlace:
    return CurvePlace(curve[-1], curve[-1])


def _difference(
    pair: Pair,
    title: str,
    what: What,
    arm: Sequence[CurvePlace],
    reference: Sequence[CurvePlace],
    key: Key | None = None,
) -> Comparison:
    metric, split, turns, decoding = what
    a = [place.outcomes(*what) for place in arm]
    b = [place.outcomes(*what) for place in reference]
    change = clustered_difference(a, b)
    return Comparison(
        title=title.format(pair.arm, pair.reference),
        split=split,
        turns=turns,
        decoding=decoding,
        arm=pair.arm,
        reference=pair.reference,
        point_arm=_label(pair.arm, arm),
        value=fmean(map(fmean, a)),
        reference_value=fmean(map(fmean, b)),
        difference=change.mean,
        ci_low=change.low,
        ci_high=change.high,
        matched_on=pair.matched_on,
        matched_value=fmean(place.value(key) for place in arm) if key else None,
        matched_reference_value=fmean(place.value(key) for place in reference) if key else None,
        metric=metric,
    )


def _label(arm: str, places: Sequence[CurvePlace]) -> str:
    """The arm with its steps (those of all seeds, rounded where they lie between points)."""
    steps = sorted({round(place.step) for place in places})
    span = str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return f"{arm} step {span}"
