"""Answerers that take one conversation each: as many at once as they like, none waiting for another."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from ruleshift.engines.protocol import Answerer, Insider, Request
from ruleshift.engines.streams import stream_key
from ruleshift.engines.text import TextEngine, random_guesser
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Episode, Message, Picture, Verdict
from ruleshift.revision import converse, revise
from ruleshift.tasks import get_task


@dataclass
class Countdown:
    """Solved by the reply at turn `needs` (0: never)."""

    id: str
    needs: int
    asked: int = 0

    def context(self) -> Sequence[Message]:
        return [Message("user", f"problem {self.id}")]

    def submit(self, reply: str, last: bool) -> Verdict:
        self.asked += 1
        return Verdict(f"{self.asked}{'!' * last}", 1.0, self.asked == self.needs, f"feedback {self.asked} to {reply}")


NEEDS = (3, 1, 0, 2, 1, 4, 0, 5, 2, 1)


def countdowns() -> list[Countdown]:
    return [Countdown(f"p{i}", needs) for i, needs in enumerate(NEEDS)]


def text(request: Request) -> str:
    """A reply that depends on everything that is said."""
    said = "/".join(message.content for message in request.messages)
    return f"reply {stream_key(0, request.id + said, request.sample) % 1000}"


def answers(wait: Callable[[Request], Awaitable[object]], limit: int = 4) -> Answerer:
    async def answer(request: Request) -> Completion:
        await wait(request)
        return Completion(text(request), (1, 2), (-0.5, -0.1))

    return Answerer(answer, limit)


def texts(episodes: Sequence[Episode]) -> list[tuple[str, tuple[Message, ...], list[Verdict]]]:
    return [(e.problem_id, e.messages, [turn.verdict for turn in e.turns]) for e in episodes]


def test_the_last_conversations_begin_before_others_go_on():
    """One after the other at first; towards the end all begin, and no place for an answer is empty."""
    order: list[str] = []

    async def wait(request: Request) -> None:
        order.append(request.id)

    problems = [Countdown(f"p{i}", 2) for i in range(6)]
    revise(problems, answers(wait, limit=1), turns=5)
    assert order == ["p0", "p0", "p1", "p1", "p2", "p3", "p4", "p5", "p2", "p3", "p4", "p5"]


@pytest.mark.parametrize("limit", [1, 3, 64])
def test_episodes_are_those_of_the_batched_driver_in_whatever_order_answers_come(limit):
    expected = texts(revise(countdowns(), TextEngine(text, batch_size=3), turns=5))
    for seed in range(3):
        rng = random.Random(seed)
        answerer = answers(lambda request, rng=rng: asyncio.sleep(rng.random() / 200), limit)
        episodes = revise(countdowns(), answerer, turns=5)
        assert texts(episodes) == expected
        assert all(turn.completion.token_ids == (1, 2) for episode in episodes for turn in episode.turns)
    assert [len(verdicts) for *_, verdicts in expected] == [3, 1, 5, 2, 1, 4, 5, 5, 2, 1]


def test_an_insider_has_the_same_conversations():
    expected = texts(revise(countdowns(), TextEngine(text), turns=5))
    assert texts(revise(countdowns(), Insider(lambda problem, request: text(request)), turns=5)) == expected


@pytest.mark.parametrize("limit", [1, 3, 8])
def test_as_many_conversations_at_once_as_the_limit_says(limit):
    live: set[str] = set()
    most = 0

    async def wait(request: Request) -> None:
        nonlocal most
        assert request.id not in live
        live.add(request.id)
        most = max(most, len(live))
        await asyncio.sleep(0.001)
        live.remove(request.id)

    revise(countdowns(), answers(wait, limit), turns=5)
    assert most == limit
    with pytest.raises(ValueError, match="at least one"):
        answers(wait, 0)


def test_no_conversation_waits_for_another():
    """p0 gets no answer before all others have ended: with a barrier between turns nothing would ever end."""
    others = len(NEEDS) - 1
    done = asyncio.Event()
    ended: list[int] = []

    async def wait(request: Request) -> None:
        if request.id == "p0":
            await done.wait()

    def progress(count: int) -> None:
        ended.append(count)
        if len(ended) == others:
            done.set()

    async def run() -> list[Episode]:
        return await asyncio.wait_for(converse(countdowns(), answers(wait, limit=2), 5, progress), timeout=20)

    assert len(asyncio.run(run())) == len(NEEDS)
    assert ended == [1] * len(NEEDS)


def failing(at: str, error: Exception, started: list[str], finished: list[str]) -> Answerer:
    async def wait(request: Request) -> None:
        started.append(request.id)
        try:
            if request.id == at:
                raise error
            await asyncio.sleep(60)
        finally:
            finished.append(request.id)

    return answers(wait)


@pytest.mark.parametrize("error", [RuleshiftError("the server is gone"), ValueError("odd")])
def test_a_failing_answer_ends_all_and_is_what_is_raised(error):
    started: list[str] = []
    finished: list[str] = []
    with pytest.raises(type(error), match=str(error)) as raised:
        revise(countdowns(), failing("p2", error, started, finished), turns=5)
    assert raised.value is error
    assert started == ["p0", "p1", "p2", "p3"]
    assert sorted(finished) == sorted(started)  # nobody is left waiting


def test_cancellation_leaves_nothing_behind():
    started: list[str] = []
    finished: list[str] = []

    async def run() -> int:
        answerer = failing("nobody", ValueError(), started, finished)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(converse(countdowns(), answerer, 5), timeout=0.05)
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1  # the one that counts
    assert len(started) == 4
    assert sorted(finished) == sorted(started)


def test_an_answer_that_cancels_itself_is_no_end_of_a_conversation():
    async def wait(request: Request) -> None:
        if request.id == "p3":
            raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled"):
        revise(countdowns(), answers(wait), turns=5)


def test_nothing_to_answer():
    assert revise([], answers(lambda request: asyncio.sleep(0)), turns=3) == []


class Sights:
    """Two steps, each with a picture of its own; every reply is right."""

    def __init__(self, name: str) -> None:
        self.id, self.step = name, 0

    def context(self):
        return [Message("user", "look", (Picture(1, 1, b"000"),))]

    def submit(self, reply, last):
        self.step += 1
        return Verdict("right", 1.0, self.step == 2, "on", advanced=self.step < 2, pictures=(Picture(1, 1, b"111"),))


def test_an_answerer_is_shown_all_pictures_whatever_is_kept():
    seen: list[int] = []

    async def wait(request: Request) -> None:
        seen.append(sum(len(message.pictures) for message in request.messages))

    episodes = revise([Sights("a"), Sights("b")], answers(wait, limit=1), turns=1, pictured=1)
    assert seen == [1, 1, 2, 2]  # the second begins before the first goes on
    assert len(episodes[0].pictures) == 2
    assert not any(message.pictures for message in episodes[1].messages)


def test_samples_of_a_problem_differ_and_the_first_is_what_it_was():
    def guesses(samples: list[int] | None) -> list[str]:
        problems = [get_task("gp-l").problem("id", 5, 3) for _ in range(4)]
        episodes = revise(problems, random_guesser(), turns=1, samples=samples)
        return [episode.turns[0].completion.text for episode in episodes]

    plain, group, turned = guesses(None), guesses([0, 1, 2, 3]), guesses([3, 2, 1, 0])
    assert len(set(plain)) == 1
    assert group[0] == plain[0]
    assert len(set(group)) == 4
    assert turned == group[::-1]
    assert stream_key(7, "x") == stream_key(7, "x", 0) != stream_key(7, "x", 1)
