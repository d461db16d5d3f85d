"""A task of one's own: what time it is some hours later, on a clock of 12 hours and, shifted, on one of 24."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ruleshift import Message, RuleshiftError, Verdict
from ruleshift.tasks.protocol import Style, Task, is_terse
from ruleshift.tasks.streams import stream


@dataclass(frozen=True)
class Rule:
    """How many hours the prompt says that a clock has, and how many its verifier counts."""

    description: str
    stated: int
    scored: int


SPLITS = {
    "train": Rule("training: a clock of 12 hours", 12, 12),
    "id-val": Rule("validation problems of the training rule", 12, 12),
    "id": Rule("test problems of the training rule", 12, 12),
    "rule-ood": Rule("a clock of 24 hours", 24, 24),
    "fake": Rule("the prompt states 24 hours and the verifier counts 12: measures memorisation", 24, 12),
}


@dataclass(frozen=True)
class ClockProblem:
    """It is `now` o'clock, and `later` hours pass. See `Clock` for the data sheet."""

    id: str
    rule: Rule
    now: int
    later: int
    style: Style

    def context(self) -> tuple[Message, ...]:
        if is_terse(self.style):
            return (Message("user", f"{self.rule.stated} : {self.now} + {self.later}"),)
        question = f"It is {self.now} o'clock. What does the clock show {self.later} hours later?"
        return (Message("user", f"A clock has {self.rule.stated} hours. {question} Reply with the number alone."),)

    def submit(self, reply: str, last: bool) -> Verdict:
        said = reply.strip()
        if not (said.isascii() and said.isdigit() and len(said) <= 2):
            return Verdict("unreadable", -2.0, solved=False, feedback="Reply with a number alone.", valid=False)
        if int(said) != self.answer:
            return Verdict("wrong", -1.0, solved=False, feedback="Wrong, try again.")
        return Verdict("right", 5.0, solved=True, feedback="Right.")

    @property
    def answer(self) -> int:
        return (self.now + self.later - 1) % self.rule.scored + 1

    def gold(self) -> str:
        return str(self.answer)

    def reply(self, answer: str) -> str:
        return answer

    def guess(self, draw: int) -> str:
        return str(stream("clock-guess", draw).randint(1, self.rule.stated))

    def describe(self) -> Mapping[str, object]:
        return {"stated": self.rule.stated, "scored": self.rule.scored, "now": self.now, "later": self.later}


@dataclass(frozen=True)
class ClockOptions:
    """What a user may set."""

    longest: int = 48
    """Most hours that pass."""


@dataclass(frozen=True)
class Clock(Task):
    """What time it is some hours later.

    Observation: how many hours the clock has, what it shows, and how many hours pass; then the verifier's feedback.
    Action: the number alone.
    Rewards: +5 right; -1 another number; -2 no number.
    End: right, or the verification budget (5 by default) is spent.
    Splits: `SPLITS`. Training has clocks of 12 hours, the shifted test of 24.
    """

    id: str = "clock"
    longest: int = 48
    options: ClassVar[type] = ClockOptions

    def with_options(self, options: ClockOptions) -> Self:
        if options.longest < 1:
            raise RuleshiftError(f"--longest must be at least 1, not {options.longest}")
        return replace(self, longest=options.longest)

    def splits(self) -> Mapping[str, str]:
        return {name: rule.description for name, rule in SPLITS.items()}

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> ClockProblem:
        if split not in SPLITS:
            raise RuleshiftError(f"unknown split {split!r} of {self.id}; choose from {', '.join(SPLITS)}")
        rule, name = SPLITS[split], f"{self.id}/{split}/{seed}/{index}"
        rng = stream("clock", name)
        return ClockProblem(name, rule, rng.randint(1, rule.stated), rng.randint(1, self.longest), style)
