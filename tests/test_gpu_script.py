"""benchmarks/gpu.py: its examples are accepted, and the study is stopped in time and told of."""

import importlib
import re
import shlex
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent

STUB = """#!{python} -S
import pathlib, sys, time
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]) if "--out" in sys.argv else None
if out is None:
    print("so far", flush=True)
    sys.exit()
out.mkdir()
{begun}
try:
    time.sleep({seconds})
except KeyboardInterrupt:
    sys.exit(130)
sys.exit({status})
"""


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("gpu")


def ask(gpu: ModuleType, out: Path, monkeypatch: pytest.MonkeyPatch, **stub: object) -> dict[str, object]:
    """Of a study that is a sleep, with a second of time."""
    program = out.parent / "program"
    text = STUB.format(**{"python": sys.executable, "begun": "", "seconds": 0, "status": 0, **stub})
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(gpu.sys, "executable", str(program))
    monkeypatch.setattr(gpu, "TO_END", 5)
    arguments = Namespace(model="smollm2", out=out, study="--n 4", device="cpu")
    told: dict[str, object] = gpu.study(arguments, gpu.time.monotonic())  # at least a second
    return told


def test_the_examples_are_accepted(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = str(gpu.__doc__) + (ROOT / "docs" / "scale.md").read_text()
    found = re.findall(r"^    python benchmarks/gpu.py (.*(?:\n {8}.*)*)", pages, re.MULTILINE)
    assert len(found) == 6
    for line in found:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *shlex.split(line)])
        arguments = gpu.parsed()
        assert arguments.model in ("bundled", "smollm2")
        assert ("study" in arguments.parts) == ("--parts study" in line)


def test_a_study_that_ends_in_time(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = ask(gpu, tmp_path / "out", monkeypatch)
    assert told["ended"]
    assert told["asked"] == f"--preset gpu --model smollm2 --out {tmp_path / 'out'} --n 4"


@pytest.mark.parametrize(
    ("begun", "said"), [("", "before its warm start"), ("(out / 'study.json').write_text('')", "so far")]
)
def test_a_study_that_takes_longer_is_stopped(
    gpu: ModuleType,
    begun: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    told = ask(gpu, tmp_path / "out", monkeypatch, seconds=60, begun=begun)
    assert not told["ended"]
    assert said in capfd.readouterr().out


def test_a_study_that_fails_ends_the_script(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="status 2"):
        ask(gpu, tmp_path / "out", monkeypatch, status=2)
