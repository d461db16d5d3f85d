"""Does RL recover what SFT forgot? RL from steps of an SFT that goes on far past its dip.

SFT's shifted score may rise before it falls, and may fall for good or not, so it is evaluated often. Its rate is
constant after warm-up: one that falls to nothing heals some of the loss by itself, and would make early steps another
kind of model than late ones. What is forgotten is counted from the best step so far, as published and without the luck
of that step; what RL gains has its interval, and is a share of what was forgotten where that is 5 points and more
(`evaluation.forgetting`). How sure the model is of its first replies, right or wrong,
and how sharp the loss on the expert's replies is (`evaluation.sharpness`), stand beside: both are said to foretell an
SFT from which RL does not recover (arXiv 2606.09932).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from ruleshift.bounds import Count, ShareAboveZero, check_bounds
from ruleshift.evaluation.forgetting import forgetting, forgotten, overconfidence, recovery
from ruleshift.evaluation.statistics import Estimate, crossed_estimate
from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Findings, Start, Study, log_spaced
from ruleshift.studies.tables import ends

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.evaluation.evaluate import Point

EARLY, LATE = "rl-early", "rl-late"


@dataclass(frozen=True)
class Past:
    """Options of the study."""

    past: Count = 4
    """How many times the steps of the recipe SFT is trained."""
    early: ShareAboveZero = 0.02
    """The share of that after which the first RL starts; the last starts at the end."""
    between: Count = 2
    """RLs that start between these two, evenly on a logarithmic scale."""

    def __post_init__(self) -> None:
        check_bounds(self)


def arms(recipe: StudyRecipe, options: Past) -> list[Arm]:
    """A long SFT, RL from the start model, and RL from steps of that SFT."""
    steps = options.past * recipe.sft.steps
    long = replace(recipe.sft, steps=steps, schedule="constant_with_warmup")
    sft = Arm("sft", long, f"after SFT, {options.past} times as long as usual")
    starts = log_spaced(steps, options.between + 2, max(1, round(options.early * steps)))
    names = [EARLY, *(f"rl-from{step}" for step in starts[1:-1]), LATE][-len(starts) :]
    later = [_after(name, recipe, step) for name, step in zip(names, starts, strict=True)]
    return [sft, Arm("rl", recipe.rl, "after RL from the start model", dense=False), *later]


def _after(name: str, recipe: StudyRecipe, step: int) -> Arm:
    return Arm(name, recipe.rl, f"after RL from step {step} of SFT", dense=False, start=Start("sft", step))


def measures(usual: Measurement) -> Measurement:
    return replace(usual, sharpness_problems=32)


def losses(found: Findings, width: int) -> "list[Table]":
    """Along SFT: ID, shifted, what was forgotten, over-confidence and sharpness; of each RL, what it recovered."""
    from ruleshift.report.points import turns_label
    from ruleshift.report.terminal import blocks
    from ruleshift.tasks import get_task

    m, meta = found.measurement, found.results.meta
    end = get_task(m.task).recipe.primary
    if end is None or end.split not in m.splits:
        return []
    what = (end.metric, end.split, end.turns, end.decoding)
    along: dict[tuple[str, int], list[Point]] = {}
    for point in found.points:
        along.setdefault((point.arm, point.step), []).append(point)
    ood = {
        key: [point.cell(end.split, end.decoding).outcomes(end.metric, end.turns) for point in points]
        for key, points in along.items()
    }
    mean = {key: fmean(map(fmean, seeds)) for key, seeds in ood.items()}
    curve = [key for key in along if key[0] in (meta["start"], "sft")]
    lines = []
    for index, (key, lost) in enumerate(zip(curve, forgetting([mean[key] for key in curve]), strict=True)):
        surely = _in_points(forgotten([ood[step] for step in curve[: index + 1]]))
        lines.append([f"{key[0]} {key[1]}", *_of(along[key], what, m), f"{_percent(lost)}\n{surely}", ""])
    for arm, start in meta["config"]["starts"].items():
        after, before = max((key for key in along if key[0] == arm), default=None), ("sft", start["step"])
        if after is None or before not in ood:
            continue
        peak = max(mean[key] for key in curve if key[1] <= start["step"])
        share = recovery(mean[after], mean[before], peak)
        gained = _in_points(crossed_estimate(ood[after], ood[before]))
        told = f"{gained}\n" + ("little lost" if share is None else f"{share:.0%}")
        lines.append([f"{arm} {after[1]}", *_of(along[after], what, m), "", told])
    columns = ["ID", end.split, "too sure", "sharpness", "forgotten", "recovered"]
    title = (
        f"{end.metric}, {turns_label(end.turns)}, {end.decoding}, %; forgotten: of means, and on problems by which the "
        "best step was not chosen; recovered: in points, and as a share of 5 points and more"
    )
    return blocks(title, ("arm and step",), columns, lines, width)


def _of(points: "Sequence[Point]", what: tuple[str, str, int, str], m: Measurement) -> list[str]:
    """ID, shifted, over-confidence on the shifted split (greedily, where that is measured), and sharpness."""
    metric, split, turns, decoding = what
    greedy = "greedy" if "greedy" in m.decodings else decoding
    sure = [one for point in points if (one := overconfidence(point.cell(split, greedy))) is not None]
    identity = [point.value(metric, "id", turns, decoding) for point in points] if "id" in m.splits else []
    sharp = [point.sharpness for point in points if point.sharpness is not None]
    shifted = fmean(point.value(*what) for point in points)
    return [
        _percent(fmean(identity)) if identity else "",
        _percent(shifted),
        _percent(fmean(sure)) if sure else "",
        f"{fmean(sharp):.3g}" if sharp else "",
    ]


def _in_points(found: Estimate) -> str:
    from ruleshift.report.tables import signed

    mean, low, high, _ = found.interval()
    return f"{signed(mean)} [{signed(low)}, {signed(high)}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


OVERFIT = Study(
    name="overfit",
    question="Does RL recover what SFT forgot?",
    about="SFT far past its dip, and PPO from early and late steps of it: what is forgotten, what is recovered.",
    paper="RL from an over-trained SFT did not recover (arXiv 2501.17161); later work says it does, from "
    "where the dip is not deep (2509.12235)",
    cost="with --quick 12 minutes of two CPU cores for both tasks at a sixth of the recipe (an eighth since); by parts "
    "38 minutes a seed for both",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=measures,
    options=Past(),
    quick=Past(past=10, between=1),
    points=10,
    quick_points=5,
    quick_part=8,
    primary=(
        Claimed("SFT far past its dip forgets what is out of distribution (arXiv 2509.12235)", "sft", "lowers"),
        Claimed(
            "RL from an over-trained SFT does not recover what is out of distribution (arXiv 2501.17161)",
            LATE,
            "lowers",
            against="over-trained is a number of epochs there, here a multiple of the recipe's steps",
        ),
        Claimed(
            "RL heals what SFT forgot (arXiv 2509.12235)",
            LATE,
            "raises",
            "sft",
            against="a shorter RL, on a small model; RL from the start model may raise it as much (`rl`)",
        ),
        Claimed("an early start is better for RL than a late one (arXiv 2509.12235)", EARLY, "raises", LATE),
    ),
    tables=(ends, losses),
)
