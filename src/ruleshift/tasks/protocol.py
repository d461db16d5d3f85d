"""What a task is. A new task needs one class with these members and one entry in `ruleshift.tasks.TASKS`."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from ruleshift.records import Message, Verdict

Style = Literal["full", "terse", "varied"]


class Problem(Protocol):
    """One instance of a task: a pure function of (split, seed, index), used for one conversation."""

    @property
    def id(self) -> str:
        """Unique name; the seed of everything random about the conversation is derived from it."""
        ...

    def context(self) -> Sequence[Message]:
        """The conversation before the first reply."""
        ...

    def submit(self, reply: str, last: bool) -> Verdict:
        """Judge a reply. `last` says that the verification budget (of this step) is spent with it. Never raises on any
        text. A problem with several steps is at the next one after a verdict that says `advanced`."""
        ...


class TaskProblem(Problem, Protocol):
    """A problem of a built-in task also knows an expert's answer."""

    def gold(self) -> str:
        """A reply that earns full marks (at the step where the problem is)."""
        ...

    def reply(self, answer: str, /) -> str:
        """A reply in the right form that gives this answer (a formula, an action), as a person would type it."""
        ...

    def guess(self, draw: int) -> str:
        """A reply in the right form with chance content; `draw` picks which."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Plain facts for data files and report pages (cards, rule, ...)."""
        ...


class Task(Protocol):
    """A family of problems. The class docstring is its data sheet."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def default_turns(self) -> int: ...

    @property
    def metric(self) -> str:
        """What the task is mainly measured by: `success`, or `step_accuracy` where a problem has many steps."""
        ...

    @property
    def pictures(self) -> bool:
        """Whether its messages show pictures, which a policy has to see."""
        ...

    def splits(self) -> Mapping[str, str]:
        """Split names with a one-line description each."""
        ...

    def count(self, split: str) -> int | None:
        """How many problems the split has before they repeat; None where there is no end."""
        ...

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> TaskProblem:
        """The problem at `index` of the endless stream (split, seed). Raises RuleshiftError for an unknown split."""
        ...


def how_many(task: Task, split: str, n: int) -> int:
    """How many of the problems 0..n-1 a split has before they repeat."""
    return min(n, task.count(split) or n)
