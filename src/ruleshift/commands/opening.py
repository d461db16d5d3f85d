"""From the name of a task and the files a user brings to the task."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Task


def open_task(name: str, routes: Path | None = None, go_on: bool = False) -> "Task":
    """The task called `name`; for virl-l, on the routes of a file where one is given, and going on where a budget is
    spent where asked to.

    Raises RuleshiftError for an unknown task, for routes that cannot be read, and where the task has no routes.
    """
    from ruleshift.tasks import get_task
    from ruleshift.tasks.virl.task import Virl

    task = get_task(name)
    if not isinstance(task, Virl):
        for option in ("--routes",) * (routes is not None) + ("--go-on",) * go_on:
            raise RuleshiftError(f"{option} is for tasks that walk routes, and {name} does not: leave it out")
        return task
    if routes is not None:
        from ruleshift.tasks.virl.sources import routes_from

        task = replace(task, routes=routes_from(routes))
    return replace(task, go_on=go_on)
