"""`ruleshift compare`: models side by side on the same problems, the report card."""

import dataclasses
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ruleshift.backbones.config import API, INSIDERS, NAMED
from ruleshift.bounds import at_least
from ruleshift.commands.answering import room_to_answer
from ruleshift.commands.checks import check_apart, command_line, make_folder
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
from ruleshift.engines.protocol import NoMoreAnswers
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from ruleshift.evaluation.card import Subject, TaskCard
    from ruleshift.evaluation.finished import Finished
    from ruleshift.evaluation.revising import Price
    from ruleshift.evaluation.suites import Suite
    from ruleshift.report.card import CardSection
    from ruleshift.tasks.protocol import Task


@dataclass(frozen=True)
class Compare:
    """Compare models, checkpoints, models behind servers (api:NAME@http://...) and finished evaluations (folders of
    ruleshift eval --out) on the same problems. The report card says whether each follows a shifted rule, whether it
    applies the trained one where another is stated, how it stands between floor and ceiling, how far further turns pay
    and what they cost, and how the subjects differ, with intervals, in words, and as a page.

    --out keeps the record of every model: a stopped comparison goes on with the same command, and one that names
    another subject asks only that one.

    Example: ruleshift compare bundled runs/rl/model --out cards/rl

    Example: ruleshift compare runs/a runs/b --out cards/ab
    """

    subjects: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="A B ...")]
    """Models (as eval --model takes them), or folders of evaluations."""
    out: Path
    """Folder for the records, card.json and card.html."""
    suite: Literal["quick", "full"] = "quick"
    """Which splits, and how many problems of each, models are asked: quick for minutes, full for publication."""
    task: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Task to compare on; give it again for several. Without it: gp-l and virl-l, or those of the evaluations."""
    turns: int | None = None
    """Verification budget: most replies to a problem, or to each step of one; by default the task's (5, or 2), and
    beside evaluations theirs, or fewer."""
    drawing: DrawingArguments = Drawing(seed=1000)
    style: AnyStyle = "auto"
    """Wording of the prompts; auto is what each model reads best."""
    price: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """What a subject costs per million tokens of prompts and of replies, as SUBJECT=0.15,0.6; give it again for others.
    Without it, --price-in and --price-out."""
    loading: ModelArguments = ModelOptions()
    thoughts: ThinkingArguments = Thinking()
    serving: ServingArguments = Serving()
    budget: BudgetArguments = NO_BUDGET

    @property
    def stopped(self) -> str:
        return what_remains(self.out)

    def run(self) -> None:
        from ruleshift.evaluation.card import task_card
        from ruleshift.evaluation.suites import SUITES
        from ruleshift.report.card import section

        if len(set(self.subjects)) < max(2, len(self.subjects)):
            raise RuleshiftError("name at least two subjects, each once: ruleshift compare A B --out FOLDER")
        if self.turns is not None:
            at_least("--turns", self.turns, 1)
        prices = self._prices()
        self._check_subjects()
        self.drawing.check()
        check_apart("--out", self.out)
        suite = SUITES[self.suite]
        try:
            by_task = self._subjects(suite, prices)
        except NoMoreAnswers as error:
            raise RuleshiftError(f"{error}; {self.stopped}") from error
        cards = [task_card(subjects) for subjects in by_task.values()]
        sections = [section(card) for card in cards]
        self._save(suite, cards, sections)
        _show(sections)
        print(f"card: {self.out / 'card.html'}")

    def _subjects(self, suite: "Suite", prices: "Mapping[str, Price]") -> "dict[str, list[Subject]]":
        """The subjects of each task, models evaluated."""
        from ruleshift.evaluation.card import Subject
        from ruleshift.evaluation.finished import is_evaluation, load_finished
        from ruleshift.evaluation.suites import TEXT
        from ruleshift.tasks import get_task

        kept = {name: load_finished(Path(name)) for name in self.subjects if is_evaluation(name)}
        known = {finished.questions.name for finished in kept.values()}
        names = tuple(dict.fromkeys(self.task)) or tuple(sorted(known)) or TEXT
        if len(known) > 1:
            raise RuleshiftError(f"the evaluations are of {', '.join(sorted(known))}: compare those of one task")
        if not known <= set(names):
            raise RuleshiftError(f"the evaluations are of {min(known)}: name that as --task, or leave --task out")
        had = min((finished.questions.turns for finished in kept.values()), default=self.turns or 0)
        if self.turns is not None and self.turns > had:
            raise RuleshiftError(f"the evaluations had {had} turns, and no model has more beside them: lower --turns")
        tasks = {name: get_task(name) for name in names if not known or name in known}
        found: dict[str, list[Subject]] = {name: [] for name in tasks}
        for subject in self.subjects:
            policies: dict[bool, Policy] = {}
            for name, task in tasks.items():
                if subject in kept:
                    finished = kept[subject]
                else:
                    like = next(iter(kept.values()), None)
                    finished = self._evaluated(subject, name, task, suite, policies, like)
                found[name].append(Subject(subject, finished, prices[subject]))
        return found

    def _evaluated(
        self,
        subject: str,
        name: str,
        task: "Task",
        suite: "Suite",
        policies: dict[bool, Policy],
        like: "Finished | None",
    ) -> "Finished":
        """A model on the problems of the suite, or on those that a finished evaluation met."""
        from ruleshift.commands.bars import Bar
        from ruleshift.commands.following import Following
        from ruleshift.evaluation.asking import Questions, ask
        from ruleshift.evaluation.finished import load_finished

        if task.pictures not in policies:
            remote = subject.startswith(API)
            policies[task.pictures] = open_policy(
                subject,
                self.style,
                self.drawing,
                task.pictures,
                self.loading,
                self.thoughts,
                self.serving if remote else Serving(),
                self.budget if remote else NO_BUDGET,
            )
        policy, part = policies[task.pictures], suite.part(task, name)
        questions = Questions(
            task,
            part.splits,
            part.n,
            self.turns or task.default_turns,
            policy.style,
            self.drawing.seed,
            1,
            name,
            task.options(),
        )
        if like is not None:
            turns = self.turns or like.questions.turns
            questions = dataclasses.replace(like.questions, turns=turns, style=policy.style, samples=1)
        folder = self.out / _folder_name(subject) / name
        bar = Bar(f"{subject} on {name}", len(questions.places()))
        told = _told_of(f"{subject} on {name}")
        room = room_to_answer(policy, self.drawing, self.thoughts, questions, elsewhere=True)
        with recorded(folder, all_asked(self, questions, subject, policy), policy) as record, told, room, bar:
            ask(questions, policy.engine, record, Following(bar, policy))
        return load_finished(folder)

    def _check_subjects(self) -> None:
        """Raise RuleshiftError for a subject that is no model, before others are asked for long."""
        from ruleshift.backbones.given import check_model
        from ruleshift.evaluation.finished import is_evaluation

        for subject in self.subjects:
            if subject not in (*NAMED, *INSIDERS) and not subject.startswith(API) and not is_evaluation(subject):
                check_model(subject, INSIDERS)

    def _prices(self) -> "dict[str, Price]":
        from ruleshift.evaluation.revising import Price

        prices = dict.fromkeys(self.subjects, Price(self.budget.price_in, self.budget.price_out))
        for given in self.price:
            subject, _, numbers = given.rpartition("=")
            try:
                prompts, replies = map(float, numbers.split(","))
            except ValueError as error:
                raise RuleshiftError(f"--price {given} is no price: give SUBJECT=0.15,0.6") from error
            if subject not in prices or not (0 <= prompts < 1e9 and 0 <= replies < 1e9):
                raise RuleshiftError(f"--price {given}: name one of the subjects, and prices of at least 0")
            prices[subject] = Price(prompts, replies)
        return prices

    def _save(self, suite: "Suite", cards: "Sequence[TaskCard]", sections: "Sequence[CardSection]") -> None:
        from ruleshift.files import write_atomically
        from ruleshift.report.card import write_card
        from ruleshift.runs import environment

        here = environment()
        asked = f"{suite.name}, version {suite.version}"
        about = {
            "command": command_line(),
            "suite": asked,
            "commit": str(here["git_commit"]),
            "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "versions": ", ".join(f"{name} {version}" for name, version in here["packages"].items()),
        }
        content = {"version": 1, "suite": {"name": suite.name, "version": suite.version}, "about": about}
        plain = {**content, "tasks": [dataclasses.asdict(card) for card in cards]}
        make_folder("--out", self.out)
        write_atomically(self.out / "card.json", json.dumps(_finite(plain), indent=1, allow_nan=False) + "\n")
        write_card(self.out / "card.html", f"Report card: {', '.join(self.subjects)}", list(about.items()), sections)


@contextmanager
def _told_of(subject: str) -> Iterator[None]:
    """While one of several subjects is asked: errors name it."""
    try:
        yield
    except NoMoreAnswers as error:
        raise NoMoreAnswers(f"{subject}: {error}") from error
    except RuleshiftError as error:
        raise RuleshiftError(f"{subject}: {error}") from error


def _finite(value: object) -> object:
    """What JSON has a form for: None for the ends of endless intervals."""
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(name): _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value


def _folder_name(subject: str) -> str:
    """A folder's name for a subject, which tells those apart that are spelt alike but for signs."""
    import hashlib

    digest = hashlib.blake2b(subject.encode(), digest_size=3).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', subject).strip('-.')[-60:]}-{digest}"


def _show(sections: "Sequence[CardSection]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for part in sections:
        console.print(part.title, style="bold", markup=False)
        for sheet in part.sheets:
            table = Table(title=Text(sheet.title), box=box.SIMPLE_HEAD, caption=Text(sheet.note))
            for place, heading in enumerate(sheet.headings):
                table.add_column(Text(heading), justify="right" if place else "left", overflow="fold")
            for line in sheet.lines:
                table.add_row(*(Text(cell.replace(" [", "\n[")) for cell in line))
            console.print(table)
        for sentence in (*part.notes, *part.sentences):
            console.print(f"- {sentence}", markup=False, soft_wrap=True)
