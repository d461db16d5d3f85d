"""Figures of insights: what is memorised along the training, what each layer carries of the rule, and what is wrong
among the replies that a model is surest of. From insights.json, which a study writes beside its results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.evaluation.names import GREEDY, OF_THE_START
from ruleshift.report.arms import Legend
from ruleshift.report.measures import meaning
from ruleshift.report.palette import arm_styles, axis
from ruleshift.report.plots import as_line, finish
from ruleshift.report.tables import is_share
from ruleshift.results import Row, fits

NAME = "insights.json"
SHOWN = (  # metric, and which of the splits it is measured on: 0 that of training, 1 the shifted one
    ("rule_follows", 0),
    ("rule_moved", 0),
    ("rule_read", 0),
    ("copied", 0),
    ("copied_answer", 0),
    ("distinct_right", 1),
    ("sure_wrong", 1),
    ("ece_per_token", 1),
    ("rotation", 0),
)
COLUMNS = 3
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Insights:
    """The content of the file: rows; for each arm what the words of the rule carry after each level (mean over seeds);
    for each arm and split the curve of risk against coverage."""

    rows: tuple[Row, ...]
    levels: Mapping[str, Sequence[float]]
    coverage: Mapping[tuple[str, str], Curve]


def insights_in(folder: Path) -> Insights | None:
    """What a study found beside its scores; None where there is no such file, or it cannot be read."""
    try:
        content = json.loads((folder / NAME).read_bytes())
        rows = tuple(row for point in content["points"] for row in _rows_of(str(content["task"]), point))
        last: dict[tuple[str, int], Sequence[float]] = {}
        for entry in content["levels"]:
            last[str(entry["arm"]), int(entry["seed"])] = list(map(float, entry["carried"]))
        curves: dict[tuple[str, str], list[Curve]] = {}
        for entry in content["coverage"]:
            curve = [(float(covered), float(risk)) for covered, risk in entry["curve"]]
            curves.setdefault((str(entry["arm"]), str(entry["split"])), []).append(curve)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if not all(fits(row.value, float) and fits(row.step, int) for row in rows):
        return None
    by_arm: dict[str, list[Sequence[float]]] = {}
    for (arm, _), carried in last.items():
        by_arm.setdefault(arm, []).append(carried)
    means = {arm: [fmean(level) for level in zip(*seeds, strict=False)] for arm, seeds in by_arm.items()}
    risks = {
        key: [(x, fmean(p[i][1] for p in found)) for i, (x, _) in enumerate(found[0])] for key, found in curves.items()
    }
    return Insights(rows, means, risks)


def _rows_of(task: str, point: Mapping[str, Any]) -> Iterator[Row]:
    """Those of one point."""
    where = (str(point["arm"]), int(point["seed"]), int(point["step"]))
    for split, measures in point["measures"].items():
        for metric, (value, n, low, high) in measures.items():
            decoding = "greedy" if metric in GREEDY else "sampled"
            numbers = (value, n, low, high, point["kl_to_start"], point["train_flops"])
            yield Row(task, *where, split, metric, 1, decoding, *numbers)


def along_the_training(found: Insights, legend: Legend) -> go.Figure | None:
    """A panel for each measure that there is, a line for each arm over the KL to the start. None without any."""
    splits = list(dict.fromkeys(row.split for row in found.rows if row.metric == "pass@1"))
    panels = []
    for metric, place in SHOWN:
        measured = dict.fromkeys(row.split for row in found.rows if row.metric == metric)
        split = splits[place] if place < len(splits) and splits[place] in measured else next(iter(measured), None)
        if split is not None:
            panels.append((metric, split))
    if not panels:
        return None
    rows, styles = -(-len(panels) // COLUMNS), arm_styles(legend)
    titles = [f"{metric.replace('_', ' ')}, {split}{' (%)' if is_share(metric) else ''}" for metric, split in panels]
    figure = make_subplots(rows, COLUMNS, subplot_titles=titles, horizontal_spacing=0.08, vertical_spacing=0.24 / rows)
    for place, (metric, split) in enumerate(panels):
        scale = 100 if is_share(metric) else 1
        for arm in legend.arms_in(found.rows):
            points = _path(found.rows, metric, split, arm)
            if arm != legend.start:
                points = [*_start(found.rows, metric, split, arm, legend), *points]
            trace = go.Scatter(
                x=[kl for kl, _, _ in points],
                y=[scale * value for _, value, _ in points],
                customdata=[step for *_, step in points],
                name=arm,
                legendgroup=arm,
                showlegend=True,
                mode="markers" if arm == legend.start else "lines+markers",
                line={"color": styles[arm].colour, "width": 1.6, "dash": styles[arm].dash},
                marker={"color": styles[arm].colour, "symbol": styles[arm].symbol, "size": 6},
                hovertemplate=f"<b>%{{fullData.name}}</b>, step %{{customdata}}<br>{metric} %{{y:.4g}}, KL %{{x:.3g}}"
                "<extra></extra>",
            )
            figure.add_trace(trace, row=place // COLUMNS + 1, col=place % COLUMNS + 1)
    figure.update_xaxes(axis(nticks=4, rangemode="tozero"))
    figure.update_xaxes(title_text="KL to the start", row=rows)
    figure.update_yaxes(axis(nticks=4, rangemode="tozero"))
    return finish(figure, legend, height=110 + 220 * rows)


def _path(rows: Sequence[Row], metric: str, split: str, arm: str) -> list[tuple[float, float, int]]:
    """KL, value and step of an arm, mean over the seeds that there are at a step."""
    steps: dict[int, list[Row]] = {}
    for row in rows:
        if (row.metric, row.split, row.arm) == (metric, split, arm):
            steps.setdefault(row.step, []).append(row)
    return [
        (fmean(row.kl_to_start or 0.0 for row in seeds), fmean(row.value for row in seeds), step)
        for step, seeds in sorted(steps.items())
    ]


def _start(rows: Sequence[Row], metric: str, split: str, arm: str, legend: Legend) -> list[tuple[float, float, int]]:
    """Where the path of an arm begins: what the start model has of the measure, or where that depends on the training
    of the arm, what it has beside the end of that."""
    if metric not in OF_THE_START:
        return _path(rows, metric, split, legend.start)[:1]
    return [(0.0, value, 0) for _, value, _ in _path(rows, OF_THE_START[metric], split, arm)[-1:]]


def through_the_layers(found: Insights, legend: Legend) -> go.Figure | None:
    """A line for each arm at its end: what the rule's words still carry after each layer. None where none was read."""
    if not found.levels:
        return None
    figure, styles = go.Figure(), arm_styles(legend)
    for arm in (name for name in legend.names if name in found.levels):
        carried = found.levels[arm]
        figure.add_trace(
            go.Scatter(
                x=["embedding", *(f"{level}" for level in range(1, len(carried)))],
                y=[100 * share for share in carried],
                **as_line(arm, styles[arm], 1.8),
                hovertemplate="<b>%{fullData.name}</b>, after %{x}: %{y:.0f}%<extra></extra>",
            )
        )
    figure.update_xaxes(axis(title_text="after layer", type="category"))
    figure.update_yaxes(axis(title_text="carried by the rule's words (%)", rangemode="tozero"))
    return finish(figure, legend, height=400)


def risk_against_coverage(found: Insights, legend: Legend) -> go.Figure | None:
    """A panel for each split, a line for each arm at its end, the replies of which it is surest first. None without."""
    splits = list(dict.fromkeys(split for _, split in found.coverage))
    if not splits:
        return None
    styles = arm_styles(legend)
    figure = make_subplots(1, len(splits), subplot_titles=splits, shared_yaxes=True, horizontal_spacing=0.06)
    for column, split in enumerate(splits, 1):
        for arm in (name for name in legend.names if (name, split) in found.coverage):
            curve = found.coverage[arm, split]
            trace = go.Scatter(
                x=[100 * covered for covered, _ in curve],
                y=[100 * risk for _, risk in curve],
                name=arm,
                legendgroup=arm,
                showlegend=True,
                mode="lines",
                line={"color": styles[arm].colour, "width": 1.8, "dash": styles[arm].dash},
                hovertemplate="<b>%{fullData.name}</b><br>%{y:.1f}% wrong of the surest %{x:.0f}%<extra></extra>",
            )
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(axis(title_text="replies given, surest first (%)", range=[0, 102]))
    figure.update_yaxes(axis(rangemode="tozero"))
    figure.update_yaxes(title_text="wrong among them (%)", col=1)
    return finish(figure, legend, height=400)


def words_of(found: Insights) -> str:
    """What the measures of the first figure mean."""
    there = {row.metric for row in found.rows}
    said = [
        f"{metric.replace('_', ' ')}: {meaning(metric)}" for metric, _ in SHOWN if metric in there and meaning(metric)
    ]
    return " ".join(said)
