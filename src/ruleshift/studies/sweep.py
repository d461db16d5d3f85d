"""The learning-rate sweep: both arms, one grid, chosen by success on `id-val` alone.

Validation shifts are measured too, for the record: `choose` never looks at them. No test split is touched.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ruleshift.evaluation.evaluate import Point
from ruleshift.files import write_atomically
from ruleshift.studies.arms import Arm, Measurement, load_points, with_learning_rate
from ruleshift.studies.pool import run_arms
from ruleshift.training.config import PPOConfig, SFTConfig

GRID = (3e-5, 1e-4, 3e-4, 1e-3)
CRITERION = ("id-val", 1, "sampled")


@dataclass(frozen=True)
class SweepConfig:
    """One run per arm and learning rate, evaluated at its end."""

    model: str = "bundled"
    grid: tuple[float, ...] = GRID
    seed: int = 100
    sft: SFTConfig = SFTConfig()
    ppo: PPOConfig = PPOConfig()
    measurement: Measurement = Measurement(
        splits=("id-val", "val-shift-a", "val-shift-b"), decodings=("sampled",), seed=2_000
    )


def sweep_arms(config: SweepConfig) -> list[Arm]:
    """All runs, longest first; the base too, to compare with."""
    rl = Arm("rl", config.seed, replace(config.ppo, seed=config.seed), (config.ppo.updates,))
    sft = Arm("sft", config.seed, replace(config.sft, seed=config.seed), (config.sft.steps,))
    trained = [with_learning_rate(arm, rate) for arm in (rl, sft) for rate in sorted(config.grid)]
    return [*trained, Arm("base", 0, None, (0,))]


def choose(points: Sequence[Point]) -> Point:
    """The first of `points`, given in rising order of learning rate, whose ID-validation success is within one standard
    error of the best: where validation cannot tell rates apart, the smallest step.

    Source: the one-standard-error rule of Breiman et al., "Classification and Regression Trees" (1984), section 3.4.3.
    """
    best = max(_success(point) for point in points)
    error = math.sqrt(best * (1 - best) / len(points[0].cells[0].solved_at))
    return next(point for point in points if _success(point) >= best - error)


def _success(point: Point) -> float:
    split, turns, decoding = CRITERION
    return point.success(split, turns, decoding)


def run_sweep(config: SweepConfig, out: Path, workers: int | None = None) -> None:
    """Run (or go on with) the sweep in `out`; writes sweep.json there and prints the table."""
    arms = sweep_arms(config)
    run_arms(arms, config.model, config.measurement, out / "arms", workers)
    ends = {arm.name: load_points(out / "arms", arm)[-1] for arm in arms}
    chosen = {
        method: choose([point for name, point in ends.items() if name.startswith(f"{method}-lr")]).arm
        for method in ("sft", "rl")
    }
    m = config.measurement
    rows = [
        {
            "arm": name,
            "chosen": name in chosen.values(),
            "kl_to_start": point.kl_to_start,
            **{f"{s}@{k}": point.success(s, k, "sampled") for s in m.splits for k in m.turns},
        }
        for name, point in ends.items()
    ]
    criterion = "the smallest rate within one standard error of the best success on id-val, 1 turn, sampled"
    record = {"criterion": criterion, "n": m.n, "chosen": chosen, "rows": rows}
    write_atomically(out / "sweep.json", json.dumps(record, indent=1) + "\n")
    table = Table(title=f"learning-rate sweep; chosen: {criterion}")
    for heading in ("arm", "chosen", "KL", *(f"{s} @{k}" for s in m.splits for k in m.turns)):
        table.add_column(heading, justify="right")
    for row in rows:
        shares = [f"{100 * float(row[f'{s}@{k}']):.1f}" for s in m.splits for k in m.turns]  # type: ignore[arg-type]
        table.add_row(str(row["arm"]), "*" if row["chosen"] else "", f"{row['kl_to_start']:.2f}", *shares)
    Console().print(table)
