"""A crew on a Ray cluster: each job is a task with the CPUs and the share of a GPU that it needs.

The folder of the study is shared by all machines, or an object store is (`studies.home`). What a job has done lies
there, so that a task that ends with its machine is simply given again; how far one is, is read there, too. Ray itself
retries nothing: locks and files of the folder, or marks and snapshots of the store, decide what is left to do, and by
whom.
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.lock import InUse
from ruleshift.studies.home import Home, make_apart
from ruleshift.studies.pool import Job, News, carry_out, outcome
from ruleshift.studies.progress import STUDY
from ruleshift.studies.store import Store, StoreError

LOOK = 2.0  # seconds between two looks at how far jobs are
REASON = 200  # characters


@dataclass(frozen=True)
class Cluster:
    """Where Ray listens (host:port; None: on this machine), what each run takes of it, and the URL of the store that
    takes the place of a folder which all machines share, with the seconds between two snapshots of a run there."""

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    store: str | None = None
    snapshots: float = 20.0


def run_on_ray(jobs: Sequence[Job], cluster: Cluster, home: Home) -> None:
    """Run every job on the cluster, as `carry_out` does. home: the study's folder, shared by all machines or with a
    store that is."""
    if jobs:
        with closing(Tasks(cluster, home)) as crew:
            carry_out(jobs, crew, crew.side_by_side)


class Tasks:
    """A crew of Ray tasks. Ray queues what finds no room, so that a cluster which can grow learns what is wanted."""

    retries = 3

    def __init__(self, cluster: Cluster, home: Home) -> None:
        self.ray, self.home = _ray(), home
        self.under_way: dict[Any, Job] = {}
        self.steps: dict[str, int] = {}
        self.looked = 0.0
        _connect(self.ray, cluster)
        try:
            self.side_by_side = _side_by_side(self.ray, cluster)
            work = self.ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=0)(_work)
            self.start = lambda job: work.options(name=job.name).remote(job, cluster, os.getcwd(), home.out)
        except BaseException:
            self.ray.shutdown()
            raise

    def is_free(self) -> bool:
        return True

    def give(self, job: Job) -> None:
        self.under_way[self.start(job)] = job

    def news(self, seconds: float) -> Iterator[tuple[Job, News]]:
        if not self.under_way:  # all that is left waits for its time
            time.sleep(seconds)
            return
        for task in self.ray.wait(list(self.under_way), num_returns=1, timeout=seconds)[0]:
            job = self.under_way.pop(task)
            yield job, self._brought(job, self._end_of(task))
        if time.monotonic() > self.looked + LOOK:
            for job in list(self.under_way.values()):
                step = self.home.step(job.root / job.run.folder)
                done = 0 if job.further else step
                if step is not None and done is not None and done != self.steps.get(job.name):
                    self.steps[job.name] = done
                    yield job, News(min(done, job.length))
            self.looked = time.monotonic()

    def _brought(self, job: Job, news: News) -> News:
        """How a job ended, once what it made is here."""
        try:
            if news.ended not in ("lost", "held"):
                self.home.bring(job.root / job.run.folder)
        except RuleshiftError as error:
            return News(ended="refused", said=str(error)) if news.ended in ("well", "diverged") else news
        return news

    def _end_of(self, task: Any) -> News:
        try:
            news: News = self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:  # before or behind all that `outcome` catches
            return News(ended="failed", said=str(error))
        except self.ray.exceptions.RayError as error:
            return News(ended="lost", said=f"{type(error).__name__}: {reason_of(error)[:REASON]}")
        return news

    def close(self) -> None:
        """End what is under way; what it has done so far lies in the shared folder."""
        for task in self.under_way:
            self.ray.cancel(task, force=True)
        self.ray.shutdown()


def _work(job: Job, cluster: Cluster, folder: str, out: Path) -> News:
    """On a machine of the cluster: do a job, in the folder in which the study was started, or in one of its own."""
    if not cluster.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no share was asked for
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    threads = max(1, int(cluster.cpus))
    if cluster.store is not None:
        return _work_apart(job, cluster.store, cluster.snapshots, job.root.relative_to(out).as_posix(), threads)
    try:
        os.chdir(folder)
        (out / STUDY).stat()
    except OSError as error:
        return News(
            ended="refused",
            said=f"{socket.gethostname()} does not find {error.filename}: start the study in a folder, and with an "
            "--out, that all machines of the cluster share, or give an object store with --store",
        )
    return outcome(job, lambda done: None, threads)


def _work_apart(job: Job, url: str, every: float, name: str, threads: int) -> News:
    """In a folder of this machine, which is gone afterwards."""
    before = os.getcwd()
    with TemporaryDirectory(prefix="ruleshift-") as scratch:
        os.chdir(scratch)
        try:
            return make_apart(job, Store(url), name, every, threads)
        except StoreError as error:
            return News(ended="lost", said=f"or did not reach its store: {error}")
        except InUse as error:
            return News(ended="held", said=str(error))
        except RuleshiftError as error:
            return News(ended="refused", said=str(error))
        finally:
            os.chdir(before)


def _ray() -> Any:
    try:
        return import_module("ray")
    except ModuleNotFoundError as error:
        raise RuleshiftError("--ray needs Ray: pip install 'ruleshift[ray]'") from error


def _connect(ray: Any, cluster: Cluster) -> None:
    """Raises RuleshiftError where there is no cluster, or it cannot be used."""
    where = cluster.address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(address=where, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, AssertionError) as error:
        what = "this machine" if where == "auto" else where
        raise RuleshiftError(
            f"there is no Ray cluster to use on {what} ({reason_of(error)[:REASON]}): start one with `ray start "
            "--head`, or name its address as --ray HOST:6379"
        ) from error


def _side_by_side(ray: Any, cluster: Cluster) -> int:
    """How many runs the cluster has room for as it is; one where it must grow first, which is said."""
    rooms = [
        min(
            node["Resources"].get(kind, 0.0) // wanted
            for kind, wanted in (("CPU", cluster.cpus), ("GPU", cluster.gpus))
            if wanted
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    room = int(sum(rooms))
    if not room:
        print(
            f"no machine of the cluster has {cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs: waiting for one that "
            "does; --run-cpus and --run-gpus ask for less",
            flush=True,
        )
    return max(1, room)
