"""Exact solver: every distinct formula over a hand that reaches a target.

Two formulas count as the same when they differ only by commutativity and associativity of + and * (with - and /
as their inverses) or by redundant parentheses. Each class is represented by one string: sums and products are
flattened, operands sorted (numbers in falling order, then compound operands), negative terms and divisors last.

The values of every sub-multiset are tabulated once and cached, so the 1,820 four-card multisets over 1..13 share
their 455 triples; at the top level only the operand that would complete the target is looked up.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from math import gcd
from typing import NamedTuple

MAX_CARDS_IN_FULL = 5
MAX_CARDS = 6
Hand = tuple[int, ...]


class Value(NamedTuple):
    """An exact rational in lowest terms with a positive denominator (lighter than fractions.Fraction)."""

    numerator: int
    denominator: int


class Node(NamedTuple):
    """A canonical formula. `kind` is "n" (number), "+" (sum) or "*" (product).

    `plain` are the added terms or the factors, `inverse` the subtracted terms or the divisors.
    """

    text: str
    kind: str
    plain: tuple["Node", ...]
    inverse: tuple["Node", ...]


Table = dict[Value, dict[str, Node]]


def solve(numbers: tuple[int, ...] | list[int], target: int = 24) -> tuple[str, ...]:
    """Every distinct solution in canonical form, sorted by length and then alphabetically.

    One to five numbers are solved in full; for six the result holds one solution, or none if there is none.
    Raises ValueError for no numbers or more than six.
    """
    hand = tuple(sorted(numbers))
    if not 1 <= len(hand) <= MAX_CARDS:
        raise ValueError(f"the solver takes 1 to {MAX_CARDS} numbers, got {len(hand)}")
    return _solve(hand, target)


def solvable(numbers: tuple[int, ...] | list[int], target: int = 24) -> bool:
    """Whether some formula over all the numbers reaches the target."""
    return bool(solve(numbers, target))


@lru_cache(maxsize=100_000)
def _solve(hand: Hand, target: int) -> tuple[str, ...]:
    wanted = Value(target, 1)
    if len(hand) > MAX_CARDS_IN_FULL:
        first = next(_reach(hand, wanted), None)
        return () if first is None else (first.text,)
    texts = {node.text for node in _reach(hand, wanted)}
    return tuple(sorted(texts, key=lambda text: (len(text), text)))


def _reach(hand: Hand, wanted: Value) -> Iterator[Node]:
    """Formulas over the whole hand with this value (repeats possible)."""
    if len(hand) == 1:
        if wanted == Value(hand[0], 1):
            yield number_node(hand[0])
        return
    for small, rest in _splits(hand):
        for value, nodes in _table(small).items():
            for partner, operator, swap in _partners(value, wanted):
                for other in _lookup(rest, partner):
                    for node in nodes.values():
                        yield join(operator, other, node) if swap else join(operator, node, other)
            if value.numerator == 0 == wanted.numerator:  # zero times, or divided by, anything
                for partner, others in _table(rest).items():
                    for other in others.values():
                        for node in nodes.values():
                            yield join("*", node, other)
                            if partner.numerator:
                                yield join("/", node, other)


def _lookup(hand: Hand, wanted: Value) -> Iterator[Node]:
    """As `_reach`, from the cached table where the hand is small enough to tabulate."""
    if len(hand) <= MAX_CARDS_IN_FULL - 1:
        yield from _table(hand).get(wanted, {}).values()
    else:
        yield from _reach(hand, wanted)


@lru_cache(maxsize=20_000)
def _table(hand: Hand) -> Table:
    """Every value that the whole hand can take, with all canonical formulas for it."""
    if len(hand) == 1:
        return {Value(hand[0], 1): {str(hand[0]): number_node(hand[0])}}
    table: Table = {}
    for small, rest in _splits(hand):
        for a, nodes_a in _table(small).items():
            for b, nodes_b in _table(rest).items():
                for value, operator, swap in _results(a, b):
                    found = table.setdefault(value, {})
                    for x in nodes_a.values():
                        for y in nodes_b.values():
                            node = join(operator, y, x) if swap else join(operator, x, y)
                            found[node.text] = node
    return table


def _splits(hand: Hand) -> Iterator[tuple[Hand, Hand]]:
    """Every way to part a hand into two non-empty hands, the smaller first, each unordered way once."""
    seen = set()
    for size in range(1, len(hand) // 2 + 1):
        for chosen in combinations(range(len(hand)), size):
            small = tuple(hand[i] for i in chosen)
            rest = tuple(hand[i] for i in range(len(hand)) if i not in chosen)
            if (small, rest) not in seen and (rest, small) not in seen:
                seen.add((small, rest))
                yield small, rest


def _results(a: Value, b: Value) -> Iterator[tuple[Value, str, bool]]:
    """Values of a and b joined: (value, operator, whether the operands are swapped)."""
    (p, q), (r, s) = a, b
    yield _ratio(p * s + r * q, q * s), "+", False
    yield _ratio(p * s - r * q, q * s), "-", False
    yield _ratio(r * q - p * s, q * s), "-", True
    yield _ratio(p * r, q * s), "*", False
    if r:
        yield _ratio(p * s, q * r), "/", False
    if p:
        yield _ratio(r * q, s * p), "/", True


def _partners(a: Value, wanted: Value) -> Iterator[tuple[Value, str, bool]]:
    """Values b for which a and b joined give `wanted`: (b, operator, whether the operands are swapped).

    Where both a and `wanted` are zero every b is a partner under * and /; `_reach` adds those.
    """
    (p, q), (w, v) = a, wanted
    yield _ratio(w * q - p * v, v * q), "+", False
    yield _ratio(p * v - w * q, v * q), "-", False
    yield _ratio(w * q + p * v, v * q), "-", True
    if p:
        yield _ratio(w * q, v * p), "*", False
        yield _ratio(w * p, v * q), "/", True
    if w and p:
        yield _ratio(p * v, q * w), "/", False


def _ratio(numerator: int, denominator: int) -> Value:
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    divisor = gcd(numerator, denominator)
    return Value(numerator // divisor, denominator // divisor)


@lru_cache(maxsize=1_000)
def number_node(number: int) -> Node:
    return Node(str(number), "n", (), ())


def _order(node: Node) -> tuple[bool, int, str]:
    return (node.kind != "n", -int(node.text) if node.kind == "n" else 0, node.text)


def join(operator: str, left: Node, right: Node) -> Node:
    """The canonical form of `left operator right`."""
    kind = "+" if operator in "+-" else "*"
    left_plain, left_inverse = (left.plain, left.inverse) if left.kind == kind else ((left,), ())
    right_plain, right_inverse = (right.plain, right.inverse) if right.kind == kind else ((right,), ())
    if operator in "-/":
        right_plain, right_inverse = right_inverse, right_plain
    plain = tuple(sorted(left_plain + right_plain, key=_order))
    inverse = tuple(sorted(left_inverse + right_inverse, key=_order))
    signs = ("+", "-") if kind == "+" else ("*", "/")
    text = signs[0].join(_operand(node, kind) for node in plain)
    text += "".join(signs[1] + _operand(node, kind) for node in inverse)
    return Node(text, kind, plain, inverse)


def _operand(node: Node, kind: str) -> str:
    return f"({node.text})" if kind == "*" and node.kind == "+" else node.text
