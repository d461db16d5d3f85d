"""When does SFT memorise, and when does RL? A map over base strength, learning rate and dose.

Both ways to train, and PPO without the KL to the start, at every rate of one grid. Rates are constant after warm-up, so
that the model after a step is what a training of that length gives: every point is a dose. `--starts` names the models
to start from, weak ones to strong ones (say those that `ruleshift backbone build --models-every 500` keeps).

The map shows the change of the shifted rule's score beside the gain of the training rule's, and the KL. What the change
follows is then asked of all cells together: how much of it KL and gain explain (drift), and how much more the way to
train does (algorithm), of cells that are fitted and of cells left out.

Primary, named before the run: by how much the share of the variance of the change that is explained in trainings left
out is larger with the way to train beside drift than with drift alone, its interval over trainings (`beyond_drift`).
Expected: no more (`SAYS`), which holds where the interval ends below `LITTLE` and does not lie above 0, and does not
hold where it does. With --starts it is that of all of them together, on their pages. The paper compares one rate and
one base, and nobody has published such a map. A quick study is four trainings, and decides nothing.
"""

from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ruleshift.bounds import Positive, check_bounds
from ruleshift.evaluation.claims import Answer
from ruleshift.evaluation.evaluate import Point, budgets
from ruleshift.evaluation.statistics import crossed_estimate
from ruleshift.settings import Measurement
from ruleshift.studies.pictures import map_of_phases
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Expectation, Findings, Study, variant

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.evaluation.phases import PhaseCell

SHIFTED = "rule-ood"
LITTLE = 0.1  # of the variance
SAYS = (
    "how far a model moves, and what it gains, tells what happens under the shift, whichever way it is trained (left "
    "open by arXiv 2501.17161; of forgetting it is said by RL's Razor, arXiv 2509.04259)"
)
AGAINST = "one bootstrap over few trainings; drift is measured on the training rule alone"


@dataclass(frozen=True)
class Ground:
    """Options of the map."""

    grid: tuple[Positive, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Learning rates, of every way to train."""
    free: bool = True
    """Also train PPO without the KL to the start."""

    def __post_init__(self) -> None:
        check_bounds(self)


def arms(recipe: StudyRecipe, options: Ground) -> list[Arm]:
    """Every way to train at every rate, evaluated along the training."""
    rl = replace(recipe.rl, schedule="constant")
    ways = [Arm("sft", replace(recipe.sft, schedule="constant_with_warmup")), Arm("rl", rl)]
    ways += [Arm("rl-free", replace(rl, kl_coef=0.0))] if options.free else []
    return [variant(way, learning_rate=rate, dense=True) for way in ways for rate in sorted(set(options.grid))]


def measures(usual: Measurement) -> Measurement:
    """The training rule and the shifted one alone, sampled, and the KL of as many replies as there are at first: there
    are many cells."""
    return replace(
        usual, splits=("id", SHIFTED), n=min(usual.n, 200), decodings=("sampled",), kl_most=usual.kl_problems
    )


def cells(found: Findings) -> "list[PhaseCell]":
    """The cells of the map, way by way, rate by rate, from the smallest dose on."""
    from ruleshift.evaluation.phases import PhaseCell
    from ruleshift.report.arms import usual_ood

    meta, m = found.results.meta, found.measurement
    metric, trained = str(meta["metric"]), str(meta["trained"])
    turns, decoding = budgets(metric, m.everywhere)[-1], m.decodings[-1]
    first = next(point for point in found.points if point.arm == meta["start"])
    groups: dict[tuple[str, int], list[Point]] = {}
    for point in found.points:
        if point.arm != meta["start"]:
            groups.setdefault((point.arm, point.step), []).append(point)
    family = {entry["name"]: entry["variant_of"] or entry["name"] for entry in meta["arms"]}

    def outcomes(point: Point, split: str) -> list[float]:
        return point.cell(split, decoding).outcomes(metric, turns)

    made = []
    for (arm, step), points in groups.items():
        gain, change = (
            crossed_estimate([outcomes(point, split) for point in points], [outcomes(first, split)])
            for split in (trained, usual_ood(found.results))
        )
        interval = change.interval()
        made.append(
            PhaseCell(
                start=str(meta["config"]["label"] or meta["config"]["model"]),
                strength=fmean(outcomes(first, trained)),
                way=str(family[arm]),
                learning_rate=float(meta["config"]["training"][arm]["learning_rate"]),
                step=step,
                id_gain=gain.mean,
                ood_change=change.mean,
                ci_low=interval.low if isfinite(interval.low) else None,
                ci_high=interval.high if isfinite(interval.high) else None,
                over=change.over,
                kl=fmean(point.kl_to_start for point in points),
                train_flops=fmean(point.train_flops for point in points),
                seeds=len(points),
            )
        )
    return made


def record(found: Findings) -> dict[str, object]:
    """The content of phase.json."""
    from ruleshift.evaluation.phases import beyond_drift, explanations

    made = cells(found)
    beyond = beyond_drift(made)
    return {
        "version": 1,
        "metric": found.results.meta["metric"],
        "cells": [asdict(cell) for cell in made],
        "explained": [asdict(one) for one in explanations(made)],
        "beyond_drift": beyond and asdict(beyond),
    }


def phases(found: Findings, width: int) -> "list[Table]":
    """The map in numbers, and what explains it."""
    from ruleshift.evaluation.phases import explanations
    from ruleshift.report.phase import beyond_drift_in_words
    from ruleshift.report.tables import signed
    from ruleshift.report.terminal import blocks

    made = cells(found)
    doses = sorted({(cell.way, cell.step) for cell in made})
    lines = []
    for way in dict.fromkeys(cell.way for cell in made):
        steps = [step for other, step in doses if other == way]
        lines.append([way, "steps", *map(str, steps)])
        for rate in sorted({cell.learning_rate for cell in made if cell.way == way}):
            known = {c.step: c for c in made if (c.way, c.learning_rate) == (way, rate)}
            shown = [known.get(step) for step in steps]
            lines.append(
                [
                    way,
                    f"{rate:g}",
                    *("" if c is None else f"{signed(c.ood_change)} ({signed(c.id_gain)}, {c.kl:.2f})" for c in shown),
                ]
            )
    most = max(len(line) for line in lines) - 2 if lines else 0
    lines = [[*line, *[""] * (most + 2 - len(line))] for line in lines]
    title = "change under the shifted rule in points (gain under that of training, KL), from the smallest dose on"
    tables = blocks(title, ("way", "rate"), [f"dose {i}" for i in range(1, most + 1)], lines, width)
    told = [["" if value is None else f"{value:.2f}" for value in (one.r2, one.q2)] for one in explanations(made)]
    rows = [[one.by, *values] for one, values in zip(explanations(made), told, strict=True)]
    return tables + blocks(
        f"what explains the change under the shifted rule: share of its variance over {len(made)} cells"
        f"{beyond_drift_in_words(made)}",
        ("by",),
        ("R2", "left out"),
        rows,
        width,
    )


def drift_tells_all(folder: Path) -> tuple[str, Answer] | None:
    """What the published map says of it, of all start models together."""
    from ruleshift.evaluation.phases import beyond_drift
    from ruleshift.report.phase import cells_in

    found = beyond_drift(cells_in(folder))
    if found is None:
        return None
    share = f"{found.difference:+.2f} [{found.ci_low:+.2f}, {found.ci_high:+.2f}]"
    about = f"told by the way to train beside drift, in trainings left out; {found.trainings} trainings, uncorrected"
    says_no, says_little = found.ci_low > 0, found.ci_high < LITTLE
    return f"{share} of the variance ({about})", "does not hold" if says_no else "holds" if says_little else "undecided"


PHASE = Study(
    name="phase",
    question="When does SFT memorise, and when does RL?",
    about="A map of the change under the shifted rule over base strength (--starts), learning rate and dose.",
    paper="left open there (arXiv 2501.17161)",
    cost="with --quick and the full grid 14 to 22 minutes a task and start model, on one busy CPU core (200 problems)",
    tasks=("gp-l", "virl-l"),
    points=6,
    arms=arms,
    options=Ground(),
    measures=measures,
    quick=Ground((1e-4, 1e-3), free=False),
    quick_points=4,
    tables=(phases,),
    files={"phase.json": record},
    pictures={"map": map_of_phases},
    expected=(Expectation(SAYS, drift_tells_all, AGAINST),),
)
