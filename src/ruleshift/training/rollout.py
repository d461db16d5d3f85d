"""Where episodes come from: problems that were never dealt before in the run, answered by an engine from outside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Engine, Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.outcomes import shares_of
from ruleshift.records import Episode, Turn
from ruleshift.revision import revise
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.training.processes import ALONE, Processes


class SyncedEngine(Engine, Protocol):
    """An engine that answers as a model does that learns elsewhere. It returns token ids and log-probabilities."""

    def sync(self, model: PreTrainedModel) -> None:
        """Answer as this model does, as long as an update samples; called before every update."""
        ...


def local_engine(model: PreTrainedModel, chat: Chat, config: RLConfig | SFTConfig) -> LocalEngine:
    """Samples from the model itself that learns, or will, in this process."""
    sampling = Sampling(config.temperature, config.max_new_tokens, config.seed)
    dtype = rollout_dtype(config) if isinstance(config, RLConfig) else None
    return LocalEngine(model, chat, sampling, config.batch_size, dtype)


def rollout_dtype(config: RLConfig) -> torch.dtype | None:
    """The precision to sample in, where one is named."""
    return None if config.rollout_dtype == "auto" else getattr(torch, config.rollout_dtype)


NOT_REAL = (str, bytes, bytearray, memoryview, complex, np.complexfloating)  # though float() takes some of these


@dataclass(frozen=True)
class Rollout:
    """Episodes of a task for training. Those about one problem stand next to each other, `config.group` of them. Each
    of several processes answers a share, and all have all episodes."""

    task: Task
    style: Style
    config: RLConfig
    engine: SyncedEngine
    processes: Processes = ALONE

    def collect(self, update: int, first: int | None = None) -> list[Episode]:
        """Episodes for an update, counted from 0, about the problems from number `first` on; by default those that come
        after as many as all updates before it take. Raises RuleshiftError for a reward that is no number, or not
        finite."""
        config = self.config
        first = update * config.episodes // config.group if first is None else first
        deals = [divmod(first * config.group + i, config.group) for i in range(config.episodes)]

        def answered(some: Sequence[tuple[int, int]]) -> list[Episode]:
            problems = [self.task.problem(config.split, config.seed, index, self.style) for index, _ in some]
            episodes = revise(problems, self.engine, config.turns, samples=[sample for _, sample in some])
            return [replace(e, turns=tuple(self._with_real_reward(turn, update) for turn in e.turns)) for e in episodes]

        return self.processes.spread(answered, deals)

    def again(self, index: int) -> TaskProblem:
        """The problem of this number as it was before its conversation, without pictures."""
        return self.task.unseen().problem(self.config.split, self.config.seed, index, self.style)

    def groups(self, episodes: int | None = None) -> list[int]:
        """Which of so many episodes (all of an update) are about the same problem: a number for each."""
        return [i // self.config.group for i in range(episodes or self.config.episodes)]

    def _with_real_reward(self, turn: Turn, update: int) -> Turn:
        """The reward as a float, of whatever type of number the task gives it."""
        reward = turn.verdict.reward
        try:
            number = float("no number" if isinstance(reward, NOT_REAL) else reward)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise RuleshiftError(
                f"{self.task.id} gave the reward {_short(reward)}, which is no real number: mend its `submit`"
            ) from error
        if not math.isfinite(number):
            raise RuleshiftError(
                f"{self.task.id} gave a reward that is not finite ({number}) in update {update + 1}: mend its `submit`"
            )
        return replace(turn, verdict=replace(turn.verdict, reward=number))


def turns_within(episodes: Sequence[Episode], most: int) -> list[int]:
    """How many turns of each episode are among the first `most` of all (0: all); episodes without one are left out."""
    if not most:
        return [len(episode.turns) for episode in episodes]
    before = [0, *accumulate(len(episode.turns) for episode in episodes)]
    return [min(len(e.turns), most - first) for e, first in zip(episodes, before, strict=False) if first < most]


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Success by first replies alone and within the budget, mean total reward, turns and reply tokens per episode; and
    of all replies, the share of each verdict and of those that were cut at the token limit (`outcomes.shares_of`)."""
    count = len(episodes)
    return {
        "success_first": sum(e.solved_within(1) for e in episodes) / count,
        "success": sum(e.solved for e in episodes) / count,
        "reward": sum(e.total_reward for e in episodes) / count,
        "turns": sum(len(e.turns) for e in episodes) / count,
        "reply_tokens": sum(len(t.completion.token_ids) for e in episodes for t in e.turns) / count,
        **shares_of(episodes),
    }


def _short(value: object) -> str:
    """A value in a message, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
