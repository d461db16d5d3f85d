"""What the tests of vision-language models share: a tiny random model of each family, its processor, and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from tokenizers import AddedToken
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from engine_helpers import build_tokenizer
from ruleshift.chat import Chat
from ruleshift.pictures import picture_of
from ruleshift.records import Message, Picture, Verdict

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content[0].text }}<end>"
    "{% else %}<user>{% for part in message.content %}{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}"
    "{% endif %}{% endfor %}<bot>{% endif %}{% endfor %}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "initializer_range": 0.3,
}
TOWER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer_with(image: str, *others: str) -> PreTrainedTokenizerFast:
    """The tokenizer of the engine's tests with placeholders, and a template that prints `image` for every picture."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken(token, special=True) for token in others]})
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", image)
    return tokenizer


def idefics3() -> tuple[PreTrainedModel, Chat]:
    """Pictures of any size, made 28 x 28: 16 patches of 7 x 7, four of which are one token."""
    tokenizer = tokenizer_with("<image>", "<global-img>")
    images = Idefics3ImageProcessorPil(do_image_splitting=False, do_resize=False, max_image_size={"longest_edge": 28})
    chat = Chat(Idefics3Processor(images, tokenizer, image_seq_len=4))
    config = Idefics3Config(
        text_config=text_config(LlamaConfig, chat),
        vision_config={**TOWER, "image_size": 28, "patch_size": 7, "initializer_range": 0.3},
        scale_factor=2,
        image_token_id=chat.eye.token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return random_model(Idefics3ForConditionalGeneration, config), chat


def text_config(kind: type, chat: Chat, **more: object) -> dict:
    tokenizer = chat.tokenizer
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return kind(**{**TEXT, **ids, "vocab_size": len(tokenizer), **more}).to_dict()


def random_model(kind: Callable, config: object) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return kind(config).eval()


BUILDERS = {"idefics3": idefics3}
FAMILIES = list(BUILDERS)


@cache
def shared(family: str) -> tuple[PreTrainedModel, Chat]:
    """A model not to be changed, and its chat."""
    return BUILDERS[family]()


def noise(seed: int, height: int = 28, width: int = 28) -> Picture:
    return picture_of(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@dataclass
class Show:
    """Pictures of sizes of its own in the prompt and in the feedback of the second reply. `letters` lengthens it."""

    id: str
    letters: int
    tries: int = 0

    def context(self) -> Sequence[Message]:
        pictures = [noise(self.letters + i, 28 + 14 * i, 42) for i in range(1 + self.letters % 2)]
        return [Message("user", " ".join("AJQK"[i % 4] for i in range(self.letters)), tuple(pictures))]

    def submit(self, reply: str, last: bool) -> Verdict:
        self.tries += 1
        seen = (noise(100 + self.letters, 42, 28 + 14 * (self.letters % 3)),) if self.tries == 2 else ()
        return Verdict("", float(len(reply) % 3), False, "wrong " * (1 + len(reply) % 3), pictures=seen)


def shows(count: int = 3) -> list[Show]:
    return [Show(f"show-{i}", 1 + 3 * i) for i in range(count)]
