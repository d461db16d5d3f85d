"""Who scores what a student samples: another model, the student shown more than it sees, or an expert.

A teacher is `told` of episodes, and says how likely each next token is for it after each prefix that was sampled.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.head import logits_later
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.vision import Known
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig
from ruleshift.training.parts import LaggingCopy, Start
from ruleshift.training.privileged import Asked, answers_of, replayed, retold, shown
from ruleshift.training.trajectories import Thrift, Trajectory, reply_states

Ids = tuple[int, ...]
SLIP = 1e-3  # with this probability an expert says any token at all, each as likely


@dataclass(frozen=True)
class Told:
    """An episode as a teacher is told of it; for an expert, with the replies that it might give at each turn."""

    trajectory: Trajectory
    answers: tuple[tuple[Ids, ...], ...] = ()


class Scores(NamedTuple):
    """What a teacher says of reply tokens, trajectory after trajectory."""

    logprobs: Callable[[slice], torch.Tensor]  # of the next token at some of them, (t, V)
    known: torch.Tensor  # (T,), 0 where it has no opinion


class Teacher(Protocol):
    """`share`: the parameters that it reads with, in those of the student."""

    share: float

    def told(self, asked: Asked, trajectory: Trajectory) -> Told: ...

    def scores(self, group: Sequence[Told]) -> Scores:
        """No gradient flows through them."""
        ...

    def follow(self) -> None:
        """The student has taken a step."""
        ...


class ModelTeacher:
    """A model that stays as it is, asked at the student's temperature."""

    def __init__(self, model: PreTrainedModel, chat: Chat, config: DistilConfig, share: float = 1.0) -> None:
        self.model, self.chat, self.config, self.share = model, chat, config, share
        self.features: Known | None = None

    @contextmanager
    def weights(self) -> Iterator[PreTrainedModel]:
        """Inside, the model that is given answers as the teacher does."""
        yield self.model

    def told(self, asked: Asked, trajectory: Trajectory) -> Told:
        return Told(retold(self.chat, asked, trajectory, shown(self.config.privileged_context, asked)))

    @torch.no_grad()
    def scores(self, group: Sequence[Told]) -> Scores:
        thrift = Thrift(self.config.bf16)
        with self.weights() as model:
            said = reply_states(model, [one.trajectory for one in group], self.chat.eye, self.features, thrift)
            logits = logits_later(model)

        @torch.no_grad()
        def logprobs(part: slice) -> torch.Tensor:
            with thrift.around(model):
                return (logits(said.before[part]) / self.config.temperature).log_softmax(-1)

        return Scores(logprobs, torch.ones(len(said.tokens), device=said.tokens.device))

    def follow(self) -> None:
        """It stays as it is."""


def load_teacher(
    config: RLConfig, chat: Chat, pictures: bool, device: str = "auto", dtype: str = "auto"
) -> PreTrainedModel | None:
    """The model that guides, where that is another one than the student: of a folder, a hub id, or a run that ended.
    device and dtype: as `load_backbone` has them.
    Raises RuleshiftError for one that cannot be loaded, and for one whose tokens are not those of `chat`."""
    if not isinstance(config, DistilConfig) or config.teacher in ("self", "expert"):
        return None
    if config.fixed_advantage is not None:
        return None
    end = Path(config.teacher) / "model"
    found = load_backbone(str(end) if end.is_dir() else config.teacher, device, dtype, pictures)
    if found.chat.tokenizer.get_vocab() != chat.tokenizer.get_vocab():
        raise RuleshiftError(
            f"the teacher {config.teacher!r} reads other tokens than the student: choose one with the same tokenizer"
        )
    return found.model.requires_grad_(False)


class StartTeacher(ModelTeacher):
    """The student as it was at the `start`."""

    def __init__(self, model: PreTrainedModel, chat: Chat, config: DistilConfig, start: Start) -> None:
        super().__init__(model, chat, config)
        self.start = start

    @contextmanager
    def weights(self) -> Iterator[PreTrainedModel]:
        with self.start():
            yield self.model


class MovingTeacher(ModelTeacher):
    """The student with the moving average of what learns in it: average + rate * (student - average) at every step.

    Source: SDFT, Shenfeld et al., arXiv 2601.19897; SDPO, arXiv 2601.20802.
    """

    def __init__(self, model: PreTrainedModel, chat: Chat, config: DistilConfig) -> None:
        super().__init__(model, chat, config)
        self.average = LaggingCopy(model)

    @contextmanager
    def weights(self) -> Iterator[PreTrainedModel]:
        with self.average.in_place():
            yield self.model

    def follow(self) -> None:
        self.average.follow(self.config.teacher_update_rate)


class ExpertTeacher:
    """The expert of a task, which gives each of its answers as often: after a prefix that some of them begin with, the
    next token is one of theirs, in proportion; after others it has no opinion. With a probability of `SLIP` it says any
    token at all, so that nothing is infinitely unlikely."""

    share = 0.0

    def __init__(self, chat: Chat, vocabulary: int, device: torch.device) -> None:
        self.chat, self.vocabulary, self.device = chat, vocabulary, device

    def told(self, asked: Asked, trajectory: Trajectory) -> Told:
        texts = replayed(asked, answers_of)
        answers = [tuple(dict.fromkeys(tuple(self.chat.encode_reply(text)) for text in golds)) for golds in texts]
        return Told(trajectory, tuple(answers))

    def scores(self, group: Sequence[Told]) -> Scores:
        rows = [row for one in group for row in _next_tokens(one)]

        def logprobs(part: slice) -> torch.Tensor:
            some = rows[part]
            table = torch.full((len(some), self.vocabulary), math.log(SLIP / self.vocabulary))
            places = [place for place, row in enumerate(some) for _ in row]
            tokens = [token for row in some for token in row]
            shares = torch.tensor([share for row in some for share in row.values()])
            table[places, tokens] = ((1 - SLIP) * shares + SLIP / self.vocabulary).log()
            return table.to(self.device)

        return Scores(logprobs, torch.tensor([float(bool(row)) for row in rows], device=self.device))

    def follow(self) -> None:
        """It stays as it is."""


def _next_tokens(told: Told) -> Iterator[dict[int, float]]:
    """Of each reply token, how likely which tokens are in its place; nothing where no answer begins as the reply."""
    one = told.trajectory
    begun: list[Ids] = []
    turn, offset = -1, 0
    for place, of_turn in zip(one.positions, one.turn, strict=True):
        if of_turn != turn:
            turn, offset, begun = of_turn, 0, list(told.answers[of_turn])
        tokens = [answer[offset] for answer in begun if offset < len(answer)]
        yield {token: count / len(tokens) for token, count in Counter(tokens).items()}
        begun = [answer for answer in begun if offset < len(answer) and answer[offset] == one.ids[place]]
        offset += 1
