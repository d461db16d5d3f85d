"""The lock of a folder: one process at a time, and free again however that one ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of


@contextmanager
def held(path: Path, wait: bool = False) -> Iterator[None]:
    """Create the folder if need be and hold its lock (flock). While it is held elsewhere, waits if asked to, and else
    raises RuleshiftError, with the id of the other process."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else reason_of(error)
        raise RuleshiftError(f"cannot use {path} as a run folder ({reason}): choose another --out.") from error
    try:
        _take(lock, path, wait)
        yield
    finally:
        os.close(lock)


def _take(lock: int, path: Path, wait: bool) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
    except BlockingIOError as error:
        holder = os.read(lock, 32).decode(errors="replace")
        raise RuleshiftError(
            f"{path} is in use by process {holder or '(unknown)'}: wait for it, stop it, or choose another --out."
        ) from error
    except OSError as error:
        reason = reason_of(error)
        raise RuleshiftError(f"cannot lock the run folder {path} ({reason}): choose another --out.") from error
