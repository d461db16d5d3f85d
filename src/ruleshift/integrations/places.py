"""What all integrations share: problems named by plain data, conversations driven from outside, messages in the forms
that other tools take."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib import import_module
from typing import Any, Self

from ruleshift.engines.protocol import Reply
from ruleshift.errors import RuleshiftError
from ruleshift.pictures import pixels_of, png
from ruleshift.records import Completion, Message, Picture, Verdict
from ruleshift.revision import Conversation
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style, Task, TaskProblem, check_split, check_style, how_many


def needs(package: str, extra: str) -> Any:
    """The imported package. Raises RuleshiftError with the command that installs it."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or not (package == error.name or package.startswith(f"{error.name}.")):
            raise
        missing = package.partition(".")[0]
        raise RuleshiftError(f'{missing} is not installed: pip install "ruleshift[{extra}]"') from error


@dataclass(frozen=True)
class ProblemRef:
    """Where a problem is found, in plain values that fit into a row of data: the task with its `options` (JSON), the
    split, seed, index and style, and the verification budget of each step (`turns`; 0: the task's own). Raises
    RuleshiftError for a style or turns that there cannot be."""

    task: str
    split: str = "train"
    seed: int = 0
    index: int = 0
    style: Style = "full"
    turns: int = 0
    options: str = "{}"

    def __post_init__(self) -> None:
        check_style(self.style)
        if not isinstance(self.turns, int) or self.turns < 0:
            raise RuleshiftError(f"turns must be at least 1, or 0 for the task's own, not {self.turns!r}")

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The place that a row of data names, among other columns; what is None there is as usual. Raises
        RuleshiftError where it names no task."""
        if row.get("task") is None:
            raise RuleshiftError("this row names no task: write the data with `ruleshift data TASK --for ...`")
        return cls(**{field.name: row[field.name] for field in fields(cls) if row.get(field.name) is not None})

    def row(self) -> dict[str, Any]:
        """The columns that `of` reads."""
        return asdict(self)

    def at(self, index: int) -> Self:
        """The problem at another index."""
        return replace(self, index=index)

    def open_task(self) -> Task:
        """The task under its options. Raises RuleshiftError for an unknown one."""
        return _task(self.task, self.options)

    def count(self, n: int) -> int:
        """How many of the problems 0..n-1 of its split there are. Raises RuleshiftError for an unknown split."""
        task = self.open_task()
        check_split(task, self.split)
        return how_many(task, self.split, n)

    def problem(self) -> TaskProblem:
        """The problem, new."""
        return self.open_task().problem(self.split, self.seed, self.index, self.style)

    def conversation(self) -> Conversation:
        """A conversation about it that has not begun."""
        return Conversation(self.problem(), self.turns or self.open_task().default_turns)


def options_text(options: Mapping[str, Any]) -> str:
    """The options of a task as a `ProblemRef` holds them; paths become text."""
    return json.dumps(dict(options), default=str, sort_keys=True)


@lru_cache(maxsize=32)
def _task(name: str, options: str) -> Task:
    task, given = get_task(name), _read(options)
    unknown = set(given) - {field.name for field in fields(task.options)}
    if unknown:
        raise RuleshiftError(
            f"task {name} has no option {', '.join(sorted(unknown))}: see `ruleshift data {name} --help`"
        )
    if given.get("routes") is not None:
        from pathlib import Path

        given["routes"] = Path(given["routes"])
    return task.with_options(task.options(**given))


def _read(options: str) -> dict[str, Any]:
    try:
        given = json.loads(options)
    except (ValueError, TypeError, RecursionError) as error:
        raise RuleshiftError(f"options {options!r} are no JSON ({error}): give an object, as '{{}}'") from error
    if not isinstance(given, dict):
        raise RuleshiftError(f"options {options!r} are no JSON object: give one, as '{{}}'")
    return given


def say(conversation: Conversation, text: str) -> Verdict:
    """Give a reply to a conversation that whoever owns the loop has drawn; its verdict. The last message of the
    conversation is then the verifier's feedback."""
    conversation.take(Reply((), Completion(text)))
    return conversation.turns[-1].verdict


def facts(verdict: Verdict) -> dict[str, Any]:
    """What a verdict says, as plain values."""
    return {
        "outcome": verdict.outcome,
        "reward": verdict.reward,
        "solved": verdict.solved,
        "feedback": verdict.feedback,
        "valid": verdict.valid,
        "read_right": verdict.read_right,
        "found": verdict.found,
        "advanced": verdict.advanced,
    }


def data_url(picture: Picture) -> str:
    """A picture as a PNG file in a URL."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def pil_image(picture: Picture) -> Any:
    """A picture as PIL has it."""
    from PIL import Image

    return Image.fromarray(pixels_of(picture))


def openai_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as OpenAI-compatible servers take them, pictures as data URLs before the text."""
    return [{"role": message.role, "content": _openai_content(message)} for message in messages]


def _openai_content(message: Message) -> str | list[dict[str, Any]]:
    if not message.pictures:
        return message.content
    shown = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in message.pictures]
    return [*shown, {"type": "text", "text": message.content}]
