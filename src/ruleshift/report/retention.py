"""What is kept of a task while another one is learned: its score at the start, after its own training and after that of
the other task, for each way to train."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.report.arms import legend_of
from ruleshift.report.palette import COLOURS, axis, layout
from ruleshift.report.plots import in_words, metric_of, with_interval
from ruleshift.report.points import Mean, Measure, end
from ruleshift.results import Results

RULES = ("id", "rule-ood")
BESIDE = 0.07  # of the distance of two stages: ways stand beside each other


def through_both(results: Results, ways: Sequence[str], orders: Sequence[tuple[str, str]]) -> go.Figure | None:
    """A panel for each order and rule of the task that comes first, a line for each way that was trained (arms
    `WAY-FIRST` and `WAY-FIRST-then-SECOND`); intervals are over problems. None where there is none."""
    start = legend_of(results).start
    panels = [(first, second, rule) for first, second in orders for rule in RULES]
    titles = [f"{first}, {rule}" for first, _, rule in panels]
    figure = make_subplots(cols=len(panels), subplot_titles=titles, horizontal_spacing=0.05)
    for column, (first, second, rule) in enumerate(panels, start=1):
        for place, way in enumerate(ways):
            arms = (start, f"{way}-{first}", f"{way}-{first}-then-{second}")
            points = [end(results.rows, _measure(results), arm, f"{first}-{rule}") for arm in arms]
            found = [point for point in points if point is not None]
            if len(found) == len(arms):
                at = [stage + BESIDE * (place - (len(ways) - 1) / 2) for stage in range(len(arms))]
                figure.add_trace(_line(at, found, way, COLOURS[place], column == 1), row=1, col=column)
        stages = ["start", f"after {first}", f"then {second}"]
        figure.update_xaxes(axis(tickvals=[*range(3)], ticktext=stages, range=[-0.4, 2.4]), col=column)
    if not figure.data:
        return None
    figure.update_yaxes(axis())
    figure.update_yaxes(title_text=f"{in_words(metric_of(results))} (%)", col=1)
    return figure.update_layout(layout(height=440))


def _measure(results: Results) -> Measure:
    return Measure(1, "sampled", metric_of(results))


def _line(at: Sequence[float], points: Sequence[Mean], way: str, colour: str, named: bool) -> go.Scatter:
    return go.Scatter(
        x=at,
        y=[100 * point.value for point in points],
        error_y={
            "array": [100 * (point.high - point.value) for point in points],
            "arrayminus": [100 * (point.value - point.low) for point in points],
            "thickness": 1,
            "width": 0,
        },
        name=way,
        legendgroup=way,
        showlegend=named,
        mode="lines+markers",
        line={"color": colour, "width": 1.6},
        marker={"color": colour, "size": 7},
        customdata=[with_interval(point) for point in points],
        hovertemplate="<b>%{fullData.name}</b><br>%{customdata}<extra></extra>",
    )
