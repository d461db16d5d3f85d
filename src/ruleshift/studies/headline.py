"""The headline comparison: does post-training teach the rule, or the answers? In text, and for `vision` in pictures.

For each task, from one start model, SFT and multi-turn PPO see the training rule only; both are evaluated densely on
the training rule and on shifted ones. The learning rates of both arms were chosen on `id-val` alone (study `sweep`);
arms that share the other's learning rate stand beside them.
"""

import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.save import is_saved, save_model
from ruleshift.evaluation.comparison import Comparison
from ruleshift.evaluation.episodes import load_episodes
from ruleshift.evaluation.evaluate import rows_of
from ruleshift.files import write_atomically
from ruleshift.records import Episode
from ruleshift.report.page import write_report
from ruleshift.report.tables import comparison_tables, headline_table, usual_ood
from ruleshift.results import Results, save_results
from ruleshift.runs import RunFolder, environment
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.studies.arms import Arm, load_points, log_spaced, with_learning_rate
from ruleshift.studies.compare import compare
from ruleshift.studies.pool import Job, run_jobs
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task
from ruleshift.training.sft import train_sft

MatchedRates = Literal["none", "sft", "both"]


@dataclass(frozen=True)
class HeadlineConfig:
    """What the study trains and measures on one task.

    `matched_rates` adds SFT at the learning rate of PPO, and for "both" also PPO at that of SFT, evaluated at their
    ends. `init_steps` is the length of a short SFT before both arms.
    """

    model: str = "bundled"
    seeds: int = 1
    points: int = 4
    matched_rates: MatchedRates = "sft"
    init_steps: int = 0
    sft: SFTConfig = SFTConfig()
    ppo: RLConfig = RLConfig()
    measurement: Measurement = Measurement()

    @property
    def task(self) -> str:
        return self.measurement.task


def headline_arms(config: HeadlineConfig) -> list[Arm]:
    """All training runs."""
    arms = [Arm("base", 0, None, (0,))]
    for seed in range(config.seeds):
        sft = Arm("sft", seed, replace(config.sft, seed=seed), log_spaced(config.sft.steps, config.points, 3))
        first = config.ppo.value_only + 1
        rl = Arm("rl", seed, replace(config.ppo, seed=seed), log_spaced(config.ppo.updates, config.points, first))
        arms += [rl, sft]
        if config.sft.learning_rate != config.ppo.learning_rate:
            if config.matched_rates != "none":
                arms.append(with_learning_rate(sft, config.ppo.learning_rate))
            if config.matched_rates == "both":
                arms.append(with_learning_rate(rl, config.sft.learning_rate))
    return arms


def metrics_of(task: Task) -> tuple[str, ...]:
    """What arms are compared by: the task's metric first, then success and, where there are pictures, recognition."""
    return tuple(dict.fromkeys((task.metric, "success", *(("recognition",) if task.pictures else ()))))


def run_headline(configs: Sequence[HeadlineConfig], out: Path, workers: int | None = None) -> None:
    """Run (or go on with) the study of some tasks, each in a folder of `out` that is named after it.

    Writes results.json, comparisons.json and report.html there, and prints the tables.
    """
    began = time.monotonic()
    jobs = [job for config in configs for job in _jobs(config, out / config.task)]
    run_jobs(sorted(jobs, key=lambda job: not isinstance(job.arm.training, RLConfig)), workers)  # the longest first
    for config in configs:
        _conclude(config, out / config.task, time.monotonic() - began)


def _jobs(config: HeadlineConfig, out: Path) -> list[Job]:
    model = _initialised(config, out) if config.init_steps else config.model
    return [Job(arm, model, config.measurement, out / "arms") for arm in headline_arms(config)]


def _conclude(config: HeadlineConfig, out: Path, seconds: float) -> None:
    """From the points of a task's arms to its numbers, tables and report."""
    console = Console()
    arms = headline_arms(config)
    points = [point for arm in arms for point in load_points(out / "arms", arm)]
    comparisons = compare(points, config.measurement.turns, metrics_of(get_task(config.task)))
    rows = [row for point in points for row in rows_of(point, config.measurement.turns)]
    results = Results(tuple(rows), _meta(config, seconds))
    save_results(out / "results.json", results.rows, results.meta)
    write_atomically(out / "comparisons.json", json.dumps([asdict(c) for c in comparisons], indent=1) + "\n")
    write_report(out / "report.html", results, comparisons, _conversations(arms, out), usual_ood(results))
    _print(console, results, comparisons, config.measurement)
    console.print(f"report: {out / 'report.html'}   numbers: {out / 'results.json'}", soft_wrap=True)


def _initialised(config: HeadlineConfig, out: Path) -> str:
    """The start model after a short SFT, trained once into `out/init`."""
    folder = out / "init"
    if not is_saved(folder / "model"):
        start = load_backbone(config.model, dtype="float32", pictures=get_task(config.task).pictures)
        settings = SFTConfig(steps=config.init_steps, batch=128, micro_batch=128, learning_rate=1e-4, seed=10_000)
        with RunFolder.open(folder, settings) as run:
            train_sft(start.model, start.chat, get_task(config.measurement.task), start.style, settings, run)
            save_model(start.model, start.chat.source, folder / "model")
    return str(folder / "model")


def _conversations(arms: Iterable[Arm], out: Path) -> dict[str, list[Episode]]:
    """A few whole conversations of each arm's end, first seed."""
    chosen = [arm for arm in arms if arm.seed == 0 and "-lr" not in arm.name]
    order = sorted(chosen, key=lambda arm: ("base", "sft", "rl").index(arm.name))
    return {arm.name: load_episodes(out / "arms" / arm.folder / "episodes.parquet") for arm in order}


def _meta(config: HeadlineConfig, seconds: float) -> dict[str, object]:
    here = environment()
    splits = get_task(config.measurement.task).splits()
    return {
        "title": f"Does post-training teach the rule, or the answers? {get_task(config.task).recipe.title}",
        "metric": get_task(config.task).metric,
        "command": "ruleshift " + shlex.join(sys.argv[1:]),
        "seeds": list(range(config.seeds)),
        "commit": here["git_commit"],
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "duration_s": round(seconds),
        "versions": here["packages"],
        "splits": {name: splits[name] for name in config.measurement.splits},
        "kl_unit": "nats per reply",
        "config": asdict(config),
    }


def _print(console: Console, results: Results, comparisons: list[Comparison], measurement: Measurement) -> None:
    task = get_task(measurement.task)
    metric = task.metric
    for decoding in measurement.decodings:
        for shown in (metric, "recognition") if task.pictures else (metric,):
            console.print(headline_table(results, comparisons, decoding, shown))
    matched = [c for c in comparisons if c.matched_on is not None and c.split != "fake" and c.metric == metric]
    for table in comparison_tables(matched, measurement.decodings[-1]):
        console.print(table)
