"""How long something takes, whatever else the machine and the tests before it are doing."""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail if the block takes longer on this thread's processor.

    Without Python's garbage collector: it looks through all that earlier tests left behind, which can take longer.
    """
    gc.disable()
    began = time.thread_time()
    try:
        yield
        took = time.thread_time() - began
    finally:
        gc.enable()
    assert took < seconds, f"took {took:.2f} s"
