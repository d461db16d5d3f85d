"""What an engine is: anything that holds a batch of conversations and answers in all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ruleshift.records import Completion, Message
from ruleshift.tasks.protocol import Problem


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn. temperature 0 is greedy. `seed` is mixed with the id of each problem.

    `thinking_tokens` come on top of `max_new_tokens`: a thought that is not done with them is closed.
    """

    temperature: float = 1.0
    max_new_tokens: int = 512
    seed: int = 0
    thinking_tokens: int = 0


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

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Problem] = ()) -> None:
        """Keep the live conversations at these positions only, and append a feedback message to each of them.

        Conversations about the problems `joining` start after them.
        """
        ...


class Engine(Protocol):
    """Opens sessions. `batch_size` is how many conversations it likes to hold at once."""

    batch_size: int

    def open(self, problems: Sequence[Problem]) -> Session:
        """Start one conversation per problem."""
        ...
