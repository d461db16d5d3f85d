"""Running arms side by side, each in a process of its own.

Processes are told what to do, and tell what they have done, through pipes: those need neither shared memory nor
semaphores, which some containers lack.
"""

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, Protocol

import torch

from ruleshift.backbones.room import OF_STUDY, room_for, said_to
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.lock import SILENT, InUse
from ruleshift.settings import Measurement
from ruleshift.studies.arms import run_arm
from ruleshift.studies.board import Board, Course, Expected
from ruleshift.studies.costs import CostMeter
from ruleshift.studies.kept import Keep
from ruleshift.studies.points import PointStore
from ruleshift.studies.study import Run, StartModel

PAUSE = 2.0  # seconds until a folder that is held is tried again
PATIENCE = 2 * SILENT  # seconds for which that is done: what was killed on another machine gives no notice
OUT_OF_MEMORY = "perhaps for want of memory: run the same command again, with --workers 1"


@dataclass(frozen=True)
class Job:
    """A run to make from a start model in `root`, measured as the measurement says; or, of one that has been made, the
    `further` steps to measure. `keep` says which episodes are kept to be looked at, `expected` what it may take."""

    run: Run
    start: StartModel
    measurement: Measurement
    root: Path
    further: tuple[int, ...] = ()
    keep: Keep = "none"
    expected: Expected = Expected()

    @property
    def plan_folder(self) -> str:
        """The name of the folder of its plan."""
        return self.root.parent.name

    @property
    def name(self) -> str:
        more = f" step {', '.join(map(str, self.further))}" if self.further else ""
        return f"{self.plan_folder} {self.run.folder}{more}"

    @property
    def after(self) -> str | None:
        """The job that it follows, where that is made with it: of the run that its own one starts from."""
        origin = self.run.start
        return None if origin is None else f"{self.plan_folder} {origin.run.folder}"

    @property
    def kind(self) -> str:
        """Jobs of one kind take about the same time for a unit of work."""
        return f"{self.measurement.task} {'points' if self.further else type(self.run.training).__name__}"

    @property
    def done(self) -> bool:
        """Whether all its points are there."""
        return not PointStore(self.root, self.run, self.measurement).missing(self.further)

    @property
    def length(self) -> int:
        """Units of work."""
        return len(self.further) or self.run.length

    @property
    def course(self) -> Course:
        return Course(self.name, self.kind, self.length, () if self.further else self.run.points, self.expected)


@dataclass(frozen=True)
class News:
    """Of a job: `done` units of work are done, or how it ended. One that is `lost` ended with its process, and one
    whose folder is `held` has not begun."""

    done: int = 0
    ended: Literal["", "well", "diverged", "refused", "failed", "lost", "held"] = ""
    said: str = ""


class Crew(Protocol):
    """Who carries out jobs: processes here, or those of other machines."""

    retries: int  # how often a job that is lost is given again, unless it has come further meanwhile

    def is_free(self) -> bool:
        """Whether another job can be given."""

    def give(self, job: Job) -> None: ...

    def news(self, seconds: float) -> Iterable[tuple[Job, News]]:
        """What is heard of the jobs within so many seconds at most."""


def side_by_side(jobs: int, workers: int | None) -> int:
    """How many of so many jobs run at a time on this machine; `workers`: as were asked for, if any. By default one more
    than there are cores, so that none idles while the last arm runs; one in all on a GPU."""
    return min(jobs, workers or (1 if torch.cuda.is_available() else (os.cpu_count() or 1) + 1))


def run_jobs(jobs: Sequence[Job], workers: int | None = None) -> None:
    """Run every job, `workers` at a time, as `carry_out` does."""
    size = side_by_side(len(jobs), workers)
    if jobs:
        with closing(Workers(size)) as crew:
            carry_out(jobs, crew, size)


def carry_out(jobs: Sequence[Job], crew: Crew, workers: int) -> None:
    """Have a crew run every job, in the order given, but each after those that it follows.

    A run that diverges is said to, and one that is lost with its machine goes on from its last checkpoint elsewhere.
    Where one fails, those that follow it are left out and the others continue; at last the first error is raised. Work
    done so far stays on disk.
    """
    with Board([job.course for job in jobs], workers) as board:
        agenda = Agenda(jobs, crew.retries)
        while not agenda.done:
            while crew.is_free() and (job := agenda.next(time.monotonic())):
                crew.give(job)
            for job, news in crew.news(0.5):
                said = agenda.hear(job, news, time.monotonic())
                if said:
                    board.say(said)
                done = job.length if news.ended in ("well", "diverged") else agenda.reached.get(job.name, 0)
                board.reach(job.name, done, ended=not agenda.expects(job))
            board.tick()
    agenda.conclude()


class Agenda:
    """Which job comes next, and what becomes of those that were given."""

    def __init__(self, jobs: Sequence[Job], retries: int) -> None:
        self.retries = retries
        self.waiting = list(jobs)
        self.under_way: set[str] = set()
        self.failures: dict[str, News] = {}  # of jobs that failed
        self.losses: dict[str, int] = {}  # in a row, without progress
        self.reached: dict[str, int] = {}  # units of work
        self.later: dict[str, float] = {}  # not before this time
        self.patience: dict[str, float] = {}  # until when a folder that is held is waited for

    @property
    def done(self) -> bool:
        return not self.waiting and not self.under_way

    def expects(self, job: Job) -> bool:
        """Whether the job has yet to end."""
        return job.name in self.under_way or job in self.waiting

    def next(self, now: float) -> Job | None:
        """The first job that nothing keeps waiting; it counts as given."""
        ahead = self.under_way | {job.name for job in self.waiting}
        for job in self.waiting:
            if job.after not in ahead and self.later.get(job.name, now) <= now:
                self.waiting.remove(job)
                self.under_way.add(job.name)
                return job
        return None

    def hear(self, job: Job, news: News, now: float) -> str:
        """Take note of what is heard of a job; a line for readers, or nothing."""
        if not news.ended:
            if news.done > self.reached.get(job.name, 0):
                self.reached[job.name], self.losses[job.name] = news.done, 0
            return ""
        self.under_way.remove(job.name)
        if news.ended == "diverged":
            return f"arm {job.name} diverged: {news.said}; the study continues without it"
        if news.ended == "lost" and self.losses.get(job.name, 0) < self.retries:
            self.losses[job.name] = self.losses.get(job.name, 0) + 1
            self.waiting.insert(0, job)
            return f"arm {job.name} is lost ({news.said}) and goes on from its last checkpoint"
        if news.ended == "held" and now < self.patience.setdefault(job.name, now + PATIENCE):
            self.later[job.name] = now + PAUSE
            self.waiting.insert(0, job)
            return ""
        if news.ended != "well":
            self.failures[job.name] = news
            self._leave_out_after(job.name)
            return f"arm {job.name} failed ({news.said.splitlines()[0]}); the others continue" if not self.done else ""
        return ""

    def _leave_out_after(self, name: str) -> None:
        for job in [job for job in self.waiting if job.after == name]:
            self.waiting.remove(job)
            self._leave_out_after(job.name)

    def conclude(self) -> None:
        """Raise the first failure, if there is one."""
        for name, news in self.failures.items():
            more = f" ({len(self.failures) - 1} more failed)" if len(self.failures) > 1 else ""
            if news.ended == "lost":
                raise RuleshiftError(f"the process of arm {name} was killed, {news.said}{more}")
            if news.ended == "failed":
                raise RuntimeError(f"arm {name}{more}: {news.said}")
            raise RuleshiftError(f"arm {name}: {news.said}{more}")


class Workers:
    """A crew of processes on this machine."""

    retries = 0  # what was killed for want of memory would be again

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle: list[Worker] = []
        self.busy: dict[Connection, tuple[Worker, Job]] = {}

    def is_free(self) -> bool:
        return len(self.busy) < self.size

    def give(self, job: Job) -> None:
        worker = self.idle.pop() if self.idle else Worker()
        worker.give(job)
        self.busy[worker.connection] = worker, job

    def news(self, seconds: float) -> Iterator[tuple[Job, News]]:
        if not self.busy:  # all that is left waits for its time
            time.sleep(seconds)
        for ready in wait(list(self.busy), timeout=seconds):
            assert isinstance(ready, Connection)
            worker, job = self.busy[ready]
            news = worker.news()
            if news is None or news.ended:
                del self.busy[ready]
            if news is None:
                worker.end()
                news = News(ended="lost", said=OUT_OF_MEMORY)
            elif news.ended:
                self.idle.append(worker)
            yield job, news

    def close(self) -> None:
        for worker in [*self.idle, *(worker for worker, _ in self.busy.values())]:
            worker.end()


class Worker:
    """A process that does one job after another. It is ended with its parent, however that ends."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,), daemon=True)
        # Ctrl-C is for the parent, from the worker's first moment on: it inherits what is blocked.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        other.close()

    def give(self, job: Job) -> None:
        with suppress(OSError):  # one that has been killed is noticed when it is listened to
            self.connection.send(job)

    def news(self) -> News | None:
        """What the worker says next; None if it is gone."""
        try:
            news: News = self.connection.recv()
        except (EOFError, OSError):
            return None
        return news

    def end(self) -> None:
        self.process.terminate()
        self.process.join(10)
        self.connection.close()


def _serve(connection: Connection) -> None:
    """In a worker process. Ctrl-C is for the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    with suppress(EOFError, OSError):
        while True:
            job: Job = connection.recv()
            connection.send(outcome(job, lambda done: connection.send(News(done))))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def outcome(job: Job, progress: Callable[[int], object], threads: int = 1) -> News:
    """Do a job; how it ended. What it took, and why it failed, is written down in its folder."""
    store, meter = PointStore(job.root, job.run, job.measurement), CostMeter(job.kind)

    def told(done: int) -> None:
        meter.reach(done)
        progress(done)

    try:
        told(0)
        with said_to(OF_STUDY), room_for("in this run"):
            run_arm(job.run, job.start, job.measurement, job.root, told, job.further, threads, job.keep)
    except Diverged as error:
        return News(ended="diverged", said=str(error))
    except InUse as error:
        return News(ended="held", said=str(error))
    except RuleshiftError as error:
        return _failed(store, News(ended="refused", said=str(error)))
    except Exception as error:
        return _failed(store, News(ended="failed", said=f"{error}\n{traceback.format_exc()}"))
    meter.save(store.folder)
    store.forget_failure()
    return News(ended="well")


def _failed(store: PointStore, news: News) -> News:
    with suppress(RuleshiftError, OSError):  # where nothing can be written, that is the failure
        store.fail(news.said)
    return news
