"""What every verb on a task begins with: the name of the task, and the options that the task itself brings."""

import dataclasses
import shlex
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import tyro

from ruleshift.misfits import as_option
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

    def typed(self, verb: str) -> str:
        """The command line of this verb with these options."""
        return " ".join(["ruleshift", verb, shlex.quote(self.task), *_typed(self, ("task",))])

    def options_given(self) -> dict[str, Any]:
        """The options that are not as the task has them by default, for the record."""
        usual = type(self.options)()
        values = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(self.options)}  # type: ignore[arg-type]
        return {name: value for name, value in values.items() if value != getattr(usual, name)}


def _typed(record: Any, apart: Collection[str] = ()) -> Iterator[str]:
    """The fields of a record of options, and of those within it, that are not as they are by default."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if dataclasses.is_dataclass(value):
            yield from _typed(value)
        elif field.name not in apart and value != field.default:
            yield as_option(field.name, value)
