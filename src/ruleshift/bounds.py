"""Bounds of settings, as part of their types, so that whoever makes settings out of bounds is told at once.

@dataclass(frozen=True)
class Settings:
    steps: Count = 100

    def __post_init__(self) -> None:
        check_bounds(self)
"""

from dataclasses import dataclass
from functools import cache
from math import inf
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ruleshift.errors import RuleshiftError


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, `low` itself left out where they are to be `above` it. Never NaN or infinite."""

    low: float
    high: float = inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return abs(value) < inf and self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if self.low == -inf:
            return "a finite number"
        if self.high < inf:
            return f"above {self.low} and at most {self.high}" if self.above else f"from {self.low} to {self.high}"
        return f"a number above {self.low}" if self.above else f"at least {self.low}"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # of training: what NumPy takes
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Finite = Annotated[float, Range(-inf)]
Share = Annotated[float, Range(0, 1)]
ShareAboveZero = Annotated[float, Range(0, 1, above=True)]


def within(option: str, value: float, least: float, most: float) -> None:
    """Raise RuleshiftError for a number that is not from `least` to `most`."""
    check_value(option, value, Annotated[float, Range(least, most)])


def at_least(option: str, value: float, least: float) -> None:
    """Raise RuleshiftError for a number below `least`, or not finite."""
    check_value(option, value, Annotated[float, Range(least)])


def above_zero(option: str, value: float) -> None:
    """Raise RuleshiftError for a number that is not above zero, or not finite."""
    check_value(option, value, Positive)


def check_bounds(settings: Any) -> None:
    """Raise RuleshiftError, naming the option, for the first field of a dataclass whose value its type does not allow:
    a number out of its Range, a word that is not among the Literal ones, a tuple that holds nothing."""
    for name, kind in _kinds(settings.__class__).items():
        check_value("--" + name.replace("_", "-"), getattr(settings, name), kind)


@cache
def _kinds(settings: Any) -> dict[str, Any]:
    return get_type_hints(settings, include_extras=True)


def check_value(option: str, value: Any, kind: Any) -> None:
    """Raise RuleshiftError, naming the option, for a value that its type does not allow."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        for bound in inner[1:]:
            if isinstance(bound, Range) and value not in bound:
                raise RuleshiftError(f"{option} must be {bound}, not {value}")
    elif origin is Literal:
        if value not in inner:
            raise RuleshiftError(f"unknown {option} {value!r}; choose from {', '.join(map(str, inner))}")
    elif origin is tuple:
        if not value:
            raise RuleshiftError(f"{option} must name at least one")
        for part in value:
            check_value(option, part, inner[0])
    elif origin in (UnionType, Union) and value is not None:
        check_value(option, value, inner[0])
