"""Tables in a terminal, as wide as it is: where a table does not fit, it becomes several with fewer columns each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.comparison import Comparison
from ruleshift.report.arms import feedback_note, legend_of
from ruleshift.report.points import turns_label
from ruleshift.report.tables import (
    FAILURES,
    ComparisonLine,
    ComparisonTable,
    Headline,
    ShownNumber,
    comparison_records,
    endpoint_in_words,
    failure_lines,
    headline,
    interval_of,
    is_share,
    signed,
)
from ruleshift.results import Results

T = TypeVar("T")
WHOLE = 100_000  # columns of a terminal: in one that wide no table is cut into several


@dataclass(frozen=True)
class PlainTable:
    """The text of a table: its headings, a row for each line of cells, and what stands below. Cells may have lines."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str


def plain(table: Table) -> PlainTable:
    """What a table says."""
    rows = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
    headings = tuple(str(column.header) for column in table.columns)
    return PlainTable(str(table.title or ""), headings, tuple(rows), str(table.caption or ""))


def headline_tables(
    results: Results, comparisons: Iterable[Comparison], decoding: str, metric: str = "success", width: int = 80
) -> list[Table]:
    """The headline: a line per arm and number of turns, a column per split, in as many tables as the width asks for.

    Under each value its interval over problems, the values of the seeds where there are several and, for trained arms,
    the difference to the start model with its interval.
    """
    record = headline(results, comparisons, decoding, metric)
    start = legend_of(results).start
    title = f"{metric}{' (%)' if is_share(metric) else ''} at the end of training, {decoding}{feedback_note(results)}"
    tables = _fitting(record.splits, lambda splits: _headline_table(title, record, splits), width)
    for table in tables[-1:]:
        about = f"; the difference to {start}, 95% interval {record.over} (bold: it excludes 0)" if start else ""
        below = f"Below each value: its 95% interval over problems, the values of single seeds{about}."
        table.caption = f"{below} {record.note}".rstrip()
    return tables


def _headline_table(title: str, record: Headline, splits: Sequence[str]) -> Table:
    table = _table(title)
    table.add_column("arm", min_width=8)
    table.add_column("turns", justify="right", no_wrap=True)
    for split in splits:
        table.add_column(Text(split), justify="right", no_wrap=True)
    for line in record.arms:
        for index, budget in enumerate(record.turns):
            below = "\n".join([line.label, *filter(None, [line.kl.replace(" \u00b1 ", "\n\u00b1 ")])])
            name = Text(f"{line.arm}\n", "bold").append(below, "not bold dim") if index == 0 else Text("")
            cells = [_entry_text(line.cells.get((split, budget))) for split in splits]
            table.add_row(name, str(budget), *cells, end_section=budget == record.turns[-1])
    return table


def failures_table(results: Results, decoding: str) -> Table | None:
    """What replies of arms were that solve next to nothing. None where there is no such arm."""
    lines = failure_lines(results, decoding)
    if not lines:
        return None
    table = _table(f"{FAILURES}, {decoding}")
    for heading in ("arm", "split", "replies"):
        table.add_column(heading, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, (line.arm, line.split, line.replies)))
    return table


def claims_table(claims: Sequence[Claim]) -> Table:
    """What a study says of its primary endpoints, and why."""
    table = _table("Primary endpoints, named before the study was run; all else is exploratory")
    for heading in ("task", "endpoint", "arm", "difference", "so it"):
        table.add_column(heading, justify="right" if heading == "difference" else "left")
    for claim in claims:
        change = _change_text(signed(claim.difference), interval_of(claim), claim.word != "undecided", "\n")
        arm = claim.arm if len({c.reference for c in claims}) == 1 else f"{claim.arm}\nagainst {claim.reference}"
        table.add_row(claim.task, endpoint_in_words(claim), arm, change, claim.word)
    over = {
        f"{claim.over} only: other seeds may differ by more" if claim.over == "problems" else f"{claim.over}"
        for claim in claims
    }
    table.caption = f"95% intervals, corrected for {claims[0].of} endpoints (Holm), over {'; or '.join(sorted(over))}."
    return table


def comparison_tables(
    results: Results, comparisons: Sequence[Comparison], decoding: str, width: int = 80
) -> list[Table]:
    """One table per title: where arms match in ID success, where they match in KL, and so on."""
    tables = []
    for record in comparison_records(results, comparisons, decoding):
        wide = _wide_comparison(record)
        tables.append(wide if _width(wide) <= width else _narrow_comparison(record))
    return tables


def _wide_comparison(record: ComparisonTable) -> Table:
    headings = ["split", "turns", "point", "%", "vs", "%", "difference"]

    def texts(line: ComparisonLine) -> list[Text]:
        words = [line.split, line.turns, line.point, line.value, line.reference, line.reference_value]
        return [*map(Text, words), _difference_text(line, " ")]

    return _comparison(record, headings, texts)


def _narrow_comparison(record: ComparisonTable) -> Table:
    """The same in fewer columns: the turns below the split, the reference and both values below the arm's step."""
    headings = ["split", "point, %", "difference"]

    def texts(line: ComparisonLine) -> list[Text]:
        where = f"{line.split}\n{turns_label(int(line.turns))}"
        points = f"{line.point}: {line.value}\n{line.reference}: {line.reference_value}"
        return [Text(where), Text(points), _difference_text(line, "\n")]

    return _comparison(record, headings, texts, "\n")


def _difference_text(line: ComparisonLine, separator: str) -> Text:
    """A difference, its interval, and below them those of the seeds."""
    text = _change_text(line.change, line.change_interval, line.excludes_0, separator)
    return text.append(_in_lines(line.seeds), "not bold dim")


def _comparison(
    record: ComparisonTable, headings: Sequence[str], texts: Callable[[ComparisonLine], list[Text]], between: str = "/"
) -> Table:
    table = _table(f"{record.title} ({record.decoding})")
    for heading in headings:
        named = heading == "vs" or heading.startswith("point")
        table.add_column(heading, justify="left" if named or heading == "split" else "right", no_wrap=not named)
    if record.matched_on:
        table.add_column(record.matched_on, justify="right")
    for line in record.lines:
        matched = line.matched.replace(" vs ", between)
        matched = (
            matched if between == "/" else matched.replace(" \u00b1 ", "\n\u00b1 ")
        )  # never broken behind the sign
        table.add_row(*texts(line), *([Text(matched)] if record.matched_on else []))
    below = " Below each difference: those of single seeds." if any(line.seeds for line in record.lines) else ""
    table.caption = "\n".join([f"95% intervals {record.over}.{below}", *record.notes])
    return table


def blocks(
    title: str,
    fixed: Sequence[str],
    columns: Sequence[str],
    lines: Sequence[Sequence[str]],
    width: int,
) -> list[Table]:
    """Lines of text under headings, the first of which (`fixed`) are in every table."""

    def part(chosen: Sequence[int]) -> Table:
        table = _table(title)
        for heading in [*fixed, *(columns[index] for index in chosen)]:
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for line in lines:
            table.add_row(*map(Text, [*line[: len(fixed)], *(line[len(fixed) + index] for index in chosen)]))
        return table

    return _fitting(range(len(columns)), part, width)


def _fitting(columns: Sequence[T], table_of: Callable[[Sequence[T]], Table], width: int) -> list[Table]:
    """The fewest tables whose columns all fit, with about equally many in each; at least one column a table."""
    tables = [table_of(columns)]
    for count in range(2, len(columns) + 1):
        if all(_width(table) <= width for table in tables):
            break
        size = -(-len(columns) // count)
        tables = [table_of(columns[index : index + size]) for index in range(0, len(columns), size)]
    for table in tables[1:]:
        table.title = None
    return tables


def _width(table: Table) -> int:
    """How many columns of the terminal a table takes when nothing in it is wrapped or cut."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum


def _table(title: str) -> Table:
    return Table(
        title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left", padding=(0, 1, 0, 0)
    )


def _entry_text(entry: ShownNumber | None) -> Text:
    if entry is None:
        return Text("")
    text = Text(f"{entry.value}\u2020" if entry.few else entry.value).append(
        f"\n{_tight(entry.interval)}{_in_lines(entry.seeds)}", "dim"
    )
    if entry.change:
        text.append("\n").append_text(_change_text(entry.change, entry.change_interval, entry.excludes_0, "\n"))
    return text


def _in_lines(seeds: Sequence[str]) -> str:
    """The values of seeds in lines of their own, two in each."""
    return "".join("\n" + " ".join(seeds[first : first + 2]) for first in range(0, len(seeds), 2))


def _change_text(change: str, interval: str, bold: bool, separator: str = " ") -> Text:
    return Text(change, "bold" if bold else "").append(
        f"{separator}{_tight(interval)}" if interval else "", "not bold dim"
    )


def _tight(interval: str) -> str:
    return interval.replace(", ", ",")
