"""`ruleshift play`: one problem, for a person or a model."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from ruleshift.backbones.room import Saving, halved, room_for
from ruleshift.bounds import at_least
from ruleshift.commands.answering import shorter_replies, shorter_thoughts
from ruleshift.commands.checks import check_file, check_folder, has_braille, make_folder, printable
from ruleshift.commands.opening import OnTask, Options
from ruleshift.commands.policies import (
    AnyStyle,
    Decoding,
    Drawing,
    ModelArguments,
    ModelOptions,
    Thinking,
    ThinkingArguments,
    open_policy,
)
from ruleshift.commands.serving import Serving, ServingArguments
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import check_split

if TYPE_CHECKING:
    from rich.console import Console

    from ruleshift.engines.protocol import Insider, Request
    from ruleshift.records import Episode, Message, Picture, Verdict
    from ruleshift.tasks.protocol import TaskProblem


@dataclass(frozen=True)
class Play(OnTask[Options]):
    """See a problem, answer it, and read what the verifier says, until it is solved or the turns are spent.
    Type a formula, or a whole reply in JSON; Ctrl-D ends. With --model, a model plays and you watch.

    Example: ruleshift play gp-l --split rule-ood
    """

    split: str = "rule-ood"
    """Split that the problem comes from."""
    seed: int = 0
    """Seed of the deals, and of a model's draws."""
    index: int = 0
    """Which problem of the split."""
    model: str = "none"
    """Who plays: none (you), bundled, smollm2, expert, random, blind, a model folder, a hub id, or api:NAME (see
    --base-url)."""
    map: Path | None = None
    """File to draw the map of a walk into, as a picture (SVG)."""
    pictures: Path | None = None
    """Of a task in pictures: folder for those that are shown, as PNG files named after the problem; by default a
    temporary one."""
    turns: int | None = None
    """Verification budget: most replies, to each step of a problem that has several; by default the task's."""
    style: AnyStyle = "auto"
    """Wording of the prompt; auto is full for people, and what a model reads best."""
    decoding: Decoding = "sampled"
    """How a model's replies are drawn."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_new_tokens: int | None = None
    """Longest reply of a model, in tokens; by default as in eval."""
    threads: int | None = None
    """Cores that a model computes on; by default those that are free."""
    loading: ModelArguments = ModelOptions()
    thoughts: ThinkingArguments = Thinking()
    serving: ServingArguments = Serving()

    stopped: ClassVar[str] = "goodbye"

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.revision import revise
        from ruleshift.tasks.protocol import how_many

        if self.turns is not None:
            at_least("--turns", self.turns, 1)
        at_least("--index", self.index, 0)
        drawing = Drawing(self.decoding, self.temperature, self.max_new_tokens, seed=self.seed, threads=self.threads)
        drawing.check()
        task = self.open()
        if self.pictures is not None and not task.pictures:
            raise RuleshiftError(f"--pictures is for tasks that show pictures, and {task.id} does not: leave it out")
        check_split(task, self.split)
        count = how_many(task, self.split, self.index + 1)
        if self.index >= count:
            raise RuleshiftError(f"there is no --index {self.index}: {self.split} has problems 0 to {count - 1}")
        check_file("--map", self.map)
        turns = self.turns or task.default_turns
        if self.pictures is not None:
            check_folder("--pictures", self.pictures)
        console = Console(highlight=False)
        if self.model == "none":
            problem = task.problem(self.split, self.seed, self.index, "full" if self.style == "auto" else self.style)
            album = _Album(console, self.pictures, problem.id)
            judged = self.options_given().get("feedback") != "silent"
            _play_by_hand(console, album, problem, turns, self._map_of(problem, console), judged)
            return
        policy = open_policy(self.model, self.style, drawing, task.pictures, self.loading, self.thoughts, self.serving)
        problem = task.problem(self.split, self.seed, self.index, policy.style)
        self._map_of(problem, console)
        album = _Album(console, self.pictures, problem.id)

        def savings() -> list[Saving]:
            return [
                *halved("turns", turns),
                *shorter_replies(drawing, policy),
                *shorter_thoughts(self.thoughts),
            ]

        with room_for("while the model played", savings):
            episode = revise([problem], policy.engine, turns)[0]
        _show_episode(console, album, episode)

    def _map_of(self, problem: "TaskProblem", console: "Console") -> "Callable[[], str] | None":
        """Where a problem has a map: what draws it for the terminal, as things stand. Writes the picture, too."""
        from ruleshift.files import write_atomically
        from ruleshift.tasks.protocol import Mapped

        if not isinstance(problem, Mapped):
            if self.map is not None:
                raise RuleshiftError(f"--map is for tasks with a map, which {self.task} has not: leave it out")
            return None
        if self.map is not None:
            write_atomically(self.map, problem.map_svg())
            print(f"map: {self.map}")
        width, plain = min(72, console.width), not has_braille(console.encoding)
        return lambda: problem.map_text(width, plain)


@dataclass
class _Album:
    """The folder (None: a temporary one) that a problem's pictures go into as they are shown, a file each."""

    console: "Console"
    folder: Path | None
    problem: str
    shown: int = field(default=0, init=False)

    def show(self, pictures: "Sequence[Picture]") -> None:
        from ruleshift.commands.datafiles import picture_name
        from ruleshift.files import write_atomically
        from ruleshift.pictures import png

        for picture in pictures:
            if self.folder is None:
                self.folder = Path(tempfile.mkdtemp(prefix="ruleshift-"))
            make_folder("--pictures", self.folder)
            self.shown += 1
            path = self.folder / picture_name(self.problem, self.shown)
            write_atomically(path, png(picture))
            self.console.print(f"picture: {path}", markup=False, soft_wrap=True)


def _play_by_hand(
    console: "Console",
    album: _Album,
    problem: "TaskProblem",
    turns: int,
    draw_map: "Callable[[], str] | None",
    judged: bool,
) -> None:
    from ruleshift.revision import revise

    shown = cast("TaskProblem", _Shown(problem, console, album, judged))
    try:
        episode = revise([shown], _person(console, album, draw_map), turns)[0]
    except EOFError:
        console.print()
    else:
        if episode.solved:
            return
    console.print("A right answer:", problem.gold(), markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Shown:
    """A problem whose verdicts are shown as they are given; where they are not `judged`, their feedback alone."""

    problem: "TaskProblem"
    console: "Console"
    album: _Album
    judged: bool

    @property
    def id(self) -> str:
        return self.problem.id

    def context(self) -> "Sequence[Message]":
        return self.problem.context()

    def submit(self, reply: str, last: bool) -> "Verdict":
        verdict = self.problem.submit(reply, last)
        _show_verdict(self.console, self.album, verdict, self.judged)
        return verdict

    def reply(self, answer: str) -> str:
        return self.problem.reply(answer)


def _person(console: "Console", album: _Album, draw_map: "Callable[[], str] | None") -> "Insider":
    """Somebody at the terminal, who is shown the map before every reply. Raises EOFError when they leave."""
    from ruleshift.engines.protocol import Insider

    def answer(problem: "TaskProblem", request: "Request") -> str:
        turn = 1 + sum(message.role == "assistant" for message in request.messages)
        if turn == 1:
            for message in request.messages:
                album.show(message.pictures)
                _show(console, request.id, message.content)
            console.print("Type an answer, or a whole reply in JSON; Ctrl-D ends.", style="dim")
        if draw_map is not None:
            console.print(printable(draw_map()), markup=False, no_wrap=True, style="dim")
        typed = ""
        while not typed:
            typed = console.input(f"reply {turn}> ", markup=False).strip()
        return typed if typed.startswith("{") else problem.reply(typed)

    return Insider(answer)


def _show_episode(console: "Console", album: _Album, episode: "Episode") -> None:
    """A finished conversation, with the verdict of every reply."""
    first = len(episode.messages) - 2 * len(episode.turns)
    for message in episode.messages[:first]:
        album.show(message.pictures)
        _show(console, episode.problem_id, message.content)
    for number, turn in enumerate(episode.turns, 1):
        if turn.completion.served is not None and turn.completion.served.thought:
            _show(console, f"thought {number}", turn.completion.served.thought)
        _show(console, f"reply {number}", turn.completion.text)
        _show_verdict(console, album, turn.verdict)
    ending = "solved" if episode.solved else "not solved"
    count = len(episode.turns)
    replies = f"{count} {'reply' if count == 1 else 'replies'}"
    console.print(f"{ending}, {replies}, total reward {episode.total_reward:+g}", style="bold")


def _show(console: "Console", title: str, text: str) -> None:
    from rich.panel import Panel
    from rich.text import Text

    console.print(Panel(Text(printable(text)), title=Text(title), title_align="left"))


def _show_verdict(console: "Console", album: _Album, verdict: "Verdict", judged: bool = True) -> None:
    colour = "green" if verdict.solved or verdict.reward > 0 else "red"
    if judged:
        console.print(f"{verdict.outcome.replace('_', ' ')}, reward {verdict.reward:+g}", style=colour, markup=False)
    console.print(printable(verdict.feedback), markup=False, soft_wrap=True)
    album.show(verdict.pictures)
