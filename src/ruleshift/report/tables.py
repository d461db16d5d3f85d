"""The content of tables: how every arm ends, and how arms compare where they match. Plain records, which the page and
the terminal show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ruleshift.evaluation.comparison import Comparison
from ruleshift.report.arms import Legend, legend_of
from ruleshift.report.points import Mean, Measure, end, splits_in, turns_in
from ruleshift.results import Results

SHARES = ("success", "step_accuracy", "first_try_accuracy", "validity", "recognition")
MATCHED_LABELS = {"id": "on ID (%)", "kl": "KL to start"}


@dataclass(frozen=True)
class ShownNumber:
    """One number of the headline, ready to show. `excludes_0` is said of the interval of the change."""

    value: str
    interval: str
    seeds: str = ""
    change: str = ""
    change_interval: str = ""
    excludes_0: bool = False


@dataclass(frozen=True)
class ArmEnd:
    """One line of the headline: how an arm ends, by (split, turns). The label names its step, or says that it diverged;
    nothing is said of an arm of which no seed came to its end."""

    arm: str
    label: str
    cells: Mapping[tuple[str, int], ShownNumber]


@dataclass(frozen=True)
class Headline:
    """Every arm at the end of its training. Shares are in percent, changes against the start model in points."""

    metric: str
    decoding: str
    splits: tuple[str, ...]
    turns: tuple[int, ...]
    arms: tuple[ArmEnd, ...]


@dataclass(frozen=True)
class ComparisonLine:
    """One comparison, ready to show."""

    split: str
    turns: str
    point: str
    value: str
    reference: str
    reference_value: str
    change: str
    change_interval: str
    excludes_0: bool
    matched: str


@dataclass(frozen=True)
class ComparisonTable:
    """Comparisons under one title. `matched_on` heads their last column; None where nothing is matched."""

    title: str
    decoding: str
    matched_on: str | None
    lines: tuple[ComparisonLine, ...]


def headline(results: Results, comparisons: Iterable[Comparison], decoding: str, metric: str = "success") -> Headline:
    """How every arm ends. Changes come with an interval where `comparisons` hold one against the start, at the end."""
    legend = legend_of(results)
    rows = [row for row in results.rows if row.metric == metric and row.decoding == decoding]
    splits, turns = tuple(splits_in(rows)), tuple(turns_in(rows))
    against_start = {
        (item.arm, item.split, item.turns): item
        for item in comparisons
        if _is_in_headline(item, legend) and item.decoding == decoding and item.metric == metric
    }
    arms = []
    for arm in legend.names:
        cells: dict[tuple[str, int], ShownNumber] = {}
        label = ""
        for split in splits:
            for budget in turns:
                view = Measure(budget, decoding, metric)
                point = end(rows, view, arm, split)
                if point:
                    start = end(rows, view, legend.start, split) if arm != legend.start else None
                    cells[split, budget] = _entry(point, start, against_start.get((arm, split, budget)), metric)
                    label = label or point.step_label
        lost = legend.diverged.get(arm, ())
        if cells or lost:
            arms.append(ArmEnd(arm, _with_lost(label, lost), cells))
    return Headline(metric, decoding, splits, turns, tuple(arms))


def _with_lost(label: str, lost: Sequence[int]) -> str:
    """A label that says which seeds diverged; all of them where there is nothing else to say."""
    if not lost or not label:
        return "diverged" if lost else label
    return f"{label}; seed {', '.join(map(str, lost))} diverged"


def comparison_records(results: Results, comparisons: Sequence[Comparison], decoding: str) -> list[ComparisonTable]:
    """The comparisons of one decoding, by title, in the order given; without those that the headline shows."""
    legend = legend_of(results)
    groups: dict[tuple[str, str | None], list[Comparison]] = {}
    for item in comparisons:
        if item.decoding == decoding and not _is_in_headline(item, legend):
            groups.setdefault((item.title, item.matched_on), []).append(item)
    return [
        ComparisonTable(
            title,
            decoding,
            MATCHED_LABELS[matched] if matched else None,
            tuple(_comparison_line(item) for item in items),
        )
        for (title, matched), items in groups.items()
    ]


def _entry(point: Mean, start: Mean | None, comparison: Comparison | None, metric: str) -> ShownNumber:
    seeds = ""
    if len(point.by_seed) > 1:
        seeds = f"{number(min(point.by_seed), metric)}\u2013{number(max(point.by_seed), metric)}"
    interval = f"[{number(point.low, metric)}, {number(point.high, metric)}]"
    value = number(point.value, metric)
    if comparison:
        between = _signed_interval(comparison, metric)
        return ShownNumber(
            value, interval, seeds, signed(comparison.difference, metric), between, excludes_0(comparison)
        )
    change = signed(point.value - start.value, metric) if start else ""
    return ShownNumber(value, interval, seeds, change)


def _comparison_line(item: Comparison) -> ComparisonLine:
    return ComparisonLine(
        split=item.split,
        turns=str(item.turns),
        point=item.point_arm,
        value=number(item.value),
        reference=item.reference,
        reference_value=number(item.reference_value),
        change=signed(item.difference),
        change_interval=_signed_interval(item),
        excludes_0=excludes_0(item),
        matched=" vs ".join(_matched(value, item) for value in (item.matched_value, item.matched_reference_value)),
    )


def _matched(value: float | None, item: Comparison) -> str:
    if value is None:
        return "-"
    return number(value) if item.matched_on == "id" else f"{value:.3g}"


def _is_in_headline(comparison: Comparison, legend: Legend) -> bool:
    return comparison.matched_on is None and comparison.reference == legend.start


def excludes_0(comparison: Comparison) -> bool:
    """Whether the interval of a difference excludes 0."""
    return comparison.ci_low > 0 or comparison.ci_high < 0


def number(value: float, metric: str = "success") -> str:
    """A value as tables show it: shares in percent."""
    return f"{100 * value:.1f}" if is_share(metric) else f"{value:.3g}"


def signed(value: float, metric: str = "success") -> str:
    """A difference as tables show it, always with its sign: shares in percentage points."""
    text = f"{100 * value:+.1f}" if is_share(metric) else f"{value:+.3g}"
    return "+0.0" if text == "-0.0" else text


def is_share(metric: str) -> bool:
    return metric in SHARES or metric.startswith("pass@")


def _signed_interval(comparison: Comparison, metric: str = "success") -> str:
    return f"[{signed(comparison.ci_low, metric)}, {signed(comparison.ci_high, metric)}]"
