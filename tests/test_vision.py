"""Vision-language models of every family: tokens and features match, whatever the batch, the turn and the sizes."""

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy, deepcopy
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from transformers import MistralConfig, PreTrainedModel
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

from engine_helpers import RANDOM, puzzles, reply_ids
from ruleshift.chat import Chat, encode_dialogue, episode_sequence
from ruleshift.engines import local
from ruleshift.engines.forward import SeeingForward, forward_of
from ruleshift.engines.llama import FusedLlama
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Request
from ruleshift.errors import RuleshiftError
from ruleshift.pictures import pixels_of
from ruleshift.records import Message, Picture
from ruleshift.revision import revise
from ruleshift.tasks import get_task
from ruleshift.training.trajectories import Trajectory, forward
from vision_helpers import BUILDERS, FAMILIES, Show, noise, random_model, shared, shows

SHORT = replace(RANDOM, max_new_tokens=6)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def test_a_picture_stands_before_its_text_as_placeholders():
    _, chat = shared("idefics3")
    messages = [
        Message("user", "A J", (noise(0), noise(1, 40, 60))),
        Message("assistant", "Q"),
        Message("user", "wrong <image>", (noise(2),)),
        Message("assistant", "K"),
    ]
    sequences = encode_dialogue(chat, messages)
    words = chat.tokenizer.convert_ids_to_tokens(list(sequences.token_ids))
    seen = ["<fake_token_around_image>", "<global-img>", *["<image>"] * 4, "<fake_token_around_image>"]
    first = ["<user>", *seen, *seen, "A", "J", "<bot>", "Q", "<end>"]
    # A placeholder written out in a text is no picture.
    assert words == [*first, "<user>", *seen, "wrong", "<unk>", "<unk>", "<unk>", "<bot>", "K", "<end>"]
    assert sequences.pictures == (noise(0), noise(1, 40, 60), noise(2))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_conversation_is_the_same_in_any_batch_and_in_training(family):
    model, chat = shared(family)
    together = revise(shows(), LocalEngine(model, chat, SHORT), turns=4)
    alone = revise(shows(), LocalEngine(model, chat, SHORT, batch_size=1), turns=4)
    assert [len(episode.pictures) for episode in together] == [3, 2, 3]
    for one, other in zip(together, alone, strict=True):
        assert reply_ids(one) == reply_ids(other)
    drawn = [p for episode in together for turn in episode.turns for p in turn.completion.logprobs]
    whole = forward(model, [Trajectory.of(episode) for episode in together], chat.eye)
    torch.testing.assert_close(torch.tensor(drawn), whole.logprobs.detach(), atol=1e-4, rtol=0)


def reference(family: str, ids: tuple[int, ...], pictures: Sequence[Picture]) -> torch.Tensor:
    """Log-probs (T, V) by transformers' own pass over a conversation, with its own placing of pictures."""
    model, chat = shared(family)
    tokens = torch.tensor([ids])
    seen = tokens == chat.eye.token_id
    images = [[Image.fromarray(pixels_of(picture)) for picture in pictures]]
    inputs = dict(chat.source.image_processor(images, return_tensors="pt")) if pictures else {}
    with ExitStack() as stack, torch.no_grad():
        if pictures and family.startswith("qwen"):
            inputs["mm_token_type_ids"] = seen.int()
        if pictures and family == "mllama":
            tiles, most = inputs.pop("num_tiles"), 4
            spans = [get_cross_attention_token_mask(list(ids), chat.eye.token_id)]
            mask = convert_sparse_cross_attention_mask_to_dense(spans, tiles, most, len(ids))
            inputs["cross_attention_mask"] = torch.tensor(mask)
            # Meta's rule for tokens before the first picture, which transformers does not follow: they see nothing.
            after = seen.cumsum(1)[:, :, None] > 0
            for layer in (1, 3):
                attention = model.model.language_model.layers[layer].cross_attn
                hook = attention.register_forward_hook(lambda _, __, output: (output[0] * after, output[1]))
                stack.callback(hook.remove)
        return model(input_ids=tokens, **inputs).logits[0].log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_are_those_of_transformers(family):
    model, chat = shared(family)
    episodes = revise(shows(6), LocalEngine(model, chat, SHORT), turns=4)
    checked = 0
    for episode in episodes:
        if any(chat.eye.token_id in ids for ids in reply_ids(episode)):
            continue  # transformers would look for a picture there
        ids = torch.tensor(episode.token_ids)
        mask = torch.tensor(episode_sequence(episode).reply_mask, dtype=torch.bool)
        table = reference(family, episode.token_ids, episode.pictures)
        expected = table[:-1][mask[1:]].gather(1, ids[1:][mask[1:], None])[:, 0]
        drawn = [p for turn in episode.turns for p in turn.completion.logprobs]
        torch.testing.assert_close(torch.tensor(drawn), expected, atol=1e-4, rtol=0)
        checked += len(episode.pictures) >= 2
    assert checked >= 3


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_replies_are_those_of_transformers(family):
    model, chat = shared(family)
    episodes = revise(shows(), LocalEngine(model, chat, replace(SHORT, temperature=0.0), batch_size=2), turns=3)
    checked = 0
    for episode in episodes:
        if any(chat.eye.token_id in ids for ids in reply_ids(episode)):
            continue  # transformers would look for a picture there
        mask = torch.tensor(episode_sequence(episode).reply_mask, dtype=torch.bool)
        likeliest = reference(family, episode.token_ids, episode.pictures)[:-1].argmax(-1)[mask[1:]]
        assert likeliest.tolist() == [token for ids in reply_ids(episode) for token in ids]
        checked += 1
    assert checked


def windowed(family: str, window: int | None) -> tuple[PreTrainedModel, Chat]:
    """A model whose decoder looks back so far only: in one layer of Qwen2.5-VL, in all of LLaVA's, Mistral's here."""
    model, chat = BUILDERS[family]()
    config, sliding = model.config, ["sliding_attention" if window else "full_attention", "full_attention"]
    if family == "llava":
        config.text_config = MistralConfig(
            **{**config.text_config.to_dict(), "model_type": "mistral", "sliding_window": window}
        )
    else:
        config.text_config.layer_types, config.text_config.sliding_window = sliding, window
    return random_model(type(model), config), chat


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_windows_shorter_than_a_conversation_with_pictures(family):
    model, chat = windowed(family, 8)
    wide = windowed(family, None)[0]
    episodes = revise(shows(), LocalEngine(model, chat, SHORT), turns=3)
    trajectories = [Trajectory.of(episode) for episode in episodes]
    drawn = torch.tensor([p for t in trajectories for p in t.old_logprobs])
    taught = [forward(one, trajectories, chat.eye).logprobs.detach() for one in (model, wide)]
    torch.testing.assert_close(drawn, taught[0], atol=1e-4, rtol=0)
    assert float((drawn - taught[1]).abs().max()) > 0.05  # control: without windows it says something else


@pytest.mark.parametrize("family", FAMILIES)
def test_long_prompts_are_read_in_parts(family, monkeypatch):
    model, chat = shared(family)
    whole = revise(shows(), LocalEngine(model, chat, SHORT), turns=4)
    widths: list[int] = []
    original = local.LocalSession._forward

    def watched(self, window, ids, new, view=None):
        widths.append(ids.shape[1])
        return original(self, window, ids, new, view)

    monkeypatch.setattr(local.LocalSession, "_forward", watched)
    monkeypatch.setattr(local, "READ_AT_ONCE", 300)  # parts of pictures
    parts = revise(shows(), LocalEngine(model, chat, SHORT), turns=4)
    assert max(widths) < max(len(turn.appended_ids) for episode in parts for turn in episode.turns)
    for one, other in zip(parts, whole, strict=True):
        assert reply_ids(one) == reply_ids(other)
        for turn, same in zip(one.turns, other.turns, strict=True):
            assert turn.completion.logprobs == pytest.approx(same.completion.logprobs, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_llamas_that_see_are_fused(family, monkeypatch):
    model, chat = shared(family)
    assert isinstance(forward_of(model), FusedLlama) == (family in ("idefics3", "smolvlm", "llava"))
    if isinstance(forward_of(model), FusedLlama):
        fused = revise(shows(), LocalEngine(model, chat, SHORT), turns=4)
        monkeypatch.setattr(local, "forward_of", SeeingForward)
        general = revise(shows(), LocalEngine(model, chat, SHORT), turns=4)
        assert [reply_ids(episode) for episode in fused] == [reply_ids(episode) for episode in general]


@pytest.mark.parametrize("family", ["idefics3", "mllama"])
def test_a_session_keeps_no_picture_that_it_has_read(family):
    """What stays of a picture is its part of the cache; Mllama's is dropped once a later picture has come."""
    model, chat = shared(family)
    shown: list[weakref.ref[Picture]] = []

    def message(turn: int) -> Message:
        picture = noise(turn)
        shown.append(weakref.ref(picture))
        return Message("user", "wrong", (picture,))

    session = LocalEngine(model, chat, SHORT).open([Request(name, (message(0),)) for name in "ab"])
    states: list[int] = []
    for turn in range(5):
        assert [one() is not None for one in shown[-2:]] == [True, True]
        session.generate()
        assert not any(one() for one in shown)
        if family == "mllama":
            states.append(session.window.cache.owner.shape[1])
        session.append([0, 1], [message(turn), message(turn)])
    assert len(shown) == 12
    assert len(set(states[1:])) <= 1


def test_cards_in_pictures_are_played():
    model, chat = shared("idefics3")
    task = get_task("gp-vl")
    problems = [task.problem("train", 0, index, "terse") for index in range(2)]
    episodes = revise(problems, LocalEngine(model, chat, SHORT), turns=2)
    for episode in episodes:
        assert episode.token_ids.count(chat.eye.token_id) >= 4
        assert len(episode.pictures) == 1
    forward(model, [Trajectory.of(episode) for episode in episodes], chat.eye)


# Processors and templates


@pytest.mark.parametrize("size", [(28, 28), (28, 42), (8, 8)])
def test_the_quick_way_gives_the_bits_of_the_processor(size):
    _, chat = shared("idefics3")
    pictures = [noise(seed, *size) for seed in range(3)]
    arrays = [pixels_of(picture) for picture in pictures]
    quick, slow = chat.eye.inputs(pictures), chat.eye._tensors(arrays)
    assert (chat.eye._scale_of_size(*size) is not None) == (size == (28, 28))
    assert quick.keys() == slow.keys()
    assert all(torch.equal(quick[name], value) for name, value in slow.items())


def test_features_that_do_not_fit_their_places_are_an_error_that_says_so():
    model, chat = shared("idefics3")
    wrong = Chat(copy(chat.source))
    wrong.source.image_seq_len = 9
    with pytest.raises(RuleshiftError, match="makes 4 features of a picture of 42 x 28, and its processor 9"):
        revise(shows(1), LocalEngine(model, wrong, SHORT), turns=1)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_pictures_that_a_processor_does_not_take_are_an_error_of_one_line(family):
    _, chat = shared(family)
    line = Picture(1, 500, bytes(1_500))
    with pytest.raises(RuleshiftError, match=r"takes no pictures of 500 x 1 pixels .*aspect ratio") as refused:
        chat.encode_prompt([Message("user", "target 24", (line,))])
    assert "\n" not in str(refused.value)


def test_a_template_that_drops_pictures_is_refused():
    _, chat = shared("idefics3")
    source = copy(chat.source)
    source.chat_template = chat.tokenizer.chat_template.replace("<image>", "")
    with pytest.raises(RuleshiftError, match="shows 0 of 2 pictures"):
        Chat(source).encode_prompt(Show("a", 1).context())


def test_a_template_for_text_alone_is_refused():
    _, chat = shared("idefics3")
    source = copy(chat.source)
    for template, message in (
        ("{% for message in messages %}{{ message.content }}<end>{% endfor %}", "takes text only; add its processor's"),
        ("{% for message in messages %}{{ message.content.strip() }}<end>{% endfor %}", "cannot print a conversation"),
    ):
        source.chat_template = template
        with pytest.raises(RuleshiftError, match=message):
            Chat(source)
    source.chat_template = {"default": chat.tokenizer.chat_template, "tool_use": ""}
    assert Chat(source).encode_prompt(Show("a", 1).context()) == chat.encode_prompt(Show("a", 1).context())


def test_the_beginning_of_sequence_is_there_once_as_from_the_processor():
    """As in LLaVA 1.5, whose template leaves it to the tokenizer, and in Llama 3.2, whose template prints it."""
    source = deepcopy(shared("llava")[1].source)
    tokenizer, template = source.tokenizer, source.tokenizer.chat_template
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    said = [
        {
            "role": "user",
            "content": [{"type": "image", "image": Image.new("RGB", (28, 28))}, {"type": "text", "text": "A J"}],
        }
    ]
    for source.chat_template in (template, "<s>" + template):
        theirs = source.apply_chat_template(said, add_generation_prompt=True, tokenize=True, return_dict=True)
        ours = Chat(source).encode_prompt([Message("user", "A J", (noise(1),))])
        assert list(ours) == theirs["input_ids"][0]
        assert ours.count(tokenizer.bos_token_id) == 1


def test_an_unknown_processor_is_refused():
    class OtherProcessor(type(shared("llava")[1].source)):
        pass

    other = copy(shared("llava")[1].source)
    other.__class__ = OtherProcessor
    with pytest.raises(RuleshiftError, match="OtherProcessor, which is not known here"):
        Chat(other)


def test_a_space_that_a_template_prints_before_replies_is_part_of_given_ones():
    """As in SmolVLM's: a reply is asked for by `Assistant:`, and printed as `Assistant: reply`."""
    source = copy(shared("smolvlm")[1].source)
    source.chat_template = (
        "{% for message in messages %}{% if message.role == 'assistant' %}<bot> {{ message.content[0].text }}<end>"
        "{% else %}<user>{{ message.content[0].text }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<bot>{% endif %}"
    )
    chat = Chat(source)
    assert chat._before == " "
    assert shared("smolvlm")[1]._before == ""


# Conversations with and without pictures together


@pytest.mark.parametrize("family", FAMILIES)
def test_conversations_without_pictures_join_those_with_some(family):
    model, chat = shared(family)

    def problems() -> list:
        return [one for pair in zip(puzzles(4, solved_by=3), shows(4), strict=True) for one in pair]

    alone = revise(problems(), LocalEngine(model, chat, SHORT, batch_size=1), turns=3)
    assert {len(episode.pictures) for episode in alone} >= {0, 2, 3}
    for batch_size in (3, 8):
        for one, other in zip(
            revise(problems(), LocalEngine(model, chat, SHORT, batch_size), turns=3), alone, strict=True
        ):
            assert reply_ids(one) == reply_ids(other)
    drawn = [p for episode in alone for turn in episode.turns for p in turn.completion.logprobs]
    whole = forward(model, [Trajectory.of(episode) for episode in alone], chat.eye)
    torch.testing.assert_close(torch.tensor(drawn), whole.logprobs.detach(), atol=1e-4, rtol=0)
    words = [Trajectory.of(episode) for episode in alone if not episode.pictures]
    drawn = [p for one in words for p in one.old_logprobs]
    torch.testing.assert_close(
        forward(model, words, chat.eye).logprobs.detach(), torch.tensor(drawn), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_runs(family):
    model, chat = BUILDERS[family]()
    episodes = revise(shows(), LocalEngine(model.bfloat16(), chat, SHORT), turns=4)
    drawn = torch.tensor([p for episode in episodes for turn in episode.turns for p in turn.completion.logprobs])
    whole = forward(model, [Trajectory.of(episode) for episode in episodes], chat.eye).logprobs.detach()
    assert float((drawn - whole).abs().mean()) < 0.2
