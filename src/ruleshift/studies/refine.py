"""Evaluating more of the models that were kept along a training: where matched comparisons would read between two
evaluated steps that are far apart.

Which these are follows from the points alone, so a study that is killed asks for the same ones when it resumes, and a
point that is there is not measured again.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.matching import Measured, next_steps, reach
from ruleshift.evaluation.statistics import standard_error
from ruleshift.studies.arms import load_points
from ruleshift.studies.compare import (
    TOLERANCES,
    Curves,
    What,
    curves_of,
    matched_curves,
    metrics_of,
    path_of,
    seeds_of,
    whats_of,
)
from ruleshift.studies.kept import Keep
from ruleshift.studies.points import PointStore
from ruleshift.studies.pool import Job
from ruleshift.studies.study import Pair, Plan, Run, StartModel
from ruleshift.tasks import get_task

RunKey = tuple[str, int]  # arm, seed


@dataclass
class Refinement:
    """The points of a plan in `root` that are evaluated after its first ones, by the folder of their run."""

    plan: Plan
    start: StartModel
    root: Path
    keep: Keep = "none"
    further: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def points(self) -> list[Point]:
        """All points of the plan so far, run by run."""
        return [
            point
            for run in self.plan.runs()
            for point in load_points(self.root, run, self.plan.measurement, self.further.get(run.folder, ()))
        ]

    def next_jobs(self) -> list[Job]:
        """One round: the steps to measure next, at most as many of a run as are left to it. None when every match is
        read between close neighbours or such that stand one kept step apart, or nothing is left."""
        runs = {(run.name, run.seed): run for run in self.plan.runs()}
        kept = {key: self._store(run).at_hand() for key, run in runs.items()}
        wanted = wanted_steps(self.plan, self.points(), kept)
        jobs = []
        for key, steps in wanted.items():
            run = runs[key]
            before = self.further.get(run.folder, ())
            chosen = tuple(steps[: self.plan.further - len(before)])
            if chosen:
                self.further[run.folder] = (*before, *chosen)
                jobs.append(Job(run, self.start, self.plan.measurement, self.root, chosen, self.keep))
        return jobs

    def _store(self, run: Run) -> PointStore:
        return PointStore(self.root, run, self.plan.measurement)


def wanted_steps(
    plan: Plan, points: Sequence[Point], kept: Mapping[RunKey, Sequence[int]]
) -> dict[RunKey, tuple[int, ...]]:
    """The kept steps of each arm and seed to evaluate next: those that the primary endpoint of the task needs; where it
    needs none of a run, those that anything else does; at last, those within the error of the primary one's match."""
    curves, start = curves_of(points), plan.study.start
    pairs = [pair for pair in plan.pairs() if pair.matched_on and pair.reference != start]
    if not pairs or start not in curves:
        return {}
    task = get_task(plan.task)
    whats = whats_of(curves[start][0][0], plan.measurement.everywhere, metrics_of(task))
    end = task.recipe.primary
    primary = [what for what in whats if end and what == (end.metric, end.split, end.turns, end.decoding)]
    found: dict[RunKey, tuple[int, ...]] = {}
    for chosen, near in ((primary, False), (whats, False), (primary, True)):
        needed: dict[RunKey, tuple[int, ...]] = {}
        for key, steps in _needed(curves, plan, pairs, chosen, kept, near):
            needed[key] = tuple(dict.fromkeys((*needed.get(key, ()), *steps)))
        found = {key: steps for key, steps in needed.items() if steps} | found
    return found


def _needed(
    curves: Curves,
    plan: Plan,
    pairs: Sequence[Pair],
    whats: Sequence[What],
    kept: Mapping[RunKey, Sequence[int]],
    near: bool,
) -> Iterator[tuple[RunKey, tuple[int, ...]]]:
    """For every match of these pairs, the steps that each of its two runs needs."""
    start, trained, origins = plan.study.start, plan.study.trained, plan.origins()
    for what, pair in itertools.product(whats, pairs):
        assert pair.matched_on
        for seed in seeds_of(curves, pair, start, origins):
            names = (pair.arm, pair.reference)
            a, b = (path_of(curves, name, seed, curves[start][0][0], origins) for name in names)
            both = matched_curves(a, b, pair.matched_on, what, trained)
            for name, curve in zip(names, both, strict=True):
                slack = 2 * _largest_error(curve) if near else 0.0
                steps = next_steps(curve, reach(*both), kept[name, seed], TOLERANCES[pair.matched_on], slack)
                yield (name, seed), steps


def _largest_error(curve: Sequence[Measured]) -> float:
    """The largest standard error of the matched quantity along a curve."""
    return max(standard_error(p.matched) if len(p.matched) > 1 else 0.0 for p in curve)
