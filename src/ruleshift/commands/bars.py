"""Progress: a bar with the time left on a terminal, a plain line now and then elsewhere. On stderr."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from ruleshift.studies.board import duration

WIDE = 40  # columns of a bar, at most
LINES = 10  # plain lines over the whole work, about
SILENCE = 60.0  # seconds after which a plain line is printed in any case


class Bar:
    """Progress of `total` units of work; a context manager. A quiet one shows nothing."""

    def __init__(self, title: str, total: int, console: Console | None = None, quiet: bool = False) -> None:
        self.title, self.total = title, total
        self.console = console or Console(stderr=True, highlight=False, quiet=quiet)
        self.done = self.first = self.printed = 0
        self.began = self.printed_at = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(min(WIDE, self.console.width // 6)),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=False)),  # the rest stays whole
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(title, total=total, note="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that `count` more units are done."""
        self.reach(self.done + count, note)

    def begin(self, title: str, total: int) -> None:
        """Go on to other work, of so many units."""
        self.title, self.total = title, total
        self.done = self.first = self.printed = 0
        self.began = self.printed_at = time.monotonic()
        self.bar.reset(self.task, total=total, description=title, note="")

    def start_at(self, done: int) -> None:
        """Say that an earlier call had done this much already: it does not count for the speed."""
        self.done = self.first = self.printed = done
        self.bar.reset(self.task, completed=done)

    def reach(self, done: int, note: str = "") -> None:
        """Say that `done` units are done in all."""
        self.done = done
        self.bar.update(self.task, completed=done, note=note)
        if not self.console.is_terminal:
            self._line(note)

    def _line(self, note: str) -> None:
        now = time.monotonic()
        enough = (self.done - self.printed) * LINES >= self.total or now - self.printed_at >= SILENCE
        if not enough and self.done < self.total:
            return
        self.printed, self.printed_at = self.done, now
        left = (now - self.began) / max(1, self.done - self.first) * (self.total - self.done)
        words = [f"{self.title}: {self.done}/{self.total}", note, f"{duration(left)} left" if left else "done"]
        self.console.print(", ".join(filter(None, words)), markup=False, soft_wrap=True)
