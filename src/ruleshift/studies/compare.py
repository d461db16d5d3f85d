"""From points to comparisons: at the end of training, at matched ID success, at matched KL to the start."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.statistics import clustered_difference

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
class Place:
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


def level(a: Curve, b: Curve, key: Key) -> tuple[Place, Place]:
    """Where two curves are level in `key`, as far along as both get: at the highest value that both reach.

    Each curve is followed from its start to where it first reaches that value, interpolated between its points.
    """
    reach = min(max(map(key, a)), max(map(key, b)))
    return _first_reaching(a, reach, key), _first_reaching(b, reach, key)


def _first_reaching(curve: Curve, wanted: float, key: Key) -> Place:
    index = next(i for i, point in enumerate(curve) if key(point) >= wanted)
    second = curve[index]
    if index == 0:
        return Place(second, second)
    first = curve[index - 1]
    return Place(first, second, (wanted - key(first)) / (key(second) - key(first)))


def compare(points: Iterable[Point], turns: Sequence[int], metrics: Sequence[str] = ("success",)) -> list[Comparison]:
    """Every comparison of the headline: trained arms with the base, PPO with SFT at the end and at matched points.

    Raises ValueError where the base was not evaluated.
    """
    curves = curves_of(points)
    if "base" not in curves:
        raise ValueError("there is no arm `base` to compare with")
    base = next(iter(curves["base"].values()))[0]
    result: list[Comparison] = []
    for metric in metrics:
        for cell, budget in itertools.product(base.cells, turns):
            what = (metric, cell.split, budget, cell.decoding)
            for arm in (name for name in curves if name != "base"):
                ends = [_end(curve) for curve in curves[arm].values()]
                result.append(_difference(f"{arm} at its end against base", what, ends, [Place(base, base)]))
            if "rl" in curves and "sft" in curves:
                result += _head_to_head(curves, base, what)
    return result


def _head_to_head(curves: Curves, base: Point, what: What) -> list[Comparison]:
    """PPO against SFT: both at their ends, and where they are level in ID success, or in KL."""
    seeds = sorted(set(curves["rl"]) & set(curves["sft"]))
    rl_ends, sft_ends = ([_end(curves[arm][seed]) for seed in seeds] for arm in ("rl", "sft"))
    result = [_difference("rl against sft, both at their end", what, rl_ends, sft_ends)]
    metric, _, budget, decoding = what
    keys: dict[MatchedOn, Key] = {
        "id": lambda point: point.value(metric, "id", budget, decoding),
        "kl": lambda point: point.kl_to_start,
    }
    for matched_on, key in keys.items():
        pairs = [level([base, *curves["rl"][seed]], [base, *curves["sft"][seed]], key) for seed in seeds]
        name = {"id": "ID " + metric.replace("_", " "), "kl": "KL to the start"}[matched_on]
        rl, sft = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        result.append(_difference(f"rl against sft at matched {name}", what, rl, sft, matched_on, key))
    return result


def _end(curve: Curve) -> Place:
    return Place(curve[-1], curve[-1])


def _difference(
    title: str,
    what: What,
    arm: Sequence[Place],
    reference: Sequence[Place],
    matched_on: MatchedOn | None = None,
    key: Key | None = None,
) -> Comparison:
    metric, split, turns, decoding = what
    a = [place.outcomes(*what) for place in arm]
    b = [place.outcomes(*what) for place in reference]
    change = clustered_difference(a, b)
    return Comparison(
        title=title,
        split=split,
        turns=turns,
        decoding=decoding,
        arm=arm[0].second.arm,
        reference=reference[0].second.arm,
        point_arm=_label(arm),
        value=fmean(map(fmean, a)),
        reference_value=fmean(map(fmean, b)),
        difference=change.mean,
        ci_low=change.low,
        ci_high=change.high,
        matched_on=matched_on,
        matched_value=fmean(place.value(key) for place in arm) if key else None,
        matched_reference_value=fmean(place.value(key) for place in reference) if key else None,
        metric=metric,
    )


def _label(places: Sequence[Place]) -> str:
    """The arm with its steps (those of all seeds, rounded where they lie between points)."""
    steps = sorted({round(place.step) for place in places})
    span = str(steps[0]) if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"
    return f"{places[0].second.arm} step {span}"
