"""How far a study is, from its folder alone: at work here or elsewhere, killed, failed, diverged, done."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cli_helpers import refusal
from ruleshift.cli import main
from ruleshift.lock import SILENT, InUse, Owner, held, holding
from ruleshift.studies.board import Expected
from ruleshift.studies.costs import CostMeter, costs_in
from ruleshift.studies.progress import (
    JobEntry,
    StudyRecord,
    Totals,
    corrections,
    load_record,
    seconds_left,
    state_of,
    states_of,
)


def entry(name: str, length: int = 10, seconds: float = 100.0) -> JobEntry:
    expected = Expected(seconds / length)
    return JobEntry(f"gp-l {name}", "gp-l SFTConfig", f"gp-l/arms/{name}", length, (5, length), False, expected)


def far(since: float = 0.0, host: str = "far", pid: int = 7) -> str:
    """The lock of a process on another machine."""
    return json.dumps(asdict(Owner(pid, host, "another boot", since or time.time() - 100.0)))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of six runs, each of which stands in another way."""
    names = ("done", "running", "failed", "diverged", "stopped", "waiting")
    record = StudyRecord("ruleshift study x", time.time(), tuple(map(entry, names)), 0.0, Totals(0.0, 600.0, 1, 1))
    record.save(tmp_path)
    for name in names[:-1]:
        points = tmp_path / "gp-l" / "arms" / name / "points"
        points.mkdir(parents=True)
        (points.parent / "metrics.jsonl").write_text('{"step": 1}\n{"step": 4}\n{"step"')
        for step in (5, 10) if name == "done" else ():
            for kind in ("json", "parquet"):
                (points / f"{step:06d}.{kind}").touch()
    arms = tmp_path / "gp-l" / "arms"
    (arms / "running" / "lock").write_text(far())
    (arms / "failed" / "failed.json").write_text('{"why": "it is damaged\\nTraceback"}')
    (arms / "diverged" / "diverged.json").write_text('{"why": "a loss is nan"}')
    (arms / "stopped" / "lock").write_text(far())
    gone = time.time() - 2 * SILENT
    os.utime(arms / "stopped" / "lock", (gone, gone))
    return tmp_path


def test_every_run_stands_as_its_folder_says(study: Path) -> None:
    states = states_of(load_record(study), study)
    assert all(state.standing == state.entry.name.removeprefix("gp-l ") for state in states)
    assert [state.done for state in states] == [10, 4, 4, 4, 4, 0]
    assert [state.is_left for state in states] == [False, True, True, False, True, True]


def test_time_left_is_corrected_by_what_was_done(study: Path) -> None:
    record = load_record(study)
    states = states_of(record, study)
    assert seconds_left(record, states, study) == pytest.approx(3 * 60.0 + 100.0)  # 4 of 10 steps of three are done
    meter = CostMeter("gp-l SFTConfig")
    meter.began -= 50.0  # half as long as was thought
    for done in range(11):
        meter.reach(done)
    meter.save(study / "gp-l/arms/done")
    assert corrections(record.entries, study)["gp-l SFTConfig"] == pytest.approx(0.5, rel=0.05)
    assert seconds_left(replace(record, further=20.0), states, study) == pytest.approx(150.0, rel=0.05)


def test_what_earlier_calls_took_adds_up(tmp_path: Path) -> None:
    for first, last in ((1, 4), (5, 10), (10, 10)):
        meter = CostMeter("k")
        for done in (0, *range(first, last + 1)):
            meter.reach(done)
        meter.save(tmp_path)
    assert costs_in(tmp_path)["k"].units == 4 + 6 + 1
    (tmp_path / "cost.json").write_text("[1")
    assert costs_in(tmp_path) == {}


def test_status_is_told_and_nothing_written(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "lock").write_text(far(host="head"))
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    assert main(["study", "status", str(study)]) == 0
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before
    told = " ".join(capsys.readouterr().out.split())
    assert "at work: process 7 on head, for 1:40; about 4:40 left" in told
    assert "6 jobs: 1 done, 1 running, 1 failed, 1 diverged, 1 stopped, 1 waiting" in told
    for part in ("gp-l running running 4 of 10 far, process 7, for 1:40", "it is damaged", "a loss is nan"):
        assert part in told
    assert "gp-l waiting" not in told
    assert "Traceback" not in told
    (study / "lock").write_text("")
    assert main(["study", "status", str(study)]) == 0
    stopped = "not at work: the same command goes on where it stopped; about 4:40 of work left for one worker"
    assert stopped in capsys.readouterr().out


def test_a_folder_of_no_study_or_a_damaged_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no study.json" in refusal(capsys, "study", "status", tmp_path)
    for content in ("[]", "{}", '{"entries": [{}]}', "\0", "[" * 100_000):
        (tmp_path / "study.json").write_text(content)
        assert "is damaged, or of another version" in refusal(capsys, "study", "status", tmp_path)


# ---------------------------------------------------------------- locks between machines


def test_a_folder_held_on_another_machine_is_free_once_nothing_is_heard(tmp_path: Path) -> None:
    """Where flock does not reach the other machine: it has the folder as long as it gives signs of life."""
    lock = tmp_path / "lock"
    lock.write_text(far())
    with pytest.raises(InUse, match=r"in use by process 7 on far: wait for it"), held(tmp_path):
        pass
    gone = time.time() - SILENT - 1
    os.utime(lock, (gone, gone))
    with held(tmp_path):
        now = holding(tmp_path)
        assert now is not None
        assert (now.owner.pid, now.lives) == (os.getpid(), True)
    assert holding(tmp_path) is None


KILLED = """
import os, sys
from pathlib import Path
from ruleshift.lock import held
with held(Path(sys.argv[1])):
    os.kill(os.getpid(), 9)
"""


def test_a_process_killed_here_holds_nothing(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    left = holding(tmp_path)
    assert left is not None
    assert not left.lives
    assert state_of(JobEntry("a", "k", ".", 1, (1,), False, Expected()), tmp_path).standing == "stopped"
    with held(tmp_path):
        pass


BEATING = """
import sys, time
from pathlib import Path
from ruleshift import lock
lock.BEAT = 0.05
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_signs_of_life_are_given_and_a_process_that_was_succeeded_ends(tmp_path: Path) -> None:
    """It was away for so long that another machine took its folder: it must not write there any more."""
    command = [sys.executable, "-c", BEATING, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        os.utime(tmp_path / "lock", (0, 0))
        deadline = time.monotonic() + 30
        while holding(tmp_path).silent > SILENT and time.monotonic() < deadline:  # type: ignore[union-attr]
            time.sleep(0.02)
        assert holding(tmp_path).lives  # type: ignore[union-attr]
        (tmp_path / "lock").write_text(far())
        _, said = process.communicate(timeout=30)
    assert process.returncode == -15
    assert "was taken over by process 7 on far" in said


def test_who_was_succeeded_and_ends_leaves_the_folder_to_its_successor(tmp_path: Path) -> None:
    with held(tmp_path):
        (tmp_path / "lock").write_text(far())
    left = holding(tmp_path)
    assert left is not None
    assert left.owner.host == "far"
    assert left.lives
