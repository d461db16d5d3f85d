"""The record of an evaluation: every reply with its verdict, one line of answers.jsonl each, as soon as it is given.

A line is in the hands of the kernel when `add` returns, so that kill -9 takes nothing; lines are only ever appended.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ruleshift.engines.protocol import Reply
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of, write_atomically
from ruleshift.records import Completion, Served, Verdict

ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Slot:
    """Which conversation: the problem at `index` of a split, and which of several conversations about it."""

    split: str
    index: int
    sample: int = 0


@dataclass(frozen=True)
class Answered:
    """A reply in its place, the `turn`-th of its conversation, with its verdict (without pictures). `asked` is a digest
    of the words that it answered, and `seconds` is how long it took."""

    place: Slot
    turn: int
    asked: str
    reply: Reply
    verdict: Verdict
    seconds: float = 0.0


Kept = dict[Slot, list[Answered]]


class Record:
    """The lines of one evaluation, open for more. `kept` are those of earlier calls, conversation by conversation."""

    def __init__(self, path: Path, descriptor: int, kept: Kept) -> None:
        self.path, self.kept, self._descriptor = path, kept, descriptor

    def add(self, answered: Answered) -> None:
        """Write a line. Raises RuleshiftError where the disk refuses."""
        line = to_line(answered)
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):  # the disk is full: the next write says so
                os.write(self._descriptor, line[written:])
        except OSError as error:
            raise RuleshiftError(
                f"cannot write {self.path} ({reason_of(error)}): make room, and run the same command again; it goes on"
            ) from error


@contextmanager
def open_record(folder: Path) -> Iterator[Record]:
    """The record in a folder whose lock is held; what a kill cut short at its end is cleared away. Raises
    RuleshiftError for one that is damaged."""
    path = folder / ANSWERS
    kept = read_record(folder, "the same command")
    whole = b"".join(to_line(answered) for place in kept for answered in kept[place])
    if path.exists() and len(path.read_bytes()) != len(whole):
        write_atomically(path, whole)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        yield Record(path, descriptor, kept)
    finally:
        os.close(descriptor)


def read_record(folder: Path, asker: str = "its eval") -> Kept:
    """The conversations of a record, in use or not, up to the first reply that is missing in each; none where there is
    no record. Raises RuleshiftError, with the line and with the `asker` of what is missing, for one that is damaged."""
    path = folder / ANSWERS
    try:
        lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is torn
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RuleshiftError(f"cannot read {path} ({reason_of(error)}): make it readable") from error
    kept: Kept = {}
    for number, line in enumerate(lines, 1):
        try:
            answered = from_line(line)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise RuleshiftError(
                f"line {number} of {path} is damaged: delete that line and run {asker} again, which asks for what is "
                "missing"
            ) from error
        conversation = kept.setdefault(answered.place, [])
        if answered.turn == len(conversation) + 1:
            conversation.append(answered)
    return kept


def to_line(answered: Answered) -> bytes:
    """A line of the record."""
    completion = answered.reply.completion
    fields_ = {
        **asdict(answered.place),
        "turn": answered.turn,
        "asked": answered.asked,
        "seconds": round(answered.seconds, 4),
        **asdict(completion),
        "appended_ids": answered.reply.appended_ids,
        "verdict": {name: value for name, value in asdict(answered.verdict).items() if name != "pictures"},
    }
    return json.dumps(fields_, allow_nan=False).encode("ascii") + b"\n"


def from_line(line: bytes) -> Answered:
    """The reverse of `to_line`. Raises ValueError, LookupError or TypeError for anything else."""
    row = json.loads(line)
    served = None if row["served"] is None else _made(Served, row["served"])
    completion = _made(
        Completion,
        {
            "text": row["text"],
            "token_ids": _numbers(row["token_ids"], int),
            "logprobs": _numbers(row["logprobs"], float),
            "stop_reason": row["stop_reason"],
            "served": served,
        },
    )
    place = Slot(_checked(row["split"], str), _checked(row["index"], int), _checked(row["sample"], int))
    reply = Reply(_numbers(row["appended_ids"], int), completion)
    verdict = _made(Verdict, {**row["verdict"], "pictures": ()})
    seconds = _checked(row["seconds"], float)
    return Answered(place, _checked(row["turn"], int), _checked(row["asked"], str), reply, verdict, seconds)


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    """A record of these values, each of the type of its field."""
    simple = {"str": str, "int": int, "float": float, "bool": bool}
    for field in fields(kind):
        value, parts = values[field.name], get_args(field.type)
        words = [word for part in (field.type, *parts) if get_origin(part) is Literal for word in get_args(part)]
        name = getattr(field.type, "__name__", str(field.type)).removesuffix(" | None")
        if value is None and type(None) in parts:
            continue
        if words and value not in words:
            raise ValueError(f"{str(value)[:40]!r} is none of {words}")
        if name in simple:
            _checked(value, simple[name])
    return kind(**values)


def _checked(value: Any, kind: type) -> Any:
    allowed = (int, float) if kind is float else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{str(value)[:40]!r} is no {kind.__name__}")
    return value


def _numbers(values: Any, kind: type) -> tuple[Any, ...]:
    return tuple(_checked(value, kind) for value in _checked(values, list))


def without_pictures(verdict: Verdict) -> Verdict:
    """The verdict as a record holds it."""
    return replace(verdict, pictures=())
