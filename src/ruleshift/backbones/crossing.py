"""Models that look across: the decoder has layers that attend from tokens to pictures (Llama-3.2-Vision, "mllama").

A token attends to the pictures of the last group of placeholders before it, and to itself in a group. One that has no
picture before it attends to a state of zeros, whose keys and values are zeros too, so that nothing is added to it. That
is what the model was trained with; transformers lets such tokens attend to every picture of the batch's widest row,
later ones of the same conversation included, so that their numbers would change with the batch and from turn to turn.
Source: Meta's reference code (llama-models, `full_text_row_masked_out_mask`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

NOBODY, NOTHING = -1, -2  # owners of the state of zeros, and of states that are padding


@dataclass(frozen=True)
class CrossView:
    """What is seen at the columns of token ids (B, T), pictures of a row being numbered from 0.

    `states` (B, S, H) belong to the pictures `owner` (B, S). A column attends to the pictures from `span[0]` to
    `span[1]` (2, B, T), which are -1 before the first one.
    """

    states: torch.Tensor
    owner: torch.Tensor
    span: torch.Tensor

    def columns(self, start: int, stop: int) -> "CrossView":
        """The same for some of the columns. States come with the first ones."""
        part = replace(self, span=self.span[:, :, start:stop])
        return part if start == 0 else replace(part, states=self.states[:, :0], owner=self.owner[:, :0])


def cross_view(places: torch.Tensor, states: Sequence[Sequence[torch.Tensor]]) -> CrossView:
    """places (B, T): where placeholders stand. states: of each picture of each row (S_i, H)."""
    rows = [torch.cat(list(row)) if row else None for row in states]
    some = next(row for row in rows if row is not None)
    width = max(len(row) for row in rows if row is not None)
    padded = some.new_zeros(len(rows), width, some.shape[1])
    owner = torch.full((len(rows), width), NOTHING, device=places.device)
    for i, row in enumerate(rows):
        if row is not None:
            padded[i, : len(row)] = row
            counts = torch.tensor([len(one) for one in states[i]], device=places.device)
            owner[i, : len(row)] = torch.arange(len(counts), device=places.device).repeat_interleave(counts)
    last = places.cumsum(1) - 1
    starts = places & ~places.roll(1, 1)
    starts[:, 0] = places[:, 0]
    first = torch.where(starts, last, -1).cummax(1).values
    return CrossView(padded, owner, torch.stack([first, last]))


def states_of(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of each picture the states that tokens attend to, (tiles x patches, H); tiles that are padding have none."""
    inner: Any = model.model
    seen = inner.vision_model(**inputs).last_hidden_state  # (P, 1, tiles, patches, H of the tower)
    states = inner.multi_modal_projector(seen)[:, 0]
    tiles = inputs["aspect_ratio_mask"][:, 0].sum(-1).tolist()
    return [one[:count].flatten(0, 1) for one, count in zip(states, tiles, strict=True)]


def with_nobody(view: CrossView) -> CrossView:
    """The state of zeros before all others."""
    rows = len(view.owner)
    zeros, nobody = view.states.new_zeros(rows, 1, view.states.shape[2]), view.owner.new_full((rows, 1), NOBODY)
    return replace(view, states=torch.cat([zeros, view.states], dim=1), owner=torch.cat([nobody, view.owner], dim=1))


def arguments(owner: torch.Tensor, span: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """What the decoder is told of who attends to what: owner (B, S), span (2, B, T)."""
    first, last = span[..., None]
    seen = (owner[:, None] >= first) & (owner[:, None] <= last)  # (B, T, S)
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)
    return {
        "cross_attention_mask": mask[:, None],
        "full_text_row_masked_out_mask": (last >= 0)[:, None].to(dtype),  # (B, 1, T, 1)
    }
