"""The reward of the paper's official environment, for every string, quirks included.

The text before the first `=` is cut into digit runs and `+ - * / ( )`. If joining them does not give the text
back: -3. Otherwise every token that may not follow its predecessor adds -3; a value that is on no card adds -2
once, or else a value used too often adds -2 once; a value left out adds -2 once. Any sum but 0 is the reward.
With a sum of 0: +5 if the value (in floating point) equals the target, +1 if the text cannot be evaluated and is a
strict prefix of a listed solution, -1 otherwise.

Counting is done on arrays, so that 100,000 characters take a few milliseconds.
"""

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ruleshift.tasks.generalpoints import expression

_NUMBER, _OPERATOR, _OPEN, _CLOSE, _START = range(5)
_CLASS = {"n": _NUMBER, "o": _OPERATOR, "(": _OPEN, ")": _CLOSE}
# _MAY_FOLLOW[previous][token]
_MAY_FOLLOW = np.zeros((5, 4), dtype=bool)
for _previous, _tokens in {
    _NUMBER: (_OPERATOR, _CLOSE),
    _OPERATOR: (_NUMBER, _OPEN),
    _OPEN: (_NUMBER, _OPEN),
    _CLOSE: (_OPERATOR, _CLOSE),
    _START: (_NUMBER, _OPEN),
}.items():
    _MAY_FOLLOW[_previous, list(_tokens)] = True

_DIGITS = re.compile(r"[0-9]+")
_OPERATORS = str.maketrans("+-*/", "oooo")
_PYTHON_NESTING = 90  # deeper parentheses make the official code's evaluation fail


def official_judgement(formula: str, numbers: Sequence[int], target: int) -> tuple[str, float]:
    """(outcome, reward) of the official environment for a formula over the numbers of a hand."""
    text = expression.left_side(formula)
    if re.fullmatch(r"[-+*/()0-9]*", text) is None:
        return "illegal", -3.0
    illegal = -3.0 * _violations(text)
    misused = -2.0 * _number_faults(text, numbers)
    if illegal:
        return "illegal", illegal + misused
    if misused:
        return "wrong_numbers", misused
    value = _float_value(text)
    if value is not None:
        return ("solved", 5.0) if value == target else ("wrong_value", -1.0)
    if _is_prefix_of_listed(text, target):
        return "prefix", 1.0
    return "wrong_value", -1.0


def _violations(text: str) -> int:
    """How many tokens may not follow their predecessor, or close a parenthesis that is not open."""
    shape = _DIGITS.sub("n", text).translate(_OPERATORS)
    if not shape:
        return 0
    raw = np.frombuffer(shape.encode("ascii"), dtype=np.uint8)
    lookup = np.zeros(128, dtype=np.int64)
    for letter, kind in _CLASS.items():
        lookup[ord(letter)] = kind
    tokens = lookup[raw]
    previous = np.concatenate(([_START], tokens[:-1]))
    bad = ~_MAY_FOLLOW[previous, tokens]
    steps = np.where(tokens == _OPEN, 1, np.where(tokens == _CLOSE, -1, 0))
    balance = np.cumsum(steps)
    floor = np.minimum(np.minimum.accumulate(np.concatenate(([0], balance[:-1]))), 0)
    unopened = (tokens == _CLOSE) & (balance < floor)
    return int(np.count_nonzero(bad | unopened))


def _number_faults(text: str, numbers: Sequence[int]) -> int:
    """0 to 2: one for values not dealt or (if there are none) used too often, one for values left out."""
    used = Counter(int(run) if len(run) <= expression.MAX_DIGITS else -1 for run in _DIGITS.findall(text))
    dealt = Counter(numbers)
    foreign = any(value not in dealt for value in used)
    overused = any(count > dealt[value] for value, count in used.items())
    left_out = any(used[value] < count for value, count in dealt.items())
    return int(foreign or overused) + int(left_out)


def _float_value(text: str) -> float | None:
    """The value as Python computes it on plain numbers, or None where Python would fail."""
    if re.search(r"(?<![0-9])0+[1-9]", text) or _nesting(text) > _PYTHON_NESTING:
        return None
    try:
        tree = _Tree(text)
        return tree.value()
    except (expression.FormulaError, ZeroDivisionError):
        return None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        if letter == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif letter == ")":
            depth -= 1
    return deepest


class _Tree:
    """Recursive descent in floating point; depth is bounded by the caller."""

    def __init__(self, text: str) -> None:
        self.tokens = re.findall(r"[0-9]+|[-+*/()]", text)
        self.next = 0

    def value(self) -> float:
        result = self._sum()
        if self.next != len(self.tokens):
            raise expression.FormulaError("trailing tokens")
        return result

    def _peek(self) -> str:
        return self.tokens[self.next] if self.next < len(self.tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self.next += 1
        return token

    def _sum(self) -> float:
        result = self._product()
        while self._peek() in ("+", "-"):
            result = result + self._product() if self._take() == "+" else result - self._product()
        return result

    def _product(self) -> float:
        result = self._atom()
        while self._peek() in ("*", "/"):
            result = result * self._atom() if self._take() == "*" else result / self._atom()
        return result

    def _atom(self) -> float:
        token = self._take()
        if token.isdigit():
            return int(token)
        if token != "(":
            raise expression.FormulaError("a number is missing")
        result = self._sum()
        if self._take() != ")":
            raise expression.FormulaError("a parenthesis is left open")
        return result


def _is_prefix_of_listed(text: str, target: int) -> bool:
    """Whether `text`, which uses every card once, is a strict prefix of a listed solution.

    All numbers being used, only closing parentheses can be missing, and listed solutions never nest: so the one
    candidate is the text with one parenthesis closed. Listed solutions have no parentheses, one pair around two or
    more neighbouring numbers but not all, or two pairs around the first two and the last two.
    """
    try:
        formula = expression.parse(text + ")")
    except expression.FormulaError:
        return False
    if formula.value != Fraction(target):
        return False
    spans = _spans(text + ")")
    count = len(formula.numbers)
    if spans == [(0, 1), (count - 2, count - 1)] and count >= 4:
        return True
    return len(spans) == 1 and 1 <= spans[0][1] - spans[0][0] < count - 1


def _spans(text: str) -> list[tuple[int, int]]:
    """For each pair of parentheses in order of opening, the positions of the first and the last number inside."""
    spans: dict[int, tuple[int, int]] = {}
    opened: list[tuple[int, int]] = []
    count = 0
    for order, token in enumerate(re.findall(r"[0-9]+|[()]", text)):
        if token == "(":
            opened.append((order, count))
        elif token == ")":
            start, first = opened.pop()
            spans[start] = (first, count - 1)
        else:
            count += 1
    return [spans[start] for start in sorted(spans)]
