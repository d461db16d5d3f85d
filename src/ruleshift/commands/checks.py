"""Checks of what a user asked for, made before any long work begins."""

import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.settings import RLConfig, SFTConfig
    from ruleshift.tasks.protocol import Task


def at_least(option: str, value: float, least: float) -> None:
    """Raise RuleshiftError for a number below `least`."""
    if not value >= least:  # NaN, too
        raise RuleshiftError(f"{option} must be at least {least}, not {value}")


def above_zero(option: str, value: float) -> None:
    """Raise RuleshiftError for a number that is not above zero, or not finite."""
    if not 0 < value < float("inf"):
        raise RuleshiftError(f"{option} must be a number above 0, not {value}")


def check_split(task: "Task", split: str) -> None:
    """Raise RuleshiftError, with the choices, for a split that the task does not have."""
    if split not in task.splits():
        raise RuleshiftError(f"unknown split {split!r} of {task.id}; choose from {', '.join(task.splits())}")


def check_training(config: "SFTConfig | RLConfig", task: "Task", prefix: str = "--") -> None:
    """Raise RuleshiftError for settings that no training can run with. `prefix` begins the names of their options."""
    from ruleshift.settings import PPO_PRESETS, SFT_PRESETS, SFTConfig

    check_split(task, config.split)
    by_task = SFT_PRESETS if isinstance(config, SFTConfig) else PPO_PRESETS
    presets = [preset for by_name in by_task.values() for preset in by_name.values()]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        option = prefix + field.name.replace("_", "-")
        if field.type is int:  # 0 is a value for those that a preset sets to 0
            at_least(option, value, min(1, *(getattr(preset, field.name) for preset in presets)))
        elif field.type is float and field.name.endswith(("learning_rate", "temperature", "max_grad_norm")):
            above_zero(option, value)
    _check_parts(config, task, prefix)
    if isinstance(config, SFTConfig):
        _check_sft(config, prefix)


def _check_parts(config: "SFTConfig | RLConfig", task: "Task", prefix: str) -> None:
    parts = config.train_parts
    if not parts:
        raise RuleshiftError(f"{prefix}train-parts names no part: nothing would learn")
    if config.lora_rank and parts != type(config).train_parts:
        raise RuleshiftError(
            f"{prefix}lora-rank trains adapters and no part of the model: leave {prefix}train-parts out"
        )
    if not task.pictures and "decoder" not in parts:
        raise RuleshiftError(
            f"{task.id} shows no pictures, so that only the decoder can learn: {prefix}train-parts decoder"
        )


def _check_sft(config: "SFTConfig", prefix: str) -> None:
    from transformers import SchedulerType

    schedules = [str(schedule.value) for schedule in SchedulerType]
    if config.schedule not in schedules:
        raise RuleshiftError(f"unknown {prefix}schedule {config.schedule!r}; choose from {', '.join(schedules)}")
    micro_batch = min(config.micro_batch, config.batch)
    if config.batch % micro_batch:
        raise RuleshiftError(f"{prefix}batch {config.batch} is not a multiple of {prefix}micro-batch {micro_batch}")


def check_file(option: str, path: Path | None) -> None:
    """Raise RuleshiftError if a file could not be written there."""
    if path is None:
        return
    if path.exists() and not path.is_file():
        raise RuleshiftError(f"{option} {path} is not a file: choose another name")
    if not path.resolve().parent.is_dir():
        raise RuleshiftError(f"{option} {path}: there is no folder {path.parent}; create it first")
    _probe(option, path, path.resolve().parent)


def check_folder(option: str, path: Path) -> None:
    """Create a folder if need be. Raise RuleshiftError if nothing can be written into it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror
        raise RuleshiftError(f"{option} {path} cannot be a folder ({reason}): choose another path") from error
    _probe(option, path, path)


def _probe(option: str, path: Path, folder: Path) -> None:
    probe = folder / f".tmp-probe-{os.getpid()}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RuleshiftError(f"cannot write {option} {path} ({error.strerror}): choose another folder") from error


def command_line() -> str:
    """The command as it was given, for the record."""
    return "ruleshift " + shlex.join(sys.argv[1:])


def printable(text: str) -> str:
    """Text of a model made safe for a terminal: control characters other than newline and tab become visible marks."""
    return "".join(c if c in "\n\t" or c.isprintable() else "\ufffd" for c in text)


def has_braille(encoding: str) -> bool:
    """Whether a terminal of this encoding is told of braille letters and arrows as they are."""
    try:
        "\u28ff\u2197".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
