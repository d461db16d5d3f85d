"""What first, second ... tries at a step take: replies, tokens, seconds, FLOPs."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ruleshift.records import Turn
from ruleshift.revision import Conversation


class Spent(NamedTuple):
    """Of all tries of one number: how many there were, the tokens that were read and written for them (what stands in
    the key-value cache is not read again), and FLOPs of the decoder."""

    replies: int = 0
    tokens: int = 0
    flops: float = 0.0


def number_of_try(turns: Sequence[Turn]) -> int:
    """Which try at its step the last of these turns is, from 1 on."""
    number = 1
    for turn in reversed(turns[:-1]):
        if turn.verdict.advanced:
            break
        number += 1
    return number


class Tally:
    """Adds up what conversations take, by the number of the try: what is the same in every run, and apart from it the
    seconds. flops_of: from tokens read and written to FLOPs."""

    def __init__(self, flops_of: Callable[[int], float]) -> None:
        self.flops_of = flops_of
        self.of: dict[int, Spent] = {}
        self.took: dict[int, float] = {}

    def hear(self, conversation: Conversation) -> None:
        """Count the last turn of a conversation."""
        turn, number = conversation.turns[-1], number_of_try(conversation.turns)
        tokens = len(turn.appended_ids) + len(turn.completion.token_ids)
        so_far = self.of.get(number, Spent())
        self.of[number] = Spent(
            so_far.replies + 1,
            so_far.tokens + tokens,
            so_far.flops + self.flops_of(tokens),
        )
        self.took[number] = self.took.get(number, 0.0) + conversation.seconds

    def spent(self) -> tuple[Spent, ...]:
        """By number, from 1 to the largest."""
        return tuple(self.of[number] for number in sorted(self.of))

    def seconds(self) -> tuple[float, ...]:
        """By number, too."""
        return tuple(self.took[number] for number in sorted(self.took))
