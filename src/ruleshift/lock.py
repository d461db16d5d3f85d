"""The lock of a folder: one process at a time, and free again however that one ends.

On one machine the kernel keeps it (flock). On folders that machines share, not every file system passes that on: there
the file `lock` itself tells who holds the folder, and its time is set anew every few seconds. Another machine takes the
folder once that has stopped for a minute; a process that finds itself succeeded ends at once. Clocks of machines that
share folders must agree to some seconds (NTP).
"""

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import node

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of

LOCK = "lock"
BEAT = 10.0  # seconds between two signs of life
SILENT = 60.0  # seconds without one after which another machine takes a folder


class InUse(RuleshiftError):  # noqa: N818  (what it is)
    """The folder is held by another process."""


@dataclass(frozen=True)
class Owner:
    """Who holds a folder, or did until it was killed: a process on a host, under a kernel (the id of its boot), since a
    time (seconds of the epoch)."""

    pid: int
    host: str
    kernel: str
    since: float

    @classmethod
    def here(cls) -> "Owner":
        """This process, from now on."""
        return cls(os.getpid(), node(), kernel(), time.time())

    def __str__(self) -> str:
        return f"process {self.pid}" + ("" if self.host == node() else f" on {self.host}")


@dataclass(frozen=True)
class Holding:
    """What the file of a lock tells: its owner, and how many seconds ago that gave its last sign of life."""

    owner: Owner
    silent: float

    @property
    def lives(self) -> bool:
        """Whether the owner is at work, as far as can be seen from here."""
        here = self.owner.host == node() and self.owner.kernel == kernel()
        return self.silent < SILENT and (not here or _exists(self.owner.pid))


def holding(path: Path) -> Holding | None:
    """Who holds a folder. None where nobody does, or its file cannot be read. Nothing is written, no lock taken."""
    file = path / LOCK
    try:
        owner = owner_in(file.read_bytes())
        return None if owner is None else Holding(owner, time.time() - file.stat().st_mtime)
    except OSError:
        return None


@contextmanager
def held(path: Path, wait: bool = False, instead: str = "choose another --out") -> Iterator[None]:
    """Create the folder if need be and hold its lock. While it is held elsewhere, waits if asked to, and else raises
    InUse, with the id of the other process. Raises RuleshiftError where it cannot be held, which says what to do
    instead."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else reason_of(error)
        raise RuleshiftError(f"cannot use the folder {path} ({reason}): {instead}.") from error
    try:
        mark = _take(lock, path, wait, instead)
        with _beating(lock, path, mark):
            yield
    finally:
        os.close(lock)


def _take(lock: int, path: Path, wait: bool, instead: str) -> bytes:
    """Take the lock and write down who has it; what was written."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        before = holding(path)
        if before is not None and before.owner.kernel != kernel() and before.lives:
            raise _in_use(path, before, instead)
        mark = json.dumps(asdict(Owner.here())).encode()
        os.truncate(lock, 0)
        os.pwrite(lock, mark, 0)
        return mark
    except BlockingIOError as error:
        raise _in_use(path, holding(path), instead) from error
    except OSError as error:
        reason = reason_of(error)
        raise RuleshiftError(f"cannot lock the folder {path} ({reason}): {instead}.") from error


def _in_use(path: Path, by: Holding | None, instead: str) -> InUse:
    who = "another process" if by is None else str(by.owner)
    return InUse(f"{path} is in use by {who}: wait for it, stop it, or {instead}.")


@contextmanager
def _beating(lock: int, path: Path, mark: bytes) -> Iterator[None]:
    """Inside, signs of life are given; at the end nobody holds the folder, unless another has taken it over."""
    try:
        with beating(lambda: _give_sign(lock, path, mark), BEAT):
            yield
    finally:
        with suppress(OSError):
            if (path / LOCK).read_bytes() == mark:
                os.truncate(lock, 0)


@contextmanager
def beating(give_sign: Callable[[], bool], every: float) -> Iterator[None]:
    """Inside, a sign of life is given every so many seconds, as long as it says that it goes on."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every) and give_sign():
            pass

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _give_sign(lock: int, path: Path, mark: bytes) -> bool:
    with suppress(OSError):  # of a share that is away for a while, or a folder that was deleted
        now = owner_in((path / LOCK).read_bytes())
        if now is not None and now != owner_in(mark):
            stop_after(now, path)
            return False
        os.utime(lock)
    return True


def stop_after(successor: Owner, what: object) -> None:
    """End this process, since another has what it held."""
    print(f"error: {what} was taken over by {successor}, which heard nothing from here: stopped", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)


def owner_in(content: bytes) -> Owner | None:
    """Who a file of a lock names; None where it is empty or says anything else."""
    try:
        owner = Owner(**json.loads(content))
        return owner if isinstance(owner.pid, int) and isinstance(owner.since, float) else None
    except (ValueError, TypeError, RecursionError):
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def kernel() -> str:
    """What all processes share among which flock is sure to work; the host where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return node()
