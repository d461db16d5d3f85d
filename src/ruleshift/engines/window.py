"""The cache of several conversations, and which of its columns each of them uses."""

from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from ruleshift.engines.cache import GrowingCache


@dataclass
class Window:
    """The cache of some conversations, and which of its columns are real tokens of each: `valid` (B, L)."""

    cache: GrowingCache
    valid: torch.Tensor

    @classmethod
    def empty(cls, layers: int, rows: int, device: torch.device) -> "Window":
        return cls(GrowingCache(layers), torch.zeros(rows, 0, dtype=torch.bool, device=device))

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows only, and squeeze out columns that none of them uses."""
        valid = self.valid[rows]
        columns = valid.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(valid.sum(1).max())]
        self.cache.select(rows, columns)
        self.valid = valid.gather(1, columns)

    def fork(self, rows: torch.Tensor) -> "Window":
        return Window(self.cache.fork(rows), self.valid[rows])

    def merge(self, part: "Window", rows: torch.Tensor) -> None:
        """Take over what a fork of these rows has read since."""
        first = self.valid.shape[1]
        gained = part.valid[:, first:]
        new = torch.zeros(len(self.valid), gained.shape[1], dtype=torch.bool, device=gained.device)
        new[rows] = gained
        self.cache.merge(part.cache, rows)
        self.valid = torch.cat([self.valid, new], dim=1)

    def join(self, other: "Window") -> None:
        """Add the conversations of `other` after the own ones."""
        if not len(self.valid):
            self.cache, self.valid = other.cache, other.valid
            return
        width = max(self.valid.shape[1], other.valid.shape[1])
        self.cache.join(other.cache)
        self.valid = torch.cat([pad(part.valid, (0, width - part.valid.shape[1])) for part in (self, other)])
