"""What a study keeps of the episodes of its evaluations, how large that becomes, and how it is found again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ruleshift.chat import Chat
from ruleshift.engines.local import LocalEngine
from ruleshift.records import Episode
from ruleshift.rollouts import KeptEpisode, KeptTurn, Pieces, bytes_for
from ruleshift.settings import RLConfig
from ruleshift.studies.study import Plan
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task, how_many
from ruleshift.training.trajectories import Trajectory, evaluate_tokens

Keep = Literal["all", "some", "none"]
SOME = 20  # problems of each split
TRAINING = 8  # episodes of an update, about
MAX_TOKENS = 3_000  # of a pass
WALK = 12  # replies


def kept_problems(keep: Keep, problems: int) -> int:
    """Of how many problems of a split the episodes of an evaluation are kept."""
    return {"all": problems, "some": min(SOME, problems), "none": 0}[keep]


@dataclass(frozen=True)
class Keeper:
    """Makes of the episodes of an evaluation what is kept: with the text of each token, and its log-probability under
    the start model."""

    start: LocalEngine
    chat: Chat
    keep: Keep

    def of(self, episodes: Sequence[Episode], split: str, decoding: str) -> list[KeptEpisode]:
        chosen = episodes[: kept_problems(self.keep, len(episodes))]
        trajectories = [Trajectory.of(episode) for episode in chosen]
        seen = self.chat.eye is None or all(len(episode.pictures) for episode in chosen)
        before = evaluate_tokens(self.start.model, trajectories, MAX_TOKENS, self.chat.eye)[0] if seen else []
        pieces = Pieces(lambda ids: str(self.chat.tokenizer.decode(list(ids))))
        kept = []
        for i, episode in enumerate(chosen):
            values, first, turns = before[i].tolist() if before else [], 0, []
            for turn in episode.turns:
                ids = turn.completion.token_ids
                start = tuple(values[first : first + len(ids)])
                turns.append(KeptTurn.of(turn, pieces=pieces.of(ids), start=start))
                first += len(ids)
            kept.append(KeptEpisode.of(episode, split, decoding, turns, why="evaluation"))
        return kept


@dataclass(frozen=True)
class Size:
    """How many episodes are kept, and how many bytes they take at most."""

    episodes: int
    size: int

    def __str__(self) -> str:
        return f"{self.episodes:,} episodes, {max(1, round(self.size / 1e6)):,} MB at most"


def replies_of(task: Task, turns: int) -> int:
    """Replies of an episode that uses up its turns. Walks, with a reply to each step and try, are taken to have 12."""
    return turns if task.metric == "success" else WALK


def size_of(plans: Sequence[Plan], keep: Keep) -> Size:
    """What a study is going to keep."""
    episodes = size = 0
    for plan in plans:
        m, task = plan.measurement, get_task(plan.task)
        per_point = sum(kept_problems(keep, how_many(task, split, m.n)) for split in m.splits) * len(m.decodings)
        replies = replies_of(task, max(m.turns))
        runs = plan.runs()
        points = sum(len(run.points) + (plan.further if run.training else 0) for run in runs)
        updates = sum(run.length for run in runs if isinstance(run.training, RLConfig)) * (keep != "none")
        episodes += points * per_point + TRAINING * updates
        size += bytes_for(points * per_point + TRAINING * updates, replies, m.max_new_tokens)
    return Size(episodes, size)
