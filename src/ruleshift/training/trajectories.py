"""Episodes as the flat tensors that losses take."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ruleshift.backbones.head import by_chunks, last_states, logits_of
from ruleshift.backbones.vision import Known, read, view_of
from ruleshift.records import Episode, Picture, Turn
from ruleshift.sight import Eye
from ruleshift.training.batching import pack, pad
from ruleshift.training.heap import mapped
from ruleshift.training.objectives import entropy

again = partial(checkpoint, use_reentrant=False)


@dataclass(frozen=True)
class Trajectory:
    """One episode as tokens.

    `ids` is the whole conversation as sampled. For each reply token, `positions` is its place in `ids`, `turn` its
    turn, `old_logprobs` its log-probability when drawn, and `counts` how often it counts in the ratio of its reply
    (once where that is empty). Where `sampled` is not empty, it is the log-probability by the program that drew the
    token, and `old_logprobs` that by the one that learns, under the same weights. `states` holds, per turn, the place
    of the last prompt token, and `after` that of the state after the last turn where the episode was cut there.
    `rewards` has one entry per turn. `pictures` are those that placeholders outside of replies stand for.
    """

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    turn: tuple[int, ...]
    old_logprobs: tuple[float, ...]
    states: tuple[int, ...]
    rewards: tuple[float, ...]
    pictures: tuple[Picture, ...] = ()
    after: int | None = None
    counts: tuple[float, ...] = ()
    sampled: tuple[float, ...] = ()

    @classmethod
    def of(cls, episode: Episode, first: int | None = None) -> "Trajectory":
        """The whole episode, or its `first` turns and the state after them."""
        kept = episode.turns[:first]
        ids, positions, states = reply_places(kept, [step.appended_ids for step in kept])
        turn = [k for k, step in enumerate(kept) for _ in step.completion.token_ids]
        logprobs = [logprob for step in kept for logprob in step.completion.logprobs]
        rewards = tuple(step.verdict.reward for step in kept)
        replies = (tuple(positions), tuple(turn), tuple(logprobs))
        whole = cls(tuple(ids), *replies, tuple(states), rewards, episode.pictures)
        if len(kept) == len(episode.turns):
            return whole
        ids += episode.turns[len(kept)].appended_ids
        shown = tuple(picture for message in episode.begun(len(kept)).messages for picture in message.pictures)
        return replace(whole, ids=tuple(ids), after=len(ids) - 1, pictures=shown)

    @property
    def turn_lengths(self) -> list[int]:
        """Reply tokens of each turn."""
        return [self.turn.count(k) for k in range(len(self.states))]


@dataclass(frozen=True)
class Thrift:
    """How passes save memory."""

    bf16: bool = False  # matrix products in bfloat16 (autocast); weights and their gradients stay as they are
    recompute: bool = False  # layers keep what they are given alone (gradient checkpointing)

    @contextmanager
    def around(self, model: PreTrainedModel) -> Iterator[None]:
        """Inside, passes of `model` are like this.

        transformers' layers are computed again while they are `training`. Here they alone are, not what is in them, so
        that dropout stays as it is. On a CPU what is kept for gradients is apart from what is not: see `heap`. Where
        layers are computed again, `given_back` does that for whole phases.
        """
        kept_apart = not self.recompute and torch.is_grad_enabled() and model.device.type == "cpu"
        layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)] if self.recompute else []
        modes = [layer.training for layer in layers]
        for layer in layers:
            layer.training = layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = again  # type: ignore[assignment]
        try:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16), mapped(kept_apart):
                yield
        finally:
            for layer, mode in zip(layers, modes, strict=True):
                layer.training, layer.gradient_checkpointing = mode, False


AS_THEY_ARE = Thrift()


class PassResult(NamedTuple):
    """What one pass over a group of trajectories gives, trajectory after trajectory."""

    logprobs: torch.Tensor  # (T,) of the reply tokens
    entropy: torch.Tensor  # (T,)
    states: torch.Tensor  # (N, H) hidden states of the last prompt tokens
    turn: torch.Tensor  # (T,) turn of each token, 0..N-1 over the group
    before: torch.Tensor  # (T, H) hidden states from which the tokens were drawn


class ReplyStates(NamedTuple):
    """What one pass over a group of trajectories makes of their reply tokens, trajectory after trajectory."""

    before: torch.Tensor  # (T, H) hidden states from which the tokens were drawn
    tokens: torch.Tensor  # (T,)
    last: torch.Tensor  # (B, T, H) hidden states of all tokens


def reply_states(
    model: PreTrainedModel,
    group: Sequence[Trajectory],
    eye: Eye | None = None,
    known: Known | None = None,
    thrift: Thrift = AS_THEY_ARE,
) -> ReplyStates:
    """One pass over whole conversations, padded on the right; every turn of an episode is scored at once. Without any
    it is a pass over one token, which says nothing.

    With an `eye` the model sees; `known` are features of pictures that need not be computed again (see `features`).
    """
    device = model.device
    ids = pad([t.ids for t in group] or [[0]], 0, torch.long).to(device)  # (B, T)
    rows = _rows([len(t.positions) for t in group], device)
    columns = torch.tensor([p for t in group for p in t.positions], dtype=torch.long, device=device)
    with thrift.around(model):
        if eye is None:
            last = last_states(model, ids)
        else:
            given = pad([[1] * len(t.ids) for t in group] or [[0]], 0, torch.long).to(device) > 0
            given[rows, columns] = False
            view = view_of(model, eye, ids, given, [t.pictures for t in group], known)
            last = read(model, ids, view, use_cache=False)
    return ReplyStates(last[rows, columns - 1], ids[rows, columns], last)


def forward(
    model: PreTrainedModel,
    group: Sequence[Trajectory],
    eye: Eye | None = None,
    known: Known | None = None,
    temperature: float = 1.0,
    entropy_learns: bool = False,
    thrift: Thrift = AS_THEY_ARE,
) -> PassResult:
    """One pass over whole conversations, as `reply_states` makes it.

    Log-probs and entropy are those of the policy that samples at this temperature; gradients flow through the latter
    where it learns.
    """
    said = reply_states(model, group, eye, known, thrift)
    rows = _rows([len(t.states) for t in group], said.last.device)
    columns = torch.tensor([p for t in group for p in t.states], dtype=torch.long, device=said.last.device)
    hidden = said.last[rows, columns]  # (N, H)
    with thrift.around(model):
        logprobs, uncertainty = token_logprobs(model, said.before, said.tokens, temperature, entropy_learns)
    return PassResult(logprobs, uncertainty, hidden, group_turns(group, said.last.device), said.before)


def token_logprobs(
    model: PreTrainedModel,
    before: torch.Tensor,
    tokens: torch.Tensor,
    temperature: float = 1.0,
    entropy_learns: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of `tokens` (T,) drawn from the hidden states `before` (T, H): log-probs and entropies in nats, (T,) each. Logits
    are there for a chunk of tokens at once. Gradients flow through the entropies where they learn."""

    def of(states: torch.Tensor, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        logprobs = (logits_of(model, states) / temperature).log_softmax(-1)
        with torch.set_grad_enabled(entropy_learns and torch.is_grad_enabled()):
            uncertainty = entropy(logprobs)
        return logprobs.gather(1, tokens[part, None])[:, 0], uncertainty

    logprobs, uncertainty = by_chunks(model, before, of)
    return logprobs, uncertainty


def groups_of(
    trajectories: Sequence[Trajectory], max_tokens: int, max_pictures: int, least: int = 0
) -> list[list[int]]:
    """Which trajectories share a pass; one alone may have more tokens or pictures than that. Of at least so many passes
    the last may be empty."""
    counts = [len(t.pictures) for t in trajectories]
    groups = pack([len(t.ids) for t in trajectories], max_tokens, counts, max_pictures)
    return groups + [[] for _ in range(least - len(groups))]


def reply_places(turns: Sequence[Turn], pieces: Sequence[Sequence[int]]) -> tuple[list[int], list[int], list[int]]:
    """Ids of a conversation whose turns follow these pieces (prompt, feedback), places of reply tokens, and states."""
    ids: list[int] = []
    positions: list[int] = []
    states: list[int] = []
    for turn, piece in zip(turns, pieces, strict=True):
        ids += piece
        states.append(len(ids) - 1)
        positions += range(len(ids), len(ids) + len(turn.completion.token_ids))
        ids += turn.completion.token_ids
    return ids, positions, states


def _rows(counts: Sequence[int], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))).to(device)


def group_turns(group: Sequence[Trajectory], device: torch.device) -> torch.Tensor:
    """The turn of each reply token, numbered over the whole group: (T,)."""
    flat: list[int] = []
    first = 0
    for trajectory in group:
        flat += [first + k for k in trajectory.turn]
        first += len(trajectory.states)
    return torch.tensor(flat, dtype=torch.long, device=device)


@torch.no_grad()
def evaluate_tokens(
    model: PreTrainedModel,
    trajectories: Sequence[Trajectory],
    max_tokens: int,
    eye: Eye | None = None,
    max_pictures: int = 64,
    known: Known | None = None,
    temperature: float = 1.0,
    thrift: Thrift = AS_THEY_ARE,
    least: int = 0,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Per trajectory: log-probs of its reply tokens (T_i,) and hidden states of its turns (N_i, H), no gradient.

    Without dropout, in the middle of training too. At least so many passes are made.
    """
    was_training = model.training
    model.eval()
    logprobs: list[torch.Tensor] = [torch.empty(0)] * len(trajectories)
    states: list[torch.Tensor] = [torch.empty(0)] * len(trajectories)
    for group in groups_of(trajectories, max_tokens, max_pictures, least):
        result = forward(model, [trajectories[i] for i in group], eye, known, temperature, thrift=thrift)
        token_parts = result.logprobs.split([len(trajectories[i].positions) for i in group])
        state_parts = result.states.split([len(trajectories[i].states) for i in group])
        for i, tokens, hidden in zip(group, token_parts, state_parts, strict=True):
            logprobs[i], states[i] = tokens, hidden
    model.train(was_training)
    return logprobs, states
