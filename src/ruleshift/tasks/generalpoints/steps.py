"""The work shown on the way to a formula: one operation at a time, and what is left after it.

`10-4=6;6,5,6` says that 10 and 4 make 6, so that 6, 5 and 6 are left. The last step leaves nothing to say. A verifier
never judges an answer by its steps; whether they are true, and lead to the formula, is measured apart.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from ruleshift.records import Work
from ruleshift.tasks.generalpoints.expression import (
    FormulaError,
    checked_tokens,
    evaluate,
    formula_in,
    fraction,
    left_side,
    parse,
)
from ruleshift.tasks.generalpoints.typography import plain

_VALUE = r"-?[0-9]{1,9}(?:/[1-9][0-9]{0,8})?"
_OPERAND = rf"(-?[0-9]{{1,9}}|\({_VALUE}\))"
_STEP = re.compile(rf"{_OPERAND}([-+*/]){_OPERAND}=({_VALUE})(?:[;,.](.{{0,200}}))?")
_LEFT = re.compile(r"\A[a-zA-Z]{0,20}:?")  # what may stand before the numbers that are left
_MOST = 20


class Operation(NamedTuple):
    """Two numbers joined."""

    a: Fraction
    sign: str
    b: Fraction
    result: Fraction


@dataclass
class _Traced:
    """A number that writes down what is done with it."""

    value: Fraction
    steps: list[Operation] = field(compare=False)

    def _with(self, sign: str, other: "_Traced", result: Fraction) -> "_Traced":
        self.steps.append(Operation(self.value, sign, other.value, result))
        return _Traced(result, self.steps)

    def __add__(self, other: "_Traced") -> "_Traced":
        return self._with("+", other, self.value + other.value)

    def __sub__(self, other: "_Traced") -> "_Traced":
        return self._with("-", other, self.value - other.value)

    def __mul__(self, other: "_Traced") -> "_Traced":
        return self._with("*", other, self.value * other.value)

    def __truediv__(self, other: "_Traced") -> "_Traced":
        return self._with("/", other, self.value / other.value)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, _Traced) else other)


def operations(formula: str) -> list[Operation]:
    """The operations of an equation's left side in the order of precedence, up to a division by zero. None where it is
    no formula."""
    steps: list[Operation] = []
    try:
        tokens = checked_tokens(left_side(formula))
    except FormulaError:
        return []
    evaluate(tokens, lambda digits: _Traced(fraction(digits), steps))
    return steps


def written_steps(numbers: Sequence[int], formula: str, separator: str = ",") -> list[str]:
    """The work of a formula over numbers, a text for each operation."""
    left = [Fraction(number) for number in numbers]
    texts = []
    for a, sign, b, result in operations(formula):
        _taken(left, a, b)
        left.insert(0, result)
        rest = f";{separator.join(map(str, left))}" if len(left) > 1 else ""
        texts.append(f"{_operand(a)}{sign}{_operand(b)}={result}{rest}")
    return texts


def _operand(value: Fraction) -> str:
    """A number between signs: fractions and what is below zero in parentheses."""
    return str(value) if value.denominator == 1 and value >= 0 else f"({value})"


def is_whole(formula: str, largest: int) -> bool:
    """Whether all partial results are whole numbers from 0 to `largest`."""
    return all(
        0 <= result <= largest and result.denominator == 1 for result in (done.result for done in operations(formula))
    )


def judged_work(steps: Sequence[str], numbers: Sequence[int], formula: str) -> Work:
    """What shown steps are worth, for the formula that they should lead to. `numbers`: what the cards count. Never
    raises, in bounded time."""
    left = [Fraction(number) for number in numbers]
    for text in steps[:_MOST]:
        found = _STEP.fullmatch(re.sub(r"\s+", "", plain(text[:300])))
        if found is None:
            return "untrue"
        a, b, stated = (Fraction(found[place].strip("()")) for place in (1, 3, 4))
        if not _taken(left, a, b) or _result(a, found[2], b) != stated:
            return "untrue"
        left.insert(0, stated)
        if found[5] and _numbers(found[5]) != sorted(left):
            return "untrue"
    try:
        value = parse(formula_in(formula)).value
    except FormulaError:
        return "astray"
    return "sound" if len(left) == 1 and left[0] == value else "astray"


def _taken(left: list[Fraction], *operands: Fraction) -> bool:
    """Take operands out of what is left; whether all were there."""
    for operand in operands:
        if operand not in left:
            return False
        left.remove(operand)
    return True


def _result(a: Fraction, sign: str, b: Fraction) -> Fraction | None:
    if sign == "/":
        return a / b if b else None
    return a + b if sign == "+" else a - b if sign == "-" else a * b


def _numbers(text: str) -> list[Fraction] | None:
    """The numbers of a list in rising order; None where something else is in it."""
    numbers = [number.strip("().") for number in _LEFT.sub("", text, count=1).split(",")]
    return sorted(map(Fraction, numbers)) if all(re.fullmatch(_VALUE, number) for number in numbers) else None
