"""How many threads are chosen, and who overrules it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ruleshift import threads
from ruleshift.runs import RunFolder
from ruleshift.threads import busy_cores, busy_ticks, free, set_threads, usable_cores


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cores", "busy", "threads"), [(2, 0.0, 2), (2, 0.4, 2), (2, 1.3, 1), (2, 9.0, 1), (1, 0.0, 1), (16, 3.6, 12)]
)
def test_free_cores(cores: int, busy: float, threads: int) -> None:
    assert free(cores, busy) == threads


def test_the_kernels_table_is_read() -> None:
    """user + nice + system + irq + softirq + steal of the cores that are ours; idle and iowait are not work."""
    table = [
        "cpu  9 9 9 9 9 9 9 9 9 9",
        "cpu0 1 2 4 1000 1000 8 16 32 64 64",
        "cpu1 100 0 0 7 7 0 0 0 0 0",
        "intr 5",
        "",
    ]
    assert busy_ticks(table, {"cpu0"}) == 63
    assert busy_ticks(table, {"cpu0", "cpu1"}) == 163
    assert busy_ticks(table, set()) == 0


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="the kernel does not tell")
def test_another_process_at_work_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.5)
        assert busy_cores(0.5) > 0.3
        other.kill()
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_order_of_precedence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(threads, "busy_cores", lambda: 1.0)
    monkeypatch.setattr(threads, "usable_cores", lambda: 3)
    set_threads()
    assert torch.get_num_threads() == 2
    assert capsys.readouterr().err == "using 2 of 3 cores (1.0 are busy); --threads or OMP_NUM_THREADS overrules\n"
    set_threads(begun_with=3)
    assert torch.get_num_threads() == 3
    assert re.fullmatch(r"using 3 of 3 cores \(as this run began\); .*\n", capsys.readouterr().err)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    set_threads(begun_with=2)
    assert torch.get_num_threads() == 3  # torch has read the environment before
    set_threads(asked=1, begun_with=2)
    assert torch.get_num_threads() == 1
    assert capsys.readouterr().err == ""


def test_a_run_tells_how_many_it_began_with(tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "run").threads() is None
    torch.set_num_threads(1)
    with RunFolder.open(tmp_path / "run", {}):
        pass
    torch.set_num_threads(2)
    with RunFolder.open(tmp_path / "run", {}) as run:
        assert run.threads() == 1
