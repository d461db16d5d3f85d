"""Which early sign foretells the loss under shift? Over the runs of all studies in some folders.

A sign is what was measured early in a training, on problems of the training rule or of validation alone, less what the
model had that the training began from. What is to be foretold is what was lost under the shifted rule from there to its
end. An arm that goes on from another one begins where that one was, not at the start of its study.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.foretelling import chances, explained, spearman, spearman_within
from ruleshift.evaluation.names import OF_THE_START
from ruleshift.report.arms import legend_of, origins_in, trained_split, usual_ood
from ruleshift.report.insights import insights_in
from ruleshift.results import Results, Row, load_results, task_in

FEWEST = 4  # runs; of fewer nothing is said
VALIDATION = "id-val"
KL = "KL to the start"
FROM_THE_START = (KL, f"moved, {VALIDATION}", f"rotation, {VALIDATION}")
"""Signs that are distances to the start of a study: of arms that begin elsewhere they are none."""
NO_SHIFT, ENDS_ALONE = "no scores under a shifted rule", "evaluated at the end alone"
NO_ORIGIN, TOO_FEW = "what it began from was not evaluated", f"fewer than {FEWEST} trainings of its task"
NO_INSIGHTS = "no insights.json, so scores and KL alone"
Model = tuple[str, int, int]  # one that was evaluated: arm, seed, step


@dataclass(frozen=True)
class Trained:
    """One training: its early signs by name, and the loss under shift at its end. `settings` are all that decides it
    beside its seed, as far as results tell (start models by name): studies that took it over from each other have the
    same, and it is one. `study` is the folder that it is counted in, of a study and task."""

    settings: str
    study: str
    task: str
    arm: str
    seed: int
    signs: Mapping[str, float]
    loss: float


@dataclass(frozen=True)
class LeftOut:
    """Trainings of an arm that are not counted, and why."""

    study: str
    arm: str
    why: str


@dataclass(frozen=True)
class EarlySign:
    """How well a sign foretells the loss over `runs` trainings: R2 of a straight line, the same of whole studies left
    out of the fit (`q2`; None where there is one alone), Spearman's correlation of ranks, and the same among trainings
    of one arm of a study (`within`; None where none has two). `chance`: how often the best of all signs, those of
    other tasks too, does as well within arms where none foretells anything."""

    task: str
    name: str
    runs: int
    r2: float
    q2: float | None
    spearman: float
    within: float | None
    chance: float | None


def studies_in(folder: Path) -> list[Path]:
    """The folders with results in a folder, itself and below. Raises RuleshiftError where there are none."""
    found = sorted({path.parent for path in folder.rglob("results.json")})
    if not found:
        raise RuleshiftError(f"{folder} holds no results.json: name the folder of a study (ruleshift study --out)")
    return found


def trainings_in(folders: Iterable[Path]) -> tuple[list[Trained], list[LeftOut]]:
    """The trainings of all studies in some folders, each once, and those that were left out."""
    found = [one for folder in folders for study in studies_in(folder) for one in _found_in(study)]
    once, shared = distinct(one for one in found if isinstance(one, Trained))
    tasks = [one.task for one in once]
    counted = [one for one in once if tasks.count(one.task) >= FEWEST]
    few = [LeftOut(one.study, one.arm, TOO_FEW) for one in once if tasks.count(one.task) < FEWEST]
    return counted, [*(one for one in found if isinstance(one, LeftOut)), *shared, *few]


def distinct(trainings: Iterable[Trained]) -> tuple[list[Trained], list[LeftOut]]:
    """Each training once, with all signs that any study has of it (those of the first where several have one), and
    those that are counted with another study."""
    found: dict[tuple[str, str, int], Trained] = {}
    again = []
    for one in trainings:
        before = found.setdefault((one.task, one.settings, one.seed), one)
        found[one.task, one.settings, one.seed] = replace(before, signs={**one.signs, **before.signs})
        if before is not one:
            again.append(LeftOut(one.study, one.arm, f"the same trainings as in {before.study}"))
    return list(found.values()), again


def reasons(left: Sequence[LeftOut], counted: Sequence[Trained]) -> dict[str, list[str]]:
    """By the reason, what was left out: studies, with their arms where it is not all of them."""
    arms: dict[str, set[str]] = {}
    by_why: dict[str, dict[str, dict[str, None]]] = {}
    for study, arm in [*((one.study, one.arm) for one in left), *((one.study, one.arm) for one in counted)]:
        arms.setdefault(study, set()).add(arm)
    for one in left:
        by_why.setdefault(one.why, {}).setdefault(one.study, {})[one.arm] = None
    told = {
        why: [study if arms[study] == {*mine} else f"{study} ({', '.join(mine)})" for study, mine in studies.items()]
        for why, studies in by_why.items()
    }
    bare = [study for study in dict.fromkeys(one.study for one in counted) if insights_in(Path(study)) is None]
    return told | ({NO_INSIGHTS: bare} if bare else {})


def _found_in(folder: Path) -> Iterator[Trained | LeftOut]:
    """The trainings of a study of one task, all of an arm by the same early step: the first at which all of its seeds
    were evaluated, before its end."""
    results, insights = load_results(folder / "results.json"), insights_in(folder)
    shifted, early = _measured(results, () if insights is None else insights.rows)
    origins, start = origins_in(results), legend_of(results).start
    base = next((model for model in shifted if model[0] == start), None)
    steps: dict[str, dict[int, set[int]]] = {}
    for row in results.rows:
        if row.step > 0:
            steps.setdefault(row.arm, {}).setdefault(row.seed, set()).add(row.step)
    for arm, by_seed in steps.items():
        first, settings = min(set.intersection(*by_seed.values()), default=None), _settings(results, arm, origins)
        for seed, evaluated in by_seed.items():
            end = arm, seed, max(evaluated)
            origin = base if arm not in origins else (origins[arm][0], seed, origins[arm][1])
            if end not in shifted:
                yield LeftOut(str(folder), arm, NO_SHIFT)
            elif first in (None, max(evaluated)):
                yield LeftOut(str(folder), arm, ENDS_ALONE)
            elif origin not in shifted:
                yield LeftOut(str(folder), arm, NO_ORIGIN)
            else:
                now = early.get((arm, seed, first), {})
                signs = _changes(now, early.get(origin, {}) | ({} if arm in origins else _beside(now)))
                for name in FROM_THE_START if arm in origins else ():
                    signs.pop(name, None)
                lost = shifted[origin] - shifted[end]
                where = str(folder), results.rows[0].task, arm, seed
                yield Trained(settings or f"{folder}/{arm}", *where, signs, lost)


def _changes(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    of_the_start = tuple(OF_THE_START.values())  # no signs of a training: what these are compared with
    return {name: now[name] - before[name] for name in now if name in before and not name.startswith(of_the_start)}


def _beside(now: Mapping[str, float]) -> dict[str, float]:
    """What the start model has of measures that depend on the training, under the names of these."""
    return {
        f"{metric}{name.removeprefix(of_start)}": value
        for metric, of_start in OF_THE_START.items()
        for name, value in now.items()
        if name.startswith(f"{of_start}, ")
    }


def _measured(results: Results, more: Iterable[Row]) -> tuple[dict[Model, float], dict[Model, dict[str, float]]]:
    """Of every model its score under the shifted rule, and all that may be a sign; with the turns and the decoding in
    which all models were scored, not those of ends alone."""
    metric, trained, ood = str(results.meta.get("metric", "success")), trained_split(results), usual_ood(results)
    main = [row for row in results.rows if row.metric == metric]
    scored: dict[int, set[Model]] = {}
    for row in main:
        scored.setdefault(row.turns, set()).add(_model(row))
    turns = max((turns for turns in scored if scored[turns] == set.union(*scored.values())), default=1)
    decoding = max((row.decoding for row in main), default="")  # sampled, where there is
    shifted = {_model(row): row.value for row in main if (row.split, row.turns, row.decoding) == (ood, turns, decoding)}
    scores = [row for row in results.rows if (row.turns, row.decoding) in ((turns, decoding), (1, decoding))]
    early: dict[Model, dict[str, float]] = {}
    for row in (*scores, *more):
        if row.split in (trained, VALIDATION):
            early.setdefault(_model(row), {})[_name(row)] = row.value
    for row in main:
        if row.kl_to_start is not None:
            early.setdefault(_model(row), {})[KL] = row.kl_to_start
    return ({} if ood == trained else shifted), early


def _model(row: Row) -> Model:
    return row.arm, row.seed, row.step


def _name(row: Row) -> str:
    return f"{row.metric}, {row.split}{f', {row.turns} turns' if row.turns > 1 else ''}"


def _settings(results: Results, arm: str, origins: Mapping[str, tuple[str, int]]) -> str | None:
    """What decides a training of an arm but for its seed, that of what it goes on from among it; None where results do
    not say it."""
    config = results.meta.get("config", {})
    training = config.get("training", {}).get(arm)
    if training is None:
        return None
    begun = [config.get(name) for name in ("model", "chat", "init_steps", "warm_up")]
    before = [_settings(results, origins[arm][0], origins), origins[arm][1]] if arm in origins else []
    return json.dumps([training, begun, results.meta.get("feedback", "full"), before], sort_keys=True, default=str)


def signs_of(trainings: Sequence[Trained]) -> list[EarlySign]:
    """Every sign that at least four trainings of a task have, by task, those first that order them best."""
    loss = np.array([one.loss for one in trainings])
    wholes = [Path(one.study).with_name(task_in(Path(one.study))) for one in trainings]  # from all start models
    arms = [(one.study, one.arm) for one in trainings]
    having: dict[tuple[str, str], list[int]] = {}
    for run, one in enumerate(trainings):
        for name in one.signs:
            having.setdefault((one.task, name), []).append(run)
    signs = {
        (task, name): (np.array([trainings[run].signs[name] for run in runs]), np.array(runs))
        for (task, name), runs in having.items()
        if len(runs) >= FEWEST
    }
    found = []
    by_chance = chances(list(signs.values()), loss, arms, [one.seed for one in trainings])
    for ((task, name), (x, runs)), chance in zip(signs.items(), by_chance, strict=True):
        r2, q2 = explained(x[:, None], loss[runs], [wholes[run] for run in runs])
        ranks, within = spearman(x, loss[runs]), spearman_within(x, loss[runs], [arms[run] for run in runs])
        if math.isfinite(r2) and math.isfinite(ranks):
            told = (within, chance) if math.isfinite(within) else (None, None)
            found.append(EarlySign(task, name, len(runs), r2, q2 if math.isfinite(q2) else None, ranks, *told))
    return sorted(found, key=lambda sign: (sign.task, -abs(sign.spearman), -sign.r2))
