"""Which learning rate? Both arms on one grid, chosen by the task's metric on `id-val` alone.

Validation shifts are measured too, for the record: `choose` never looks at them. No test split is touched.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from ruleshift.bounds import Positive, check_bounds
from ruleshift.evaluation.evaluate import budgets
from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Findings, Study, variant

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.evaluation.evaluate import Point

SPLITS = ("id-val", "val-shift-a", "val-shift-b", "val-visual")  # the last of tasks in pictures
CRITERION = ("id-val", 1, "sampled")  # split, turns, decoding


@dataclass(frozen=True)
class Grid:
    """Options of the sweep."""

    grid: tuple[Positive, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Learning rates to try."""

    def __post_init__(self) -> None:
        check_bounds(self)


def arms(recipe: StudyRecipe, options: Grid) -> list[Arm]:
    """Both ways to train at every rate."""
    both = Arm("sft", recipe.sft), Arm("rl", recipe.rl)
    return [variant(arm, learning_rate=rate) for arm in both for rate in sorted(set(options.grid))]


def measures(usual: Measurement) -> Measurement:
    """Validation splits with sampled replies, on other problems than those of the test."""
    from ruleshift.tasks import get_task

    task = get_task(usual.task)
    splits = tuple(split for split in SPLITS[: 4 if task.pictures else 3] if split in task.splits())
    return replace(usual, splits=splits, decodings=("sampled",), seed=2_000)


def choose(points: "Sequence[Point]", metric: str) -> str:
    """The first arm of `points`, given in rising order of learning rate, whose metric on ID validation is within one
    standard error of the best: where validation cannot tell rates apart, the smallest step. Seeds are averaged.

    Source: the one-standard-error rule of Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3.
    """
    split, turns, decoding = CRITERION
    seeds: dict[str, list[list[float]]] = {}
    for point in points:
        seeds.setdefault(point.arm, []).append(point.cell(split, decoding).outcomes(metric, turns))
    outcomes = {arm: [fmean(values) for values in zip(*lists, strict=True)] for arm, lists in seeds.items()}
    best = max(outcomes.values(), key=fmean)
    error = pstdev(best) / math.sqrt(len(best))
    return next(arm for arm, values in outcomes.items() if fmean(values) >= fmean(best) - error)


def record(found: Findings) -> Mapping[str, Any]:
    """The content of sweep.json: the choice, and every rate with its numbers."""
    from ruleshift.report.arms import legend_of

    m, metric, legend = found.measurement, str(found.results.meta["metric"]), legend_of(found.results)
    ways: dict[str, list[Point]] = {}
    for point in found.points:
        if point.arm != legend.start:
            ways.setdefault(legend.family(point.arm), []).append(point)
    chosen = {way: choose(points, metric) for way, points in ways.items()}
    rows = [
        {
            "arm": point.arm,
            **({"seed": point.seed} if len(found.results.meta["seeds"]) > 1 else {}),
            "chosen": point.arm in chosen.values(),
            "kl_to_start": point.kl_to_start,
            **{f"{s}@{k}": point.value(metric, s, k, "sampled") for s in m.splits for k in budgets(metric, m.turns)},
        }
        for point in found.points
    ]
    criterion = f"the smallest rate within one standard error of the best {metric} on id-val, 1 turn, sampled"
    return {"task": m.task, "metric": metric, "criterion": criterion, "n": m.n, "chosen": chosen, "rows": rows}


def rates(found: Findings, width: int) -> "list[Table]":
    """Every rate with its numbers, the chosen ones marked."""
    from ruleshift.report.arms import references_in
    from ruleshift.report.terminal import blocks

    content = record(found)
    columns = [
        f"{s}@{k}" for s in found.measurement.splits for k in budgets(content["metric"], found.measurement.turns)
    ]
    title = f"learning-rate sweep of {content['task']}; chosen: {content['criterion']}"
    lines = [
        [
            row["arm"],
            "*" if row["chosen"] else "",
            f"{row['kl_to_start']:.2f}",
            *(f"{100 * row[c]:.1f}" for c in columns),
        ]
        for row in content["rows"]
    ]
    rows = found.results.rows
    for name, kind in references_in(rows).items():
        value = {f"{r.split}@{r.turns}": r.value for r in rows if (r.arm, r.metric) == (name, content["metric"])}
        lines.append([name, kind, "", *(f"{100 * value[c]:.1f}" for c in columns)])
    headings = [column.replace("@", "\n@") for column in columns]
    return blocks(title, ("arm", "chosen", "KL"), headings, lines, width)


SWEEP = Study(
    name="sweep",
    question="Which learning rate?",
    about="SFT and PPO on one grid, each rate chosen on validation problems of the training rule alone.",
    cost="10 to 35 minutes a task on two CPU cores",
    tasks=("gp-l",),
    arms=arms,
    options=Grid(),
    measures=measures,
    tables=(rates,),
    files={"sweep.json": record},
    trained="id-val",
    first_seed=100,
)
