"""Targets drawn for a hand among all that its numbers reach: there are many times more such problems than hands that
make 24."""

import random
from collections.abc import Sequence
from functools import lru_cache

from ruleshift.tasks.generalpoints.solver import Node, formulas, join, number_node
from ruleshift.tasks.generalpoints.steps import is_whole

LARGEST = 99


def random_formula(numbers: Sequence[int], rng: random.Random) -> str:
    """A legal formula in canonical form over all the numbers: operands and operators joined at random."""
    nodes: list[Node] = [number_node(number) for number in numbers]
    while len(nodes) > 1:
        left = nodes.pop(rng.randrange(len(nodes)))
        right = nodes.pop(rng.randrange(len(nodes)))
        nodes.append(join(rng.choice("+-*/"), left, right))
    return nodes[0].text


def drawn_target(numbers: Sequence[int], rng: random.Random) -> int:
    """One of the targets from 1 to 99 that formulas with whole partial results reach, each as likely as the others."""
    return rng.choice(tuple(whole_formulas(tuple(sorted(numbers)))))


@lru_cache(maxsize=4_096)
def whole_formulas(hand: tuple[int, ...]) -> dict[int, tuple[str, ...]]:
    """The targets from 1 to 99 that sorted numbers reach with whole partial results up to 99, each with its formulas."""
    found = {
        int(value): tuple(text for text in texts if is_whole(text, LARGEST))
        for value, texts in formulas(hand).items()
        if value.denominator == 1 and 1 <= value <= LARGEST
    }
    return {target: texts for target, texts in sorted(found.items()) if texts}


def taken_apart(target: int, count: int, largest: int, rng: random.Random) -> tuple[list[int], str]:
    """Numbers from 1 to `largest` that make a target, and a formula over them: the target is taken apart, and its parts
    again. All partial results are whole, from 1 to 99."""
    while True:
        numbers: list[int] = []
        formula = _apart(target, count, numbers, rng).text
        if max(numbers) <= largest and is_whole(formula, LARGEST):
            return numbers, formula


def _apart(value: int, count: int, numbers: list[int], rng: random.Random) -> Node:
    """A formula over `count` numbers, which are added to `numbers`, with this value."""
    if count == 1:
        numbers.append(value)
        return number_node(value)
    sign = rng.choice([sign for sign, pairs in _pairs(value).items() if pairs])
    left, right = rng.choice(_pairs(value)[sign])
    part = rng.randint(1, count - 1)
    return join(sign, _apart(left, part, numbers, rng), _apart(right, count - part, numbers, rng))


@lru_cache(maxsize=LARGEST)
def _pairs(value: int) -> dict[str, list[tuple[int, int]]]:
    """The pairs of numbers from 1 to 99 that make a value, by sign; products and quotients with 1 left out."""
    return {
        "+": [(a, value - a) for a in range(1, value)],
        "-": [(value + b, b) for b in range(1, LARGEST - value + 1)],
        "*": [(a, value // a) for a in range(2, value) if value % a == 0],
        "/": [(value * b, b) for b in range(2, LARGEST // value + 1)],
    }
