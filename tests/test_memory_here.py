"""How much memory there is, and that no more is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

from ruleshift.memory import memory_here


def test_the_memory_here_is_what_the_control_group_leaves(tmp_path: Path) -> None:
    whole = memory_here(tmp_path)
    assert whole > 1e8
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_here(tmp_path) == whole
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory_here(tmp_path) == 1_000_000
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("500000\n")
    assert memory_here(tmp_path) == 500_000


BOUNDED = """
import sys
import torch
from ruleshift import memory
memory.memory_here = lambda: int(float(sys.argv[1]))
memory._swap = lambda: 0
memory.GPUS = ()
memory.bound_memory()
from ruleshift.backbones.room import room_for
with room_for("here"):
    torch.ones(int(float(sys.argv[2])) // 4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
@pytest.mark.parametrize(("asked", "fails"), [(1e9, False), (4e9, True)])
def test_what_is_beyond_memory_is_refused_and_not_killed(asked: float, fails: bool) -> None:
    done = subprocess.run([sys.executable, "-c", BOUNDED, "3e9", str(asked)], capture_output=True, text=True)
    assert done.returncode == int(fails), done.stderr
    assert ("OutOfRoom: memory ran out here" in done.stderr) == fails
