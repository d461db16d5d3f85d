"""Snapshots of folders in an object store, and what is read of one that is damaged, hostile, or held by another."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from cli_helpers import refusal
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.lock import SILENT, InUse, Owner
from ruleshift.studies.board import Expected
from ruleshift.studies.home import HOLDER, StoredHome, holder_of, home_of, outlined, reached
from ruleshift.studies.progress import JobEntry, StudyRecord, Totals, load_record, states_of
from ruleshift.studies.store import Copy, Store, StoreError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/store")


def filled(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def objects(tmp_path: Path, name: str) -> int:
    return len([*(tmp_path / "store" / name / "objects").iterdir()])


@pytest.mark.parametrize("url", ["file", "memory"])
def test_a_folder_comes_back_as_it_was(tmp_path: Path, url: str) -> None:
    store = Store(f"file://{tmp_path}/store" if url == "file" else f"memory://{time.time_ns()}")
    files = {"metrics.jsonl": "1\n", "models/step-000002/x": "a", "models/step-000002/y": "a"}
    here = filled(tmp_path / "here", **files)
    filled(here, **{".tmp-1": "half", "models/.tmp-2/z": "half"})
    Copy(store, "gp-l/arms/sft", here, "me").push()
    there = filled(tmp_path / "there", **{"models/step-000001/x": "of another state", "lock": "held here"})
    assert store.fetch("gp-l/arms/sft", there)
    assert contents(there) == {**files, "lock": "held here"}
    assert not (there / "models" / "step-000001").exists()  # an empty folder would count as a model
    assert not store.fetch("gp-l/arms/rl", tmp_path / "none")


def test_what_is_gone_from_a_folder_goes_from_the_store(tmp_path: Path, store: Store) -> None:
    here = filled(tmp_path / "here", one="1", two="2", three="2")
    copy = Copy(store, "run", here, "me")
    copy.push()
    assert objects(tmp_path, "run") == 2  # what holds the same is there once
    (here / "two").unlink()
    filled(here, one="1 and more")
    copy.push()
    assert objects(tmp_path, "run") == 2
    assert store.fetch("run", tmp_path / "there")
    assert contents(tmp_path / "there") == {"one": "1 and more", "three": "2"}


def test_who_was_succeeded_writes_nothing_more(tmp_path: Path, store: Store) -> None:
    first = Copy(store, "run", filled(tmp_path / "first"), "the first")
    first.claim()
    filled(first.folder, **{"metrics.jsonl": "1\n"})
    first.push()
    second = Copy(store, "run", tmp_path / "second", "the second")
    second.claim()
    assert contents(second.folder) == {"metrics.jsonl": "1\n"}  # from where the first came to
    filled(first.folder, **{"metrics.jsonl": "1\n2 of the first\n"})
    with pytest.raises(InUse, match="in use by another: the second"):
        first.push()
    filled(second.folder, **{"metrics.jsonl": "1\n2\n"})
    second.push()
    store.fetch("run", tmp_path / "there")
    assert contents(tmp_path / "there") == {"metrics.jsonl": "1\n2\n"}


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "", "a\\b", "a\0b", 3])
def test_no_file_of_a_store_lands_elsewhere(tmp_path: Path, store: Store, path: object) -> None:
    name = json.dumps(path) if isinstance(path, str) else '"x"'
    digest = '"digest": "' + "0" * 64 + '"' if isinstance(path, str) else '"digest": 3'
    store.write("run/snapshot.json", f'{{"mark": "m", "files": {{{name}: {{{digest}, "size": 1}}}}}}'.encode())
    with pytest.raises(StoreError, match="not the list of a folder"):
        store.fetch("run", tmp_path / "there" / "deep")
    assert not (tmp_path / "there").exists()


def test_a_damaged_object_is_not_taken(tmp_path: Path, store: Store) -> None:
    Copy(store, "run", filled(tmp_path / "here", one="1"), "me").push()
    (stored,) = (tmp_path / "store" / "run" / "objects").iterdir()
    stored.write_text("2")
    with pytest.raises(StoreError, match="is damaged: delete it there"):
        store.fetch("run", tmp_path / "there")
    assert contents(tmp_path / "there") == {}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("runs/x", "it is no URL, such as s3://BUCKET/NAME"),
        ("nothing://x/y", "nothing"),
        ("s3://bucket/x", "s3fs"),
    ],
)
def test_no_store_is_told(url: str, says: str) -> None:
    if url.startswith("s3"):
        try:
            import s3fs  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("s3fs is installed")
    with pytest.raises(StoreError, match=says):
        Store(url)


def test_whoever_has_come_further_is_kept(tmp_path: Path, store: Store) -> None:
    home = StoredHome(tmp_path / "out", store)
    run = tmp_path / "out" / "gp-l" / "arms" / "sft-seed0"
    filled(run, **{"config.json": "{}", "checkpoints/step-000002/x": "2", "points/000000.json": "0"})
    home.meet([run])  # the store has nothing of it
    other = tmp_path / "other"
    store.fetch("gp-l/arms/sft-seed0", other)
    assert contents(other) == contents(run)
    filled(other, **{"checkpoints/step-000010/x": "10"})
    Copy(store, "gp-l/arms/sft-seed0", other, "another machine").push(over=True)
    home.meet([run])
    assert contents(run) == contents(other)
    filled(run, **{"points/000010.json": "10"})  # made here, without the store
    home.meet([run])
    assert store.fetch("gp-l/arms/sft-seed0", other)
    assert contents(other) == contents(run)
    assert reached(contents(run)) == (2, 10)


def test_one_command_at_a_time_has_a_store(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with home_of(Path("out"), store.url):
        with pytest.raises(InUse, match=f"in use by process {os.getpid()}"), home_of(Path("other"), store.url):
            pass
        assert holder_of(store) is not None
    assert holder_of(store) is None
    for seen, lives in ((time.time(), True), (time.time() - 2 * SILENT, False)):
        far = Owner(7, "far", "another boot", seen - 100.0)
        store.write(HOLDER, json.dumps({**asdict(far), "seen": seen}).encode())
        if lives:
            with pytest.raises(InUse, match="process 7 on far"), home_of(Path("out"), store.url):
                pass
        else:
            with home_of(Path("out"), store.url):
                assert holder_of(store) != far
    store.write(HOLDER, b'{"seen": [')
    assert holder_of(store) is None


@pytest.mark.parametrize("out", ["/tmp/x", "../x"])
def test_a_folder_that_others_cannot_have_is_refused(store: Store, out: str) -> None:
    says = "with --store name a folder below the current one, as runs/x"
    with pytest.raises(RuleshiftError, match=says), home_of(Path(out), store.url):
        pass


def test_a_store_tells_how_far_a_study_is(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    entries = tuple(
        JobEntry(f"gp-l {name}", "gp-l SFTConfig", f"gp-l/arms/{name}", 10, (10,), False, Expected(1.0))
        for name in ("done", "running", "waiting")
    )
    StudyRecord("ruleshift study x", time.time(), entries, 0.0, Totals(0.0, 30.0, 1, 1)).save(out)
    home = StoredHome(out, store)
    home.give_files(out)
    done, running = (out / "gp-l" / "arms" / name for name in ("done", "running"))
    filled(done, **{"points/000010.json": "{}", "points/000010.parquet": "x" * 1000, "lock": ""})
    filled(running, **{"metrics.jsonl": '{"step": 4}\n', "lock": json.dumps(asdict(Owner(7, "far", "boot", 1.0)))})
    for run in (done, running):
        Copy(store, f"gp-l/arms/{run.name}", run, "me").push()
    with outlined(store.url) as folder:
        states = states_of(load_record(folder), folder)
        assert [state.standing for state in states] == ["done", "stopped", "waiting"]  # nobody holds the store
        assert [state.done for state in states] == [10, 4, 0]
    store.write(HOLDER, json.dumps({**asdict(Owner(8, "far", "boot", time.time())), "seen": time.time()}).encode())
    main(["study", "status", store.url])
    told = capsys.readouterr().out
    assert "at work: process 8 on far" in told
    assert "1 done, 1 running, 1 waiting" in told
    assert refusal(capsys, "study", "status", f"{store.url}/none").startswith(
        f"error: {store.url}/none holds no study.json: name the URL"
    )


def test_a_store_is_for_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "study", "headline", "--out", tmp_path / "out", "--store", f"file://{tmp_path}/store")
    assert said == "error: --run-cpus, --run-gpus and --store are for a cluster: give --ray, or leave them out"
    assert not (tmp_path / "out").exists()
