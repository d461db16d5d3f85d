"""From points to comparisons: at the end of training, at matched ID success, at matched KL to the start."""

from collections.abc import Callable, Iterable, Sequence

from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.statistics import clustered_difference

Curve = Sequence[Point]
Curves = dict[str, dict[int, Curve]]  # arm -> seed -> points by step


def curves_of(points: Iterable[Point]) -> Curves:
    """Points by arm and seed, each in the order of steps."""
    curves: dict[str, dict[int, list[Point]]] = {}
    for point in sorted(points, key=lambda p: p.step):
        curves.setdefault(point.arm, {}).setdefault(point.seed, []).append(point)
    return curves  # type: ignore[return-value]


def compare(points: Iterable[Point], turns: Sequence[int]) -> list[Comparison]:
    """Every comparison of the headline: trained arms with the base, PPO with SFT at the end and at matched points."""
    curves = curves_of(points)
    base = next(iter(curves["base"].values()))[0]
    result: list[Comparison] = []
    for cell in base.cells:
        for budget in turns:
            what = (cell.split, budget, cell.decoding)
            for arm in (name for name in curves if name != "base"):
                ends = [curve[-1] for curve in curves[arm].values()]
                result.append(_difference(f"{arm} at its end against base", what, ends, [base]))
            if "rl" in curves and "sft" in curves:
                result += _head_to_head(curves, what)
    return result


def _head_to_head(curves: Curves, what: tuple[str, int, str]) -> list[Comparison]:
    """PPO at its end against SFT: at its end, and where SFT is level with it in ID success, or in KL."""
    seeds = sorted(set(curves["rl"]) & set(curves["sft"]))
    ends = [curves["rl"][seed][-1] for seed in seeds]
    result = [_difference("rl against sft, both at their end", what, ends, [curves["sft"][s][-1] for s in seeds])]
    _, budget, decoding = what
    keys: dict[MatchedOn, Callable[[Point], float]] = {
        "id": lambda point: point.success("id", budget, decoding),
        "kl": lambda point: point.kl_to_start,
    }
    for matched_on, key in keys.items():
        pairs = [closest_pair(curves["rl"][seed], curves["sft"][seed], key) for seed in seeds]
        name = {"id": "ID success", "kl": "KL to the start"}[matched_on]
        rl, sft = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        result.append(_difference(f"rl against sft at matched {name}", what, rl, sft, matched_on, key))
    return result


def closest_pair(a: Curve, b: Curve, key: Callable[[Point], float]) -> tuple[Point, Point]:
    """The latest point of the arm that goes less far in `key`, with the point of the other that is closest to it.

    Matching at the end of the shorter arm keeps as much training as both have in common; the first points of both
    arms match trivially and say nothing.
    """
    reach_a, reach_b = max(map(key, a)), max(map(key, b))
    if reach_a <= reach_b:
        end = max(a, key=key)
        return end, min(b, key=lambda point: abs(key(point) - key(end)))
    end = max(b, key=key)
    return min(a, key=lambda point: abs(key(point) - key(end))), end


def _difference(
    title: str,
    what: tuple[str, int, str],
    arm: Sequence[Point],
    reference: Sequence[Point],
    matched_on: MatchedOn | None = None,
    key: Callable[[Point], float] | None = None,
) -> Comparison:
    split, turns, decoding = what
    a = [point.cell(split, decoding).success(turns) for point in arm]
    b = [point.cell(split, decoding).success(turns) for point in reference]
    change = clustered_difference(a, b)
    return Comparison(
        title=title,
        split=split,
        turns=turns,
        decoding=decoding,
        arm=arm[0].arm,
        reference=reference[0].arm,
        point_arm=_label(arm),
        value=_mean([point.success(split, turns, decoding) for point in arm]),
        reference_value=_mean([point.success(split, turns, decoding) for point in reference]),
        difference=change.mean,
        ci_low=change.low,
        ci_high=change.high,
        matched_on=matched_on,
        matched_value=_mean([key(point) for point in arm]) if key else None,
        matched_reference_value=_mean([key(point) for point in reference]) if key else None,
    )


def _label(points: Sequence[Point]) -> str:
    steps = sorted({point.step for point in points})
    return f"{points[0].arm} step {'/'.join(map(str, steps))}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
