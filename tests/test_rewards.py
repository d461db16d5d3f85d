"""What a reply earns, and which of its tokens count how often."""

import pytest

from helpers import tiny_chat
from ruleshift.records import Completion, Turn, Verdict
from ruleshift.training.answers import token_counts
from ruleshift.training.rewards import credit, earned, kl_cost, overlong, shaping


def turn(reward: float, solved: bool) -> Turn:
    return Turn((1,), Completion("", (2,), (0.0,)), Verdict("", reward, solved, ""))


def test_success_is_paid_once_and_nothing_else_is():
    turns = [turn(-1.0, False), turn(-3.0, False), turn(5.0, True)]
    assert earned(turns, "verifier", 0.9) == [-1.0, -3.0, 5.0]
    assert earned(turns, "success", 0.9) == [0.0, 0.0, 1.0]


def judged(right: bool = False, valid: bool = True, read: bool | None = True) -> Turn:
    verdict = Verdict("", 5.0 if right else -1.0, right, "", valid=valid, read_right=read)
    return Turn((1,), Completion("", (2,), (0.0,)), verdict)


def test_partial_credit_is_for_form_and_reading():
    turns = [judged(valid=False, read=False), judged(valid=False), judged(read=None), judged(True, False, False)]
    assert earned(turns, "partial", 0.9) == [0.0, 0.25, 0.5, 1.0]


def test_potentials_are_worked_out_by_hand():
    # Phi after the replies: 0.25, 0.5, and 0 where the episode ends. Discount 0.8.
    assert shaping([0.25, 0.5, 1.0], 0.8, ended=True) == pytest.approx([0.2, 0.15, -0.5])
    assert shaping([0.25, 0.5, 1.0], 0.8, ended=False) == pytest.approx([0.2, 0.15, 0.3])
    assert shaping([], 0.8, ended=True) == []
    turns = [judged(valid=False), judged(), judged(True)]
    assert earned(turns, "potential", 0.8) == pytest.approx([0.2, 0.15, 0.5])


def returns(rewards: list[float], gamma: float) -> list[float]:
    """Discounted returns, from the last turn on."""
    found = [0.0]
    for reward in reversed(rewards):
        found.insert(0, reward + gamma * found[0])
    return found[:-1]


def test_shaping_leaves_the_order_of_policies_as_it_is():
    """In a tree of all conversations of three turns, each reply bare, in form, or right, the shaped return from a
    state is the plain one less the potential of the state: the same constant for all that may be done there."""
    kinds = [judged(valid=False), judged(), judged(True)]
    endings = [(first, second, third) for first in kinds[:2] for second in kinds[:2] for third in kinds]
    for gamma in (0.0, 0.5, 0.9, 1.0):
        for episode in endings:
            plain, shaped = (returns(earned(episode, kind, gamma), gamma) for kind in ("success", "potential"))
            before = [0.0, *(credit(turn.verdict) for turn in episode[:-1])]
            assert [p - s for p, s in zip(plain, shaped, strict=True)] == pytest.approx(before)
    # The control: credit that is simply added pays for what is in form and never right, and turns the order round.
    bare, formal = (judged(valid=False),) * 2 + (judged(True),), (judged(),) * 3
    assert returns(earned(bare, "success", 1.0), 1.0)[0] > returns(earned(formal, "success", 1.0), 1.0)[0]
    assert returns(earned(bare, "potential", 1.0), 1.0)[0] > returns(earned(formal, "potential", 1.0), 1.0)[0]
    assert returns(earned(bare, "partial", 1.0), 1.0)[0] == returns(earned(formal, "partial", 1.0), 1.0)[0] == 1.5


def test_long_replies_cost_more_and_more():
    assert overlong([0, 80, 85, 90, 100], 100, 0.2) == pytest.approx([0, 0, 0.25, 0.5, 1.0])
    assert overlong([0, 100], 100, 0.0) == [0.0, 0.0]


def test_the_cost_of_a_reply_is_its_log_ratio():
    assert kl_cost([0, 0, 2], [-1.0, -2.0, -0.5], [-1.5, -1.0, -3.0], 3) == [-0.5, 0.0, 2.5]


def test_tokens_before_the_answer_count_half_and_the_first_two_not_at_all():
    chat = tiny_chat()
    ids = chat.encode_reply('{"cards":["A","2"],"number":[1,2],"formula":"1+2=24"}')
    counts = token_counts(ids, chat.decode, "formula", 0.5, 2)
    parts = {c: "".join(chat.decode([i]) for i, d in zip(ids, counts, strict=True) if c == d) for c in (0.0, 0.5, 1.0)}
    assert counts == sorted(counts)
    # The token in which the quote stands belongs to the answer.
    assert parts == {0.0: '{"cards":["A', 0.5: '","2"],"number":[1,2', 1.0: '],"formula":"1+2=24"}'}


def test_without_the_key_the_last_five_tokens_are_the_answer():
    chat = tiny_chat()
    ids = chat.encode_reply('{"cards":["A","2"],"number":[1,2]}')
    for key in ("formula", ""):
        assert token_counts(ids, chat.decode, key, 0.5, 2) == [0, 0, *[0.5] * (len(ids) - 7), *[1.0] * 5]
    assert token_counts([], chat.decode, "formula", 0.5, 2) == []
    assert token_counts(ids[:3], chat.decode, "formula", 0.5, 2) == [0, 0, 1.0]


@pytest.mark.parametrize("text", ['"formula"', 'x"formula"', '"formula":"formula"', '1 "formul'])
def test_the_quote_that_opens_the_key_belongs_to_the_answer(text):
    """Whatever the tokenizer makes of it: found among tokens of one character each."""
    counts = token_counts([ord(c) for c in text], lambda ids: "".join(map(chr, ids)), "formula", 0.5, 0)
    found = text.find('"formula"')
    start = found if found >= 0 else len(text) - 5
    assert counts == [0.5] * start + [1.0] * (len(text) - start)
