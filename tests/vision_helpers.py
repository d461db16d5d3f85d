"""What the tests of vision-language models share: a tiny random model of each family, its processor, and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from unittest.mock import patch

import numpy as np
import torch
import transformers
from tokenizers import AddedToken
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaProcessor,
    MllamaTextConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from engine_helpers import build_tokenizer
from ruleshift.chat import Chat
from ruleshift.pictures import picture_of, pixels_of
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
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.3,
}


def tokenizer_with(image: str, *others: str) -> PreTrainedTokenizerFast:
    """The tokenizer of the engine's tests with placeholders, and a template that prints `image` for every picture."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken(token, special=True) for token in others]})
    tokenizer.chat_template = TEMPLATE.replace("IMAGE", image)
    return tokenizer


HAS_VIDEOS = find_spec("torchvision") is not None


def with_videos(kind: type, images: object, tokenizer: object, **more: object) -> ProcessorMixin:
    """A processor of a class that wants a video processor too. transformers has none without torchvision, and no class
    to check it by either; without it, nothing stands in its place, and only the tokenizer is saved."""
    if HAS_VIDEOS:
        return kind(images, tokenizer, transformers.Qwen2VLVideoProcessor(), **more)
    with patch.object(kind, "check_argument_for_proper_class"):
        processor = kind(images, tokenizer, None, **more)
    processor.save_pretrained = tokenizer.save_pretrained
    return processor


def idefics3() -> tuple[PreTrainedModel, Chat]:
    """Pictures of any size, made 28 x 28: 16 patches of 7 x 7, four of which are one token."""
    tokenizer = tokenizer_with("<image>", "<global-img>", "<image>", "<fake_token_around_image>")
    images = Idefics3ImageProcessorPil(do_image_splitting=False, do_resize=False, max_image_size={"longest_edge": 28})
    chat = Chat(Idefics3Processor(images, tokenizer, image_seq_len=4))
    config = Idefics3Config(**_idefics(chat, 28), scale_factor=2)
    return random_model(Idefics3ForConditionalGeneration, config), chat


def smolvlm() -> tuple[PreTrainedModel, Chat]:
    """Pictures in tiles of 28 x 28 (at most 2 x 2 of them) and a small one of the whole."""
    tiles = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    tokenizer = tokenizer_with("<image>", "<global-img>", "<image>", "<fake_token_around_image>", "<video>", *tiles)
    images = SmolVLMImageProcessorPil(size={"longest_edge": 56}, max_image_size={"longest_edge": 28})
    chat = Chat(with_videos(SmolVLMProcessor, images, tokenizer, image_seq_len=4))
    config = SmolVLMConfig(**_idefics(chat, 28), scale_factor=2)
    return random_model(SmolVLMForConditionalGeneration, config), chat


def _idefics(chat: Chat, size: int) -> dict:
    tower = {**TOWER, "image_size": size, "patch_size": 7}
    return {"text_config": text_config(LlamaConfig, chat), "vision_config": tower, **top_config(chat)}


def llava() -> tuple[PreTrainedModel, Chat]:
    """Pictures made 28 x 28: 16 patches, and one more of the tower that is not shown."""
    tokenizer = tokenizer_with("<image>", "<image>")
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    chat = Chat(
        LlavaProcessor(
            images, tokenizer, patch_size=7, vision_feature_select_strategy="default", num_additional_image_tokens=1
        )
    )
    config = LlavaConfig(
        text_config={**text_config(LlamaConfig, chat), "model_type": "llama"},
        vision_config={**TOWER, "model_type": "clip_vision_model", "image_size": 28, "patch_size": 7},
        **top_config(chat),
    )
    return random_model(LlavaForConditionalGeneration, config), chat


def mllama() -> tuple[PreTrainedModel, Chat]:
    """Pictures in up to four tiles of 28 x 28, looked at from two layers of five."""
    tokenizer = tokenizer_with("<|image|>", "<|image|>")
    images = MllamaImageProcessorPil(size={"height": 28, "width": 28}, max_image_tiles=4)
    chat = Chat(MllamaProcessor(images, tokenizer))
    more = {
        "vocab_size": chat.eye.token_id,
        "cross_attention_layers": [1, 3],
        "num_hidden_layers": 5,
        "bos_token_id": 1,
    }
    tower = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
        "max_num_tiles": 4,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 32,
        "initializer_range": 0.3,
    }
    rope = {"rope_type": "default", "rope_theta": 500.0}
    text = text_config(MllamaTextConfig, chat, rope_parameters=rope, **more)
    model = random_model(
        MllamaForConditionalGeneration, MllamaConfig(text_config=text, vision_config=tower, **top_config(chat))
    )
    with torch.no_grad():  # gates, which start at 0
        for name, weight in model.named_parameters():
            if "gate" in name and weight.numel() == 1:
                weight.fill_(0.7)
    return model, chat


def qwen2_5_vl() -> tuple[PreTrainedModel, Chat]:
    tower = {**QWEN_TOWER, "window_size": 28, "fullatt_block_indexes": [1]}
    return qwen(Qwen2_5_VLProcessor, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, tower)


def qwen3_vl() -> tuple[PreTrainedModel, Chat]:
    tower = {**QWEN_TOWER, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16}
    return qwen(Qwen3VLProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration, tower)


QWEN_TOWER = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 7,
    "out_hidden_size": 32,
    "initializer_range": 0.3,
}


def qwen(processor: type, config: type, model: type, tower: dict) -> tuple[PreTrainedModel, Chat]:
    """Pictures of any size: 7 x 7 pixels a patch, 2 x 2 patches a token."""
    pad, start, end = "<|image_pad|>", "<|vision_start|>", "<|vision_end|>"
    tokenizer = tokenizer_with(start + pad + end, start, pad, end, "<|video_pad|>")
    images = Qwen2VLImageProcessorPil(patch_size=7, min_pixels=14 * 14, max_pixels=56 * 56)
    chat = Chat(with_videos(processor, images, tokenizer))
    rope = {"rope_type": "default", "rope_theta": 500.0, "mrope_section": [2, 1, 1]}
    if config is Qwen3VLConfig:
        rope["mrope_interleaved"] = True
    text = text_config(config.sub_configs["text_config"], chat, rope_parameters=rope, head_dim=8)
    ids = {f"{name}_token_id": chat.tokenizer.convert_tokens_to_ids(token) for name, token in QWEN_IDS.items()}
    return random_model(model, config(text_config=text, vision_config=tower, **{**top_config(chat), **ids})), chat


QWEN_IDS = {"video": "<|video_pad|>", "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}


def text_config(kind: type, chat: Chat, **more: object) -> dict:
    tokenizer = chat.tokenizer
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return kind(**{**TEXT, **ids, "vocab_size": len(tokenizer), **more}).to_dict()


def top_config(chat: Chat) -> dict:
    return {"image_token_id": chat.eye.token_id, "pad_token_id": chat.tokenizer.pad_token_id}


def random_model(kind: Callable, config: object) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return kind(config).eval()


BUILDERS: dict[str, Callable[[], tuple[PreTrainedModel, Chat]]] = {
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "llava": llava,
    "mllama": mllama,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
}
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


@dataclass
class Look:
    """Three pictures of noise, one seen at each of three steps, the second of them with words only. An expert names the
    letter that goes with the brightest corner, which is an arbitrary rule that can be learned."""

    id: str
    seed: int
    step: int = 0

    def _picture(self) -> Picture:
        return noise(10 * self.seed + self.step, 28 + 14 * (self.seed % 2), 28 + 7 * self.step)

    def _seen(self) -> tuple[Picture, ...]:
        return () if self.step == 1 else (self._picture(),)

    def context(self) -> Sequence[Message]:
        return [Message("user", "target " * (1 + self.seed % 3), self._seen())]

    def gold(self) -> str:
        pixels = pixels_of(self._picture())
        return "AJQK"[int(np.argmax([pixels[y, x].sum() for y in (0, -1) for x in (0, -1)]))]

    def submit(self, reply: str, last: bool) -> Verdict:
        right = reply.strip() == self.gold()
        self.step += 1
        ended = self.step == 3
        seen = () if ended else self._seen()
        return Verdict(
            "", right + 0.5 * (len(reply) % 2), False, f"on {self.step}", advanced=not ended, ended=ended, pictures=seen
        )


class LookTask:
    """A task of `Look` problems."""

    id, version, default_turns, metric, pictures = "look", "1", 1, "success", True

    def splits(self) -> dict[str, str]:
        return {"train": "all"}

    def unseen(self) -> "LookTask":
        return self

    def problem(self, split: str, seed: int, index: int, style: str = "full") -> Look:
        return Look(f"{split}-{seed}-{index}", 1000 * seed + index)
