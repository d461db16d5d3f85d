"""What a model is like beside its scores: how varied its replies are, how sure, how far it moved, what it took.

A profile is measured once a training, at its end, on few problems with many replies each. Its rows are like those of
points; what single problems say stays with them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import PreTrainedModel

from ruleshift.engines.local import LocalEngine
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.kl import MAX_PICTURES, MAX_TOKENS, StartReplies
from ruleshift.evaluation.once import at_decision
from ruleshift.evaluation.profile import pass_at_k
from ruleshift.evaluation.statistics import mean_interval, share_interval
from ruleshift.files import reason_of, write_atomically
from ruleshift.results import Row
from ruleshift.revision import revise
from ruleshift.tasks.protocol import Style, Task, how_many
from ruleshift.training.trajectories import Trajectory, forward, groups_of

TOLERANCE = 1e-5  # a parameter has moved where it differs by more
FAR = 0.01  # and moved far, where it differs by more than so much of what is usual in its matrix
COUNTS = ("steps", "right", "distinct_right", "distinct_wrong")  # of Answers, one a problem
KS = (1, 2, 4, 8, 16, 32, 64)  # of pass@k, as far as there are replies


@dataclass(frozen=True)
class Answers:
    """Of each problem of a split, among `samples` replies where something is decided (at `steps`): how many were right,
    and how many different texts were right and wrong."""

    split: str
    samples: int
    steps: tuple[int, ...]
    right: tuple[int, ...]
    distinct_right: tuple[int, ...]
    distinct_wrong: tuple[int, ...]


@dataclass(frozen=True)
class TrainingProfile:
    """`kl_to_start` and `kl_from_start` are KL(start || model) and KL(model || start) per reply, `entropy` is that of
    the next token in the model's own replies, all in nats and on `id-val`; `kl_to_origin` and `kl_from_origin` are
    KL with the model that a second phase of training began from, where that is not the start. `moved` is the share
    of parameters that differ from the start by more than `TOLERANCE`, `moved_far` of those that differ by more than
    a hundredth of what is usual in their matrix. `teacher_margin` is how much more a teacher spoke for right
    replies than for wrong ones, in nats a reply, mean over the training (`training.guide`); None without one.
    Tokens, FLOPs and seconds are those of the training: generated while it sampled, read in passes that learn; None
    where nobody knows.
    """

    task: str
    arm: str
    seed: int
    step: int
    answers: tuple[Answers, ...]
    kl_to_start: float
    kl_from_start: float
    entropy: float
    moved: float
    generated_tokens: float
    trained_tokens: float
    train_flops: float
    seconds: float | None = None
    kl_to_origin: float | None = None
    kl_from_origin: float | None = None
    moved_far: float | None = None
    teacher_margin: float | None = None


def answers_of(engine: LocalEngine, task: Task, split: str, n: int, samples: int, style: Style, seed: int) -> Answers:
    """Many replies to each of the problems 0..n-1 of (split, seed), where something is decided (`at_decision`), from
    random streams of their own."""
    asked = [at_decision(task, split, seed, index, style) for index in range(how_many(task, split, n))]
    many = [one for one in asked for _ in range(samples)]
    episodes = revise(many, engine, 1, pictured=0, samples=[*range(samples)] * len(asked))
    told = [(e.turns[0].completion.text, e.turns[0].verdict.right) for e in episodes]
    rows = [told[place : place + samples] for place in range(0, len(told), samples)]
    return Answers(
        split,
        samples,
        tuple(one.step for one in asked),
        tuple(sum(right for _, right in row) for row in rows),
        tuple(len({text for text, right in row if right}) for row in rows),
        tuple(len({text for text, right in row if not right}) for row in rows),
    )


@torch.no_grad()
def mean_entropy(engine: LocalEngine, trajectories: Sequence[Trajectory]) -> float:
    """The entropy of the next token in nats, over all reply tokens alike."""
    total, count = 0.0, 0
    for chosen in groups_of(trajectories, MAX_TOKENS, MAX_PICTURES):
        uncertain = forward(engine.model, [trajectories[i] for i in chosen], engine.chat.eye).entropy
        total, count = total + float(uncertain.sum()), count + len(uncertain)
    return total / count


@torch.no_grad()
def share_moved(start: PreTrainedModel, model: PreTrainedModel, tolerance: float = TOLERANCE) -> float:
    """The share of parameters that differ by more than `tolerance`. A number format that rounds coarser than that
    hides what moved less. Source of the quantity: arXiv 2505.11711; of the caution, arXiv 2511.08567."""
    return _share_beyond(start, model, lambda before: tolerance)


@torch.no_grad()
def share_moved_far(start: PreTrainedModel, model: PreTrainedModel, part: float = FAR) -> float:
    """The share of parameters that differ by more than `part` of the root mean square of their matrix in `start`. One
    step of Adam at a usual rate moves nearly all of a small model by more than an absolute `TOLERANCE`."""
    return _share_beyond(start, model, lambda before: part * float(before.square().mean().sqrt()))


def _share_beyond(start: PreTrainedModel, model: PreTrainedModel, tolerance: Callable[[torch.Tensor], float]) -> float:
    pairs = zip(start.parameters(), model.parameters(), strict=True)
    apart = [(int(((a - b).abs() > tolerance(a)).sum()), a.numel()) for a, b in pairs]
    return sum(moved for moved, _ in apart) / sum(count for _, count in apart)


def own_replies(
    engine: LocalEngine, others: Sequence[PreTrainedModel], task: Task, style: Style, n: int
) -> tuple[list[float], float]:
    """Of the model's own replies to `n` problems of `id-val`: KL(model || other) per reply for each of the others, and
    their entropy."""
    replies = StartReplies(engine, task, style, n, n)
    return [fmean(replies.kl_of(other)) for other in others], mean_entropy(engine, replies.lots[0])


def rows_of_profile(profile: TrainingProfile) -> list[Row]:
    """A row for each number: pass@k, distinct replies and unsolved problems of each split, then what is of no split
    (`id-val`, where it was measured there). The interval of these, and of a single problem, is the number itself."""
    where = (profile.task, profile.arm, profile.seed, profile.step)
    moved = (profile.kl_to_start, profile.train_flops)
    rows = []
    for one in profile.answers:
        values = {
            f"pass@{k}": [pass_at_k(one.samples, right, k) for right in one.right] for k in KS if k <= one.samples
        }
        values["distinct_right"] = [float(count) for count in one.distinct_right]
        values["distinct_wrong"] = [float(count) for count in one.distinct_wrong]
        for metric, of_problems in values.items():
            interval = share_interval if metric.startswith("pass") else mean_interval
            low, high = interval(of_problems) if len(of_problems) > 1 else 2 * of_problems
            value = (fmean(of_problems), len(of_problems), max(low, 0.0), high)
            rows.append(Row(*where, one.split, metric, 1, "sampled", *value, *moved))
    for field in fields(TrainingProfile)[5:]:
        number = getattr(profile, field.name)
        if number is not None:
            value = (float(number), 1, float(number), float(number))
            rows.append(Row(*where, "id-val", field.name, 1, "sampled", *value, *moved))
    return rows


def save_profile(path: Path, profile: TrainingProfile) -> None:
    write_atomically(path, json.dumps(asdict(profile), allow_nan=False) + "\n")


def load_profile(path: Path) -> TrainingProfile:
    """Read back a profile. Raises RuleshiftError for one that is missing or damaged."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        answers = []
        for one in content.pop("answers"):
            lists = {name: tuple(map(int, one[name])) for name in COUNTS}
            answers.append(Answers(str(one["split"]), int(one["samples"]), **lists))
        profile = TrainingProfile(answers=tuple(answers), **content)
        rows_of_profile(profile)
        return profile
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise RuleshiftError(
            f"{path} cannot be read ({reason_of(error)[:100]}): delete it and run the same command again, which "
            "measures it anew"
        ) from error
