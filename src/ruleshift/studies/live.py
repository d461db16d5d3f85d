"""What is known of a study while it runs: results made of the points that are there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import rows_of
from ruleshift.results import Results
from ruleshift.studies.points import points_in
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task


def live_results(folder: Path) -> Results:
    """The rows of all points in the folder of a task. Raises RuleshiftError where there is none yet."""
    rows, task, told = [], None, []
    for path in sorted((folder / "arms").glob("*-seed*")):
        run = _run(path / "config.json")
        if run is None:
            continue
        told.append(run)
        for point in points_in(path):
            task = _opened(run.task, folder)
            rows += rows_of(point, run.turns, task.metric != "success")
    if task is None:
        raise RuleshiftError(f"{folder} holds neither results.json nor a point yet: wait for the first one")
    meta = {
        "title": f"{task.recipe.title}, while the study runs",
        "metric": task.metric,
        "pictures": task.pictures,
        "start": next((run.name for run in told if run.is_start), None),
        "config": {"starts": {run.name: run.begun for run in told if run.begun is not None}},
    }
    return Results(tuple(rows), meta)


def _opened(name: str, folder: Path) -> Task:
    """The task of a study. Raises RuleshiftError for the name of a class of somebody's own: nothing in a folder may
    have code run."""
    if ":" in name and not name.startswith("ruleshift."):
        raise RuleshiftError(f"{folder} is of {name}, whose pages are made at the end of the study: wait for that")
    return get_task(name)


@dataclass(frozen=True)
class LiveRun:
    """What a run's configuration tells: its task and arm, the verification budgets, whether it is the start model
    itself, and what it goes on from, as in the results of a study."""

    task: str
    name: str
    turns: tuple[int, ...]
    is_start: bool
    begun: Mapping[str, object] | None


def _run(file: Path) -> LiveRun | None:
    """None where the file tells nothing."""
    try:
        content: Any = json.loads(file.read_bytes())["config"]
        arm, start = content["arm"], content["arm"]["start"]
        task, budgets = str(content["measurement"]["task"]), content["measurement"]["turns"]
        turns = tuple(turns for turns in budgets if isinstance(turns, int) and turns > 0)
        begun = None if start is None else {"arm": str(start["run"]["name"]), "step": int(start["step"])}
        is_start = arm["training"] is None and start is None and arm["feedback"] is None
        return LiveRun(task, str(arm["name"]), turns, is_start, begun) if turns else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
