"""A store for what is drawn once and used often."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, cast


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)


class Kept:
    """Keeps what was asked for last, up to a number of bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._things: OrderedDict[Hashable, Sized] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept under this key; made, and kept, if it is not there."""
        if key in self._things:
            self._things.move_to_end(key)
            return cast(T, self._things[key])
        made = make()
        self._things[key] = made
        self._held += made.nbytes
        while self._held > self._most and len(self._things) > 1:
            self._held -= self._things.popitem(last=False)[1].nbytes
        return made
