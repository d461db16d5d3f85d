"""The solver against a brute force that shares nothing with it but the definition of "the same formula"."""

import ast
import random
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations, combinations_with_replacement

import pytest

from ruleshift.tasks.generalpoints.expression import parse
from ruleshift.tasks.generalpoints.solver import solvable, solve

# A form is an integer, or ("+", terms) or ("*", factors): sorted pairs of a sign (+1 or -1) and a form. Two formulas
# have the same form when they differ by commutativity, associativity and redundant parentheses only.
Form = int | tuple[str, tuple]
SIGN = {"+": 1, "-": -1, "*": 1, "/": -1}


def joined(operator: str, left: Form, right: Form) -> Form:
    kind = "+" if operator in "+-" else "*"

    def parts(form: Form, sign: int) -> list[tuple[int, Form]]:
        if isinstance(form, tuple) and form[0] == kind:
            return [(sign * inner, part) for inner, part in form[1]]
        return [(sign, form)]

    return kind, tuple(sorted(parts(left, 1) + parts(right, SIGN[operator]), key=repr))


def brute_force(hand: tuple[int, ...], target: int) -> set[Form]:
    """Forms of every formula over the hand with this value: any two items are joined in any way, until one is left."""
    reached: set[Form] = set()
    seen = set()

    def explore(items: tuple[tuple[Fraction, Form], ...]) -> None:
        state = tuple(sorted((form for _, form in items), key=repr))
        if state in seen:
            return
        seen.add(state)
        if len(items) == 1:
            if items[0][0] == target:
                reached.add(items[0][1])
            return
        for i, j in combinations(range(len(items)), 2):
            rest = items[:i] + items[i + 1 : j] + items[j + 1 :]
            for item in pairings(items[i], items[j]):
                explore((*rest, item))

    explore(tuple((Fraction(number), number) for number in hand))
    return reached


def pairings(one: tuple[Fraction, Form], other: tuple[Fraction, Form]) -> Iterator[tuple[Fraction, Form]]:
    for (a, x), (b, y) in ((one, other), (other, one)):
        yield a + b, joined("+", x, y)
        yield a - b, joined("-", x, y)
        yield a * b, joined("*", x, y)
        if b:
            yield a / b, joined("/", x, y)


def form_of(text: str) -> Form:
    """The form of a formula in text, read by Python's parser."""
    signs = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}

    def walk(node: ast.AST) -> Form:
        if isinstance(node, ast.BinOp):
            return joined(signs[type(node.op)], walk(node.left), walk(node.right))
        assert isinstance(node, ast.Constant)
        return node.value

    return walk(ast.parse(text, mode="eval").body)


def without_one_pair(text: str) -> Iterator[str]:
    """The text with each pair of parentheses in turn taken away."""
    opened = []
    for position, sign in enumerate(text):
        if sign == "(":
            opened.append(position)
        elif sign == ")":
            start = opened.pop()
            yield text[:start] + text[start + 1 : position] + text[position + 1 :]


def has_redundant_parentheses(text: str) -> bool:
    return any(form_of(shorter) == form_of(text) for shorter in without_one_pair(text))


def check_strings(hand: tuple[int, ...], target: int) -> None:
    """What every string of the solver must be."""
    found = solve(hand, target)
    for text in found:
        formula = parse(text)
        assert formula.value == target, text
        assert sorted(formula.numbers) == sorted(hand), text
        assert not has_redundant_parentheses(text), text
    assert len({form_of(text) for text in found}) == len(found)
    assert list(found) == sorted(found, key=lambda text: (len(text), text))


def test_1362_of_the_1820_hands_reach_24() -> None:
    hands = list(combinations_with_replacement(range(1, 14), 4))
    assert len(hands) == 1820
    assert sum(solvable(hand) for hand in hands) == 1362


RANDOM = random.Random(24)
HANDS = [(3, 3, 8, 8), (1, 5, 5, 5), (1, 1, 1, 1), (4, 4, 10, 10), (1, 2, 3, 4), (6, 6, 6, 6), (13, 12, 11, 10)]
HANDS += [tuple(RANDOM.randint(1, 13) for _ in range(4)) for _ in range(8)]


@pytest.mark.parametrize("hand", HANDS, ids=str)
def test_finds_exactly_what_brute_force_finds(hand: tuple[int, ...]) -> None:
    forms = brute_force(hand, 24)
    assert {form_of(text) for text in solve(hand)} == forms
    assert solvable(hand) == bool(forms)
    check_strings(hand, 24)


OTHERS = [((24,), 24), ((23,), 24), ((4, 6), 24), ((2, 12), 6), ((1, 2, 3), 6), ((5, 5, 5), 0), ((2, 2, 3, 3), 0)]
OTHERS += [((19, 17, 2, 1), 36), ((0, 0, 4, 6), 24), ((7, 7, 7, 7), 1), ((5, 3, 2, 1), -1), ((1, 1, 1, 1, 1), 0)]
OTHERS += [((2, 2, 2, 3, 3), 24), ((10, 10, 10, 10, 4), 24)]


@pytest.mark.parametrize(("hand", "target"), OTHERS, ids=str)
def test_other_sizes_and_targets_against_brute_force(hand: tuple[int, ...], target: int) -> None:
    assert {form_of(text) for text in solve(hand, target)} == brute_force(hand, target)
    check_strings(hand, target)


def test_five_cards_in_full_and_without_duplicates() -> None:
    assert len(solve((1, 2, 3, 4, 5))) > 50
    check_strings((1, 2, 3, 4, 5), 24)
    check_strings((10, 7, 6, 3, 1), 24)


@pytest.mark.parametrize("hand", [(1, 2, 3, 4, 5, 6), (13, 13, 13, 13, 13, 13), (1, 1, 2, 3, 5, 8)], ids=str)
def test_six_cards_give_one_solution(hand: tuple[int, ...]) -> None:
    assert len(solve(hand)) == 1
    check_strings(hand, 24)


def test_six_cards_that_cannot_be_solved() -> None:
    assert solve((1, 1, 1, 1, 1, 1)) == ()
    assert not solvable((1, 1, 1, 1, 1, 1))


def test_known_solutions() -> None:
    assert solve((3, 3, 8, 8)) == ("8/(3-8/3)",)
    assert solve((1, 1, 1, 1)) == ()
    assert solve((1, 5, 5, 5)) == ("5*(5-1/5)",)


def test_order_of_the_numbers_does_not_matter() -> None:
    assert solve([9, 4, 2, 7]) == solve((2, 4, 7, 9)) == solve((7, 9, 4, 2))


@pytest.mark.parametrize("hand", [(), (1, 2, 3, 4, 5, 6, 7)])
def test_other_numbers_of_cards_are_refused(hand: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 6 numbers"):
        solve(hand)


def test_controls_of_these_tests() -> None:
    """The checks above must see a wrong target, swapped operands, a missing solution and a redundant parenthesis."""
    assert {form_of(text) for text in solve((1, 2, 3, 4))} != brute_force((1, 2, 3, 4), 25)
    assert form_of("3-1") != form_of("1-3")
    assert form_of("8/2*4") == form_of("4*8/2") == form_of("4*(8/2)") != form_of("8/(2*4)")
    assert form_of("6-(3-2)") == form_of("6+2-3")
    assert has_redundant_parentheses("(3*8)+1")
    assert has_redundant_parentheses("9-(3-2)+1") is False  # taking the pair away changes the formula
    assert has_redundant_parentheses("3*(8+1)") is False
    assert has_redundant_parentheses("((3+8))*1")
