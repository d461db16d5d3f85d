"""Running arms side by side, with a progress bar each."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from ruleshift.errors import RuleshiftError
from ruleshift.settings import Measurement
from ruleshift.studies.arms import Arm, run_arm

News = tuple[str, int, int]  # name of a job, units of work done, units in all
_news: "multiprocessing.Queue[News]"  # of a worker process


@dataclass(frozen=True)
class Job:
    """An arm to run from a start model in `root`, measured as the measurement says."""

    arm: Arm
    model: str
    measurement: Measurement
    root: Path

    @property
    def name(self) -> str:
        return f"{self.measurement.task} {self.arm.folder}"


def run_jobs(jobs: Sequence[Job], workers: int | None = None) -> None:
    """Run every job, `workers` at a time, in the order given.

    By default one more than there are cores, so that none idles while the last arm runs; one in all on a GPU.

    The first error stops the study once the arms under way have been told; all work done so far stays on disk.
    """
    workers = min(len(jobs), workers or (1 if torch.cuda.is_available() else (os.cpu_count() or 1) + 1))
    context = multiprocessing.get_context("spawn")
    with _progress() as progress:
        news = context.Queue()
        bars = {job.name: progress.add_task(job.name, total=None, start=False) for job in jobs}
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enter, initargs=(news,))
        try:
            futures = {pool.submit(_work, job): job.name for job in jobs}
            _follow(futures, news, progress, bars)
        except BaseException:
            for process in list((pool._processes or {}).values()):  # shutting down forgets them
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()


def _enter(news: "multiprocessing.Queue[News]") -> None:
    """Begin a worker process. Ctrl-C is for the parent, which ends its workers; and this one ends as soon as the parent
    has, however that ended, so that a killed study leaves nothing behind."""
    global _news
    _news = news
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _work(job: Job) -> None:
    """In a worker process."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    news = _news
    news.put((job.name, 0, 1))
    run_arm(job.arm, job.model, job.measurement, job.root, lambda _, done, total: news.put((job.name, done, total)))


def _follow(
    futures: "dict[Future[None], str]", news: "multiprocessing.Queue[News]", progress: Progress, bars: dict[str, TaskID]
) -> None:
    """Move the bars until every arm has ended; raises what an arm raised."""
    waiting = dict(futures)
    while waiting:
        try:
            name, done, total = news.get(timeout=0.5)
            progress.start_task(bars[name])
            progress.update(bars[name], completed=done, total=total)
            if progress.disable and (4 * done // total) > (4 * (done - 1) // total):  # no terminal: a line per quarter
                progress.console.print(f"{name}: {done} of {total}")
        except queue.Empty:
            pass
        for future in [f for f in waiting if f.done()]:
            name = waiting.pop(future)
            error = future.exception()
            if isinstance(error, RuleshiftError):
                raise RuleshiftError(f"arm {name}: {error}") from error
            if error is not None:
                raise error
            progress.update(bars[name], completed=1, total=1)


def _progress() -> Progress:
    """Bars on a terminal, nothing elsewhere; on stderr."""
    console = Console(stderr=True, highlight=False)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        Remaining(),
        console=console,
        disable=not console.is_terminal,
    )
