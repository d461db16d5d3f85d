"""What training did to measures of insight: each arm at its end against the start model, over seeds and problems."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING

from ruleshift.evaluation.claims import Word, corrected, verdict
from ruleshift.evaluation.names import OF_THE_START
from ruleshift.evaluation.statistics import crossed_estimate
from ruleshift.studies.study import Findings

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.evaluation.insight import Insight

Measured = tuple[str, str]  # split, metric


@dataclass(frozen=True)
class MeasureChange:
    """One measure of an arm at its end: its value, that of the start, and the difference with its 95% interval (None
    where it is endless), over what `over` says, corrected for `of` such claims (1: exploratory)."""

    arm: str
    split: str
    metric: str
    value: float
    start_value: float
    difference: float
    ci_low: float | None
    ci_high: float | None
    over: str
    word: Word
    of: int


def ends_of(insights: "Sequence[Insight]", arm: str) -> "list[Insight]":
    """The last insight of each seed of an arm."""
    last = {one.seed: one for one in sorted(insights, key=lambda one: one.step) if one.arm == arm}
    return list(last.values())


def changes(found: Findings, wanted: Sequence[Measured], primary: Sequence[Measured] = ()) -> list[MeasureChange]:
    """The change of every measure that is wanted, arm by arm, from what the start model has of it; those of the primary
    ones corrected together (Holm)."""
    from ruleshift.evaluation.insight import values_of

    start = str(found.results.meta["start"])
    before = [values_of(one) for one in ends_of(found.insights, start)]
    rows = []
    for arm in dict.fromkeys(one.arm for one in found.insights):
        after = [values_of(one) for one in ends_of(found.insights, arm)]
        for key in wanted if arm != start else ():
            split, metric = key
            own = metric in OF_THE_START
            others, of_start = (after, (split, OF_THE_START[metric])) if own else (before, key)
            if all(key in values for values in after) and all(of_start in values for values in others):
                a, b = [values[key] for values in after], [values[of_start] for values in others]
                rows.append((arm, key, fmean(map(fmean, a)), fmean(map(fmean, b)), crossed_estimate(a, b)))
    claimed = [estimate for _, key, *_, estimate in rows if key in primary]
    intervals = iter(corrected(claimed) if claimed else [])
    return [
        MeasureChange(
            arm,
            *key,
            value,
            start_value,
            estimate.mean,
            finite((interval := next(intervals) if key in primary else estimate.interval()).low),
            finite(interval.high),
            estimate.over,
            verdict(interval),
            len(claimed) if key in primary else 1,
        )
        for arm, key, value, start_value, estimate in rows
    ]


def finite(bound: float) -> float | None:
    """An end of an interval as JSON can hold it: that of a single problem is endless."""
    return bound if isfinite(bound) else None


def change_records(found: Sequence[MeasureChange]) -> list[dict[str, object]]:
    """The same as JSON holds it."""
    return [asdict(change) for change in found]


def change_tables(title: str, found: Sequence[MeasureChange], width: int) -> "list[Table]":
    """A line for each measure, and of each arm the value with its difference to the start: that of each arm, in their
    order, where these differ."""
    from ruleshift.report.tables import number, signed
    from ruleshift.report.terminal import blocks

    arms = list(dict.fromkeys(change.arm for change in found))
    known = {(change.metric, change.split, change.arm): change for change in found}
    lines = []
    for metric, split in dict.fromkeys((change.metric, change.split) for change in found):
        cells: list[str] = []
        at_start: dict[str, None] = {}
        for arm in arms:
            change = known.get((metric, split, arm))
            if change is None:
                cells.append("")
                continue
            at_start[number(change.start_value, metric)] = None
            low, high = change.ci_low, change.ci_high
            ends = "" if low is None or high is None else f"[{signed(low, metric)},{signed(high, metric)}]"
            mark = f"*{change.word}" if change.of > 1 else ""
            cells.append(f"{number(change.value, metric)}\n{signed(change.difference, metric)} {ends}\n{mark}".rstrip())
        lines.append([metric, split, " ".join(at_start), *cells])
    over = " and ".join(dict.fromkeys(change.over for change in found))
    primary = max((change.of for change in found), default=1)
    said = f"; * primary, corrected for {primary} (Holm)" if primary > 1 else ""
    return blocks(f"{title}; 95% intervals over {over}{said}", ("measure", "split", "start"), arms, lines, width)
