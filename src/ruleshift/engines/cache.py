"""A key-value cache that is written in place and grows by doubling, for any transformers decoder.

transformers' DynamicCache concatenates, that is, copies the whole cache for every token. Here each layer owns a
buffer (B, heads, capacity, head_dim); new columns are written into it and attention reads a view.
"""

import torch
from transformers.cache_utils import Cache, DynamicLayer


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer; `columns` of the buffer are in use."""

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
        """Write new columns (B, heads, T, head_dim); returns views of all columns in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.columns + key_states.shape[-2]
        self._key_buffer = _with_capacity(self._key_buffer, end, self.columns)
        self._value_buffer = _with_capacity(self._value_buffer, end, self.columns)
        self._key_buffer[:, :, self.columns : end] = key_states
        self._value_buffer[:, :, self.columns : end] = value_states
        self.columns = end
        self.keys, self.values = self._key_buffer[:, :, :end], self._value_buffer[:, :, :end]
        return self.keys, self.values

    def fork(self, rows: torch.Tensor) -> "GrowingLayer":
        """A copy that holds these rows only."""
        assert self.keys is not None
        assert self.values is not None
        part = GrowingLayer()
        part.lazy_initialization(self.keys, self.values)
        part.keys, part.values = part._key_buffer, part._value_buffer = self.keys[rows], self.values[rows]
        part.columns = self.columns
        return part

    def merge(self, part: "GrowingLayer", rows: torch.Tensor) -> None:
        """Take over the columns that a fork has gained; other rows get zeros there."""
        assert part.keys is not None
        assert part.values is not None
        first, end = self.columns, part.columns
        self._key_buffer = _with_capacity(self._key_buffer, end, first)
        self._value_buffer = _with_capacity(self._value_buffer, end, first)
        for mine, theirs in ((self._key_buffer, part.keys), (self._value_buffer, part.values)):
            mine[:, :, first:end] = 0
            mine[rows, :, first:end] = theirs[:, :, first:end]
        self.columns = end
        self.keys, self.values = self._key_buffer[:, :, :end], self._value_buffer[:, :, :end]

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


def _with_capacity(buffer: torch.Tensor, needed: int, used: int) -> torch.Tensor:
    capacity = buffer.shape[2]
    if needed <= capacity:
        return buffer
    grown = buffer.new_empty((*buffer.shape[:2], max(needed + 32, capacity + capacity // 2), buffer.shape[3]))
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

    def __init__(self, layers: int | list[GrowingLayer]) -> None:
        super().__init__(layers=[GrowingLayer() for _ in range(layers)] if isinstance(layers, int) else layers)  # type: ignore[arg-type]

    def fork(self, rows: torch.Tensor) -> "GrowingCache":
        return GrowingCache([layer.fork(rows) for layer in self.layers])

    def merge(self, part: "GrowingCache", rows: torch.Tensor) -> None:
        for layer, other in zip(self.layers, part.layers, strict=True):
            layer.merge(other, rows)

    def join(self, other: "GrowingCache") -> None:
        for layer, lower in zip(self.layers, other.layers, strict=True):
            layer.join(lower)

    def select(self, rows: torch.Tensor, columns: torch.Tensor) -> None:
        for layer in self.layers:
            layer.select(rows, columns)
