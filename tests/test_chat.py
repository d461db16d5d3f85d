"""Conversations as tokens: literal ids and masks, other chat templates, and nothing tokenised twice."""

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from helpers import EchoTask, one_thread, tiny_chat, tiny_model
from ruleshift.chat import Chat, encode_dialogue, episode_sequence
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Episode, Message, Turn, Verdict
from ruleshift.revision import revise

THREE_TURNS = [
    Message("user", "target 24 cards 3 K"),
    Message("assistant", '{"cards":["3","K"],"number":[3,13],"formula":"13-3=24"}'),
    Message("user", "wrong value 10"),
    Message("assistant", "3*13=24"),
    Message("user", "wrong value 39"),
    Message("assistant", "(3+13)=24"),
]
# Token by token; 1 under the tokens to learn.
THREE_TURNS_TOKENS = [
    *[(token, 0) for token in ("<user>", "target", "24", "cards", "3", "K", "<bot>")],
    *[(token, 1) for token in ('{"cards":["', "3", '","', "K", '"],"number":[', "3", ",", "13", '],"formula":"')],
    *[(token, 1) for token in ("13", "-", "3", "=", "24", '"}', "<end>")],
    *[(token, 0) for token in ("<user>", "wrong", "value", "10", "<bot>")],
    *[(token, 1) for token in ("3", "*", "13", "=", "24", "<end>")],
    *[(token, 0) for token in ("<user>", "wrong", "value", "39", "<bot>")],
    *[(token, 1) for token in ("(", "3", "+", "13", ")", "=", "24", "<end>")],
]

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def other_tokenizer(template: str | None, eos: str | None = "<|im_end|>") -> PreTrainedTokenizerFast:
    """A small word-level tokenizer in which newlines and ends of turns are tokens."""
    words = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "\n", "system", "user", "assistant"]
    words += ["rules", "deal", "reply", "wrong", "again", *map(str, range(10))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n|[0-9]|[A-Za-z]+|\S"), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Fuse()
    special = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token=eos,
        additional_special_tokens=special,
    )
    wrapped.chat_template = template
    return wrapped


def tokens(chat: Chat, ids: tuple[int, ...]) -> list[str]:
    return chat.tokenizer.convert_ids_to_tokens(list(ids))


def test_a_conversation_of_three_turns_token_by_token():
    chat = tiny_chat()
    sequences = encode_dialogue(chat, THREE_TURNS)
    assert list(zip(tokens(chat, sequences.token_ids), sequences.reply_mask, strict=True)) == THREE_TURNS_TOKENS
    assert chat.tokenizer.unk_token_id not in sequences.token_ids


def test_feedback_closes_a_reply_that_was_cut_short_and_only_that():
    chat = tiny_chat()
    assert tokens(chat, chat.encode_feedback(Message("user", "wrong value 10"), chat.encode_reply("3"))) == [
        *("<user>", "wrong", "value", "10", "<bot>")
    ]
    assert tokens(chat, chat.encode_feedback(Message("user", "wrong value 10"), chat.encode_reply("3")[:-1])) == [
        *("<end>", "<user>", "wrong", "value", "10", "<bot>")
    ]


def test_prompt_reply_and_text():
    chat = tiny_chat()
    assert tokens(chat, chat.encode_prompt([Message("user", "cards A 10")])) == ["<user>", "cards", "A", "10", "<bot>"]
    reply = chat.encode_reply(THREE_TURNS[1].content)
    assert tokens(chat, reply)[-2:] == ['"}', "<end>"]
    assert chat.decode(reply) == THREE_TURNS[1].content
    assert chat.end_ids == {chat.tokenizer.convert_tokens_to_ids("<end>")}


def test_an_episode_is_the_sum_of_its_pieces():
    verdict = Verdict("wrong", -1.0, False, "no")
    turns = (Turn((7, 8), Completion("a", (1, 2, 3)), verdict), Turn((9,), Completion("b", (4,)), verdict))
    episode = Episode("p", turns, ())
    assert episode.token_ids == (7, 8, 1, 2, 3, 9, 4)
    sequence = episode_sequence(episode)
    assert sequence.token_ids == episode.token_ids
    assert sequence.reply_mask == (0, 0, 1, 1, 1, 0, 1)


def test_sampled_ids_are_kept_as_they_were_drawn():
    chat = tiny_chat()
    problems = [EchoTask().problem("train", 0, index) for index in range(24)]
    engine = LocalEngine(tiny_model(), chat, Sampling(max_new_tokens=12, seed=3))
    with one_thread():
        episodes = revise(problems, engine, turns=3)
    redone = 0
    for problem, episode in zip(problems, episodes, strict=True):
        ids = list(chat.encode_prompt(problem.context()))
        for k, turn in enumerate(episode.turns):
            if k > 0:
                before = episode.turns[k - 1]
                ids += chat.encode_feedback(Message("user", before.verdict.feedback), before.completion.token_ids)
            assert turn.completion.text == chat.decode(turn.completion.token_ids)
            ids += turn.completion.token_ids
            redone += chat.encode_reply(turn.completion.text)[:-1] != turn.completion.token_ids
        assert episode.token_ids == tuple(ids) == episode_sequence(episode).token_ids
    assert redone > 10  # tokenising the texts again would have changed them: "1" and "2" are not "12"


def test_a_tokenizer_without_a_chat_template_is_refused():
    with pytest.raises(RuleshiftError, match=r"the tokenizer of some-model has no chat template.*chat_template\.jinja"):
        Chat(other_tokenizer(None), "some-model")


@pytest.mark.parametrize(
    "change",
    [
        "{{ message.content | lower }}",
        "{{ message.content | upper }}",
        "{{ message.content[:5] }}",
        "{{ message.content }}{{ message.content }}",
        "{% if message.role != 'assistant' %}{{ message.content }}{% endif %}",
    ],
)
def test_a_template_that_rewrites_replies_is_refused(change):
    with pytest.raises(RuleshiftError, match="does not print assistant messages as they are"):
        Chat(other_tokenizer(CHATML.replace("{{ message.content }}", change)))


def test_a_tokenizer_that_never_ends_a_turn_is_refused():
    template = CHATML.replace("<|im_end|>", "")
    with pytest.raises(RuleshiftError, match="no end-of-turn token"):
        Chat(other_tokenizer(template, eos=None))
    assert Chat(other_tokenizer(template)).end_ids == {3}  # control: an end of sequence is enough


def test_chatml_round_trip():
    chat = Chat(other_tokenizer(CHATML))
    dialogue = [
        Message("system", "rules"),
        Message("user", "deal 4 2"),
        Message("assistant", "reply 1"),
        Message("user", "wrong again"),
        Message("assistant", "reply 2"),
    ]
    sequences = encode_dialogue(chat, dialogue)
    expected = [
        *[(token, 0) for token in ("<|im_start|>", "system", "\n", "rules", "<|im_end|>", "\n")],
        *[(token, 0) for token in ("<|im_start|>", "user", "\n", "deal", "4", "2", "<|im_end|>", "\n")],
        *[(token, 0) for token in ("<|im_start|>", "assistant", "\n")],
        *[(token, 1) for token in ("reply", "1", "<|im_end|>")],
        *[(token, 0) for token in ("\n", "<|im_start|>", "user", "\n", "wrong", "again", "<|im_end|>", "\n")],
        *[(token, 0) for token in ("<|im_start|>", "assistant", "\n")],
        *[(token, 1) for token in ("reply", "2", "<|im_end|>")],
    ]
    assert list(zip(tokens(chat, sequences.token_ids), sequences.reply_mask, strict=True)) == expected
    # The pieces together are what the template prints for the whole, but for the newline after the last turn.
    plain = [{"role": message.role, "content": message.content} for message in dialogue]
    whole = chat.tokenizer(chat.tokenizer.apply_chat_template(plain, tokenize=False), add_special_tokens=False)
    assert [*sequences.token_ids, chat.tokenizer.convert_tokens_to_ids("\n")] == whole["input_ids"]


def test_chatml_feedback_and_ends():
    chat = Chat(other_tokenizer(CHATML))
    body = ["\n", "<|im_start|>", "user", "\n", "wrong", "<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]
    assert tokens(chat, chat.encode_feedback(Message("user", "wrong"), chat.encode_reply("reply"))) == body
    assert tokens(chat, chat.encode_feedback(Message("user", "wrong"), chat.encode_reply("reply")[:-1])) == [
        "<|im_end|>",
        *body,
    ]
    assert tokens(chat, tuple(chat.end_ids)) == ["<|im_end|>"]
    both = Chat(other_tokenizer(CHATML, eos="<|endoftext|>"))
    assert set(tokens(both, tuple(both.end_ids))) == {"<|im_end|>", "<|endoftext|>"}
    assert tokens(both, both.encode_reply("reply"))[-1] == "<|im_end|>"  # the template's end, not the tokenizer's
