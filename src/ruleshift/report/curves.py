"""Figures over training compute: every split, and recognition where there are pictures."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.report.arms import legend_of, origins_in, shows_pictures
from ruleshift.report.palette import ArmStyle, arm_styles, axis
from ruleshift.report.plots import (
    DOTTED,
    HOVER,
    drawing_order,
    finish,
    in_words,
    measured,
    metric_of,
    turns_label,
    with_interval,
)
from ruleshift.report.points import Mean, Measure, at_step, beginning, curve, end, splits_in, turns_in, with_start
from ruleshift.results import Results, Row

_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def recognition_over_compute(results: Results, decoding: str) -> go.Figure | None:
    """Recognition on every split over training compute. None where no task shows pictures."""
    return splits_over_compute(results, decoding, "recognition") if shows_pictures(results) else None


def splits_over_compute(results: Results, decoding: str, metric: str = "") -> go.Figure | None:
    """A metric on every split over training compute: a row of panels per number of turns, a column per split.

    By default what the study is measured by. Over optimiser steps where no compute was recorded.
    """
    metric = metric or metric_of(results)
    rows = measured(results, decoding, metric)
    legend, splits, budgets = legend_of(results), splits_in(rows), turns_in(rows)
    origins = origins_in(results)
    if not rows:
        return None
    styles = arm_styles(legend)
    counted = all(row.train_flops is not None for row in rows if row.step > 0)
    exponent = _exponent(rows) if counted else 0
    figure = make_subplots(
        rows=len(budgets),
        cols=len(splits),
        shared_xaxes="all",
        column_titles=splits,
        horizontal_spacing=0.2 / len(splits),
        vertical_spacing=0.16 / len(budgets),
    )
    for i, turns in enumerate(budgets, start=1):
        for j, split in enumerate(splits, start=1):
            view = Measure(turns, decoding, metric)
            start = end(rows, view, legend.start, split)
            for arm in drawing_order(legend, rows):
                before = origins.get(arm)
                first = at_step(curve(rows, view, before[0], split), before[1]) if before else [start] if start else []
                own = curve(rows, view, arm, split)
                points = with_start(own, first)
                if points:
                    xs = [_compute(point, counted) / 10**exponent for point in points]
                    labels = [point.label(before) for point in own]
                    if len(points) > len(own):
                        labels = [beginning(before), *labels]
                        xs[0] = xs[0] if counted else 0.0  # where its own steps begin
                    for trace in _curve_traces(xs, points, labels, styles[arm], arm):
                        figure.add_trace(trace, row=i, col=j)
            if start:
                figure.add_hline(100 * start.value, line=DOTTED, layer="below", row=i, col=j)
        figure.update_yaxes(title_text=f"{in_words(metric)} in {turns_label(turns)} (%)", row=i, col=1)
    compute = "training compute (FLOP)" if exponent == 0 else f"training compute ({_power(exponent)} FLOP)"
    figure.update_xaxes(axis(rangemode="tozero", nticks=4))
    figure.update_xaxes(title_text=compute if counted else "optimiser steps", row=len(budgets))
    figure.update_yaxes(axis(nticks=5))
    return finish(figure, legend, height=110 + 230 * len(budgets))


def _curve_traces(
    xs: Sequence[float], points: Sequence[Mean], labels: Sequence[str], style: ArmStyle, arm: str
) -> list[go.Scatter]:
    """The mean over seeds as a line and its interval as a band (variants go without a band)."""
    line = go.Scatter(
        x=xs,
        y=[100 * point.value for point in points],
        customdata=[[label, with_interval(point)] for label, point in zip(labels, points, strict=True)],
        name=arm,
        legendgroup=arm,
        showlegend=True,
        mode="lines+markers",
        line={"color": style.colour, "width": 1.5 if style.is_variant else 2.2, "dash": style.dash},
        marker={"size": 4, "symbol": style.symbol, "color": style.colour},
        hovertemplate=HOVER,
    )
    if style.is_variant:
        return [line]
    outline = [100 * point.high for point in points] + [100 * point.low for point in reversed(points)]
    band = go.Scatter(
        x=[*xs, *reversed(xs)],
        y=outline,
        fill="toself",
        fillcolor=style.transparent(0.14),
        line={"width": 0},
        mode="lines",
        legendgroup=arm,
        showlegend=False,
        hoverinfo="skip",
    )
    return [band, line]


def _compute(point: Mean, counted: bool) -> float:
    """How much training a point has behind it: FLOP where they were counted, else steps."""
    return (point.flops or 0.0) if counted else max(point.steps)


def _exponent(rows: Sequence[Row]) -> int:
    """The power of ten that makes compute readable: a multiple of three, with numbers from 1 up to 1000 at the end."""
    most = max((row.train_flops or 0.0 for row in rows), default=0.0)
    return 3 * math.floor(math.log10(most) / 3) if most >= 1000 else 0


def _power(exponent: int) -> str:
    return "10" + str(exponent).translate(_SUPERSCRIPTS)
