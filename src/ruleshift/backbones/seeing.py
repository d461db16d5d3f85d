"""An untrained bundled vision-language backbone: the bundled text backbone behind a new tower."""

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from ruleshift.backbones.config import VisionBuildConfig
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.chat import Chat
from ruleshift.templates import WORDS_AND_PICTURES

_PLACEHOLDERS = ("<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>")


def new_vision_model(config: VisionBuildConfig) -> tuple[PreTrainedModel, Chat]:
    """Idefics3's classes: a SigLIP-like tower, a pixel shuffle with one matrix, and the text backbone as decoder.

    The tower's initial weights, and those of the placeholders, are a function of the seed.
    """
    text = load_backbone("bundled", device="cpu").model
    chat = Chat(_processor(config, _tokenizer()), "the bundled vision-language backbone")
    assert chat.eye is not None
    torch.manual_seed(config.seed)
    decoder = {**text.config.to_dict(), "vocab_size": len(chat.tokenizer), "_name_or_path": ""}
    shape = Idefics3Config(
        text_config=decoder,
        vision_config={
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.feedforward,
            "image_size": config.picture,
            "patch_size": config.patch,
        },
        scale_factor=config.merged,
        image_token_id=chat.eye.token_id,
        tie_word_embeddings=True,
    )
    shape.ruleshift_style = "stepwise"
    model = Idefics3ForConditionalGeneration(shape)
    words = text.get_input_embeddings().weight
    learned = dict(text.base_model.named_parameters())
    with torch.no_grad():
        for name, weight in model.get_decoder().named_parameters():
            target = weight[: len(words)] if learned[name] is words else weight
            target.copy_(learned[name])
    model.tie_weights()
    model.generation_config.eos_token_id = chat.tokenizer.eos_token_id
    return model, chat


def _tokenizer() -> PreTrainedTokenizerBase:
    """That of the text backbone, and what stands for pictures."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": ["<user>", "<bot>", *_PLACEHOLDERS]})
    tokenizer.chat_template = WORDS_AND_PICTURES
    return tokenizer


def _processor(config: VisionBuildConfig, tokenizer: PreTrainedTokenizerBase) -> Idefics3Processor:
    """Pictures are made `picture` pixels high and wide, and are not split."""
    side = {"longest_edge": config.picture}
    images = Idefics3ImageProcessorPil(do_image_splitting=False, do_resize=False, size=side, max_image_size=side)
    seen = (config.picture // config.patch // config.merged) ** 2
    return Idefics3Processor(images, tokenizer, image_seq_len=seen, chat_template=WORDS_AND_PICTURES)
