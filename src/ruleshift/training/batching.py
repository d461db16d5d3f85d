"""Micro-batches of similar token counts, and padding."""

from collections.abc import Sequence

import numpy as np
import torch


def pack(
    lengths: Sequence[int], max_tokens: int, pictures: Sequence[int] | None = None, max_pictures: int = 0
) -> list[list[int]]:
    """Group sequences, longest first, so that no group holds more than `max_tokens` padded tokens.

    Returns lists of positions into `lengths`. Sequences of similar length share a group, so little is padding.
    A single sequence longer than `max_tokens` has a group of its own. With `pictures`, their number in each sequence,
    no group has more than `max_pictures` either.
    """
    seen = [0] * len(lengths) if pictures is None else pictures
    groups: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= max_tokens
        if fits and sum(seen[i] for i in (*groups[-1], position)) <= max_pictures:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups


def split_evenly(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Part sequences into `parts` mini-batches of nearly equal token counts, as even as greedy filling gets.

    Sequences are taken in the order given for ties, so that a shuffled input gives shuffled mini-batches.
    """
    totals = [0] * parts
    batches: list[list[int]] = [[] for _ in range(parts)]
    for position in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        smallest = totals.index(min(totals))
        batches[smallest].append(position)
        totals[smallest] += lengths[position]
    return [batch for batch in batches if batch]


def pad(rows: Sequence[Sequence[float]], value: float, dtype: torch.dtype) -> torch.Tensor:
    """Rows of different lengths as one tensor, filled up on the right: (B, T)."""
    width = max(map(len, rows))
    table = np.full((len(rows), width), value, dtype=np.float64 if dtype.is_floating_point else np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return torch.from_numpy(table).to(dtype)
