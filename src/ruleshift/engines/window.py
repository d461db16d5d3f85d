"""The cache of several conversations, and which of its columns each of them uses."""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from ruleshift.engines.cache import Rows


@dataclass
class Window:
    """A conversation a row. `bias` (B, L) is what attention adds: 0 at real tokens, `hidden` at unused columns.

    `lengths` (B,) counts real tokens. The next one has the position `lengths + bend`; `bend` (B,) is 0 but for models
    that give a picture fewer positions than tokens. Two times `hidden` is still finite.
    """

    cache: Rows
    bias: torch.Tensor
    lengths: torch.Tensor
    bend: torch.Tensor

    @classmethod
    def empty(cls, cache: Rows, rows: int, dtype: torch.dtype, device: torch.device) -> "Window":
        bias = torch.zeros(rows, 0, dtype=dtype, device=device)
        return cls(cache, bias, *torch.zeros(2, rows, dtype=torch.long, device=device))

    @property
    def hidden(self) -> float:
        return torch.finfo(self.bias.dtype).min / 2

    def extend(self, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add columns for the leading rows; `new` (B', T) marks real tokens.

        Returns their positions (B', T), and a mask (B', 1, T, L) for attention from the new columns to all.
        """
        rows, count = new.shape
        position = ((self.lengths + self.bend)[:rows, None] + new.cumsum(1) - 1).clamp_(min=0)
        self.lengths[:rows] += new.sum(1)
        columns = self.bias.new_full((len(self.bias), count), self.hidden)
        columns[:rows].masked_fill_(new, 0)
        self.bias = torch.cat([self.bias, columns], dim=1)
        mask = self.bias[:rows, None, None, :]
        if count > 1:
            width = self.bias.shape[1]
            mask = mask + self.bias.new_full((count, width), self.hidden).triu(width - count + 1)
        return position, mask

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows only, and squeeze out columns that none of them uses."""
        self.lengths, self.bend, bias = self.lengths[rows], self.bend[rows], self.bias[rows]
        columns = bias.argsort(dim=1, descending=True, stable=True)[:, : int(self.lengths.max())]
        self.cache.select(rows, columns)
        self.bias = bias.gather(1, columns)

    def swap(self, some: torch.Tensor, others: torch.Tensor) -> None:
        """Rows `some` and `others` change places."""
        before, after = torch.cat([some, others]), torch.cat([others, some])
        for part in (self.bias, self.lengths, self.bend):
            part[before] = part[after]
        self.cache.swap(some, others)

    def join(self, other: "Window") -> None:
        """Add the conversations of `other` after the own ones."""
        if not len(self.bias):
            self.cache, self.bias, self.lengths, self.bend = other.cache, other.bias, other.lengths, other.bend
            return
        width = max(self.bias.shape[1], other.bias.shape[1])
        self.cache.join(other.cache)
        self.bias = torch.cat(
            [pad(part.bias, (0, width - part.bias.shape[1]), value=self.hidden) for part in (self, other)]
        )
        self.lengths = torch.cat([self.lengths, other.lengths])
        self.bend = torch.cat([self.bend, other.bend])
