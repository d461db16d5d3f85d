"""The points of a run on disk: what was measured at a step, with a few conversations and the model it was measured on.

    RUN/models/step-000006/        the model in Hugging Face format, of a trained run; more steps have one than a point
    RUN/models/step-000006.json    how many tokens its training had taken
    RUN/points/000006.parquet      conversations
    RUN/points/000006.json         outcomes, problem by problem
    RUN/diverged.json              why there will be no further points
    RUN/failed.json                why the last call ended before all were there
    RUN/seconds/000006.json        how long tries took, apart from all that is the same whenever it is measured

They are written in this order, each whole or not at all, and a point is there once its last file is: killed in between,
it is measured again, with the same numbers.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.episodes import load_episodes, save_episodes
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.evaluation.tries import Spent
from ruleshift.files import write_atomically
from ruleshift.records import Episode
from ruleshift.report.arms import legend_of
from ruleshift.results import Results
from ruleshift.settings import Measurement
from ruleshift.studies.study import Run
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import how_many

if TYPE_CHECKING:
    from ruleshift.training.accounting import TokenCount

SHOWN = 8  # conversations of an evaluation
SECONDS = "seconds"
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError)


@dataclass(frozen=True)
class PointStore:
    """The points of a run in `root/run.folder`, measured as the measurement says."""

    root: Path
    run: Run
    measurement: Measurement

    @property
    def folder(self) -> Path:
        return self.root / self.run.folder

    def model(self, step: int) -> Path:
        """Where the model of a step is kept."""
        return self.folder / "models" / f"step-{step:06d}"

    def _file(self, step: int, suffix: str) -> Path:
        return self.folder / "points" / f"{step:06d}.{suffix}"

    def has(self, step: int) -> bool:
        """Whether the point of this step is there, whole. Raises RuleshiftError for one that is damaged."""
        if not self._file(step, "json").is_file() or not self._file(step, "parquet").is_file():
            return False
        self.load(step)
        self.conversations(step)
        return True

    def missing(self, further: Sequence[int] = ()) -> list[int]:
        """The steps to evaluate, `further` ones among them, whose points are not there. Raises RuleshiftError for
        points that are damaged."""
        return [step for step in sorted({*self.run.points, *further}) if not self.has(step)]

    def at_hand(self) -> list[int]:
        """The kept steps that are evaluated, or can be: their model is still there."""
        return [step for step in self.run.kept if self.model(step).is_dir() or self._file(step, "json").is_file()]

    def save(self, point: Point, shown: Sequence[Episode]) -> None:
        self._file(point.step, "json").parent.mkdir(parents=True, exist_ok=True)
        save_episodes(self._file(point.step, "parquet"), shown)
        write_atomically(self._file(point.step, "json"), json.dumps(asdict(point), allow_nan=False))

    def load(self, step: int) -> Point:
        """Read back a point. Raises RuleshiftError for one that is missing or damaged."""
        path = self._file(step, "json")
        try:
            point = _point(json.loads(path.read_bytes()))
            self._check(point, step)
        except UNREADABLE as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            raise RuleshiftError(
                f"{path} cannot be read ({reason[:200]}): delete it and run the same command again, which measures the "
                "point anew"
            ) from error
        return point

    def _check(self, point: Point, step: int) -> None:
        """Raise ValueError for a point of another run, or of other problems."""
        m = self.measurement
        task = get_task(m.task)
        if (point.task, point.arm, point.seed, point.step) != (task.id, self.run.name, self.run.seed, step):
            raise ValueError(f"it is of step {point.step} of {point.arm}-seed{point.seed} on {point.task}")
        counts = {split: how_many(task, split, m.n) for split in m.splits}
        measured = {(cell.split, cell.decoding): len(cell.tries) for cell in point.cells}
        if measured != {(split, decoding): counts[split] for decoding in m.decodings for split in m.splits}:
            raise ValueError("it is of other problems")

    def conversations(self, step: int) -> list[Episode]:
        """The conversations beside a point. Raises RuleshiftError if they are missing or damaged."""
        return load_episodes(self._file(step, "parquet"))

    # What a training leaves behind

    def keep_tokens(self, step: int, tokens: "TokenCount") -> None:
        """Write down how much training a model has behind it, before the model itself."""
        self.model(step).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.model(step).with_suffix(".json"), json.dumps(asdict(tokens)))

    def tokens(self, step: int) -> "TokenCount":
        """How much training a kept model has behind it. Raises RuleshiftError where that cannot be read."""
        from ruleshift.training.accounting import TokenCount  # no torch for those who only read

        path = self.model(step).with_suffix(".json")
        try:
            content = json.loads(path.read_bytes())
            counts = {field.name: _whole(content[field.name]) for field in fields(TokenCount)}
        except UNREADABLE as error:
            raise RuleshiftError(
                f"{path} cannot be read, and the point of step {step} is missing: {self.start_again}"
            ) from error
        return TokenCount(**counts)

    def keep_seconds(self, step: int, seconds: Mapping[str, Sequence[float]]) -> None:
        """Write down how long the first, second ... tries took, by `split/decoding`."""
        path = self.folder / SECONDS / f"{step:06d}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(seconds, allow_nan=False))

    def seconds(self, step: int) -> dict[str, tuple[float, ...]]:
        """How long tries took; nothing where that was not kept, or cannot be read."""
        try:
            content = json.loads((self.folder / SECONDS / f"{step:06d}.json").read_bytes())
            return {_text(name): tuple(map(_finite, _list(values))) for name, values in content.items()}
        except (*UNREADABLE, AttributeError):
            return {}

    @property
    def start_again(self) -> str:
        """What to do about a run that cannot be completed."""
        return f"delete the folder {self.folder} and run the same command again, which trains it anew"

    def diverge(self, why: str) -> None:
        """Write down that the training has diverged."""
        write_atomically(self.folder / "diverged.json", json.dumps({"why": why}) + "\n")

    def diverged(self) -> str | None:
        """Why the training has diverged; None where it has not."""
        path = self.folder / "diverged.json"
        if not path.is_file():
            return None
        try:
            return _text(json.loads(path.read_bytes())["why"])
        except UNREADABLE as error:
            raise RuleshiftError(f"{path} cannot be read: delete it and run the same command again") from error

    def fail(self, why: str) -> None:
        """Write down why the last call failed, for those who look at the study."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._failure, json.dumps({"why": why}) + "\n")

    def forget_failure(self) -> None:
        self._failure.unlink(missing_ok=True)

    @property
    def _failure(self) -> Path:
        return self.folder / "failed.json"


def points_in(run: Path) -> list[Point]:
    """The points of a run's folder that can be read, by step."""
    found = []
    for path in sorted((run / "points").glob("*.json")):
        try:
            found.append(_point(json.loads(path.read_bytes())))
        except UNREADABLE:
            continue
    return found


def conversations_at(folder: Path, step: int) -> list[Episode]:
    """Those of a point of a run's folder; none where there is no such folder, with results that were moved say. Raises
    RuleshiftError where they alone are missing or damaged: those of another step would be taken for these."""
    points = folder / "points"
    return load_episodes(points / f"{step:06d}.parquet") if points.is_dir() else []


def shown_conversations(folder: Path, results: Results) -> dict[str, list[Episode]]:
    """A few conversations of each arm's end (first seed, no variants) of a study, or those of an evaluation."""
    legend = legend_of(results)
    found = {}
    for name in legend.arms_in(results.rows):
        if not legend.is_variant(name):
            seed = min(row.seed for row in results.rows if row.arm == name)
            end = max(row.step for row in results.rows if (row.arm, row.seed) == (name, seed))
            found[name] = conversations_at(folder / "arms" / f"{name}-seed{seed}", end)
    if not any(found.values()):
        file = folder / "episodes.parquet"
        found = {legend.start: load_episodes(file)[:SHOWN]} if file.is_file() else {}
    return {name: episodes for name, episodes in found.items() if episodes}


def _point(content: Mapping[str, Any]) -> Point:
    """A point from JSON. Raises KeyError, TypeError or ValueError for anything else."""
    return Point(
        task=_text(content["task"]),
        arm=_text(content["arm"]),
        seed=_whole(content["seed"]),
        step=_whole(content["step"]),
        train_flops=_finite(content["train_flops"]),
        kl_to_start=_finite(content["kl_to_start"]),
        cells=tuple(map(_cell, _list(content["cells"]))),
        kls=tuple(map(_finite, _list(content["kls"]))),
        sharpness=None if content.get("sharpness") is None else _finite(content["sharpness"]),
    )


def _cell(content: Mapping[str, Any]) -> Cell:
    tries = tuple(tuple(map(_whole, _list(steps))) for steps in _list(content["tries"]))
    names = ("valid", "read_right", "decided", "decided_right", "stated_words", "trained_words", "shown", "sound")
    counts = {name: tuple(map(_whole, _list(content[name]))) for name in names if name in content}
    lengths = [len(tries), *(len(count) for name, count in counts.items() if count or name in names[:2])]
    if not tries or len(set(lengths)) > 1 or not all(steps and all(steps) for steps in tries):
        raise ValueError("outcomes are missing")
    confidence = tuple(map(_finite, _list(content.get("confidence", []))))
    spent = tuple(Spent(*map(_finite, _list(one))) for one in _list(content.get("spent", [])))  # type: ignore[arg-type]
    replies = tuple((_text(name), tuple(map(_whole, _list(part)))) for name, part in _list(content.get("replies", [])))
    if any(len(of_each) != len(tries) for of_each in (confidence or tries, *(part for _, part in replies))):
        raise ValueError("outcomes are missing")
    return Cell(
        _text(content["split"]),
        _text(content["decoding"]),
        tries,
        **counts,
        confidence=confidence,
        spent=spent,
        most=_whole(content.get("most", 0)),
        replies=replies,
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("something else stands for a list")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("something else stands for a whole number")
    return value


def _finite(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError("something else stands for a number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("something else stands for a text")
    return value
