"""Who can answer: engines that hold a batch of conversations, answerers that take one each, and insiders."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ruleshift.bounds import Count, Natural, NotNegative, check_bounds
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Message
from ruleshift.tasks.protocol import TaskProblem


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. temperature 0 is greedy. `seed` is mixed with the id of each problem.
    `thinking_tokens` come on top of `max_new_tokens`: a thought that is not done with them is closed. Raises
    RuleshiftError for a value out of its bounds."""

    temperature: NotNegative = 1.0
    max_new_tokens: Count = 512
    seed: Natural = 0
    thinking_tokens: Natural = 0

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True)
class Request:
    """What one who answers is told: the id of the problem, the conversation so far, and which of several
    conversations about this problem it is (`sample`); id and sample seed everything random about the replies. `said`
    are the replies that stand in the conversation where it is handed over: none as a rule, and those of earlier where
    one is resumed."""

    id: str
    messages: tuple[Message, ...]
    sample: int = 0
    said: tuple[Completion, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A completion with the ids that were appended to the conversation since the previous one."""

    appended_ids: tuple[int, ...]
    completion: Completion


class Session(Protocol):
    """A batch of live conversations."""

    def generate(self) -> list[Reply]:
        """The next reply of every live conversation, in order."""
        ...

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Request] = ()) -> None:
        """Keep the live conversations at these positions only, and append a feedback message to each of them.

        The conversations `joining` start after them.
        """
        ...


class Engine(Protocol):
    """Opens sessions. `batch_size` is how many conversations it likes to hold at once."""

    batch_size: int

    def open(self, requests: Sequence[Request]) -> Session:
        """Start these conversations."""
        ...


class NoMoreAnswers(RuleshiftError):  # noqa: N818  (no failure: a budget that is spent, say)
    """An answerer gives no more answers for now; what is on its way is still to be taken."""


async def _nothing() -> None:
    """What most answerers have to close."""


@dataclass(frozen=True)
class Answerer:
    """Takes one conversation at a time, whole, and as many at once as `limit` says: a model behind an API, say.
    `close` is awaited in the same event loop after the last answer."""

    answer: Callable[[Request], Awaitable[Completion]]
    limit: int = 16
    close: Callable[[], Awaitable[None]] = _nothing

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"at least one conversation must be answered at a time, not {self.limit}")


@dataclass(frozen=True)
class Insider:
    """Answers from the problem itself, at the step where it is: an expert, a guesser, a person at a terminal."""

    answer: Callable[[TaskProblem, Request], str]


Responder = Engine | Answerer | Insider
