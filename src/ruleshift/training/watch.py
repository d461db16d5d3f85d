"""A sample of the episodes of every update, kept to be looked at: whole groups about a few problems.

Nothing here takes part in the training: no random stream is drawn from, and passes are made without gradients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ruleshift.engines.streams import stream_key
from ruleshift.records import Episode
from ruleshift.rollouts import KeptEpisode, KeptTurn, Pieces, save, update_file
from ruleshift.training.learner import Batch, Learner
from ruleshift.training.trajectories import Trajectory, forward, groups_of

RANDOM = 4  # problems of an update that are drawn
MOST = 16  # episodes about one problem that are kept


def chosen(episodes: Sequence[Episode], update: int) -> dict[int, str]:
    """Which episodes of an update to keep, and why: those about the problems of the longest and of the shortest one,
    and about a few drawn ones. A pure function: the same episodes give the same choice."""
    lengths = [len(episode.token_ids) for episode in episodes]
    order = sorted(range(len(episodes)), key=lambda i: (lengths[i], i))
    by_draw = sorted({e.problem_id for e in episodes}, key=lambda problem: stream_key(update, problem))
    wanted = dict.fromkeys(by_draw[:RANDOM], "random")
    wanted |= {episodes[order[0]].problem_id: "shortest", episodes[order[-1]].problem_id: "longest"} if order else {}
    taken = dict.fromkeys(wanted, 0)
    found: dict[int, str] = {}
    for i, episode in enumerate(episodes):
        why = wanted.get(episode.problem_id)
        if why is not None and taken[episode.problem_id] < MOST:
            taken[episode.problem_id] += 1
            found[i] = why
    return found


@dataclass(frozen=True)
class Seen:
    """What is kept of an update, before it learns."""

    rows: dict[int, str]
    entropy: list[torch.Tensor]  # each (T_i,)


@dataclass(frozen=True)
class Watch:
    """Keeps a sample of every update in a run folder."""

    run: Path

    def before(self, learner: Learner, episodes: Sequence[Episode], batch: Batch, update: int) -> Seen:
        """Choose, and read how sure the policy was where it drew."""
        rows = chosen(episodes[: len(batch.trajectories)], update)
        _, entropy = _read(learner, [batch.trajectories[i] for i in rows])
        return Seen(rows, entropy)

    def after(self, learner: Learner, episodes: Sequence[Episode], batch: Batch, update: int, seen: Seen) -> None:
        """Read the same tokens again once the update has learned, and write all of it down."""
        now, _ = _read(learner, [batch.trajectories[i] for i in seen.rows])
        pieces = Pieces(lambda ids: str(learner.chat.tokenizer.decode(list(ids))))
        counted: dict[str, int] = {}
        kept = []
        for (i, why), logprobs, entropy in zip(seen.rows.items(), now, seen.entropy, strict=True):
            problem = episodes[i].problem_id
            known = {"after": logprobs, "entropy": entropy, "start": batch.reference[i]}
            turns = _turns(episodes[i], batch, i, {name: values.tolist() for name, values in known.items()}, pieces)
            split = learner.config.split
            sample = counted.setdefault(problem, 0)
            counted[problem] += 1
            learned_from = episodes[i].begun(len(turns))
            kept.append(KeptEpisode.of(learned_from, split, "training", turns, sample=sample, why=why))
        save(update_file(self.run, update), kept)


def _turns(episode: Episode, batch: Batch, i: int, known: dict[str, list[float]], pieces: Pieces) -> list[KeptTurn]:
    """The turns of an episode that were learned from, with what was read of their tokens."""
    turns, first = [], 0
    for k, (value, advantage) in enumerate(zip(batch.values[i].tolist(), batch.advantages[i].tolist(), strict=True)):
        turn = episode.turns[k]
        ids = turn.completion.token_ids
        part = {name: tuple(values[first : first + len(ids)]) for name, values in known.items()}
        first += len(ids)
        turns.append(KeptTurn.of(turn, pieces=pieces.of(ids), value=value, advantage=advantage, **part))
    return turns


@torch.no_grad()
def _read(learner: Learner, trajectories: Sequence[Trajectory]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Log-probs of the reply tokens and entropies there, (T_i,) each, by the model as it is."""
    config = learner.config
    logprobs: list[torch.Tensor] = [torch.empty(0)] * len(trajectories)
    entropy: list[torch.Tensor] = [torch.empty(0)] * len(trajectories)
    for group in groups_of(trajectories, config.max_tokens, config.max_pictures):
        how = (learner.chat.eye, learner.known, config.temperature, False, learner.thrift)
        result = forward(learner.model, [trajectories[i] for i in group], *how)
        sizes = [len(trajectories[i].positions) for i in group]
        parts = zip(group, result.logprobs.split(sizes), result.entropy.split(sizes), strict=True)
        for i, tokens, uncertain in parts:
            logprobs[i], entropy[i] = tokens, uncertain
    return logprobs, entropy
