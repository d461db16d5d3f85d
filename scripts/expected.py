"""What the paper and later ones claim, beside what the published runs in docs/results found of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from publish import note_of, pictures_of, published_folders
from published import PUBLISHED, results_in

from ruleshift.evaluation.claims import Claim, answer
from ruleshift.evaluation.comparison import load_comparisons
from ruleshift.report.tables import claims_of, endpoint_in_words, is_share, signed
from ruleshift.report.terminal import WHOLE, PlainTable, plain
from ruleshift.results import FLOORS, Results, Row, task_in
from ruleshift.studies import STUDIES
from ruleshift.studies.changes import MeasureChange
from ruleshift.studies.foretell import EarlySign
from ruleshift.studies.study import Claimed, ClaimedChange, Expectation, Study
from ruleshift.studies.tables import ends_in
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint

FEW_SEEDS = 3
NEEDED = {  # options of a command that name folders under runs/
    "reuse": "To give this command again, leave out `--reuse`: it takes trainings over that are the same, and they are "
    "made anew.",
    "set": "The rates that it reads under `runs` are those of the sweeps beside this folder (`../../sweep-*.json`).",
    "starts": "The start models under `runs` are kept by `ruleshift backbone build --models-every 500 --out "
    "runs/backbone`.",
}
ANY_ROOM = 0.5  # of what has no ends
NOT_RUN, NOT_MEASURED = "not run yet", "not measured"  # in place of a verdict: a claim that has none


@dataclass(frozen=True)
class Line:
    """One claim on one task: what is claimed, our figure, the verdict, and what speaks against it."""

    study: str
    task: str
    says: str
    figure: str
    verdict: str
    against: str

    @property
    def is_answered(self) -> bool:
        return self.verdict != NOT_RUN


def expectations() -> Iterator[tuple[Study, str, Claimed]]:
    """Every claim that a study is decided by, task by task."""
    for study in STUDIES.values():
        for claimed in study.primary:
            if isinstance(claimed, Claimed):
                for task in claimed.tasks or study.tasks:
                    yield study, get_task(task).id, claimed


def lines() -> list[Line]:
    """Study by study."""
    by_study: dict[str, list[Line]] = {name: [] for name in STUDIES}
    for study, task, claimed in expectations():
        by_study[study.name].append(_line(study, task, claimed))
    for study in STUDIES.values():
        tasks = [get_task(name).id for name in study.tasks]
        by_study[study.name] += [_measured(study, task, claimed) for claimed in study.measured for task in tasks]
        by_study[study.name] += [_answered(study, task, asked) for asked in study.expected for task in tasks]
    return [line for found in by_study.values() for line in found]


@dataclass(frozen=True)
class PublishedRun:
    """A study that is published on a task: the names of its pictures in docs, a note, and the tables that it showed.
    `folder`: the task, with its start model (TASK@LABEL) where the study has several."""

    study: str
    folder: str
    meta: Mapping[str, Any]
    pictures: tuple[str, ...]
    note: str
    tables: tuple[PlainTable, ...]

    @property
    def of(self) -> Study:
        """The study that it is a run of, whatever its folder is called."""
        return STUDIES[self.meta["study"]]

    @property
    def task(self) -> str:
        return task_in(Path(self.folder))

    @property
    def needs(self) -> str:
        """What else there has to be to give its command again."""
        words = str(self.meta["command"]).split(" --out ")[0].split(" --")
        named = [word.split()[0] for word in words if "runs/" in word]
        return " ".join(NEEDED[option] for option in dict.fromkeys(named) if option in NEEDED)


def took(meta: Mapping[str, Any]) -> str:
    """The work of the processes of a run that ended well, where that was added up; else what the last call took."""
    taken = len(meta.get("taken", ()))
    beside = f", beside {taken} trainings taken over" if taken else ""
    if "work_s" in meta:
        return f"{meta['work_s'] / 3600:.1f} hours of its processes, one by one{beside}"
    return f"{meta['duration_s'] / 60:.0f} minutes of its last call{beside}"


@cache
def runs() -> list[PublishedRun]:
    """All that are published."""
    return [_run(folder) for folder in published_folders()]


def _run(folder: Path) -> PublishedRun:
    pictures = tuple(path.name for path in pictures_of(folder) if path.is_file())
    tables = tuple(_tables_of(folder))
    return PublishedRun(folder.parent.name, folder.name, results_in(folder).meta, pictures, note_of(folder), tables)


def _tables_of(folder: Path) -> Iterator[PlainTable]:
    """Those that the study showed. Earlier versions wrote none down: then the first of them, made of the numbers."""
    tables, differences = folder / "tables.json", folder / "comparisons.json"
    if tables.is_file():
        yield from (PlainTable(**table) for table in json.loads(tables.read_text(encoding="utf-8")))
        return
    comparisons = load_comparisons(differences) if differences.is_file() else []
    yield from map(plain, ends_in(results_in(folder), comparisons, WHOLE))


SHOWN_SIGNS = 6  # of a task: those that order its trainings best, over all and within arms


@dataclass(frozen=True)
class Foretold:
    """What was published of early signs: by which command, of how many trainings of which studies, what was left out
    by which reason, and those signs of each task that order its trainings best, over all of them, and within arms."""

    command: str
    commit: str
    counted: Mapping[str, int]
    left_out: Mapping[str, Sequence[str]]
    signs: Mapping[str, tuple[EarlySign, ...]]


def foretold() -> Foretold | None:
    path = PUBLISHED / "foretell.json"
    if not path.is_file():
        return None
    content, by_task = json.loads(path.read_text(encoding="utf-8")), {}
    for entry in content["signs"]:
        by_task.setdefault(entry["task"], []).append(EarlySign(**entry))
    facts = (content[name] for name in ("command", "commit", "counted", "left_out"))
    return Foretold(*facts, {task: _best(signs) for task, signs in by_task.items()})


def _best(signs: Sequence[EarlySign]) -> tuple[EarlySign, ...]:
    within = sorted(signs, key=lambda sign: -abs(sign.within or 0.0))[:SHOWN_SIGNS]
    return tuple(sign for place, sign in enumerate(signs) if place < SHOWN_SIGNS or sign in within)


def results_of(study: str, task: str) -> Results | None:
    """The published run of a study on a task; None where there is none."""
    folder = PUBLISHED / study / task
    return results_in(folder) if (folder / "results.json").is_file() else None


def _line(study: Study, task: str, claimed: Claimed) -> Line:
    """As the run of the study says; what that did not measure, as another published run of it does."""
    line = _line_of(study.name, study, task, claimed)
    if line.is_answered:
        return line
    others = (run.study for run in runs() if run.of is study and run.folder == task and run.study != study.name)
    found = (_line_of(name, study, task, claimed) for name in others)
    return next((other for other in found if other.is_answered), line)


def _line_of(name: str, study: Study, task: str, claimed: Claimed) -> Line:
    results = results_of(name, task)
    if results is None:
        return Line(study.name, task, claimed.says, NOT_RUN, NOT_RUN, claimed.against)
    caveats = [claimed.against, *_caveats(results, claimed.arm, claimed.reference), *_noted(name, task)]
    claim = _found(results, claimed, _endpoint(task, claimed))
    if claim is None:
        return Line(study.name, task, claimed.says, NOT_RUN, NOT_RUN, _together([*caveats, NOT_MEASURED]))
    chance = chance_of(results, claim) if claimed.word == claim.word == "raises" else None
    caveats += [chance] if chance else []
    word = "undecided" if chance else claim.word
    verdict = answer(claimed.word, word, _mean_at_end(results, claim, claim.reference))
    figure = f"{_points(claim)} points, {claim.arm} against {claim.reference}"
    about = f"{endpoint_in_words(claim)}; {_over(claim, _seeds(results, claimed.arm, claimed.reference))}"
    return Line(name, task, claimed.says, f"{figure} ({about})", verdict, _together(caveats))


def _measured(study: Study, task: str, claimed: ClaimedChange) -> Line:
    results, path = results_of(study.name, task), PUBLISHED / study.name / task / "changes.json"
    if results is None or not path.is_file():
        return Line(study.name, task, claimed.says, NOT_RUN, NOT_RUN, claimed.against)
    caveats = [claimed.against, *_caveats(results, claimed.arm), *_noted(study.name, task)]
    found = [MeasureChange(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    wanted = (claimed.arm, claimed.split, claimed.metric)
    change = next((one for one in found if (one.arm, one.split, one.metric) == wanted), None)
    if change is None:
        return Line(study.name, task, claimed.says, NOT_RUN, NOT_RUN, _together([*caveats, NOT_MEASURED]))
    share = is_share(change.metric)
    ends = [signed(end, change.metric) for end in (change.ci_low, change.ci_high) if end is not None]
    figure = f"{signed(change.difference, change.metric)} [{', '.join(ends)}]{' points' if share else ''}"
    about = f"{change.metric}, {change.split}; {_over(change, _seeds(results, claimed.arm))}"
    verdict = answer(claimed.word, change.word, change.start_value if share else ANY_ROOM)
    said = f"{figure}, {change.arm} against {results.meta['start']} ({about})"
    return Line(study.name, task, claimed.says, said, verdict, _together(caveats))


def _answered(study: Study, task: str, asked: Expectation) -> Line:
    there = PUBLISHED / study.name
    folders = [there / task, *sorted(there.glob(f"{task}@*"))]  # of several start models each asks all
    figure, verdict = next(filter(None, map(asked.found, folders)), (NOT_RUN, NOT_RUN))
    return Line(study.name, task, asked.says, figure, verdict, asked.against)


def _caveats(results: Results, *arms: str | None) -> list[str]:
    """What speaks against any claim about some arms of a run: few seeds, a short training, seeds that diverged."""
    seeds = len(_seeds(results, *arms))
    few = [f"{seeds} seed{'s' * (seeds > 1)} only"] if seeds < FEW_SEEDS else []
    quick = ["a quick run: a third of the training, or less"] if "--quick" in results.meta.get("command", "") else []
    lost = [entry for entry in results.meta.get("diverged", ()) if entry["arm"] in arms]
    return [*few, *quick, *(f"{entry['arm']} diverged with seed {entry['seed']}" for entry in lost)]


def _noted(study: str, task: str) -> list[str]:
    """That there is more to be said of a run, on its page."""
    return ["see the note on its page"] if note_of(PUBLISHED / study / task) else []


def _seeds(results: Results, *arms: str | None) -> list[int]:
    """The seeds of a run with which none of some arms diverged."""
    lost = {entry["seed"] for entry in results.meta.get("diverged", ()) if entry["arm"] in arms}
    return [seed for seed in results.meta["seeds"] if seed not in lost]


def _together(caveats: Sequence[str]) -> str:
    return "; ".join(filter(None, caveats))


def _points(claim: Claim) -> str:
    ends = [f"{100 * end:+.1f}" for end in (claim.ci_low, claim.ci_high) if end is not None]
    between = f" [{', '.join(ends)}]" if ends else ""
    return f"{100 * claim.difference:+.1f}{between}"


def _over(claim: Claim | MeasureChange, seeds: Sequence[int]) -> str:
    """What an interval is over: with several seeds over problems alone only where all of them are alike."""
    if claim.over != "problems":
        return f"over {claim.over}; seeds: {len(seeds)}"
    return f"over problems only; seeds: {len(seeds)}{', all alike' * (len(seeds) > 1)}"


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


def chance_of(results: Results, claim: Claim) -> str | None:
    """What is to be said of a gain that ends no higher than a policy without a model comes to: it is none. None where
    it ends above all of their intervals, or where none was measured."""
    value = _mean_at_end(results, claim, claim.arm)
    best = max((row for row in _rows(results, claim) if row.arm in FLOORS), key=lambda row: row.ci_high, default=None)
    if best is None or value > best.ci_high:
        return None
    floor = f"{100 * best.value:.1f} [{100 * best.ci_low:.1f}, {100 * best.ci_high:.1f}]"
    return f"it comes to {100 * value:.1f}%, which is no more than chance ({best.arm} policy {floor})"


def _mean_at_end(results: Results, claim: Claim, arm: str) -> float:
    """The share that an arm has at the endpoint of a claim: of the last step of each seed, on average."""
    rows = [row for row in _rows(results, claim) if row.arm == arm]
    last = {row.seed: row.value for row in sorted(rows, key=lambda row: row.step)}
    return fmean(last.values())


def _rows(results: Results, claim: Claim) -> list[Row]:
    """Those of all arms at the endpoint of a claim."""
    wanted = (claim.metric, claim.split, claim.turns, claim.decoding)
    return [row for row in results.rows if (row.metric, row.split, row.turns, row.decoding) == wanted]
