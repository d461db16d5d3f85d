"""Where replies begin and end, for templates built like those of well-known models: each says what it stands for."""

from dataclasses import dataclass

import pytest
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine_helpers import drawn, read_again
from helpers import EchoTask, one_thread, tiny_model
from ruleshift.chat import Chat, encode_dialogue, episode_sequence
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.records import Message
from ruleshift.revision import revise
from ruleshift.templates import PLAIN

WORDS = ["user", "assistant", "system", "model", "User", "Assistant", ":", "\n", " ", "x", "R1", "R2", "wrong", "rule"]
WORDS += [*"AJQK+", "26", "Jul", "2024", "hm"]


MARKS = {
    "no marks": None,
    "marks after every special token": normalizers.Prepend("▁"),  # as in Llama 2, TinyLlama and Mistral 7B
    "a mark at the beginning": pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
}
Marks = normalizers.Normalizer | pre_tokenizers.PreTokenizer | None


def tokenizer_with(
    template: str | None, eos: str, special: str, plain: str = "", marks: Marks = None
) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that keeps spaces, or where these are marked, the marks. Tokens in `special` are special
    and have no name, as in Gemma 3."""
    words = ["<pad>", "<unk>", *WORDS, "▁"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    split = pre_tokenizers.Split(Regex(r"\n| |[0-9]+|[A-Za-z]+[0-9]*|\S"), "removed", invert=True)
    if isinstance(marks, normalizers.Normalizer):
        tokenizer.normalizer = normalizers.Sequence([marks, normalizers.Replace(" ", "▁")])
    first = [marks] if isinstance(marks, pre_tokenizers.PreTokenizer) else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*first, split])
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain.split()])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special.split()])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token=eos, extra_special_tokens=[]
    )
    wrapped.chat_template = template
    return wrapped


def turns(user: str, assistant: str, header: str) -> str:
    """A template: what is printed for messages (M) of either role, and where a reply is asked for."""
    printed = {"user": user, "assistant": assistant}
    branches = "".join(
        "{% if m.role == '" + role + "' %}" + text.replace("M", "{{ m.content }}") + "{% endif %}"
        for role, text in printed.items()
    )
    return "{% for m in messages %}" + branches + "{% endfor %}{% if add_generation_prompt %}" + header + "{% endif %}"


@dataclass(frozen=True)
class Family:
    template: str
    eos: str
    special: str
    named: tuple[str, ...]  # by the generation config
    reply: str  # R1 as SFT teaches it
    feedback: str  # what follows it
    other: str | None = None  # another end, and what follows that
    after_other: str = ""


GEMMA = turns(
    "<start_of_turn>user\nM<end_of_turn>\n", "<start_of_turn>model\nM<end_of_turn>\n", "<start_of_turn>model\n"
)
PHI = turns("<|user|>\nM<|end|>\n", "<|assistant|>\nM<|end|>\n", "<|assistant|>\n")
LLAMA_3 = turns("<|h|>user<|e|>\n\nM<|eot_id|>", "<|h|>assistant<|e|>\n\nM<|eot_id|>", "<|h|>assistant<|e|>\n\n")
GLM = turns("<|user|>\nM", "<|assistant|>\nM", "<|assistant|>\n")
QWEN = turns("<|im_start|>user\nM<|im_end|>\n", "<|im_start|>assistant\nM<|im_end|>\n", "<|im_start|>assistant\n")
LLAMA_2 = turns("<s>[INST] M [/INST]", " M </s>", "")
MISTRAL = turns("[INST] M[/INST]", " M</s>", "")
FAMILIES = {
    "gemma 3": Family(
        GEMMA,
        "<eos>",
        "<eos> <start_of_turn> <end_of_turn>",
        ("<eos>", "<end_of_turn>"),
        "R1<end_of_turn>",
        "\n<start_of_turn>user\nwrong<end_of_turn>\n<start_of_turn>model\n",
        "<eos>",
        "\n<start_of_turn>user\nwrong<end_of_turn>\n<start_of_turn>model\n",
    ),
    "phi 3": Family(
        PHI,
        "<|endoftext|>",
        "<|endoftext|> <|end|> <|user|> <|assistant|>",
        (),
        "R1<|end|>",
        "\n<|user|>\nwrong<|end|>\n<|assistant|>\n",
    ),
    "llama 3": Family(
        LLAMA_3,
        "<|end_of_text|>",
        "<|end_of_text|> <|eot_id|> <|h|> <|e|>",
        ("<|end_of_text|>", "<|eot_id|>"),
        "R1<|eot_id|>",
        "<|h|>user<|e|>\n\nwrong<|eot_id|><|h|>assistant<|e|>\n\n",
    ),
    "glm 4": Family(
        GLM,
        "<|endoftext|>",
        "<|endoftext|> <|user|> <|assistant|> <|observation|>",
        ("<|endoftext|>", "<|user|>", "<|observation|>"),
        "R1<|user|>",
        "\nwrong<|assistant|>\n",
        "<|endoftext|>",
        "<|user|>\nwrong<|assistant|>\n",
    ),
    "qwen": Family(
        QWEN,
        "<|im_end|>",
        "<|im_start|> <|im_end|> <|endoftext|>",
        ("<|im_end|>", "<|endoftext|>"),
        "R1<|im_end|>",
        "\n<|im_start|>user\nwrong<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama 2": Family(LLAMA_2, "</s>", "<s> </s> [INST] [/INST]", ("</s>",), " R1 </s>", "<s>[INST] wrong [/INST]"),
    "mistral": Family(MISTRAL, "</s>", "</s> [INST] [/INST]", ("</s>",), " R1</s>", "[INST] wrong[/INST]"),
}


def chat_of(family: Family, marks: Marks = None, **more: object) -> Chat:
    tokenizer = tokenizer_with(family.template, family.eos, family.special, marks=marks)
    return Chat(tokenizer, "some", tokenizer.convert_tokens_to_ids(list(family.named)), **more)


def shown(chat: Chat, ids: tuple[int, ...]) -> str:
    return chat.tokenizer.decode(list(ids))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_replies_end_once_and_where_the_model_ends_them(family: Family) -> None:
    chat = chat_of(family)
    reply = chat.encode_reply("R1")
    assert shown(chat, reply) == family.reply
    assert shown(chat, chat.encode_feedback(Message("user", "wrong"), reply)) == family.feedback
    assert reply[-1] in chat.end_ids
    assert chat.end_ids >= set(chat.tokenizer.convert_tokens_to_ids([family.eos, *family.named]))
    assert sum(token in chat.end_ids for token in reply) == 1
    cut = chat.encode_feedback(Message("user", "wrong"), reply[:-1])
    assert shown(chat, cut).endswith(family.feedback)
    assert len(cut) > len(chat.encode_feedback(Message("user", "wrong"), reply))
    if family.other is not None:
        ended = (reply[0], chat.tokenizer.convert_tokens_to_ids(family.other))
        assert shown(chat, chat.encode_feedback(Message("user", "wrong"), ended)) == family.after_other


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_sft_reads_what_the_template_prints(family: Family, marks: Marks) -> None:
    """A conversation as it is taught is the template's, but for what it prints after the last end."""
    chat = chat_of(family, marks)
    said = [Message("user", "x"), Message("assistant", "R1"), Message("user", "wrong"), Message("assistant", "R2")]
    taught = encode_dialogue(chat, said)
    plain = [{"role": message.role, "content": message.content} for message in said]
    whole = chat.tokenizer(chat.tokenizer.apply_chat_template(plain, tokenize=False), add_special_tokens=False)
    length = len(taught.token_ids) - (family.template == GLM)  # whose end begins the next message
    assert list(taught.token_ids[:length]) == whole["input_ids"][:length]


THINK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\nHEADER{% endif %}"
)
SWITCHED = THINK.replace("HEADER", "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}")  # as Qwen3
NAMED = THINK.replace("HEADER", "{% if thinking %}<think>{% else %}</think>{% endif %}")  # as DeepSeek-V3.1
OPENED = THINK.replace("HEADER", "<think>\n")  # as DeepSeek-R1's distillations
EITHER = THINK.replace(
    "HEADER", "<think>\n{% if enable_thinking is false %}{{ '\n</think>\n\n' }}{% endif %}"
)  # as Qwen3.5


def thinker(template: str, thinking: bool = False) -> Chat:
    special = "<|im_start|> <|im_end|>"
    return Chat(tokenizer_with(template, "<|im_end|>", special, "<think> </think>"), "some", thinking=thinking)


@pytest.mark.parametrize(
    ("template", "header", "how"),
    [
        (SWITCHED, "<think>\n\n</think>\n\n", "off, by the template's switch"),
        (NAMED, "</think>", "off, by the template's switch"),
        (OPENED, "<think>\n\n</think>\n\n", "off, its thought is closed"),
        (EITHER, "<think>\n\n</think>\n\n", "off, by the template's switch"),
    ],
    ids=["switched", "named", "opened", "either"],
)
def test_no_reply_is_written_into_an_open_thought(template: str, header: str, how: str) -> None:
    chat = thinker(template)
    said = [Message("user", "x"), Message("assistant", "R1"), Message("user", "wrong"), Message("assistant", "R2")]
    text = shown(chat, encode_dialogue(chat, said).token_ids)
    user = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n" + header
    assert text == user.format("x") + "R1<|im_end|>\n" + user.format("wrong") + "R2<|im_end|>"
    assert chat.facts == {"thinking": how}


@pytest.mark.parametrize(
    ("template", "header", "mark"),
    [(SWITCHED, "", ""), (NAMED, "<think>", "<think>\n"), (OPENED, "<think>\n", "<think>\n")],
)
def test_a_thought_that_the_prompt_opens_is_part_of_the_reply(template: str, header: str, mark: str) -> None:
    chat = thinker(template, thinking=True)
    prompt = shown(chat, chat.encode_prompt([Message("user", "x")]))
    assert prompt == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n" + header
    assert chat.decode(chat.tokenizer("hm</think>R1")["input_ids"]) == mark + "hm</think>R1"
    assert chat.facts == {"thinking": "on"}


def test_what_cannot_think_is_not_asked_to() -> None:
    with pytest.raises(RuleshiftError, match="knows of no thinking: leave --thinking out"):
        Chat(tokenizer_with(QWEN, "<|im_end|>", "<|im_start|> <|im_end|>"), thinking=True)


@pytest.mark.parametrize("template", [SWITCHED, OPENED])
def test_a_thought_that_takes_too_long_is_closed(template: str) -> None:
    chat = thinker(template, thinking=True)
    begin, end = chat.thought_ids
    model = tiny_model(spread=0.3)
    problems = [EchoTask().problem("train", 0, index) for index in range(40)]
    with one_thread():
        episodes = revise(problems, LocalEngine(model, chat, Sampling(1.0, 4, 3, thinking_tokens=6)), turns=2)
        free = revise(problems, LocalEngine(model, chat, Sampling(1.0, 10, 3)), turns=2)
    closed = 0
    for episode in episodes:
        for turn in episode.turns:
            ids = turn.completion.token_ids
            thinking = chat.opens_thought
            for place, token in enumerate(ids):
                thinking = (thinking or token == begin) and token != end
                assert not (thinking and place >= 6)
            closed += len(ids) > 6 and ids[6] == end
            assert len(ids) <= 10
    if template == OPENED:
        assert closed > 20
        assert sum(turn.completion.token_ids[6:7] == (end,) for e in free for turn in e.turns) < 20  # control


DATED = "{{ strftime_now('%d %b %Y') }}\n" + QWEN


def test_the_date_is_always_the_same_and_recorded() -> None:
    chat = Chat(tokenizer_with(DATED, "<|im_end|>", "<|im_start|> <|im_end|>"))
    assert shown(chat, chat.encode_prompt([Message("user", "x")])).startswith("26 Jul 2024\n")
    assert chat.facts == {"date": "2024-07-26"}
    assert chat_of(FAMILIES["qwen"]).facts == {}


def test_a_system_message_stands_before_every_conversation() -> None:
    template = QWEN.replace(
        "{% for m in messages %}", "{% for m in messages %}{% if m.role == 'system' %}|{{ m.content }}|{% endif %}"
    )
    chat = Chat(tokenizer_with(template, "<|im_end|>", "<|im_start|> <|im_end|> |"), system="rule wrong")
    prompt = shown(chat, chat.encode_prompt([Message("user", "x")]))
    assert prompt == "|rule wrong|<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    assert chat.facts == {"system": "rule wrong"}
    with pytest.raises(RuleshiftError, match="does not print system messages as they are: leave --system out"):
        chat_of(FAMILIES["qwen"], system="rule")
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + QWEN
    with pytest.raises(RuleshiftError, match=r"\(no system\).*leave --system out"):
        Chat(tokenizer_with(refusing, "<|im_end|>", "<|im_start|> <|im_end|>"), system="rule")


def base_chat(eos: str = "<eos>", marks: Marks = None) -> Chat:
    return Chat(tokenizer_with(None, eos, eos, marks=marks), "a base model", template=PLAIN, system="rule")


def test_the_plain_template_token_by_token() -> None:
    chat = base_chat()
    said = [Message("user", "x"), Message("assistant", "R1"), Message("user", "wrong"), Message("assistant", "R2")]
    whole = shown(chat, encode_dialogue(chat, said).token_ids)
    assert whole == "rule\n\nUser: x\n\nAssistant: R1<eos>\n\nUser: wrong\n\nAssistant: R2<eos>"
    assert chat.facts == {"chat_template": "plain", "system": "rule"}


def test_a_base_model_that_goes_on_for_the_next_speaker_has_ended() -> None:
    """What it wrote is kept as it was drawn, label and all; the feedback goes on after the label."""
    chat = base_chat()
    written = tuple(chat.tokenizer(" R1\n\nUser:")["input_ids"])
    assert chat.ended(written)
    assert not chat.ended(written[:-1])
    assert chat.decode(written).strip() == "R1"
    assert shown(chat, chat.encode_feedback(Message("user", "wrong"), written)) == " wrong\n\nAssistant:"
    ended = chat.encode_reply("R1")
    assert shown(chat, chat.encode_feedback(Message("user", "wrong"), ended)) == "\n\nUser: wrong\n\nAssistant:"
    cut = chat.encode_feedback(Message("user", "wrong"), ended[:-1])
    assert shown(chat, cut) == "<eos>\n\nUser: wrong\n\nAssistant:"


@pytest.mark.parametrize("marks", MARKS.values(), ids=MARKS)
def test_what_follows_a_label_reads_as_in_one_piece(marks: Marks) -> None:
    chat = base_chat(marks=marks)
    text = "rule\n\nUser: x\n\nAssistant: R1\n\nUser: wrong\n\nAssistant:"
    whole = tuple(chat.tokenizer(text, add_special_tokens=False)["input_ids"])
    prompt = chat.encode_prompt([Message("user", "x")])
    colon = max(place for place, token in enumerate(whole[:-1]) if shown(chat, (token,)) == ":")
    said = whole[len(prompt) : colon + 1]
    assert (*prompt, *said, *chat.encode_feedback(Message("user", "wrong"), said)) == whole
    taught = encode_dialogue(chat, [Message("user", "x"), Message("assistant", "R1")]).token_ids
    assert taught[:-1] == whole[: len(taught) - 1]


def test_a_base_model_that_begins_another_reply_has_ended_the_first() -> None:
    chat = base_chat()
    written = tuple(chat.tokenizer(" R1\n\nAssistant:")["input_ids"])
    assert chat.ended(written)
    assert not chat.ended(written[:-1])
    assert chat.decode(written).strip() == "R1"
    feedback = chat.encode_feedback(Message("user", "wrong"), written)
    assert shown(chat, feedback) == "<eos>\n\nUser: wrong\n\nAssistant:"


@pytest.mark.usefixtures("on_one_thread")
@pytest.mark.parametrize(
    ("eos", "likely"),
    [("<eos>", 0.0), ("<eos>", 5.0), ("<pad>", -9.0)],
    ids=["some", "often the end of sequence", "an end of sequence with id 0"],
)
def test_the_engine_stops_at_the_label(eos: str, likely: float) -> None:
    """Of a batch of which most rows go on, and whatever these would have drawn: as GPT-NeoX has it, `<pad>` is id 0."""
    chat = base_chat(eos)
    model = tiny_model(spread=0.02)
    user, colon, newline = chat.tokenizer.convert_tokens_to_ids(["User", ":", "\n"])
    head = model.get_output_embeddings()
    model.train(False)
    bias = head.weight.new_zeros(len(head.weight))
    bias[[user, colon, newline]] = 8.0
    bias[chat.tokenizer.eos_token_id] = likely
    head.bias = torch.nn.Parameter(bias)
    problems = [EchoTask().problem("train", 0, index) for index in range(40)]
    episodes = revise(problems, LocalEngine(model, chat, Sampling(1.0, 30, 5)), turns=2)
    stopped = 0
    for episode in episodes:
        for turn in episode.turns:
            text = chat.tokenizer.decode(list(turn.completion.token_ids))
            assert text.count("\nUser:") == (text.endswith("\nUser:"))
            assert "\nUser:" not in turn.completion.text
            assert (turn.completion.stop_reason == "stop") == (text.endswith(("\nUser:", eos)))
            assert len(turn.completion.token_ids) == len(turn.completion.logprobs)
            stopped += text.endswith("\nUser:")
        assert episode.token_ids == episode_sequence(episode).token_ids
        torch.testing.assert_close(drawn(episode), read_again(model, episode)[1], atol=1e-4, rtol=0)
    assert stopped > 10


def test_a_model_without_a_template_names_the_plain_one() -> None:
    with pytest.raises(RuleshiftError, match="no chat template: --chat-template plain is one for base models"):
        Chat(tokenizer_with(None, "<eos>", "<eos>"))
