"""Loading a model, of text or of text and pictures, with its chat: a named one, a local folder, or a hub id."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from ruleshift.backbones.checkpoint import check_files, check_room, check_sizes, check_weights
from ruleshift.backbones.config import MERGED, AnyStyle, ModelOptions
from ruleshift.backbones.given import check_model
from ruleshift.backbones.hub import only_cached
from ruleshift.backbones.named import located
from ruleshift.backbones.room import room_for
from ruleshift.backbones.vision import FAMILIES
from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import Style
from ruleshift.templates import PLAIN

AS_IT_IS = ModelOptions()


@dataclass(frozen=True)
class Backbone:
    """A model ready to sample and train, its chat, and the prompt style it reads best."""

    name: str
    model: PreTrainedModel
    chat: Chat
    style: Style


def load_backbone(
    name: str = "bundled",
    device: str = "auto",
    dtype: str = "auto",
    pictures: bool = False,
    options: ModelOptions = AS_IT_IS,
    thinking: bool = False,
    style: AnyStyle = "auto",
) -> Backbone:
    """Load `name`: "bundled", "smollm2", a folder in Hugging Face format, or a hub id.

    pictures: whether it must see; "bundled" is then the bundled vision-language model.
    device: "auto" takes the GPU if there is one; on "meta" the model has shapes and no weights, and none are read.
    dtype: "auto" is bfloat16 on a GPU and float32 elsewhere, and for what adapters were merged into; weights that are
    to learn must be in "float32", whose products a GPU then computes in TF32. thinking: whether a model that can think
    before it answers does. style: "auto" is what the model's configuration says it reads best, and "full" where that
    says nothing; any other goes into the configuration, so that it stays with the model where it is saved.
    Only safetensors are read, and no code that comes with a model is run unless `options` say so. Raises RuleshiftError
    with the remedy when the model is missing, damaged, of another kind, does not have the weights that its
    configuration describes, sees nothing though it must, has no chat template, or finds no memory.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    source = located(name, pictures)
    check_model(source)
    template = _template(options.chat_template)
    try:
        with room_for(f"while the model {name!r} was loaded"):
            chat_source, model = _read(name, source, place, dtype, pictures, options)
            _complete(chat_source, model)
            if style != "auto":
                model.config.ruleshift_style = style
            preferred = _style(name, model)
            ends = _ends(name, model)
            chat = Chat(chat_source, repr(name), ends, template, options.system, thinking)
            if place.type == "cuda" and model.dtype == torch.float32:
                torch.backends.cuda.matmul.allow_tf32 = True
            model.to(place)  # type: ignore[arg-type]
    except RuleshiftError:
        raise
    except ImportError as error:  # what processors of some families need for videos, of which there are none here
        raise RuleshiftError(
            f"the processor of {name!r} needs torchvision, SmolVLM's num2words too: pip install 'ruleshift[vision]'"
        ) from error
    except Exception as error:  # transformers raises OSError, ValueError, SafetensorError and more for bad folders
        if "trust_remote_code" in str(error):
            raise RuleshiftError(
                f"the model {name!r} wants to run code that comes with it: give --trust-remote-code if you trust its "
                "authors, or choose another"
            ) from error
        lines = str(error).split("\n")[: 2 if str(error).split("\n")[0].endswith(":") else 1]
        reason = " ".join(line.strip() for line in lines)[:200] or type(error).__name__
        raise RuleshiftError(
            f"cannot load the model {name!r} ({reason}); check that the name or folder is right and the files are "
            "whole, and save or download it again if not"
        ) from error
    return Backbone(name, model.eval(), chat, preferred)


def _read(
    name: str, source: str, place: torch.device, dtype: str, pictures: bool, options: ModelOptions
) -> tuple[PreTrainedTokenizerBase | ProcessorMixin, PreTrainedModel]:
    """Tokenizer or processor, and model, checked all along."""
    weights = place.type != "meta"
    folder = Path(source) if Path(source).is_dir() else None
    where: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    if folder is None:
        where["local_files_only"] = only_cached(source)
    else:
        check_files(folder)
    described, _ = PreTrainedConfig.get_config_dict(source, **where)
    check_sizes(name, described, folder)  # before lists are made of them
    config = AutoConfig.from_pretrained(source, **where)
    kind = dtype_of(dtype, place, config.to_dict())
    seeing = config.model_type in FAMILIES
    if pictures and not seeing:
        raise RuleshiftError(
            f"the model {name!r} ({config.model_type}) is of no vision-language family known here, and this task "
            f"shows pictures: choose one of {', '.join(FAMILIES)}"
        )
    check_sizes(name, config.to_dict(), folder)  # those too that it leaves to the family
    reader = cast(Any, AutoProcessor if seeing else AutoTokenizer)
    kind_of = cast(Any, AutoModelForImageTextToText if seeing else AutoModelForCausalLM)
    if folder is not None or not weights:
        with torch.device("meta"):
            empty = kind_of.from_config(config, dtype=kind, trust_remote_code=options.trust_remote_code)
    if folder is not None and weights:
        check_room(name, empty, folder)
    chat_source = cast(PreTrainedTokenizerBase | ProcessorMixin, reader.from_pretrained(source, **where))
    if isinstance(chat_source, ProcessorMixin):  # torchvision's has other pixels, where it is installed
        chat_source.image_processor = AutoImageProcessor.from_pretrained(source, backend="pil", **where)
    if not weights:
        return chat_source, empty
    model, loaded = kind_of.from_pretrained(
        source,
        config=config,
        dtype=kind,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `check_weights` names them
        **where,
    )
    check_weights(name, loaded, model.all_tied_weights_keys)
    return chat_source, model


def dtype_of(asked: str, place: torch.device, config: Mapping[str, Any]) -> torch.dtype:
    """What a model is loaded in: see `load_backbone`. What adapters added would be rounded away in half precision."""
    if asked != "auto":
        return cast(torch.dtype, getattr(torch, asked))
    return torch.bfloat16 if place.type == "cuda" and config.get(MERGED) is not True else torch.float32


def _style(name: str, model: PreTrainedModel) -> Style:
    style = model.config.to_dict().get("ruleshift_style", "full")
    if style not in get_args(Style):
        choices = ", ".join(get_args(Style))
        raise RuleshiftError(
            f"the config.json of {name!r} has ruleshift_style {str(style)[:40]!r}: make it one of {choices}"
        )
    return cast(Style, style)


def _ends(name: str, model: PreTrainedModel) -> set[int]:
    """The ends of replies that the generation config names."""
    given = getattr(model.generation_config, "eos_token_id", None)
    ends = given if isinstance(given, list) else [] if given is None else [given]
    if not all(type(end) is int for end in ends):  # a negative one stands for none
        raise RuleshiftError(
            f"the generation_config.json of {name!r} has eos_token_id {str(given)[:40]!r}: make it a number or "
            "a list of numbers"
        )
    return {end for end in ends if end >= 0}


def _template(chosen: str | None) -> str | None:
    """The text of a chat template: a file's, or the plain one."""
    if chosen is None or chosen == "plain":
        return chosen and PLAIN
    try:
        text = Path(chosen).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RuleshiftError(
            f"cannot read --chat-template {chosen} ({error}): give a text file, or the word plain"
        ) from error
    if not text.strip():
        raise RuleshiftError(f"--chat-template {chosen} is empty: give a file with a template, or the word plain")
    return text


def _complete(processor: PreTrainedTokenizerBase | ProcessorMixin, model: PreTrainedModel) -> None:
    """What older folders of LLaVA leave to the model's configuration."""
    if isinstance(processor, LlavaProcessor) and processor.patch_size is None:
        processor.patch_size = model.config.vision_config.patch_size
        processor.vision_feature_select_strategy = model.config.vision_feature_select_strategy
        with_class = model.config.vision_config.model_type == "clip_vision_model"  # a token beside those of patches
        processor.num_additional_image_tokens = int(with_class)
