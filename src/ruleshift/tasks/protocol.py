"""What a task is: one class with the members of `Task`. Whoever inherits from it has to write three of them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, get_args, runtime_checkable

from ruleshift.errors import RuleshiftError
from ruleshift.records import Message, Verdict
from ruleshift.tasks.recipe import Recipe

Style = Literal["full", "terse", "varied", "stepwise", "full-stepwise"]
"""How prompts are worded and replies are asked for: `full` for language models, `terse` for small ones, `varied` with
wording drawn per problem. `stepwise` is terse and `full-stepwise` full, with the work shown where there is some."""


def check_style(style: str) -> None:
    """Raise RuleshiftError, with the choices, for a wording that there is not."""
    if style not in get_args(Style):
        raise RuleshiftError(f"unknown style {style!r}; choose from {', '.join(get_args(Style))}")


def is_terse(style: Style) -> bool:
    """Whether prompts and feedback are a few fixed words."""
    return style in ("terse", "stepwise")


def shows_work(style: Style) -> bool:
    """Whether replies show the steps that lead to the answer."""
    return style in ("stepwise", "full-stepwise")


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
    """A problem of a task also knows an expert's answer."""

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


@runtime_checkable
class Blind(Protocol):
    """A problem that can be answered, more or less, without looking at what is shown: a floor for those who look."""

    def blind(self, draw: int) -> str:
        """A reply in the right form of one who read the words of the first prompt, and looks at nothing; `draw` picks
        what is left to chance."""
        ...


@runtime_checkable
class Ruled(Protocol):
    """A problem whose rule can be told by itself, to a teacher that is to know it."""

    def rule(self) -> str:
        """The rule that is scored, in words of the prompt's style, without anything about this one problem."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A problem that can say what a reply answers, however it is written."""

    def answer(self, reply: str) -> str | None:
        """The answer in a reply: the same text for all answers that mean the same (a formula in any order of its
        operands). None where none is read."""
        ...


@runtime_checkable
class Exchangeable(Protocol):
    """A problem whose rule can be exchanged for another, with everything else as it is."""

    def exchanged(self, split: str) -> "tuple[TaskProblem, TaskProblem] | None":
        """The problem under the kind of rule that it has, and under that of a split: two prompts that differ in the
        words of the rule alone. None where the two rules have the same answers here, or one of them none."""
        ...

    def follows(self, reply: str) -> bool:
        """Whether a reply answers by the rule that the prompt states, rightly or wrongly."""
        ...


@runtime_checkable
class Constrained(Protocol):
    """A problem that tells replies which could be right from those that are not worth judging, without its answer."""

    def admits(self, reply: str) -> bool:
        """Whether a reply can be read, and uses what the prompt gives it to use (the numbers of a hand, the listed
        words), whatever it answers."""
        ...


@runtime_checkable
class Plural(Protocol):
    """A problem whose expert has several answers, each of which it gives as often."""

    def golds(self) -> Sequence[str]:
        """All replies of which `gold` draws one (at the step where the problem is)."""
        ...


@runtime_checkable
class Mapped(Protocol):
    """A problem that can also be drawn as a map, which `ruleshift play` and the page show."""

    def map_svg(self) -> str:
        """The whole problem with the places of the replies so far, as SVG."""
        ...

    def map_text(self, width: int, plain: bool) -> str:
        """How it stands now, as lines of at most `width` columns for a terminal; `plain`: in ASCII."""
        ...


@dataclass(frozen=True)
class NoOptions:
    """The options of a task that has none."""


class Task(Protocol):
    """A family of problems. The class docstring is its data sheet.

    Made without arguments; a name in `ruleshift.tasks.TASKS`, an entry point, or `package.module:Class` finds it. What
    is not abstract has a value that serves; a class that does not inherit from this one needs every member.
    """

    @property
    @abstractmethod
    def id(self) -> str:
        """Short name, of which rows of results and folders are made."""
        ...

    @property
    def version(self) -> str:
        """Changes with the problems or their rewards."""
        return "1.0"

    @property
    def default_turns(self) -> int:
        """Usual verification budget: replies to a problem, or to each step of one."""
        return 5

    @property
    def metric(self) -> str:
        """What the task is mainly measured by: `success`, or `decision_accuracy` where a problem has many steps."""
        return "success"

    @property
    def pictures(self) -> bool:
        """Whether its messages show pictures, which a policy has to see."""
        return False

    @property
    def recipe(self) -> Recipe:
        """How it is trained on and measured. By default: the presets of `ruleshift.tasks.recipe`, and every split but
        those that training and the choice of settings use."""
        return Recipe(self.id)

    @property
    def options(self) -> type:
        """What a user may set about it: a frozen dataclass, all of whose fields have defaults and docstrings. Every
        command that takes the task shows them as options of its own."""
        return NoOptions

    def with_options(self, options: Any) -> Self:
        """The task under these `options`. Raises RuleshiftError for what it cannot be made of."""
        return self

    def unseen(self) -> Self:
        """The task with the same problems and verdicts, and no pictures drawn: for policies that look at none."""
        return self

    @abstractmethod
    def splits(self) -> Mapping[str, str]:
        """Split names with a one-line description each. Commands train on `train`, and studies compare arms on `id`,
        measure the KL on `id-val`, and read `rule-ood` as the shifted rule."""
        ...

    def count(self, split: str) -> int | None:
        """How many problems the split has before they repeat; None where there is no end."""
        return None

    @abstractmethod
    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> TaskProblem:
        """The problem at `index` of the endless stream (split, seed). Raises RuleshiftError for an unknown split or
        style."""
        ...


def check_split(task: Task, split: str) -> None:
    """Raise RuleshiftError, with the choices, for a split that the task does not have."""
    if split not in task.splits():
        raise RuleshiftError(f"unknown split {split!r} of {task.id}; choose from {', '.join(task.splits())}")


def how_many(task: Task, split: str, n: int) -> int:
    """How many of the problems 0..n-1 a split has before they repeat."""
    return min(n, task.count(split) or n)
