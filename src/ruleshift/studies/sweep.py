"""The learning-rate sweep: both arms, one grid, chosen by the task's metric on `id-val` alone.

Validation shifts are measured too, for the record: `choose` never looks at them. No test split is touched.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev

from rich.console import Console
from rich.table import Table

from ruleshift.evaluation.evaluate import Point
from ruleshift.files import write_atomically
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.studies.arms import Arm, load_points, with_learning_rate
from ruleshift.studies.pool import Job, run_jobs
from ruleshift.tasks import get_task

GRID = (3e-5, 1e-4, 3e-4, 1e-3)
CRITERION = ("id-val", 1, "sampled")  # split, turns, decoding


SPLITS = ("id-val", "val-shift-a", "val-shift-b")
SEEN_SPLITS = (*SPLITS, "val-visual")  # of tasks in pictures


@dataclass(frozen=True)
class SweepConfig:
    """One run per arm and learning rate, evaluated at its end."""

    model: str = "bundled"
    grid: tuple[float, ...] = GRID
    seed: int = 100
    sft: SFTConfig = SFTConfig()
    ppo: RLConfig = RLConfig()
    measurement: Measurement = Measurement(splits=SPLITS, decodings=("sampled",), seed=2_000)


def sweep_arms(config: SweepConfig) -> list[Arm]:
    """All runs, longest first; the base too, to compare with."""
    rl = Arm("rl", config.seed, replace(config.ppo, seed=config.seed), (config.ppo.updates,))
    sft = Arm("sft", config.seed, replace(config.sft, seed=config.seed), (config.sft.steps,))
    trained = [with_learning_rate(arm, rate) for arm in (rl, sft) for rate in sorted(config.grid)]
    return [*trained, Arm("base", 0, None, (0,))]


def choose(points: Sequence[Point]) -> Point:
    """The first of `points`, given in rising order of learning rate, whose metric on ID validation is within one
    standard error of the best: where validation cannot tell rates apart, the smallest step.

    Source: the one-standard-error rule of Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3.
    """
    split, turns, decoding = CRITERION
    metric = get_task(points[0].task).metric
    outcomes = [point.cell(split, decoding).outcomes(metric, turns) for point in points]
    best = max(outcomes, key=fmean)
    error = pstdev(best) / math.sqrt(len(best))
    return next(point for point, values in zip(points, outcomes, strict=True) if fmean(values) >= fmean(best) - error)


def run_sweep(config: SweepConfig, out: Path, workers: int | None = None) -> None:
    """Run (or go on with) the sweep in `out`; writes sweep.json there and prints the table."""
    arms = sweep_arms(config)
    run_jobs([Job(arm, config.model, config.measurement, out / "arms") for arm in arms], workers)
    ends = {arm.name: load_points(out / "arms", arm)[-1] for arm in arms}
    chosen = {
        method: choose([point for name, point in ends.items() if name.startswith(f"{method}-lr")]).arm
        for method in ("sft", "rl")
    }
    m, metric = config.measurement, get_task(config.measurement.task).metric
    rows = [
        {
            "arm": name,
            "chosen": name in chosen.values(),
            "kl_to_start": point.kl_to_start,
            **{f"{s}@{k}": point.value(metric, s, k, "sampled") for s in m.splits for k in m.turns},
        }
        for name, point in ends.items()
    ]
    criterion = f"the smallest rate within one standard error of the best {metric} on id-val, 1 turn, sampled"
    record = {"task": m.task, "metric": metric, "criterion": criterion, "n": m.n, "chosen": chosen, "rows": rows}
    write_atomically(out / "sweep.json", json.dumps(record, indent=1) + "\n")
    table = Table(title=f"learning-rate sweep of {m.task}; chosen: {criterion}")
    for heading in ("arm", "chosen", "KL", *(f"{s} @{k}" for s in m.splits for k in m.turns)):
        table.add_column(heading, justify="right")
    for row in rows:
        shares = [f"{100 * float(row[f'{s}@{k}']):.1f}" for s in m.splits for k in m.turns]  # type: ignore[arg-type]
        table.add_row(str(row["arm"]), "*" if row["chosen"] else "", f"{row['kl_to_start']:.2f}", *shares)
    Console().print(table)
