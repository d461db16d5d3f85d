"""The random streams of conversations."""

import numpy as np
import pytest

from ruleshift.engines.streams import stream_key, uniforms

STREAM_KEY = 0x533824AB9A8FA367
FIRST_DRAW, LATER_DRAW = 0.9731393674214999, 0.0037701398948824516


def test_streams_never_change():
    assert stream_key(0, "gp-l/id/0/0") == STREAM_KEY
    assert uniforms(np.array([STREAM_KEY], dtype=np.uint64), 0, 0).tolist() == [FIRST_DRAW]
    assert uniforms(np.array([STREAM_KEY], dtype=np.uint64), 4, 35).tolist() == [LATER_DRAW]
    # The first outputs of SplitMix64 seeded with 0 and with 1234567, as published with the algorithm.
    assert uniforms(np.array([0], dtype=np.uint64), 0, 0).tolist() == [((0xE220A8397B1DCDAF >> 11) + 0.5) / 2**53]
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    seeded = [float(uniforms(np.array([1234567], dtype=np.uint64), 0, step)[0]) for step in range(3)]
    assert seeded == [((word >> 11) + 0.5) / 2**53 for word in words]


def test_draws_are_uniform_and_inside_the_interval():
    keys = np.array([stream_key(1, f"problem-{i}") for i in range(2000)], dtype=np.uint64)
    draws = np.stack([uniforms(keys, turn, token) for turn in range(3) for token in range(10)])  # (30, 2000)
    assert draws.min() > 0
    assert draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / draws.size))
    assert draws.var() == pytest.approx(1 / 12, abs=4 * np.sqrt(1 / 180 / draws.size))
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - draws.size / 20) ** 2 / (draws.size / 20)).sum() < 19 + 4 * np.sqrt(38)
    correlations = np.corrcoef(draws) - np.eye(len(draws))  # between turns and tokens, over keys
    assert np.abs(correlations).max() < 4.5 / np.sqrt(2000)
    across = np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]  # between neighbouring keys
    assert abs(across) < 4 / np.sqrt(draws.size)


def test_keys_depend_on_seed_and_problem():
    keys = {stream_key(seed, f"{name}") for seed in range(20) for name in range(20)}
    assert len(keys) == 400
    assert uniforms(np.array([5], dtype=np.uint64), 1, 0) != uniforms(np.array([5], dtype=np.uint64), 0, 1)


def test_the_largest_keys_and_counters_stay_inside():
    keys = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    draws = uniforms(keys, 255, 2**24 - 2)
    assert len(set(draws.tolist())) == 4
    assert 0 < draws.min() <= draws.max() < 1


def test_each_key_has_a_turn_of_its_own():
    keys = np.array([stream_key(0, name) for name in "abcd"], dtype=np.uint64)
    turns = np.array([3, 0, 250, 1], dtype=np.uint64)
    alone = [uniforms(keys[i : i + 1], int(turns[i]), 17)[0] for i in range(4)]
    assert uniforms(keys, turns, 17).tolist() == alone
