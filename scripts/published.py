"""The published runs in docs/results: the values of every seed, differences to the start model, and what is claimed."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.comparison import Comparison, MatchedOn, load_comparisons
from ruleshift.evaluation.statistics import Difference
from ruleshift.report.arms import Legend, legend_of
from ruleshift.report.tables import claims_of
from ruleshift.results import Results, load_results
from ruleshift.tasks import get_task
from ruleshift.tasks.recipe import Endpoint

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "docs" / "results"
STUDIES = {"headline": ("gp-l", "virl-l"), "vision": ("gp-vl", "virl-vl")}
TASKS = [task for tasks in STUDIES.values() for task in tasks]
ARMS = ("sft", "rl")
MEASURES = {  # by the metric of a primary endpoint, of a problem and of a walk
    "success": ("solved", "whole routes"),
    "decision_accuracy": ("", "right decisions"),
}


@dataclass(frozen=True)
class Published:
    """What a study found on one task."""

    task: str
    study: str
    results: Results
    comparisons: Sequence[Comparison]

    @cached_property
    def legend(self) -> Legend:
        return legend_of(self.results)

    def values(self, arm: str, what: Endpoint) -> list[float]:
        """The value of each seed of an arm at the end of its training, in the order of seeds."""
        wanted = (arm, what.metric, what.split, what.turns, what.decoding)
        rows = [r for r in self.results.rows if (r.arm, r.metric, r.split, r.turns, r.decoding) == wanted]
        by_seed = {row.seed: row.value for row in sorted(rows, key=lambda row: row.step)}
        return [by_seed[seed] for seed in sorted(by_seed)]

    def compares(self, arm: str, what: Endpoint) -> bool:
        """Whether an arm is compared with the start model in this."""
        return any(self._comparisons(arm, self.legend.start, what, None))

    def comparison(self, arm: str, reference: str, what: Endpoint, on: MatchedOn | None = None) -> Comparison:
        """The published one of two arms: at their ends, or at points that have something in common."""
        return next(self._comparisons(arm, reference, what, on))

    def _comparisons(self, arm: str, reference: str, what: Endpoint, on: MatchedOn | None) -> Iterator[Comparison]:
        wanted = (arm, reference, what.metric, what.split, what.turns, what.decoding, on)
        return (
            c
            for c in self.comparisons
            if (c.arm, c.reference, c.metric, c.split, c.turns, c.decoding, c.matched_on) == wanted
        )

    def change(self, arm: str, what: Endpoint) -> Difference:
        """The difference to the start model, with its 95% interval over seeds and problems."""
        found = self.comparison(arm, self.legend.start, what)
        problems = min(row.n for row in self.results.rows if row.split == what.split)
        low = -math.inf if found.ci_low is None else found.ci_low
        high = math.inf if found.ci_high is None else found.ci_high
        return Difference(found.difference, low, high, problems)


@cache
def results_in(folder: Path) -> Results:
    """Of a published folder; read once, since much is asked of them."""
    return load_results(folder / "results.json")


@cache
def published(task: str, study: str = "") -> Published:
    """What README's study of a task found, or another one whose folder is named."""
    study = study or next(name for name, tasks in STUDIES.items() if task in tasks)
    folder = PUBLISHED / study / task
    return Published(task, study, results_in(folder), load_comparisons(folder / "comparisons.json"))


def sweep_of(task: str) -> dict[str, Any]:
    """The published sweep of a task: what every learning rate came to, on validation splits."""
    return json.loads((PUBLISHED / f"sweep-{task}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def primary(task: str) -> Endpoint:
    """The primary endpoint of a task, which its published run claims something of."""
    found = get_task(task).recipe.primary
    assert found is not None, f"{task} names no primary endpoint"
    return found


def measured(task: str) -> str:
    """What that endpoint counts, and within how many turns: "right decisions, 1 try"."""
    what, steps = primary(task), get_task(task).metric != "success"
    one, many = ("try", "tries") if steps else ("turn", "turns")
    return f"{MEASURES[what.metric][steps]}, {what.turns} {one if what.turns == 1 else many}"


@cache
def claimed() -> dict[tuple[str, str], Claim]:
    """What every study claims, by task and arm, as its run wrote it: corrected for all tasks of the study, those of
    other runs too."""
    found = {}
    for tasks in STUDIES.values():
        family = len(tasks) * len(ARMS)
        for task in tasks:
            here = claims_of(published(task).results)
            if {claim.arm for claim in here} != {*ARMS} or any(claim.of < family for claim in here):
                raise SystemExit(f"{task} is not claimed as one of the {family} endpoints of its study: run it again")
            found |= {(claim.task, claim.arm): claim for claim in here}
    return found
