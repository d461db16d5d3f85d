"""The records that travel through ruleshift, and the legend of tensor axes.

Axes, used in trailing shape comments everywhere:
    B   sequences in a batch (one live problem, or one episode, each)
    T   positions (tokens) along a sequence
    N   turns, counted over all episodes of a batch
    V   vocabulary
    L   columns of the key-value cache
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

Role = Literal["system", "user", "assistant"]
StopReason = Literal["stop", "length"]
Words = Literal["stated", "trained", "other"]
Work = Literal["sound", "untrue", "astray"]
"""What shown steps are: true and leading to the answer; not true; true, but leading to another answer, or nowhere."""
Feedback = Literal["silent", "outcome", "full"]
Told = Literal["none", "silent", "outcome", "full"]
"""How much is told of a failed reply: `none` forgets it, so that the next one is only drawn anew."""


@dataclass(frozen=True)
class Picture:
    """What is seen: `height` rows of `width` pixels of red, green and blue, a byte each (sRGB).

    `ruleshift.pictures` makes them of arrays and image files, and turns them into these.
    """

    height: int
    width: int
    pixels: bytes = field(repr=False)


@dataclass(frozen=True)
class Message:
    """One message of a conversation. Its pictures, if any, are shown before its text."""

    role: Role
    content: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Served:
    """How a server gave a reply: the model and the fingerprint as it names them, `thought` that it keeps apart from the
    reply, tokens (None where it does not count them; `thought_tokens` are among `reply_tokens`), the seconds of the
    attempt that succeeded, and how many attempts it took."""

    model: str
    fingerprint: str | None = None
    thought: str = ""
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    thought_tokens: int | None = None
    seconds: float = 0.0
    attempts: int = 1


@dataclass(frozen=True)
class Completion:
    """What a policy answered in one turn.

    `token_ids` are the sampled ids, the end-of-turn token included when `stop_reason` is "stop".
    `logprobs` has one entry per token: the log-probability in nats under the distribution it was drawn from, at the
    temperature of the draw (greedily: at 1). Both are empty for policies that do not work
    on tokens (expert, random). A server tells no ids, and log-probabilities only if asked. `served` is None for models
    in this process.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    stop_reason: StopReason = "stop"
    served: Served | None = None


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one reply.

    `outcome` is a short machine-readable name, `feedback` the text appended to the conversation,
    `valid` says whether the reply follows the requested format to the letter, and `read_right` whether the
    model stated what it was shown correctly (numbers of the cards; None where a task does not ask).
    `found` is what the verifier computed (the value of a formula, say), as text for display. `advanced` says that the
    problem goes on with a next step (the next position of a route), which has a verification budget of its own;
    `feedback` then shows that step, and `pictures` are what is seen there. `ended` says that no further reply is
    wanted, as when it is solved. `decides` says whether anything was to be decided at this step: one at which the same
    action is right as at most others (walking on) asks for no skill. Where the words for answers are shifted, `words`
    says whose a reply uses: those of the rule that the prompt states, of the training rule, or others (none, too).
    `work` is what the steps that a reply shows are worth, None where it shows none; no reward depends on it.
    """

    outcome: str
    reward: float
    solved: bool
    feedback: str
    valid: bool = True
    read_right: bool | None = None
    found: str | None = None
    advanced: bool = False
    ended: bool = False
    pictures: tuple[Picture, ...] = ()
    decides: bool = True
    work: Work | None = None
    words: Words | None = None

    @property
    def right(self) -> bool:
        """Whether the reply was right: one that leads on after the last try is not rewarded."""
        return self.solved or ((self.advanced or self.ended) and self.reward > 0)


@dataclass(frozen=True)
class Turn:
    """One action: the tokens appended since the last action (prompt or feedback), the reply, and its verdict."""

    appended_ids: tuple[int, ...]
    completion: Completion
    verdict: Verdict


@dataclass(frozen=True)
class Episode:
    """A finished conversation. `messages` is the whole of it in plain text, last feedback included."""

    problem_id: str
    turns: tuple[Turn, ...]
    messages: tuple[Message, ...]

    @property
    def solved(self) -> bool:
        return self.turns[-1].verdict.solved

    @property
    def total_reward(self) -> float:
        return sum(turn.verdict.reward for turn in self.turns)

    def begun(self, turns: int) -> "Episode":
        """Its first turns, and the messages up to the feedback on them."""
        left_out = 2 * (len(self.turns) - turns)  # messages: replies, and their feedback
        return replace(self, turns=self.turns[:turns], messages=self.messages[: len(self.messages) - left_out])

    def solved_within(self, tries: int) -> bool:
        """Whether the problem was solved with at most `tries` replies to each of its steps."""
        return self.solved and max(map(len, self.steps)) <= tries

    @property
    def steps(self) -> tuple[tuple[Turn, ...], ...]:
        """The turns, step by step of the problem."""
        ends = [place for place, turn in enumerate(self.turns[:-1], 1) if turn.verdict.advanced]
        return tuple(self.turns[first:end] for first, end in pairwise([0, *ends, len(self.turns)]))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures that the policy was shown, in order (not those of the feedback after the last reply)."""
        return tuple(picture for message in self.messages[:-1] for picture in message.pictures)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The conversation exactly as the policy saw and wrote it, without the feedback after the last reply."""
        ids: list[int] = []
        for turn in self.turns:
            ids += turn.appended_ids + turn.completion.token_ids
        return tuple(ids)
