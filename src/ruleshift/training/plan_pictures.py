"""What pictures add to a plan: passes of tower and projector, and features in the places of their placeholders, on
tensors without numbers. Which places these are does not matter to memory, and cannot be told from such tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.vision import KEPT_BYTES, PICTURES_AT_ONCE, View, patches
from ruleshift.errors import RuleshiftError
from ruleshift.records import Picture
from ruleshift.sight import Eye
from ruleshift.training.trajectories import Trajectory

Shown = Sequence[Sequence[Picture]]  # of each row
PLANNED = ("idefics3", "smolvlm")  # families whose towers are made of an embedding, an encoder and a norm


def check_planned(model: PreTrainedModel) -> None:
    """Raise RuleshiftError for a family whose passes cannot be made without numbers here."""
    kind = model.config.model_type
    if kind not in PLANNED:
        raise RuleshiftError(
            f"--plan knows pictures of the families {' and '.join(PLANNED)}, and this model is of {kind}: leave it out"
        )


@dataclass(frozen=True)
class PlannedView(View):
    """The features (P, H) of a group's pictures, put into the first places."""

    def put(self, embedded: torch.Tensor) -> torch.Tensor:
        places = torch.arange(len(self.tokens))
        seen = self.tokens.index_select(0, places).to(embedded.dtype)
        return embedded.flatten(0, 1).index_copy(0, places, seen).view_as(embedded)


def looked_at(model: PreTrainedModel, eye: Eye, pictures: Sequence[Picture]) -> torch.Tensor:
    """Features (P, H) of pictures, all of them distinct: of as many at once as `features` takes."""
    parts = []
    for first in range(0, len(pictures), PICTURES_AT_ONCE):
        some = pictures[first : first + PICTURES_AT_ONCE]
        parts.append(_look(model, sum(patches(model, eye, [picture]) for picture in some)))
    return torch.cat(parts)


def _look(model: Any, count: int) -> torch.Tensor:
    """Features of so many patches; pictures of more than the tower takes are cut into tiles."""
    tower, shape = model.model.vision_model, model.config.vision_config
    tile = min(count, (shape.image_size // shape.patch_size) ** 2)
    pixels = torch.empty(-(-count // tile), 3, shape.patch_size * tile, shape.patch_size, dtype=model.dtype)
    embeddings = tower.embeddings
    embedded = embeddings.patch_embedding(pixels.clone()).flatten(2).transpose(1, 2)  # tiles of padding are left out
    embedded = embedded + embeddings.position_embedding(torch.zeros(embedded.shape[:2], dtype=torch.long))
    states = tower.encoder(inputs_embeds=embedded, attention_mask=None).last_hidden_state
    return model.model.connector(tower.post_layernorm(states)).flatten(0, 1)


def planned_view(known: bool) -> Callable[..., View | None]:
    """Stands for `view_of` in a plan. known: whether features were computed before and are kept."""

    def view(
        model: PreTrainedModel, eye: Eye | None, ids: torch.Tensor, given: torch.Tensor, shown: Shown, *_: object
    ) -> View | None:
        flat = [picture for row in shown for picture in row]
        if eye is None or not flat:
            return None
        seen = torch.empty(_count(eye, flat), _width(model)) if known else looked_at(model, eye, flat)
        return PlannedView(ids, seen, (), None, None)

    return view


def bytes_of_pixels(told: Sequence[Trajectory]) -> float:
    """What the pictures of a conversation take as they are, in the mean."""
    return sum(3 * p.height * p.width for t in told for p in t.pictures) / len(told)


def bytes_of_features(model: PreTrainedModel, eye: Eye, told: Sequence[Trajectory], conversations: int) -> int:
    """What is kept of the pictures of so many conversations like these."""
    each = sum(_count(eye, t.pictures) for t in told) / len(told)
    return min(KEPT_BYTES, round(each * conversations) * _width(model) * model.dtype.itemsize)


def _count(eye: Eye, pictures: Sequence[Picture]) -> int:
    return sum(eye.space(picture).count for picture in pictures)


def _width(model: PreTrainedModel) -> int:
    return int(model.get_input_embeddings().weight.shape[1])  # type: ignore[index]
