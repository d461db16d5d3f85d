"""Running arms side by side, each in a process of its own.

Processes are told what to do, and tell what they have done, through pipes: those need neither shared memory nor
semaphores, which some containers lack.
"""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

import torch

from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.settings import Measurement
from ruleshift.studies.arms import run_arm
from ruleshift.studies.board import Board
from ruleshift.studies.kept import Keep
from ruleshift.studies.points import PointStore
from ruleshift.studies.study import Run, StartModel


@dataclass(frozen=True)
class Job:
    """A run to make from a start model in `root`, measured as the measurement says; or, of one that has been made, the
    `further` steps to measure. `keep` says which episodes are kept to be looked at."""

    run: Run
    start: StartModel
    measurement: Measurement
    root: Path
    further: tuple[int, ...] = ()
    keep: Keep = "none"

    @property
    def name(self) -> str:
        more = f" step {', '.join(map(str, self.further))}" if self.further else ""
        return f"{self.measurement.task} {self.run.folder}{more}"

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


@dataclass(frozen=True)
class News:
    """From a worker: `done` units of work are done, or how the job ended."""

    done: int = 0
    ended: Literal["", "well", "diverged", "refused", "failed"] = ""
    said: str = ""


def run_jobs(jobs: Sequence[Job], workers: int | None = None) -> None:
    """Run every job, `workers` at a time, in the order given.

    By default one more than there are cores, so that none idles while the last arm runs; one in all on a GPU. A run
    that diverges is said to, and the others continue. Any other error ends the study; work done so far stays on disk.
    """
    crew = min(len(jobs), workers or (1 if torch.cuda.is_available() else (os.cpu_count() or 1) + 1))
    waiting = list(reversed(jobs))
    if not waiting:
        return
    with Board([(job.name, job.kind, job.length) for job in jobs], crew) as board:
        busy: dict[Connection, tuple[Worker, Job]] = {}
        hired: list[Worker] = []
        try:
            for _ in range(crew):
                hired.append(Worker())
                busy[hired[-1].connection] = hired[-1], hired[-1].give(waiting.pop())
            while busy:
                for ready in wait(list(busy), timeout=0.5):
                    assert isinstance(ready, Connection)
                    worker, job = busy[ready]
                    if _follow(job, worker.news(), board):
                        del busy[ready]
                        if waiting:
                            busy[ready] = worker, worker.give(waiting.pop())
                board.tick()
        finally:
            for worker in hired:
                worker.end()


def _follow(job: Job, news: News | None, board: Board) -> bool:
    """Show what a worker says of its job; whether that has ended. Raises what ends the study."""
    if news is None:
        raise RuleshiftError(
            f"the process of arm {job.name} was killed, perhaps for want of memory: run the same command again, with "
            "--workers 1"
        )
    if news.ended == "refused":
        raise RuleshiftError(f"arm {job.name}: {news.said}")
    if news.ended == "failed":
        raise RuntimeError(f"arm {job.name}: {news.said}")
    if news.ended == "diverged":
        board.say(f"arm {job.name} diverged: {news.said}; the study continues without it")
    board.reach(job.name, job.length if news.ended else news.done, ended=bool(news.ended))
    return bool(news.ended)


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

    def give(self, job: Job) -> Job:
        with suppress(OSError):  # one that has been killed is noticed when it is listened to
            self.connection.send(job)
        return job

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


def outcome(job: Job, progress: Callable[[int], object]) -> News:
    """Do a job; how it ended."""
    try:
        progress(0)
        run_arm(job.run, job.start, job.measurement, job.root, progress, job.further, keep=job.keep)
    except Diverged as error:
        return News(ended="diverged", said=str(error))
    except RuleshiftError as error:
        return News(ended="refused", said=str(error))
    except Exception as error:
        return News(ended="failed", said=f"{error}\n{traceback.format_exc()}")
    return News(ended="well")
