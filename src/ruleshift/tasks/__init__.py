"""The tasks, by name: those of the package, those that installed packages bring, and a user's own."""

import os
import re
import sys
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import Task

# By id, where the class is; nothing of it is imported before it is asked for.
TASKS = {
    "gp-l": "ruleshift.tasks.generalpoints.task:GeneralPoints",
    "gp-vl": "ruleshift.tasks.generalpoints.visual:GeneralPointsVL",
    "virl-l": "ruleshift.tasks.virl.task:Virl",
    "virl-vl": "ruleshift.tasks.virl.visual:VirlVL",
}
GROUP = "ruleshift.tasks"  # of entry points
_PLACE = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")  # package.module:Class
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # names folders, too
_MEMBERS = [name for name in vars(Task) if not name.startswith("_")]


@cache
def get_task(name: str) -> Task:
    """The task called `name`: an id in TASKS, an entry point of the group `ruleshift.tasks`, or `package.module:Class`,
    whose module may lie in the current folder. Raises RuleshiftError where nothing is found, or what is no task."""
    place = TASKS.get(name) or _installed().get(name) or name
    match = _PLACE.fullmatch(place)
    if match is None:
        known = ", ".join([*TASKS, *_installed()])
        raise RuleshiftError(f"unknown task {name!r}; choose from {known}, or name your own as package.module:Class")
    if place == name and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    task = _made(name, *match.groups())
    if task.id in TASKS and name != task.id:
        raise RuleshiftError(f"task {name} calls itself {task.id}, as one of ruleshift does: give it another id")
    return task


def names_a_task(word: str) -> bool:
    """Whether a word looks like the name of a task: a known one, or package.module:Class."""
    return word in TASKS or _PLACE.fullmatch(word) is not None or word in _installed()


def _installed() -> dict[str, str]:
    """Where the tasks of installed packages are, by name."""
    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def _made(name: str, module: str, class_name: str) -> Task:
    """A task of this class. Raises RuleshiftError for what stands in the way."""
    kind = getattr(_imported(name, module), class_name, None)
    if not isinstance(kind, type):
        raise RuleshiftError(f"task {name}: there is no class {class_name} in {module}: correct the name")
    absent = [member for member in _MEMBERS if member in getattr(kind, "__abstractmethods__", ())]
    try:
        task = None if absent else kind()
        absent = absent or [member for member in _MEMBERS if not hasattr(task, member)]
    except Exception as error:
        raise RuleshiftError(f"task {name} cannot be made without arguments ({_said(error)}): mend it") from error
    if absent:
        raise RuleshiftError(f"{name} is not a task: it has no {', '.join(absent)} (see ruleshift.tasks.protocol.Task)")
    return _checked(name, task)


def _checked(name: str, task: Any) -> Task:
    """The task itself. Raises RuleshiftError for what commands could not use."""
    if not isinstance(task.id, str) or not _ID.fullmatch(task.id):
        raise RuleshiftError(f"task {name} has the id {task.id!r}: use letters, digits, - and _, at most 64")
    try:
        usual = is_dataclass(task.options())
    except Exception as error:
        raise RuleshiftError(f"the options of task {name} need defaults ({_said(error)}): give them some") from error
    if not usual:
        raise RuleshiftError(f"the options of task {name} are no dataclass: make them one")
    found: Task = task
    return found


def _imported(name: str, module: str) -> object:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise RuleshiftError(
                f"task {name}: there is no module {error.name}: go to the folder that it lies in, or install it"
            ) from error
        raise RuleshiftError(f"task {name}: {module} cannot be imported ({_said(error)}): mend it") from error
    except Exception as error:
        raise RuleshiftError(f"task {name}: {module} cannot be imported ({_said(error)}): mend it") from error


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
