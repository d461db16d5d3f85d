"""Where a study is kept that several machines make: in a folder that they share, or in an object store.

    URL/study.json, URL/TASK/results.json ...     as in the folder of the study
    URL/holder.json                               who gives its jobs out, and the last sign of life
    URL/TASK/arms/RUN, URL/TASK/init              snapshots of runs, and of what is trained before them (studies.store)
    URL/starts/WEIGHTS                            of a start model that is a folder

With a store every machine makes its runs in a folder of its own, which begins with what the store has and goes there as
it grows. The study's folder, on the machine of the command, has all of it in the end.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import node
from tempfile import TemporaryDirectory

from ruleshift.errors import RuleshiftError
from ruleshift.lock import BEAT, LOCK, Holding, InUse, Owner, kernel, owner_in, stop_after
from ruleshift.runs import CHECKPOINT_NAME
from ruleshift.studies.pool import Job, News, outcome
from ruleshift.studies.progress import STUDY, load_record
from ruleshift.studies.store import Copy, Store, StoreError, files_in, inside
from ruleshift.studies.study import Run, StartModel

HOLDER = "holder.json"
TOLD = ("metrics.jsonl", LOCK, "cost.json", "failed.json", "diverged.json")  # of a run: how far it is


@dataclass(frozen=True)
class Home:
    """The folder of a study that all machines share: there is nothing to be done."""

    out: Path

    def meet(self, folders: Iterable[Path]) -> None:
        """Bring what the store has of these folders, or give it what is here, whichever has come further."""

    def bring(self, folder: Path) -> None:
        """What the store has of a folder in which nobody works any more."""

    def look(self, folder: Path) -> None:
        """What tells how far a run is."""

    def give_start(self, start: StartModel) -> None:
        """A start model that is a folder below the current one. Others lie on all machines."""

    def give_files(self, *folders: Path) -> None:
        """The files of these folders themselves, for readers."""


@dataclass(frozen=True)
class StoredHome(Home):
    """The folder of a study on this machine, and the store that it shares with others."""

    store: Store

    def meet(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            snapshot, here = self.store.snapshot(self._name(folder)), files_in(folder)
            if snapshot is not None and reached(snapshot.files) >= reached(here):
                self.bring(folder)
            elif here - {LOCK}:
                self._give(self._name(folder), folder)

    def bring(self, folder: Path) -> None:
        self.store.fetch(self._name(folder), folder)
        (folder / LOCK).unlink(missing_ok=True)

    def look(self, folder: Path) -> None:
        with suppress(StoreError):  # of a store that is away for a while
            self.store.fetch(self._name(folder), folder, TOLD.__contains__)

    def give_start(self, start: StartModel) -> None:
        folder = Path(start.name)
        ours = folder.is_dir() and not folder.is_absolute() and ".." not in folder.parts
        if ours and self.store.snapshot(_place(start)) is None:
            self._give(_place(start), folder)

    def give_files(self, *folders: Path) -> None:
        for file in (file for folder in folders for file in folder.iterdir()):
            if file.is_file() and file.name != LOCK:
                self.store.upload(file, self._name(file))

    def _give(self, name: str, folder: Path) -> None:
        Copy(self.store, name, folder, _mark()).push(over=True)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()


def reached(files: Iterable[str]) -> tuple[int, int]:
    """How far a run with these files has come: points and kept models, and the step of its last checkpoint."""
    paths = [path.split("/") for path in files]
    steps = [int(found[1]) for parts in paths for part in parts if (found := CHECKPOINT_NAME.fullmatch(part))]
    return sum(parts[0] in ("points", "models", "model") for parts in paths), max(steps, default=0)


@contextmanager
def home_of(out: Path, url: str | None) -> Iterator[Home]:
    """The folder of a study with its store, held by this process meanwhile; without a URL, the folder alone.

    Raises InUse while another has it, and RuleshiftError for a folder that other machines could not make in one of
    theirs.
    """
    if url is None:
        yield Home(out)
        return
    if out.is_absolute() or ".." in out.parts:
        raise RuleshiftError(f"--out {out}: with --store name a folder below the current one, as runs/{out.name}")
    store = Store(url)
    with _held(store):
        yield StoredHome(out, store)


@contextmanager
def _held(store: Store) -> Iterator[None]:
    before = holder_of(store)
    if before is not None and before.lives:
        raise InUse(f"{store.url} is in use by {before.owner}: wait for it, stop it, or choose another --store.")
    owner, ended = Owner(os.getpid(), node(), kernel(), time.time()), threading.Event()
    _give_sign(store, owner)
    beat = threading.Thread(target=_beat, args=(store, owner, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(StoreError):
            now = holder_of(store)
            if now is not None and now.owner == owner:
                store.remove(HOLDER)


def _beat(store: Store, owner: Owner, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(StoreError):  # of a store that is away for a while
            now = holder_of(store)
            if now is not None and now.owner != owner:
                stop_after(now.owner, store.url)
                return
            _give_sign(store, owner)


def _give_sign(store: Store, owner: Owner) -> None:
    store.write(HOLDER, json.dumps({**asdict(owner), "seen": time.time()}).encode())


def holder_of(store: Store) -> Holding | None:
    """Who gives out the jobs of a study, or did until it was killed; None where nobody does."""
    try:
        content = json.loads(store.read(HOLDER) or b"")
        seen = float(content.pop("seen"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    owner = owner_in(json.dumps(content).encode())
    return None if owner is None else Holding(owner, time.time() - seen)


# On a machine of the cluster


def make_apart(job: Job, store: Store, name: str, every: float, threads: int) -> News:
    """Do a job in the current folder, which is empty, from what the store has of its run and of those that it starts
    from. name: that of the folder of its runs in the store. every: seconds between two snapshots."""
    store.fetch(_place(job.start), Path(job.start.name))
    for run in _before(job.run):
        store.fetch(f"{name}/{run.folder}", job.root / run.folder)
    copy = Copy(store, f"{name}/{job.run.folder}", job.root / job.run.folder, _mark())
    copy.claim()
    news = outcome(job, _now_and_then(copy, every), threads)
    copy.push()
    return news


def _before(run: Run) -> Iterator[Run]:
    """The runs that a run starts from."""
    while run.start is not None:
        run = run.start.run
        yield run


def _now_and_then(copy: Copy, every: float) -> Callable[[int], None]:
    """A snapshot at times, while nothing is written; one that fails is made up for by the next."""
    last = time.monotonic()

    def told(done: int) -> None:
        nonlocal last
        if time.monotonic() > last + every:
            with suppress(StoreError):
                copy.push()
            last = time.monotonic()

    return told


def _place(start: StartModel) -> str:
    return f"starts/{start.weights}"


def _mark() -> str:
    return f"process {os.getpid()} on {node()}, {time.time_ns()}"


# From another machine


@contextmanager
def outlined(url: str) -> Iterator[Path]:
    """A folder that tells how far the study in a store is, as its own does. Raises RuleshiftError where there is no
    study."""
    store = Store(url)
    with TemporaryDirectory(prefix="ruleshift-") as scratch:
        folder, content, holder = Path(scratch), store.read(STUDY), holder_of(store)
        if content is None:
            raise RuleshiftError(f"{url} holds no {STUDY}: name the URL that a study was given as --store")
        (folder / STUDY).write_bytes(content)
        for name in {inside(entry.folder) for entry in load_record(folder).entries}:
            store.outline(name, folder / name, TOLD.__contains__)
        if holder is not None:
            (folder / LOCK).write_text(json.dumps(asdict(holder.owner)))
        seen = 0.0 if holder is None else time.time() - holder.silent
        for lock in folder.rglob(LOCK):
            os.utime(lock, (seen, seen))  # Ray ends runs with the process that gave them out
        yield folder
