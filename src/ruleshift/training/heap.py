"""How memory goes back to the system on a CPU (glibc; elsewhere nothing is done).

What torch frees below 32 MiB, glibc keeps for later requests. A hole is too small for the next tensor of the same size,
since torch asks for aligned memory and glibc looks for room to spare: passes that compute again take several times what
is alive in them, and what a pass keeps for its gradients stands between holes. From a threshold on, blocks are mapped
by themselves and leave none; that costs fresh pages each.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)
USUAL = 2**25  # where glibc's own threshold ends up in a program that frees large blocks, and half that of trimming
FRUGAL = 2**20


@contextmanager
def given_back(frugal: bool) -> Iterator[None]:
    """Give back what was freed before; inside, and `frugal`, blocks from 1 MiB on as soon as they are freed."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)
    try:
        with mapped(frugal):
            yield
    finally:
        if library is not None:
            library.malloc_trim(0)


@contextmanager
def mapped(wanted: bool) -> Iterator[None]:
    """Inside, and where `wanted`, blocks from 1 MiB on are mapped by themselves."""
    library = _glibc() if wanted else None
    if library is None:
        yield
        return
    library.mallopt(MMAP_THRESHOLD, FRUGAL)
    try:
        yield
    finally:
        library.mallopt(MMAP_THRESHOLD, USUAL)
        library.mallopt(TRIM_THRESHOLD, 2 * USUAL)


@cache
def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None
