"""How vision-language models of several families see: features of pictures, and their places in the decoder's input.

transformers puts features where placeholders stand among the ids, wherever those come from, and pads pictures of
different sizes to one. Here features are computed for pictures of one size at a time, so that nothing is padded, and
put into the places that are given: a placeholder that a model happens to sample is a token like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.crossing import CrossView, arguments, cross_view, states_of, with_nobody
from ruleshift.errors import RuleshiftError
from ruleshift.records import Picture
from ruleshift.sight import Eye, Space, by_size

PICTURES_AT_ONCE = 64  # in one pass of a tower: bounds memory where no gradient is kept
KEPT_BYTES = 2**32  # of features that are remembered


@dataclass(frozen=True)
class Parts:
    """Beginnings of the names of parameters; what is neither tower nor projector belongs to the decoder.

    `across` says that pictures are looked at from layers of the decoder, not put into its input (see `crossing`).
    """

    tower: tuple[str, ...]
    projector: tuple[str, ...]
    across: bool = False


# By `model_type` of the configuration.
FAMILIES = {
    "idefics3": Parts(("model.vision_model.",), ("model.connector.",)),
    "smolvlm": Parts(("model.vision_model.",), ("model.connector.",)),
    "llava": Parts(("model.vision_tower.",), ("model.multi_modal_projector.",)),
    "mllama": Parts(("model.vision_model.",), ("model.multi_modal_projector.",), across=True),
    "qwen2_5_vl": Parts(("model.visual.",), ("model.visual.merger.",)),
    "qwen3_vl": Parts(("model.visual.",), ("model.visual.merger.", "model.visual.deepstack_merger_list.")),
}


@dataclass(frozen=True)
class Features:
    """A picture as a decoder reads it: P rows of `tokens` (P, H), and what is added to the first layers, `deep`."""

    tokens: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()


class Known:
    """Features of pictures that were seen before, as long as the weights that made them stay. They may take `room`
    bytes; a picture that finds none left is looked at again each time."""

    def __init__(self, room: int = KEPT_BYTES) -> None:
        self.room = room
        self.clear()

    def clear(self) -> None:
        self.left, self.features = self.room, dict[Picture, Features]()

    def add(self, picture: Picture, seen: Features) -> None:
        size = sum(one.nbytes for one in (seen.tokens, *seen.deep))
        if size <= self.left:
            self.left -= size
            self.features[picture] = seen


@dataclass(frozen=True)
class View:
    """What is seen at the columns of token ids (B, T).

    `index` (B, T) is the row of `tokens` (P, H) that stands there, or -1 at text; `deep` is as in Features. `bend`
    (3, B, T) is what positions differ by from the number of tokens before (None where they do not), and `after` (B,)
    the same for the next token.
    """

    index: torch.Tensor
    tokens: torch.Tensor
    deep: tuple[torch.Tensor, ...]
    bend: torch.Tensor | None
    after: torch.Tensor | None

    def columns(self, start: int, stop: int) -> "View":
        """The same for some of the columns."""
        bend = None if self.bend is None else self.bend[:, :, start:stop]
        return replace(self, index=self.index[:, start:stop], bend=bend)

    def put(self, embedded: torch.Tensor) -> torch.Tensor:
        """Embeddings (B, T, H) of the ids, with features in their places."""
        seen = self.index >= 0
        return embedded.masked_scatter(seen[:, :, None], self.tokens[self.index[seen]].to(embedded.dtype))


AnyView = View | CrossView | None  # None: no pictures


def sees(model: PreTrainedModel) -> bool:
    """Whether it is a vision-language model of a known family."""
    return model.config.model_type in FAMILIES


def looks_across(model: PreTrainedModel) -> bool:
    return FAMILIES[model.config.model_type].across


def patches(model: PreTrainedModel, eye: Eye, pictures: Sequence[Picture]) -> int:
    """How many tokens the tower processes when it looks at these."""
    tower = model.config.vision_config
    size = 3 * tower.patch_size**2 * tower.to_dict().get("temporal_patch_size", 1)
    return sum(eye.space(picture).values // size for picture in pictures)


def features(
    model: PreTrainedModel, eye: Eye, pictures: Sequence[Picture], known: Known | None = None
) -> list[Features]:
    """What the decoder of `model` reads for each picture. A picture that is there twice is looked at once, and one that
    is `known` not at all; what is found is added there."""
    old = {} if known is None else known.features
    found = {picture: old[picture] for picture in pictures if picture in old}
    distinct = [picture for picture in dict.fromkeys(pictures) if picture not in found]
    for places in by_size(distinct):
        for first in range(0, len(places), PICTURES_AT_ONCE):
            some = [distinct[place] for place in places[first : first + PICTURES_AT_ONCE]]
            for picture, seen in zip(some, _features(model, eye.inputs(some)), strict=True):
                if not looks_across(model) and len(seen.tokens) != (count := eye.space(picture).count):
                    raise RuleshiftError(
                        f"{eye.name} makes {len(seen.tokens)} features of a picture of {picture.width} x "
                        f"{picture.height}, and its processor {count} placeholders: set the sizes of its processor as "
                        "in the model's config"
                    )
                found[picture] = seen
                if known is not None:
                    known.add(picture, seen)
    return [found[picture] for picture in pictures]


def _features(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[Features]:
    """Of pictures of one size."""
    placed = {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    if looks_across(model):
        return [Features(states) for states in states_of(model, placed)]
    output = model.get_image_features(**placed, return_dict=True)  # type: ignore[operator]
    tokens = output.pooler_output
    levels = output.deepstack_features if "deepstack_features" in output else []
    return [Features(rows, tuple(level[i] for level in levels)) for i, rows in enumerate(tokens)]


def view_of(
    model: PreTrainedModel,
    eye: Eye | None,
    ids: torch.Tensor,
    given: torch.Tensor,
    pictures: Sequence[Sequence[Picture]],
    known: Known | None = None,
) -> AnyView:
    """The pictures of each row in their places among the ids (B, T); None if there are none.

    `given` (B, T) marks tokens of prompts and feedback: placeholders elsewhere (sampled, padding) stand for nothing.
    `known` are features of pictures that were seen before, if the tower is still what it was. Raises RuleshiftError
    when places and features do not match.
    """
    flat = [picture for row in pictures for picture in row]
    if not flat:
        return None
    if eye is None:
        raise RuleshiftError("a model that reads text only is shown a picture: choose a vision-language model")
    spaces = [[eye.space(picture) for picture in row] for row in pictures]
    places = (ids == eye.token_id) & given
    counts = [sum(space.count for space in row) for row in spaces]
    if places.sum(1).tolist() != counts:
        raise RuleshiftError(
            f"conversations with {places.sum(1).tolist()} placeholders and pictures that take {counts}: token ids and "
            "pictures do not belong together"
        )
    seen = features(model, eye, flat, known)
    if looks_across(model):
        rest = iter(seen)
        return cross_view(places, [[next(rest).tokens for _ in row] for row in pictures])
    index = torch.where(places, places.flatten().cumsum(0).view_as(places) - 1, -1)
    deep = tuple(torch.cat(level) for level in zip(*(one.deep for one in seen), strict=True))
    bend, after = _bends(places, spaces) if any(space.grid for row in spaces for space in row) else (None, None)
    return View(index, torch.cat([one.tokens for one in seen]), deep, bend, after)


def _bends(places: torch.Tensor, spaces: Sequence[Sequence[Space]]) -> tuple[torch.Tensor, torch.Tensor]:
    """`bend` and `after` of a View, for positions in three dimensions (time, row, column).

    A picture of r x c placeholders that starts at position p has them at (p, p + row, p + column); what follows goes on
    at p + max(r, c). Source: Wang et al., "Qwen2-VL" (arXiv 2409.12191), section 2.1.
    """
    bend = torch.zeros(3, *places.shape, dtype=torch.long)
    after = torch.zeros(len(places), dtype=torch.long)
    for row, of_row in enumerate(spaces):
        columns = places[row].nonzero()[:, 0].tolist()
        for space in of_row:
            assert space.grid is not None
            start, columns = columns[0], columns[space.count :]
            inside = torch.arange(space.count)
            around = after[row] - inside
            down, right = inside // space.grid[1], inside % space.grid[1]
            bend[:, row, start : start + space.count] = torch.stack([around, around + down, around + right])
            after[row] += max(space.grid) - space.count
            bend[:, row, start + space.count :] = after[row]
    return bend.to(places.device), after.to(places.device)


def read(
    model: PreTrainedModel,
    ids: torch.Tensor,
    view: AnyView,
    position: torch.Tensor | None = None,
    mask: torch.Tensor | dict[str, torch.Tensor] | None = None,
    **more: Any,
) -> torch.Tensor:
    """Last hidden states (B, T, H) of a vision-language model. Without `position` the ids are whole conversations,
    padded on the right."""
    if position is None:
        position = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    embedded = model.get_input_embeddings()(ids)
    if isinstance(view, CrossView):
        view = with_nobody(view)
        more |= {"cross_attention_states": view.states, **arguments(view.owner, view.span, embedded.dtype)}
    elif view is not None:
        embedded = view.put(embedded)
        if view.bend is not None:
            position = position + view.bend
        if view.deep:
            seen = view.index >= 0
            rows = view.index[seen]
            more |= {"visual_pos_masks": seen, "deepstack_visual_embeds": [level[rows] for level in view.deep]}
    output = model.get_decoder()(inputs_embeds=embedded, position_ids=position, attention_mask=mask, **more)
    return output.last_hidden_state
