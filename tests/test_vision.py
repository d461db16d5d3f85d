"""Vision-language models of every family: tokens and features match, whatever the batch, the turn and the sizes."""

from dataclasses import replace

import pytest
import torch

from engine_helpers import RANDOM, reply_ids
from helpers import one_thread
from ruleshift.chat import encode_dialogue
from ruleshift.engines.local import LocalEngine
from ruleshift.records import Message
from ruleshift.revision import revise
from ruleshift.training.trajectories import Trajectory, forward
from vision_helpers import FAMILIES, noise, shared, shows

SHORT = replace(RANDOM, max_new_tokens=6)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


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
