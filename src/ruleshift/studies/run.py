"""Carrying out a study: its runs, then from their points to numbers, tables and a page, task by task."""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.save import is_saved, save_model
from ruleshift.evaluation.evaluate import rows_of
from ruleshift.files import write_atomically
from ruleshift.report.arms import usual_ood
from ruleshift.report.page import write_report
from ruleshift.results import Results, save_results
from ruleshift.runs import RunFolder, environment
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies.arms import load_points
from ruleshift.studies.compare import compare
from ruleshift.studies.points import PointStore, shown_conversations
from ruleshift.studies.pool import Job, run_jobs
from ruleshift.studies.study import Findings, Plan
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task
from ruleshift.training.train import train

ARMS = "arms"  # folder of the runs in that of a task


def run_study(plans: Sequence[Plan], out: Path, workers: int | None = None) -> None:
    """Carry out (or resume) the study of some tasks, each in a folder of `out` that is named after it.

    Writes results.json, comparisons.json and report.html there, and prints the tables.
    """
    began = time.monotonic()
    jobs = [job for plan in plans for job in _jobs(plan, out / get_task(plan.task).id)]
    run_jobs(sorted(jobs, key=lambda job: not isinstance(job.run.training, RLConfig)), workers)  # the longest first
    for plan in plans:
        _conclude(plan, out / get_task(plan.task).id, time.monotonic() - began)


def metrics_of(task: Task) -> tuple[str, ...]:
    """What arms are compared by: the task's metric first, then success and, where there are pictures, recognition."""
    return tuple(dict.fromkeys((task.metric, "success", *(("recognition",) if task.pictures else ()))))


def _jobs(plan: Plan, out: Path) -> list[Job]:
    model = _initialised(plan, out) if plan.init_steps else plan.model
    return [Job(run, model, plan.measurement, out / ARMS) for run in plan.runs()]


def _initialised(plan: Plan, out: Path) -> str:
    """The start model after a short SFT, trained once into `out/init`."""
    folder, task = out / "init", get_task(plan.task)
    settings = SFTConfig(steps=plan.init_steps, batch=128, micro_batch=128, learning_rate=1e-4, seed=10_000)
    with RunFolder.open(folder, {"task": plan.task, "model": plan.model, "training": settings}) as run:
        if not is_saved(folder / "model"):
            start = load_backbone(plan.model, dtype="float32", pictures=task.pictures)
            train(settings, start.model, start.chat, task, start.style, run)
            save_model(start.model, start.chat.source, folder / "model")
    return str(folder / "model")


def _conclude(plan: Plan, out: Path, seconds: float) -> None:
    """From the points of a task's runs to its numbers, tables and report."""
    console, study, m = Console(), plan.study, plan.measurement
    points = [point for run in plan.runs() for point in load_points(out / ARMS, run, m)]
    comparisons = compare(points, plan.pairs(), m.turns, metrics_of(get_task(plan.task)), study.start, study.trained)
    rows = [row for point in points for row in rows_of(point, m.turns)]
    results = Results(tuple(rows), _meta(plan, out / ARMS, seconds))
    found = Findings(results, comparisons, points, m)
    save_results(out / "results.json", results.rows, results.meta)
    write_atomically(out / "comparisons.json", json.dumps([asdict(c) for c in comparisons], indent=1) + "\n")
    for name, content in study.files.items():
        write_atomically(out / name, json.dumps(content(found), indent=1) + "\n")
    write_report(out / "report.html", results, comparisons, shown_conversations(out, results), usual_ood(results))
    for tables in study.tables:
        for table in tables(found, console.width):
            console.print(table)
    console.print(f"report: {out / 'report.html'}   numbers: {out / 'results.json'}", soft_wrap=True)


def _meta(plan: Plan, arms: Path, seconds: float) -> dict[str, object]:
    here, study = environment(), plan.study
    task = get_task(plan.task)
    runs = plan.runs()
    diverged = {run.folder: PointStore(arms, run, plan.measurement).diverged() for run in runs}
    return {
        "title": f"{study.question} {plan.recipe.title}",
        "study": study.name,
        "metric": task.metric,
        "pictures": task.pictures,
        "start": study.start,
        "arms": [
            {"name": study.start, "about": "the start model", "variant_of": None},
            *({"name": arm.name, "about": arm.about, "variant_of": arm.variant_of} for arm in plan.arms()),
        ],
        "diverged": [
            {"arm": run.name, "seed": run.seed, "why": why} for run in runs if (why := diverged[run.folder]) is not None
        ],
        "trained": study.trained,
        "figures": study.figures,
        "command": "ruleshift " + shlex.join(sys.argv[1:]),
        "seeds": sorted({run.seed for run in runs if run.training}),
        "commit": here["git_commit"],
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "duration_s": round(seconds),
        "versions": here["packages"],
        "splits": {name: task.splits()[name] for name in plan.measurement.splits},
        "kl_unit": "nats per reply",
        "config": {
            **{name: getattr(plan, name) for name in ("model", "seeds", "points", "init_steps")},
            "options": plan.options and asdict(plan.options),
            "training": {arm.name: asdict(arm.training) for arm in plan.arms()},
            "measurement": asdict(plan.measurement),
        },
    }
