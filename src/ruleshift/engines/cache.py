"""A key-value cache that is written in place and grows by half, for any transformers decoder.

transformers' DynamicCache concatenates, that is, copies the whole cache for every token. Here each layer owns a
buffer (B, heads, capacity, head_dim); new columns are written into it and attention reads a view. Columns may be
written for the leading rows only: the others have zeros there, or what was left by rows they changed places with.
"""

import torch
from transformers.cache_utils import Cache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer; `columns` of the buffer are in use. `keys` and `values` are what `update` gave."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self._key_buffer = key_states.new_empty((*key_states.shape[:2], 0, key_states.shape[-1]))
        self._value_buffer = value_states.new_empty((*value_states.shape[:2], 0, value_states.shape[-1]))
        self.keys, self.values = self._key_buffer, self._value_buffer
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write new columns of the leading rows (B', heads, T, head_dim); returns views of all their columns in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, first, end = len(key_states), self.columns, self.columns + key_states.shape[-2]
        if end > self._key_buffer.shape[2]:
            self._key_buffer = _grown(self._key_buffer, end, first)
            self._value_buffer = _grown(self._value_buffer, end, first)
        self._key_buffer[:rows, :, first:end] = key_states
        self._value_buffer[:rows, :, first:end] = value_states
        self.columns = end
        self.keys, self.values = self._key_buffer[:rows, :, :end], self._value_buffer[:rows, :, :end]
        return self.keys, self.values

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        """Rows `some` and `others` change places."""
        for buffer in (self._key_buffer, self._value_buffer):
            used = buffer[:, :, : self.columns]
            used[torch.cat([some, others])] = used[torch.cat([others, some])]

    def join(self, other: "GrowingLayer") -> None:
        """Add the rows of another after the own ones; the narrower of the two gets zeros."""
        self._key_buffer = _stacked(self._key_buffer[:, :, : self.columns], other._key_buffer[:, :, : other.columns])
        self._value_buffer = _stacked(
            self._value_buffer[:, :, : self.columns], other._value_buffer[:, :, : other.columns]
        )
        self.columns = max(self.columns, other.columns)
        self.keys, self.values = self._key_buffer, self._value_buffer

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        """Keep `rows` (B') and, of each, `columns` (B', L') in this order."""
        width = columns.shape[1]
        index = columns[:, None, :, None].expand(-1, self._key_buffer.shape[1], -1, self._key_buffer.shape[3])
        self._key_buffer = self._key_buffer[rows].gather(2, index)
        self._value_buffer = self._value_buffer[rows].gather(2, index[..., : self._value_buffer.shape[3]])
        self.columns = width
        self.keys, self.values = self._key_buffer, self._value_buffer


def _grown(buffer: torch.Tensor, needed: int, used: int) -> torch.Tensor:
    """A buffer of the same rows with room for `needed` columns and more."""
    capacity = max(needed + 32, buffer.shape[2] + buffer.shape[2] // 2)
    grown = buffer.new_zeros((*buffer.shape[:2], capacity, buffer.shape[3]))
    grown[:, :, :used] = buffer[:, :, :used]
    return grown


def _stacked(upper: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """The rows of both, (B + B', heads, max(L, L'), head_dim), with zeros in the columns that one lacks."""
    rows, width = len(upper) + len(lower), max(upper.shape[2], lower.shape[2])
    both = upper.new_zeros((rows, upper.shape[1], width, upper.shape[3]))
    both[: len(upper), :, : upper.shape[2]] = upper
    both[len(upper) :, :, : lower.shape[2]] = lower
    return both


class GrowingCache(Cache):
    """One GrowingLayer per decoder layer."""

    layers: list[GrowingLayer]  # type: ignore[assignment]

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[GrowingLayer() for _ in range(layers)])

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        for layer in self.layers:
            layer.swap(some, others)

    def join(self, other: "GrowingCache") -> None:
        for layer, lower in zip(self.layers, other.layers, strict=True):
            layer.join(lower)

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        for layer in self.layers:
            layer.select(rows, columns)
