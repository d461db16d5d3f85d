"""Conversations to learn from: told again from a problem and a script of who replies, with the loss on what is learned.

They are made when they are used, of text too, so that memory holds those of one optimiser step and a few more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ruleshift.chat import Chat, Sequences
from ruleshift.engines.streams import stream_key, uniforms
from ruleshift.errors import Diverged
from ruleshift.records import Message
from ruleshift.settings import SFTConfig
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.training.accounting import TokenCount
from ruleshift.training.sft_data import Ids, ScriptLine, data_of, plan
from ruleshift.training.sft_samples import Samples, used

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


def tell(chat: Chat, problem: TaskProblem, script: Callable[[int], Sequence[ScriptLine]], turns: int) -> Lesson:
    """The conversation in which `script(step)` says who replies at each step, until it says none or the problem is at
    its end. Ids of the model are kept as they were sampled. turns: the verification budget of its own tries; the
    expert always has one more."""
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
    step, advanced = 0, True
    while advanced and (lines := script(step)):
        for tries, line in enumerate(lines, 1):
            if feedback is not None:
                grow(chat.encode_feedback(feedback, reply))
                pictures += feedback.pictures
            text = problem.gold() if line.ids is None else chat.decode(line.ids)
            reply = chat.encode_reply(text) if line.ids is None else line.ids
            grow(reply, True, line.learned)
            verdict = problem.submit(text, line.ids is not None and tries == turns)
            feedback, advanced = Message("user", verdict.feedback, verdict.pictures), verdict.advanced
        step += 1
    return Lesson(Sequences(tuple(ids), tuple(replied), tuple(pictures)), tuple(learned))


class Lessons:
    """The conversations of a run of SFT by the index of their problem. `rows` are those in which anything is learned.

    Raises Diverged where there are none, since studies continue without a run that leads nowhere.
    """

    def __init__(self, chat: Chat, task: Task, style: Style, config: SFTConfig, samples: Samples | None = None) -> None:
        self.chat, self.task, self.style, self.config, self.samples = chat, task, style, config, samples
        self.script = data_of(config).script
        self.rows = list(range(config.examples))
        if samples is not None:
            self.rows = [i for i, right in enumerate(samples.right) if right or not data_of(config).verified]
        if not self.rows:
            raise Diverged(
                f"the verifier accepted no reply of the start model to {used(config)} problems, and "
                f"--data {config.data} learns from accepted ones alone: take more --examples, or --data expert"
            )
        self._kept = lru_cache(KEPT)(self._made) if chat.eye is None else self._made

    def __getitem__(self, index: int) -> Lesson:
        return self._kept(index)

    def _made(self, index: int) -> Lesson:
        problem = self.task.problem(self.config.split, self.config.seed, index, self.style)
        steps = () if self.samples is None else self.samples[index].steps
        key = np.full(len(steps), stream_key(self.config.seed, f"{problem.id}/{self.config.data}"), dtype=np.uint64)
        lines = plan(self.script, steps, uniforms(key, np.arange(len(steps)), 0).tolist())
        unseen = self.script(None, 0.0)
        return tell(self.chat, problem, lambda step: lines[step] if step < len(lines) else unseen, self.config.turns)

    def sampling(self, steps: int) -> TokenCount:
        """What the sampling of the conversations took that `steps` optimiser steps have used: a run that ends there
        would have sampled no more of them. Those from which nothing was learned count with the others."""
        if self.samples is None:
            return TokenCount()
        share = min(1.0, steps * self.config.batch / len(self.rows))
        taken = self.samples.taken
        return TokenCount(forward=round(share * taken.forward), patches_forward=round(share * taken.patches_forward))
