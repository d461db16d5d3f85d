"""Models of checkpoints: from any step that a run or an arm of a study has kept, also of one that was stopped."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from ruleshift.backbones.checkpoint import check_files
from ruleshift.backbones.config import MERGED
from ruleshift.backbones.lora import merged_tensors
from ruleshift.backbones.save import copy_model, is_saved, save_model
from ruleshift.backbones.vision import FAMILIES
from ruleshift.errors import RuleshiftError
from ruleshift.runs import CHECKPOINT_NAME, RunFolder, read_tensors

CONFIG = "config.json"


def export(run: Path, step: int | None, out: Path) -> int | None:
    """Write the model of a run after `step`, or the newest there is (None), into a folder that is not there yet, with
    adapters made part of it. Returns the step, None for the end of a run that has ended.

    Raises RuleshiftError where the run has kept no such step, or nothing a model could be made of.
    """
    if RunFolder(run).read_config() is None:
        raise RuleshiftError(
            f"{run} is no run folder (no {CONFIG} in it): name one of ruleshift sft, rl, distil or study"
        )
    if step is None and is_saved(run / "model"):
        copy_model(run / "model", out)
        return None
    kept = dict(_kept(run))
    if not kept:
        raise RuleshiftError(f"{run} has no checkpoint yet: give its command again, and wait for one (--save-every)")
    chosen = max(kept) if step is None else step
    if chosen not in kept:
        raise RuleshiftError(f"{run} has kept no step {chosen}: --step {', '.join(map(str, sorted(kept)))}")
    folder = kept[chosen]
    if (folder / "model").is_dir():
        copy_model(folder / "model", out)
    elif folder.parent.name == "models":
        copy_model(folder, out)
    else:
        _export_sft(folder, out)
    return chosen


def _kept(run: Path) -> Iterator[tuple[int, Path]]:
    """The steps whose model can be had, by checkpoints, and by the models that a study keeps, which come first."""
    for place in ("checkpoints", "models"):
        for folder in sorted((run / place).glob("step-*")):
            name = CHECKPOINT_NAME.fullmatch(folder.name)
            if name and ((folder / CONFIG).is_file() or (folder / "model" / CONFIG).is_file()):
                yield int(name[1]), folder


def _export_sft(folder: Path, out: Path) -> None:
    """From a checkpoint of SFT, whose weights have the names that they have in memory, those of adapters among them."""
    check_files(folder)
    config = AutoConfig.from_pretrained(folder)
    seeing = config.model_type in FAMILIES
    kind: Any = AutoModelForImageTextToText if seeing else AutoModelForCausalLM
    reader: Any = AutoProcessor if seeing else AutoTokenizer
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= read_tensors(file)
    merged = merged_tensors(tensors)
    if len(merged) < len(tensors):
        config.update({"dtype": "float32", MERGED: True})
    model: PreTrainedModel = kind.from_config(config, dtype=config.dtype)
    found = model.load_state_dict(merged, strict=False)
    lost = set(found.missing_keys) - set(model.all_tied_weights_keys) - set(model._keys_to_ignore_on_save or ())
    if lost or found.unexpected_keys:
        raise RuleshiftError(
            f"{folder} does not hold the model that its {CONFIG} describes ({len(lost)} weights are missing, "
            f"{len(found.unexpected_keys)} are others): export another step"
        )
    model.tie_weights()
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    save_model(model, reader.from_pretrained(folder), out)
