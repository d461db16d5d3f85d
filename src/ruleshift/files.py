"""Files that appear whole or not at all, and what can be written into them."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ruleshift.errors import RuleshiftError

_REMEDIES = {
    errno.ENOSPC: "free some space there, or choose another folder",
    errno.EDQUOT: "free some of your quota, or choose another folder",
    errno.EACCES: "choose a folder that you can write to",
    errno.EPERM: "choose a folder that you can write to",
    errno.EROFS: "choose a folder that you can write to",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "choose another path: part of this one is a file",
    errno.EISDIR: "choose another name: this one is a folder",
}


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that its name holds either what it held before or all of `data`, whatever happens meanwhile.

    The content goes to a temporary file in the same folder, to the disk (fsync), and then takes the name. Text is
    written as UTF-8. A link is followed, the folder must exist. A failure raises RuleshiftError and leaves no
    temporary file behind.
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with written_atomically(path) as temporary:
        _write_to_disk(temporary, content)


@contextmanager
def written_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """The temporary file of `write_atomically`, for content that is written piece by piece (and to the disk)."""
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        try:
            yield temporary
            os.replace(temporary, target)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "check the disk, or choose another folder")
        raise RuleshiftError(f"cannot write {os.fspath(path)} ({reason_of(error)}): {remedy}.") from error
    with suppress(OSError):  # the file is whole by now; some file systems cannot flush a folder
        _flush_folder(target.parent)


def writable(text: str) -> str:
    """Text without lone surrogates, for which UTF-8 has no bytes: `?` in their places."""
    return text.encode("utf-8", "replace").decode()


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return " ".join(text.split()) or type(error).__name__


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
