"""Where studies get the recipe of a task: how it is trained in either way, and what is measured."""

from dataclasses import dataclass, replace

from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.tasks import get_task


@dataclass(frozen=True)
class StudyRecipe:
    """What the arms of a study are made of on one task."""

    title: str
    sft: SFTConfig
    rl: RLConfig
    measurement: Measurement


def recipe_of(task: str) -> StudyRecipe:
    """The recipe for small models of the task with this name. Raises RuleshiftError for an unknown one."""
    found = get_task(task).recipe
    return StudyRecipe(found.title, found.sft["tiny"], found.rl["tiny"], replace(found.measurement, task=task))
