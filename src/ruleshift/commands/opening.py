"""From the name of a task, the files a user brings to it, and how it is shown, to the task."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Task

AnyViews = Literal["grid", "front"]


def open_task(
    name: str,
    routes: Path | None = None,
    go_on: bool = False,
    size: int | None = None,
    leak: bool = False,
    views: AnyViews | None = None,
) -> "Task":
    """The task called `name`.

    Walks: on the `routes` of a file, and going on where a budget is spent. Pictures: `size` pixels a side; of walks,
    with a `leak` of intersections and in these `views`. Raises RuleshiftError for an unknown task, for routes that
    cannot be read, and for what a task does not have.
    """
    from ruleshift.tasks import get_task
    from ruleshift.tasks.generalpoints.visual import GeneralPointsVL
    from ruleshift.tasks.virl.task import Virl
    from ruleshift.tasks.virl.visual import VirlVL

    task = get_task(name)
    walks = isinstance(task, Virl)
    _refuse(name, "walk routes", walks, {"--routes": routes is not None, "--go-on": go_on})
    _refuse(name, "show pictures", task.pictures, {"--size": size is not None})
    _refuse(name, "show pictures of walks", walks and task.pictures, {"--leak": leak, "--views": views is not None})
    if isinstance(task, GeneralPointsVL):
        return replace(task, size=size)
    if isinstance(task, VirlVL):
        task = replace(task, go_on=go_on, size=size, leak=leak, views=views or task.views)
        if routes is not None:
            from ruleshift.tasks.virl.sources import routes_and_world

            walked, world = routes_and_world(routes)
            return replace(task, routes=walked, world=world)
        return task
    if isinstance(task, Virl):
        if routes is not None:
            from ruleshift.tasks.virl.sources import routes_from

            task = replace(task, routes=routes_from(routes))
        return replace(task, go_on=go_on)
    return task


def _refuse(name: str, what: str, fits: bool, given: dict[str, bool]) -> None:
    """Raise RuleshiftError for an option that is given and is for tasks that do something else."""
    for option, is_given in given.items():
        if is_given and not fits:
            raise RuleshiftError(f"{option} is for tasks that {what}, and {name} does not: leave it out")
