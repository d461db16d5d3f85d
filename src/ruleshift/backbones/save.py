"""Model folders that appear whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin


def save_model(model: "PreTrainedModel", source: "PreTrainedTokenizerBase | ProcessorMixin", folder: Path) -> None:
    """Write a model and the tokenizer or processor of its chat (`chat.source`) in Hugging Face format (safetensors),
    into a folder that is not there yet. Adapters (LoRA) become part of the weights."""
    from safetensors import SafetensorError

    from ruleshift.backbones.lora import has_lora, merged_weights

    partial = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial, state_dict=merged_weights(model) if has_lora(model) else None)
        source.save_pretrained(partial)
        for file in partial.iterdir():
            with file.open("rb") as content:
                os.fsync(content.fileno())
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RuleshiftError(
            f"cannot write {folder} ({error}): make sure that the disk has room and lets you write there, and run the "
            "same command again"
        ) from error
