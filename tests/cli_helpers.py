"""What the tests of the command line share."""

import json
from pathlib import Path

import pytest

from ruleshift.cli import main


def save_tiny_model(folder: Path) -> Path:
    """A random model of one layer, which reads the terse style, in Hugging Face format."""
    from helpers import tiny_chat, tiny_model
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    model = tiny_model(layers=1)
    model.config.ruleshift_style = "terse"
    model.save_pretrained(folder)
    tiny_chat().tokenizer.save_pretrained(folder)
    return folder


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which a command is refused."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("error: ")]
    assert len(said) == 1
    assert lines[-1] == said[0]
    return said[0]
