"""Checks of what a user asked for, made before any long work begins."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ruleshift.bounds import within
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.misfits import MisfitError
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import check_split
from ruleshift.threads import MOST
from ruleshift.training.algorithms import check_algorithm
from ruleshift.training.sft_data import check_data

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Task


def check_training(config: SFTConfig | RLConfig, task: "Task") -> None:
    """Raise RuleshiftError for settings that this task cannot be trained with."""
    check_split(task, config.split)
    if not task.pictures and "decoder" not in config.train_parts:
        raise MisfitError(
            config, "the task shows no pictures, so that only the decoder can learn", [{"train_parts": ("decoder",)}]
        )
    if isinstance(config, RLConfig):
        check_algorithm(config)
    else:
        check_data(config, task.splits())


def check_threads(threads: int | None) -> None:
    """Raise RuleshiftError for a number of threads that no process can have."""
    if threads is not None:
        within("--threads", threads, 1, MOST)


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
    """Raise RuleshiftError if nothing could be written into a folder of this name. It is not made: what is checked
    later may be wrong."""
    place = path.absolute()
    try:
        there = next(folder for folder in (place, *place.parents) if folder.exists() or folder.is_symlink())
        reason = "" if there.is_dir() else "it is a file" if there == place else f"{there} is a file"
    except OSError as error:
        reason = reason_of(error)
    if reason:
        raise RuleshiftError(f"{option} {path} cannot be a folder ({reason}): choose another path")
    _probe(option, path, there)


def check_apart(option: str, path: Path) -> None:
    """The same, and raise RuleshiftError for the folder of a run or of a model, whose files would be mixed with what a
    study or a comparison writes."""
    if (path / "config.json").exists():
        raise RuleshiftError(f"{option} {path} is the folder of a run or a model: choose another one")
    check_folder(option, path)


def make_folder(option: str, path: Path) -> None:
    """Make a folder if need be. Raise RuleshiftError if nothing can be written into it."""
    check_folder(option, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RuleshiftError(f"{option} {path} cannot be a folder ({error.strerror}): choose another path") from error


def check_new(option: str, path: Path) -> None:
    """Raise RuleshiftError unless a folder of this name could be made: it must not be there yet."""
    if path.exists() or path.is_symlink():
        raise RuleshiftError(f"{option} {path} is there already: choose another name")
    check_folder(option, path.parent)


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
