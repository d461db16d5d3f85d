"""What pictures add to a plan. Towers look at pictures that are really there: how many patches and features these have,
and where their features go, is told by numbers that no weight takes part in, which `Shapes` keeps."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.vision import KEPT_BYTES, AnyView, Known, features, view_of
from ruleshift.records import Picture
from ruleshift.sight import Eye
from ruleshift.training.trajectories import Trajectory


class Apart(Picture):
    """A picture that is the same as no other, whatever is on it."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def apart(told: Trajectory) -> Trajectory:
    """The same conversation, with pictures that have not been seen in another one."""
    return replace(told, pictures=tuple(Apart(p.height, p.width, p.pixels) for p in told.pictures))


@torch.no_grad()
def looked_at(model: PreTrainedModel, eye: Eye, group: Sequence[Trajectory]) -> Known:
    """Features of all pictures of a group, computed before."""
    known = Known()
    features(model, eye, [picture for t in group for picture in t.pictures], known)
    return known


def seen_first(model: PreTrainedModel, eye: Eye, told: Sequence[Trajectory], rows: int, columns: int) -> AnyView:
    """What so many conversations are shown at once, each as many pictures as one message has, in the first of these
    columns; None where they do not fit."""
    most = max(told, key=lambda t: len(t.pictures))
    few = replace(most, pictures=most.pictures[: math.ceil(len(most.pictures) / len(most.states))])
    count = sum(eye.space(picture).count for picture in few.pictures)
    if count > columns:
        return None
    ids = torch.tensor(rows * [count * [eye.token_id] + (columns - count) * [-1]])
    return view_of(model, eye, ids, ids >= 0, [apart(few).pictures for _ in range(rows)])


def bytes_of_pixels(told: Sequence[Trajectory]) -> float:
    """What the pictures of a conversation take as they are, in the mean."""
    return sum(3 * p.height * p.width for t in told for p in t.pictures) / len(told)


@torch.no_grad()
def bytes_of_features(model: PreTrainedModel, eye: Eye, told: Sequence[Trajectory], conversations: int) -> int:
    """What is kept of the pictures of so many conversations like these. Pictures of one size take the same."""
    flat = [picture for t in told for picture in t.pictures]
    sizes = {(p.height, p.width): p for p in flat}
    looks = zip(sizes, features(model, eye, list(sizes.values())), strict=True)
    taken = {size: sum(part.nbytes for part in (seen.tokens, *seen.deep)) for size, seen in looks}
    each = sum(taken[p.height, p.width] for p in flat) / len(told)
    return min(KEPT_BYTES, round(each * conversations))
