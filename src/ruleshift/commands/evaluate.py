"""`ruleshift eval`: what a policy solves, with intervals."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import tyro

from ruleshift.bounds import at_least
from ruleshift.commands.checks import check_file, check_split, command_line
from ruleshift.commands.opening import OnTask, Options
from ruleshift.commands.policies import (
    AnyStyle,
    Decoding,
    Drawing,
    ModelArguments,
    ModelOptions,
    Policy,
    Thinking,
    ThinkingArguments,
    open_policy,
)
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.records import Episode
    from ruleshift.results import Row
    from ruleshift.tasks.protocol import Task


@dataclass(frozen=True)
class Eval(OnTask[Options]):
    """Let a model answer the problems of a split, with the verifier's feedback between its turns, and count what it
    solves: success within 1, 2 ... turns with Wilson 95% intervals, and of first replies validity (right form to the
    letter) and recognition (the problem was read right). The same --seed gives every model the same problems.

    The steps of walks are pooled over routes, with intervals over routes: the more these differ, the wider, since the
    steps of one route are not independent. Steps passed is a mean over routes: how many steps come before one fails.

    Example: ruleshift eval gp-l --model bundled --split id --split rule-ood --json base.json
    """

    model: str = "bundled"
    """Who answers: bundled, expert (always right), random (right form, chance content), blind (never looks), a model
    folder, a hub id."""
    split: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Split to evaluate; give it again for several. Without it: rule-ood, and rule-ood-heldout where there is one."""
    n: int = 400
    """Problems of each split."""
    turns: int | None = None
    """Verification budget: most replies to a problem, or to each step of one; by default the task's (5, or 2)."""
    json: Path | None = None
    """File for the numbers, in the format of results.json (see `ruleshift report`)."""
    episodes: Path | None = None
    """Parquet file for the conversations."""
    decoding: Decoding = "greedy"
    """How replies are drawn."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_new_tokens: int | None = None
    """Longest reply, in tokens; by default 48 in the terse style and 512 in the others."""
    batch_size: int = 256
    """Conversations held at once."""
    style: AnyStyle = "auto"
    """Wording of the prompts; auto is what the model reads best."""
    seed: int = 1000
    """Seed of the deals and of the draws."""
    threads: int | None = None
    """Cores to compute on; by default those that are free."""
    loading: ModelArguments = ModelOptions()
    thoughts: ThinkingArguments = Thinking()

    stopped: ClassVar[str] = "nothing was written; run the same command again"

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.evaluation.episodes import save_episodes
        from ruleshift.results import save_results

        drawing = self._checked()
        task = self.open()
        usual = ("rule-ood", *(split for split in ("rule-ood-heldout",) if split in task.splits()))
        splits = tuple(dict.fromkeys(self.split or usual))
        for split in splits:
            check_split(task, split)
        began = time.monotonic()
        policy = open_policy(self.model, self.style, drawing, task.pictures, self.loading, self.thoughts)
        episodes = self._answer(task, splits, policy)
        rows = self._rows(task, episodes)
        references = self._references(task, splits)
        if self.episodes is not None:
            save_episodes(self.episodes, [episode for split in splits for episode in episodes[split]])
        if self.json is not None:
            save_results(self.json, [*rows, *references], self._meta(task, splits, policy, time.monotonic() - began))
        problems = _counted(len(answered) for answered in episodes.values())
        told = "".join(f", {name} {value}" for name, value in self.options_given().items())
        title = f"{self.model} on {task.id}, {self.decoding}, {problems} problems{told}"
        Console().print(_table(title, rows, references))

    def _checked(self) -> Drawing:
        at_least("--n", self.n, 1)
        if self.turns is not None:
            at_least("--turns", self.turns, 1)
        drawing = Drawing(
            self.decoding, self.temperature, self.max_new_tokens, self.batch_size, self.seed, self.threads
        )
        drawing.check()
        check_file("--json", self.json)
        check_file("--episodes", self.episodes)
        if self.json is not None and self.episodes is not None and self.json.resolve() == self.episodes.resolve():
            raise RuleshiftError(f"--json and --episodes are both {self.json}: choose another name for one")
        return drawing

    def _answer(self, task: "Task", splits: Sequence[str], policy: Policy) -> "dict[str, list[Episode]]":
        from ruleshift.commands.bars import Bar
        from ruleshift.evaluation.evaluate import evaluate
        from ruleshift.tasks.protocol import how_many

        turns, pictured = self.turns or task.default_turns, None if self.episodes is not None else 0
        with Bar("eval", sum(how_many(task, split, self.n) for split in splits)) as bar:
            return {
                split: evaluate(
                    policy.engine, task, split, self.n, turns, policy.style, self.seed, bar.advance, pictured
                )
                for split in splits
            }

    def _rows(self, task: "Task", episodes: "Mapping[str, Sequence[Episode]]") -> "list[Row]":
        """Rows of arm `base`: a model as it comes. How far it is from any start, and its compute, nobody measured."""
        from ruleshift.evaluation.evaluate import Point, cell_of, rows_of

        cells = tuple(cell_of(split, self.decoding, answered) for split, answered in episodes.items())
        budgets = range(1, (self.turns or task.default_turns) + 1)
        rows = rows_of(Point(task.id, "base", 0, 0, 0.0, 0.0, cells), budgets, task.metric != "success")
        return [replace(row, kl_to_start=None, train_flops=None) for row in rows]

    def _references(self, task: "Task", splits: Sequence[str]) -> "list[Row]":
        """Floors and ceiling on the same problems, but for who answers already."""
        from ruleshift.evaluation.floors import reference_rows

        turns = range(1, (self.turns or task.default_turns) + 1)
        rows = reference_rows(task, splits, self.n, turns, [self.decoding], self.seed)
        return [row for row in rows if row.arm != self.model]

    def _meta(self, task: "Task", splits: Sequence[str], policy: Policy, seconds: float) -> dict[str, object]:
        from ruleshift.runs import environment

        here = environment()
        descriptions = task.splits()
        return {
            "title": f"{self.model} on {task.id}",
            "command": command_line(),
            "seeds": [0],
            "commit": here["git_commit"],
            "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "duration_s": round(seconds, 1),
            "versions": here["packages"],
            "threads": here["threads"],
            "splits": {split: descriptions[split] for split in splits},
            "model": self.model,
            "metric": task.metric,
            **self.options_given(),
            "style": policy.style,
            "temperature": self.temperature if self.decoding == "sampled" else 0.0,
            "problem_seed": self.seed,
            **({"chat": policy.facts} if policy.facts else {}),
        }


def _counted(numbers: Iterable[int]) -> str:
    """The numbers of problems that splits have, as one number if they agree."""
    distinct = sorted(set(numbers))
    return f"{distinct[0]} to {distinct[-1]}" if len(distinct) > 1 else str(distinct[0])


def _table(title: str, rows: "Sequence[Row]", references: "Sequence[Row]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ruleshift.evaluation.evaluate import OF_FIRST_REPLIES
    from ruleshift.report.arms import references_in
    from ruleshift.report.tables import is_share, number

    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("split", "metric"):
        table.add_column(heading)
    others = references_in(references)
    for heading in ("value", "95% interval", *(f"{kind}:\n{name}" for name, kind in others.items())):
        table.add_column(heading, justify="right", no_wrap=True)
    known = {(row.arm, row.split, row.metric, row.turns): row.value for row in references}
    previous = None
    for row in rows:
        if previous not in (None, row.split):
            table.add_section()
        of_first = row.metric in OF_FIRST_REPLIES
        metric = row.metric.replace("_", " ") + (" of first replies" if of_first else f" within {row.turns}")
        if is_share(row.metric):
            unit = "%"
        else:
            metric, unit = f"{metric} (mean)", ""
        value, low, high = (number(x, row.metric) + unit for x in (row.value, row.ci_low, row.ci_high))
        beside = [number(known[name, row.split, row.metric, row.turns], row.metric) + unit for name in others]
        table.add_row("" if previous == row.split else row.split, metric, value, f"{low} to {high}", *beside)
        previous = row.split
    return table
