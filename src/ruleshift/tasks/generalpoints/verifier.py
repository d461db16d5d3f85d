"""The GeneralPoints verifier.

Two modes. `fixed` (default) gives the paper's rewards, one outcome per formula, in exact arithmetic:
    solved +5 | wrong_value -1 | wrong_numbers -2 | illegal -3
and, where the hand is a picture, misread -1.5 in place of wrong_value and wrong_numbers (see `recognised`).
`official` gives the reward of the official code for every string (see `official.py`).
`docs/deviations.md` lists the differences.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from ruleshift.records import Feedback, Verdict
from ruleshift.tasks.generalpoints import expression
from ruleshift.tasks.generalpoints.judgement import Judgement
from ruleshift.tasks.generalpoints.official import OfficialJudgement, official_judgement
from ruleshift.tasks.generalpoints.prompt import feedback
from ruleshift.tasks.protocol import Style

REWARDS = {"solved": 5.0, "wrong_value": -1.0, "wrong_numbers": -2.0, "illegal": -3.0, "misread": -1.5}
BUDGET_SPENT = -1.0


def verify_formula(formula: str, numbers: Sequence[int], target: int = 24, compat: str = "fixed") -> Verdict:
    """Judge a formula over a hand.

    formula: any text; what follows the first `=` is not looked at, unless a number stands alone before it (`fixed`).
    numbers: what the cards count.
    compat: "fixed" or "official". Never raises on any formula and never evaluates it as code; any text up to
    100,000 characters is judged in bounded time. Raises ValueError for an unknown compat mode.
    """
    return verdict(judge(formula, numbers, target, compat))


def verdict(judgement: Judgement, style: Style = "full", level: Feedback = "full") -> Verdict:
    """A judgement in words, as many as the level of feedback allows."""
    found = None if judgement.value is None else str(judgement.value)
    said = feedback(judgement, style, level)
    return Verdict(judgement.outcome, judgement.reward, judgement.outcome == "solved", said, found=found)


def judge(formula: str, numbers: Sequence[int], target: int = 24, compat: str = "fixed") -> Judgement:
    """As `verify_formula`, with the details."""
    if compat not in ("fixed", "official"):
        raise ValueError(f"compat must be 'fixed' or 'official', not {compat!r}")
    if compat == "official":
        exact = _judge_fixed(expression.left_side(formula), numbers, target)
        return _with_official_reward(exact, official_judgement(formula, numbers, target))
    return _judge_fixed(expression.formula_in(formula), numbers, target)


def recognised(judgement: Judgement, stated: Sequence[str], dealt: Sequence[str], compat: str = "fixed") -> Judgement:
    """The judgement of a reply that states these cards (ranks, in any order) where those `dealt` were to be seen.

    A formula that is read and wrong counts as misread where the cards are: what it lacks would tell them. `official`:
    every reply does that states other cards, before anything else, also when its formula is right; one in which neither
    cards nor a formula are found stays unreadable.
    """
    if Counter(stated) == Counter(dealt):
        return judgement
    if compat == "official":
        kept = judgement.outcome == "unreadable" and not stated
    else:
        kept = judgement.outcome not in ("wrong_value", "wrong_numbers")
    if kept:
        return judgement
    return Judgement("misread", REWARDS["misread"], judgement.target, judgement.value)


def _with_official_reward(exact: Judgement, official: OfficialJudgement) -> Judgement:
    """The official outcome and reward, explained by what the exact reading found."""
    value: Fraction | float | None = None if official.reason else exact.value
    if official.outcome == "wrong_value" and exact.value in (None, exact.target):
        value = official.value
    reason = official.reason or exact.reason
    return replace(exact, outcome=official.outcome, reward=official.reward, value=value, reason=reason)


def _judge_fixed(text: str, numbers: Sequence[int], target: int) -> Judgement:
    def result(outcome: str, **details: object) -> Judgement:
        return Judgement(outcome, REWARDS[outcome], target, **details)  # type: ignore[arg-type]

    try:
        formula = expression.parse(text)
    except expression.FormulaError as error:
        return result("illegal", reason=str(error))
    used, dealt = Counter(formula.numbers), Counter(numbers)
    if used != dealt:
        foreign = tuple(sorted((used - dealt).elements()))
        unused = tuple(sorted((dealt - used).elements()))
        return result("wrong_numbers", value=formula.value, foreign=foreign, unused=unused)
    return result("solved" if formula.value == target else "wrong_value", value=formula.value)
