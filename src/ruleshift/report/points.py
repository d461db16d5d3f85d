"""The points of tables and figures: rows averaged over seeds, and the order in which splits are shown."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol, TypeVar

from ruleshift.results import Row

SPLIT_ORDER = ("id", "rule-ood", "visual-ood", "heldout", "city-ood", "fake")
DECODING_ORDER = ("greedy", "sampled")


@dataclass(frozen=True)
class Mean:
    """One evaluated model on one split: the mean over seeds.

    `low` and `high` are the means over seeds of the intervals of the rows. All seeds answer the same problems, so
    this is the uncertainty about problems, not narrowed by seeds; `by_seed` shows how far seeds differ. `n` is the
    number of problems of one seed, `kl_error` the mean of the seeds' standard errors. `steps` are the seeds' steps,
    equal except where seeds end at different ones.
    """

    arm: str
    steps: tuple[int, ...]
    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    n: int
    kl: float | None
    flops: float | None
    kl_error: float | None = None

    @property
    def at_start(self) -> bool:
        """Whether nothing was trained yet."""
        return max(self.steps) == 0

    def label(self, begun: tuple[str, int] | None = None) -> str:
        """Where it lies on its way, which began at the start model, or at another arm and its step."""
        first, last = min(self.steps), max(self.steps)
        if self.at_start:
            return beginning(begun)
        return f"step {last}" if first == last else f"steps {first} to {last}"


def beginning(begun: tuple[str, int] | None) -> str:
    """Where a way begins: at the start model, or at another arm and its step."""
    return f"{begun[0]} step {begun[1]}" if begun else "start"


@dataclass(frozen=True)
class Measure:
    """One way to measure: a metric after at most `turns` turns, with one decoding."""

    turns: int
    decoding: str
    metric: str = "success"

    def select(self, rows: Iterable[Row], arm: str, split: str) -> list[Row]:
        wanted = (self.turns, self.decoding, self.metric, arm, split)
        return [row for row in rows if (row.turns, row.decoding, row.metric, row.arm, row.split) == wanted]


def curve(rows: Iterable[Row], view: Measure, arm: str, split: str) -> list[Mean]:
    """An arm's points by step: the steps that all its seeds were evaluated at."""
    selected = view.select(rows, arm, split)
    seeds = {row.seed for row in selected}
    steps: dict[int, list[Row]] = defaultdict(list)
    for row in selected:
        steps[row.step].append(row)
    return [average(steps[step]) for step in sorted(steps) if {row.seed for row in steps[step]} == seeds]


def end(rows: Iterable[Row], view: Measure, arm: str, split: str) -> Mean | None:
    """The mean over seeds of each seed's last step; None if the arm was not measured this way."""
    last: dict[int, Row] = {}
    for row in view.select(rows, arm, split):
        if row.seed not in last or row.step >= last[row.seed].step:
            last[row.seed] = row
    return average(list(last.values())) if last else None


def average(rows: Sequence[Row]) -> Mean:
    """Rows of one arm, split and view, one per seed, as one point."""
    return Mean(
        arm=rows[0].arm,
        steps=tuple(row.step for row in rows),
        value=fmean(row.value for row in rows),
        low=fmean(row.ci_low for row in rows),
        high=fmean(row.ci_high for row in rows),
        by_seed=tuple(row.value for row in rows),
        n=min(row.n for row in rows),
        kl=_mean_if_known([row.kl_to_start for row in rows]),
        flops=_mean_if_known([row.train_flops for row in rows]),
        kl_error=_mean_if_known([row.kl_error for row in rows]),
    )


def with_start(points: Sequence[Mean], start: Sequence[Mean]) -> list[Mean]:
    """A trained arm's points with what it began with in front, unless the arm was itself evaluated at step 0."""
    return [*start, *points] if points and not points[0].at_start else list(points)


class OfSteps(Protocol):
    """A point of steps, those of its seeds."""

    @property
    def steps(self) -> tuple[int, ...]: ...


Spot = TypeVar("Spot", bound=OfSteps)


def at_step(path: Sequence[Spot], step: int) -> list[Spot]:
    """The point of an arm's path from which another goes on; nothing where that step was not evaluated."""
    return [spot for spot in path if step in spot.steps][-1:]


def splits_in(rows: Iterable[Row]) -> list[str]:
    return sorted({row.split for row in rows}, key=lambda split: (_rank(split, SPLIT_ORDER), split))


def decodings_in(rows: Iterable[Row]) -> list[str]:
    return sorted({row.decoding for row in rows}, key=lambda name: (_rank(name, DECODING_ORDER), name))


def turns_in(rows: Iterable[Row]) -> list[int]:
    return sorted({row.turns for row in rows})


def turns_label(turns: int) -> str:
    return "1 turn" if turns == 1 else f"{turns} turns"


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
