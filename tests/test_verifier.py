"""Both modes of the verifier: rewards, exactness, feedback, bounded work; `official` against a slow reference."""

import random
import re
import warnings
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from itertools import permutations, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bounds import within
from ruleshift.records import Verdict
from ruleshift.tasks.generalpoints.judgement import Judgement
from ruleshift.tasks.generalpoints.prompt import feedback
from ruleshift.tasks.generalpoints.solver import solve
from ruleshift.tasks.generalpoints.verifier import BUDGET_SPENT, judge, verify_formula

QUICK = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NESTED = (3, 3, 8, 8)  # 8/(3-8/3) is its only solution, and floating point misses it
MODES = ("fixed", "official")
Hand = tuple[int, ...]


# ---------------------------------------------------------------- fixed


@pytest.mark.parametrize(
    ("formula", "hand", "outcome", "reward"),
    [
        ("8/(3-8/3)=24", NESTED, "solved", 5),
        (" 8 / ( 3 - 8 / 3 ) = 24", NESTED, "solved", 5),
        ("((8)/((3-(8/3))))", NESTED, "solved", 5),
        ("8÷(3−8÷3)=24", NESTED, "solved", 5),
        ("8/(3-8/3)=25 or so", NESTED, "solved", 5),
        ("(1+2+3)*4=24", (4, 3, 2, 1), "solved", 5),
        ("(1+2+3)*04", (4, 3, 2, 1), "solved", 5),
        ("3+3+8+8=24", NESTED, "wrong_value", -1),
        ("8/(3-3)*8=24", NESTED, "wrong_value", -1),
        ("24=24", NESTED, "wrong_numbers", -2),
        ("8*3", NESTED, "wrong_numbers", -2),
        ("3*8", NESTED, "wrong_numbers", -2),
        ("8*3+3-3", NESTED, "wrong_numbers", -2),
        ("6*4*1*1", (5, 6, 8, 10), "wrong_numbers", -2),
        ("8/(3-8/3", NESTED, "illegal", -3),
        ("3*(8", NESTED, "illegal", -3),
        ("", NESTED, "illegal", -3),
        ("=24", NESTED, "illegal", -3),
        ("8**3", NESTED, "illegal", -3),
        ("-3+3+8*8", NESTED, "illegal", -3),
        ("8 3 3 8", NESTED, "illegal", -3),
        ("__import__('os').abort()", NESTED, "illegal", -3),
    ],
)
def test_fixed_rewards(formula: str, hand: Hand, outcome: str, reward: float) -> None:
    verdict = verify_formula(formula, hand)
    assert (verdict.outcome, verdict.reward, verdict.solved) == (outcome, reward, reward == 5)


def test_fixed_follows_the_target() -> None:
    assert verify_formula("10+10+8+8", (10, 10, 8, 8), target=36).solved
    assert not verify_formula("10+10+8+8", (10, 10, 8, 8), target=24).solved


def test_fixed_is_exact_where_floating_point_fails_either_way() -> None:
    assert 8 / (3 - 8 / 3) != 24
    assert verify_formula("8/(3-8/3)", NESTED).solved
    assert 24 + 1 / 999999999 / 999999999 == 24
    almost = verify_formula("24+1/999999999/999999999", (1, 24, 999999999, 999999999))
    assert almost.outcome == "wrong_value"
    assert verify_formula("24+1/2/4", (1, 2, 4, 24)).found == "193/8"


def test_budget_penalty_is_the_papers() -> None:
    assert BUDGET_SPENT == -1


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="'fixed' or 'official'"):
        verify_formula("1", (1,), compat="officail")


# ---------------------------------------------------------------- official: by hand


@pytest.mark.parametrize(
    ("formula", "hand", "reward"),
    [
        ("(1+2+3)*4=24", (1, 2, 3, 4), 5),
        ("(1+2+3)*4=99=24", (1, 2, 3, 4), 5),  # what follows the first = is not looked at
        ("((1)+(2)+3)*4", (1, 2, 3, 4), 5),  # redundant parentheses do not hurt a formula that can be evaluated
        ("1*2*3*(4)", (1, 2, 3, 4), 5),
        ("5*(5-1/5)", (1, 5, 5, 5), 5),  # a fraction that floating point gets right
        ("8/(3-8/3)", NESTED, -1),  # floating point misses, although the formula is listed
        ("(8/(3-8/3))", NESTED, -1),  # the same with a pair that no listed solution has
        ("8/(3-(8/3))", NESTED, -1),
        ("8/(3-8/3", NESTED, 1),  # strict prefix of a listed solution
        ("(1+2)*(3+4", (1, 2, 3, 4), -1),  # 21: the closed text is no solution
        ("(3+1)*(2+4", (1, 2, 3, 4), 1),  # prefix of a solution with two pairs
        ("4*(1+2+3", (1, 2, 3, 4), 1),  # a pair around three numbers
        ("2*3*(4*1", (1, 2, 3, 4), 1),  # redundant, but listed
        ("(2*3*4*1", (1, 2, 3, 4), -1),  # never around all four
        ("2*3*4*(1", (1, 2, 3, 4), -1),  # never around one
        ("4*((1+2)+3", (1, 2, 3, 4), -1),  # never nested
        ("4*(1+2+03", (1, 2, 3, 4), -1),  # 03 counts as 3, but is in no listed solution
        ("(1+2+3)*04", (1, 2, 3, 4), -1),  # and Python does not read it
        ("4*6*(1+0", (0, 1, 4, 6), 1),
        ("4*6*(1+00", (0, 1, 4, 6), -1),  # Python reads 00, but it is in no listed solution
        ("4*6*(1+00)", (0, 1, 4, 6), 5),
        ("8/(3-3)*8", NESTED, -1),  # division by zero
        ("8/(3-3*8", NESTED, -1),
        ("3+3+8+8", NESTED, -1),
        ("3+3+8+8+", NESTED, -1),  # legal to the walker, which does not look at the end
        ("٣+3+8+8", NESTED, -1),  # digits of any script count, and cannot be evaluated
        ("(1+2+3)*٠4", (1, 2, 3, 4), -1),
        ("", NESTED, -2),
        ("=24", NESTED, -2),
        ("8*3", NESTED, -2),  # 8 and 3 left out: once
        ("8*3+", NESTED, -2),
        ("8/(3", NESTED, -2),
        ("8*3+3+8+3", NESTED, -2),  # 3 too often
        ("9*9*9", NESTED, -4),  # not on the cards, and all left out
        ("3*3*3", NESTED, -4),  # too often, and 8 left out
        ("3*3*3*9", NESTED, -4),  # "not on the cards" hides "too often"
        ("83+3+8", NESTED, -4),
        ("8 / (3 - 8/3)", NESTED, -3),  # a space is an illegal character, which ends the walk
        ("8/(3-8/3) = 24", NESTED, -3),
        ("8×3", NESTED, -3),
        ("8.0", NESTED, -3),
        ("None", NESTED, -3),
        ("x" * 100, NESTED, -3),
        ("-3+3+8+8", NESTED, -3),
        ("3+3+8+8)", NESTED, -3),
        ("3+3+8**8", NESTED, -3),
        ("3+3+8(+8", NESTED, -6),  # ( after a number opens nothing; + after it
        ("3+(3+8+)8", NESTED, -6),  # ) after an operator closes nothing; 8 after it
        ("3+3+8(8)", NESTED, -6),  # so the ) that follows has nothing open
        ("(3)(3+8+8)", NESTED, -6),
        ("()", NESTED, -5),
        (")", NESTED, -5),
        ("+-", NESTED, -8),
        (")(", NESTED, -8),
        ("9+*9", NESTED, -7),
    ],
)
def test_official_rewards_by_hand(formula: str, hand: Hand, reward: float) -> None:
    verdict = verify_formula(formula, hand, compat="official")
    assert (verdict.reward, verdict.solved) == (reward, reward == 5)
    assert reference_reward(formula, hand) == reward


def test_official_evaluation_stops_where_python_does() -> None:
    """Python refuses more than 200 open parentheses, so a right formula inside them earns -1."""
    for depth, reward in ((1, 5), (200, 5), (201, -1), (40_000, -1)):
        formula = "(" * depth + "1*2*3" + ")" * depth + "*4"
        assert verify_formula(formula, (1, 2, 3, 4), compat="official").reward == reward
    assert reference_reward("(" * 200 + "1*2*3" + ")" * 200 + "*4", (1, 2, 3, 4)) == 5
    assert reference_reward("(" * 201 + "1*2*3" + ")" * 201 + "*4", (1, 2, 3, 4)) == -1


# ---------------------------------------------------------------- official: a slow reference


@lru_cache
def listed_solutions(hand: Hand, target: int = 24) -> tuple[str, ...]:
    """Every permutation and operator choice in the listed shapes that reaches the target, by exact arithmetic."""
    shapes = ["{}?{}?{}?{}", "({}?{})?{}?{}", "{}?({}?{})?{}", "{}?{}?({}?{})"]
    shapes += ["({}?{}?{})?{}", "{}?({}?{}?{})", "({}?{})?({}?{})"]
    found = []
    for numbers in sorted(set(permutations(hand))):
        for operators in product("+-*/", repeat=3):
            for shape in shapes:
                pattern = shape.replace("?", "%s") % operators
                try:
                    value = eval(pattern.format(*(f"F({number})" for number in numbers)), {"F": Fraction})
                except ZeroDivisionError:
                    continue
                if value == target:
                    found.append(pattern.format(*numbers))
    return tuple(found)


def reference_reward(formula: str, hand: Hand, target: int = 24) -> float:
    """The official walk, token by token."""
    text = formula.split("=")[0]
    tokens = re.findall(r"\d+|[-+*/()]", text)
    if "".join(tokens) != text:
        return -3
    reward = -3 * misplaced_tokens(tokens)
    dealt, used = Counter(hand), Counter(int(token) for token in tokens if token.isdigit())
    if any(number not in dealt for number in used) or any(used[number] > dealt[number] for number in used):
        reward -= 2
    if any(used[number] < dealt[number] for number in dealt):
        reward -= 2
    return reward or reward_of_value(text, hand, target)


def misplaced_tokens(tokens: list[str]) -> int:
    count = opened = 0
    previous = "start"
    for token in tokens:
        kind = "number" if token.isdigit() else "operator" if token in "+-*/" else token
        after_value = previous in ("number", ")")
        if kind in ("number", "("):
            misplaced = after_value
            opened += kind == "(" and not misplaced
        elif kind == "operator":
            misplaced = not after_value
        else:
            misplaced = not after_value or opened == 0
            opened -= not misplaced
        count += misplaced
        previous = kind
    return count


def reward_of_value(text: str, hand: Hand, target: int) -> float:
    """The reward of legal tokens over the right numbers."""
    solutions = listed_solutions(tuple(sorted(hand)), target)
    try:
        if eval(text) == target:
            return 5
    except (SyntaxError, ZeroDivisionError):
        if any(solution.startswith(text) for solution in solutions):
            return 1
    return -1


REFERENCE_HANDS: tuple[Hand, ...] = (NESTED, (1, 5, 5, 5), (2, 3, 10, 10), (1, 3, 4, 6), (1, 1, 1, 1))
SIGNS = "+-*/()()0123458 ="


def damaged(text: str, edits: list[tuple[int, float, str]]) -> str:
    """The text after a few edits: cut, delete, insert or swap at a relative position."""
    signs = list(text)
    for kind, place, sign in edits:
        at = int(place * len(signs))
        if kind == 0:
            del signs[at:]
        elif kind == 1 and signs:
            del signs[at % len(signs)]
        elif kind == 2:
            signs.insert(at, sign)
        elif signs:
            signs[at % len(signs)], signs[0] = signs[0], signs[at % len(signs)]
    return "".join(signs)


def random_formula(hand: Hand, rng: random.Random) -> str:
    """A listed solution of the hand, or any formula over its numbers with a pair of parentheses or none."""
    solutions = listed_solutions(hand)
    if solutions and rng.random() < 0.6:
        return rng.choice(solutions)
    a, b, c, d = (str(number) for number in rng.sample(hand, 4))
    first, last = rng.choice((("", ""), ("(", ")"), ("", "")))
    o, p, q = rng.choices("+-*/", k=3)
    return a + o + first + b + p + c + last + q + d


def test_official_agrees_with_the_reference_on_damaged_formulas() -> None:
    rng, seen = random.Random(5), set()
    for _ in range(4000):
        hand = rng.choice(REFERENCE_HANDS)
        edits = [(rng.randrange(4), rng.random(), rng.choice(SIGNS)) for _ in range(rng.choice((0, 1, 1, 2, 3, 4)))]
        formula = damaged(random_formula(hand, rng), edits)
        expected = reference_reward(formula, hand)
        assert verify_formula(formula, hand, compat="official").reward == expected, (formula, hand)
        seen.add(expected)
    assert seen >= {5, 1, -1, -2, -3, -4, -5, -6, -7, -8}


EDITS = st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1, exclude_max=True), st.sampled_from(SIGNS)), max_size=4)


@QUICK
@given(st.sampled_from(REFERENCE_HANDS), st.integers(0, 10**6), EDITS)
def test_official_agrees_with_the_reference_near_legal_formulas(
    hand: Hand, seed: int, edits: list[tuple[int, float, str]]
) -> None:
    formula = damaged(random_formula(hand, random.Random(seed)), edits)
    assert verify_formula(formula, hand, compat="official").reward == reference_reward(formula, hand)


@QUICK
@given(st.sampled_from(REFERENCE_HANDS), st.text("+-*/()0123456789 =٣a", max_size=14))
def test_official_agrees_with_the_reference_on_any_text(hand: Hand, formula: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        expected = reference_reward(formula, hand)
    assert verify_formula(formula, hand, compat="official").reward == expected


def test_the_modes_differ() -> None:
    """Control: nothing above could fail if `official` were ignored."""
    for formula in ("8/(3-8/3)", "8/(3-8/3", "9*9*9", "3+3+8**8)", ""):
        fixed, official = (verify_formula(formula, NESTED, compat=mode).reward for mode in MODES)
        assert fixed != official


# ---------------------------------------------------------------- feedback


@pytest.mark.parametrize(
    ("formula", "mode", "words"),
    [
        ("8/(3-8/3)", "fixed", "Correct: the formula uses every card once and equals 24."),
        ("3+3+8+8", "fixed", "it equals 22, not 24"),
        ("3/8+3+8", "fixed", "it equals 91/8, not 24"),
        ("8/(3-3)*8", "fixed", "but it divides by zero"),
        ("8*3+9", "fixed", "it uses 9 beyond what the cards offer and it leaves out 3, 8"),
        ("8*(3", "fixed", "a parenthesis is left open"),
        ("8/(3-8/3)", "official", "in floating point it comes to 23.99999999999999, not 24"),
        ("3+3+8+8", "official", "it equals 22, not 24"),
        ("(3+3+8+8", "official", "cannot be evaluated: a parenthesis is left open"),
        ("08/(3-8/3)", "official", "cannot be evaluated: a number starts with a zero"),
        ("08+8+3+3", "official", "cannot be evaluated: a number starts with a zero"),
        ("8/(3-8/3", "official", "cannot be read: a parenthesis is left open"),
        ("8/(3-3)*8", "official", "but it divides by zero"),
        ("8 * 3", "official", "and no spaces"),
        ("8*3+9", "official", "it uses 9 beyond what the cards offer and it leaves out 3, 8"),
        ("8*(3", "official", "The formula does not use the right numbers. Use the number of every card"),
        ("9" * 300, "official", "The formula does not use the right numbers. Use the number of every card"),
        ("", "official", "The formula does not use the right numbers. Use the number of every card"),
    ],
)
def test_feedback_says_what_is_wrong(formula: str, mode: str, words: str) -> None:
    assert words in verify_formula(formula, NESTED, compat=mode).feedback


@pytest.mark.parametrize("outcome", ["solved", "prefix", "wrong_value", "wrong_numbers", "illegal", "unreadable"])
@pytest.mark.parametrize("style", ["full", "terse", "varied"])
def test_feedback_reads_well_without_details(outcome: str, style: str) -> None:
    said = feedback(Judgement(outcome, 0.0, 24), style)  # type: ignore[arg-type]
    assert said
    assert said == said.strip()
    assert not re.search(r"but \.|: \.|None|  ", said)


def wrong_formulas(hand: Hand, rng: random.Random) -> list[str]:
    """Formulas over a hand, most of them wrong in some way."""
    formulas = []
    for _ in range(60):
        numbers = rng.sample(hand, 4)
        formula = "".join(str(number) + rng.choice("+-*/") for number in numbers)[:-1]
        formulas.append(rng.choice((formula, formula[:-1], f"({formula}", f"{formula}+1", formula.replace("+", "**"))))
    return formulas


@pytest.mark.parametrize("hand", [NESTED, (1, 2, 3, 4), (2, 3, 10, 10), (13, 11, 5, 1)], ids=str)
def test_feedback_never_holds_a_solution(hand: Hand) -> None:
    solutions = {*solve(hand), *listed_solutions(tuple(sorted(hand)))}
    rng, wrong = random.Random(3), 0
    for formula in [*wrong_formulas(hand, rng), *(solution[:-1] for solution in solutions)]:
        for mode in MODES:
            judgement = judge(formula, hand, 24, mode)
            if judgement.outcome == "solved":
                continue
            wrong += 1
            said = [feedback(judgement, "full"), feedback(judgement, "terse")]
            assert not any(solution in text for solution in solutions for text in said)
    assert wrong > 60


# ---------------------------------------------------------------- any text

LENGTH = 100_000
DIGITS = "".join(chr(code) for code in range(0x20000) if chr(code).isdecimal())
HOSTILE = {
    "open": "(" * LENGTH,
    "close": ")" * LENGTH,
    "nested": "(" * (LENGTH // 2) + "1" + ")" * (LENGTH // 2 - 1),
    "nested-solution": "(" * 49_990 + "8/(3-8/3)" + ")" * 49_990,
    "unclosed-solution": "(" * 49_990 + "8/(3-8/3)",
    "empty-pairs": "()" * (LENGTH // 2),
    "turned-pairs": ")(" * (LENGTH // 2),
    "one-number": "7" * LENGTH,
    "zeros": "0" * (LENGTH - 1) + "8",
    "alternating": "1+" * (LENGTH // 2),
    "calls": "1(" * (LENGTH // 2),
    "products": "999999999*" * (LENGTH // 10),
    "powers": "9**" * (LENGTH // 3),
    "divisions": "1" + "/7" * 49_999,
    "different-numbers": "+".join(map(str, range(17_000))),
    "leading-zeros": "01+" * (LENGTH // 3),
    "equals": "=" * LENGTH,
    "late-equals": "8/(3-8/3)" + " " * (LENGTH - 20) + "=24",
    "spaces": " " * LENGTH,
    "spaced-digits": "1 " * (LENGTH // 2),
    "null": "\0" * LENGTH,
    "arabic-digits": "٣+" * (LENGTH // 2),
    "all-digits": DIGITS * (LENGTH // len(DIGITS)),
    "superscripts": "²" * LENGTH,
    "surrogates": "\ud800" * LENGTH,
    "emoji": "🂡" * LENGTH,
    "times": "8×" * (LENGTH // 2),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_judged_quickly(name: str, mode: str) -> None:
    """Measured at most 25 ms a string on a busy core; the bound leaves room for noise."""
    text = HOSTILE[name]
    assert len(text) <= LENGTH
    with within(0.5):
        verdict = verify_formula(text, NESTED, compat=mode)
    assert verdict.reward < 0
    assert len(verdict.feedback) < 400


@QUICK
@given(st.text(max_size=400), st.sampled_from(MODES))
def test_no_text_raises(text: str, mode: str) -> None:
    verdict = verify_formula(text, NESTED, compat=mode)
    assert isinstance(verdict, Verdict)
    assert verdict.reward <= 1
    assert not verdict.solved


@QUICK
@given(
    st.text("+-*/()0123456789=. ", max_size=60), st.lists(st.integers(0, 10**12), max_size=6), st.sampled_from(MODES)
)
def test_no_hand_raises(text: str, hand: list[int], mode: str) -> None:
    assert verify_formula(text, hand, compat=mode).feedback


def test_numbers_too_large_for_floating_point() -> None:
    hand = (999999999,) * 40 + (7,)
    text = "*".join(["999999999"] * 25)
    assert verify_formula(f"{text}/7", hand, compat="official").outcome == "wrong_numbers"
    hand = (10**400, 7, 1, 1)
    assert verify_formula(f"{10**400}/7+1+1", hand, compat="official").reward == -1
