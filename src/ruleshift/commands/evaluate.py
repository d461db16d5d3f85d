"""`ruleshift eval`: what a policy solves, with intervals."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from ruleshift.bounds import at_least
from ruleshift.commands.answering import room_to_answer
from ruleshift.commands.checks import check_file, command_line
from ruleshift.commands.following import Following, served_facts, spent_in_words
from ruleshift.commands.opening import OnTask, Options
from ruleshift.commands.policies import (
    AnyStyle,
    Drawing,
    DrawingArguments,
    ModelArguments,
    ModelOptions,
    Policy,
    Thinking,
    ThinkingArguments,
    open_policy,
)
from ruleshift.commands.recording import all_asked, recorded, what_remains
from ruleshift.commands.serving import NO_BUDGET, BudgetArguments, Serving, ServingArguments
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import check_split

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.evaluation.asking import Episodes, Questions
    from ruleshift.evaluation.record import Record
    from ruleshift.results import Row
    from ruleshift.tasks.protocol import Task


@dataclass(frozen=True)
class Eval(OnTask[Options]):
    """Let a model answer the problems of a split, with the verifier's feedback between its turns, and count what it
    solves: success within 1, 2 ... turns with Wilson 95% intervals, and of first replies validity (right form to the
    letter) and recognition (the problem was read right). The same --seed gives every model the same problems.

    The steps of walks are pooled over routes, with intervals over routes: the more these differ, the wider, since the
    steps of one route are not independent. Steps passed is a mean over routes: how many steps come before one fails.

    With --out every verdict is on disk as soon as it is given, and the same command goes on where it was stopped.

    Example: ruleshift eval gp-l --model bundled --split id --split rule-ood --out runs/base

    Example: ruleshift eval gp-l --model api:qwen3 --base-url http://localhost:8000/v1 --out runs/qwen3
    """

    model: str = "bundled"
    """Who answers: bundled, smollm2, expert (always right), random (right form, chance content), blind (never looks), a
    model folder, a hub id, api:NAME (a model behind a server, see --base-url)."""
    split: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Split to evaluate; give it again for several. Without it: rule-ood, and rule-ood-heldout where there is one."""
    n: int = 400
    """Problems of each split."""
    turns: tyro.conf.UseAppendAction[tuple[int, ...]] = ()
    """Verification budget: most replies to a problem, or to each step of one; by default the task's (5, or 2). Given
    once, success is shown within 1, 2 ... up to it; given again for several, within these."""
    samples: int = 1
    """Conversations about each problem, with --decoding sampled: pass@k, distinct answers, pass rates of problems."""
    out: Path | None = None
    """Folder for the record (answers.jsonl, results.json), from which a stopped evaluation resumes."""
    json: Path | None = None
    """File for the numbers, in the format of results.json (see `ruleshift report`)."""
    episodes: Path | None = None
    """Parquet file for the conversations."""
    drawing: DrawingArguments = Drawing(seed=1000)
    style: AnyStyle = "auto"
    """Wording of the prompts; auto is what the model reads best."""
    loading: ModelArguments = ModelOptions()
    thoughts: ThinkingArguments = Thinking()
    serving: ServingArguments = Serving()
    budget: BudgetArguments = NO_BUDGET

    @property
    def stopped(self) -> str:
        if self.out is None:
            return "nothing was written; give --out FOLDER to keep what is answered, or run the same command again"
        return what_remains(self.out)

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.engines.protocol import NoMoreAnswers
        from ruleshift.evaluation.episodes import save_episodes
        from ruleshift.outcomes import CUT
        from ruleshift.results import save_results

        self._check()
        task = self.open()
        usual = ("rule-ood", *(split for split in ("rule-ood-heldout",) if split in task.splits()))
        splits = tuple(dict.fromkeys(self.split or usual))
        for split in splits:
            check_split(task, split)
        began = time.monotonic()
        policy = open_policy(
            self.model, self.style, self.drawing, task.pictures, self.loading, self.thoughts, self.serving, self.budget
        )
        questions = self._questions(task, splits, policy)
        asked = all_asked(self, questions, self.model, policy)
        with recorded(self.out, asked, policy) as record:
            asked_at = time.monotonic()
            try:
                episodes = self._answer(questions, policy, record)
            except NoMoreAnswers as error:
                raise RuleshiftError(f"{error}; {self.stopped}") from error
            rate = _said(episodes, record) / max(time.monotonic() - asked_at, 1e-3)
            rows = self._rows(questions, episodes)
            references = self._references(questions)
            meta = self._meta(questions, policy, time.monotonic() - began)
            meta |= {"tokens_per_s": round(rate, 1)} if rate else {}
            if self.episodes is not None:
                save_episodes(self.episodes, list(episodes.values()))
            for file in (self.json, self.out and self.out / "results.json"):
                if file is not None:
                    save_results(file, [*rows, *references], meta)
        problems = _counted(len({p.index for p in episodes if p.split == split}) for split in splits)
        told = "".join(f", {name} {value}" for name, value in self.options_given().items())
        several = f", {self.samples} samples" if self.samples > 1 else ""
        title = f"{self.model} on {task.id}, {self.drawing.decoding}, {problems} problems{several}{told}"
        Console().print(_table(title, rows, references))
        if any(row.metric == CUT for row in rows):
            speed = f"{rate:,.1f} reply tokens/s; " if rate else ""
            split = next(row.split for row in rows if row.metric == CUT)
            print(f"{speed}what was said: {self._played(split)}, or here with --episodes FILE")
        if policy.remote is not None:
            print(spent_in_words(policy.remote.spending))

    def _played(self, split: str) -> str:
        """The command that shows what is said of the first problem of a split."""
        from ruleshift.commands.play import Play

        drawing = self.drawing
        shown = Play(
            self.task,
            self.options,
            split,
            drawing.seed,
            model=self.model,
            turns=max(self.turns, default=None),
            style=self.style,
            decoding=drawing.decoding,
            temperature=drawing.temperature,
            max_new_tokens=drawing.max_new_tokens,
            threads=drawing.threads,
            loading=self.loading,
            thoughts=self.thoughts,
            serving=self.serving,
        )
        return shown.typed("play")

    def _check(self) -> None:
        at_least("--n", self.n, 1)
        for turns in self.turns:
            at_least("--turns", turns, 1)
        at_least("--samples", self.samples, 1)
        if self.samples > 1 and self.drawing.decoding == "greedy":
            raise RuleshiftError("--samples are alike in greedy decoding: add --decoding sampled")
        self.drawing.check()
        check_file("--json", self.json)
        check_file("--episodes", self.episodes)
        if self.json is not None and self.episodes is not None and self.json.resolve() == self.episodes.resolve():
            raise RuleshiftError(f"--json and --episodes are both {self.json}: choose another name for one")

    def _questions(self, task: "Task", splits: tuple[str, ...], policy: Policy) -> "Questions":
        from ruleshift.evaluation.asking import Questions

        turns = max(self.turns, default=task.default_turns)
        return Questions(
            task, splits, self.n, turns, policy.style, self.drawing.seed, self.samples, self.task, self.options
        )

    def _budgets(self, task: "Task") -> Sequence[int]:
        """The budgets that results are shown for."""
        if len(self.turns) > 1:
            return sorted(set(self.turns))
        return range(1, max(self.turns, default=task.default_turns) + 1)

    def _answer(self, questions: "Questions", policy: Policy, record: "Record | None") -> "Episodes":
        from ruleshift.commands.bars import Bar
        from ruleshift.evaluation.asking import ask

        room = room_to_answer(policy, self.drawing, self.thoughts, questions, elsewhere=self.out is not None)
        with room, Bar("eval", len(questions.places())) as bar:
            return ask(questions, policy.engine, record, Following(bar, policy), self.episodes is not None)

    def _rows(self, questions: "Questions", episodes: "Episodes") -> "list[Row]":
        """Rows of arm `base`: a model as it comes. How far it is from any start, and its compute, nobody measured."""
        from ruleshift.evaluation.failures import with_explanations
        from ruleshift.evaluation.profile import rows_of_samples

        rows = rows_of_samples(questions, episodes, self.drawing.decoding, self._budgets(questions.task))
        rows = [replace(row, kl_to_start=None, train_flops=None) for row in rows]
        return with_explanations(rows, questions, episodes)

    def _references(self, questions: "Questions") -> "list[Row]":
        """Floors and ceiling on the same problems, but for who answers already."""
        from ruleshift.evaluation.floors import reference_rows

        turns = self._budgets(questions.task)
        drawing = self.drawing
        rows = reference_rows(
            questions.task, questions.splits, self.n, turns, [drawing.decoding], drawing.seed, questions.style
        )
        return [row for row in rows if row.arm != self.model]

    def _meta(self, questions: "Questions", policy: Policy, seconds: float) -> dict[str, object]:
        from ruleshift.runs import environment

        here = environment()
        task, descriptions = questions.task, questions.task.splits()
        return {
            "title": f"{self.model} on {task.id}",
            "command": command_line(),
            "seeds": [0],
            "commit": here["git_commit"],
            "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "duration_s": round(seconds, 1),
            "versions": here["packages"],
            "threads": here["threads"],
            "splits": {split: descriptions[split] for split in questions.splits},
            "model": self.model,
            "metric": task.metric,
            **self.options_given(),
            "style": policy.style,
            "temperature": self.drawing.temperature if self.drawing.decoding == "sampled" else 0.0,
            "problem_seed": self.drawing.seed,
            **({"chat": policy.facts} if policy.facts else {}),
            **({"served": served_facts(policy.remote)} if policy.remote is not None else {}),
        }


def _said(episodes: "Episodes", record: "Record | None") -> int:
    """How many tokens of replies this call drew: those of the record were there."""
    there = [] if record is None else [one.reply.completion for kept in record.kept.values() for one in kept]
    drawn = [turn.completion for episode in episodes.values() for turn in episode.turns]
    return sum(len(one.token_ids) for one in drawn) - sum(len(one.token_ids) for one in there)


def _counted(numbers: Iterable[int]) -> str:
    """The numbers of problems that splits have, as one number if they agree."""
    distinct = sorted(set(numbers))
    return f"{distinct[0]} to {distinct[-1]}" if len(distinct) > 1 else str(distinct[0])


def _table(title: str, rows: "Sequence[Row]", references: "Sequence[Row]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ruleshift.evaluation.evaluate import OF_FIRST_REPLIES
    from ruleshift.evaluation.profile import DISTINCT
    from ruleshift.outcomes import OF_REPLIES, name_of
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
        of_first = row.metric in (*OF_FIRST_REPLIES, *DISTINCT)
        metric = row.metric.replace("_", " ") + (" of first replies" if of_first else f" within {row.turns}")
        if row.metric.startswith(OF_REPLIES):
            metric = f"{name_of(row.metric)}, of all replies"
        if is_share(row.metric):
            unit = "%"
        else:
            metric, unit = f"{metric} (mean)", ""
        value, low, high = (number(x, row.metric) + unit for x in (row.value, row.ci_low, row.ci_high))
        values = [known.get((name, row.split, row.metric, row.turns)) for name in others]
        beside = ["-" if value is None else number(value, row.metric) + unit for value in values]
        table.add_row("" if previous == row.split else row.split, metric, value, f"{low} to {high}", *beside)
        previous = row.split
    return table
