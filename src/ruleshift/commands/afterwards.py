"""`ruleshift rescore` and `ruleshift profile`: what can be said of a kept evaluation without asking anybody."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from ruleshift.commands.checks import check_file, command_line

if TYPE_CHECKING:
    from rich.console import Console

    from ruleshift.evaluation.asking import Episodes, Questions
    from ruleshift.evaluation.profile import ProblemProfile
    from ruleshift.results import Row

Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]


@dataclass(frozen=True)
class Rescore:
    """Judge the replies of an evaluation anew, with the reader and the verifier of this version, without asking the
    model: each number then and now. The record stays as it is; what comes out goes to rescored.json in the folder.

    Example: ruleshift rescore runs/qwen3
    """

    folder: Folder
    """Folder of an evaluation (ruleshift eval --out)."""
    json: Path | None = None
    """File for the numbers; by default rescored.json in the folder."""

    stopped: ClassVar[str] = "nothing was changed"

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.evaluation.finished import load_finished
        from ruleshift.evaluation.rescoring import rescore
        from ruleshift.results import save_results

        finished = load_finished(self.folder)
        file = self.json or self.folder / "rescored.json"
        check_file("--json", file)
        then = finished.episodes()
        found = rescore(finished)
        old, new = (_rows(finished.questions, episodes, finished.decoding) for episodes in (then, found.episodes))
        counts = {name: value for name, value in asdict(replace(found, episodes={})).items() if name != "episodes"}
        task = finished.questions.task
        meta = {
            "title": f"{finished.model} on {task.id}, judged anew",
            "command": command_line(),
            "metric": task.metric,
            "model": finished.model,
            "rescored": {**counts, "version_then": finished.version, "version_now": task.version},
        }
        save_results(file, new, meta)
        Console().print(_then_and_now(meta["title"], old, new))
        print(f"{found.verdicts} of {found.replies} verdicts differ, in {found.changed} of {len(then)} conversations")
        for count, what in (
            (found.shorter, "end earlier now; their later replies are left out"),
            (found.open, "would have gone on where they ended; they count as they stand"),
            (found.reworded, "answered words that would be others now: evaluate again to know what would be said"),
        ):
            if count:
                print(f"{count} conversations {what}")
        print(f"numbers: {file}")


@dataclass(frozen=True)
class Profile:
    """The problems of an evaluation from easy to hard: how often each was solved, how many replies it took, how many
    distinct first replies there were (with --samples); and whether the model is right as often as it is sure, where
    log-probabilities were kept.

    Example: ruleshift profile runs/qwen3
    """

    folder: Folder
    """Folder of an evaluation (ruleshift eval --out)."""
    json: Path | None = None
    """File for all problems, a JSON object each line; by default problems.jsonl in the folder."""
    show: int = 5
    """How many of the hardest problems of each split are shown."""

    stopped: ClassVar[str] = "nothing was changed"

    def run(self) -> None:
        from rich.console import Console

        from ruleshift.evaluation.finished import load_finished
        from ruleshift.evaluation.profile import calibration_of, problem_profiles
        from ruleshift.files import write_atomically

        finished = load_finished(self.folder)
        episodes = finished.episodes()
        profiles = problem_profiles(finished.questions, episodes)
        file = self.json or self.folder / "problems.jsonl"
        check_file("--json", file)
        write_atomically(file, "".join(json.dumps(asdict(profile)) + "\n" for profile in profiles))
        console = Console(highlight=False)
        for split in finished.questions.splits:
            self._show(console, split, [profile for profile in profiles if profile.split == split])
            found = calibration_of([episode for place, episode in episodes.items() if place.split == split])
            if found is not None:
                console.print(
                    f"  calibration of {found.n} first replies: Brier {found.brier:.3f}, error {found.error:.3f}"
                )
                for part in found.bins:
                    console.print(
                        f"    sure by {100 * part.confidence:5.1f}%: right {100 * part.right:5.1f}% of {part.n}"
                    )
        console.print(f"all problems: {file}", markup=False, soft_wrap=True)

    def _show(self, console: "Console", split: str, profiles: "Sequence[ProblemProfile]") -> None:
        """How many are easy, and the hardest."""
        rates = [profile.solved for profile in profiles]
        always, never = sum(rate == 1 for rate in rates), sum(rate == 0 for rate in rates)
        sometimes = len(rates) - always - never
        console.print(
            f"{split}: {len(rates)} problems, {always} always solved, {sometimes} sometimes, {never} never",
            style="bold",
        )
        for profile in profiles[len(profiles) - min(self.show, len(profiles)) :]:
            shares = f"solved {100 * profile.solved:.0f}%, at first {100 * profile.first:.0f}%"
            console.print(
                f"  problem {profile.index}: {shares}, {profile.replies:.1f} replies, "
                f"distinct: {profile.distinct_right} right, {profile.distinct_wrong} wrong"
            )


def _rows(questions: "Questions", episodes: "Episodes", decoding: str) -> "list[Row]":
    from ruleshift.evaluation.failures import with_explanations
    from ruleshift.evaluation.profile import rows_of_samples

    rows = rows_of_samples(questions, episodes, decoding, range(1, questions.turns + 1))
    return with_explanations([replace(row, kl_to_start=None, train_flops=None) for row in rows], questions, episodes)


def _then_and_now(title: object, old: "list[Row]", new: "list[Row]") -> object:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ruleshift.report.tables import number, signed

    table = Table(title=Text(str(title)), box=box.SIMPLE_HEAD)
    for heading in ("split", "metric", "turns"):
        table.add_column(heading)
    for heading in ("then", "now", "change"):
        table.add_column(heading, justify="right")
    known = {(row.split, row.metric, row.turns): row for row in old}
    for row in new:
        before = known.get((row.split, row.metric, row.turns))
        then = "" if before is None else number(before.value, row.metric)
        change = "" if before is None else signed(row.value - before.value, row.metric)
        table.add_row(
            row.split, row.metric.replace("_", " "), str(row.turns), then, number(row.value, row.metric), change
        )
    return table
