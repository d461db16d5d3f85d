"""Tables that studies show in the terminal."""

import math
from typing import TYPE_CHECKING

from ruleshift.studies.study import Findings

if TYPE_CHECKING:
    from rich.table import Table


def ends(found: Findings, width: int) -> "list[Table]":
    """How every arm ends, for each decoding, by all that arms are compared by; floors and the ceiling below."""
    from ruleshift.report.terminal import headline_tables

    shown = dict.fromkeys([str(found.results.meta["metric"]), *(item.metric for item in found.comparisons)])
    return [
        table
        for decoding in found.measurement.decodings
        for one in shown
        for table in headline_tables(found.results, found.comparisons, decoding, one, width)
    ]


GAIN = 0.1  # of the training rule, that arms are timed to


def gains(found: Findings, width: int) -> "list[Table]":
    """How much training it took each arm to gain 10 points of the training rule: the first evaluated step, and the
    conversations until then, with those that were drawn and not learned from. Arms that are evaluated more densely are
    seen to gain sooner."""
    from ruleshift.evaluation.evaluate import budgets
    from ruleshift.report.terminal import blocks

    meta, m = found.results.meta, found.measurement
    metric, split = str(meta["metric"]), str(meta["trained"])
    what = (metric, split, budgets(metric, m.everywhere)[-1], m.decodings[-1])
    base = next(point.value(*what) for point in found.points if point.arm == meta["start"])
    lines = []
    trained = meta["config"]["training"]  # but for arms that are other ones' models, measured again
    runs = dict.fromkeys((point.arm, point.seed) for point in found.points if point.arm in trained)
    for arm, seed in runs:
        points = [point for point in found.points if (point.arm, point.seed) == (arm, seed)]
        first = next((p for p in points if p.value(*what) >= base + GAIN), None)
        drawn = found.drawn.get((arm, seed), {})
        took = (
            ["never", "", ""]
            if first is None
            else [f"{first.step}", f"{drawn.get(first.step, math.nan):.0f}", f"{first.train_flops:.2g}"]
        )
        lines.append([arm, str(seed), *took, f"{100 * points[-1].value(*what):.1f}"])
    title = f"training to a gain of {100 * GAIN:.0f} points of {metric} on {split}, from {100 * base:.1f}"
    return blocks(title, ("arm", "seed"), ("steps", "conversations", "FLOPs", "at the end"), lines, width)


def matched(found: Findings, width: int) -> "list[Table]":
    """How arms compare where they match, for each decoding, without the split whose high values are no good."""
    from ruleshift.report.terminal import comparison_tables

    metric = found.results.meta["metric"]
    chosen = [c for c in found.comparisons if c.matched_on is not None and c.split != "fake" and c.metric == metric]
    return [
        table
        for decoding in found.measurement.decodings
        for table in comparison_tables(found.results, chosen, decoding, width)
    ]
