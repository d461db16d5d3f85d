"""What is seen of a study at work: a bar for each run, and the time left for the whole. On stderr."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

QUARTERS = 4  # plain lines about a run


@dataclass(frozen=True)
class Expected:
    """Seconds that a unit of a run's work is estimated to take, and one of its measurements."""

    unit: float = 1.0
    point: float = 0.0


@dataclass(frozen=True)
class Course:
    """What a run does. length: units of work; points: those after which it is measured. Runs of one kind are as much
    slower than `expected` as others."""

    name: str
    kind: str
    length: int
    points: tuple[int, ...] = ()
    expected: Expected = Expected()

    @property
    def whole(self) -> float:
        """Seconds that all of it is expected to take."""
        return self.work(self.length)

    def work(self, done: int) -> float:
        """Seconds that so many units with the measurements among them are expected to take."""
        return self.expected.unit * done + self.expected.point * sum(point <= done for point in self.points)

    def left(self, done: int) -> float:
        """The share of its work that is left after so many units."""
        return 1 - self.work(done) / self.whole


@dataclass
class Pace:
    """How far a run is, and since when (`heard`). `first` units were done when it was first heard of, at the time
    `first_at`: by an earlier call, or with all that a run does before its first unit (loading, expert's replies), which
    says nothing of its speed. Nor does the time since it was last heard of: it may be measuring."""

    course: Course
    done: int = 0
    first: int | None = None
    began: float = 0.0
    first_at: float | None = None
    heard: float | None = None
    took: float | None = None  # seconds in all, of one that has ended

    def whole(self) -> float | None:
        """Seconds that the whole run takes at its pace; None while that is not known."""
        if self.first is None or self.done <= self.first or self.heard is None:
            return None
        made = self.course.work(self.done) - self.course.work(self.first)
        before = 0.0 if self.first_at is None else self.first_at - self.began
        spent = (self.heard - self.began if self.took is None else self.took) - before
        return before + spent / made * self.course.whole


def time_left(paces: Sequence[Pace], workers: int, now: float) -> float | None:
    """Seconds until all runs have ended: those that have not begun take as much longer than expected as others of their
    kind, or else as others do. None while nothing is known."""
    known = [(pace.course, whole) for pace in paces if (whole := pace.whole()) is not None]
    if not known:
        return None
    left = []
    for pace in paces:
        if pace.took is None:
            own, course = pace.whole(), pace.course
            if own is None:
                alike = [(one, whole) for one, whole in known if one.kind == course.kind] or known
                own = course.whole * sum(whole for _, whole in alike) / sum(one.whole for one, _ in alike)
            since = 0.0 if pace.heard is None else now - pace.heard
            left.append(max(0.0, own * course.left(pace.done) - since))
    return max([*left, sum(left) / workers], default=0.0)


class Board:
    """Progress of runs. Bars on a terminal, elsewhere a line per quarter."""

    def __init__(self, courses: Sequence[Course], workers: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.workers = workers
        self.paces = {course.name: Pace(course) for course in courses}
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(20),
            TextColumn("{task.fields[count]}", justify="right"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.rows = {
            one.name: self.bars.add_task(one.name, total=one.length, start=False, count="waiting", left="")
            for one in courses
        }
        self.all = self.bars.add_task("the study", total=sum(one.length for one in courses), count="", left="")

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def say(self, line: str) -> None:
        """A line of its own."""
        self.console.print(line, markup=False, soft_wrap=True)

    def reach(self, name: str, done: int, ended: bool = False) -> None:
        """Say that so many units of a run are done in all."""
        pace, now, row = self.paces[name], time.monotonic(), self.rows[name]
        before, total = pace.done, pace.course.length
        if pace.heard is None:
            pace.began = pace.heard = now
            self.bars.start_task(row)
        if pace.first is None and done > 0:
            pace.first, pace.first_at = (done, now) if total > 1 else (0, None)
        if done > before:
            pace.done, pace.heard = done, now
        if ended:
            pace.took = now - pace.began
            self.bars.stop_task(row)
        self.bars.update(row, completed=done, count=f"{done}/{total}")
        quarter = QUARTERS * done // total > QUARTERS * before // total
        if self.bars.disable and (quarter or ended) and done > before:
            self.say(", ".join(filter(None, (f"{name}: {done} of {total}", self.left()))))
        self.tick()

    def left(self) -> str:
        """The time left for the whole study, in words; empty while nothing is known."""
        seconds = time_left(list(self.paces.values()), self.workers, time.monotonic())
        return "" if seconds is None else f"about {duration(seconds)} left in all" if seconds else "done"

    def tick(self) -> None:
        """Show the time left anew."""
        done = sum(pace.done for pace in self.paces.values())
        ended = sum(pace.took is not None for pace in self.paces.values())
        self.bars.update(self.all, completed=done, count=f"{ended}/{len(self.paces)} runs", left=self.left())


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
