"""GeneralPoints in the pretraining mixture: hands of any target, with the work shown.

J, Q, K count something new each time, never as in a training, validation or test split. Nearly all targets are what a
random formula over the hand comes to, so that hardly an example repeats, and what is learned is the arithmetic that all
hands and rules share rather than the formulas of the few hands that make 24. A small share are to make 24, each
multiset some twenty times; held-out ones never. Some conversations begin with failed attempts and the verifier's
feedback, which are read and not learned: what the base lacks is judgement, it is not careless on purpose.
"""

import random
from dataclasses import dataclass

from ruleshift.chat import Chat, Sequences, encode_dialogue
from ruleshift.records import Message
from ruleshift.tasks.generalpoints.deal import deal_with_formula
from ruleshift.tasks.generalpoints.prompt import write_reply
from ruleshift.tasks.generalpoints.rules import RANKS
from ruleshift.tasks.generalpoints.steps import is_whole
from ruleshift.tasks.generalpoints.targets import LARGEST, random_formula
from ruleshift.tasks.generalpoints.task import GeneralPoints, GeneralPointsProblem
from ruleshift.tasks.generalpoints.visual import GeneralPointsVL
from ruleshift.tasks.protocol import Style
from ruleshift.tasks.streams import stream

STYLE: Style = "stepwise"


@dataclass(frozen=True)
class Exercise:
    """usual: share of the problems whose target is that of training. failed: probability of a (further) failed attempt
    before the right one, up to `most`. Of these, `misuse` change one number and, where cards are seen, `misread` take
    one card for another; the others join the right numbers to a wrong value."""

    usual: float = 0.0
    failed: float = 0.0
    most: int = 4
    misuse: float = 0.15
    misread: float = 0.15


FIRST_TRIES = Exercise(usual=0.025)
WITH_RETRIES = Exercise(usual=0.025, failed=0.3)


def conversation(chat: Chat, exercise: Exercise, seed: int, index: int, picture: int | None = None) -> Sequences:
    """The pretraining conversation at `index`, as token ids with the mask of its last reply, the right one."""
    rng = stream("pretraining", seed, index)
    task = GeneralPointsVL(size=picture) if picture else GeneralPoints()
    split = "pretrain" if exercise.usual and rng.random() < exercise.usual else "pretrain-targets"
    problem = task.problem(split, seed, index, STYLE)
    right = deal_with_formula(split, seed, index)[1] or _solution(problem, rng)
    messages = list(problem.context())
    for _ in range(exercise.most):
        if rng.random() >= exercise.failed:
            break
        reply = _failed(problem, exercise, rng)
        verdict = problem.submit(reply, last=False)
        if not verdict.solved:
            messages += [Message("assistant", reply), Message("user", verdict.feedback)]
    messages.append(Message("assistant", problem.reply(f"{right}={problem.hand.scored.target}")))
    failed = (len(messages) - len(problem.context())) // 2
    return encode_dialogue(chat, messages, [False] * failed + [True])


def _solution(problem: GeneralPointsProblem, rng: random.Random) -> str:
    """One with whole partial results, if there is one."""
    whole = [formula for formula in problem.solutions if is_whole(formula, LARGEST)]
    return rng.choice(whole or problem.solutions)


def _failed(problem: GeneralPointsProblem, exercise: Exercise, rng: random.Random) -> str:
    """A reply that fails, but for the odd one that comes to the target by chance."""
    rule, ranks = problem.hand.scored, list(problem.hand.ranks)
    numbers = list(problem.hand.numbers(rule))
    kind = rng.random()
    if kind < exercise.misread and problem.context()[0].pictures:
        ranks[rng.randrange(len(ranks))] = rng.choice(RANKS)
        numbers = [rule.value(rank) for rank in ranks]
    elif kind > 1 - exercise.misuse:
        numbers[rng.randrange(len(numbers))] = rng.randint(1, 13)
    formula = f"{random_formula(numbers, rng)}={rule.target}"
    return write_reply(ranks, numbers, formula, problem.style)
