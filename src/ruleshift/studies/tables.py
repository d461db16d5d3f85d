"""Tables that studies show in the terminal."""

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
