"""What every verb on a task begins with: the name of the task, and the options that the task itself brings."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import tyro

from ruleshift.tasks import TASKS

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Task

Options = TypeVar("Options")


@dataclass(frozen=True)
class OnTask(Generic[Options]):
    """A verb on a task. `options` is what the task says that a user may set about it; its fields are options of the
    command line like any others."""

    task: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="TASK", help=f"Task: {', '.join(TASKS)}, or your own as package.module:Class."),
    ]
    options: Annotated[Options, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="")]

    def open(self) -> "Task":
        """The task under its options. Raises RuleshiftError for what it cannot be made of."""
        from ruleshift.tasks import get_task

        return get_task(self.task).with_options(self.options)

    def options_given(self) -> dict[str, Any]:
        """The options that are not as the task has them by default, for the record."""
        usual = type(self.options)()
        values = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(self.options)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value != getattr(usual, name)}
