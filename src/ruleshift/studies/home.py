"""Where a study is kept that several machines make: in a folder that they share, or in an object store.

    URL/study.json, URL/TASK/results.json ...     as in the folder of the study
    URL/study                                     its name
    URL/holder.json                               who gives its jobs out, and the last sign of life
    URL/TASK/arms/RUN, URL/TASK/init              snapshots of runs, and of what is trained before them (studies.store)
    URL/starts/NAME                               of a start model that is a folder (a digest of its name)

With a store every machine makes its runs in a folder of its own, which begins with what the store has and goes there as
it grows. The study's folder, on the machine of the command, has all of it in the end.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from platform import node
from tempfile import TemporaryDirectory

from ruleshift.errors import RuleshiftError
from ruleshift.lock import BEAT, LOCK, SILENT, Holding, InUse, Owner, beating, holding, owner_in, stop_after
from ruleshift.runs import CHECKPOINT_NAME as STEP
from ruleshift.runs import METRICS, TEMPORARY, RunFolder
from ruleshift.studies.pool import Job, News, outcome
from ruleshift.studies.progress import STUDY, last_step, load_record
from ruleshift.studies.store import Store, StoreError, Taken, files_in, inside, recover
from ruleshift.studies.study import Run, StartModel

CONFIG, HOLDER, NAME = "config.json", "holder.json", "study"
TOLD = (METRICS, "cost.json", "failed.json", "diverged.json")  # of a run: how far it is
SETTLES = 1.0  # seconds until who takes a store looks whether another did, too

Settings = Mapping[str, object]


@dataclass(frozen=True)
class Home:
    """The folder of a study that all machines share: there is nothing to be done."""

    out: Path
    url: str | None = None

    def meet(self, folders: Mapping[Path, Settings]) -> None:
        """Bring what the store has of these folders, or give it what is here, whichever has come further. Raises
        RuleshiftError for a folder whose run has other settings, here or there, before any is touched."""
        for folder, settings in folders.items():
            recover(folder)
            RunFolder(folder).check(settings)

    def bring(self, folder: Path) -> None:
        """What the store has of a folder in which nobody works any more."""

    def step(self, folder: Path) -> int | None:
        """The last step of training of a run at work; None where nobody is."""
        return last_step(folder) if holding(folder) is not None else None

    def give_start(self, start: StartModel) -> None:
        """A start model that is a folder below the current one. Others lie on all machines."""

    def give_files(self, *folders: Path) -> None:
        """The files of these folders themselves, for readers."""


@dataclass(frozen=True)
class StoredHome(Home):
    """The folder of a study on this machine, and the store that it shares with others."""

    store: Store = field(kw_only=True)

    def meet(self, folders: Mapping[Path, Settings]) -> None:
        super().meet(folders)
        there = {folder: self.store.snapshot(self._name(folder)) for folder in folders}
        for folder, snapshot in there.items():
            if snapshot is not None and CONFIG in snapshot.files:
                with TemporaryDirectory(prefix="ruleshift-") as scratch:
                    self.store.outline(self._name(folder), Path(scratch), CONFIG.__eq__)
                    self._check(Path(scratch), folder, folders[folder])
        for folder, snapshot in there.items():
            here = files_in(folder) - {LOCK}
            if snapshot is not None and snapshot.files and reached(snapshot.files) >= reached(here):
                self.store.fetch(self._name(folder), folder)
            elif here:
                Taken(self.store, self._name(folder), folder).push(ended=True)

    def _check(self, run: Path, folder: Path, settings: Settings) -> None:
        try:
            RunFolder(run).check(settings)
        except RuleshiftError as error:
            where = f"{self.store.url}/{self._name(folder)}"
            raise RuleshiftError(str(error).replace(str(run), where).replace("--out", "--store")) from error

    def bring(self, folder: Path) -> None:
        if not self.store.fetch(self._name(folder), folder):
            raise StoreError(f"{self.store.url}/{self._name(folder)} is not there, though its run was made")

    def step(self, folder: Path) -> int | None:
        try:
            with TemporaryDirectory(prefix="ruleshift-") as scratch:
                found = self.store.in_a_hurry().outline(self._name(folder), Path(scratch), METRICS.__eq__)
                at_work = found is not None and not found.ended and time.time() - found.seen < SILENT
                return last_step(Path(scratch)) if at_work else None
        except StoreError:  # it is away for a while
            return None

    def give_start(self, start: StartModel) -> None:
        if _travels(start) and Path(start.name).is_dir():
            Taken(self.store, _place(start), Path(start.name)).push(ended=True)

    def give_files(self, *folders: Path) -> None:
        for file in (file for folder in folders for file in folder.iterdir()):
            if file.is_file() and file.name not in (LOCK, HOLDER) and not file.name.startswith(TEMPORARY):
                self.store.write(self._name(file), file.read_bytes())

    def _name(self, path: Path) -> str:
        return path.relative_to(self.out).as_posix()


def reached(files: Iterable[str]) -> tuple[int, bool, int, int, bool]:
    """How far a run with these files has come: its points, whether it diverged, the step of its last checkpoint, the
    models that were kept, and whether it has begun."""
    paths = {tuple(file.split("/")) for file in files}
    points = sum(path[0] == "points" for path in paths)
    kept = {path[:2] for path in paths if path[0] in ("models", "model")}
    steps = [int(step[1]) for path in paths if path[0] == "checkpoints" and (step := STEP.fullmatch(path[1]))]
    return points, ("diverged.json",) in paths, max(steps, default=0), len(kept), bool(paths)


@contextmanager
def home_of(out: Path, url: str | None, study: str) -> Iterator[Home]:
    """The folder of a study with its store, held by this process meanwhile; without a URL, the folder alone. study: its
    name.

    Raises InUse while another has the store, and RuleshiftError for one of another study, and for a folder that other
    machines could not make in one of theirs.
    """
    if url is None:
        yield Home(out)
        return
    if not out.parts or out.is_absolute() or ".." in out.parts:
        raise RuleshiftError(f"--out {out}: with --store name a folder below the current one, as runs/{out.name}")
    store = Store(url)
    if store.local and out.resolve().is_relative_to(Path(store.root).resolve()):
        raise RuleshiftError(f"--store {url}: choose another place than --out, which {out} is")
    with _held(store):
        there = (store.read(NAME) or study.encode()).decode(errors="replace").strip()
        if there != study:
            raise RuleshiftError(f"{url} holds the study {there[:40]!r}: choose another --store")
        store.write(NAME, study.encode())
        yield StoredHome(out, url, store=store)


@contextmanager
def _held(store: Store) -> Iterator[None]:
    owner = Owner.here()
    _check_free(store, owner)
    _give_sign(store, owner)
    time.sleep(SETTLES)
    _check_free(store, owner)
    try:
        with beating(lambda: _still_held(store, owner), BEAT):
            yield
    finally:
        with suppress(StoreError):
            now = holder_of(store)
            if now is not None and now.owner == owner:
                store.remove(HOLDER)


def _check_free(store: Store, owner: Owner) -> None:
    now = holder_of(store)
    if now is not None and now.owner != owner and now.lives:
        raise InUse(f"{store.url} is in use by {now.owner}: wait for it, stop it, or choose another --store.")


def _still_held(store: Store, owner: Owner) -> bool:
    """A sign of life, unless another holds the store now: then this process is ended."""
    with suppress(StoreError):  # of a store that is away for a while
        now = holder_of(store)
        if now is not None and now.owner != owner:
            stop_after(now.owner, store.url)
            return False
        _give_sign(store, owner)
    return True


def _give_sign(store: Store, owner: Owner) -> None:
    store.write(HOLDER, json.dumps({**asdict(owner), "seen": time.time()}).encode())


def holder_of(store: Store) -> Holding | None:
    """Who gives out the jobs of a study, or did until it was killed; None where nobody does."""
    try:
        content = json.loads(store.read(HOLDER) or b"")
        silent = time.time() - float(content.pop("seen"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    owner = owner_in(json.dumps(content).encode())
    return Holding(owner, abs(silent)) if owner is not None and math.isfinite(silent) else None


# On a machine of the cluster


def make_apart(job: Job, store: Store, name: str, every: float, threads: int) -> News:
    """Do a job in the current folder, which is empty, from what the store has of its run and of those that it starts
    from. name: that of the folder of its runs in the store. every: seconds between two snapshots. Raises RuleshiftError
    where this machine does not see the store that the others do."""
    if holder_of(store) is None:
        raise RuleshiftError(
            f"{node()} finds nobody who holds {store.url}: name a store that all machines of the cluster see"
        )
    if _travels(job.start):
        store.fetch(_place(job.start), Path(job.start.name))
    for run in _before(job.run):
        store.fetch(f"{name}/{run.folder}", job.root / run.folder)
    taken = Taken(store, f"{name}/{job.run.folder}", job.root / job.run.folder)
    taken.bring()
    with beating(lambda: _lives(taken), BEAT):
        news = outcome(job, _now_and_then(taken, every), threads)
        taken.push(ended=True)
    return news


def _lives(taken: Taken) -> bool:
    with suppress(StoreError):
        taken.give_sign()
    return True


def _before(run: Run) -> Iterator[Run]:
    """The runs that a run starts from."""
    while run.start is not None:
        run = run.start.run
        yield run


def _now_and_then(taken: Taken, every: float) -> Callable[[int], None]:
    """A snapshot at times, while nothing is written; one that fails is made up for by the next."""
    last = time.monotonic()

    def told(done: int) -> None:
        nonlocal last
        if time.monotonic() > last + every:
            with suppress(StoreError):
                taken.push()
            last = time.monotonic()

    return told


def _travels(start: StartModel) -> bool:
    """Whether a start model is named by a path below the current folder."""
    parts = Path(start.name).parts
    return bool(parts) and not Path(start.name).is_absolute() and ".." not in parts


def _place(start: StartModel) -> str:
    return f"starts/{hashlib.sha256(start.name.encode()).hexdigest()[:16]}"


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
        try:
            names = {inside(entry.folder) for entry in load_record(folder).entries}
        except (RuleshiftError, ValueError, TypeError, AttributeError) as error:
            raise RuleshiftError(f"{url}/{STUDY} is damaged, or of another version") from error
        for name in names:
            found = store.outline(name, folder / name, TOLD.__contains__)
            if found is not None and not found.ended:
                _sign(folder / name, Holding(found.owner, time.time() - found.seen))
        if holder is not None:
            _sign(folder, holder)
        yield folder


def _sign(folder: Path, holding: Holding) -> None:
    """A lock as its owner would have left it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOCK).write_text(json.dumps(asdict(holding.owner)))
    seen = max(0.0, time.time() - holding.silent)
    os.utime(folder / LOCK, (seen, seen))
