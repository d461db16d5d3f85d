"""The parser against Python's own grammar and exact arithmetic on random trees."""

import ast
import contextlib
import random
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ruleshift.tasks.generalpoints.expression import MAX_CHARACTERS, FormulaError, left_side, parse

QUICK = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
Tree = int | tuple[str, "Tree", "Tree"]
TREES = st.recursive(st.integers(0, 30), lambda child: st.tuples(st.sampled_from("+-*/"), child, child), max_leaves=8)


def value_of(tree: Tree) -> Fraction | None:
    """Exact value, None where anything in the tree divides by zero."""
    if isinstance(tree, int):
        return Fraction(tree)
    operator, left, right = tree[0], value_of(tree[1]), value_of(tree[2])
    if left is None or right is None or (operator == "/" and right == 0):
        return None
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return left / right


def numbers_of(tree: Tree) -> tuple[int, ...]:
    return (tree,) if isinstance(tree, int) else numbers_of(tree[1]) + numbers_of(tree[2])


def tokens_of(tree: Tree, rng: random.Random, needed: bool = False) -> list[str]:
    """The tree in infix form, in parentheses where `needed`, and in redundant ones at random."""
    if isinstance(tree, int):
        tokens = [str(tree)]
    else:
        operator, left, right = tree
        rank = PRECEDENCE[operator]
        weaker_left = not isinstance(left, int) and PRECEDENCE[left[0]] < rank
        weaker_right = not isinstance(right, int) and PRECEDENCE[right[0]] <= rank
        tokens = [*tokens_of(left, rng, weaker_left), operator, *tokens_of(right, rng, weaker_right)]
    pairs = needed + rng.choice((0, 0, 0, 1, 2))
    return ["("] * pairs + tokens + [")"] * pairs


def text_of(tree: Tree, seed: int) -> str:
    rng = random.Random(seed)
    text = "".join(token + rng.choice(("", "", " ", "\t", "  \n")) for token in tokens_of(tree, rng))
    return rng.choice(("", " ")) + text


@QUICK
@given(TREES, st.integers(0, 10**6))
def test_value_and_numbers_of_random_trees(tree: Tree, seed: int) -> None:
    text = text_of(tree, seed)
    if len(text) > MAX_CHARACTERS:
        return
    formula = parse(text)
    assert formula.value == value_of(tree)
    assert formula.numbers == numbers_of(tree)


def test_random_trees_reach_every_kind_of_value() -> None:
    """Control: the property above would be empty if no tree had a fraction, a negative value or a zero divisor."""
    values = [parse(text).value for text in ("1/3", "1-3", "5/(3-3)", "2+2*2", "8-4-2", "8/4/2", "8-(4-2)")]
    assert values == [Fraction(1, 3), -2, None, 6, 2, 1, 6]


def test_value_is_exact_where_floating_point_is_not() -> None:
    assert 8 / (3 - 8 / 3) != 24
    assert parse("8/(3-8/3)").value == 24
    assert parse("(1/3+1/3+1/3)*24").value == 24


@pytest.mark.parametrize("text", ["1/0", "8/(3-3)", "0/0", "(1+2)/(4-2*2)*0", "0*(1/(5-5))", "1/(0/7)"])
def test_division_by_zero_has_no_value(text: str) -> None:
    formula = parse(text)
    assert formula.value is None
    assert formula.numbers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("()", "closes where a number should stand"),
        ("1+", "ends where a number should stand"),
        ("(", "ends where a number should stand"),
        ("+1", "missing before `+`"),
        ("-1", "missing before `-`"),
        ("1*-2", "missing before `-`"),
        ("1**2", "missing before `*`"),
        ("7//2", "missing before `/`"),
        ("1 2", "side by side"),
        ("1\t2+3", "side by side"),
        ("2(3)", "missing before a parenthesis"),
        ("(2)(3)", "missing before a parenthesis"),
        ("(2)3", "missing before a number"),
        ("(1+2", "left open"),
        ("((1+2)", "left open"),
        ("1+2)", "never opened"),
        (")1+2(", "closes where a number should stand"),
        ("1+(2-)", "closes where a number should stand"),
        ("1.5+2", "something other than"),
        ("1,5", "something other than"),
        ("x+1", "something other than"),
        ("1_0", "something other than"),
        ("1=1", "something other than"),
        ("٣+1", "something other than"),
        ("²+1", "something other than"),
        ("1+2\0", "something other than"),
        ("__import__('os')", "something other than"),
        ("1234567890+1", "too long"),
        ("1" * (MAX_CHARACTERS + 1), "longer than"),
    ],
)
def test_what_the_grammar_refuses(text: str, said: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse(text)
    assert said in str(caught.value)


def is_arithmetic(node: ast.AST) -> bool:
    """Whether a Python expression uses nothing but integers and the four operators."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        return is_arithmetic(node.left) and is_arithmetic(node.right)
    return isinstance(node, ast.Constant) and type(node.value) is int


def python_reads(text: str) -> bool:
    try:
        return is_arithmetic(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        return False


def reads(text: str) -> bool:
    try:
        parse(text)
    except FormulaError:
        return False
    return True


@QUICK
@given(st.text("12+-*/() ", max_size=12))
def test_accepts_what_python_accepts(text: str) -> None:
    assert reads(text) == python_reads(text)


def test_accepts_what_python_accepts_on_damaged_formulas() -> None:
    """As above, on formulas one character away from a legal one: about half of them can still be read."""
    rng, accepted = random.Random(7), 0
    for _ in range(2000):
        tree: Tree = ("-", ("*", rng.randint(1, 9), ("+", 2, rng.randint(1, 9))), rng.randint(1, 9))
        signs = tokens_of(tree, rng)
        position = rng.randrange(len(signs))
        signs[position : position + rng.choice((0, 1))] = rng.choice(("", "(", ")", "+", "*", "7"))
        text = "".join(signs)
        assert reads(text) == python_reads(text), text
        accepted += reads(text)
    assert 400 < accepted < 1600


@QUICK
@given(st.text(max_size=300) | st.text("0123456789+-*/() =×÷−", max_size=300))
def test_no_text_raises_anything_but_formula_error(text: str) -> None:
    with contextlib.suppress(FormulaError):
        assert parse(text).numbers


def test_length_is_bounded_before_anything_is_read() -> None:
    longest = "1" + "+1" * ((MAX_CHARACTERS - 1) // 2)
    assert parse(longest).value == 1 + (MAX_CHARACTERS - 1) // 2
    assert parse("(" * 127 + "9" + ")" * 127).value == 9
    for text in (longest + " " * MAX_CHARACTERS, "(" * 10**6, "9" * 10**6):
        with pytest.raises(FormulaError, match="longer than 256"):
            parse(text)


def test_typographic_signs_are_read() -> None:
    assert parse("8 × 3 ÷ 2 − 1 – 1 · 2").value == 9


def test_left_side_stops_at_the_first_equals_sign() -> None:
    assert left_side("1+2=3=4") == "1+2"
    assert left_side("=24") == ""
    assert left_side("1+2") == "1+2"
