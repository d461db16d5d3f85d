"""How far a study is, from its folder alone: here or on another machine, while it runs and when it does not.

    STUDY/study.json   the command, its jobs with what each was estimated to take, and at last what all took
    STUDY/lock         held by the process that gives out the jobs
    STUDY/TASK/arms/RUN/{lock, metrics.jsonl, points/, diverged.json, failed.json, cost.json}

Everything is read and nothing written, but for study.json by the study itself.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

from ruleshift import metrics
from ruleshift.errors import RuleshiftError
from ruleshift.files import write_atomically
from ruleshift.lock import Holding, holding
from ruleshift.studies.board import Course, Expected, duration
from ruleshift.studies.costs import costs_in

STUDY = "study.json"
MODEL = "model"  # folder in that of a run: the model at its end
Standing = Literal["done", "running", "failed", "diverged", "stopped", "waiting"]
STANDINGS: tuple[Standing, ...] = get_args(Standing)


@dataclass(frozen=True)
class JobEntry:
    """A job on record: its name, the folder of its run within that of the study, units of work, the points that it
    makes (where there are none, its model at the end is what it makes), whether of a run that was trained before, what
    it was expected to take, and whether insights are read at its points."""

    name: str
    kind: str
    folder: str
    length: int
    points: tuple[int, ...]
    further: bool
    expected: Expected
    insights: bool = False

    @property
    def course(self) -> Course:
        return Course(self.name, self.kind, self.length, () if self.further else self.points, self.expected)


@dataclass(frozen=True)
class Totals:
    """Seconds from start to end of the last call and of all runs together, and bytes on disk and of memory (the
    largest run's)."""

    seconds: float
    work: float
    disk: int
    memory: int


@dataclass(frozen=True)
class StudyRecord:
    """The content of study.json. began: when the last call did (seconds of the epoch). further: seconds that points
    where arms match take at most. estimated and, at the end, took. store: the URL of the object store, if there is one,
    which knows of runs at work what the folder does not."""

    command: str
    began: float
    entries: tuple[JobEntry, ...]
    further: float
    estimated: Totals
    took: Totals | None = None
    store: str | None = None

    def with_more(self, entries: Iterable[JobEntry]) -> "StudyRecord":
        """With the jobs of a round that measures where arms match."""
        return replace(self, entries=(*self.entries, *entries), further=0.0)

    def save(self, folder: Path) -> None:
        write_atomically(folder / STUDY, json.dumps(asdict(self), indent=1) + "\n")


def load_record(folder: Path) -> StudyRecord:
    """Raises RuleshiftError where there is none, or one that cannot be read."""
    path = folder / STUDY
    try:
        content: Any = json.loads(path.read_bytes())
        entries = tuple(
            JobEntry(**{**entry, "points": tuple(entry["points"]), "expected": Expected(**entry["expected"])})
            for entry in content["entries"]
        )
        totals = {name: content[name] and Totals(**content[name]) for name in ("estimated", "took")}
        if not isinstance(content.get("store"), str | None):
            raise TypeError("its store has no URL")
        return StudyRecord(**{**content, "entries": entries, **totals})
    except FileNotFoundError as error:
        raise RuleshiftError(
            f"{folder} holds no {STUDY}: name the folder that a study was given as --out and has begun to fill"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RuleshiftError(
            f"{path} is damaged, or of another version: run the study again, which writes it anew"
        ) from error


@dataclass(frozen=True)
class State:
    """How a job stands: units of work done, who holds its folder, and why it came to an end if that was a bad one."""

    entry: JobEntry
    standing: Standing
    done: int
    holding: Holding | None = None
    why: str = ""

    @property
    def is_left(self) -> bool:
        """Whether the study has yet to make it, or make it again."""
        return self.standing not in ("done", "diverged")


def state_of(entry: JobEntry, study: Path) -> State:
    """How a job stands now."""
    folder = study / entry.folder
    kinds = ("json", "parquet", *(["insight.json"] if entry.insights else []))
    there = sum(all((folder / "points" / f"{step:06d}.{kind}").is_file() for kind in kinds) for step in entry.points)
    if there == len(entry.points) if entry.points else (folder / MODEL).is_dir():
        return State(entry, "done", entry.length)
    who, done = holding(folder), there if entry.further else min(last_step(folder), entry.length)
    diverged, failed = _why(folder / "diverged.json"), _why(folder / "failed.json")
    if who is not None and who.lives:
        return State(entry, "running", done, who)
    if diverged:
        return State(entry, "diverged", done, None, diverged)
    if failed:
        return State(entry, "failed", done, None, failed)
    return State(entry, "stopped" if who is not None else "waiting", done, who)


def last_step(folder: Path) -> int:
    """The last step of training that was written down."""
    try:
        return max((record["step"] for _, record in metrics.read(folder / "metrics.jsonl", strict=False)), default=0)
    except RuleshiftError:
        return 0


def _why(path: Path) -> str:
    try:
        return str(json.loads(path.read_bytes())["why"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{path} cannot be read"


def states_of(record: StudyRecord, study: Path) -> list[State]:
    return [state_of(entry, study) for entry in record.entries]


def seconds_left(record: StudyRecord, states: Sequence[State], study: Path) -> float:
    """Seconds of all work that is left, one job after the other: as estimated, times what jobs of that kind have taken
    against their estimates, or where none is done, all jobs."""
    factors = corrections(record.entries, study)
    overall = fmean(factors.values()) if factors else 1.0
    return overall * record.further + sum(
        state.entry.course.left(state.done) * state.entry.course.whole * factors.get(state.entry.kind, overall)
        for state in states
        if state.is_left
    )


def corrections(entries: Sequence[JobEntry], study: Path) -> dict[str, float]:
    """By kind of job, the mean ratio of the seconds that it took to those that it was estimated to take."""
    ratios: dict[str, list[float]] = {}
    for entry in entries:
        cost = costs_in(study / entry.folder).get(entry.kind)
        if cost is not None and cost.units > 0:
            ratios.setdefault(entry.kind, []).append(cost.seconds / cost.units * entry.length / entry.course.whole)
    return {kind: fmean(found) for kind, found in ratios.items()}


def totals_in(study: Path, record: StudyRecord) -> Totals:
    """What the runs of a study have taken so far, and the call that began it."""
    folders = {entry.folder for entry in record.entries}
    costs = [cost for folder in folders for cost in costs_in(study / folder).values()]
    disk = sum(_size(file) for file in study.rglob("*"))
    memory = max((cost.memory for cost in costs), default=0)
    return Totals(time.time() - record.began, sum(cost.seconds for cost in costs), disk, memory)


def told(totals: Totals) -> str:
    """What runs took, in words."""
    return (
        f"{duration(totals.work)} of work, {in_bytes(totals.disk)} on disk, {in_bytes(totals.memory)} of memory for "
        "the largest run"
    )


def in_bytes(count: float) -> str:
    """Megabytes, at least one."""
    return f"{max(1, round(count / 1e6)):,} MB"


def _size(file: Path) -> int:
    try:
        return file.lstat().st_size if file.is_file() and not file.is_symlink() else 0
    except OSError:  # it went meanwhile
        return 0
