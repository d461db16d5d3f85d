"""Micro-batches, mini-batches and padding."""

import random

import pytest
import torch

from ruleshift.training.batching import pack, pad, split_evenly

LENGTHS = random.Random(0).choices(range(5, 121), k=200)


def padded(lengths: list[int], group: list[int]) -> int:
    return len(group) * max(lengths[i] for i in group)


@pytest.mark.parametrize("max_tokens", [120, 500, 10_000, 10**9])
def test_pack_uses_every_sequence_once_and_respects_the_limit(max_tokens):
    groups = pack(LENGTHS, max_tokens)
    assert sorted(i for group in groups for i in group) == list(range(len(LENGTHS)))
    assert all(padded(LENGTHS, group) <= max_tokens for group in groups)


def test_pack_fills_groups_and_wastes_little():
    groups = pack(LENGTHS, 1_000)
    real, all_tokens = sum(LENGTHS), sum(padded(LENGTHS, group) for group in groups)
    assert all_tokens < 1.1 * real
    in_order = [list(range(i, min(i + 8, 200))) for i in range(0, 200, 8)]  # control: groups as they come
    assert sum(padded(LENGTHS, group) for group in in_order) > 1.4 * real
    # No group could have taken the first of the next one.
    assert all(len(a) * LENGTHS[a[0]] + LENGTHS[a[0]] > 1_000 for a in groups[:-1])


def test_pack_by_hand():
    assert pack([3, 5, 4, 1], 10) == [[1, 2], [0, 3]]
    assert pack([30, 4, 40], 10) == [[2], [0], [1]]  # longer than the limit: a group of its own
    assert pack([], 10) == []


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_split_evenly_gives_nearly_equal_totals(parts):
    batches = split_evenly(LENGTHS, parts)
    assert sorted(i for batch in batches for i in batch) == list(range(len(LENGTHS)))
    totals = [sum(LENGTHS[i] for i in batch) for batch in batches]
    assert len(totals) == parts
    assert max(totals) - min(totals) <= min(LENGTHS)


def test_split_evenly_by_hand():
    assert split_evenly([9, 5, 5, 1], 2) == [[0, 3], [1, 2]]
    assert split_evenly([2, 2, 2, 2], 2) == [[0, 2], [1, 3]]  # ties in the order given
    assert split_evenly([3, 4], 5) == [[1], [0]]  # no empty mini-batch


def test_pad():
    table = pad([[1, 2, 3], [4]], 9, torch.long)
    assert table.dtype == torch.long
    assert table.tolist() == [[1, 2, 3], [4, 9, 9]]
    floats = pad([[0.5], [0.25, 1e-9]], 0.0, torch.float64)
    assert floats.dtype == torch.float64
    assert floats.tolist() == [[0.5, 0.0], [0.25, 1e-9]]
    assert pad([[2**53 + 1]], 0, torch.long).tolist() == [[2**53 + 1]]  # ids never pass through floats
