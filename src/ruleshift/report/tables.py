"""Tables: how every arm ends, and how arms compare where they match.

The first half makes plain records, which the HTML page shows too; the second half shows them in a terminal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from ruleshift.evaluation.comparison import Comparison
from ruleshift.report.points import Point, View, arms_in, end, splits_in, turns_in
from ruleshift.results import Results
from ruleshift.tasks import TASKS, get_task

BASE = "base"
SHARES = ("success", "step_accuracy", "first_try_accuracy", "validity", "recognition")
MATCHED_LABELS = {"id": "on ID (%)", "kl": "KL to start", "flops": "training FLOP", "lr": "learning rate"}

# ---------------------------------------------------------------- records


@dataclass(frozen=True)
class Cell:
    """One number of the headline, ready to show. `clear` says that the interval of the change leaves out zero."""

    value: str
    interval: str
    seeds: str = ""
    change: str = ""
    change_interval: str = ""
    clear: bool = False


@dataclass(frozen=True)
class ArmEnd:
    """One line of the headline: how an arm ends, by (split, turns)."""

    arm: str
    label: str
    cells: Mapping[tuple[str, int], Cell]


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
    clear: bool
    matched: str


@dataclass(frozen=True)
class ComparisonTable:
    """Comparisons under one title. `matched_on` heads their last column; None where nothing is matched."""

    title: str
    decoding: str
    matched_on: str | None
    lines: tuple[ComparisonLine, ...]


def headline(results: Results, comparisons: Iterable[Comparison], decoding: str, metric: str = "success") -> Headline:
    """How every arm ends. Changes come with an interval where `comparisons` hold an unmatched one against `base`."""
    rows = [row for row in results.rows if row.metric == metric and row.decoding == decoding]
    splits, turns = tuple(splits_in(rows)), tuple(turns_in(rows))
    against_base = {
        (item.arm, item.split, item.turns): item
        for item in comparisons
        if _is_in_headline(item) and item.decoding == decoding and item.metric == metric
    }
    arms = []
    for arm in arms_in(rows):
        cells, label = {}, ""
        for split in splits:
            for budget in turns:
                view = View(budget, decoding, metric)
                point = end(rows, view, arm, split)
                if point:
                    start = end(rows, view, BASE, split) if arm != BASE else None
                    cells[split, budget] = _cell(point, start, against_base.get((arm, split, budget)), metric)
                    label = label or ("start" if arm == BASE else point.step_label)
        arms.append(ArmEnd(arm, label, cells))
    return Headline(metric, decoding, splits, turns, tuple(arms))


def comparison_records(comparisons: Sequence[Comparison], decoding: str) -> list[ComparisonTable]:
    """The comparisons of one decoding, by title, in the order given; without those that the headline shows."""
    groups: dict[tuple[str, str | None], list[Comparison]] = {}
    for item in comparisons:
        if item.decoding == decoding and not _is_in_headline(item):
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


def _cell(point: Point, start: Point | None, comparison: Comparison | None, metric: str) -> Cell:
    seeds = ""
    if len(point.by_seed) > 1:
        seeds = f"{number(min(point.by_seed), metric)}\u2013{number(max(point.by_seed), metric)}"
    interval = f"[{number(point.low, metric)}, {number(point.high, metric)}]"
    value = number(point.value, metric)
    if comparison:
        between = _signed_interval(comparison, metric)
        return Cell(value, interval, seeds, signed(comparison.difference, metric), between, is_clear(comparison))
    change = signed(point.value - start.value, metric) if start else ""
    return Cell(value, interval, seeds, change)


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
        clear=is_clear(item),
        matched=" vs ".join(_matched(value, item) for value in (item.matched_value, item.matched_reference_value)),
    )


def _matched(value: float | None, item: Comparison) -> str:
    if value is None:
        return "-"
    return number(value) if item.matched_on == "id" else f"{value:.3g}"


def _is_in_headline(comparison: Comparison) -> bool:
    return comparison.matched_on is None and comparison.reference == BASE


def is_clear(comparison: Comparison) -> bool:
    """Whether the interval of a difference leaves out zero."""
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


def usual_ood(results: Results) -> str:
    """The split that stands for out of distribution where none is named: `visual-ood` where there are pictures, else
    `rule-ood`, else the first that is not `id`, else the only one."""
    splits = splits_in(results.rows)
    pictured = any(row.task in TASKS and get_task(row.task).pictures for row in results.rows)
    wanted = [*(["visual-ood"] if pictured else []), "rule-ood", *(split for split in splits if split != "id"), *splits]
    return next((split for split in wanted if split in splits), "rule-ood")


# ---------------------------------------------------------------- terminal


def headline_table(
    results: Results, comparisons: Iterable[Comparison], decoding: str, metric: str = "success"
) -> Table:
    """The headline for a terminal of 80 columns: a line per arm and number of turns, a column per split.

    Under each value its interval and, for trained arms, the difference to the start model.
    """
    record = headline(results, comparisons, decoding, metric)
    unit = " (%)" if is_share(metric) else ""
    table = _table(f"{metric}{unit} at the end of training, {decoding}")
    table.caption = "Below each value: its 95% interval, and the difference to base (bold: its interval leaves out 0)."
    table.add_column("arm", no_wrap=True)
    table.add_column("turns", justify="right")
    for split in record.splits:
        table.add_column(Text(split), justify="right", no_wrap=True)
    for line in record.arms:
        for index, budget in enumerate(record.turns):
            name = Text(f"{line.arm}\n", "bold").append(line.label, "not bold dim") if index == 0 else Text("")
            cells = [_cell_text(line.cells.get((split, budget))) for split in record.splits]
            table.add_row(name, str(budget), *cells, end_section=budget == record.turns[-1])
    return table


def comparison_tables(comparisons: Sequence[Comparison], decoding: str) -> list[Table]:
    """One table per title: where arms match in ID success, where they match in KL, and so on."""
    tables = []
    for record in comparison_records(comparisons, decoding):
        table = _table(f"{record.title} ({decoding})")
        for heading in ("split", "turns", "point", "%", "vs", "%", "difference", record.matched_on):
            if heading:
                words = heading in ("split", "point", "vs")
                table.add_column(heading, justify="left" if words else "right", no_wrap=heading != record.matched_on)
        for line in record.lines:
            change = _change_text(line.change, line.change_interval, line.clear)
            texts = [line.split, line.turns, line.point, line.value, line.reference, line.reference_value]
            cells = [
                *map(Text, texts),
                change,
                *([Text(line.matched.replace(" vs ", "/"))] if record.matched_on else []),
            ]
            table.add_row(*cells)
        tables.append(table)
    return tables


def _table(title: str) -> Table:
    return Table(
        title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", padding=(0, 1, 0, 0)
    )


def _cell_text(cell: Cell | None) -> Text:
    if cell is None:
        return Text("")
    text = Text(cell.value).append(f"\n{_tight(cell.interval)}", "dim")
    if cell.change:
        text.append("\n").append_text(_change_text(cell.change, cell.change_interval, cell.clear, "\n"))
    return text


def _change_text(change: str, interval: str, clear: bool, separator: str = " ") -> Text:
    return Text(change, "bold" if clear else "").append(
        f"{separator}{_tight(interval)}" if interval else "", "not bold dim"
    )


def _tight(interval: str) -> str:
    return interval.replace(", ", ",")
