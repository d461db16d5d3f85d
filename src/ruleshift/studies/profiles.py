"""Profiles of the runs of a study, where it asks for them: one a run, of the model at its end.

RUN/points/000030.profile.json   measured after the points, from the model that was kept
RUN/seconds.json                 how long the training took so far, evaluation left out
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from transformers import PreTrainedModel

from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.kl import SEED as KL_SEED
from ruleshift.evaluation.kl import StartReplies
from ruleshift.evaluation.training_profile import (
    TrainingProfile,
    answers_of,
    load_profile,
    own_replies,
    rows_of_profile,
    save_profile,
    share_moved,
    share_moved_far,
)
from ruleshift.files import write_atomically
from ruleshift.runs import RunFolder
from ruleshift.settings import Measurement
from ruleshift.studies.points import PointStore
from ruleshift.studies.study import Run
from ruleshift.tasks.protocol import Style, Task

SECONDS = "seconds.json"
PROFILED = 2  # splits, the first ones of a study


def path_of(folder: Path, run: Run) -> Path:
    """Where the profile of a run is kept, whose folder this is."""
    return folder / "points" / f"{run.points[-1]:06d}.profile.json"


def is_missing(folder: Path, run: Run, measurement: Measurement) -> bool:
    return bool(measurement.profile_problems) and not path_of(folder, run).is_file()


class Clock:
    """Seconds of a training, kept in its folder; what was counted before a kill counts on."""

    def __init__(self, folder: Path) -> None:
        self.path, self.began, self.away = folder / SECONDS, time.monotonic(), 0.0
        self.before = seconds_in(folder) or 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Inside, time does not count; what did so far is written down."""
        now = time.monotonic()
        self.keep()
        yield
        self.away += time.monotonic() - now

    def keep(self) -> None:
        """Write down what counted so far: what comes after is lost with a kill, as is what was trained in it."""
        write_atomically(self.path, json.dumps(self.before + time.monotonic() - self.began - self.away) + "\n")


def seconds_in(folder: Path) -> float | None:
    """The seconds that a training took; None where nobody wrote them down."""
    try:
        return float(json.loads((folder / SECONDS).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


@dataclass(frozen=True)
class Behind:
    """What a model has behind it: tokens generated and learned, and seconds; None where nobody wrote these down."""

    generated: float = 0.0
    trained: int = 0
    seconds: float | None = 0.0


def behind_of(root: Path, run: Run, step: int, m: Measurement) -> Behind:
    """By the model of this step of a run in `root`, the trainings included from which it went on. Of one that others
    start from before its end the seconds are in proportion."""
    before = behind_of(root, run.start.run, run.start.step, m) if run.start else Behind()
    if run.training is None:
        return before
    folder = RunFolder(root / run.folder)
    generated = sum(line.get("generated_tokens", 0.0) for line in folder.read_metrics() if line["step"] <= step)
    took = seconds_in(folder.path)
    return Behind(
        before.generated + generated,
        before.trained + PointStore(root, run, m).tokens(step).trained,
        None if took is None or before.seconds is None else before.seconds + took * step / run.length,
    )


def measure(
    run: Run,
    m: Measurement,
    folder: RunFolder,
    models: tuple[PreTrainedModel, PreTrainedModel],
    engine_of: Callable[[PreTrainedModel, Sampling], LocalEngine],
    where: tuple[Task, Style],
    point: Point,
    behind: Behind,
    origin: PreTrainedModel | None = None,
) -> None:
    """Measure the profile of a run, of whose end this is the point, and save it. models: the start, and the end.
    behind: what the end has behind it. origin: what the run began from, if that is not the start."""
    start, model = models
    task, style = where
    engine = engine_of(model, Sampling(1.0, m.max_new_tokens, seed=m.seed))
    answers = [
        answers_of(engine, task, split, m.profile_problems, m.profile_samples, style, m.seed)
        for split in m.splits[:PROFILED]
    ]
    origins = [] if origin is None else [origin]
    back, unsure = own_replies(engine, [start, *origins], task, style, m.kl_problems)
    from_origins = [engine_of(one, Sampling(1.0, m.max_new_tokens, seed=KL_SEED)) for one in origins]
    there = [StartReplies(one, task, style, m.kl_problems, m.kl_most).kl_of(model) for one in from_origins]
    profile = TrainingProfile(
        point.task,
        point.arm,
        point.seed,
        point.step,
        tuple(answers),
        kl_to_start=point.kl_to_start,
        kl_from_start=back[0],
        entropy=unsure,
        moved=share_moved(start, model),
        generated_tokens=behind.generated,
        trained_tokens=behind.trained,
        train_flops=point.train_flops,
        seconds=behind.seconds,
        kl_to_origin=next(map(fmean, there), None),
        kl_from_origin=next(iter(back[1:]), None),
        moved_far=share_moved_far(start, model),
        teacher_margin=_margin(folder, run.points[-1]),
    )
    save_profile(path_of(folder.path, run), profile)


def _margin(folder: RunFolder, last: int) -> float | None:
    """How much more a teacher spoke for right replies than for wrong ones; None where there was none, or no such."""
    told = [line for line in folder.read_metrics() if line["step"] <= last]
    both = [line for line in told if {"teacher_on_right", "teacher_on_wrong"} <= line.keys()]
    return fmean(line["teacher_on_right"] - line["teacher_on_wrong"] for line in both) if both else None


def load_profiles(root: Path, runs: Sequence[Run]) -> list[TrainingProfile]:
    """All that were measured."""
    paths = [path_of(root / run.folder, run) for run in runs]
    return [load_profile(path) for path in paths if path.is_file()]


def profile_records(profiles: Sequence[TrainingProfile]) -> list[dict[str, object]]:
    """The content of profiles.json: their rows, and what single problems say."""
    return [{**asdict(profile), "rows": [asdict(row) for row in rows_of_profile(profile)]} for profile in profiles]
