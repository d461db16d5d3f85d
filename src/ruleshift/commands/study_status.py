"""`ruleshift study status`: how far a study is, from its folder."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from ruleshift.commands.checks import printable
from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.lock import Holding
    from ruleshift.studies.progress import State, StudyRecord


@dataclass(frozen=True)
class StudyStatus:
    """How far a study is: its runs that are done, at work (where, since when, how far), failed or diverged (why), and
    left, and about how long that takes. From any terminal, on any machine that sees its folder, whether the study is at
    work or was killed. Nothing is written.

    Example: ruleshift study status runs/headline
    """

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Folder that the study was given as --out, or URL that it was given as --store."""

    stopped: ClassVar[str] = "nothing was changed"

    def run(self) -> None:
        from ruleshift.studies.progress import load_record

        is_url = "://" in self.folder
        record = None if is_url else load_record(Path(self.folder))
        if record is not None and (record.store is None or record.took is not None):
            _tell(Path(self.folder))
            return

        from ruleshift.studies.home import outlined

        try:
            with outlined(self.folder if record is None else str(record.store)) as folder:
                _tell(folder)
        except RuleshiftError as error:
            if is_url:
                raise
            _tell(Path(self.folder))
            print(f"of runs at work its store knows more, but: {error}")


def _tell(folder: Path) -> None:
    from rich.console import Console

    from ruleshift.lock import holding
    from ruleshift.studies.progress import load_record, states_of

    record = load_record(folder)
    states = states_of(record, folder)
    console = Console(highlight=False)
    for line in _summary(folder, record, states, holding(folder)):
        console.print(line, markup=False, soft_wrap=True)
    begun = [
        state for state in states if state.standing not in ("done", "waiting") or (state.done > 0 and state.is_left)
    ]
    if begun:
        console.print(_table(begun))


def _summary(folder: Path, record: "StudyRecord", states: "list[State]", giver: "Holding | None") -> Iterator[str]:
    """The command, whether it is at work, and how many runs stand how."""
    from ruleshift.studies.board import duration
    from ruleshift.studies.progress import STANDINGS, seconds_left, told, totals_in

    yield record.command
    counts, left = Counter(state.standing for state in states), seconds_left(record, states, folder)
    counted = ", ".join(f"{counts[standing]} {standing}" for standing in STANDINGS if counts[standing])
    if giver is not None and giver.lives:
        at_once = max(1, counts["running"])
        about = duration(left / at_once)
        yield f"at work: {giver.owner}, for {duration(time.time() - giver.owner.since)}; about {about} left"
    elif record.took is not None:
        yield f"finished, after {duration(record.took.seconds)}"
    else:
        about = duration(left)
        yield f"not at work: the same command goes on where it stopped; about {about} of work left for one worker"
    yield f"{len(states)} jobs: {counted}; {told(totals_in(folder, record))}"


def _table(states: "list[State]") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("job", "stands", "done", ""):
        table.add_column(heading)
    for state in states:
        count = f"{state.done} of {state.entry.length}"
        table.add_row(*map(Text, (state.entry.name, state.standing, count, printable(_more(state)))))
    return table


def _more(state: "State") -> str:
    """Where and since when a job is made, or why it is not."""
    from ruleshift.studies.board import duration

    if state.holding is None:
        return state.why.strip().partition("\n")[0]
    where, silent = state.holding.owner, duration(state.holding.silent)
    if state.standing == "running":
        return f"{where.host}, process {where.pid}, for {duration(time.time() - where.since)} (seen {silent} ago)"
    return f"its process on {where.host} is gone, last seen {silent} ago"
