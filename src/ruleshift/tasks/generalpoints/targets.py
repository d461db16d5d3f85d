"""Targets drawn for a hand: what a random formula over its numbers comes to.

Every hand then has a solution without a search for hands that have one, and hardly a pair of hand and target repeats.
"""

import random
from collections.abc import Sequence

from ruleshift.tasks.generalpoints.solver import Node, join, number_node
from ruleshift.tasks.generalpoints.steps import is_whole, operations

LARGEST = 99


def random_formula(numbers: Sequence[int], rng: random.Random) -> str:
    """A legal formula in canonical form over all the numbers: operands and operators joined at random."""
    nodes: list[Node] = [number_node(number) for number in numbers]
    while len(nodes) > 1:
        left = nodes.pop(rng.randrange(len(nodes)))
        right = nodes.pop(rng.randrange(len(nodes)))
        nodes.append(join(rng.choice("+-*/"), left, right))
    return nodes[0].text


def drawn_target(numbers: Sequence[int], rng: random.Random) -> tuple[int, str]:
    """A target from 1 to 99 with the random formula that comes to it, whose partial results are whole, from 0 to 99."""
    while True:
        formula = random_formula(numbers, rng)
        if is_whole(formula, LARGEST):
            target = operations(formula)[-1].result
            if target >= 1:
                return int(target), formula
