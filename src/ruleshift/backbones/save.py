"""Model folders that appear whole or not at all."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def save_model(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write a model with its tokenizer in Hugging Face format (safetensors) into a folder that is not there yet."""
    from safetensors import SafetensorError

    partial = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
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
