"""The engine's pass through models that look across (`backbones/crossing.py`): pictures have a cache of their own.

Their keys and values are computed once, when a picture is read, and stay as long as tokens may attend to it: until the
next group of pictures, when the conversation is next continued.
"""

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.crossing import NOTHING, CrossView, arguments, with_nobody
from ruleshift.engines.attention import fast_decoding
from ruleshift.engines.cache import GrowingCache, GrowingLayer, as_argument


class CrossCache(GrowingCache):
    """A GrowingCache in which some layers hold pictures. `owner` (B, S) says which one a state of theirs belongs to,
    `span` (2, B) to which ones new tokens attend, and `before` (B,) how many there were before the last piece."""

    def __init__(self, layers: int, across: list[int], rows: int, device: torch.device) -> None:
        super().__init__(layers)
        self.across = [self.layers[index] for index in across]
        self.along = [layer for layer in self.layers if layer not in self.across]
        self.owner = torch.zeros(rows, 0, dtype=torch.long, device=device)
        self.span = torch.full((2, rows), -1, device=device)
        self.before = torch.zeros(rows, dtype=torch.long, device=device)

    def extend(self, owner: torch.Tensor) -> None:
        """States with these owners, numbered from 0 in each row, are about to be added."""
        self.before = self.span[1] + 1
        self.owner = torch.cat([self.owner, torch.where(owner >= 0, owner + self.before[:, None], owner)], dim=1)

    def lead(self, rows: int) -> None:
        """Have the layers that hold pictures answer for the leading rows."""
        for layer in self.across:
            if layer.is_initialized:
                layer.keys, layer.values = (part.view[0, :rows] for part in layer.parts)

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        super().swap(some, others)
        before, after = torch.cat([some, others]), torch.cat([others, some])
        self.owner[before], self.before[before] = self.owner[after], self.before[after]
        self.span[:, before] = self.span[:, after]

    def join(self, other: "CrossCache") -> None:  # type: ignore[override]
        super().join(other)
        width = max(self.owner.shape[1], other.owner.shape[1])
        self.owner = torch.cat(
            [
                torch.nn.functional.pad(part.owner, (0, width - part.owner.shape[1]), value=NOTHING)
                for part in (self, other)
            ]
        )
        self.before = torch.cat([self.before, other.before])
        self.span = torch.cat([self.span, other.span], dim=1)

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Pictures to which nothing attends any more are left out."""
        select_in(self.along, rows, columns)
        self.span, self.before, owner = self.span[:, rows], self.before[rows], self.owner[rows]
        kept = (owner == -1) | (owner >= self.span[0][:, None]) & (owner >= 0)
        states = kept.long().argsort(dim=1, descending=True, stable=True)[:, : int(kept.sum(1).max())]
        select_in(self.across, rows, states)
        self.owner = owner.masked_fill(~kept, NOTHING).gather(1, states)


def select_in(layers: list[GrowingLayer], rows: torch.Tensor, columns: torch.Tensor) -> None:
    for layer in layers:
        for part in layer.parts:
            part.select(rows, columns)


class CrossForward:
    """A model that looks across, as an `engines.forward.Forward`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def new_cache(self, rows: int) -> CrossCache:
        config = self.model.config.get_text_config()
        return CrossCache(config.num_hidden_layers, config.cross_attention_layers, rows, self.model.device)

    def __call__(
        self,
        ids: torch.Tensor,
        position: torch.Tensor,
        mask: torch.Tensor,
        cache: CrossCache,
        view: CrossView | None = None,
    ) -> torch.Tensor:
        rows = len(ids)
        embedded = self.model.get_input_embeddings()(ids)
        if not cache.owner.shape[1]:
            nothing = CrossView(embedded[:, :0], cache.owner, cache.span[:, :, None].expand(2, *ids.shape))
            view = with_nobody(view or nothing)
        span = cache.span[:, :rows, None].expand(2, *ids.shape)
        states = None
        if view is not None:
            if view.states.shape[1]:
                cache.extend(view.owner)
                states = view.states
            span = torch.where(view.span >= 0, view.span + cache.before[None, :rows, None], span)
            cache.span[:, :rows] = span[:, :, -1]
        cache.lead(rows)
        with fast_decoding(self.model):
            decoder = self.model.get_decoder()
            output = decoder(
                inputs_embeds=embedded,
                position_ids=position,
                attention_mask=mask,
                cross_attention_states=states,
                use_cache=True,
                **as_argument(cache, decoder),
                **arguments(cache.owner[:rows], span, embedded.dtype),
            )
        return self.model.get_output_embeddings()(output.last_hidden_state[:, -1]).float()
