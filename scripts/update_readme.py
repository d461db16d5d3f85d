#!/usr/bin/env python3
"""Write what README.md and docs/results/README.md say of the published runs in docs/results, sentences included.

python scripts/update_readme.py            write them, and docs/rules.svg
python scripts/update_readme.py --check    exit with 1, naming the file, if any of them is out of date

The words are in scripts/templates; every number in them, and every word that says which way a difference goes, is asked
of the results.
"""

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from expected import Line, PublishedRun, foretold, lines, runs, took
from figure import figure
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from publish import drawn, faults, stale_pictures
from published import (
    ARMS,
    PUBLISHED,
    ROOT,
    STUDIES,
    TASKS,
    Published,
    claimed,
    measured,
    primary,
    published,
    sweep_of,
)
from tables import COLUMNS, NOTES, SHOWN

from ruleshift.evaluation.claims import Claim, Word
from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.evaluation.statistics import is_precise
from ruleshift.report.arms import references_in
from ruleshift.report.tables import claims_of
from ruleshift.studies import STUDIES as ALL_STUDIES
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint

PAPER = {  # start, SFT, RL: Chu et al., arXiv 2501.17161, rule shift, an 11B model
    "gp-l": (11.5, 3.4, 15.0),
    "virl-l": (80.8, 1.3, 91.8),
    "gp-vl": (11.2, 5.6, 14.2),
    "virl-vl": (35.7, 2.5, 45.0),
}
TITLES = {"gp-l": "cards", "virl-l": "walks", "gp-vl": "cards in pictures", "virl-vl": "walks in pictures"}
SAID = {  # by claim, what is said of tasks
    "raises": "raises the shifted rule of",
    "lowers": "lowers the shifted rule of",
    "keeps": "keeps that of",
    "undecided": "is undecided on",
}
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)
BEGIN, END = "<!-- results: scripts/update_readme.py writes what follows -->", "<!-- /results -->"


def main() -> int:
    before, rest = (ROOT / "README.md").read_text(encoding="utf-8").split(BEGIN)
    wanted = {
        "README.md": f"{before}{BEGIN}\n{rendered('readme.md')}{END}{rest.split(END)[1]}",
        "docs/results/README.md": rendered("results.md"),
        "docs/rules.svg": figure(),
        **{f"docs/results/{run.study}/{run.folder}/README.md": page_of(run) for run in runs()},
    }
    stale = [name for name, text in wanted.items() if not _holds(name, text)]
    if "--check" in sys.argv[1:]:
        figures = drawn()
        pictures, wrong = [str(path.relative_to(ROOT)) for path in stale_pictures(figures)], faults(figures)
        for name in stale:
            print(f"{name} is out of date: run scripts/update_readme.py", file=sys.stderr)
        for name in pictures:
            print(f"{name} is out of date: run scripts/publish.py --draw", file=sys.stderr)
        for fault in wrong:
            print(fault, file=sys.stderr)
        return int(bool(stale or pictures or wrong))
    for name in stale:
        (ROOT / name).write_text(wanted[name], encoding="utf-8")
    return 0


def _holds(name: str, text: str) -> bool:
    path = ROOT / name
    return path.is_file() and path.read_text(encoding="utf-8") == text


def page_of(run: PublishedRun) -> str:
    """The page of a study on a task: command, figures, claims and tables."""
    mine = [line for line in claim_lines() if (line.study, line.task) == (run.study, run.task)]
    return TEMPLATES.get_template("study.md").render(run=run, claims=mine)


def cell(text: str) -> str:
    """What stands in a cell of a table: a line for the value with its interval, for the seeds, and for the change,
    which is bold where its interval excludes 0, as in the terminal."""
    lines = re.sub(r"(?<=\])\n|\n(?=[+-]\d)", "<br>", text.replace("\n[", " [").replace("|", "\\|"))
    return CHANGE.sub(lambda found: f"**{found[0]}**" if _excludes_0(found) else found[0], lines).replace("\n", " ")


CHANGE = re.compile(r"[+-][\d.]+ \[([+-][\d.]+),([+-][\d.]+)\]")


def _excludes_0(change: re.Match[str]) -> bool:
    low, high = map(float, change.groups())
    return low > 0 or high < 0


def whole(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"


TEMPLATES.filters |= {"cell": cell, "whole": whole}
TEMPLATES.globals["took"] = took


@cache
def claim_lines() -> list[Line]:
    return lines()


def rendered(template: str) -> str:
    """A template with the numbers of the published runs."""
    ends = (title, measured, references, start, paper, claim_cell, says, in_table)
    numbers = (change, ahead, leads, close_ones, than, table, unsure_kls, chosen, swept, at_end, at_ends, other_sweeps)
    said = {f.__name__: f for f in (*ends, *numbers)}
    return TEMPLATES.get_template(template).render(
        **said,
        tasks=TASKS,
        claims=claim_lines(),
        runs=runs(),
        foretold=foretold(),
        efficiency=efficiency(),
        of=claimed()[TASKS[0], ARMS[0]].of,
        of_table=in_table_claim(TASKS[0], ARMS[0]).of,
        shown=SHOWN.__getitem__,
        note=lambda task: NOTES[task].format(n=published(task).results.rows[0].n),
        meta=lambda task, study="": published(task, study).results.meta,
        study=lambda task: published(task).study,
    )


def efficiency() -> Mapping[str, Any] | None:
    """What `benchmarks/efficiency.py --json` wrote of the published run."""
    path = PUBLISHED / "efficiency.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


# ---------------------------------------------------------------- primary endpoints


def title(task: str) -> str:
    return get_task(task).recipe.title


def start(task: str) -> str:
    found = published(task)
    return points(fmean(found.values(found.legend.start, primary(task))))


def references(task: str) -> str:
    """What needs no skill comes to, and the expert: random 0.0, blind 0.0; expert 100.0"""
    by_kind: dict[str, list[str]] = {}
    for name, kind in references_in(published(task).results.rows).items():
        by_kind.setdefault(kind, []).append(f"{name} {points(fmean(published(task).values(name, primary(task))))}")
    return "; ".join(map(", ".join, by_kind.values()))


def paper(task: str) -> str:
    return ", ".join(f"{share:.1f}" for share in PAPER[task])


def claim_cell(task: str, arm: str) -> str:
    """The mean, the seeds, the corrected interval, and the word that follows from it."""
    claim, values = claimed()[task, arm], published(task).values(arm, primary(task))
    change = between(claim.difference, claim.ci_low, claim.ci_high)
    return f"{points(fmean(values))} ({', '.join(map(points, values))})<br>{change}<br>**{claim.word}**"


def says(arm: str) -> str:
    """What an arm does to the shifted rule of each task, in the words of its claims, with sizes in points."""
    parts = []
    for word in get_args(Word):
        chosen = [f"{TITLES[claim.task]} {_sized(claim)}" for claim in _claims(arm) if claim.word == word]
        if chosen:
            parts.append(f"{SAID[word]} {_and(chosen)}")
    return "; it ".join(parts)


def in_table_claim(task: str, arm: str) -> Claim:
    """The claim of the study `table` about the primary endpoint of a task."""
    what = primary(task)
    wanted = (arm, what.metric, what.split, what.turns, what.decoding)
    found = claims_of(published(task, "table").results)
    return next(c for c in found if (c.arm, c.metric, c.split, c.turns, c.decoding) == wanted)


def in_table(task: str, arm: str) -> str:
    """The same in words: -4.7 [-10.1, +0.8], undecided"""
    claim = in_table_claim(task, arm)
    return f"{between(claim.difference, claim.ci_low, claim.ci_high)}, {claim.word}"


def _claims(arm: str) -> list[Claim]:
    return [claimed()[task, arm] for task in TASKS]


def _sized(claim: Claim) -> str:
    """A difference that is decided in plain words; any other with its interval."""
    if claim.word not in ("raises", "lowers"):
        return f"({between(claim.difference, claim.ci_low, claim.ci_high)})"
    low, high = sorted(abs(100 * end) for end in (claim.ci_low, claim.ci_high) if end is not None)
    return f"by {abs(100 * claim.difference):.0f} ({low:.0f} to {high:.0f}) points"


# ---------------------------------------------------------------- any number


def value(task: str, arm: str, *what: str | int) -> str:
    return points(fmean(published(task).values(arm, Endpoint(*what))))  # type: ignore[arg-type]


def change(task: str, arm: str, *what: str | int, study: str = "") -> str:
    """The difference to the start model with its interval: +4.2 [-1.8, +10.1]; of README's study, or of another one."""
    found = published(task, study).change(arm, Endpoint(*what))  # type: ignore[arg-type]
    return between(found.mean, found.low, found.high)


def ahead(task: str, on: MatchedOn | None = None) -> str:
    """PPO minus SFT at the primary endpoint: at their ends, or where both have the same of something. The smallest and
    the largest that it may be where it lies between two steps: +4.1 to +4.5 [-1.8, +10.1]"""
    found = published(task).comparison("rl", "sft", primary(task), on)
    if is_close(found):
        return between(found.difference, found.ci_low, found.ci_high)
    apart = found.spread + found.reference_spread
    return f"{signed(found.difference - apart)} to {between(found.difference + apart, found.ci_low, found.ci_high)}"


def leads(task: str, on: MatchedOn) -> str:
    """Whether the interval of such a difference leaves 0 out."""
    found = published(task).comparison("rl", "sft", primary(task), on)
    assert found.ci_low is not None
    assert found.ci_high is not None
    return "is decided" if found.ci_low > 0 or found.ci_high < 0 else "is undecided"


def is_close(found: Comparison) -> bool:
    """Whether both arms are read at an evaluated step, or between two that are close."""
    return not found.spread and not found.reference_spread


def close_ones(task: str) -> str:
    """Of the matched comparisons of PPO and SFT on a task, how many are: 3 of 30"""
    matched = [c for c in published(task).comparisons if c.matched_on is not None]
    return f"{sum(map(is_close, matched))} of {len(matched)}"


def swept(task: str, way: str, split: str) -> str:
    """The changes of a sweep (one seed, validation) on a split at each learning rate: +3.1 (1e-4), +1.0 (3e-4)"""
    rows = {row["arm"]: row[split] for row in sweep_of(task)["rows"] if split in row}
    start = rows.pop("base")
    return ", ".join(
        f"{signed(share - start)} ({arm.split('-lr')[1]})" for arm, share in rows.items() if arm.startswith(f"{way}-lr")
    )


@dataclass(frozen=True)
class OtherSweep:
    """A published sweep of the arms of a study: what names its file, and the arms with the rates that it chose."""

    file: str
    study: str
    task: str
    n: int
    chosen: list[tuple[str, str]]


def other_sweeps() -> list[OtherSweep]:
    """Those beside the sweeps of SFT and PPO that each task has."""
    found = []
    for path in sorted(PUBLISHED.glob("sweep-*.json")):
        file = path.stem.removeprefix("sweep-")
        if file not in TASKS:
            content = sweep_of(file)
            study = max((name for name in ALL_STUDIES if file.startswith(f"{name}-")), key=len)
            chose = [(arm, rate) for arm, _, rate in (name.rpartition("-lr") for name in content["chosen"].values())]
            found.append(OtherSweep(file, study, content["task"], content["n"], chose))
    return found


def chosen(task: str, way: str) -> str:
    """The learning rate that a sweep chose for an arm."""
    names = [name.rpartition("-lr") for name in sweep_of(task)["chosen"].values()]
    return next(rate for arm, _, rate in names if arm == way)


def at_end(task: str, way: str) -> bool:
    """Whether that is the highest or the lowest rate of its grid."""
    found = sweep_of(task)
    rates = [float(row["arm"].rpartition("-lr")[2]) for row in found["rows"] if row["arm"].startswith(f"{way}-lr")]
    return float(chosen(task, way)) in (min(rates), max(rates))


def at_ends() -> int:
    """Of how many chosen rates that is so."""
    return sum(at_end(task, way) for task in TASKS for way in ARMS)


def unsure_kls(study: str) -> str:
    """At how many steps of a study's published runs a KL is surer by neither measure: 12 of 100"""
    steps = {
        (row.task, row.arm, row.seed, row.step): not is_precise(row.kl_to_start, row.kl_error)
        for task in STUDIES[study]
        for row in published(task).results.rows
        if row.kl_to_start and row.kl_error is not None
    }
    return f"{sum(steps.values())} of {len(steps)}"


def than(first: tuple, second: tuple) -> str:
    """Whether one change is more than another, or less."""
    one, other = (published(task).change(arm, Endpoint(*what)).mean for task, arm, *what in (first, second))
    return "more" if one > other else "less"


def table(task: str, decoding: str, study: str = "") -> str:
    """A line per arm, floor and ceiling, a column per split and number of turns; of README's study, or of another."""
    found = published(task, study)
    columns = COLUMNS[task]
    lines = [f"| {decoding} | {' | '.join(c.heading for c in columns)} |", "|---|" + "---:|" * len(columns)]
    for arm in found.legend.names:
        cells = [_cell(found, arm, Endpoint(c.metric, c.split, c.turns, decoding)) for c in columns]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    for name, kind in references_in(found.results.rows).items():
        cells = [value(task, name, c.metric, c.split, c.turns, decoding) for c in columns]
        lines.append(f"| {name} ({kind}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Published, arm: str, what: Endpoint) -> str:
    """The mean; where that is another, single seeds, and the difference to the start model with its interval."""
    values = found.values(arm, what)
    lines = [points(fmean(values))]
    if arm != found.legend.start:
        lines.append(" ".join(map(points, values)))
        if found.compares(arm, what):
            lines.append(between(*found.change(arm, what)[:3]))
    return "<br>".join(lines)


def between(difference: float, low: float | None, high: float | None) -> str:
    """A difference with its interval, in points: +4.2 [-1.8, +10.1]"""
    return f"{signed(difference)} [{signed(low)}, {signed(high)}]"


def points(share: float) -> str:
    return f"{100 * share:.1f}"


def signed(share: float | None) -> str:
    return "" if share is None else f"{100 * share:+.1f}".replace("-0.0", "+0.0")


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


if __name__ == "__main__":
    raise SystemExit(main())
