"""The tasks, by id."""

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.protocol import Task
from ruleshift.tasks.virl.task import Virl

TASKS: dict[str, Task] = {"gp-l": GeneralPoints(), "virl-l": Virl()}


def get_task(task_id: str) -> Task:
    """The task with this id. Raises RuleshiftError for an unknown one."""
    if task_id not in TASKS:
        raise RuleshiftError(f"unknown task {task_id!r}; choose from {', '.join(TASKS)}")
    return TASKS[task_id]
