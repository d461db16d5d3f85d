"""Terminals that lack something: letters, colours, columns. No command ends in a traceback for it."""

import io
import os
import subprocess
import sys

import pytest

from ruleshift.cli import main

POOR = (
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii", "COLUMNS": "40"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TERM": "dumb"},
)


@pytest.mark.parametrize("lacking", POOR, ids=lambda lacking: " ".join(f"{k}={v}" for k, v in lacking.items()))
@pytest.mark.parametrize("command", ["play virl-l", "eval gp-l --model expert --n 2"])
def test_a_poor_terminal(command: str, lacking: dict[str, str]) -> None:
    asked = [sys.executable, "-m", "ruleshift", *command.split()]
    done = subprocess.run(asked, input="Löwen ”\n".encode(), capture_output=True, env={**os.environ, **lacking})
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"Traceback" not in done.stderr
    if command == "play virl-l":
        assert b"@: you, facing" in done.stdout
        assert done.stdout.isascii()


def test_what_a_terminal_lacks_is_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """In errors, too."""
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(shown, encoding="ascii"))
    assert main(["eval", "gp-l", "--model", "/nö/where"]) == 2
    sys.stderr.flush()
    assert b"/n?/where" in shown.getvalue()


def test_a_good_terminal_gets_the_braille_map(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: (_ for _ in ()).throw(EOFError))
    assert main(["play", "virl-l"]) == 0
    assert any("\u2801" <= letter <= "\u28ff" for letter in capsys.readouterr().out)
