"""A file that is written atomically holds the old content or the new one, whatever happens."""

import errno
import os
from pathlib import Path

import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.files import write_atomically


def failing(error: BaseException):
    def fail(*_: object) -> None:
        raise error

    return fail


def test_text_and_bytes_are_written_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    write_atomically(target, "grüße\n")
    assert target.read_bytes() == "grüße\n".encode()
    write_atomically(str(target), b"\x00\xff")
    assert target.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    monkeypatch.setattr(os, call, failing(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(RuleshiftError, match=r"out\.json \(No space left on device\): free some space") as caught:
        write_atomically(target, "new")
    assert "\n" not in str(caught.value)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_the_content_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *args: (calls.append("fsync"), fsync(*args)))
    monkeypatch.setattr(os, "replace", lambda *args: (calls.append("replace"), replace(*args)))
    write_atomically(tmp_path / "out.json", "new")
    assert calls[:2] == ["fsync", "replace"]


def test_errors_name_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(RuleshiftError, match="create the folder"):
        write_atomically(tmp_path / "missing" / "out.json", "new")
    with pytest.raises(RuleshiftError, match="is a folder"):
        write_atomically(tmp_path, "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(RuleshiftError, match="is a file"):
        write_atomically(tmp_path / "file" / "out.json", "new")


def test_links_are_followed_and_permissions_are_the_usual_ones(tmp_path: Path) -> None:
    write_atomically(tmp_path / "real", "old")
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "real").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
