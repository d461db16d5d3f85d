"""Episodes taken through their problems again, for what is not kept of them: pictures, and maps of walks."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import get_args

from ruleshift.engines.protocol import Reply
from ruleshift.errors import RuleshiftError
from ruleshift.pictures import png
from ruleshift.records import Completion
from ruleshift.results import Results
from ruleshift.revision import Conversation
from ruleshift.rollouts import KeptEpisode
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Mapped, Style, Task, TaskProblem


@dataclass(frozen=True)
class Replay:
    """What was to be seen: the pictures of each message as PNG files, and the map with the place of each reply, as SVG
    ("" where the problem has none)."""

    pictures: tuple[tuple[bytes, ...], ...]
    map: str


@dataclass(frozen=True)
class Stage:
    """The task of a study, whose steps took at most so many `turns`."""

    task: Task
    turns: int

    @cached_property
    def shows(self) -> bool:
        """Whether there is anything to see beside what is said."""
        return self.task.pictures or isinstance(self.task.problem(next(iter(self.task.splits())), 0, 0), Mapped)

    def scene(self, episode: KeptEpisode, pictures: bool = True) -> Replay | None:
        """The scene of an episode, without its pictures if they are not asked for. None where the same replies do not
        lead to the same words: the task had other options, or is of another version."""
        said = [text for _, text, _ in episode.messages]
        for style in get_args(Style):
            problem = self._problem(episode.problem, style, pictures)
            if problem is None:
                return None
            conversation = Conversation(problem, self.turns)
            if _texts(conversation) != said[: len(conversation.messages)]:
                continue
            for turn in episode.turns:
                conversation.take(Reply((), Completion(turn.text)))
            if _texts(conversation) == said:
                shown = tuple(tuple(map(png, message.pictures)) for message in conversation.messages)
                return Replay(shown, problem.map_svg() if isinstance(problem, Mapped) else "")
        return None

    def _problem(self, id: str, style: Style, pictures: bool) -> TaskProblem | None:
        """The problem of this id; None where there is none."""
        task = self.task if pictures else self.task.unseen()
        try:
            _, split, seed, index = id.split("/")
            problem = task.problem(split, int(seed), int(index), style)
        except (ValueError, RuleshiftError):
            return None
        return problem if problem.id == id else None


def stage_of(results: Results) -> Stage | None:
    """The stage of a study's results; None where its task is not at hand."""
    try:
        task = get_task(results.rows[0].task)
    except RuleshiftError:
        return None
    options, level = task.options(), results.meta.get("feedback", "full")
    if any(field.name == "feedback" for field in fields(options)):
        task = task.with_options(replace(options, feedback=level))
    return Stage(task, max(row.turns for row in results.rows))


def _texts(conversation: Conversation) -> Sequence[str]:
    conversation.request()
    return [message.content for message in conversation.messages]
