"""Snapshots of folders in an object store, and what is read of one that is damaged, hostile, away, or another's."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import refusal
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.lock import SILENT, InUse, Owner
from ruleshift.runs import RunFolder
from ruleshift.studies import home as homes
from ruleshift.studies import store as stores
from ruleshift.studies.board import Expected
from ruleshift.studies.home import HOLDER, StoredHome, holder_of, home_of, make_apart, outlined, reached
from ruleshift.studies.pool import Job, News
from ruleshift.studies.progress import JobEntry, StudyRecord, Totals, load_record, states_of
from ruleshift.studies.store import Store, StoreError, Taken
from ruleshift.studies.study import Origin, Run, StartModel
from study_helpers import MEASUREMENT, SFT

NAME = "gp-l/arms/sft-seed0"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(homes, "SETTLES", 0.0)


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


def brought(store: Store, folder: Path, name: str = NAME) -> dict[str, str]:
    assert store.fetch(name, folder)
    return contents(folder)


def objects(tmp_path: Path) -> int:
    return sum(len(path.name) == 64 for path in (tmp_path / "store" / NAME).rglob("*"))


# Snapshots


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_folder_comes_back_as_it_was(tmp_path: Path, kind: str) -> None:
    store = Store(f"file://{tmp_path}/store" if kind == "file" else f"memory://{time.time_ns()}")
    files = {"metrics.jsonl": "1\n", "models/step-000002/x": "a", "models/step-000002/y": "a", "a\\b": "2", "ü": ""}
    here = filled(tmp_path / "here", **files)
    filled(here, **{".tmp-1": "half", "models/.tmp-2/z": "half", "lock": "held"})
    Taken(store, NAME, here).push()
    there = filled(tmp_path / "there", **{"models/step-000001/x": "of another state", "metrics.jsonl": "1\n"})
    assert brought(store, there) == files
    assert not (there / "models" / "step-000001").exists()  # an empty folder would count as a model
    assert {path.name for path in tmp_path.iterdir()} <= {"here", "there", "store"}
    assert not store.fetch("gp-l/arms/rl", tmp_path / "none")


def test_what_is_gone_from_a_folder_goes_from_the_store_a_snapshot_later(tmp_path: Path, store: Store) -> None:
    here = filled(tmp_path / "here", one="1", two="2", three="2")
    taken = Taken(store, NAME, here)
    taken.push()
    assert objects(tmp_path) == 2  # what holds the same is there once
    (here / "two").unlink()
    filled(here, one="1 and more")
    taken.push()
    assert objects(tmp_path) == 3  # whoever reads the list before finds what it says
    taken.push(ended=True)
    assert objects(tmp_path) == 2
    assert brought(store, tmp_path / "there") == {"one": "1 and more", "three": "2"}


def test_what_comes_back_is_kept(tmp_path: Path, store: Store) -> None:
    taken = Taken(store, NAME, filled(tmp_path / "here", one="1"))
    for content in ("1", "2", "1", "1"):
        filled(taken.folder, one=content)
        taken.push()
    assert brought(store, tmp_path / "there") == {"one": "1"}


def test_who_was_succeeded_writes_nothing_more(tmp_path: Path, store: Store) -> None:
    first = Taken(store, NAME, filled(tmp_path / "first", **{"metrics.jsonl": "1\n", "old": "x"}))
    first.push()
    second = Taken(store, NAME, tmp_path / "second")
    second.bring()
    assert contents(second.folder) == {"metrics.jsonl": "1\n", "old": "x"}  # from where the first came to
    filled(first.folder, **{"metrics.jsonl": "1\n2 of the first\n"})
    with pytest.raises(InUse, match="in use by another"):
        first.push()
    filled(second.folder, **{"metrics.jsonl": "1\n2\n"})
    second.push(ended=True)
    assert brought(store, tmp_path / "there") == {"metrics.jsonl": "1\n2\n", "old": "x"}


def test_a_list_that_comes_late_is_read_by_nobody(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former taker was stopped between its last look at whose the folder is and its list."""
    first = Taken(store, NAME, filled(tmp_path / "first", one="1"))
    first.push()
    seconds: list[Taken] = []
    look = stores._taker

    def looked(*where: Any) -> dict[str, Any]:
        found = look(*where)
        if not seconds:
            monkeypatch.setattr(stores, "_taker", look)
            seconds.append(Taken(store, NAME, tmp_path / "second"))
            seconds[0].bring()
            filled(tmp_path / "second", one="1 of the second")
            seconds[0].push(ended=True)
        return found

    filled(first.folder, one="1 of the first")
    monkeypatch.setattr(stores, "_taker", looked)
    first.push(ended=False)
    assert brought(store, tmp_path / "there") == {"one": "1 of the second"}
    third = Taken(store, NAME, tmp_path / "third")
    third.bring()
    assert contents(third.folder) == {"one": "1 of the second"}


def test_takers_that_die_at_once_lose_nothing(tmp_path: Path, store: Store) -> None:
    Taken(store, NAME, filled(tmp_path / "first", one="1")).push()
    for _ in range(3):
        Taken(store, NAME, tmp_path / "dies")
    assert brought(store, tmp_path / "there") == {"one": "1"}


def test_a_list_that_is_replaced_while_it_is_read_is_read_anew(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Taken(store, NAME, filled(tmp_path / "here", one="1", two="2"))
    taken.push()
    download = store.download

    def meanwhile(name: str, file: Path) -> bool:
        monkeypatch.setattr(store, "download", download)
        filled(taken.folder, one="3", two="4")
        taken.push(ended=True)
        return download(name, file)

    monkeypatch.setattr(store, "download", meanwhile)
    assert brought(store, tmp_path / "there") == {"one": "3", "two": "4"}


def test_what_fails_is_tried_again(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    put = store.files.put_file

    def slow_down(*where: Any) -> None:
        calls.append("put")
        if len(calls) < 3:
            raise OSError("503 Slow Down")
        put(*where)

    monkeypatch.setattr(store.files, "put_file", slow_down)
    Taken(store, NAME, filled(tmp_path / "here", one="1")).push()
    assert len(calls) == 3
    assert brought(store, tmp_path / "there") == {"one": "1"}
    monkeypatch.setattr(store.files, "put_file", lambda *where: (_ for _ in ()).throw(OSError("503 Slow Down")))
    with pytest.raises(StoreError, match="cannot be used: 503 Slow Down"):
        Taken(store, NAME, filled(tmp_path / "other", one="2")).push()


def listing(**files: Any) -> bytes:
    return json.dumps({"ended": True, "files": files}).encode()


GOOD = {"digest": "0" * 64, "size": 1, "mark": "0" * 16}


@pytest.mark.parametrize(
    "content",
    [
        *(
            listing(**{path: GOOD})
            for path in ("../out", "/etc/out", "a/../../out", "", "a\0b", "x" * 300, "y/" * 2000)
        ),
        *(listing(x={**GOOD, name: value}) for name, value in [("digest", 3), ("size", -1), ("size", 2**62)]),
        listing(x={**GOOD, "mark": "../../other-mark"}),
        listing(x={**GOOD, "size": 10**400}),
        b'{"ended": true, "files": {"\\ud800": {}}}',
        b'{"files": []}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_nothing_of_a_store_lands_elsewhere(tmp_path: Path, store: Store, content: bytes) -> None:
    Taken(store, NAME, filled(tmp_path / "here", one="1")).push()
    (listed,) = (tmp_path / "store" / NAME).glob("*/list.json")
    listed.write_bytes(content)
    with pytest.raises(StoreError, match=f"{NAME} holds no snapshot of a folder .*: delete {NAME} there"):
        store.fetch(NAME, tmp_path / "there" / "deep")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize("path", ["one/two", "one"])
def test_a_folder_that_cannot_be_is_told(tmp_path: Path, store: Store, path: str) -> None:
    Taken(store, NAME, filled(tmp_path / "here", one="1")).push()
    (listed,) = (tmp_path / "store" / NAME).glob("*/list.json")
    known = json.loads(listed.read_bytes())
    (tmp_path / "store" / NAME / known["files"]["one"]["mark"] / known["files"]["one"]["digest"]).write_text("2")
    listed.write_bytes(json.dumps({**known, "files": {**known["files"], path: known["files"]["one"]}}).encode())
    there = filled(tmp_path / "there", kept="as it was")
    with pytest.raises(StoreError, match=r"they are damaged: delete it there|cannot make here what"):
        store.fetch(NAME, there)
    assert contents(there) == {"kept": "as it was"}


def test_a_folder_that_is_the_same_keeps_its_files(tmp_path: Path, store: Store) -> None:
    """They may be linked to those of another study."""
    here = filled(tmp_path / "arms" / "here", one="1", **{"metrics.jsonl": "1\n"})
    taken = Taken(store, NAME, here)
    taken.push()
    before = (here / "one").stat().st_ino
    assert store.fetch(NAME, here)
    assert (here / "one").stat().st_ino == before
    filled(taken.folder, two="2")
    taken.push(ended=True)
    (here / "two").unlink()
    assert brought(store, here).keys() == {"one", "two", "metrics.jsonl"}
    assert (here / "one").stat().st_ino == before


@pytest.mark.parametrize("killed_at", ["first", "second"])
def test_a_folder_that_was_to_be_replaced_is_put_back(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    run = run_in(tmp_path / "out" / "gp-l" / "arms" / "sft-seed0", one="1")
    Taken(store, NAME, filled(tmp_path / "a" / "new", one="2")).push(ended=True)
    rename, calls = Path.rename, [*(["first"] if killed_at == "second" else [])]

    def killed(self: Path, target: Path) -> Path:
        if not calls:
            raise KeyboardInterrupt
        calls.pop()
        return rename(self, target)

    before = contents(run)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            store.fetch(NAME, run)
    homes.Home(tmp_path / "out").meet({run: SETTINGS})  # without the store, too
    assert contents(run) == before
    assert [path.name for path in (tmp_path / "out" / "gp-l").iterdir()] == ["arms"]
    filled(stores._beside(run)[1], one="0")  # killed before the old one was removed
    assert brought(store, run) == {"one": "2"}
    assert [path.name for path in (tmp_path / "out" / "gp-l").iterdir()] == ["arms"]


def test_what_cannot_be_replaced_stays(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = filled(tmp_path / "out" / "gp-l" / "arms" / "x", one="1")
    Taken(store, NAME, filled(tmp_path / "a" / "new", one="2")).push(ended=True)
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if target == run and "old" not in self.name:
            raise OSError("the disk is full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(StoreError, match=r"cannot make here what .*: the disk is full"):
        store.fetch(NAME, run)
    assert contents(run) == {"one": "1"}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("runs/x", "it is no URL of a folder, such as s3://BUCKET/NAME"),
        ("s3://", "it is no URL of a folder"),
        ("file://", "it is no URL of a folder"),
        ("simplecache::file:///x", "it is no URL of a folder"),
        ("file://relative", "it is no URL of a folder"),
        ("nothing://x/y", "nothing"),
        ("github://a", "cannot be used as a store"),
    ],
)
def test_what_is_no_store_is_told(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says):
        Store(url)


# A study in a store


@pytest.fixture
def home(tmp_path: Path, store: Store) -> StoredHome:
    return StoredHome(tmp_path / "out", store.url, store=store)


SETTINGS = {"arm": "sft"}


def run_in(folder: Path, settings: dict[str, str] = SETTINGS, **files: str) -> Path:
    with RunFolder.open(folder, settings):
        filled(folder, **files)
    return folder


def test_whoever_has_come_further_is_kept(tmp_path: Path, store: Store, home: StoredHome) -> None:
    run, other = tmp_path / "out" / NAME, tmp_path / "other"
    run_in(run, **{"checkpoints/step-000002/x": "2", "points/000000.json": "0"})
    home.meet({run: SETTINGS})  # the store has nothing of it
    first = brought(store, other)
    assert first.keys() >= {"config.json", "points/000000.json"}
    filled(other, **{"checkpoints/step-000010/x": "10"})
    Taken(store, NAME, other).push(ended=True)
    home.meet({run: SETTINGS})
    assert contents(run) == contents(other)
    filled(run, **{"points/000010.json": "10"})  # made here, without the store
    home.meet({run: SETTINGS})
    assert brought(store, other) == contents(run)
    Taken(store, f"{NAME}x", tmp_path / "nothing").push()  # one that had not begun
    home.meet({run_in(tmp_path / "out" / f"{NAME}x", **{"samples/x": "1"}): SETTINGS})
    assert (tmp_path / "out" / f"{NAME}x" / "samples" / "x").is_file()
    Taken(store, f"{NAME}y", tmp_path / "nothing").push()
    home.meet({tmp_path / "out" / f"{NAME}y": SETTINGS})
    assert not (tmp_path / "out" / f"{NAME}y").exists()  # a folder would count as begun
    filled(other, **{"metrics.jsonl": "as far, and by another machine"})
    Taken(store, NAME, other).push(ended=True)
    home.meet({run: SETTINGS})
    assert contents(run) == contents(other)


def test_how_far_a_run_has_come() -> None:
    order: list[list[str]] = [
        [],
        ["config.json"],
        [f"models/step-{step:06d}/{file}" for step in range(8) for file in "xy"],
        ["checkpoints/step-000002/x", "models/step-000001/x"],
        ["checkpoints/step-000010/x"],
        ["diverged.json"],
        ["points/000000.json"],
    ]
    assert sorted(map(reached, order)) == [*map(reached, order)]
    assert len({*map(reached, order)}) == len(order)


@pytest.mark.parametrize("foreign", ["here", "there"])
def test_a_store_of_another_study_is_left_alone(tmp_path: Path, store: Store, home: StoredHome, foreign: str) -> None:
    run, other = tmp_path / "out" / NAME, tmp_path / "other"
    fine = run_in(tmp_path / "out" / "gp-l" / "arms" / "a", **{"points/000000.json": "0"})
    run_in(run, {"arm": "ours"}, **{"points/000000.json": "0"})
    run_in(other, {"arm": "theirs"}, **{"points/000000.json": "0", "points/000001.json": "1"})
    Taken(store, NAME, other).push(ended=True)
    before = contents(tmp_path)
    wanted = {"arm": "ours" if foreign == "there" else "theirs"}
    with pytest.raises(RuleshiftError, match="holds a run with another configuration"):
        home.meet({fine: SETTINGS, run: wanted})
    assert contents(tmp_path) == before


def test_start_models_of_one_weight_are_told_apart(
    tmp_path: Path, store: Store, home: StoredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    starts = [StartModel(f"models/{name}", weights="w") for name in "ab"]
    for start in starts:
        filled(Path(start.name), **{"config.json": start.name})
        home.give_start(start)
    filled(Path("models/a"), **{"config.json": "edited"})
    home.give_start(starts[0])
    for start, content in zip(starts, ("edited", "models/b"), strict=True):
        assert brought(store, tmp_path / "there", homes._place(start)) == {"config.json": content}


@pytest.fixture
def job(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A run that goes on from another, from a start model, in an empty folder of a machine."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    homes._give_sign(store, Owner(7, "far", "boot", 1.0))
    first = Run("sft", 0, SFT, (0, 3))
    second = Run("more", 0, SFT, (0, 3), start=Origin(first, 3))
    third = Run("rl", 0, SFT, (0, 3), start=Origin(second, 3))
    return Job(third, StartModel("models/a"), MEASUREMENT, Path("runs/x/gp-l/arms"))


Work = Callable[[Job, Callable[[int], object]], object]


def made(job: Job, store: Store, monkeypatch: pytest.MonkeyPatch, work: Work, every: float = 0.0) -> None:
    def outcome(job: Job, progress: Callable[[int], object], threads: int) -> News:
        work(job, progress)
        return News(ended="well")

    monkeypatch.setattr(homes, "outcome", outcome)
    assert make_apart(job, store, "gp-l/arms", every, 1).ended == "well"


def test_a_machine_begins_with_what_the_store_has_and_gives_what_it_makes(
    tmp_path: Path, store: Store, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "BEAT", 0.01)
    for name in ("arms/sft-seed0", "arms/more-seed0", "arms/rl-seed0"):
        Taken(store, f"gp-l/{name}", filled(tmp_path / "far" / name, one=name)).push(ended=True)
    Taken(store, homes._place(job.start), filled(tmp_path / "start", config="1")).push(ended=True)
    there = Path("runs/x/gp-l/arms")

    def work(job: Job, progress: Callable[[int], object]) -> None:
        assert contents(Path("models/a")) == {"config": "1"}
        for run in ("sft-seed0", "more-seed0", "rl-seed0"):
            assert contents(there / run) == {"one": f"arms/{run}"}
        begun = store.snapshot("gp-l/arms/rl-seed0")
        filled(there / "rl-seed0", two="2", lock="held")
        progress(1)
        halfway = store.snapshot("gp-l/arms/rl-seed0")
        assert begun is not None
        assert halfway is not None
        assert (begun.files.keys(), halfway.files.keys()) == ({"one"}, {"one", "two"})
        assert not halfway.ended
        time.sleep(0.1)
        later = store.snapshot("gp-l/arms/rl-seed0")
        assert later is not None
        assert later.seen > halfway.seen > 0
        with monkeypatch.context() as away:
            away.setattr(store.files, "put_file", lambda *where: 1 / 0)
            filled(there / "rl-seed0", three="3")
            progress(2)  # the next snapshot makes up for one that fails

    made(job, store, monkeypatch, work)
    end = store.snapshot("gp-l/arms/rl-seed0")
    assert end is not None
    assert (end.files.keys(), end.ended) == ({"one", "two", "three"}, True)


def test_a_machine_that_was_succeeded_stops(
    tmp_path: Path, store: Store, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(job: Job, progress: Callable[[int], object]) -> None:
        Taken(store, "gp-l/arms/rl-seed0", tmp_path / "other")
        progress(1)
        raise AssertionError

    with pytest.raises(InUse):
        made(job, store, monkeypatch, work)


@pytest.mark.parametrize("name", ["{tmp_path}/abs", "../up", "."])
def test_a_machine_writes_in_its_own_folder_alone(
    tmp_path: Path, store: Store, job: Job, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = StartModel(name.format(tmp_path=tmp_path))
    there = filled(Path(start.name), **{"adapter/other.bin": "1"})
    Taken(store, homes._place(start), filled(tmp_path / "planted", x="1")).push()
    made(replace(job, start=start), store, monkeypatch, lambda job, progress: None)
    assert contents(there) == {"adapter/other.bin": "1"}


def test_a_store_that_a_machine_does_not_see_is_told(tmp_path: Path, store: Store, home: StoredHome, job: Job) -> None:
    store.remove(HOLDER)
    with pytest.raises(RuleshiftError, match="name a store that all machines of the cluster see"):
        make_apart(job, store, "gp-l/arms", 1.0, 1)
    with pytest.raises(StoreError, match="is not there, though its run was made"):
        home.bring(tmp_path / "out" / NAME)


def test_one_command_at_a_time_has_a_store(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with home_of(Path("out"), store.url, "x"):
        with pytest.raises(InUse, match=f"in use by process {os.getpid()}"), home_of(Path("other"), store.url, "x"):
            pass
        assert holder_of(store) is not None
    assert holder_of(store) is None
    for seen, lives in ((time.time(), True), (time.time() - 2 * SILENT, False), (1e300, False)):
        far = Owner(7, "far", "another boot", 1.0)
        store.write(HOLDER, json.dumps({**asdict(far), "seen": seen}).encode())
        if lives:
            with pytest.raises(InUse, match="process 7 on far"), home_of(Path("out"), store.url, "x"):
                pass
        else:
            with home_of(Path("out"), store.url, "x"):
                assert holder_of(store) != far
    for content in (b'{"seen": [', b'{"seen": 1e999}', b'{"seen": 1' + b"0" * 400 + b"}"):
        store.write(HOLDER, content)
        assert holder_of(store) is None


def test_of_two_commands_that_begin_at_once_one_goes_on(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    far = Owner(7, "far", "another boot", 1.0)
    monkeypatch.setattr(time, "sleep", lambda seconds: homes._give_sign(store, far))
    with pytest.raises(InUse, match="process 7 on far"), home_of(Path("out"), store.url, "x"):
        pass


def test_who_was_succeeded_as_a_holder_is_ended(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(homes, "BEAT", 0.01)
    far, ended = Owner(7, "far", "another boot", 1.0), list[Owner]()
    monkeypatch.setattr(homes, "stop_after", lambda owner, what: ended.append(owner))
    with home_of(Path("out"), store.url, "x"):
        first = holder_of(store)
        time.sleep(0.1)
        later = holder_of(store)
        assert first is not None
        assert later is not None
        assert later.silent < 0.1  # signs go on
        homes._give_sign(store, far)
        time.sleep(0.2)
    assert ended == [far]
    now = holder_of(store)
    assert now is not None
    assert now.owner == far  # whose it stays


def test_a_store_has_one_study(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with home_of(Path("out"), store.url, "headline"):
        pass
    with (
        pytest.raises(RuleshiftError, match="holds the study 'headline': choose another --store"),
        home_of(Path("other"), store.url, "no-sft"),
    ):
        pass
    with home_of(Path("out"), store.url, "headline"):
        pass


@pytest.mark.parametrize("out", ["/tmp/x", "../x", "."])
def test_a_folder_that_others_cannot_have_is_refused(store: Store, out: str) -> None:
    says = "with --store name a folder below the current one, as runs/"
    with pytest.raises(RuleshiftError, match=says), home_of(Path(out), store.url, "x"):
        pass


def test_a_store_in_the_folder_of_the_study_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    says = "choose another place than --out"
    with pytest.raises(RuleshiftError, match=says), home_of(Path("out"), f"file://{tmp_path}", "x"):
        pass


def test_a_store_tells_how_far_a_study_is(
    tmp_path: Path, store: Store, home: StoredHome, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = tuple(
        JobEntry(f"gp-l {name}", "gp-l SFTConfig", f"gp-l/arms/{name}", 10, (10,), False, Expected(1.0))
        for name in ("done", "running", "stopped", "waiting")
    )
    home.out.mkdir()
    record = StudyRecord("ruleshift study x", time.time(), entries, 0.0, Totals(0.0, 30.0, 1, 1), store=store.url)
    record.save(home.out)
    home.give_files(home.out)
    done, *begun = (tmp_path / "work" / name for name in ("done", "running", "stopped"))
    filled(done, **{"points/000010.json": "{}", "points/000010.parquet": "x" * 1000})
    Taken(store, "gp-l/arms/done", done).push(ended=True)
    for run in begun:
        taken = Taken(store, f"gp-l/arms/{run.name}", filled(run, **{"metrics.jsonl": '{"step": 4}\n'}))
        taken.push()
        if run.name == "stopped":
            store.write(f"{taken.name}/{taken.mark}/seen", b"1.0")
    with outlined(store.url) as folder:
        states = states_of(load_record(folder), folder)
        assert [state.standing for state in states] == ["done", "running", "stopped", "waiting"]
        assert [state.done for state in states] == [10, 4, 4, 0]
        steps = [home.step(home.out / "gp-l" / "arms" / state.entry.name[5:]) for state in states]
        assert steps == [None, 4, None, None]  # of runs that somebody works at
    store.write(HOLDER, json.dumps({**asdict(Owner(8, "far", "boot", time.time())), "seen": time.time()}).encode())
    for where in (store.url, home.out):  # the folder knows where more is known
        main(["study", "status", str(where)])
        told = capsys.readouterr().out
        assert "at work: process 8 on far" in told
        assert "1 done, 1 running, 1 stopped, 1 waiting" in told
    away = replace(record, store=f"{store.url}/away")
    away.save(home.out)
    main(["study", "status", str(home.out)])
    assert "of runs at work its store knows more, but: " in capsys.readouterr().out
    replace(away, took=away.estimated).save(home.out)
    main(["study", "status", str(home.out)])
    assert "its store" not in capsys.readouterr().out  # which knows nothing more
    (home.out / "study.json").write_text(json.dumps({**asdict(record), "store": 3}))
    assert "is damaged, or of another version" in refusal(capsys, "study", "status", home.out)
    said = refusal(capsys, "study", "status", f"{store.url}/none")
    assert said.startswith(f"error: {store.url}/none holds no study.json: name the URL")
    for folder in ("../x", "", 3):
        hostile = replace(record, entries=(replace(entries[0], folder=folder),))  # type: ignore[arg-type]
        store.write("study.json", json.dumps(asdict(hostile)).encode())
        assert refusal(capsys, "study", "status", store.url).endswith("study.json is damaged, or of another version")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--store", "s3://bucket/x"], "--run-cpus, --run-gpus and --store are for a cluster: give --ray"),
        (["--ray", "--store", "ftp://me:secret@far/x"], "give credentials by the environment, not in the URL"),
        (["--ray", "--store", "s3://bucket/x?secret=1"], "give credentials by the environment, not in the URL"),
    ],
)
def test_stores_that_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    said = refusal(capsys, "study", "headline", "--out", tmp_path / "out", *options)
    assert says in said
    assert "secret" not in said
    assert not (tmp_path / "out").exists()
