"""Folders in an object store (fsspec), for machines that share no file system.

    URL/NAME/taker.json           whose the folder is now, and whose list holds until there is one of theirs
    URL/NAME/MARK/list.json       the files of the folder: digest and size of each, and by whom it was brought
    URL/NAME/MARK/DIGEST          what a file holds
    URL/NAME/MARK/seen            the last sign of life

In an object store nothing is locked, renamed or appended to. So a folder goes there as a snapshot: what its files
hold first, under names made of it, and the list at last, in one piece. Whoever takes a folder over writes below a mark
of its own; what a former taker still writes, late, lands where nobody reads. A taker removes objects of its own, a
snapshot after it listed them last; those of former takers stay, for whoever may yet have begun with their list.
"""

import copy
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, write_atomically
from ruleshift.lock import LOCK, InUse, Owner, owner_in
from ruleshift.runs import TEMPORARY

TAKER, LIST, SEEN = "taker.json", "list.json", "seen"
MOST_BYTES = 64_000_000  # of a list of files
MOST_SIZE = 2**50  # bytes of a file
DIGEST, MARK = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{16}")
WAITS = (1.0, 3.0, 10.0, 30.0)  # seconds until what failed is tried again
TRIES = 3  # to read a list whose objects were replaced meanwhile

Found = TypeVar("Found")


class StoreError(RuleshiftError):
    """A store that cannot be read, or written to."""


@dataclass(frozen=True)
class StoredFile:
    """What a file holds: SHA-256 as hexadecimal digits, bytes, and the mark below which it lies."""

    digest: str
    size: int
    mark: str


@dataclass(frozen=True)
class Snapshot:
    """A folder as it was: whose it is, the mark of who listed it (another, until there is a list of theirs), its files
    by their paths within it, when the owner gave the last sign of life (seconds of the epoch), and whether it was
    left."""

    owner: Owner
    listed_by: str
    files: Mapping[str, StoredFile]
    seen: float
    ended: bool


class Store:
    """The objects below a URL that fsspec reads: s3://BUCKET/NAME, gs://BUCKET/NAME, file:///FOLDER ...

    What fails is tried again for a while. Raises StoreError where there is no such store, as all methods do where it
    cannot be used.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import split_protocol, url_to_fs

        self.url = url.rstrip("/")
        protocol, path = split_protocol(url)
        self.local = protocol in ("file", "local")
        self.waits: Sequence[float] = WAITS
        try:
            if protocol is None or not path.strip("/") or "::" in url or (self.local and not path.startswith("/")):
                raise ValueError("it is no URL of a folder, such as s3://BUCKET/NAME")
            more = {"auto_mkdir": True} if self.local else {}
            self.files, self.root = url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True, **more)
        except Exception as error:  # every kind of store has its own
            raise StoreError(f"{url} cannot be used as a store ({reason_of(error)})") from error

    def in_a_hurry(self) -> "Store":
        """The same, but what fails is not tried again."""
        found = copy.copy(self)
        found.waits = ()
        return found

    def read(self, name: str) -> bytes | None:
        """What an object holds; None where there is none."""
        path = f"{self.root}/{name}"

        def read() -> bytes | None:
            self.files.invalidate_cache()
            try:
                size, content = self.files.size(path), None
                if size is None or size <= MOST_BYTES:
                    content = self.files.cat_file(path)
            except FileNotFoundError:
                return None
            if content is None:
                raise StoreError(f"{self.url}/{name} is larger than {MOST_BYTES:,} bytes")
            return bytes(content)

        return self._tried(read)

    def write(self, name: str, content: bytes) -> None:
        """An object, in one piece."""
        path = f"{self.root}/{name}"

        def write() -> None:
            if self.local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
            else:
                self.files.pipe_file(path, content)

        self._tried(write)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""

        def remove() -> None:
            try:
                self.files.rm_file(f"{self.root}/{name}")
            except FileNotFoundError:
                return

        self._tried(remove)

    def upload(self, file: Path, name: str) -> None:
        self._tried(lambda: self.files.put_file(str(file), f"{self.root}/{name}"))

    def download(self, name: str, file: Path) -> bool:
        """Whether the object was there."""

        def download() -> bool:
            try:
                self.files.get_file(f"{self.root}/{name}", str(file))
            except FileNotFoundError:
                return False
            return True

        return self._tried(download)

    def snapshot(self, name: str) -> Snapshot | None:
        """That of a folder; None where there is none."""
        try:
            taker = _taker(self, name)
            if taker["owner"] is None:
                return None
            mark, listed = taker["mark"], self.read(f"{name}/{taker['mark']}/{LIST}")
            if listed is None and taker["before"]:
                mark, listed = taker["before"], self.read(f"{name}/{taker['before']}/{LIST}")
            told = json.loads(listed or b'{"files": {}, "ended": false}')
            files = {inside(path): _stored_file(file) for path, file in told["files"].items()}
            seen = float(self.read(f"{name}/{taker['mark']}/{SEEN}") or 0)
            ended = told["ended"] is True and mark == taker["mark"]
            return Snapshot(taker["owner"], mark, files, seen if math.isfinite(seen) else 0.0, ended)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise StoreError(
                f"{self.url}/{name} holds no snapshot of a folder ({reason_of(error)}): delete {name} there, which is "
                "then made anew"
            ) from error

    def fetch(self, name: str, folder: Path) -> Snapshot | None:
        """Make a folder what its snapshot says, if there is one, but for its lock. It is replaced when all is there:
        nobody may be at work in it."""
        folder = Path(os.path.realpath(folder))
        staged, _ = _beside(folder)

        def stage(snapshot: Snapshot) -> bool:
            recover(folder)
            same = files_in(folder) - {LOCK} == snapshot.files.keys()
            if same and all(_is(folder / path, file) for path, file in snapshot.files.items()):
                return True
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            if not all(self._bring(name, file, folder / path, staged / path) for path, file in snapshot.files.items()):
                return False
            _replace(folder)
            return True

        try:
            return self._read_through(name, stage)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def outline(self, name: str, folder: Path, wanted: Callable[[str], bool]) -> Snapshot | None:
        """A folder with the files of a snapshot, of which those that are not `wanted` have their sizes alone."""

        def draw(snapshot: Snapshot) -> bool:
            for path, file in snapshot.files.items():
                target = folder / path
                if wanted(path):
                    if not self._bring(name, file, target, target):
                        return False
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
                os.truncate(target, file.size)
            return True

        return self._read_through(name, draw)

    def _read_through(self, name: str, read: Callable[[Snapshot], bool]) -> Snapshot | None:
        """The snapshot of a folder, once all of it was read: one that is replaced meanwhile is read anew."""
        for _ in range(TRIES):
            snapshot = self.snapshot(name)
            try:
                if snapshot is None or read(snapshot):
                    return snapshot
            except (OSError, ValueError, OverflowError) as error:
                raise StoreError(f"cannot make here what {self.url}/{name} holds: {reason_of(error)}") from error
        raise StoreError(
            f"{self.url}/{name} lacks files that it lists, or they are damaged: delete it there, and it is made anew"
        )

    def _bring(self, name: str, file: StoredFile, here: Path, target: Path) -> bool:
        """A file, from the folder here where that has it; whether it is to be had."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if _is(here, file):
            if here != target:
                _link(here, target)
            return True
        return self.download(f"{name}/{_object(file)}", target) and _is(target, file)

    def _tried(self, do: Callable[[], Found]) -> Found:
        for wait in (*self.waits, None):
            try:
                return do()
            except StoreError:
                raise
            except Exception as error:
                if wait is None:
                    raise StoreError(f"{self.url} cannot be used: {reason_of(error)}") from error
                time.sleep(wait)
        raise AssertionError


class Taken:
    """A folder here that this process has taken: from now on its snapshots in the store are ours."""

    def __init__(self, store: Store, name: str, folder: Path) -> None:
        self.store, self.name, self.folder = store, name, folder
        self.mark = secrets.token_hex(8)
        self.known: dict[tuple[str, int, int], str] = {}  # digests, by path, time and size
        self.outdated: set[str] = set()  # objects that the list before the last one had
        before = store.snapshot(name)
        self.listed: Mapping[str, StoredFile] = before.files if before else {}
        owner = asdict(Owner.here())
        taker = {"mark": self.mark, "before": before.listed_by if before else "", "owner": owner}
        store.write(f"{name}/{TAKER}", json.dumps(taker).encode())
        self.give_sign()

    def bring(self) -> None:
        """Make the folder what the store has of it, if it has anything."""
        if self.listed:
            snapshot = self.store.fetch(self.name, self.folder)
            self.listed = snapshot.files if snapshot else {}

    def give_sign(self) -> None:
        """That we are at work."""
        self.store.write(f"{self.name}/{self.mark}/{SEEN}", str(time.time()).encode())

    def push(self, ended: bool = False) -> None:
        """A snapshot of the folder as it is, the last one if we leave it: nobody may write to it meanwhile.

        Raises InUse where another has taken it since we did.
        """
        self._push(ended)
        if ended:
            self._push(ended)  # removes what the list before had

    def _push(self, ended: bool) -> None:
        stored = {file.digest: file for file in self.listed.values()}
        files: dict[str, StoredFile] = {}
        for path in sorted(files_in(self.folder) - {LOCK}):
            file = self._file(path)
            if file.digest not in stored:
                self.store.upload(self.folder / path, f"{self.name}/{_object(file)}")
                stored[file.digest] = file
            files[path] = stored[file.digest]
        if _taker(self.store, self.name)["mark"] != self.mark:
            raise InUse(f"{self.store.url}/{self.name} is in use by another: wait for it, or stop it.")
        content = {"files": {path: asdict(file) for path, file in files.items()}, "ended": ended}
        self.store.write(f"{self.name}/{self.mark}/{LIST}", json.dumps(content).encode())
        now, before = set(map(_object, files.values())), set(map(_object, self.listed.values()))
        for name in self.outdated - now:
            if name.startswith(f"{self.mark}/"):
                self.store.remove(f"{self.name}/{name}")
        self.outdated, self.listed = before - now, files

    def _file(self, path: str) -> StoredFile:
        state = (self.folder / path).stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self.known:
            self.known[key] = _digest(self.folder / path)
        return StoredFile(self.known[key], state.st_size, self.mark)


def files_in(folder: Path) -> set[str]:
    """The paths of the files of a folder, within it, but for those that are being written; none where there is no such
    folder."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(TEMPORARY) for part in path.relative_to(folder).parts)
    }


def recover(folder: Path) -> None:
    """Put a folder back that was to be replaced when its process was killed."""
    _, old = _beside(folder)
    if not folder.exists() and old.is_dir():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _replace(folder: Path) -> None:
    """By what is staged beside it. Raises OSError, and leaves it as it was."""
    staged, old = _beside(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    try:
        staged.rename(folder)
    except OSError:
        recover(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    """Where what replaces a folder is staged, and where that goes meanwhile: not among the runs of a study."""
    name = hashlib.sha256(os.path.abspath(folder).encode()).hexdigest()[:16]
    return folder.parent.parent / f"{TEMPORARY}{name}", folder.parent.parent / f"{TEMPORARY}old-{name}"


def _is(path: Path, file: StoredFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _digest(path) == file.digest


def _link(here: Path, there: Path) -> None:
    """The same file there, without room of its own where it is never written to again."""
    try:
        if here.suffix == ".jsonl":  # is appended to
            raise OSError
        os.link(here, there)
    except OSError:
        shutil.copy2(here, there)


def inside(path: Any) -> str:
    """A path that leads nowhere else. Raises ValueError for others."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError("a path of it leads elsewhere")
    if len(path) > 2_000 or max(len(part.encode()) for part in parts) > 255:
        raise ValueError("a path of it is too long")
    return str(PurePosixPath(path))


def _taker(store: Store, name: str) -> dict[str, Any]:
    """Who has a folder: `mark` and `owner`, and of whom it was taken over, `before` (a mark, or nothing)."""
    found = json.loads(store.read(f"{name}/{TAKER}") or b'{"mark": "", "before": "", "owner": {}}')
    for mark in ("mark", "before"):
        if found[mark] and not MARK.fullmatch(found[mark]):
            raise ValueError("it bears no mark")
    owner = owner_in(json.dumps(found["owner"]).encode())
    if found["mark"] and owner is None:
        raise ValueError("it names no owner that this version knows")
    return {"mark": found["mark"], "before": found["before"], "owner": owner}


def _object(file: StoredFile) -> str:
    return f"{file.mark}/{file.digest}"


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _stored_file(content: Mapping[str, Any]) -> StoredFile:
    digest, size, mark = content["digest"], content["size"], content["mark"]
    if not (DIGEST.fullmatch(digest) and MARK.fullmatch(mark) and isinstance(size, int) and 0 <= size <= MOST_SIZE):
        raise ValueError("a file of it has no digest, size or mark")
    return StoredFile(digest, size, mark)
