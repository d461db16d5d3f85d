"""The folder of one run: configuration, metrics and checkpoints, safe against kill -9, full disks and a second process.

    RUN/config.json            resolved configuration and the environment it ran in
    RUN/metrics.jsonl          one JSON object per line, each with a `step`
    RUN/checkpoints/step-000123/
    RUN/samples/               what the start model said, where SFT learns from it
    RUN/lock                   held (flock) while a process works on the run; the kernel frees it however that ends

Only one process of a run opens its folder and writes; the others of a run of several read it (`FollowedFolder`).
"""

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ruleshift import metrics
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, write_atomically
from ruleshift.lock import LOCK, held
from ruleshift.threads import MOST

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

METRICS = "metrics.jsonl"
SAMPLES = "samples"
CHECKPOINT_NAME = re.compile(r"step-(\d{6,})")
TEMPORARY = ".tmp-"
RESULTS = (  # of a run or an arm, beside config.json
    METRICS,
    SAMPLES,
    "checkpoints",
    "model",
    "models",
    "points",
    "episodes",
    "answers.jsonl",
)
MOST_DIFFERENCES = 4  # that a message names
FORMAT = 4  # of run folders: goes up when they hold something else, or what they hold means something else
RECORDED_PACKAGES = ("ruleshift", "torch", "transformers", "trl")


class Checkpoint(NamedTuple):
    step: int
    path: Path


@dataclass(frozen=True)
class RunFolder:
    """A run on disk. Writing needs `RunFolder.open`; to read one, in use or not, `RunFolder(path)` is enough."""

    path: Path

    @classmethod
    @contextmanager
    def open(
        cls, path: str | os.PathLike[str], config: "DataclassInstance | Mapping[str, Any]", resume: bool = True
    ) -> Iterator["RunFolder"]:
        """Create or continue the run at `path` and hold its lock meanwhile.

        A folder that holds a run with another configuration is refused; with `resume=False`, so is one that holds
        any run. What a killed process left half done (a torn line, a temporary folder) is cleared away. A new run that
        fails or is stopped before it has kept anything takes its configuration with it, so that others are not refused.
        """
        folder = cls(Path(path))
        with held(folder.path):
            there = set(folder.path.iterdir())
            folder._write_config(plain(config), resume)
            try:
                folder._clear_leftovers()
                folder._mend_metrics()
                yield folder
            except BaseException:
                folder._forget(there)
                raise

    # Configuration

    def _write_config(self, config: dict[str, Any], resume: bool) -> None:
        """Write config.json, or check that the one there says the same. A resumption elsewhere is noted in it."""
        here = environment()
        stored = self.read_config()
        if stored is None:
            self._refuse_orphans()
            self._dump_config({"format": FORMAT, "config": config, "environment": here, "resumed_in": []})
            return
        self._refuse_another_version(stored)
        if not resume:
            raise RuleshiftError(f"{self.path} already holds a run: {self._elsewhere}")
        self._refuse_difference(stored, config)
        if here != [stored["environment"], *stored["resumed_in"]][-1]:
            self._dump_config({**stored, "resumed_in": [*stored["resumed_in"], here]})

    def check(self, config: "DataclassInstance | Mapping[str, Any]") -> None:
        """Raise RuleshiftError where `open` would refuse this configuration, without opening the folder."""
        stored = self.read_config()
        if stored is not None:
            self._refuse_another_version(stored)
            self._refuse_difference(stored, plain(config))

    def _refuse_difference(self, stored: Mapping[str, Any], config: dict[str, Any]) -> None:
        difference = _difference(stored["config"], config)
        if difference:
            raise RuleshiftError(f"{self.path} holds {difference}: {self._elsewhere}")

    @property
    def _elsewhere(self) -> str:
        return f"choose another --out, or delete {self.path}."

    def _refuse_another_version(self, stored: Mapping[str, Any]) -> None:
        """What another version wrote is read by that version: the same settings may mean something else here."""
        if stored.get("format", 1) != FORMAT:
            commit = stored["environment"].get("git_commit")
            at = f", at commit {str(commit)[:10]}" if commit else ""
            raise RuleshiftError(
                f"{self.path} was made by another version of ruleshift (format {stored.get('format', 1)} of run "
                f"folders{at}; this version has format {FORMAT}): resume it with that version, {self._elsewhere}"
            )

    def _refuse_orphans(self) -> None:
        """Results of a run whose configuration is lost belong to no run: another one must not take them up."""
        found = [name for name in RESULTS if (self.path / name).exists()]
        if found:
            raise RuleshiftError(
                f"{self.path} holds {', '.join(found)}, as a run does, but not its config.json, so that nothing tells "
                "with which settings they were made: choose another --out."
            )

    def _dump_config(self, content: Mapping[str, Any]) -> None:
        write_atomically(self.path / "config.json", json.dumps(content, indent=2) + "\n")

    def read_config(self) -> dict[str, Any] | None:
        """The content of config.json: `config`, `environment` and `resumed_in`. None where there is none yet."""
        file = self.path / "config.json"
        content: Any = None
        try:
            content = json.loads(file.read_bytes())
            complete = content.keys() >= {"config", "environment", "resumed_in"} and (
                isinstance(content["config"], dict)
                and isinstance(content["environment"], dict)
                and isinstance(content["resumed_in"], list)
            )
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RuleshiftError(f"cannot read {file} ({reason_of(error)}): make it readable.") from error
        except (ValueError, AttributeError, RecursionError):
            complete = False
        if not complete:
            is_model = isinstance(content, dict) and "model_type" in content
            found = f"{self.path} holds a model" if is_model else f"{file} is not the configuration of a run"
            raise RuleshiftError(f"{found}: name another folder.")
        return content

    @property
    def is_there(self) -> bool:
        """Whether a run lies here, of whatever version."""
        try:
            return (self.path / "config.json").is_file() and self.read_config() is not None  # not of a pipe
        except RuleshiftError:
            return False

    def current_config(self) -> dict[str, Any] | None:
        """The configuration of a run that this version made; None where there is none, or one of another version."""
        try:
            stored = self.read_config()
        except RuleshiftError:
            return None
        return stored["config"] if stored is not None and stored.get("format", 1) == FORMAT else None

    def threads(self) -> int | None:
        """How many threads the run began with. None where there is no run, or it does not tell."""
        stored = self.read_config()
        found = (stored or {}).get("environment", {}).get("threads")
        return found if isinstance(found, int) and 0 < found <= MOST else None

    # Metrics

    @property
    def metrics_path(self) -> Path:
        return self.path / METRICS

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to metrics.jsonl; it is in the hands of the kernel when this returns. Raises Diverged for a
        number that is not finite."""
        try:
            metrics.append(self.metrics_path, record)
        except OSError as error:
            raise _write_error(self.metrics_path, error) from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl, without a last one that a kill cut short."""
        return [record for _, record in metrics.read(self.metrics_path)]

    def truncate_metrics(self, step: int) -> None:
        """Forget the lines after `step`: a resumed run writes them again, as one never killed would have."""
        metrics.rewrite(self.metrics_path, self._metrics_upto(step))

    def _metrics_upto(self, step: int) -> list[metrics.Line]:
        return [line for line in metrics.read(self.metrics_path) if line[1]["step"] <= step]

    def _mend_metrics(self) -> None:
        """Give metrics.jsonl the lines that the last checkpoint keeps, whatever has become of them since."""
        last = self.latest_checkpoint()
        if last is None:
            metrics.rewrite(self.metrics_path, metrics.read(self.metrics_path))
            return
        there = metrics.read(self.metrics_path, strict=False)
        kept, upto = self._kept_metrics(last), {line[1]["step"] for line in there if line[1]["step"] <= last.step}
        if not upto <= {line[1]["step"] for line in kept}:
            raise damaged(last.path / METRICS, "lacks lines")
        metrics.rewrite(self.metrics_path, [*kept, *(line for line in there if line[1]["step"] > last.step)])

    def _kept_metrics(self, checkpoint: Checkpoint) -> list[metrics.Line]:
        """The lines that a checkpoint keeps. Raises RuleshiftError where any is damaged: it was written whole."""
        copy = checkpoint.path / METRICS
        if not copy.is_file():
            raise damaged(copy, "is missing")
        lines = metrics.read(copy, strict=False)
        if metrics.content(lines) != copy.read_bytes():
            raise damaged(copy, "is cut short or damaged")
        return lines

    # Checkpoints

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    def checkpoints(self) -> list[Checkpoint]:
        """All whole checkpoints, oldest first."""
        if not self.checkpoints_path.is_dir():
            return []
        named = [(CHECKPOINT_NAME.fullmatch(path.name), path) for path in self.checkpoints_path.iterdir()]
        return sorted(Checkpoint(int(match[1]), path) for match, path in named if match)

    def latest_checkpoint(self) -> Checkpoint | None:
        return max(self.checkpoints(), default=None)

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], keep_last: int | None = None, keep: Collection[int] = ()
    ) -> Path:
        """Let `write` fill a folder, which becomes `checkpoints/step-…` once it is whole and on the disk. The lines of
        metrics up to `step` are kept in it, too.

        Then older checkpoints go, save the last `keep_last` (the new one counts) and those of the steps in `keep`;
        with `keep_last=None` all stay. If writing fails, nothing that was there before is touched.
        """
        if keep_last is not None and keep_last < 1:
            raise ValueError(f"keep_last counts the new checkpoint: it must be at least 1, not {keep_last}")
        target = self.checkpoints_path / f"step-{step:06d}"
        temporary = self.checkpoints_path / f"{TEMPORARY}{target.name}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            write(temporary)
            (temporary / METRICS).write_bytes(metrics.content(self._metrics_upto(step)))
            for file in [*temporary.rglob("*"), temporary, self.metrics_path]:
                if file.exists():
                    _fsync(file)
            _discard(target)
            temporary.rename(target)
            _fsync(self.checkpoints_path)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            cause = error.__cause__ if isinstance(error, RuleshiftError) else error  # of a model within
            if cause is not None and failed_to_write(cause):
                raise _write_error(target, cause) from error
            raise
        if keep_last is not None:
            self._prune(step, keep_last, keep)
        return target

    def _prune(self, step: int, keep_last: int, keep: Collection[int]) -> None:
        upto = [checkpoint for checkpoint in self.checkpoints() if checkpoint.step <= step]
        for old in upto[:-keep_last]:
            if old.step not in keep:
                _discard(old.path)

    def _forget(self, there: Collection[Path]) -> None:
        """Remove the configuration, unless it is among what was `there`, or anything with content has come since."""
        file = self.path / "config.json"
        new = [path for path in self.path.iterdir() if path not in there and path.name not in (file.name, LOCK)]
        within = [inner for path in new for inner in (path, *path.rglob("*")) if inner.is_file()]
        if file in there or any(inner.stat().st_size for inner in within):
            return
        for path in (*new, file):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _clear_leftovers(self) -> None:
        """Remove what a killed process left half done."""
        for path in self.checkpoints_path.glob(f"{TEMPORARY}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.path.glob(f"{TEMPORARY}*"):  # of write_atomically
            with suppress(OSError):
                path.unlink()


class FollowedFolder(RunFolder):
    """A run folder that another process of the same run has open: what this one would write is left to that one, and
    errors of numbers are raised by both."""

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        metrics.check(self.metrics_path, record)

    def truncate_metrics(self, step: int) -> None:
        """That process does it."""

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], keep_last: int | None = None, keep: Collection[int] = ()
    ) -> Path:
        return self.checkpoints_path / f"step-{step:06d}"


def read_tensors(path: str | os.PathLike[str]) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, on the CPU. A missing or damaged file is a RuleshiftError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise damaged(Path(path), "is missing" if missing else f"cannot be read ({reason_of(error)})") from error


def damaged(file: Path, problem: str) -> RuleshiftError:
    """The error of a checkpoint, one of whose files has a problem."""
    return RuleshiftError(
        f"{file} {problem}: delete the checkpoint folder {file.parent} and run the same command again, "
        "which resumes from the checkpoint before it, or starts anew where there is none."
    )


def failed_to_write(error: BaseException) -> bool:
    """Whether an error is that of a disk which is full, read-only or broken, whichever library tells of it."""
    from safetensors import SafetensorError

    # The last is how tokenizers (written in Rust) puts it.
    return isinstance(error, OSError | SafetensorError) or "(os error " in str(error)


def environment() -> dict[str, Any]:
    """What a run's numbers may depend on besides its configuration. Threads are those of torch, if it is in use."""
    torch = sys.modules.get("torch")
    return {
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
        "python": platform.python_version(),
        "git_commit": _git_commit(),
        "threads": None if torch is None else torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit this package is checked out at, with `-dirty` if files differ from it. None when installed."""
    package = Path(__file__).resolve().parent
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top) / "src" / "ruleshift" != package:  # installed below somebody else's checkout
        return None
    return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def plain(config: "DataclassInstance | Mapping[str, Any]") -> dict[str, Any]:
    """The configuration as JSON would give it back: lists for tuples, text for paths."""
    plain: dict[str, Any] = json.loads(json.dumps(config, default=_plain_value))
    return plain


def _plain_value(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a configuration cannot hold {value!r}: it has no form in JSON")


def _difference(there: dict[str, Any], now: dict[str, Any]) -> str:
    """How the run that is there differs from the one asked for, in a few words; nothing where it does not."""
    if there.get("verb") != now.get("verb"):
        return f"a run of {there.get('verb', 'another kind')}, not of {now.get('verb', 'this one')}"
    differences = _differences(there, now)
    if not differences:
        return ""
    more = [f"and {len(differences) - MOST_DIFFERENCES} more"] if len(differences) > MOST_DIFFERENCES else []
    return f"a run with another configuration ({'; '.join(differences[:MOST_DIFFERENCES] + more)})"


def _differences(there: object, now: object, name: str = "") -> list[str]:
    """The fields, as dotted names, in which two configurations differ, with both values."""
    if isinstance(there, dict) and isinstance(now, dict):
        fields = sorted(there.keys() | now.keys())
        parts = [_differences(there.get(field), now.get(field), f"{name}.{field}".lstrip(".")) for field in fields]
        return [difference for part in parts for difference in part]
    old, new = json.dumps(there), json.dumps(now)
    return [] if old == new else [f"{name}: {old} there, {new} now"]


def _discard(folder: Path) -> None:
    """Remove a checkpoint so that a kill half-way never leaves part of it under its name."""
    temporary = folder.with_name(f"{TEMPORARY}old-{folder.name}")
    with suppress(FileNotFoundError):
        folder.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def _write_error(target: Path, error: BaseException) -> RuleshiftError:
    return RuleshiftError(
        f"cannot write {target} ({reason_of(error)}): make sure that the disk has room and lets you write there, "
        "and run the same command again; it resumes from the last checkpoint."
    )
