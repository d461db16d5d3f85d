"""What the paper and later ones claim, beside what the published runs in docs/results found of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from published import PUBLISHED

from ruleshift.evaluation.claims import Claim, answer
from ruleshift.report.tables import claims_of, endpoint_in_words, number, signed
from ruleshift.results import Results, load_results
from ruleshift.studies import STUDIES
from ruleshift.studies.changes import MeasureChange
from ruleshift.studies.foretell import EarlySign
from ruleshift.studies.study import Claimed, Study
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint

FEW_SEEDS = 3
NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Line:
    """One claim on one task: what is claimed, our figure, the verdict, and what speaks against it."""

    study: str
    task: str
    says: str
    figure: str
    verdict: str
    against: str


def expectations() -> Iterator[tuple[Study, str, Claimed]]:
    """Every claim that a study is decided by, task by task."""
    for study in STUDIES.values():
        for claimed in study.primary:
            if isinstance(claimed, Claimed):
                for task in claimed.tasks or study.tasks:
                    yield study, get_task(task).id, claimed


def lines() -> list[Line]:
    return [_line(study, task, claimed) for study, task, claimed in expectations()]


@dataclass(frozen=True)
class PublishedRun:
    """A run of a study with claims; `picture` is its figure in docs, where there is one."""

    study: str
    task: str
    meta: Mapping[str, Any]
    picture: str | None


def runs() -> list[PublishedRun]:
    """All of them that are published."""
    found = []
    for study, task in dict.fromkeys((study.name, task) for study, task, _ in expectations()):
        results, picture = results_of(study, task), f"{study}-{task}.png"
        if results is not None:
            shown = picture if (PUBLISHED.parent / picture).is_file() else None
            found.append(PublishedRun(study, task, results.meta, shown))
    return found


@dataclass(frozen=True)
class ChangedRun:
    """A published run of a study that is decided by measures of insight, and what its arms did to these."""

    study: str
    task: str
    meta: Mapping[str, Any]
    changes: tuple[MeasureChange, ...]

    def table(self) -> str:
        """A line for each measure, a column for each arm: value, change with interval, and the word of primary ones."""
        arms = list(dict.fromkeys(change.arm for change in self.changes))
        known = {(change.metric, change.split, change.arm): change for change in self.changes}
        lines = [f"| | start | {' | '.join(arms)} |", "|---|---:|" + "---:|" * len(arms)]
        for metric, split in dict.fromkeys((change.metric, change.split) for change in self.changes):
            there = [known[metric, split, arm] for arm in arms]
            cells = " | ".join(map(_changed, there))
            lines.append(f"| {metric}, {split} | {number(there[0].start_value, metric)} | {cells} |")
        return "\n".join(lines)


def _changed(change: MeasureChange) -> str:
    ends = [signed(end, change.metric) for end in (change.ci_low, change.ci_high) if end is not None]
    said = f"<br>**{change.word}**" if change.of > 1 else ""
    change_in_words = f"{signed(change.difference, change.metric)} [{', '.join(ends)}]"
    return f"{number(change.value, change.metric)}<br>{change_in_words}{said}"


def changed() -> list[ChangedRun]:
    """All of them that are published."""
    found = []
    for study in STUDIES.values():
        for name in study.tasks:
            task = get_task(name).id
            path, results = PUBLISHED / study.name / task / "changes.json", results_of(study.name, task)
            if results is not None and path.is_file():
                changes = tuple(MeasureChange(**entry) for entry in json.loads(path.read_text(encoding="utf-8")))
                found.append(ChangedRun(study.name, task, results.meta, changes))
    return found


SHOWN_SIGNS = 6  # of a task: those that order its trainings best, over all and within arms


@dataclass(frozen=True)
class Foretold:
    """What was published of early signs: by which command, and those of each task that order its trainings best, over
    all of them, and within arms."""

    command: str
    commit: str
    signs: Mapping[str, tuple[EarlySign, ...]]


def foretold() -> Foretold | None:
    path = PUBLISHED / "foretell.json"
    if not path.is_file():
        return None
    content, by_task = json.loads(path.read_text(encoding="utf-8")), {}
    for entry in content["signs"]:
        by_task.setdefault(entry["task"], []).append(EarlySign(**entry))
    return Foretold(content["command"], content["commit"], {task: _best(signs) for task, signs in by_task.items()})


def _best(signs: Sequence[EarlySign]) -> tuple[EarlySign, ...]:
    within = sorted(signs, key=lambda sign: -abs(sign.within or 0.0))[:SHOWN_SIGNS]
    return tuple(sign for place, sign in enumerate(signs) if place < SHOWN_SIGNS or sign in within)


@cache
def results_of(study: str, task: str) -> Results | None:
    """The published run of a study on a task; None where there is none."""
    path = PUBLISHED / study / task / "results.json"
    return load_results(path) if path.is_file() else None


def _line(study: Study, task: str, claimed: Claimed) -> Line:
    results = results_of(study.name, task)
    if results is None:
        return Line(study.name, task, claimed.says, NOT_RUN, NOT_RUN, claimed.against)
    against = [claimed.against] if claimed.against else []
    seeds = len(results.meta["seeds"])
    against += [f"{seeds} seed{'s' * (seeds > 1)} only"] if seeds < FEW_SEEDS else []
    against += ["a quick run: a third of the training, or less"] if "--quick" in results.meta.get("command", "") else []
    against += [
        f"{entry['arm']} diverged with seed {entry['seed']}"
        for entry in results.meta["diverged"]
        if entry["arm"] in (claimed.arm, claimed.reference)
    ]
    claim = _found(results, claimed, _endpoint(task, claimed))
    if claim is None:
        return Line(study.name, task, claimed.says, NOT_RUN, NOT_RUN, "; ".join([*against, "not measured"]))
    verdict = answer(claimed.word, claim.word, _reference(results, claim))
    return Line(study.name, task, claimed.says, _figure(claim, seeds), verdict, "; ".join(against))


def _endpoint(task: str, claimed: Claimed) -> Endpoint | None:
    name = next((name for study in STUDIES.values() for name in study.tasks if get_task(name).id == task), task)
    return claimed.endpoint or get_task(name).recipe.primary


def _found(results: Results, claimed: Claimed, end: Endpoint | None) -> Claim | None:
    """The claim of the run that is about this."""
    if end is None:
        return None
    reference = claimed.reference or results.meta["start"]
    wanted = (claimed.arm, reference, end.metric, end.split, end.turns, end.decoding)
    found = {(c.arm, c.reference, c.metric, c.split, c.turns, c.decoding): c for c in claims_of(results)}
    return found.get(wanted)


def _reference(results: Results, claim: Claim) -> float:
    """The share that the arm is compared with: of the last step of each seed, on average."""
    wanted = (claim.reference, claim.metric, claim.split, claim.turns, claim.decoding)
    rows = [row for row in results.rows if (row.arm, row.metric, row.split, row.turns, row.decoding) == wanted]
    last = {row.seed: row.value for row in sorted(rows, key=lambda row: row.step)}
    return fmean(last.values())


def _figure(claim: Claim, seeds: int) -> str:
    ends = [f"{100 * end:+.1f}" for end in (claim.ci_low, claim.ci_high) if end is not None]
    between = f" [{', '.join(ends)}]" if ends else ""
    alike = ", all alike" if claim.over == "problems" and seeds > 1 else ""
    over = f"{claim.over}{' only' if claim.over == 'problems' else ''}; seeds: {seeds}{alike}"
    difference = f"{100 * claim.difference:+.1f}{between} points, {claim.arm} against {claim.reference}"
    return f"{difference} ({endpoint_in_words(claim)}; over {over})"
