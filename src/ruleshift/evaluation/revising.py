"""What further turns bring, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ruleshift.evaluation.record import Answered, Kept, Slot
from ruleshift.evaluation.statistics import Difference, share_interval

LEAST_GAIN = 0.01
"""A turn pays while it solves more than this share of all problems, by the lower end of its interval."""


@dataclass(frozen=True)
class Price:
    """In money per million tokens."""

    prompts: float = 0.0
    replies: float = 0.0


@dataclass(frozen=True)
class TurnGain:
    """The `turn`-th tries (at steps, where a problem has several): the share of all problems that are solved with them
    and not with fewer, with its interval; how many replies they are, and their tokens (what the model read and wrote),
    seconds and money, per problem."""

    turn: int
    gain: Difference
    replies: int
    tokens: float
    seconds: float
    money: float

    @property
    def pays(self) -> bool:
        return self.gain.low > LEAST_GAIN


def gains(kept: Kept, solved: Mapping[int, Sequence[float]], places: Sequence[Slot], price: Price) -> list[TurnGain]:
    """The turns of some conversations. solved: for each budget 1, 2 ... the outcomes (P,) of all problems, means
    over samples."""
    tries: dict[int, list[Answered]] = {turn: [] for turn in solved}
    for place in places:
        number = 0
        for answered in kept[place]:
            number += 1
            if number in tries:
                tries[number].append(answered)
            if answered.verdict.advanced:
                number = 0
    found = []
    for turn, outcomes in solved.items():
        before = solved.get(turn - 1, [0.0] * len(outcomes))
        difference = gain_of(outcomes, before)
        read = [_tokens(answered) for answered in tries[turn]]
        money = sum(prompt * price.prompts + reply * price.replies for prompt, reply in read) / 1e6
        seconds = sum(answered.seconds for answered in tries[turn])
        tokens = sum(prompt + reply for prompt, reply in read)
        count = len(places)
        found.append(TurnGain(turn, difference, len(read), tokens / count, seconds / count, money / count))
    return found


def gain_of(outcomes: Sequence[float], before: Sequence[float]) -> Difference:
    """The share of problems that one more turn solves, whose outcomes (P,) were those `before` it."""
    more = [now - then for now, then in zip(outcomes, before, strict=True)]
    return Difference(fmean(more), *share_interval(more), len(more))


def pays_until(turns: Sequence[TurnGain]) -> int:
    """The turn after which none pays; 0 where the first does not."""
    return max((found.turn for found in turns if found.pays), default=0)


def _tokens(answered: Answered) -> tuple[int, int]:
    """Tokens read and written for a reply: as the server counts them, or those new in the conversation."""
    completion = answered.reply.completion
    if completion.served is not None:
        return completion.served.prompt_tokens or 0, completion.served.reply_tokens or 0
    return len(answered.reply.appended_ids), len(completion.token_ids)
