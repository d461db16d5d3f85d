"""Figures that studies name for what is published of them (`Study.pictures`), drawn of the folder that holds their
numbers; None where these are not there. What draws is imported when it is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruleshift.results import Results

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from ruleshift.studies.study import Picture


def tries(results: Results, folder: Path) -> "go.Figure | None":
    """What every arm solves within more and more tries."""
    from ruleshift.report.arms import usual_ood
    from ruleshift.report.points import decodings_in
    from ruleshift.report.verification import solved_within_tries

    return solved_within_tries(results, decodings_in(results.rows)[-1], usual_ood(results))


def over_compute(metric: str = "") -> "Picture":
    """A metric, by default what the study is measured by, on every split over training compute."""

    def drawn(results: Results, folder: Path) -> "go.Figure | None":
        from ruleshift.report.curves import splits_over_compute
        from ruleshift.report.points import decodings_in

        return splits_over_compute(results, decodings_in(results.rows)[-1], metric)

    return drawn


def map_of_phases(results: Results, folder: Path) -> "go.Figure | None":
    """The map of doses at learning rates, from all start models."""
    from ruleshift.report.phase import cells_in, phase_map

    return phase_map(cells_in(folder))


def of_insights(kind: Literal["along", "layers", "risk"]) -> "Picture":
    """Insights along the training; what each layer carries of the rule; what is wrong among the surest replies."""

    def drawn(results: Results, folder: Path) -> "go.Figure | None":
        from ruleshift.report import insights
        from ruleshift.report.arms import legend_of

        figures = {
            "along": insights.along_the_training,
            "layers": insights.through_the_layers,
            "risk": insights.risk_against_coverage,
        }
        found = insights.insights_in(folder)
        return None if found is None else figures[kind](found, legend_of(results))

    return drawn
