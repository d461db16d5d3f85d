"""What is right and wrong with a formula, before it is put into words."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Judgement:
    """What a verifier finds out about a formula.

    `value` is exact, but for the floating-point value of a formula that only floating point judges wrong. `foreign`
    are numbers in the formula that are on no card (or used more often than dealt), `unused` those of the hand that
    the formula leaves out; both are empty where the formula was not read. `reason` says why it cannot be read.
    """

    outcome: str
    reward: float
    target: int
    value: Fraction | float | None = None
    foreign: tuple[int, ...] = ()
    unused: tuple[int, ...] = ()
    reason: str = ""
