"""Which early sign foretells the loss under shift? Over the runs of all studies in some folders.

A sign is what was measured at the first evaluated step of a training, on problems of the training rule or of validation
alone, less what the start model had there. What is to be foretold is what was lost under the shifted rule at its end.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.foretelling import explained, largest_by_chance, spearman, spearman_within
from ruleshift.evaluation.names import OF_THE_START
from ruleshift.report.arms import legend_of, trained_split, usual_ood
from ruleshift.report.insights import insights_in
from ruleshift.results import Results, Row, load_results

FEWEST = 4  # runs; of fewer nothing is said
VALIDATION = "id-val"


@dataclass(frozen=True)
class Trained:
    """One training: its early signs by name, and the loss under shift at its end. `settings` are all that decides it:
    studies that took it over from each other have the same, and it is one."""

    settings: str
    task: str
    arm: str
    seed: int
    signs: dict[str, float]
    loss: float


@dataclass(frozen=True)
class EarlySign:
    """How well a sign foretells the loss over `runs` trainings: R2 of a straight line, the same of trainings left out
    of the fit (`q2`), Spearman's correlation of ranks, and the same among trainings of one arm (`within`; None where
    none has two). `chance`: how often the largest of all signs of the task is as large within arms where none foretells
    anything."""

    task: str
    name: str
    runs: int
    r2: float
    q2: float
    spearman: float
    within: float | None
    chance: float | None


def studies_in(folder: Path) -> list[Path]:
    """The folders with results in a folder, itself and below. Raises RuleshiftError where there are none."""
    found = sorted({path.parent for path in folder.rglob("results.json")})
    if not found:
        raise RuleshiftError(f"{folder} holds no results.json: name the folder of a study (ruleshift study --out)")
    return found


def trained_in(folder: Path) -> list[Trained]:
    """The trainings of a study of one task that were evaluated before their end, too."""
    results = load_results(folder / "results.json")
    insights = insights_in(folder)
    more = () if insights is None else insights.rows
    return list(_trained(folder, results, more))


def distinct(trainings: Sequence[Trained]) -> list[Trained]:
    """Each training once, with all signs that any study has of it: those of the first where several have one."""
    found: dict[tuple[str, str, int], Trained] = {}
    for one in trainings:
        before = found.setdefault((one.task, one.settings, one.seed), one)
        found[one.task, one.settings, one.seed] = replace(before, signs=one.signs | before.signs)
    return list(found.values())


def _trained(folder: Path, results: Results, more: Sequence[Row]) -> Iterator[Trained]:
    metric, start = str(results.meta.get("metric", "success")), legend_of(results).start
    trained, shifted = trained_split(results), usual_ood(results)
    main = [row for row in results.rows if row.metric == metric]
    if not main:
        return
    points: dict[int, set[tuple[str, int, int]]] = {}
    for row in main:
        points.setdefault(row.turns, set()).add((row.arm, row.seed, row.step))
    turns = max(turns for turns in points if points[turns] == set.union(*points.values()))  # not at ends alone
    decoding = max(row.decoding for row in main)  # sampled, where there is
    scores = [row for row in results.rows if (row.turns, row.decoding) in ((turns, decoding), (1, decoding))]
    early = [row for row in (*scores, *more) if row.split in (trained, VALIDATION) and row.split != shifted]
    before = {_name(row): row.value for row in early if row.arm == start}
    at_end = [row for row in main if (row.split, row.turns, row.decoding) == (shifted, turns, decoding)]
    base = [row.value for row in at_end if row.arm == start]
    for arm, seed in dict.fromkeys((row.arm, row.seed) for row in at_end if row.arm != start and row.step > 0):
        mine = sorted((row for row in at_end if (row.arm, row.seed) == (arm, seed)), key=lambda row: row.step)
        if not base or len(mine) < 2:
            continue
        first = [row for row in early if (row.arm, row.seed, row.step) == (arm, seed, mine[0].step)]
        beside = {_name(row): row.value for row in first if row.metric in OF_THE_START.values()}
        known = before | beside
        signs = {
            _name(row): row.value - known.get(_of_the_start(row), 0.0) for row in first if _name(row) not in beside
        }
        if mine[0].kl_to_start is not None:
            signs["KL to the start"] = mine[0].kl_to_start
        yield Trained(_settings(folder, results, arm), mine[0].task, arm, seed, signs, base[0] - mine[-1].value)


def _settings(folder: Path, results: Results, arm: str) -> str:
    """What decides a training of an arm, but for its seed; the folder and the arm, where results do not say it."""
    config = results.meta.get("config", {})
    training = config.get("training", {}).get(arm)
    if training is None:
        return f"{folder}/{arm}"
    begun = [config.get(name) for name in ("model", "weights", "feedback")], config.get("starts", {}).get(arm)
    return json.dumps([training, begun], sort_keys=True, default=str)


def _name(row: Row) -> str:
    return f"{row.metric}, {row.split}{f', {row.turns} turns' if row.turns > 1 else ''}"


def _of_the_start(row: Row) -> str:
    """The name of what the start model has in the place of this."""
    return _name(replace(row, metric=OF_THE_START.get(row.metric, row.metric)))


def signs_of(trainings: Sequence[Trained]) -> list[EarlySign]:
    """Every sign that at least four trainings of a task have, by task, those first that order them best."""
    found = []
    for task in dict.fromkeys(one.task for one in trainings):
        mine = [one for one in trainings if one.task == task]
        loss, arms = np.array([one.loss for one in mine]), [one.arm for one in mine]
        signs = {}
        for name in dict.fromkeys(name for one in mine for name in one.signs):
            runs = np.array([run for run, one in enumerate(mine) if name in one.signs])
            if len(runs) >= FEWEST:
                signs[name] = np.array([mine[run].signs[name] for run in runs]), runs
        chance = largest_by_chance(list(signs.values()), loss, arms)
        for name, (x, runs) in signs.items():
            (r2, q2), ranks = explained(x[:, None], loss[runs]), spearman(x, loss[runs])
            within = spearman_within(x, loss[runs], [arms[run] for run in runs])
            if math.isfinite(r2) and math.isfinite(ranks):
                told = (within, float((chance >= abs(within)).mean())) if math.isfinite(within) else (None, None)
                found.append(EarlySign(task, name, len(runs), r2, q2, ranks, *told))
    return sorted(found, key=lambda sign: (sign.task, -abs(sign.spearman), -sign.r2))
