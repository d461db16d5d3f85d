"""Figures of training itself, from the metrics of its runs: reward, KL, entropy, clip share, lengths, loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.errors import RuleshiftError
from ruleshift.metrics import read
from ruleshift.report.arms import Legend
from ruleshift.report.palette import arm_styles, axis
from ruleshift.report.plots import finish

Curves = Mapping[tuple[str, int], Sequence[Mapping[str, Any]]]  # of an arm and seed, the lines of its metrics
SHOWN = {
    "reward": "reward of an episode",
    "success": "success in training",
    "kl_to_start": "KL to the start (nats a token)",
    "entropy": "entropy (nats a token)",
    "clipped": "share of ratios clipped",
    "reply_tokens": "tokens of an episode's replies",
    "turns": "replies of an episode",
    "loss": "loss of SFT",
}


def curves_in(folder: Path, legend: Legend) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The metrics of the runs in a study's folder. What cannot be read is left out."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for path in sorted((folder / "arms").glob("*-seed*/metrics.jsonl")):
        arm, _, seed = path.parent.name.rpartition("-seed")
        if arm in legend.names and seed.isdigit():
            try:
                lines = [record for _, record in read(path, strict=False)]
            except RuleshiftError:
                continue
            found[arm, int(seed)] = [line for line in lines if line["step"] > 0]
    return found


def training_curves(curves: Curves, legend: Legend) -> go.Figure | None:
    """A panel for each metric that any run has, a line for each run. None where there are none."""
    there = [name for name in SHOWN if any(_points(lines, name) for lines in curves.values())]
    if not there:
        return None
    columns = min(3, len(there))
    rows = -(-len(there) // columns)
    styles = arm_styles(legend)
    titles = [SHOWN[name] for name in there]
    figure = make_subplots(rows, columns, subplot_titles=titles, horizontal_spacing=0.08, vertical_spacing=0.2 / rows)
    for place, name in enumerate(there):
        for (arm, seed), lines in curves.items():
            points = _points(lines, name)
            if points:
                trace = go.Scatter(
                    x=[step for step, _ in points],
                    y=[value for _, value in points],
                    name=arm,
                    legendgroup=arm,
                    showlegend=True,
                    mode="lines" if len(points) > 1 else "markers",
                    line={"color": styles[arm].colour, "width": 1.3, "dash": styles[arm].dash},
                    hovertemplate=f"<b>%{{fullData.name}}</b>, seed {seed}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
                )
                figure.add_trace(trace, row=place // columns + 1, col=place % columns + 1)
    figure.update_xaxes(axis(nticks=4))
    figure.update_yaxes(axis(nticks=4))
    return finish(figure, legend, height=110 + 210 * rows)


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    found = [(line["step"], line.get(name)) for line in lines]
    return [(step, value) for step, value in found if isinstance(value, int | float) and not isinstance(value, bool)]
