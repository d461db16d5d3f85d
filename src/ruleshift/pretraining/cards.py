"""GeneralPoints in the pretraining mixture: conversations of a careless student.

Every deal comes from the split `pretrain`: J, Q, K count something new each time, never a rule of a training,
validation or test split, and never a held-out multiset. In the first phase each conversation is one right answer.
In the second the student errs with a fixed probability at every turn, reads the verifier's feedback and tries
again; all answers are learned, the wrong ones too, so that the base knows the task and is careless at it.
"""

import random
from dataclasses import dataclass

from ruleshift.chat import Chat, Sequences, encode_dialogue
from ruleshift.records import Message
from ruleshift.tasks.generalpoints.prompt import write_reply
from ruleshift.tasks.generalpoints.rules import RANKS
from ruleshift.tasks.generalpoints.solver import Node, join, number_node, solve
from ruleshift.tasks.generalpoints.task import GeneralPoints, GeneralPointsProblem
from ruleshift.tasks.generalpoints.visual import GeneralPointsVL
from ruleshift.tasks.streams import stream


@dataclass(frozen=True)
class Student:
    """How careless the student is.

    error_rate: probability that an answer is wrong. Of the wrong answers, `guess` are legal formulas over the right
    numbers with the wrong value, `repeat` copies of an earlier attempt (guesses where there is none), `misuse` change
    one number; the rest are cut short. misread: where cards are seen, the share of wrong answers that take one card for
    another, and do their best with it. turns: most attempts in a conversation.
    """

    error_rate: float
    guess: float = 0.7
    repeat: float = 0.12
    misuse: float = 0.13
    misread: float = 0.15
    turns: int = 5


CLEAN = Student(error_rate=0.0, turns=1)
CARELESS = Student(error_rate=0.4)


def conversation(chat: Chat, student: Student, seed: int, index: int, picture: int | None = None) -> Sequences:
    """The pretraining conversation at `index`, as token ids with the mask of its replies."""
    problem = (GeneralPointsVL(size=picture) if picture else GeneralPoints()).problem("pretrain", seed, index, "terse")
    rng = stream("pretraining", seed, index)
    messages = list(problem.context())
    attempts: list[str] = []
    for turn in range(student.turns):
        wrong = rng.random() < student.error_rate
        if wrong and picture and rng.random() < student.misread:
            reply = _misread(problem, rng)
        else:
            formula = _wrong_formula(problem, student, attempts, rng) if wrong else _right_formula(problem, rng)
            attempts.append(formula)
            reply = problem.reply(formula)
        messages.append(Message("assistant", reply))
        verdict = problem.submit(messages[-1].content, last=False)
        if verdict.solved or turn == student.turns - 1:
            break
        messages.append(Message("user", verdict.feedback))
    return encode_dialogue(chat, messages)


def _right_formula(problem: GeneralPointsProblem, rng: random.Random) -> str:
    return f"{rng.choice(problem.solutions)}={problem.hand.scored.target}"


def _wrong_formula(problem: GeneralPointsProblem, student: Student, attempts: list[str], rng: random.Random) -> str:
    target = problem.hand.scored.target
    kind = rng.random()
    numbers = list(problem.hand.numbers(problem.hand.scored))
    if kind < student.repeat and attempts:
        return rng.choice(attempts)
    if kind < student.repeat + student.guess:
        return f"{random_formula(numbers, rng)}={target}"
    formula = rng.choice(problem.solutions)
    if kind < student.repeat + student.guess + student.misuse:
        numbers[rng.randrange(len(numbers))] = rng.randint(1, 13)
        return f"{random_formula(numbers, rng)}={target}"
    return f"{formula[: rng.randrange(1, len(formula))]}={target}"


def _misread(problem: GeneralPointsProblem, rng: random.Random) -> str:
    """A reply that takes one card for another: right for the cards it states, where they can be solved."""
    rule, ranks = problem.hand.scored, list(problem.hand.ranks)
    ranks[rng.randrange(len(ranks))] = rng.choice(RANKS)
    numbers = [rule.value(rank) for rank in ranks]
    solutions = solve(tuple(numbers), rule.target)
    formula = rng.choice(solutions) if solutions else random_formula(numbers, rng)
    return write_reply(ranks, numbers, f"{formula}={rule.target}", problem.style)


def random_formula(numbers: list[int], rng: random.Random) -> str:
    """A legal formula in canonical form over all the numbers: operands and operators joined at random."""
    nodes: list[Node] = [number_node(number) for number in numbers]
    while len(nodes) > 1:
        left = nodes.pop(rng.randrange(len(nodes)))
        right = nodes.pop(rng.randrange(len(nodes)))
        nodes.append(join(rng.choice("+-*/" if rng.random() < 0.3 else "+-*"), left, right))
    return nodes[0].text
