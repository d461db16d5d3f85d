"""Key-value caches that are written in place and grow by half, or by less where they are large.

transformers' DynamicCache concatenates, that is, copies the whole cache for every token. Here new columns are written
into a buffer and attention reads a view. Columns may be written for the leading rows only: the others have zeros there,
or what was left by rows they changed places with.
"""

from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from typing import Any, Protocol, Self

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicLayer

ROOM = 64  # columns to spare in a new buffer, at least
MOST_ROOM = 256  # and at the most: old and new buffer are there together


class Rows(Protocol):
    """What a window asks of a cache with a conversation a row."""

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        """Rows `some` and `others` change places."""
        ...

    def join(self, other: Self) -> None:
        """Add the rows of another after the own ones; the narrower of the two gets zeros."""
        ...

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Keep `rows` (B') and, of each, `columns` (B', L') in this order."""
        ...


class Columns(Rows):
    """A growing tensor: the first `used` columns of `data` (N, B, heads, capacity, D), for N layers at once."""

    def __init__(self, empty: torch.Tensor) -> None:
        """empty: (N, B, heads, 0, D)."""
        self.data, self.used = empty, 0

    def extend(self, count: int) -> slice:
        """Room for new columns, and where they are."""
        end = self.used + count
        if end > self.data.shape[3]:
            capacity = end + min(max(ROOM, self.used // 2 - count), MOST_ROOM)
            grown = self.data.new_zeros((*self.data.shape[:3], capacity, self.data.shape[4]))
            grown[:, :, :, : self.used] = self.view
            self.data = grown
        new, self.used = slice(self.used, end), end
        return new

    @property
    def view(self) -> torch.Tensor:
        return self.data[:, :, :, : self.used]

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        self.view[:, torch.cat([some, others])] = self.view[:, torch.cat([others, some])]

    def join(self, other: "Columns") -> None:
        layers, rows, heads, _, width = self.data.shape
        used = max(self.used, other.used)
        both = self.data.new_zeros((layers, rows + other.data.shape[1], heads, used, width))
        both[:, :rows, :, : self.used] = self.view
        both[:, rows:, :, : other.used] = other.view
        self.data, self.used = both, used

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        layers, _, heads, capacity, width = self.data.shape
        head = rows[:, None] * heads + torch.arange(heads, device=rows.device)  # (B', heads)
        index = head[:, :, None] * capacity + columns[:, None]  # (B', heads, L')
        chosen = self.data.flatten(1, 3).index_select(1, index.flatten())
        self.used = columns.shape[1]
        self.data = chosen.view(layers, len(rows), heads, self.used, width)


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer; `keys` and `values` are what `update` gave."""

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.parts = tuple(Columns(states[None, :, :, :0]) for states in (key_states, value_states))
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns of the leading rows (B', heads, T, D); returns views of all their columns."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows = len(key_states)
        for part, states in zip(self.parts, (key_states, value_states), strict=True):
            new = part.extend(states.shape[2])
            part.data[0, :rows, :, new] = states
        self.keys, self.values = (part.view[0, :rows] for part in self.parts)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self.parts[0].used if self.is_initialized else 0


class GrowingCache(Cache, Rows):
    """One GrowingLayer per decoder layer, for any transformers decoder."""

    layers: list[GrowingLayer]  # type: ignore[assignment]

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        for layer in self.layers:
            for part in layer.parts:
                part.swap(some, others)

    def join(self, other: "GrowingCache") -> None:
        for layer, lower in zip(self.layers, other.layers, strict=True):
            for part, below in zip(layer.parts, lower.parts, strict=True):
                part.join(below)

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        for layer in self.layers:
            for part in layer.parts:
                part.select(rows, columns)


def as_argument(cache: Cache, reader: nn.Module) -> dict[str, Cache]:
    """The cache as the keyword argument that a module of transformers takes."""
    return {_name_for(type(reader).forward): cache}


@lru_cache
def _name_for(forward: Callable[..., Any]) -> str:
    """`cache` from transformers 5.24 on, `past_key_values` before."""
    return "cache" if "cache" in signature(forward).parameters else "past_key_values"
