"""Conversations to learn from: told again from a problem and a script of who replies, with the loss on what is learned.

They are made when they are used, of text too, so that memory holds those of one optimiser step and a few more.
"""

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ruleshift.chat import Chat, Sequences
from ruleshift.engines.streams import stream_key, uniforms
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.outcomes import CUT, in_words
from ruleshift.records import Message
from ruleshift.settings import SFTConfig
from ruleshift.tasks.protocol import Style, Task, TaskProblem, is_terse
from ruleshift.training.accounting import TokenCount
from ruleshift.training.sft_data import OTHER_RULES, Ids, ScriptLine, data_of, expert, plan
from ruleshift.training.sft_samples import PassRates, Samples, used
from ruleshift.training.trajectories import Trajectory

KEPT = 4_096  # conversations of text that are not made again within an epoch


@dataclass(frozen=True)
class Lesson:
    """A conversation as it was said, and for each of its tokens whether it is learned (1): of replies only."""

    said: Sequences
    learned: tuple[int, ...]

    @property
    def labels(self) -> list[int]:
        """The ids that are learned, and -100 elsewhere."""
        return [token if one else -100 for token, one in zip(self.said.token_ids, self.learned, strict=True)]


@dataclass(frozen=True)
class ToldReply:
    """One reply of a conversation that is told again: its text, the ids that the model sampled (None of the expert),
    whether it is learned, and what it is answered."""

    text: str
    ids: Ids | None
    learned: bool
    feedback: Message


def replies(
    decode: Callable[[Ids], str],
    problem: TaskProblem,
    script: Callable[[int], Sequence[ScriptLine]],
    turns: int,
    spoilt: Callable[[int], bool] = lambda step: False,
    bare: bool = False,
) -> Iterator[ToldReply]:
    """The replies of the conversation in which `script(step)` says who replies at each step, until it says none or the
    problem is at its end. turns: the verification budget of the model's own tries; the expert always has one more.
    Where a step is `spoilt`, what stands in the place of the expert's reply is a wrong one, and the conversation goes
    on as after the right one: the label is wrong, and not what is seen. bare: the same for an expert's reply of which
    only the answer is left."""
    step, advanced = 0, True
    while advanced and (lines := script(step)):
        for tries, line in enumerate(lines, 1):
            text = problem.gold() if line.ids is None else decode(line.ids)
            label = wrong_reply(problem, step) if line.ids is None and spoilt(step) else text
            label = bare_answer(label) if bare else label
            verdict = problem.submit(text, line.ids is not None and tries == turns)
            advanced = verdict.advanced
            yield ToldReply(label, line.ids, line.learned, Message("user", verdict.feedback, verdict.pictures))
        step += 1


def tell(chat: Chat, problem: TaskProblem, said: Iterable[ToldReply]) -> Lesson:
    """The conversation in which this is said (`replies`), as token ids; those that the model sampled are kept."""
    messages = tuple(problem.context())
    ids: list[int] = []
    replied: list[int] = []
    learned: list[int] = []
    pictures = [picture for message in messages for picture in message.pictures]

    def grow(piece: Sequence[int], reply: bool = False, learn: bool = False) -> None:
        ids.extend(piece)
        replied.extend([int(reply)] * len(piece))
        learned.extend([int(learn)] * len(piece))

    grow(chat.encode_prompt(messages))
    feedback: Message | None = None
    reply: Ids = ()
    for one in said:
        if feedback is not None:
            grow(chat.encode_feedback(feedback, reply))
            pictures += feedback.pictures
        reply = chat.encode_reply(one.text) if one.ids is None else one.ids
        grow(reply, True, one.learned)
        feedback = one.feedback
    return Lesson(Sequences(tuple(ids), tuple(replied), tuple(pictures)), tuple(learned))


def bare_answer(reply: str) -> str:
    """The answer of a reply that is a JSON object, without its form: the text of the last field. Raises RuleshiftError
    for another reply."""
    try:
        fields = json.loads(reply)
        answer = list(fields.values())[-1]
    except (ValueError, AttributeError, IndexError) as error:
        raise RuleshiftError(
            f"--data bare keeps the answer of a JSON object, and the expert says {reply[:60]!r}: take --data expert"
        ) from error
    return str(answer)


def demonstration(chat: Chat, problem: TaskProblem, turns: int) -> Trajectory:
    """The expert's conversation about a problem, whose replies are to be learned."""
    return taught(tell(chat, problem, replies(chat.decode, problem, lambda step: expert(None, 0.0), turns)))


def taught(lesson: Lesson) -> Trajectory:
    """A lesson as a trajectory, whose reply tokens are those that are learned."""
    places = tuple(place for place, learned in enumerate(lesson.learned) if learned)
    nothing = (0.0,) * len(places)
    whole = (lesson.said.token_ids, places, (0,) * len(places), nothing, (places[0] - 1,), (0.0,))
    return Trajectory(*whole, pictures=lesson.said.pictures)


def wrong_reply(problem: TaskProblem, step: int) -> str:
    """A reply in the right form that the verifier does not accept, drawn from the problem's guesses. Raises
    RuleshiftError where none of 100 is wrong."""
    first = int(stream_key(step, f"{problem.id}/noise")) % 2**31
    for draw in range(first, first + 100):
        guess = problem.guess(draw)
        if not copy.copy(problem).submit(guess, False).right:  # a copy, for problems that move on
            return guess
    raise RuleshiftError(f"no guess at {problem.id} is wrong: leave --noise out")


class Lessons:
    """The conversations of a run of SFT by the index of their problem. `rows` are those in which anything is learned.

    Raises Diverged where there are none, since studies continue without a run that leads nowhere.
    """

    def __init__(
        self,
        chat: Chat,
        task: Task,
        style: Style,
        config: SFTConfig,
        samples: Samples | None = None,
        rates: PassRates | None = None,
    ) -> None:
        self.chat, self.task, self.style, self.config, self.samples = chat, task, style, config, samples
        self.script = data_of(config).script
        self.taken = sum((known.taken for known in (samples, rates) if known is not None), TokenCount())
        self.rows = list(range(config.examples)) if rates is None else rates.within(config.pass_low, config.pass_high)
        if not self.rows:
            raise Diverged(
                f"the start model solves no share from {config.pass_low:g} to {config.pass_high:g} of first replies at "
                f"any of {used(config)} problems: take more --examples, or another --pass-low or --pass-high"
            )
        if samples is not None:
            at_hand = [i for i in self.rows if i < len(samples.right)]
            self.rows = [i for i in at_hand if samples.right[i] or not data_of(config).verified]
        if not self.rows:
            drawn = {} if samples is None else samples.metrics
            said = f" ({in_words(drawn)})" if CUT in drawn else ""  # not of those that an earlier version drew
            raise Diverged(
                f"the verifier accepted no reply of the start model to {used(config)} problems{said}, and "
                f"--data {config.data} learns from accepted ones alone: take more --examples, or --data expert"
            )
        self._kept = lru_cache(KEPT)(self._made) if chat.eye is None else self._made

    def __getitem__(self, index: int) -> Lesson:
        return self._kept(index)

    def shown(self, steps: int) -> list[int]:
        """The rows that the first `steps` optimiser steps show, each once: of the first epoch in the order in which the
        Trainer deals it, and all once it is over."""
        order = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(self.config.seed))
        return [self.rows[place] for place in order[: steps * self.config.batch].tolist()]

    def learned(self, index: int) -> Iterator[tuple[TaskProblem, str]]:
        """The replies of a conversation that are learned, as texts, each with its problem. Nothing is drawn for it."""
        problem = self._problem(self.task.unseen(), index)
        return ((problem, one.text) for one in self._replies(problem, index) if one.learned)

    def _made(self, index: int) -> Lesson:
        problem = self._problem(self.task, index)
        return tell(self.chat, problem, self._replies(problem, index))

    def _replies(self, problem: TaskProblem, index: int) -> Iterator[ToldReply]:
        """What is said in the conversation about the problem of this number."""
        steps = () if self.samples is None else self.samples[index].steps
        key = np.full(len(steps), stream_key(self.config.seed, f"{problem.id}/{self.config.data}"), dtype=np.uint64)
        lines = plan(self.script, steps, uniforms(key, np.arange(len(steps)), 0).tolist())
        unseen = self.script(None, 0.0)
        noisy = np.full(1, stream_key(self.config.seed, f"{problem.id}/spoilt"), dtype=np.uint64)

        def spoilt(step: int) -> bool:
            return bool(self.config.noise) and float(uniforms(noisy, np.array([step]), 0)[0]) < self.config.noise

        def said(step: int) -> list[ScriptLine]:
            return lines[step] if step < len(lines) else unseen

        return replies(self.chat.decode, problem, said, self.config.turns, spoilt, data_of(self.config).bare)

    def _problem(self, task: Task, index: int) -> TaskProblem:
        """The problem of this number; where data is varied, under another rule where it is odd."""
        if not data_of(self.config).varied:
            return task.problem(self.config.split, self.config.seed, index, self.style)
        split = OTHER_RULES if index % 2 else self.config.split
        return task.problem(split, self.config.seed, index, self.style if is_terse(self.style) else "varied")

    def sampling(self, steps: int) -> TokenCount:
        """What the sampling of the conversations took that `steps` optimiser steps have used: a run that ends there
        would have sampled no more of them. Those from which nothing was learned count with the others."""
        share = min(1.0, steps * self.config.batch / len(self.rows))
        looked = round(share * self.taken.patches_forward)
        return TokenCount(forward=round(share * self.taken.forward), patches_forward=looked)
