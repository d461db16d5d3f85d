"""`ruleshift play`: one problem, for a person or a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

import tyro

from ruleshift.commands.checks import at_least, check_file, check_split, printable
from ruleshift.commands.policies import AnyStyle, Decoding, Drawing, open_policy
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from rich.console import Console

    from ruleshift.engines.text import TextEngine
    from ruleshift.records import Episode, Message, Verdict
    from ruleshift.tasks.protocol import Problem, TaskProblem


@dataclass(frozen=True)
class Play:
    """See a problem, answer it, and read what the verifier says, until it is solved or the turns are spent.
    Type a formula, or a whole reply in JSON; Ctrl-D ends. With --model, a model plays and you watch.

    Example: ruleshift play gp-l --split rule-ood
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task id: gp-l or virl-l."""
    split: str = "rule-ood"
    """Split that the problem comes from."""
    seed: int = 0
    """Seed of the deals, and of a model's draws."""
    index: int = 0
    """Which problem of the split."""
    routes: Path | None = None
    """virl-l only: walk routes of your own, the paper's data (a folder, .json) or a map (.osm.pbf, .osm, .graphml)."""
    model: str = "none"
    """Who plays: none (you), bundled, expert, random, a model folder, or a hub id."""
    map: Path | None = None
    """virl-l only: file to draw the route on its map into, as a picture (SVG)."""
    turns: int | None = None
    """Verification budget: most replies, to each step of a problem that has several; by default the task's."""
    style: AnyStyle = "auto"
    """Wording of the prompt; auto is full for people, and what a model reads best."""
    decoding: Decoding = "sampled"
    """How a model's replies are drawn."""
    temperature: float = 1.0
    """Sampling temperature."""

    stopped: ClassVar[str] = "goodbye"

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.commands.opening import open_task
        from ruleshift.revision import revise

        if self.turns is not None:
            at_least("--turns", self.turns, 1)
        at_least("--index", self.index, 0)
        drawing = Drawing(self.decoding, self.temperature, seed=self.seed)
        drawing.check()
        task = open_task(self.task, self.routes)
        check_split(task, self.split)
        check_file("--map", self.map)
        turns = self.turns or task.default_turns
        console = Console(highlight=False)
        if self.model == "none":
            problem = task.problem(self.split, self.seed, self.index, "full" if self.style == "auto" else self.style)
            _play_by_hand(console, problem, turns, self._map_of(problem))
            return
        policy = open_policy(self.model, self.style, drawing)
        problem = task.problem(self.split, self.seed, self.index, policy.style)
        self._map_of(problem)
        _show_episode(console, revise([problem], policy.engine, turns)[0])

    def _map_of(self, problem: "TaskProblem") -> "Callable[[], str] | None":
        """For a walk: what draws its map for the terminal, with the walker where she is. Writes the picture, too."""
        from ruleshift.tasks.virl.task import VirlProblem

        if not isinstance(problem, VirlProblem):
            if self.map is not None:
                raise RuleshiftError(f"--map is for tasks that walk routes, and {self.task} does not: leave it out")
            return None
        from ruleshift.files import write_atomically
        from ruleshift.report.citymap import draw_route
        from ruleshift.report.walkmap import terminal_map
        from ruleshift.tasks.virl.sources import city_of, credit_of

        city = city_of(problem.route, self.routes)
        if self.map is not None:
            write_atomically(
                self.map, draw_route(city, problem.route, problem.itinerary.points, credit_of(self.routes))
            )
            print(f"map: {self.map}")
        return lambda: terminal_map(city, problem.route, problem.point)


def _play_by_hand(console: "Console", problem: "TaskProblem", turns: int, draw_map: "Callable[[], str] | None") -> None:
    from ruleshift.revision import revise

    try:
        episode = revise([cast("TaskProblem", _Shown(problem, console))], _person(console, draw_map), turns)[0]
    except EOFError:
        console.print()
    else:
        if episode.solved:
            return
    console.print("A right answer:", problem.gold(), markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Shown:
    """A problem whose verdicts are shown as they are given."""

    problem: "TaskProblem"
    console: "Console"

    @property
    def id(self) -> str:
        return self.problem.id

    def context(self) -> "Sequence[Message]":
        return self.problem.context()

    def submit(self, reply: str, last: bool) -> "Verdict":
        verdict = self.problem.submit(reply, last)
        _show_verdict(self.console, verdict)
        return verdict

    def reply(self, answer: str) -> str:
        return self.problem.reply(answer)


def _person(console: "Console", draw_map: "Callable[[], str] | None") -> "TextEngine":
    """Somebody at the terminal, who is shown the map before every reply. Raises EOFError when they leave."""
    from ruleshift.engines.text import TextEngine

    def answer(problem: "Problem", messages: "Sequence[Message]") -> str:
        turn = 1 + sum(message.role == "assistant" for message in messages)
        if turn == 1:
            for message in messages:
                _show(console, problem.id, message.content)
            console.print("Type an answer, or a whole reply in JSON; Ctrl-D ends.", style="dim")
        if draw_map is not None:
            console.print(printable(draw_map()), markup=False, no_wrap=True, style="dim")
        typed = ""
        while not typed:
            typed = console.input(f"reply {turn}> ", markup=False).strip()
        return typed if typed.startswith("{") else cast("TaskProblem", problem).reply(typed)

    return TextEngine(answer)


def _show_episode(console: "Console", episode: "Episode") -> None:
    """A finished conversation, with the verdict of every reply."""
    first = len(episode.messages) - 2 * len(episode.turns)
    for message in episode.messages[:first]:
        _show(console, episode.problem_id, message.content)
    for number, turn in enumerate(episode.turns, 1):
        _show(console, f"reply {number}", turn.completion.text)
        _show_verdict(console, turn.verdict)
    ending = "solved" if episode.solved else "not solved"
    count = len(episode.turns)
    replies = f"{count} {'reply' if count == 1 else 'replies'}"
    console.print(f"{ending}, {replies}, total reward {episode.total_reward:+g}", style="bold")


def _show(console: "Console", title: str, text: str) -> None:
    from rich.panel import Panel
    from rich.text import Text

    console.print(Panel(Text(printable(text)), title=Text(title), title_align="left"))


def _show_verdict(console: "Console", verdict: "Verdict") -> None:
    colour = "green" if verdict.solved or verdict.reward > 0 else "red"
    console.print(f"{verdict.outcome.replace('_', ' ')}, reward {verdict.reward:+g}", style=colour, markup=False)
    console.print(printable(verdict.feedback), markup=False, soft_wrap=True)
