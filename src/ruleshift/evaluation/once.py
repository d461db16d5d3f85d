"""Problems that are asked for one reply, where something is decided."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from ruleshift.records import Message, Verdict
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.tasks.streams import stream

MOST_STEPS = 1_000  # of a problem; beyond them an expert does not end


@dataclass(frozen=True)
class Once:
    """A problem at one of its steps, with what was said before it: it goes on with none. For a single try."""

    problem: TaskProblem
    step: int
    said: tuple[Message, ...]

    @property
    def id(self) -> str:
        return self.problem.id

    def context(self) -> tuple[Message, ...]:
        return self.said

    def submit(self, reply: str, last: bool) -> Verdict:
        """Judge a reply; the problem itself stays at its step, so that it can be asked again."""
        verdict = copy.copy(self.problem).submit(reply, last)
        return replace(verdict, ended=True) if verdict.right else replace(verdict, advanced=False)


def at_decision(task: Task, split: str, seed: int, index: int, style: Style) -> Once:
    """The problem at `index` of (split, seed) where the expert has led it to one of the steps at which something is
    decided, drawn from all of them alike. One of a single step is as it is."""
    decides = [verdict.decides for _, verdict in led(task.unseen().problem(split, seed, index, style))]
    places = [step for step, decided in enumerate(decides) if decided] or [0]
    problem = task.problem(split, seed, index, style)
    step = stream("decision", problem.id).choice(places)
    said = [*problem.context()]
    for reply, verdict in islice(led(problem), step):
        said += [Message("assistant", reply), Message("user", verdict.feedback, verdict.pictures)]
    return Once(problem, step, tuple(said))


def led(problem: TaskProblem) -> Iterator[tuple[str, Verdict]]:
    """The expert's replies with their verdicts, step by step; the problem moves on with them."""
    for _ in range(MOST_STEPS):
        reply = problem.gold()
        verdict = problem.submit(reply, last=False)
        yield reply, verdict
        if not verdict.advanced:
            return
