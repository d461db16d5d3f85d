"""Formulas over + - * / and parentheses: bounded parsing and exact evaluation of untrusted text.

Grammar (no unary minus, integers only):
    sum     = product { ("+" | "-") product }
    product = atom { ("*" | "/") atom }
    atom    = digits | "(" sum ")"
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from ruleshift.tasks.generalpoints.typography import plain

MAX_CHARACTERS = 256  # far beyond any formula over six cards; longer text is refused unread
MAX_DIGITS = 9
_READ = 600  # characters of an equation, which typesetting makes longer
_WRAPPINGS = 3
_EQUALS = re.compile(r"=+")
_NUMBER = re.compile(r"\s*[0-9]{1,9}\s*")
_TAIL = re.compile(r"[ .,;]{1,9}\Z")
_DIGITS = re.compile(r"[0-9]+")
_FURTHER = re.compile(r"[^-+*/()=\s0-9]\s*+([0-9(][-+*/() 0-9]*+)")
_OPERATION = re.compile(r"[0-9]\s*[-+*/(]")
_TOKEN = re.compile(r"[0-9]+|[-+*/()]")
_SPACE = re.compile(r"\s+")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}


class Arithmetic(Protocol):
    """What is calculated with."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...


Number = TypeVar("Number", bound=Arithmetic)


class FormulaError(ValueError):
    """The text is not a formula. The message says why, in words fit for feedback."""


@dataclass(frozen=True)
class Formula:
    """A parsed formula: the integers in the order written, and the exact value (None after a division by zero)."""

    numbers: tuple[int, ...]
    value: Fraction | None


def left_side(text: str) -> str:
    """The text before the first `=`."""
    return text.split("=", 1)[0]


def formula_in(text: str) -> str:
    """The side of an equation, however it is typeset, that is the formula: the text before the first `=`, or what
    follows it where a number stands alone there (`24 = (1+2+3)*4`). Of two equations neither is: all is given."""
    text = _unwrapped(plain(text[:_READ]))
    sides = _EQUALS.split(text, maxsplit=2)
    alone = len(sides) > 1 and _NUMBER.fullmatch(sides[0]) and _OPERATION.search(sides[1])
    formula = _TAIL.sub("", sides[1 if alone else 0])
    return text if len(sides) > 1 and _has_rival(text, formula) else formula


def _has_rival(text: str, formula: str) -> bool:
    """Whether an equation is followed by another formula, over as many numbers, that is not a further side of it."""
    count, written = len(_DIGITS.findall(formula)), "".join(formula.split())
    others = (found[1] for found in _FURTHER.finditer(text)) if count > 1 else ()
    return any(len(_DIGITS.findall(other)) == count and "".join(other.split()) != written for other in others)


def _unwrapped(text: str) -> str:
    """The equation inside parentheses that are around all of it, as those of `\\boxed{...}` are."""
    for _ in range(_WRAPPINGS):
        close = _close_of(text.lstrip())
        inside = text.lstrip()[1:close]
        if "=" not in inside:
            return text
        text = inside
    return text


def _close_of(text: str) -> int:
    """Where the parenthesis closes with which the text begins; 0 where it does not begin with one, or none closes."""
    depth = 0
    for place, sign in enumerate(text if text.startswith("(") else ""):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return place
    return 0


def parse(text: str) -> Formula:
    """Parse and evaluate one side of an equation. Spaces are ignored; typographic signs and LaTeX are read.

    Raises FormulaError for anything outside the grammar, for more than 256 characters, and for integers of more
    than 9 digits. Time and memory are bounded: the text is read once, with an explicit stack.
    """
    tokens = checked_tokens(text)
    numbers = tuple(int(token) for token in tokens if token.isdigit())
    return Formula(numbers, evaluate(tokens, fraction))


def checked_tokens(text: str) -> list[str]:
    """The numbers, signs and parentheses of a formula. Raises FormulaError where it is none."""
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"it is longer than {MAX_CHARACTERS} characters")
    text = _SPACE.sub(" ", plain(text)).strip()
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        if "^" in text:
            raise FormulaError("powers (^) are not among + - * /")
        raise FormulaError("it holds something other than integers, + - * / and parentheses")
    if not tokens:
        raise FormulaError("it is empty")
    if re.search(r"[0-9] +[0-9]", text):
        raise FormulaError("two numbers stand side by side with no operator between them (write * to multiply)")
    check_order(tokens)
    if any(len(token) > MAX_DIGITS for token in tokens):
        raise FormulaError("a number is too long")
    return tokens


def fraction(digits: str) -> Fraction:
    """A digit run as an exact number (without the cost of Fraction's own reading of text)."""
    return Fraction(int(digits))


def check_order(tokens: list[str]) -> None:
    """Raise FormulaError unless the tokens follow the grammar."""
    depth, before = 0, ""
    after_value = False  # whether the last token closed a value, so that an operator or ")" may follow
    for token in tokens:
        if token.isdigit():
            if after_value:
                raise FormulaError("an operator is missing before a number (write * to multiply)")
            after_value = True
        elif token == "(":
            if after_value:
                raise FormulaError("an operator is missing before a parenthesis (write * to multiply)")
            depth += 1
        elif token == ")":
            if not after_value:
                raise FormulaError("a parenthesis closes where a number should stand")
            if depth == 0:
                raise FormulaError("a parenthesis closes that was never opened")
            depth -= 1
        else:
            if not after_value:
                power = " (powers are not among + - * /)" if token == before == "*" else ""
                raise FormulaError(f"a number is missing before `{token}`{power}")
            after_value = False
        before = token
    if not after_value:
        raise FormulaError("it ends where a number should stand")
    if depth:
        raise FormulaError("a parenthesis is left open")


def evaluate(tokens: list[str], number: Callable[[str], Number]) -> Number | None:
    """Value of a well-formed token list (operator-precedence parsing); None after a division by zero.

    `number` makes a number of a digit run: `fraction` for exact arithmetic, `int` for Python's own.
    """
    values: list[Number] = []
    operators: list[str] = []

    def reduce_once() -> bool:
        operator, right, left = operators.pop(), values.pop(), values.pop()
        if operator == "/" and right == 0:
            return False
        values.append(_apply(operator, left, right))
        return True

    for token in tokens:
        if token.isdigit():
            values.append(number(token))
        elif token == "(":
            operators.append(token)
        elif token == ")":
            while operators[-1] != "(":
                if not reduce_once():
                    return None
            operators.pop()
        else:
            while operators and operators[-1] != "(" and _PRECEDENCE[operators[-1]] >= _PRECEDENCE[token]:
                if not reduce_once():
                    return None
            operators.append(token)
    while operators:
        if not reduce_once():
            return None
    return values[0]


def _apply(operator: str, left: Number, right: Number) -> Number:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    return left / right
