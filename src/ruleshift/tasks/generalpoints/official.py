"""The reward of the paper's official environment, for every string, quirks included.

The text before the first `=` is cut into digit runs and `+ - * / ( )`. If joining them does not give the text
back: -3. Otherwise every token that may not follow its predecessor adds -3, and so does a `)` with nothing open; a
value that is on no card adds -2 once, or else a value used too often adds -2 once; a value left out adds -2 once.
Any sum but 0 is the reward. With a sum of 0:

    +5  the value, in floating point, equals the target
    +1  the text cannot be evaluated and is a strict prefix of a listed solution
    -1  everything else, true solutions that floating point misses among them, such as 8/(3-8/3)

Listed solutions have no parentheses, one pair around two or more neighbouring numbers but not all, or two pairs
around the first two and the next two numbers; they never nest.

Counting is done on arrays, so that 100,000 characters take a few milliseconds.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ruleshift.tasks.generalpoints import expression

_NUMBER, _OPERATOR, _OPEN, _CLOSE, _START = range(5)
_KIND = np.zeros(128, dtype=np.int8)  # by character code; what is not listed here is a digit
for _letter, _kind in zip("+-*/()", (*4 * (_OPERATOR,), _OPEN, _CLOSE), strict=True):
    _KIND[ord(_letter)] = _kind
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

_LEGAL = re.compile(r"[-+*/()\d]*")  # \d: digits of every script, as in the official code
_TOKEN = re.compile(r"[0-9]+|[-+*/()]")
_PYTHON_NESTING = 200  # deeper parentheses make the official code's evaluation fail


@dataclass(frozen=True)
class OfficialJudgement:
    """Outcome and reward of the official environment.

    `value` is what floating point makes of a formula that could be evaluated; `reason` says why another one is
    refused, where the exact parser would not refuse it.
    """

    outcome: str
    reward: float
    value: float | None = None
    reason: str = ""


def official_judgement(formula: str, numbers: Sequence[int], target: int) -> OfficialJudgement:
    """Judge a formula over the numbers of a hand as the official environment does."""
    text = expression.left_side(formula)
    if _LEGAL.fullmatch(text) is None:
        reason = "only digits, + - * / and parentheses may stand in it, and no spaces"
        return OfficialJudgement("illegal", -3.0, reason=reason)
    plain = text if text.isascii() else _ascii_digits(text)
    violations, nesting = _walk(plain)
    misused = -2.0 * _number_faults(plain, numbers)
    if violations:
        return OfficialJudgement("illegal", -3.0 * violations + misused)
    if misused:
        return OfficialJudgement("wrong_numbers", misused)
    if plain != text or nesting > _PYTHON_NESTING:
        return OfficialJudgement("wrong_value", -1.0)
    return _judge_value(_TOKEN.findall(text), target)


def _judge_value(tokens: list[str], target: int) -> OfficialJudgement:
    """The verdict on legal tokens that use every card once."""
    if any(_leading_zero(token) for token in tokens):
        return OfficialJudgement("wrong_value", -1.0, reason="a number starts with a zero")
    value = _float_value(tokens)
    if value is None:
        prefix = _closes_to_listed(tokens, target)
        return OfficialJudgement("prefix", 1.0) if prefix else OfficialJudgement("wrong_value", -1.0)
    if value == target:
        return OfficialJudgement("solved", 5.0, value)
    return OfficialJudgement("wrong_value", -1.0, value)


def _ascii_digits(text: str) -> str:
    """The same text with the digits of other scripts written in ASCII."""
    return text.translate({ord(sign): str(unicodedata.decimal(sign)) for sign in set(text) if not sign.isascii()})


def _walk(text: str) -> tuple[int, int]:
    """How many tokens are out of place, and how deep the parentheses nest.

    A token is out of place when it may not follow its predecessor, or is a `)` with nothing open. A parenthesis out
    of place neither opens nor closes anything.
    """
    if not text:
        return 0, 0
    kinds = _KIND[np.frombuffer(text.encode("ascii"), dtype=np.uint8)]
    starts = np.ones(len(kinds), dtype=bool)
    starts[1:] = (kinds[1:] != _NUMBER) | (kinds[:-1] != _NUMBER)
    tokens = kinds[starts]
    previous = np.concatenate(([_START], tokens[:-1]))
    in_place = _MAY_FOLLOW[previous, tokens]
    steps = np.where(in_place & (tokens == _OPEN), 1, np.where(in_place & (tokens == _CLOSE), -1, 0))
    balance = np.cumsum(steps)
    lowest = np.minimum(np.minimum.accumulate(np.concatenate(([0], balance[:-1]))), 0)
    unopened = balance < lowest
    return int(np.count_nonzero(~in_place | unopened)), int((balance - np.minimum(lowest, balance)).max())


def _number_faults(text: str, numbers: Sequence[int]) -> int:
    """0 to 2: one for values not dealt or (if there are none) used too often, one for values left out."""
    dealt = Counter(numbers)
    longest = max((len(str(number)) for number in dealt), default=0)
    used: Counter[int] = Counter()
    foreign = False
    for run, count in Counter(re.findall("[0-9]+", text)).items():
        digits = run.lstrip("0") or "0"
        if len(digits) > longest or int(digits) not in dealt:
            foreign = True
        else:
            used[int(digits)] += count
    overused = any(count > dealt[value] for value, count in used.items())
    left_out = any(used[value] < count for value, count in dealt.items())
    return int(foreign or overused) + int(left_out)


def _leading_zero(token: str) -> bool:
    """Whether Python refuses to read this number: a zero before other digits (zeros alone are read)."""
    return token.startswith("0") and token.strip("0") != ""


def _float_value(tokens: list[str]) -> float | None:
    """The value as Python computes it on plain numbers, or None where Python would fail."""
    try:
        expression.check_order(tokens)
        return expression.evaluate(tokens, int)
    except (expression.FormulaError, OverflowError):
        return None


def _closes_to_listed(tokens: list[str], target: int) -> bool:
    """Whether tokens that use every card once are a strict prefix of a listed solution.

    Once all cards are used only closing parentheses can follow, and listed solutions never nest: so the one solution
    that a text can be a strict prefix of is the text with one parenthesis closed.
    """
    tokens = [*tokens, ")"]
    count = sum(token.isdigit() for token in tokens)
    if len(tokens) > 2 * count + 3 or any(token.isdigit() and token != str(int(token)) for token in tokens):
        return False
    try:
        expression.check_order(tokens)
    except expression.FormulaError:
        return False
    spans = _spans(tokens)
    one_pair = len(spans) == 1 and 1 <= spans[0][1] - spans[0][0] < count - 1
    if spans and not one_pair and spans != [(0, 1), (2, 3)]:
        return False
    return expression.evaluate(tokens, expression.fraction) == target


def _spans(tokens: list[str]) -> list[tuple[int, int]]:
    """For each pair of parentheses in order of opening, the positions of the first and the last number inside."""
    spans: dict[int, tuple[int, int]] = {}
    opened: list[tuple[int, int]] = []
    count = 0
    for order, token in enumerate(tokens):
        if token == "(":
            opened.append((order, count))
        elif token == ")":
            start, first = opened.pop()
            spans[start] = (first, count - 1)
        else:
            count += token.isdigit()
    return [spans[start] for start in sorted(spans)]
