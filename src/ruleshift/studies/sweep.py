"""Which learning rate? Both arms on one grid, chosen on `id-val` alone by what the task's primary endpoint counts.

Every rate is given the same steps or updates, those of the recipe, and is measured at their end on the same problems.
Validation shifts are measured too, for the record: `choose` never looks at them. No test split is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ruleshift.bounds import Positive, check_bounds
from ruleshift.evaluation.evaluate import FEW, OF_FIRST_REPLIES, budgets
from ruleshift.evaluation.statistics import crossed_difference
from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe, main_metric
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


def choose(points: "Sequence[Point]", metric: str, start: "Point | None" = None) -> str:
    """The first arm of `points`, given in rising order of learning rate, that is not worse than the best: the 95%
    interval of best minus arm, paired by the problems of ID validation, reaches down to 0 or below. So where validation
    cannot tell rates apart the smallest step is taken.

    Where first replies are counted, rates that pass less than `FEW` of the start model's steps are passed over, since
    they are judged by how problems begin; where all do, the smallest is taken. Seeds are averaged, and the interval is
    over problems alone (see `crossed_estimate` of one seed): over two or three seeds it would be so wide that the
    smallest rate is always chosen. A choice claims nothing.
    """
    split, turns, decoding = CRITERION
    seeds: dict[str, list[list[float]]] = {}
    for point in points:
        seeds.setdefault(point.arm, []).append(point.cell(split, decoding).outcomes(metric, turns))
    if start is not None and metric in OF_FIRST_REPLIES:
        far = [arm for arm in seeds if _passed(points, arm) >= FEW * _passed([start], start.arm)]
        seeds = {arm: seeds[arm] for arm in far or list(seeds)[:1]}
    outcomes = {arm: [fmean(values) for values in zip(*lists, strict=True)] for arm, lists in seeds.items()}
    best = max(outcomes.values(), key=fmean)
    return next(arm for arm, values in outcomes.items() if crossed_difference([best], [values]).low <= 0)


def _passed(points: "Sequence[Point]", arm: str) -> float:
    """How many steps of a problem an arm passes, the mean of its seeds."""
    split, turns, decoding = CRITERION
    return fmean(point.value("steps_passed", split, turns, decoding) for point in points if point.arm == arm)


def record(found: Findings) -> Mapping[str, Any]:
    """The content of sweep.json: the choice, the steps or updates that all rates were given, the numbers of each."""
    from ruleshift.report.arms import legend_of
    from ruleshift.tasks import get_task

    m, metric, legend = found.measurement, main_metric(get_task(found.measurement.task)), legend_of(found.results)
    ways: dict[str, list[Point]] = {}
    for point in found.points:
        if point.arm != legend.start:
            ways.setdefault(legend.family(point.arm), []).append(point)
    start = next((point for point in found.points if point.arm == legend.start), None)
    chosen = {way: choose(points, metric, start) for way, points in ways.items()}
    rows = [
        {
            "arm": point.arm,
            **({"seed": point.seed} if len(found.results.meta["seeds"]) > 1 else {}),
            "chosen": point.arm in chosen.values(),
            "kl_to_start": point.kl_to_start,
            "kl_error": point.kl_error,
            **{f"{s}@{k}": point.value(metric, s, k, "sampled") for s in m.splits for k in budgets(metric, m.turns)},
        }
        for point in found.points
    ]
    far = ", of those that pass half of the start model's steps" if metric in OF_FIRST_REPLIES else ""
    criterion = f"the smallest rate not worse than the best{far}: paired interval of {metric}, id-val, 1 turn, sampled"
    head = {"task": m.task, "metric": metric, "criterion": criterion, "n": m.n}
    return {**head, "budget": _budgets(ways), "chosen": chosen, "rows": rows}


def _budgets(ways: "Mapping[str, Sequence[Point]]") -> dict[str, int]:
    """The steps or updates of each way to train. Raises ValueError where rates were not given as many."""
    budgets = {way: {point.step for point in points} for way, points in ways.items()}
    if any(len(steps) > 1 for steps in budgets.values()):
        raise ValueError(f"rates were not given the same budget: {budgets}")
    return {way: steps.pop() for way, steps in budgets.items()}


def rates(found: Findings, width: int) -> "list[Table]":
    """Every rate with its numbers, the chosen ones marked."""
    from ruleshift.report.arms import references_in
    from ruleshift.report.tables import with_error
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
            with_error(row["kl_to_start"], row["kl_error"]),
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
    paper="in text 1e-6 for both ways to train (arXiv 2501.17161)",
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
