"""GeneralPoints as a task: prompts, replies, deals, splits and rewards."""

import json
from itertools import combinations_with_replacement, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bounds import within
from ruleshift.errors import RuleshiftError
from ruleshift.records import Verdict
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints.prompt import MAX_REPLY, read_reply, write_reply
from ruleshift.tasks.generalpoints.rules import RANKS, SPLITS, SUITS, USUAL_TARGET, is_heldout
from ruleshift.tasks.generalpoints.solver import solvable, solve
from ruleshift.tasks.generalpoints.task import GeneralPoints, GeneralPointsProblem
from ruleshift.tasks.protocol import Style

QUICK = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
TASK = GeneralPoints()
STYLES: tuple[Style, ...] = ("full", "terse", "varied")
FORMULA = "8/(3-8/3)=24"
NUMBERS = (3, 3, 8, 8)


def hands(split: str, count: int, seed: int = 0) -> list[GeneralPointsProblem]:
    return [TASK.problem(split, seed, index) for index in range(count)]


# ---------------------------------------------------------------- replies


def reply_text(**changes: object) -> str:
    return json.dumps({"cards": ["3", "3", "8", "8"], "number": [3, 3, 8, 8], "formula": FORMULA} | changes)


@pytest.mark.parametrize("style", STYLES)
def test_a_written_reply_is_valid(style: Style) -> None:
    reply = read_reply(write_reply(["3", "3", "8", "8"], NUMBERS, FORMULA, style))
    assert (reply.formula, reply.numbers, reply.valid) == (FORMULA, NUMBERS, True)


TOLERATED = {
    "code fence": f"```json\n{reply_text()}\n```",
    "prose around": f"Let me think. 8/3 is less than 3.\n\n{reply_text()}\n\nI hope this helps!",
    "indented": json.dumps(json.loads(reply_text()), indent=4) + "\nDone.",
    "python dict": str(json.loads(reply_text())),
    "mixed quotes": """{'cards': ["3"], 'number': [3, 3, 8, 8], 'formula': "8/(3-8/3)=24"}""",
    "trailing commas": '{"cards": ["3",], "number": [3, 3, 8, 8,], "formula": "8/(3-8/3)=24",}',
    "other key": '{"cards": ["3"], "numbers": [3, 3, 8, 8], "formula": "8/(3-8/3)=24"}',
    "capitals": '{"Cards": ["3"], "Number": [3, 3, 8, 8], "Formula": "8/(3-8/3)=24"}',
    "numbers as strings": reply_text(number=["3", "3", "8", "8"]),
    "numbers as floats": reply_text(number=[3.0, 3.0, 8.0, 8.0]),
    "no quotes": "{cards: [3, 3, 8, 8], number: [3, 3, 8, 8], formula: 8/(3-8/3)=24}",
    "value without quotes": '{"number": [3, 3, 8, 8], "formula": 8/(3-8/3)=24}',
    "closing quote missing": '{"number": [3, 3, 8, 8], "formula": "8/(3-8/3)=24}',
    "opening quote missing": '{"number": [3, 3, 8, 8], "formula": 8/(3-8/3)=24"}',
    "object cut off": '{"number": [3, 3, 8, 8], "formula": "8/(3-8/3)=24',
    "curly quotes": "{“number”: [3, 3, 8, 8], “formula”: “8/(3-8/3)=24”}",
    "escaped slashes": '{"number": [3, 3, 8, 8], "formula": "8\\/(3-8\\/3)=24"} ',
    "escaped, in a fence": '```\n{"number": [3, 3, 8, 8], "formula": "8\\/(3-8\\/3)=24"}\n```',
    "markdown": "**Number:** [3, 3, 8, 8]\n**Formula:** 8/(3-8/3)=24\n",
    "backticks": "number = [3, 3, 8, 8]\nformula = `8/(3-8/3)=24`\n",
    "extra key": reply_text(thoughts="hard one"),
    "list around": f"[{reply_text()}]",
    "two objects": reply_text(formula="8*3=24", number=[8]) + "\nNo, wait:\n" + reply_text(),
    "draft, then answer": f'I might use "formula": "8+8+3+3=24", which is 22.\n{reply_text()}',
    "answer, then prose": f"{reply_text()}\nThis formula: divide eight by a third.",
    "one line of thought": f"Numbers: [9]. formula: 3*8. {reply_text()}",
}


@pytest.mark.parametrize("name", TOLERATED)
def test_replies_of_real_models_are_read(name: str) -> None:
    reply = read_reply(TOLERATED[name])
    assert (reply.formula, reply.numbers) == (FORMULA, NUMBERS)
    assert not reply.valid


WITHOUT_FORMULA = ["", "24", "I cannot find one.", "{}", "[]", "null", '"formula"', "formula", '{"formula"}']
WITHOUT_FORMULA += ['{"formulas": 3}', '{"answer": "8/(3-8/3)"}', "{" * 50, '{"formula": }', FORMULA]
WITHOUT_FORMULA += ["The formula is 8/(3-8/3).", "formula: ", '{"formula": "']


@pytest.mark.parametrize("text", WITHOUT_FORMULA)
def test_replies_without_a_formula(text: str) -> None:
    reply = read_reply(text)
    assert (reply.formula, reply.valid) == (None, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"formula": 24},
        {"formula": None},
        {"number": "3, 3, 8, 8"},
        {"number": [3, 3, 8, "8"]},
        {"number": [3, 3, 8, 8.0]},
        {"number": [True, 3, 8, 8]},
        {"cards": [3, 3, 8, 8]},
        {"cards": "3 3 8 8"},
        {"note": "x"},
    ],
    ids=str,
)
def test_other_types_and_keys_are_not_valid(changes: dict[str, object]) -> None:
    assert read_reply(reply_text()).valid
    assert not read_reply(reply_text(**changes)).valid


def test_an_empty_formula_is_a_formula() -> None:
    for text in (reply_text(formula=""), reply_text(formula="", note=1), "{'formula': ''}"):
        assert read_reply(text).formula == ""


def test_a_minus_sign_is_not_dropped_from_a_number() -> None:
    assert read_reply("number: [-3, 3, 8, 8]").numbers == (-3, 3, 8, 8)
    assert read_reply("number: [2.5, 3, 8, 8]").numbers == (3, 8, 8)
    assert read_reply("no list").numbers is None


HOSTILE = {
    "brackets": "[" * 100_000,
    "braces": "{" * 100_000,
    "nested lists": '{"cards":' + "[" * 50_000 + "]" * 49_990,
    "nested in short": '{"cards":' * 400,
    "keys": '"formula":' * 10_000,
    "keys and quotes": 'formula:"' * 11_000,
    "keys and both quotes": "formula:'\"" * 10_000,
    "keys, no end": ('"formula":"' + "a" * 401) * 240,
    "keys and spaces": ('"formula" :' + " " * 20) * 3_000,
    "keys without values": ("formula" + " " * 20) * 3_700,
    "stars": "formula***" * 10_000,
    "lists": "number:[" * 12_500,
    "lists, no end": ("number:[" + "1" * 201) * 470,
    "huge integer": '{"cards":[],"number":[' + "1" * 99_900 + '],"formula":"1"}',
    "large integer": '{"cards":[],"number":[' + "1" * 3_900 + '],"formula":"1"}',
    "long formula": reply_text(formula="(" * 99_000),
    "quotes": '"' * 100_000,
    "backslashes": "\\" * 100_000,
    "escapes": '{"formula": "' + "\\u0000" * 60 + '"}',
    "surrogate": '{"formula": "\\ud800"}',
    "null": "\0" * 100_000,
    "emoji": "🂡" * 100_000,
    "too long": "x" * 10**6,
}


@pytest.mark.parametrize("compat", ["fixed", "official"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_replies_are_read_quickly(name: str, compat: str) -> None:
    problem = GeneralPoints(compat=compat).problem("id", 0, 0)
    with within(0.5):
        verdict = problem.submit(HOSTILE[name], last=True)
    assert verdict.reward < 0
    assert not verdict.solved
    assert not verdict.read_right


@QUICK
@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(['"formula"', ":", "{", "}", '"', "'", "1+", "[3,", "]"])).map("".join)
)
def test_no_reply_raises(text: str) -> None:
    reply = read_reply(text)
    assert reply.formula is None or isinstance(reply.formula, str)
    assert isinstance(TASK.problem("id", 0, 0).submit(text, last=False), Verdict)


def test_text_beyond_the_limit_is_not_read() -> None:
    assert read_reply(reply_text() + " " * MAX_REPLY).formula is None
    assert read_reply(reply_text() + " " * (MAX_REPLY - 200)).formula == FORMULA


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize("style", STYLES)
def test_the_prompt_shows_the_stated_rule_the_cards_and_the_target(style: Style) -> None:
    for split in ("id", "large", "target-36", "five-cards", "fake"):
        problem = TASK.problem(split, 1, 2, style)
        (message,) = problem.context()
        assert message.role == "user"
        assert str(problem.hand.stated.target) in message.content
        assert all(str(face) in message.content for face in problem.hand.stated.faces)
        assert (" " if style == "terse" else ", ").join(problem.hand.ranks) in message.content
        assert "{" + "target" not in message.content


def test_full_prompts_differ_only_where_the_deals_do() -> None:
    one, other = (TASK.problem("id", 0, index).context()[0].content.splitlines() for index in (0, 1))
    assert [a for a, b in zip(one, other, strict=True) if a != b] == [next(a for a in one if a.startswith("Cards:"))]


def test_varied_prompts_vary_with_the_problem_and_with_nothing_else() -> None:
    texts = {TASK.problem("id", 0, index, "varied").context()[0].content.split("\n")[0] for index in range(40)}
    assert len(texts) >= 4
    assert TASK.problem("id", 0, 3, "varied").context() == TASK.problem("id", 0, 3, "varied").context()


def test_no_prompt_holds_a_solution() -> None:
    for style in STYLES:
        for index in range(20):
            problem = TASK.problem("rule-ood", 0, index, style)
            assert not any(solution in problem.context()[0].content for solution in problem.solutions)


# ---------------------------------------------------------------- the task


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("split", SPLITS)
def test_gold_answers_score_full_marks(split: str, style: Style) -> None:
    for index in range(40):
        problem = TASK.problem(split, 0, index, style)
        verdict = problem.submit(problem.gold(), last=True)
        assert (verdict.outcome, verdict.reward, verdict.solved) == ("solved", 5, True)
        assert verdict.valid
        assert verdict.read_right


@pytest.mark.parametrize("split", SPLITS)
def test_official_mode_accepts_the_solutions_that_floating_point_gets_right(split: str) -> None:
    accepted = 0
    for index in range(5):
        problem = GeneralPoints(compat="official").problem(split, 0, index)
        for solution in problem.solutions:
            verdict = problem.submit(problem.reply(f"{solution}={problem.hand.scored.target}"), last=False)
            assert verdict.solved == (eval(solution) == problem.hand.scored.target)
            assert verdict.reward == 5 or verdict.reward in (0, -1)
            accepted += verdict.solved
    assert accepted >= 5


@pytest.mark.parametrize("split", SPLITS)
def test_a_problem_is_a_function_of_split_seed_and_index(split: str) -> None:
    forwards = [TASK.problem(split, 3, index) for index in range(8)]
    backwards = [TASK.problem(split, 3, index) for index in reversed(range(8))]
    assert forwards == backwards[::-1]
    assert [problem.gold() for problem in forwards] == [problem.gold() for problem in backwards[::-1]]
    assert len({problem.id for problem in forwards}) == 8
    assert len({problem.hand for problem in forwards}) > 5
    assert [problem.hand for problem in forwards] != [TASK.problem(split, 4, index).hand for index in range(8)]


def test_splits_with_the_same_rule_deal_different_streams() -> None:
    assert [p.hand.cards for p in hands("train", 5)] != [p.hand.cards for p in hands("id", 5)]
    assert len({problem.id for split in SPLITS for problem in hands(split, 2)}) == 2 * len(SPLITS)


@pytest.mark.parametrize("split", SPLITS)
def test_hands_belong_to_their_split(split: str) -> None:
    spec = SPLITS[split]
    for problem in hands(split, 60, seed=5):
        hand = problem.hand
        assert len(hand.cards) == spec.cards
        assert sum(rank in ("J", "Q", "K") for rank in hand.ranks) >= spec.min_faces
        assert {card.suit for card in hand.cards} <= set(SUITS[spec.colour])
        assert all(face in pool for face, pool in zip(hand.stated.faces, spec.faces, strict=True))
        for rule in (hand.stated, hand.scored):
            numbers = hand.numbers(rule)
            if spec.target is not None or rule.target == USUAL_TARGET:
                assert is_heldout(tuple(sorted(numbers))) == (spec.multisets == "heldout")
            assert solvable(numbers, rule.target)


def test_rules_of_the_splits() -> None:
    """The values of the paper, written out here a second time."""
    faces = {split: hands(split, 1)[0].hand.scored.faces for split in ("train", "id", "rule-ood", "all-12", "fake")}
    assert faces["train"] == faces["id"] == faces["fake"] == (10, 10, 10)
    assert faces["rule-ood"] == (11, 12, 13)
    assert faces["all-12"] == (12, 12, 12)
    assert {face for problem in hands("large", 60) for face in problem.hand.scored.faces} == {14, 15, 16, 17, 18, 19}
    assert hands("target-36", 1)[0].hand.scored.target == 36
    others = {"target-36", "targets", "pretrain-targets"}
    assert all(problem.hand.scored.target == 24 for split in {*SPLITS} - others for problem in hands(split, 1))
    assert len({problem.hand.scored.target for problem in hands("targets", 60)}) > 20
    assert [SPLITS["rule-ood"].min_faces, SPLITS["train"].min_faces, SPLITS["five-cards"].cards] == [1, 0, 5]
    assert TASK.default_turns == 5
    assert set(TASK.splits()) == set(SPLITS)


def test_ranks_come_with_equal_odds() -> None:
    """Training deals are redrawn only when unsolvable or held out: no rank may be far from one in thirteen."""
    ranks = [rank for problem in hands("train", 500, seed=9) for rank in problem.hand.ranks]
    for rank in RANKS:
        assert 0.04 < ranks.count(rank) / len(ranks) < 0.12


def test_heldout_multisets_never_meet_the_seen_ones() -> None:
    def multisets(split: str) -> set[tuple[int, ...]]:
        return {tuple(sorted(problem.hand.numbers(problem.hand.scored))) for problem in hands(split, 300, seed=2)}

    assert multisets("heldout").isdisjoint(multisets("train") | multisets("pretrain") | multisets("id"))
    assert multisets("rule-ood-heldout").isdisjoint(multisets("rule-ood") | multisets("pretrain"))
    assert multisets("train") & multisets("id")  # control: the comparison finds what two streams share


def test_a_training_split_of_few_hands_repeats_them() -> None:
    few = hands("train-30", 90)
    assert len({problem.hand for problem in few}) == 30
    assert [problem.hand for problem in few[:30]] == [problem.hand for problem in few[30:60]]
    assert TASK.count("train-30") == 30
    assert TASK.count("train") is None


def test_about_fifteen_percent_of_the_multisets_are_held_out() -> None:
    for values in (range(1, 11), range(1, 14), range(1, 20)):
        multisets = list(combinations_with_replacement(values, 4))
        assert 0.12 < sum(map(is_heldout, multisets)) / len(multisets) < 0.18


@pytest.mark.parametrize("count", [2, 4, 8])
def test_hands_are_dealt_under_as_many_training_rules_as_said(count: int) -> None:
    rules = {hand.hand.scored.faces for hand in hands(f"train-{count}-rules", 40 * count)}
    assert len(rules) == count
    assert (10, 10, 10) in rules
    assert max(map(max, rules)) == 10  # no number of the tests


def test_pretraining_never_states_a_rule_of_another_split() -> None:
    """But for the further rules of the splits that train on several."""
    pools, excluded = SPLITS["pretrain"].faces, SPLITS["pretrain"].excluded
    reachable = {faces for faces in product(*map(set, pools)) if faces not in excluded}
    for name, split in SPLITS.items():
        if not name.startswith("pretrain") and not name.endswith("-rules"):
            assert reachable.isdisjoint(product(*split.faces)), name
            assert split.scored_faces not in reachable, name
    assert (10, 10, 10) not in reachable
    assert (10, 10, 11) in reachable
    assert SPLITS["pretrain-targets"].faces == pools
    assert SPLITS["pretrain-targets"].excluded == excluded
    drawn = {problem.hand.stated.faces for problem in hands("pretrain", 400, seed=1)}
    assert drawn <= reachable
    assert max(max(faces) for faces in drawn) == 13
    assert len(drawn) > 200


def test_fake_states_one_rule_and_scores_the_other() -> None:
    for problem in hands("fake", 30):
        hand = problem.hand
        assert (hand.stated.faces, hand.scored.faces) == ((11, 12, 13), (10, 10, 10))
        believed = hand.numbers(hand.stated)
        for formula in solve(believed)[:3]:
            verdict = problem.submit(write_reply(hand.ranks, believed, f"{formula}=24", "full"), last=False)
            assert (verdict.solved, verdict.read_right, verdict.valid) == (False, False, True)


def test_the_penalty_for_a_spent_budget_is_added_to_a_failed_last_reply() -> None:
    problem = hands("id", 1)[0]
    for reply in (problem.reply("1+1=24"), "nonsense", problem.reply("(")):
        assert problem.submit(reply, last=True).reward == problem.submit(reply, last=False).reward - 1
    assert problem.submit(problem.gold(), last=True).reward == problem.submit(problem.gold(), last=False).reward == 5


def test_a_reply_without_a_formula_is_unreadable() -> None:
    verdict = hands("id", 1)[0].submit("I give up.", last=False)
    assert (verdict.outcome, verdict.reward, verdict.valid, verdict.read_right) == ("unreadable", -3, False, False)


def test_reading_the_cards_is_judged_apart_from_the_formula() -> None:
    problem = hands("rule-ood", 1)[0]
    numbers = problem.hand.numbers(problem.hand.scored)
    wrong = (numbers[0] + 1, *numbers[1:])
    formula = problem.solutions[0] + "=24"
    verdict = problem.submit(write_reply(problem.hand.ranks, wrong, formula, "full"), last=False)
    assert (verdict.solved, verdict.read_right) == (True, False)
    verdict = problem.submit(problem.reply("1+1=24"), last=False)
    assert (verdict.solved, verdict.read_right) == (False, True)


def test_the_official_mode_reaches_the_rewards() -> None:
    problem = GeneralPoints(compat="official").problem("id", 0, 0)
    assert problem.submit(problem.reply("(("), last=False).reward == -2
    assert problem.submit(problem.reply("1 1"), last=False).reward == -3
    assert hands("id", 1)[0].submit(problem.reply("(("), last=False).reward == -3


def test_guesses_are_valid_and_drawn_from_their_number() -> None:
    problem = hands("id", 1)[0]
    guesses = [problem.guess(draw) for draw in range(30)]
    assert guesses == [problem.guess(draw) for draw in range(30)]
    assert len(set(guesses)) > 20
    verdicts = [problem.submit(guess, last=False) for guess in guesses]
    assert all(verdict.valid and verdict.read_right for verdict in verdicts)
    assert {verdict.outcome for verdict in verdicts} <= {"solved", "wrong_value"}


def test_facts_can_be_written_to_a_file() -> None:
    facts = hands("fake", 1)[0].describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["stated_faces"] == [11, 12, 13]
    assert facts["scored_faces"] == [10, 10, 10]


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(RuleshiftError, match="unknown split 'ood' of gp-l; choose from train, id-val, id, rule-ood"):
        TASK.problem("ood", 0, 0)
    with pytest.raises(RuleshiftError, match="unknown task 'gp'; choose from gp-l"):
        get_task("gp")
    assert get_task("gp-l").id == "gp-l"
