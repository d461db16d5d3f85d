"""The lines of metrics.jsonl: one JSON object each, with a whole number `step`."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.files import reason_of, write_atomically

Line = tuple[bytes, dict[str, Any]]  # as it stands in the file, and what it says


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a line; it is in the hands of the kernel when this returns. Raises what `check` does, and OSError."""
    check(path, record)
    line = json.dumps(dict(record), allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def check(path: Path, record: Mapping[str, Any]) -> None:
    """Raise Diverged for a number that is not finite, for which JSON has no word."""
    if not isinstance(record.get("step"), int):
        raise ValueError(f"a line of metrics needs a whole number `step`, not {record.get('step')!r}")
    for name, value in record.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise diverged(path.parent, record["step"], f"{name} is {value}")


def diverged(run: Path, step: int, what: str) -> Diverged:
    """The error of a training in the folder `run` whose numbers are no longer finite."""
    return Diverged(
        f"the training diverged: {what} at step {step}. {run} keeps what was saved before; start in another folder "
        "with a smaller learning rate, or look at the start model if this was the first step."
    )


def read(path: Path, strict: bool = True) -> list[Line]:
    """The whole lines; what a kill cut short at the end is left out, and so is a file that is not there. A line inside
    that is damaged raises RuleshiftError, or is passed over if not `strict`."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RuleshiftError(f"cannot read {path} ({reason_of(error)}): make it readable.") from error
    records = [_record(line) for line in lines]
    if records and records[-1] is None:  # zeros, say, after a power cut
        records.pop()
    if strict and None in records:
        damaged = f"line {records.index(None) + 1} of {path}"
        raise RuleshiftError(f"{damaged} is damaged: delete that line, or the run folder.")
    return [(line, record) for line, record in zip(lines, records, strict=False) if record is not None]


def rewrite(path: Path, lines: Iterable[Line]) -> None:
    """Make the file consist of `lines`; one that already does is not touched."""
    wanted = content(lines)
    if (path.read_bytes() if path.exists() else b"") != wanted:
        write_atomically(path, wanted)


def content(lines: Iterable[Line]) -> bytes:
    """Lines as they stand in a file."""
    return b"".join(line + b"\n" for line, _ in lines)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None
