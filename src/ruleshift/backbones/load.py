"""Loading a model, of text or of text and pictures, with its chat: a bundled one, a local folder, or a hub id."""

from dataclasses import dataclass
from typing import cast

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from ruleshift.backbones.config import BUNDLED, BUNDLED_VISION, check_model
from ruleshift.backbones.vision import FAMILIES
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import Style


@dataclass(frozen=True)
class Backbone:
    """A model ready to sample and train, its chat, and the prompt style it reads best."""

    name: str
    model: PreTrainedModel
    chat: Chat
    style: Style


def load_backbone(name: str = "bundled", device: str = "auto", dtype: str = "auto", pictures: bool = False) -> Backbone:
    """Load `name`: "bundled", a folder in Hugging Face format, or a hub id.

    pictures: whether it must see; "bundled" is then the bundled vision-language model.
    device: "auto" takes the GPU if there is one. dtype: "auto" is float32 on a CPU and bfloat16 on a GPU; weights that
    are to learn must be in "float32", whose products a GPU then computes in TF32.
    Only safetensors are read and no remote code is run. Raises RuleshiftError with the remedy when the model is
    missing, truncated, of another kind, sees nothing though it must, or its tokenizer has no chat template.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    kind = (torch.float32 if place.type == "cpu" else torch.bfloat16) if dtype == "auto" else getattr(torch, dtype)
    if place.type == "cuda" and kind == torch.float32:
        torch.backends.cuda.matmul.allow_tf32 = True
    bundled = BUNDLED_VISION if pictures else BUNDLED
    source = str(bundled) if name == "bundled" else name
    check_model(source)
    try:
        config = AutoConfig.from_pretrained(source)
        seeing = config.model_type in FAMILIES
        if pictures and not seeing:
            raise RuleshiftError(
                f"the model {name!r} ({config.model_type}) is of no vision-language family known here, and this task "
                f"shows pictures: choose one of {', '.join(FAMILIES)}"
            )
        reader, kind_of = (
            (AutoProcessor, AutoModelForImageTextToText) if seeing else (AutoTokenizer, AutoModelForCausalLM)
        )
        chat_source = cast(PreTrainedTokenizerBase | ProcessorMixin, reader.from_pretrained(source))
        if isinstance(chat_source, ProcessorMixin):  # torchvision's has other pixels, where it is installed
            chat_source.image_processor = AutoImageProcessor.from_pretrained(source, backend="pil")
        model = kind_of.from_pretrained(source, config=config, dtype=kind, use_safetensors=True)
    except RuleshiftError:
        raise
    except ImportError as error:  # what processors of some families need for videos, of which there are none here
        raise RuleshiftError(
            f"the processor of {name!r} needs torchvision, SmolVLM's num2words too: pip install 'ruleshift[vision]'"
        ) from error
    except Exception as error:  # transformers raises OSError, ValueError, SafetensorError and more for bad folders
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RuleshiftError(
            f"cannot load the model {name!r} ({reason}); check that the name or folder is right and the files are "
            "whole, and save or download it again if not"
        ) from error
    _complete(chat_source, model)
    style = cast(Style, config.to_dict().get("ruleshift_style", "full"))
    model.to(place)  # type: ignore[arg-type]
    return Backbone(name, model.eval(), Chat(chat_source, repr(name)), style)


def _complete(processor: PreTrainedTokenizerBase | ProcessorMixin, model: PreTrainedModel) -> None:
    """What older folders of LLaVA leave to the model's configuration."""
    if isinstance(processor, LlavaProcessor) and processor.patch_size is None:
        processor.patch_size = model.config.vision_config.patch_size
        processor.vision_feature_select_strategy = model.config.vision_feature_select_strategy
        with_class = model.config.vision_config.model_type == "clip_vision_model"  # a token beside those of patches
        processor.num_additional_image_tokens = int(with_class)
