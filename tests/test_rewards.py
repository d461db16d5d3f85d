"""What a reply earns, and which of its tokens count how often."""

import pytest

from helpers import tiny_chat
from ruleshift.records import Completion, Turn, Verdict
from ruleshift.training.answers import token_counts
from ruleshift.training.rewards import earned, kl_cost, overlong


def turn(reward: float, solved: bool) -> Turn:
    return Turn((1,), Completion("", (2,), (0.0,)), Verdict("", reward, solved, ""))


def test_success_is_paid_once_and_nothing_else_is():
    turns = [turn(-1.0, False), turn(-3.0, False), turn(5.0, True)]
    assert earned(turns, "verifier") == [-1.0, -3.0, 5.0]
    assert earned(turns, "success") == [0.0, 0.0, 1.0]


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
