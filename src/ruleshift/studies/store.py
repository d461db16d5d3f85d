"""Folders in an object store (fsspec), for machines that share no file system.

    URL/NAME/snapshot.json      the files of a folder, each with the digest and size of what it holds
    URL/NAME/objects/DIGEST     what they hold

In an object store nothing is locked, renamed or appended to. So a folder goes there as a snapshot: what its files hold
first, under names that are made of it, and the list at last, in one piece. Whoever reads it has the folder as it once
was, whenever the writer was killed. A snapshot bears the mark of its writer: one who finds the mark of another was
succeeded, and stops.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, write_atomically, written_atomically
from ruleshift.lock import LOCK, InUse

SNAPSHOT = "snapshot.json"
MOST_BYTES = 64_000_000  # of a list of files
DIGEST = re.compile(r"[0-9a-f]{64}")
TEMPORARY = ".tmp-"  # files that are being written


class StoreError(RuleshiftError):
    """A store that cannot be read, or written to."""


@dataclass(frozen=True)
class StoredFile:
    """What a file holds: SHA-256 as hexadecimal digits, and bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class Snapshot:
    """A folder as it was: its files by their paths within it, and the mark of its writer."""

    mark: str
    files: Mapping[str, StoredFile]


class Store:
    """The objects below a URL that fsspec reads: s3://BUCKET/NAME, gs://BUCKET/NAME, file:///FOLDER ...

    Raises StoreError where there is no such store; as all methods do where it cannot be used.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import split_protocol, url_to_fs

        self.url = url.rstrip("/")
        local = split_protocol(url)[0] in ("file", "local")
        try:
            if "://" not in url:
                raise ValueError("it is no URL, such as s3://BUCKET/NAME")
            self.files, self.root = url_to_fs(self.url, **({"auto_mkdir": True} if local else {}))
        except (ImportError, ValueError, OSError) as error:
            raise StoreError(f"{url} cannot be used as a store ({reason_of(error)})") from error
        self.local = local

    def read(self, name: str) -> bytes | None:
        """What an object holds; None where there is none."""
        path = f"{self.root}/{name}"
        try:
            if self.files.size(path) > MOST_BYTES:
                raise StoreError(f"{self.url}/{name} is larger than {MOST_BYTES:,} bytes")
            content: bytes = self.files.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:  # every kind of store has its own
            raise self._unusable(error) from error
        return content

    def write(self, name: str, content: bytes) -> None:
        """An object, in one piece."""
        path = f"{self.root}/{name}"
        try:
            if self.local:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
            else:
                self.files.pipe_file(path, content)
        except Exception as error:
            raise self._unusable(error) from error

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        try:
            with suppress(FileNotFoundError):
                self.files.rm_file(f"{self.root}/{name}")
        except Exception as error:
            raise self._unusable(error) from error

    def upload(self, file: Path, name: str) -> None:
        try:
            self.files.put_file(str(file), f"{self.root}/{name}")
        except FileNotFoundError:  # it went meanwhile
            raise
        except Exception as error:
            raise self._unusable(error) from error

    def download(self, name: str, file: Path) -> None:
        try:
            self.files.get_file(f"{self.root}/{name}", str(file))
        except Exception as error:
            raise self._unusable(error) from error

    def snapshot(self, name: str) -> Snapshot | None:
        """That of a folder; None where there is none."""
        content = self.read(f"{name}/{SNAPSHOT}")
        if content is None:
            return None
        try:
            found = json.loads(content)
            files = {inside(path): _stored_file(entry) for path, entry in found["files"].items()}
            return Snapshot(str(found["mark"]), files)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{self.url}/{name}/{SNAPSHOT} is not the list of a folder ({reason_of(error)}): delete {name} there, "
                "which is then made anew"
            ) from error

    def fetch(self, name: str, folder: Path, wanted: Callable[[str], bool] | None = None) -> bool:
        """Make a folder what its snapshot says, but for its lock; whether there is one. With `wanted`, fetch these
        files alone, the lock if it is among them, and leave all others as they are."""
        snapshot = self.snapshot(name)
        if snapshot is None:
            return False
        for path, entry in snapshot.files.items():
            if path != LOCK if wanted is None else wanted(path):
                self._fetch_file(name, entry, folder / path)
        if wanted is None:
            for path in files_in(folder) - snapshot.files.keys() - {LOCK}:
                _remove(folder, path)
        return True

    def _fetch_file(self, name: str, entry: StoredFile, target: Path) -> None:
        if target.is_file() and target.stat().st_size == entry.size and _digest(target) == entry.digest:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_atomically(target) as temporary:
            self.download(f"{name}/objects/{entry.digest}", temporary)
            if _digest(temporary) != entry.digest:
                raise StoreError(f"{self.url}/{name} is damaged: delete it there, and it is made anew")

    def outline(self, name: str, folder: Path, wanted: Callable[[str], bool]) -> None:
        """A folder with the files of a snapshot, of which those that are not `wanted` have their sizes alone."""
        snapshot = self.snapshot(name)
        for path, entry in snapshot.files.items() if snapshot else ():
            if wanted(path):
                self._fetch_file(name, entry, folder / path)
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
            os.truncate(folder / path, entry.size)

    def _unusable(self, error: Exception) -> StoreError:
        return error if isinstance(error, StoreError) else StoreError(f"{self.url} cannot be used: {reason_of(error)}")


class Copy:
    """A folder here whose snapshots go to a store, under a mark of our own."""

    def __init__(self, store: Store, name: str, folder: Path, mark: str) -> None:
        self.store, self.name, self.folder, self.mark = store, name, folder, mark
        self.known: dict[tuple[str, int, int], str] = {}  # digests, by path, time and size

    def claim(self) -> None:
        """Make the folder what the store has of it; from now on we are who writes it there."""
        before = self.store.snapshot(self.name)
        self._write(before.files if before else {})
        self.store.fetch(self.name, self.folder)

    def push(self, over: bool = False) -> None:
        """A snapshot of the folder as it is: nobody may write to it meanwhile. Raises InUse where another has claimed
        it since we did, unless what is there is to be written over."""
        before = self.store.snapshot(self.name)
        stored = {entry.digest for entry in before.files.values()} if before else set[str]()
        files = self._here()
        for path, entry in files.items():
            if entry.digest not in stored:
                self.store.upload(self.folder / path, f"{self.name}/objects/{entry.digest}")
        now = None if over else self.store.snapshot(self.name)
        if now is not None and now.mark != self.mark:
            raise InUse(f"{self.store.url}/{self.name} is in use by another: {now.mark}")
        self._write(files)
        for digest in stored - {entry.digest for entry in files.values()}:
            self.store.remove(f"{self.name}/objects/{digest}")

    def _here(self) -> dict[str, StoredFile]:
        return {path: self._stored_file(path) for path in sorted(files_in(self.folder))}

    def _stored_file(self, path: str) -> StoredFile:
        state = (self.folder / path).stat()
        key = (path, state.st_mtime_ns, state.st_size)
        if key not in self.known:
            self.known[key] = _digest(self.folder / path)
        return StoredFile(self.known[key], state.st_size)

    def _write(self, files: Mapping[str, StoredFile]) -> None:
        content = {"mark": self.mark, "files": {path: asdict(entry) for path, entry in files.items()}}
        self.store.write(f"{self.name}/{SNAPSHOT}", json.dumps(content).encode())


def files_in(folder: Path) -> set[str]:
    """The paths of the files of a folder, within it, but for those that are being written; none where there is no such
    folder."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(TEMPORARY) for part in path.relative_to(folder).parts)
    }


def _remove(folder: Path, path: str) -> None:
    """Remove a file, and folders that hold nothing without it."""
    (folder / path).unlink(missing_ok=True)
    for parent in [folder / up for up in PurePosixPath(path).parents][:-1]:
        with suppress(OSError):  # it holds more
            parent.rmdir()


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def inside(path: Any) -> str:
    """A path that leads nowhere else. Raises ValueError for others."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("a file of it lies elsewhere")
    return str(PurePosixPath(path))


def _stored_file(content: Mapping[str, Any]) -> StoredFile:
    digest, size = content["digest"], content["size"]
    if not (isinstance(digest, str) and DIGEST.fullmatch(digest) and isinstance(size, int) and size >= 0):
        raise ValueError("a file of it has no digest or size")
    return StoredFile(digest, size)
