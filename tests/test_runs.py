"""Run folders: locks, kills, full disks, and what a resumed run finds."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file

from ruleshift import runs
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.runs import Checkpoint, RunFolder, read_tensors


@dataclass(frozen=True)
class Learning:
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.95)


@dataclass(frozen=True)
class Config:
    task: str = "gp-l"
    seed: int = 0
    model: Path = Path("bundled")
    learning: Learning = field(default_factory=Learning)


HOLDER = """
import sys
from ruleshift.runs import RunFolder
with RunFolder.open(sys.argv[1], {"seed": 0}) as run:
    (run.path / "checkpoints" / ".tmp-step-000002").mkdir(parents=True)
    (run.path / ".tmp-1-abcd").touch()
    run.append_metrics({"step": 1, "loss": 0.5})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 2, "lo')
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process at work on the run at `path`, in the middle of a line of metrics and of a checkpoint."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunFolder]:
    with RunFolder.open(tmp_path / "run", Config()) as folder:
        yield folder


def write_text(content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "content.txt").write_text(content)

    return write


def write_tensors(folder: Path) -> None:
    save_file({"weights": torch.zeros(1 << 16)}, folder / "model.safetensors")


def full_disk(folder: Path) -> NoReturn:
    (folder / "half").write_text("half")
    raise OSError(errno.ENOSPC, "No space left on device")


def content(checkpoint: Path) -> str:
    return (checkpoint / "inner" / "content.txt").read_text()


def steps(run: RunFolder) -> list[int]:
    return [step for step, _ in run.checkpoints()]


# Lock


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as process,
        pytest.raises(RuleshiftError, match=rf"in use by process {process.pid}: .*another --out"),
        RunFolder.open(tmp_path, {"seed": 0}),
    ):
        pass


def test_kill_9_frees_the_lock_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list((tmp_path / "checkpoints").iterdir())
    with RunFolder.open(tmp_path, {"seed": 0}) as run:
        assert list(run.checkpoints_path.iterdir()) == []
        assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "config.json", "lock", "metrics.jsonl"}
        run.append_metrics({"step": 2, "loss": 0.25})
        assert run.read_metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_lock_ends_with_the_block_and_with_an_exception(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="from inside"), RunFolder.open(tmp_path, {}):
        raise KeyError("from inside")
    with RunFolder.open(tmp_path, {}), pytest.raises(RuleshiftError, match=str(os.getpid())):
        RunFolder.open(tmp_path, {}).__enter__()
    with RunFolder.open(tmp_path, {}):
        pass


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_place_that_cannot_be_a_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RuleshiftError, match=r"cannot use the folder .*--out"):
        RunFolder.open(tmp_path / place, {}).__enter__()
    assert (tmp_path / "file").read_text() == "mine"


# Configuration


def test_config_is_resolved_and_versioned(run: RunFolder) -> None:
    stored = json.loads((run.path / "config.json").read_text())
    learning = {"rate": 1e-3, "betas": [0.9, 0.95]}
    assert stored["config"] == {"task": "gp-l", "seed": 0, "model": "bundled", "learning": learning}
    assert stored["environment"]["packages"]["torch"] == torch.__version__
    assert stored["environment"]["packages"].keys() == {"ruleshift", "torch", "transformers", "trl"}
    assert re.fullmatch(r"3\.\d+\.\d+\S*", stored["environment"]["python"])
    assert stored["resumed_in"] == []


def test_git_commit_only_of_our_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src" / "ruleshift"
    package.mkdir(parents=True)
    (package / "runs.py").touch()
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    assert runs._git_commit() is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit = runs._git_commit()
    assert commit is not None
    assert re.fullmatch("[0-9a-f]{40}", commit)
    (package / "runs.py").write_text("changed")
    assert runs._git_commit() == f"{commit}-dirty"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "elsewhere" / "runs.py"))
    assert runs._git_commit() is None


def test_another_configuration_is_refused_with_its_differences(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, Config()):
        pass
    other = replace(Config(), seed=1, learning=Learning(rate=0.1))
    with pytest.raises(RuleshiftError) as caught:
        RunFolder.open(tmp_path, other).__enter__()
    message = str(caught.value)
    assert "learning.rate: 0.001 there, 0.1 now; seed: 0 there, 1 now" in message
    assert "task" not in message
    assert "--out" in message
    assert f"delete {tmp_path}" in message


def test_same_configuration_resumes_unless_told_not_to(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, Config()) as run:
        before = (run.path / "config.json").read_bytes()
        run.append_metrics({"step": 1})
    with RunFolder.open(tmp_path, Config()) as run:
        assert (run.path / "config.json").read_bytes() == before
        assert run.read_metrics() == [{"step": 1}]
    with pytest.raises(RuleshiftError, match="already holds a run"):
        RunFolder.open(tmp_path, Config(), resume=False).__enter__()


def test_resuming_elsewhere_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunFolder.open(tmp_path, {}):
        pass
    elsewhere = {**runs.environment(), "git_commit": "elsewhere"}
    monkeypatch.setattr(runs, "environment", lambda: elsewhere)
    for _ in range(2):
        with RunFolder.open(tmp_path, {}) as run:
            stored = run.read_config()
    assert stored is not None
    assert stored["resumed_in"] == [elsewhere]
    assert stored["environment"] != elsewhere


@pytest.mark.parametrize("made", [None, runs.FORMAT - 1, runs.FORMAT + 1])  # the first versions wrote none
def test_a_run_of_another_version_is_refused_and_the_remedy_works(tmp_path: Path, made: int | None) -> None:
    with RunFolder.open(tmp_path / "run", Config()) as run:
        run.append_metrics({"step": 1})
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    assert stored.pop("format") == runs.FORMAT
    stored["environment"]["git_commit"] = "0123456789abcdef"
    file.write_text(json.dumps(stored | ({} if made is None else {"format": made})))
    before = file.read_bytes()
    with pytest.raises(RuleshiftError) as caught:
        RunFolder.open(tmp_path / "run", Config()).__enter__()
    message = str(caught.value)
    assert f"made by another version of ruleshift (format {made or 1} of run folders, at commit 0123456789;" in message
    assert f"resume it with that version, choose another --out, or delete {tmp_path / 'run'}." in message
    assert "\n" not in message
    assert file.read_bytes() == before
    assert (tmp_path / "run" / "metrics.jsonl").is_file()
    shutil.rmtree(tmp_path / "run")
    with RunFolder.open(tmp_path / "run", Config()) as run:
        assert run.read_metrics() == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": '])
def test_a_foreign_config_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RuleshiftError, match="not the configuration of a run"):
        RunFolder.open(tmp_path, {}).__enter__()
    assert (tmp_path / "config.json").read_text() == text


@pytest.mark.parametrize("left", ["metrics.jsonl", "checkpoints", "model", "points"])
@pytest.mark.parametrize("text", [None, "", "{}", "damaged"])
def test_other_settings_never_adopt_what_a_lost_configuration_made(tmp_path: Path, left: str, text: str | None) -> None:
    """The remedy for a broken config.json is carried out by somebody who deletes no more than that."""
    with RunFolder.open(tmp_path, Config()) as run:
        (run.path / left).mkdir() if "." not in left else run.append_metrics({"step": 1})
    (tmp_path / "config.json").unlink()
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    for _ in range(2):
        with pytest.raises(RuleshiftError, match=r": (choose another --out|name another folder)\.$"):
            RunFolder.open(tmp_path, Config(seed=1)).__enter__()
        (tmp_path / "config.json").unlink(missing_ok=True)
    assert (tmp_path / left).exists()


def test_a_run_of_another_kind_is_named(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, {"verb": "rl", "task": "gp-l", "training": {"updates": 3}}):
        pass
    with pytest.raises(RuleshiftError, match=r"holds a run of rl, not of sft: choose another --out") as caught:
        RunFolder.open(tmp_path, {"verb": "sft", "task": "gp-l", "training": {"steps": 3}}).__enter__()
    assert "training" not in str(caught.value)


def test_many_differences_are_counted(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, dict.fromkeys("abcdefg", 0)):
        pass
    with pytest.raises(RuleshiftError, match=r"\(a: 0 there, 1 now; b: .*; c: .*; d: 0 there, 1 now; and 3 more\)"):
        RunFolder.open(tmp_path, dict.fromkeys("abcdefg", 1)).__enter__()


@pytest.mark.parametrize("stopped", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_has_kept_nothing_is_no_obstacle(tmp_path: Path, stopped: type[BaseException]) -> None:
    (tmp_path / "mine.txt").write_text("was there before")

    def stop(config: Config, work: Callable[[RunFolder], object]) -> None:
        with RunFolder.open(tmp_path, config) as run:
            work(run)
            raise stopped

    with pytest.raises(stopped):
        stop(Config(), lambda run: (run.path / "samples").mkdir())
    with pytest.raises(stopped):
        stop(Config(seed=1), lambda run: run.append_metrics({"step": 1}))
    run = RunFolder(tmp_path)
    before = run.read_config()
    assert before is not None
    with pytest.raises(RuleshiftError, match="seed: 1 there, 2 now"):
        RunFolder.open(tmp_path, Config(seed=2)).__enter__()
    run.metrics_path.unlink()
    with pytest.raises(stopped):  # what an earlier call wrote stays
        stop(Config(seed=1), lambda run: None)
    assert run.read_config() == before


# Metrics


def test_numbers_that_are_not_finite_are_named_and_not_written(run: RunFolder) -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(Diverged, match=rf"loss is {value} at step 7\. .*smaller learning rate"):
            run.append_metrics({"step": 7, "success": 0.5, "loss": value})
    assert run.read_metrics() == []


def test_a_checkpoint_keeps_its_metrics(tmp_path: Path) -> None:
    """Lines that are lost or damaged come back when the run is opened; those of later steps stay."""
    with RunFolder.open(tmp_path, {}) as run:
        for step in (1, 2, 3):
            run.append_metrics({"step": step, "loss": 1 / step})
        run.save_checkpoint(2, write_text(""))
    whole = run.metrics_path.read_bytes()
    first, second, third = whole.splitlines(True)
    for damaged in (
        first + third,
        second + third,
        first + b"{dam\n" + third,
        third,
        first + second.replace(b"0", b"1") + third,
    ):
        run.metrics_path.write_bytes(damaged)
        with RunFolder.open(tmp_path, {}):
            assert run.metrics_path.read_bytes() == whole
    run.metrics_path.unlink()
    with RunFolder.open(tmp_path, {}):
        assert run.metrics_path.read_bytes() == first + second
    copy = run.checkpoints()[0].path / "metrics.jsonl"
    run.metrics_path.write_bytes(whole)
    for cut in (first + second[:-9], first + b"{dam\n", first[:5] + second, first, b""):
        copy.write_bytes(cut)
        with pytest.raises(
            RuleshiftError, match=r"metrics\.jsonl (is|lacks) .*: delete the checkpoint folder .*000002"
        ):
            RunFolder.open(tmp_path, {}).__enter__()
    assert run.metrics_path.read_bytes() == whole
    copy.unlink()
    with pytest.raises(RuleshiftError, match=r"metrics\.jsonl is missing: delete the checkpoint folder .*step-000002"):
        RunFolder.open(tmp_path, {}).__enter__()


def test_a_torn_last_line_is_dropped(run: RunFolder) -> None:
    assert run.read_metrics() == []
    run.append_metrics({"step": 1, "loss": 0.1 + 0.2})
    whole = run.metrics_path.read_bytes()
    for tail in (b'{"step": 2', b'{"step": 2}', b"\0\0\0", b"\0\0\0\n", b"\xff\n"):
        run.metrics_path.write_bytes(whole + tail)
        assert run.read_metrics() == [{"step": 1, "loss": 0.1 + 0.2}]


def test_a_damaged_line_inside_is_an_error(run: RunFolder) -> None:
    run.metrics_path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(RuleshiftError, match=r"line 2 of .*metrics\.jsonl is damaged"):
        run.read_metrics()


def test_truncation_gives_the_file_of_a_run_never_killed(run: RunFolder) -> None:
    lines = [{"step": step, "kind": kind, "loss": 1 / (step + 3)} for step in range(6) for kind in ("train", "eval")]
    for line in lines[:8]:
        run.append_metrics(line)
    unbroken = run.metrics_path.read_bytes()
    for line in lines[8:]:
        run.append_metrics(line)
    run.truncate_metrics(3)
    assert run.metrics_path.read_bytes() == unbroken
    run.truncate_metrics(-1)
    assert run.read_metrics() == []


def test_metrics_need_a_step(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="step"):
        run.append_metrics({"loss": 1.0})
    assert run.read_metrics() == []


def test_metrics_on_a_full_disk(run: RunFolder) -> None:
    run.metrics_path.symlink_to("/dev/full")
    with pytest.raises(RuleshiftError, match=r"No space left on device.*resumes"):
        run.append_metrics({"step": 1})


# Checkpoints


def test_checkpoints_are_numbered_and_pruned(run: RunFolder) -> None:
    assert run.latest_checkpoint() is None
    for step in (0, 5, 10, 15, 1_000_000):
        path = run.save_checkpoint(step, write_text(str(step)), keep_last=2, keep=(0,))
        assert run.latest_checkpoint() == Checkpoint(step, path)
        assert content(path) == str(step)
    assert steps(run) == [0, 15, 1_000_000]
    assert sorted(path.name for path in run.checkpoints_path.iterdir()) == [
        "step-000000",
        "step-000015",
        "step-1000000",
    ]


def test_all_checkpoints_stay_by_default_and_the_same_step_is_replaced(run: RunFolder) -> None:
    for step, text in ((1, "a"), (2, "b"), (2, "c")):
        run.save_checkpoint(step, write_text(text))
    assert [content(path) for _, path in run.checkpoints()] == ["a", "c"]
    assert len(list(run.checkpoints_path.iterdir())) == 2


def test_keep_last_counts_the_new_checkpoint(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        run.save_checkpoint(1, write_text(""), keep_last=0)


def test_a_full_disk_leaves_older_checkpoints(run: RunFolder) -> None:
    run.save_checkpoint(1, write_text("old"), keep_last=1)
    for step in (1, 2):
        with pytest.raises(RuleshiftError, match=rf"step-00000{step} .No space left on device.: .*resumes"):
            run.save_checkpoint(step, full_disk, keep_last=1)
        assert [path.name for path in run.checkpoints_path.iterdir()] == ["step-000001"]
    assert content(run.checkpoints()[0].path) == "old"


def test_a_full_disk_found_while_flushing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RuleshiftError, match="No space left"):
        run.save_checkpoint(1, write_text("new"))
    assert list(run.checkpoints_path.iterdir()) == []


def test_a_file_that_may_not_grow_while_tensors_are_written(run: RunFolder) -> None:
    """The safetensors writer has an exception of its own: meet the real one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(RuleshiftError, match="cannot write"):
            run.save_checkpoint(1, write_tensors)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(run.checkpoints_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KeyError("bug")])
def test_other_errors_pass_and_leave_nothing(run: RunFolder, error: BaseException) -> None:
    def fail(folder: Path) -> NoReturn:
        raise error

    with pytest.raises(type(error)):
        run.save_checkpoint(1, fail)
    assert list(run.checkpoints_path.iterdir()) == []


def test_leftovers_are_never_taken_for_checkpoints(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, {}) as run:
        run.save_checkpoint(3, write_text("whole"))
        for name in (".tmp-step-000009", ".tmp-old-step-000002", "notes", "step-12"):
            (run.checkpoints_path / name).mkdir()
        (run.checkpoints_path / ".tmp-step-000009" / "half").touch()
        assert steps(run) == [3]
    with RunFolder.open(tmp_path, {}) as run:
        assert sorted(path.name for path in run.checkpoints_path.iterdir()) == ["notes", "step-000003", "step-12"]


# Tensors


def test_tensors_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6).view(2, 3), "b": torch.tensor([0.1], dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "model.safetensors")
    back = read_tensors(tmp_path / "model.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert back["b"].dtype == torch.bfloat16


@pytest.mark.parametrize("length", [None, 0, 4, 20, 200, "flipped"])
def test_missing_and_truncated_tensors(tmp_path: Path, length: int | str | None) -> None:
    checkpoint = tmp_path / "step-000007"
    checkpoint.mkdir()
    write_tensors(checkpoint)
    file = checkpoint / "model.safetensors"
    whole = file.read_bytes()
    assert read_tensors(file)  # the control: as written, it can be read
    match length:
        case None:
            file.unlink()
        case "flipped":
            file.write_bytes(whole[:9] + b"\xff" + whole[10:])
        case int():
            file.write_bytes(whole[:length])
    with pytest.raises(RuleshiftError, match=r"model\.safetensors .*delete .*step-000007.*resumes from the checkpoint"):
        read_tensors(file)
