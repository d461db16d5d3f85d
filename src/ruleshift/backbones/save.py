"""Model folders that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruleshift.backbones.config import MERGED
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.runs import failed_to_write

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin


def save_model(model: "PreTrainedModel", source: "PreTrainedTokenizerBase | ProcessorMixin", folder: Path) -> None:
    """Write a model and the tokenizer or processor of its chat (`chat.source`) in Hugging Face format (safetensors),
    into a folder that is not there yet. Adapters (LoRA) become part of the weights, in float32, which config.json then
    says (`MERGED`)."""
    from ruleshift.backbones.lora import has_lora, merged_weights

    _make_dense(model)
    with _whole(folder) as partial:
        if has_lora(model):
            model.save_pretrained(partial, state_dict=merged_weights(model))
            config = deepcopy(model.config)
            config.update({"dtype": "float32", MERGED: True})
            config.save_pretrained(partial)
        else:
            model.save_pretrained(partial)
        source.save_pretrained(partial)


def _make_dense(model: "PreTrainedModel") -> None:
    """Take off a model that was read from GGUF, and unpacked, the mark that it is packed: with it transformers refuses
    to save it. Others stay as they are."""
    quantizer: Any = vars(model).get("hf_quantizer")
    if quantizer is None or quantizer.quantization_config.quant_method != "gguf":
        return
    if any(parameter.itemsize < 2 for parameter in model.parameters()):
        raise RuleshiftError(
            "the model's weights are packed as in its GGUF file: load it with GgufConfig(dequantize=True)"
        )
    for mark in ("hf_quantizer", "is_quantized", "quantization_method"):
        vars(model).pop(mark, None)
    del model.config.quantization_config


def copy_model(source: Path, folder: Path) -> None:
    """Copy a folder that `save_model` wrote to one that is not there yet. Raises RuleshiftError unless it is whole."""
    if not is_saved(source):
        raise RuleshiftError(f"{source} holds no model: name a folder that does")
    with _whole(folder) as partial:
        shutil.copytree(source, partial)


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the name of `folder` once it is on the disk, and is gone if that fails."""
    partial = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        yield partial
        for file in partial.iterdir():
            with file.open("rb") as content:
                os.fsync(content.fileno())
        partial.rename(folder)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not failed_to_write(error):
            raise
        raise RuleshiftError(
            f"cannot write {folder} ({reason_of(error)}): make sure that the disk has room and lets you write "
            "there, and run the same command again"
        ) from error


def is_saved(folder: Path) -> bool:
    """Whether `save_model` has written this folder. An empty one does not count; RuleshiftError is raised for one that
    holds something, but no whole model."""
    from safetensors import SafetensorError

    from ruleshift.backbones.checkpoint import stored

    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    try:
        if (folder / "config.json").is_file() and stored(folder):
            return True
    except (OSError, SafetensorError, RuleshiftError):  # cut short, or none there
        pass
    raise RuleshiftError(
        f"{folder} lacks config.json or whole weights: delete it and run the same command again, which writes it from "
        "the last checkpoint"
    )
