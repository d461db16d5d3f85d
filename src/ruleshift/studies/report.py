"""The page of a study: its numbers, the curves of its training, and the episodes that it kept."""

from collections.abc import Sequence
from pathlib import Path

from ruleshift.evaluation.comparison import Comparison
from ruleshift.report.arms import legend_of
from ruleshift.report.library import Library, library_in_memory, library_of
from ruleshift.report.page import write_report
from ruleshift.report.training import curves_in
from ruleshift.results import Results
from ruleshift.studies.points import shown_conversations


def write_study_report(
    path: Path, results: Results, comparisons: Sequence[Comparison], ood: str, folder: Path | None = None
) -> None:
    """Write the page to `path`, of what lies in `folder` (by default that of the page)."""
    folder = folder or path.parent
    curves = curves_in(folder, legend_of(results))
    write_report(path, results, comparisons, episodes_in(folder, results), ood, curves)


def episodes_in(folder: Path, results: Results) -> Library:
    """The episodes that were kept of a study; where none were, the few conversations beside its numbers."""
    found = library_of(folder, legend_of(results))
    return found if len(found) else library_in_memory(shown_conversations(folder, results))
