"""The tasks, by id."""

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.generalpoints.task import GeneralPoints
from ruleshift.tasks.generalpoints.visual import GeneralPointsVL
from ruleshift.tasks.protocol import Task
from ruleshift.tasks.virl.task import Virl
from ruleshift.tasks.virl.visual import VirlVL

TASKS: dict[str, Task] = {"gp-l": GeneralPoints(), "gp-vl": GeneralPointsVL(), "virl-l": Virl(), "virl-vl": VirlVL()}


def get_task(task_id: str) -> Task:
    """The task with this id. Raises RuleshiftError for an unknown one."""
    if task_id not in TASKS:
        raise RuleshiftError(f"unknown task {task_id!r}; choose from {', '.join(TASKS)}")
    return TASKS[task_id]
