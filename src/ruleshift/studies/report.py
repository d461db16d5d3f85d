"""The page of a study: its numbers, the curves of its training, and the episodes that it kept."""

from collections.abc import Sequence
from pathlib import Path

from ruleshift.evaluation.comparison import Comparison, load_comparisons
from ruleshift.report.arms import legend_of, usual_ood
from ruleshift.report.library import Library, grow, library_in_memory, library_of
from ruleshift.report.page import render_report, write_report
from ruleshift.report.scenes import stage_of
from ruleshift.report.server import Shown, stamp_of
from ruleshift.report.training import curves_in
from ruleshift.results import Results, load_results
from ruleshift.studies.live import live_results
from ruleshift.studies.points import shown_conversations


def write_study_report(
    path: Path, results: Results, comparisons: Sequence[Comparison], ood: str, folder: Path | None = None
) -> None:
    """Write the page to `path`, of what lies in `folder` (by default that of the page)."""
    folder = folder or path.parent
    curves = curves_in(folder, legend_of(results))
    write_report(path, results, comparisons, episodes_in(folder, results), ood, curves, folder)


def episodes_in(folder: Path, results: Results) -> Library:
    """The episodes that were kept of a study; where none were, the few conversations beside its numbers."""
    found = library_of(folder, legend_of(results), stage_of(results))
    return found if len(found) else library_in_memory(shown_conversations(folder, results))


def served(folder: Path, ood: str | None = None) -> Shown:
    """The page of a task's study for a server: of its results, or while it runs of the points that are there. Raises
    RuleshiftError where there is neither."""
    files = folder / "results.json", folder / "comparisons.json"

    def results() -> Results:
        return load_results(files[0]) if files[0].is_file() else live_results(folder)

    def render(library: Library) -> str:
        found = results()
        comparisons = load_comparisons(files[1]) if files[1].is_file() else []
        curves = curves_in(folder, legend_of(found))
        return render_report(found, comparisons, library, ood or usual_ood(found), curves, True, folder)

    def refresh(library: Library) -> None:
        if library.files or not len(library):
            grow(library, folder, legend_of(results()))

    def stamp() -> object:
        points = () if files[0].is_file() else sorted(folder.glob("arms/*/points/*.json"))
        return stamp_of(*files, *points)

    return Shown(episodes_in(folder, results()), render, refresh, stamp)
