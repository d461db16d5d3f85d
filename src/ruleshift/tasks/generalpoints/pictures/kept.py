"""A store for what is drawn once and used often."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Protocol, TypeVar, cast


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Kept:
    """Keeps what was asked for last, up to `most` bytes; `held` is how many it holds now. Threads may share one."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self._things: OrderedDict[Hashable, Sized] = OrderedDict()
        self._lock = Lock()

    def clear(self) -> None:
        with self._lock:
            self._things.clear()
            self.held = 0

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept under this key; made, and kept, if it is not there."""
        with self._lock:
            if key in self._things:
                self._things.move_to_end(key)
                return cast(T, self._things[key])
        made = make()
        with self._lock:
            if key not in self._things:
                self._things[key] = made
                self.held += made.nbytes
            while self.held > self.most and len(self._things) > 1:
                self.held -= self._things.popitem(last=False)[1].nbytes
        return made
