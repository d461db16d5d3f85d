"""Evaluations on disk, read without asking anybody."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.asking import Episodes, Questions
from ruleshift.evaluation.record import Answered, Kept, Slot, read_record
from ruleshift.records import Episode, Turn
from ruleshift.runs import RunFolder
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task


@dataclass(frozen=True)
class Finished:
    """An evaluation in a folder: what was asked, and what was answered, conversation by conversation."""

    folder: Path
    model: str
    decoding: str
    questions: Questions
    version: str
    kept: Kept

    def episodes(self) -> Episodes:
        """The conversations as they were judged then, without messages. Raises RuleshiftError where some have not
        ended."""
        missing = sum(not ended(self.kept.get(place, []), self.questions.turns) for place in self.questions.places())
        if missing:
            raise RuleshiftError(
                f"{missing} conversations of {self.folder} are not finished: run its eval again, which goes on"
            )
        return {place: judged_then(place, self.kept[place]) for place in self.questions.places()}


def load_finished(folder: Path) -> Finished:
    """Read an evaluation. Raises RuleshiftError for a folder that holds none."""
    if folder.is_file():
        raise RuleshiftError(
            f"{folder} is a file: name the folder of an evaluation, which `ruleshift eval --out` wrote"
        )
    stored = RunFolder(folder).read_config()
    config: Mapping[str, Any] = {} if stored is None else stored["config"]
    if config.get("verb") != "eval":
        raise RuleshiftError(f"{folder} holds no evaluation: name one that `ruleshift eval --out` wrote")
    try:
        asked = config["task"]
        task = _with_options(get_task(asked["name"]), asked["options"])
        numbers = {name: int(config[name]) for name in ("n", "turns", "seed", "samples")}
        questions = Questions(task, tuple(config["splits"]), style=config["style"], name=asked["name"], **numbers)
        model, decoding, version = str(config["model"]), str(config["decoding"]), str(asked["version"])
    except (LookupError, TypeError, ValueError) as error:
        raise RuleshiftError(f"{folder}/config.json is damaged ({error}): evaluate into another folder") from error
    return Finished(folder, model, decoding, questions, version, read_record(folder))


def is_evaluation(name: str) -> bool:
    """Whether a name is that of a folder with an evaluation in it."""
    return (Path(name) / "answers.jsonl").is_file()


def ended(kept: list[Answered], turns: int) -> bool:
    """Whether a conversation came to its end, by its verdicts."""
    tries = 0
    for answered in kept:
        tries = 0 if answered.verdict.advanced else tries + 1
        if answered.verdict.solved or answered.verdict.ended or tries == turns:
            return True
    return False


def judged_then(place: Slot, kept: list[Answered]) -> Episode:
    """A conversation with the verdicts of its time, without messages."""
    turns = tuple(Turn(a.reply.appended_ids, a.reply.completion, a.verdict) for a in kept)
    return Episode(f"{place.split}/{place.index}", turns, ())


def _with_options(task: Task, values: Mapping[str, Any]) -> Task:
    """The task under options as JSON gives them back."""
    kinds = get_type_hints(task.options)
    known = {field.name for field in dataclasses.fields(task.options)} & values.keys()
    read = {name: _read(values[name], kinds[name]) for name in known}
    return task.with_options(task.options(**read))


def _read(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if isinstance(value, str) and "Path" in str(kind) else value
