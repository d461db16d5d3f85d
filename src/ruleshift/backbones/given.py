"""What is given as a model, looked at before anything is loaded: the way on from folders and files that are none."""

import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ruleshift.backbones.config import API, INSIDERS, NAMED
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.runs import CHECKPOINT_NAME, RunFolder

CONFIG = "config.json"
KEPT = ("checkpoints", "models")  # of a run, and of an arm of a study
GGUF = b"GGUF"  # a GGUF file begins so
GGUF_HEADER = 24  # bytes: that, its version, and how many tensors and fields there are
ALIKE = 0.7  # names, as difflib measures it
EXPECTED = f"a folder with {CONFIG} and model.safetensors is expected"


def check_model(name: str, others: Sequence[str] = ()) -> None:
    """Raise RuleshiftError, with the way on, for a name that looks like a folder's or a file's and is no model's, or
    that is one of those that answer without weights, or nearly one of those that have a name here, or of `others`: no
    hub is asked for that."""
    path = Path(name)
    try:
        looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or path.exists()
        if path.is_file():
            check_gguf(path)
            raise RuleshiftError(f"{name} is a GGUF file: {_import_command(path)} makes a model folder of it")
        if path.is_dir():
            _check_folder(path)
        elif name in INSIDERS or name.startswith(API):
            raise RuleshiftError(
                f"{name} has no weights here, and answers in eval, compare and play alone: name {', '.join(NAMED)}, a "
                "model folder or a hub id"
            )
        elif looks_like_path or path.suffix.lower() == ".gguf":
            raise RuleshiftError(f"no model at {name}, where nothing is: {EXPECTED}")
        elif "/" not in name and (near := get_close_matches(name.lower(), (*NAMED, *others), n=1, cutoff=ALIKE)):
            raise RuleshiftError(f"no model {name!r}: it is no folder here; perhaps {near[0]} is meant")
    except OSError as error:
        raise RuleshiftError(f"no model {name!r}: it can be no folder ({error.strerror}): check the name") from error


def check_gguf(file: Path) -> None:
    """Raise RuleshiftError unless a file begins as GGUF does."""
    try:
        with file.open("rb") as content:
            begins = content.read(GGUF_HEADER)
    except OSError as error:
        raise RuleshiftError(f"cannot read {file} ({reason_of(error)}): name a GGUF file") from error
    if not begins.startswith(GGUF):
        raise RuleshiftError(f"{file} is no GGUF file: name one, or a model folder")
    if len(begins) < GGUF_HEADER:
        raise RuleshiftError(f"{file} is cut short, after {len(begins)} bytes: download or copy it again")


def check_no_evaluation(folder: Path) -> None:
    """Raise RuleshiftError for the folder of an evaluation, which never holds a model."""
    asked = RunFolder(folder).current_config() or {}
    if asked.get("verb") == "eval":
        raise RuleshiftError(
            f"{folder} is the folder of an evaluation, which keeps no model (it asked {asked.get('model')}): name a "
            "model, or a run that trained one"
        )


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model, by what its config.json is of."""
    return (folder / CONFIG).is_file() and not RunFolder(folder).is_there


def kept_models(run: Path) -> dict[int, Path]:
    """The steps of a run whose model can be had: their checkpoints, or the models that a study keeps, if there are."""
    found: dict[int, Path] = {}
    for place in KEPT:
        for folder in sorted((run / place).glob("step-*")):
            name = CHECKPOINT_NAME.fullmatch(folder.name)
            if name and (is_model(folder) or is_model(folder / "model")):
                found[int(name[1])] = folder
    return found


def run_of(folder: Path) -> tuple[Path, int] | None:
    """The run and the step of a folder that lies where a run keeps its checkpoints or models; None elsewhere."""
    name = CHECKPOINT_NAME.fullmatch(folder.absolute().name)
    run = _parent(_parent(folder))
    if name is None or _parent(folder).name not in KEPT or not RunFolder(run).is_there:
        return None
    return run, int(name[1])


def export_command(run: Path, step: int) -> str:
    """What to type for a model folder of a run at a step that it has kept."""
    out = run.with_name(f"{run.name}-step-{step}")
    return f"ruleshift backbone export {shlex.quote(str(run))} --step {step} --out {shlex.quote(str(out))}"


def _import_command(file: Path) -> str:
    return f"ruleshift backbone import {shlex.quote(str(file))} --out {shlex.quote(str(file.with_suffix('')))}"


def _check_folder(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file():
        raise RuleshiftError(
            f"{folder} holds an adapter: put it into its model (merge_and_unload of peft), and save that as a whole"
        )
    packed = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".gguf")
    if packed and not any(folder.glob("*.safetensors")):
        raise RuleshiftError(f"{folder} holds a GGUF file: {_import_command(packed[0])} makes a model folder of it")
    if is_model(folder) and not _has_adapters(folder):
        return
    of = run_of(folder)
    if of is not None and of[1] in kept_models(of[0]):
        raise RuleshiftError(f"{folder} is a checkpoint: {export_command(*of)} makes a model folder of it")
    if is_model(folder):
        raise RuleshiftError(
            f"{folder} is a checkpoint whose adapters stand beside the weights, away from its run: ruleshift backbone "
            "export RUN --step STEP --out FOLDER makes a model folder of it where that is"
        )
    for run in (folder, _parent(folder)):
        if RunFolder(run).is_there:
            check_no_evaluation(run)
            raise RuleshiftError(_instead_of(run))
    near = f"; {folder / 'model'} is one" if is_model(folder / "model") else ""
    raise RuleshiftError(f"no model at {folder}: {EXPECTED}{near}")


def _instead_of(run: Path) -> str:
    """What to give in the place of a run."""
    ended, kept = is_model(run / "model"), kept_models(run)
    if not ended and not kept:
        return f"{run} is the folder of a run that has kept no model: name another, or run its command to the end"
    ways = [f"give its model, {run / 'model'}"] if ended else []
    if kept:
        steps = ", ".join(map(str, sorted(kept)))
        ways.append(f"{export_command(run, max(kept))} makes a model folder of a step that it kept ({steps})")
    return f"{run} is the folder of a run{'' if ended else ' that has not ended'}: {', or '.join(ways)}"


def _parent(folder: Path) -> Path:
    """The folder that holds one, as it was given if that tells."""
    return folder.parent if len(folder.parts) > 1 else folder.absolute().parent


def _has_adapters(folder: Path) -> bool:
    """Whether weights stand in a folder as they do in memory, adapters apart; not where they cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        for file in filter(Path.is_file, folder.glob("*.safetensors")):  # a pipe would never end
            with safe_open(file, "np") as tensors:
                if any(".lora_A." in name for name in tensors.keys()):  # noqa: SIM118
                    return True
    except (OSError, SafetensorError):
        pass
    return False
