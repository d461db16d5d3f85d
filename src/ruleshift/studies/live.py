"""What is known of a study while it runs: results made of the points that are there."""

import json
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import rows_of
from ruleshift.results import Results
from ruleshift.studies.points import points_in
from ruleshift.tasks import get_task


def live_results(folder: Path) -> Results:
    """The rows of all points in the folder of a task. Raises RuleshiftError where there is none yet."""
    rows, task = [], None
    for run in sorted((folder / "arms").glob("*-seed*")):
        turns = _turns(run / "config.json")
        for point in points_in(run) if turns else ():
            task = get_task(point.task)
            rows += rows_of(point, turns, task.metric != "success")
    if task is None:
        raise RuleshiftError(f"{folder} holds neither results.json nor a point yet: wait for the first one")
    meta = {"title": f"{task.recipe.title}, while the study runs", "metric": task.metric, "pictures": task.pictures}
    return Results(tuple(rows), meta)


def _turns(file: Path) -> tuple[int, ...]:
    """The verification budgets of a run; none where its configuration does not tell."""
    try:
        content: Any = json.loads(file.read_bytes())["config"]["measurement"]["turns"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return (
        tuple(turns for turns in content if isinstance(turns, int) and turns > 0) if isinstance(content, list) else ()
    )
