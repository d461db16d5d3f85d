"""The work shown on the way to a formula: how it is written, and how it is judged apart from the answer."""

import pytest

from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints.prompt import read_reply, write_reply
from ruleshift.tasks.generalpoints.solver import solve
from ruleshift.tasks.generalpoints.steps import is_whole, judged_work, written_steps
from ruleshift.tasks.generalpoints.task import GeneralPointsProblem
from ruleshift.tasks.protocol import Style

HAND = [10, 4, 6, 5]


def test_steps_follow_precedence_and_say_what_is_left() -> None:
    assert written_steps(HAND, "(10-4)*5-6=24") == ["10-4=6;6,6,5", "6*5=30;30,6", "30-6=24"]
    assert written_steps([3, 3, 8, 8], "8/(3-8/3)=24") == ["8/3=8/3;8/3,3,8", "3-(8/3)=1/3;1/3,8", "8/(1/3)=24"]


@pytest.mark.parametrize("formula", ["", "10-4)*5", "banana", "1/0-3=24", "24"])
def test_any_text_has_steps_or_none(formula: str) -> None:
    assert isinstance(written_steps(HAND, formula), list)


def test_whole_partial_results() -> None:
    assert is_whole("(10-4)*5-6=24", 99)
    assert not is_whole("8/(3-8/3)=24", 99)  # a fraction on the way
    assert not is_whole("4-10+6*5=24", 99)  # below zero
    assert not is_whole("13*12-11*12=24", 99)  # beyond 99


@pytest.mark.parametrize(
    ("steps", "formula", "work"),
    [
        (["10-4=6;6,6,5", "6*5=30;30,6", "30-6=24"], "(10-4)*5-6=24", "sound"),
        (["10-4 = 6; 6, 5, 6", "6*5=30", "30-6=24"], "(10-4)*5-6", "sound"),  # spacing, order, nothing left said
        (["10 − 4 = 6; left: 6, 6, 5", "6×5=30; [30, 6].", "30-6=24."], "(10-4)*5-6", "sound"),  # as LLMs write
        (["10-4=6;6,6,5,banana", "6*5=30", "30-6=24"], "(10-4)*5-6=24", "untrue"),
        (["10-4=7;7,6,5", "7*5=35;35,6", "35-6=29"], "(10-4)*5-6=24", "untrue"),  # arithmetic
        (["10-4=6;6,5", "6*5=30", "30-6=24"], "(10-4)*5-6=24", "untrue"),  # what is left
        (["10-3=7", "7*5=35", "35-6=29"], "(10-4)*5-6=24", "untrue"),  # a number that is not there
        (["10-4=6", "6-5=1", "6+1=7"], "(10-4)*5-6=24", "astray"),  # true, and to another value
        (["10-4=6", "6*5=30"], "(10-4)*5-6=24", "astray"),  # stops half way
        (["10-4=6", "6*5=30", "30-6=24"], "banana", "astray"),
        (["first I subtract"], "(10-4)*5-6=24", "untrue"),
        (["5/0=1"], "(10-4)*5-6=24", "untrue"),
    ],
)
def test_work_is_judged_for_the_formula_it_should_lead_to(steps: list[str], formula: str, work: str) -> None:
    assert judged_work(steps, HAND, formula) == work


def test_the_work_of_every_solution_is_sound() -> None:
    """Fractions and numbers below zero on the way included; those of 3, 3, 8, 8 are all of that kind."""
    hands = [(3, 3, 8, 8), (1, 5, 5, 5), (1, 3, 4, 6), (2, 7, 7, 10), (5, 5, 7, 11), (1, 2, 12, 13)]
    solutions = [(hand, formula) for hand in hands for formula in solve(hand)]
    assert sum(not is_whole(formula, 99) for _, formula in solutions) > 5
    for hand, formula in solutions:
        assert judged_work(written_steps(hand, formula), hand, formula) == "sound", formula


def test_hostile_steps_are_bounded() -> None:
    assert judged_work(["9" * 100_000 + "+1=2"] * 1_000, HAND, "1") == "untrue"
    assert judged_work(["1+1=2;" + "1," * 100_000], [1, 1], "1+1") == "untrue"


def test_work_is_judged_under_the_rule_that_is_stated() -> None:
    """Where another one is scored, too: it is what the model was told."""
    for index in range(10):
        problem = get_task("gp-l").problem("fake", 0, index, "stepwise")
        assert isinstance(problem, GeneralPointsProblem)
        told, scored = (problem.hand.numbers(rule) for rule in (problem.hand.stated, problem.hand.scored))
        assert told != scored
        verdict = problem.submit(write_reply(problem.hand.ranks, told, solve(told)[0], "stepwise"), last=True)
        assert (verdict.solved, verdict.work) == (False, "sound")
        assert problem.submit(problem.gold(), last=True).work == "untrue"


@pytest.mark.parametrize("style", ["stepwise", "full-stepwise"])
@pytest.mark.parametrize("name", ["gp-l", "gp-vl"])
def test_the_expert_shows_sound_work_and_the_formula_alone_is_judged(name: str, style: Style) -> None:
    for index in range(10):
        problem = get_task(name).problem("rule-ood", 0, index, style)
        gold = problem.gold()
        verdict = problem.submit(gold, last=True)
        assert verdict.solved
        assert verdict.valid
        assert verdict.work == "sound"
        first = read_reply(gold, style).steps[0]
        false = problem.submit(gold.replace(first, "1+1=3"), last=True)
        assert (false.solved, false.reward, false.work) == (True, verdict.reward, "untrue")


def test_steps_belong_to_the_form_where_they_are_asked_for() -> None:
    asked = get_task("gp-l").problem("id", 0, 0, "stepwise")
    unasked = get_task("gp-l").problem("id", 0, 0, "terse")
    assert asked.submit(asked.gold(), last=True).valid
    assert not asked.submit(unasked.gold(), last=True).valid
    assert not unasked.submit(asked.gold(), last=True).valid
    assert unasked.submit(unasked.gold(), last=True).work is None
    assert '"steps"' in get_task("gp-l").problem("id", 0, 0, "full-stepwise").context()[0].content
    assert '"steps"' not in get_task("gp-l").problem("id", 0, 0, "full").context()[0].content
