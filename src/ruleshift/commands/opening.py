"""From the name of a task and the files a user brings to the task."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Task


def open_task(name: str, routes: Path | None = None) -> "Task":
    """The task called `name`; for virl-l, on the routes of a file where one is given.

    Raises RuleshiftError for an unknown task, for routes that cannot be read, and where the task has no routes.
    """
    from ruleshift.tasks import get_task
    from ruleshift.tasks.virl.task import Virl

    task = get_task(name)
    if routes is None:
        return task
    if not isinstance(task, Virl):
        raise RuleshiftError(f"--routes is for tasks that walk routes, and {name} does not: leave it out")
    from ruleshift.tasks.virl.sources import routes_from

    return replace(task, routes=routes_from(routes))
