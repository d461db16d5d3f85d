"""A random stream of its own for every conversation, so that neither batch size nor order changes its draws."""

import hashlib

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def stream_key(seed: int, problem_id: str, sample: int = 0) -> int:
    """The 64-bit key of a conversation's stream; `sample` tells conversations about the same problem apart."""
    salt = sample.to_bytes(8, "little")
    digest = hashlib.blake2b(f"{seed}/{problem_id}".encode(), digest_size=8, person=b"draws", salt=salt).digest()
    return int.from_bytes(digest, "little")


def uniforms(keys: np.ndarray, turns: np.ndarray | int, tokens: np.ndarray | int) -> np.ndarray:
    """A number in (0, 1) for each key, turn and token position (arrays that fit together): SplitMix64 there.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
    """
    with np.errstate(over="ignore"):
        counter = (
            (np.asarray(turns, dtype=np.uint64) << np.uint64(24)) + np.asarray(tokens, dtype=np.uint64) + np.uint64(1)
        )
        z = keys + counter * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
