"""Tables that studies show in the terminal."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from ruleshift.studies.study import Findings

if TYPE_CHECKING:
    from rich.table import Table

    from ruleshift.evaluation.comparison import Comparison
    from ruleshift.results import Results


def ends(found: Findings, width: int) -> "list[Table]":
    """How every arm ends, for each decoding, by all that arms are compared by; floors and the ceiling below. Of arms
    that solve next to nothing, what they replied."""
    return ends_in(found.results, found.comparisons, width)


def ends_in(results: "Results", comparisons: "Sequence[Comparison]", width: int) -> "list[Table]":
    """The same, of numbers alone."""
    from ruleshift.report.points import decodings_in
    from ruleshift.report.terminal import failures_table, headline_tables

    shown = dict.fromkeys([str(results.meta["metric"]), *(item.metric for item in comparisons)])
    found = []
    for decoding in decodings_in(results.rows):
        found += [table for one in shown for table in headline_tables(results, comparisons, decoding, one, width)]
        found += filter(None, [failures_table(results, decoding)])
    return found


GAIN = 0.1  # of the training rule, that arms are timed to


def gains(found: Findings, width: int) -> "list[Table]":
    """How much training it took each arm to gain 10 points of the training rule: the first evaluated step, and the
    conversations until then, each as often as it was learned from, with those that were drawn and not learned from, and
    with those of the arm that it went on from. Arms that are evaluated more densely are
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


OF_TRAINING = {  # of a profile: headings, and how numbers are written
    "generated_tokens": ("tokens drawn", "{:.3g}"),
    "trained_tokens": ("tokens learned", "{:.3g}"),
    "train_flops": ("FLOPs", "{:.2g}"),
    "seconds": ("seconds", "{:.0f}"),
    "kl_to_start": ("KL(start, it)", "{:.2f}"),
    "kl_from_start": ("KL(it, start)", "{:.2f}"),
    "kl_to_origin": ("KL(phase before, it)", "{:.2f}"),
    "kl_from_origin": ("KL(it, phase before)", "{:.2f}"),
    "entropy": ("entropy", "{:.3f}"),
    "moved": ("moved", "{:.1%}"),
    "moved_far": ("moved far", "{:.1%}"),
    "teacher_margin": ("teacher margin", "{:.2f}"),
}
OF_ANSWERS = {
    **{f"pass@{k}": (f"pass@{k}", "{:.1%}") for k in (1, 8, 64)},
    "distinct_right": ("distinct right", "{:.1f}"),
    "distinct_wrong": ("distinct wrong", "{:.1f}"),
}


def profiles(found: Findings, width: int) -> "list[Table]":
    """What each training took and did beside its scores, means over seeds: see `evaluation.training_profile`."""
    from ruleshift.evaluation.training_profile import rows_of_profile
    from ruleshift.report.terminal import blocks

    if not found.profiles:
        return []
    seeds: dict[str, list[dict[tuple[str, str], float]]] = {}
    for one in found.profiles:
        seeds.setdefault(one.arm, []).append({(row.split, row.metric): row.value for row in rows_of_profile(one)})
    answers = found.profiles[0].answers
    columns = {("id-val", metric): written for metric, written in OF_TRAINING.items()}
    for split in (told.split for told in answers):
        columns |= {(split, name): (f"{head}, {split}", form) for name, (head, form) in OF_ANSWERS.items()}
    known = {key for mine in seeds.values() for one in mine for key in one}
    columns = {key: written for key, written in columns.items() if key in known}
    lines = [
        [
            arm,
            *(
                form.format(fmean(s[key] for s in mine)) if all(key in s for s in mine) else ""
                for key, (_, form) in columns.items()
            ),
        ]
        for arm, mine in seeds.items()
    ]
    title = (
        "what a training took and how far it went (KL and entropy in nats), means over seeds; of "
        f"{answers[0].samples} replies to each of {len(answers[0].right)} problems, pass@k and how many distinct ones"
    )
    return blocks(title, ("arm",), [heading for heading, _ in columns.values()], lines, width)


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
