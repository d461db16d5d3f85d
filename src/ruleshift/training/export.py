"""Models of checkpoints: from any step that a run or an arm of a study has kept, also of one that was stopped."""

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
from ruleshift.backbones.given import CONFIG, export_command, is_model, kept_models, run_of
from ruleshift.backbones.lora import merged_tensors
from ruleshift.backbones.save import copy_model, is_saved, save_model
from ruleshift.backbones.vision import FAMILIES
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder, read_tensors


def export(run: Path, step: int | None, out: Path) -> int | None:
    """Write the model of a run after `step`, or the newest there is (None), into a folder that is not there yet, with
    adapters made part of it. Returns the step, None for the end of a run that has ended.

    Raises RuleshiftError where the run has kept no such step, or nothing a model could be made of.
    """
    if not RunFolder(run).is_there:
        raise RuleshiftError(_no_run(run))
    if step is None and is_saved(run / "model"):
        copy_model(run / "model", out)
        return None
    kept = kept_models(run)
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


def _no_run(folder: Path) -> str:
    """What to name in the place of a folder that holds no run."""
    of = run_of(folder)
    if of is not None:
        return f"{folder} is a checkpoint: name its run, {export_command(*of)}"
    if is_model(folder):
        return f"{folder} holds a model already, and no run to export one from: give it as --model"
    return f"{folder} is no run folder (no {CONFIG} of one in it): name one of ruleshift sft, rl, distil or study"


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
