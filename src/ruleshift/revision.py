"""Sequential revision: the one conversation of training, evaluation and inference-time verification, and its drivers.

Context, generate, submit, append feedback, until solved or the verification budget is spent.
Source: Chu et al. (arXiv 2501.17161), section 3: v_in(t) = concat(v_in(0), [v_out(k), v_ver(k)] for k < t).

A problem may have several steps (the positions of a route). A verdict that says `advanced` leads to the next step,
whose budget is full again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from ruleshift.engines.protocol import Answerer, Engine, Insider, NoMoreAnswers, Reply, Request, Responder
from ruleshift.records import Completion, Episode, Message, Turn
from ruleshift.tasks.protocol import Problem, TaskProblem

# Waiting problems join once this share of the batch is free: reading the prompts of a few rows is slow.
JOIN_SHARE = 1 / 8
# Conversations, for each that may be answered at once, that begin before others go on, when no more are left.
AHEAD = 3
ANEW = 2**32  # between the numbers of samples of tries that are drawn anew

Progress = Callable[[int], object]  # called with the number of episodes that ended since the last call


class Conversation:
    """A problem, what was said about it so far, and the tries that its current step has taken of its `budget`.

    One that does not keep its pictures forgets them once whoever answers has no more need of them. `seconds` is how
    long the last reply took (of a batch, its share), and `heard` is called after every verdict. Taking the replies of
    an earlier conversation again leads to where that one was. In one that `forgets`, a failed try is not shown to
    whoever answers: the next one is drawn anew, from a random stream of its own.
    """

    def __init__(
        self, problem: Problem, budget: int, sample: int = 0, keeps_pictures: bool = True, forgets: bool = False
    ) -> None:
        if budget < 1:
            raise ValueError(f"the verification budget must be at least one turn, not {budget}")
        self.problem, self.budget, self.sample, self.keeps_pictures = problem, budget, sample, keeps_pictures
        self.forgets = forgets
        self.turns: list[Turn] = []
        self.messages: list[Message] = []
        self.tries = 0
        self.ended = False
        self.seconds = 0.0
        self.heard: Callable[[Conversation], object] | None = None

    def request(self) -> Request:
        """What whoever answers is told now."""
        self._begin()
        first = len(self.messages) - 2 * len(self.turns)
        shown = [i for i, turn in enumerate(self.turns) if turn.verdict.advanced or not self.forgets]
        said = [message for i in shown for message in self.messages[first + 2 * i : first + 2 * i + 2]]
        return Request(
            self.problem.id,
            (*self.messages[:first], *said),
            self.sample + ANEW * self.tries * self.forgets,
            tuple(self.turns[i].completion for i in shown),
        )

    @property
    def starts_over(self) -> bool:
        """Whether the last reply failed and is forgotten."""
        return self.forgets and bool(self.turns) and not self.turns[-1].verdict.advanced

    def take(self, reply: Reply) -> None:
        """Submit a reply; its feedback joins the conversation."""
        self._begin()
        text = reply.completion.text
        verdict = self.problem.submit(text, self.tries == self.budget - 1)
        self.messages += [Message("assistant", text), Message("user", verdict.feedback, verdict.pictures)]
        kept = verdict if self.keeps_pictures or not verdict.pictures else replace(verdict, pictures=())
        self.turns.append(Turn(reply.appended_ids, reply.completion, kept))
        self.tries = 0 if verdict.advanced else self.tries + 1
        self.ended = verdict.solved or verdict.ended or self.tries == self.budget
        if self.ended:
            self.was_read()
        if self.heard is not None:
            self.heard(self)

    def _begin(self) -> None:
        """Ask the problem for its context, once."""
        if not self.messages:
            self.messages = list(self.problem.context())

    def was_read(self) -> None:
        """Pictures so far are needed no more."""
        if not self.keeps_pictures and (self.ended or not self.forgets):
            self.messages = [replace(m, pictures=()) if m.pictures else m for m in self.messages]

    def episode(self) -> Episode:
        """What was said, frozen."""
        return Episode(self.problem.id, tuple(self.turns), tuple(self.messages))


def revise(
    problems: Sequence[Problem],
    responder: Responder,
    turns: int,
    progress: Progress | None = None,
    pictured: int | None = None,
    samples: Sequence[int] | None = None,
    forgets: bool = False,
    heard: Callable[[Conversation], object] | None = None,
) -> list[Episode]:
    """One finished episode per problem, in order, whoever answers. Episodes do not depend on each other.

    turns: the verification budget of each step, at least 1. pictured: how many episodes, the first ones, keep their
    pictures (None: all); the others forget them on the way, so that there are no more at once than live conversations
    (apart from what problems keep themselves). samples: of each problem, which of several conversations about it this
    one is (0 by default). forgets: whether failed tries are not shown (see `Conversation`). heard: called after every
    verdict. An Answerer is waited for in an event loop of its own; in a running one, await `converse`.
    """
    conversations = _conversations(problems, turns, pictured, samples, forgets)
    for conversation in conversations:
        conversation.heard = heard
    drive(conversations, responder, progress)
    return [conversation.episode() for conversation in conversations]


def drive(conversations: Sequence[Conversation], responder: Responder, progress: Progress | None = None) -> None:
    """Bring conversations to their ends, those that have begun from where they are. Raises what stood in the way."""
    done, open_ones = progress or _ignore, [conversation for conversation in conversations if not conversation.ended]
    if isinstance(responder, Answerer):
        asyncio.run(_concurrently(open_ones, responder, done))
    elif isinstance(responder, Insider):
        _one_by_one(open_ones, responder, done)
    else:
        _in_batches(open_ones, responder, done)


async def converse(
    problems: Sequence[Problem],
    answerer: Answerer,
    turns: int,
    progress: Progress | None = None,
    pictured: int | None = None,
    samples: Sequence[int] | None = None,
) -> list[Episode]:
    """`revise` for an Answerer within a running event loop.

    No conversation waits for another, and the order in which answers arrive changes nothing. The first exception of
    an answer, or cancellation, ends all of them and is raised once they have ended; after NoMoreAnswers, answers that
    are on their way are still taken.
    """
    conversations = _conversations(problems, turns, pictured, samples)
    await _concurrently(conversations, answerer, progress or _ignore)
    return [conversation.episode() for conversation in conversations]


def _conversations(
    problems: Sequence[Problem],
    turns: int,
    pictured: int | None,
    samples: Sequence[int] | None,
    forgets: bool = False,
) -> list[Conversation]:
    keeping = len(problems) if pictured is None else pictured
    numbers = [0] * len(problems) if samples is None else samples
    pairs = zip(problems, numbers, strict=True)
    return [
        Conversation(problem, turns, sample, place < keeping, forgets) for place, (problem, sample) in enumerate(pairs)
    ]


def _ignore(ended: int) -> None:
    """For those who follow no progress."""


def _in_batches(conversations: Sequence[Conversation], engine: Engine, progress: Progress) -> None:
    """At most `engine.batch_size` conversations are live at once; they take their turns together."""
    live, waiting = list(conversations[: engine.batch_size]), conversations[engine.batch_size :]
    if not live:
        return
    session = engine.open([conversation.request() for conversation in live])
    while live:
        for conversation in live:
            conversation.was_read()
        began = time.perf_counter()
        replies = session.generate()
        seconds = (time.perf_counter() - began) / len(live)
        for conversation, reply in zip(live, replies, strict=True):
            conversation.seconds = seconds
            conversation.take(reply)
        open_ones = [row for row, conversation in enumerate(live) if not conversation.ended]
        if len(open_ones) < len(live):
            progress(len(live) - len(open_ones))
        keep = [row for row in open_ones if not live[row].starts_over]
        kept, again = [live[row] for row in keep], [live[row] for row in open_ones if live[row].starts_over]
        free = engine.batch_size - len(open_ones)
        new = waiting[:free] if free >= JOIN_SHARE * engine.batch_size else []
        waiting, joining = waiting[len(new) :], [*again, *new]
        live = [*kept, *joining]
        if live:
            session.append(keep, [c.messages[-1] for c in kept], [c.request() for c in joining])


async def _concurrently(conversations: Sequence[Conversation], answerer: Answerer, progress: Progress) -> None:
    """At most `answerer.limit` answers are waited for at once, each of a conversation at a turn of its own."""
    waiting = Waiting(conversations, ahead=AHEAD * answerer.limit)
    workers = min(answerer.limit, len(conversations))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_work(waiting, answerer, progress)) for _ in range(workers)]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await answerer.close()
    for task in tasks:
        if not task.cancelled() and (stopped := task.result()) is not None:
            raise stopped
    if not all(conversation.ended for conversation in conversations):
        raise RuntimeError("an answer was cancelled")


class Waiting:
    """Conversations to be taken up. Each is brought to its end, which servers that cache what they read like best, but
    when few are left that have not begun, `ahead` or fewer, these begin first: so long ones do not begin last, and end
    alone."""

    def __init__(self, conversations: Sequence[Conversation], ahead: int) -> None:
        self.new, self.begun, self.ahead = deque(conversations), deque[Conversation](), ahead

    def __iter__(self) -> Iterator[Conversation]:
        while self.new or self.begun:
            yield (self.new or self.begun).popleft()

    def takes_back(self, conversation: Conversation) -> bool:
        """Whether others come before the next turn of this one, which then waits for its own."""
        if not conversation.ended and (self.begun or 0 < len(self.new) <= self.ahead):
            self.begun.append(conversation)
            return True
        return False


async def _work(waiting: Waiting, answerer: Answerer, progress: Progress) -> NoMoreAnswers | None:
    """Take waiting conversations, one after the other. Returns why it stopped before there were none left."""
    for conversation in waiting:
        while not conversation.ended:
            try:
                completion = await answerer.answer(conversation.request())
            except NoMoreAnswers as stopped:
                return stopped
            conversation.seconds = 0.0 if completion.served is None else completion.served.seconds
            conversation.take(_text_only(completion))
            if waiting.takes_back(conversation):
                break
        else:
            progress(1)
    return None


def _one_by_one(conversations: Sequence[Conversation], insider: Insider, progress: Progress) -> None:
    for conversation in conversations:
        problem = cast(TaskProblem, conversation.problem)
        while not conversation.ended:
            conversation.take(_text_only(Completion(insider.answer(problem, conversation.request()))))
        progress(1)


def _text_only(completion: Completion) -> Reply:
    """A reply of one who is shown messages: which ids were appended is not known."""
    return Reply((), completion)
