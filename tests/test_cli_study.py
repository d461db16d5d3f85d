"""The command line: studies on tiny settings, their report, and the processes they run in."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli_helpers import refusal, save_tiny_model
from ruleshift.backbones.config import ModelOptions
from ruleshift.cli import main
from ruleshift.lock import holding
from ruleshift.results import load_results
from ruleshift.runs import RunFolder
from ruleshift.studies import arms
from study_helpers import in_process

__all__ = ["in_process"]

SFT = ("sft.steps=1", "sft.examples=8", "sft.batch=8", "sft.micro_batch=8")
RL = ("rl.updates=1", "rl.episodes=4", "rl.turns=2", "rl.max-new-tokens=5", "rl.value-only=0")
TINY_STUDY = " ".join(["--n 2", *(f"--set {setting}" for setting in (*SFT, *RL))])
FEW_ARMS = "--set matched_rates=none --set other_data=none"
ALONE = f"--tasks gp-l --points 1 {FEW_ARMS} {TINY_STUDY}"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.mark.usefixtures("in_process")
def test_study_headline_and_its_report(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"--model {model} --points 1 {FEW_ARMS} --out {tmp_path} {TINY_STUDY}"
    assert main(["study", "headline", *options.split()]) == 0
    assert "what all replies were, where next to nothing is solved, sampled" in " ".join(
        capsys.readouterr().out.split()
    )
    for task in ("gp-l", "virl-l"):
        rows = load_results(tmp_path / task / "results.json").rows
        floors = {"random", "blind"} if task == "virl-l" else {"random"}
        assert {row.arm for row in rows} == {"base", "sft", "rl", "expert"} | floors
        assert {row.task for row in rows} == {task}
    page = (tmp_path / "gp-l" / "report.html").read_text()
    assert main(["report", str(tmp_path / "gp-l"), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == page
    assert "rl against sft" in page
    assert "What all replies were, where next to nothing is solved, sampled" in page
    lines = {row.arm for row in load_results(tmp_path / "gp-l" / "results.json").rows if row.metric == "replies:cut"}
    assert lines == {"base", "sft", "rl"}
    for task in ("gp-l", "virl-l"):
        (tmp_path / task / "report.html").unlink()
    assert main(["report", str(tmp_path)]) == 0  # as the help of `report` has it: the results lie one level deeper
    assert (tmp_path / "gp-l" / "report.html").read_text() == page
    assert (tmp_path / "virl-l" / "report.html").is_file()
    assert "name one of" in refusal(capsys, "report", tmp_path, "--out", tmp_path / "one.html")
    assert "name one of" in refusal(capsys, "report", tmp_path, "--png", tmp_path / "one.png")


@pytest.mark.usefixtures("in_process")
def test_study_sweep(model: Path, tmp_path: Path) -> None:
    options = f"--tasks gp-l virl-l --model {model} --set grid=1e-3 --out {tmp_path} {TINY_STUDY}"
    assert main(["study", "sweep", *options.split()]) == 0
    for task in ("gp-l", "virl-l"):
        record = json.loads((tmp_path / task / "sweep.json").read_text())
        assert record["chosen"] == {"sft": "sft-lr1e-3", "rl": "rl-lr1e-3"}


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_study_speaks_to_models_as_it_is_told(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ModelOptions] = []
    load = arms.load_backbone

    def loading(*arguments: object, options: ModelOptions, **more: object) -> object:
        seen.append(options)
        return load(*arguments, options=options, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(arms, "load_backbone", loading)
    told = f"--model {model} --out {tmp_path} {ALONE} --init-steps 1 --chat-template plain --system Think."
    assert main(["study", "headline", *told.split()]) == 0
    spoken = ModelOptions(chat_template="plain", system="Think.")
    assert seen == [spoken] * 5  # for --init-steps, to know the weights after them, and for each arm
    facts = {"chat_template": "plain", "system": "Think."}
    folders = [tmp_path / "gp-l" / "init", *(tmp_path / "gp-l" / "arms").iterdir()]
    configs = [RunFolder(folder).read_config() for folder in folders]
    assert [config and config["config"]["chat"] for config in configs] == [facts] * 4
    assert load_results(tmp_path / "gp-l" / "results.json").meta["config"]["chat"] == facts
    assert main(["study", "headline", *told.split()]) == 0  # nothing is left to do
    assert len(seen) == 6
    said = refusal(capsys, "study", "headline", *told.replace("Think.", "Guess.").split())
    assert 'chat.system: "Think." there, "Guess." now' in said
    assert "cannot read --chat-template" in refusal(
        capsys, "study", "headline", *told.replace("plain", "/nowhere/at/all").split()
    )


# ---------------------------------------------------------------- processes


WITHOUT_SEMAPHORES = """
import _multiprocessing
import multiprocessing
import sys


class Refused:
    SEM_VALUE_MAX = 1

    def __init__(self, *arguments):
        raise OSError(38, "Function not implemented")


_multiprocessing.SemLock = Refused
if __name__ == "__main__":
    from ruleshift.cli import main

    try:
        multiprocessing.get_context("spawn").Lock()
    except OSError:
        sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_study_needs_no_shared_memory(model: Path, tmp_path: Path) -> None:
    """Where /dev/shm cannot be used there are no semaphores: neither in this process nor in those that it starts."""
    script = tmp_path / "without_semaphores.py"
    script.write_text(WITHOUT_SEMAPHORES)
    options = f"study headline {ALONE} --model {model} --workers 2 --out {tmp_path}"
    command = [sys.executable, str(script), *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "gp-l" / "report.html").is_file()
    assert "gp-l sft-seed0: 1 of 1" in done.stderr


def started(model: Path, out: Path, arm: Path, workers: int) -> subprocess.Popen[str]:
    """A study whose PPO does not end, once that is under way."""
    options = f"{ALONE} --model {model} --workers {workers} --out {out} --set rl.updates=100000"
    command = [sys.executable, "-m", "ruleshift", "study", "headline", *options.split()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    study = subprocess.Popen(command, start_new_session=True, preexec_fn=_heed_interrupts, **pipes)  # type: ignore[call-overload]
    for _ in range(1_200):
        if (arm / "metrics.jsonl").exists():
            break
        assert study.poll() is None, study.stderr.read()
        time.sleep(0.1)
    return study  # type: ignore[no-any-return]


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _heed_interrupts() -> None:
    """In a child: what runs the tests may ignore interrupts (a shell's background), which children inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_a_study_that_is_stopped_leaves_no_worker_behind(blow: signal.Signals, model: Path, tmp_path: Path) -> None:
    arm = tmp_path / "gp-l" / "arms" / "rl-seed0"
    study = started(model, tmp_path, arm, workers=2)
    try:
        if blow == signal.SIGINT:
            os.killpg(study.pid, blow)  # a terminal sends it to the whole group
        else:
            study.kill()
        _, errors = study.communicate(timeout=60)
    except BaseException:
        os.killpg(study.pid, signal.SIGKILL)
        raise
    if blow == signal.SIGINT:
        assert study.returncode == 130
        assert "stopped: finished points and checkpoints are kept" in errors
        assert "Traceback" not in errors
    for _ in range(100):
        if not _group_lives(study.pid):
            break
        time.sleep(0.1)
    assert not _group_lives(study.pid)
    with RunFolder.open(arm, json.loads((arm / "config.json").read_text())["config"]):  # nobody holds it
        pass


@pytest.mark.slow
def test_a_worker_that_is_killed_gives_one_line(model: Path, tmp_path: Path) -> None:
    arm = tmp_path / "gp-l" / "arms" / "rl-seed0"
    study = started(model, tmp_path, arm, workers=1)
    try:
        os.kill(holding(arm).owner.pid, signal.SIGKILL)
        _, errors = study.communicate(timeout=60)
    finally:
        if _group_lives(study.pid):
            os.killpg(study.pid, signal.SIGKILL)
    assert study.returncode == 2
    assert errors.splitlines()[-1].startswith("error: the process of arm gp-l rl-seed0 was killed")
    assert "Traceback" not in errors
