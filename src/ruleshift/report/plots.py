"""Figures: OOD success against ID success, against KL to the start model, and against recognition where the study
measures that. Those over training compute are in `curves.py`.

What is said of success holds for any share that the study measures by (`meta["metric"]`).

Each arm is a path that begins at the start model, or at the point of another arm from which it goes on. Points are
means over seeds; thin lines are single seeds; error bars (at the ends of paths) and bands are 95% intervals over
problems.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.evaluation.claims import Claim
from ruleshift.report import crowd
from ruleshift.report.arms import Legend, legend_of, origins_in, shows_pictures, trained_split, usual_ood
from ruleshift.report.palette import SOFT_INK, ArmStyle, arm_styles, axis, layout
from ruleshift.report.points import Mean, Measure, at_step, beginning, curve, decodings_in, turns_in, turns_label
from ruleshift.report.tables import claimed_turns, claims_of
from ruleshift.results import Results, Row

OOD = "rule-ood"
HOVER = "<b>%{fullData.name}</b>, %{customdata[0]}<br>%{customdata[1]}<extra></extra>"
DOTTED = {"color": SOFT_INK, "width": 1, "dash": "dot"}

LEGEND_ROOM, LEGEND_LINE = 1300, 26  # pixels: how wide a line of the legend is, and how high
ENTRY, LETTER = 60, 7  # of an entry beside its name, and of each of its letters
LETTER_OF_NAME = 0.015  # shares of the width of a panel: of an arm's name in it


@dataclass(frozen=True)
class Panel:
    """One plane: OOD success, measured as `view` says, against ID success, KL to the start model, or recognition on the
    same split."""

    view: Measure
    across: Literal["id", "kl", "recognition"]
    heading: str


@dataclass(frozen=True)
class PlanePoint:
    """A point of a plane, shares in percent. `below` and `above` are the lengths of the error bars, (x, y); `steps`
    those of the seeds."""

    x: float
    y: float
    below: tuple[float, float]
    above: tuple[float, float]
    label: str
    details: str
    steps: tuple[int, ...] = ()


def ood_against_id(results: Results, decoding: str, ood: str = OOD) -> go.Figure | None:
    """OOD success against ID success, a panel per number of turns. None where there is nothing to show."""
    panels = [
        Panel(Measure(turns, decoding, metric_of(results)), "id", turns_label(turns))
        for turns in turns_in(measured(results, decoding))
    ]
    return _planes(results, panels, ood)


def ood_against_kl(results: Results, decoding: str, ood: str = OOD) -> go.Figure | None:
    """OOD success against KL to the start model, a panel per number of turns. None where no KL was measured."""
    panels = [
        Panel(Measure(turns, decoding, metric_of(results)), "kl", turns_label(turns))
        for turns in turns_in(measured(results, decoding))
    ]
    return _planes(results, panels, ood)


def ood_against_recognition(results: Results, decoding: str, ood: str = OOD) -> go.Figure | None:
    """Success against recognition, ID and OOD in a panel each, most turns; None where there are no pictures."""
    rows = measured(results, decoding)
    if not shows_pictures(results) or not rows:
        return None
    view = Measure(max(turns_in(rows)), decoding, metric_of(results))
    splits = (trained_split(results), ood)
    panels = [Panel(view, "recognition", f"{split} ({turns_label(view.turns)})") for split in splits]
    return _planes(results, panels, splits)


def headline_figure(
    results: Results, turns: int | None = None, decoding: str | None = None, ood: str | None = None
) -> go.Figure | None:
    """OOD success against ID success and against KL, side by side. By default at the first endpoint out of
    distribution that the study makes a claim of, or where it makes none, greedily on the usual split."""
    if not results.rows:
        return None
    named = named_endpoint(results)
    decoding = decoding or (named.decoding if named else decodings_in(results.rows)[0])
    ood = ood or (named.split if named else usual_ood(results))
    there = turns_in(measured(results, decoding))
    turns = turns or (named.turns if named and named.turns in there else claimed_turns(results, there))
    view = Measure(turns, decoding, metric_of(results))
    how = f"{turns_label(view.turns)}, {decoding}"
    panels = [
        Panel(view, "id", f"Against ID {in_words(view.metric)} ({how})"),
        Panel(view, "kl", f"Against distance moved ({how})"),
    ]
    return _planes(results, panels, ood)


def named_endpoint(results: Results) -> Claim | None:
    """The first claim of the study that is of its main metric, and not of a training rule."""
    for claim in claims_of(results):
        trained = claim.split == trained_split(results) or claim.split.endswith("-id")
        if claim.metric == metric_of(results) and not trained:
            return claim
    return None


def measured(results: Results, decoding: str, metric: str = "") -> list[Row]:
    metric = metric or metric_of(results)
    return [row for row in results.rows if row.metric == metric and row.decoding == decoding]


def metric_of(results: Results) -> str:
    """What the study is mainly measured by."""
    return str(results.meta.get("metric", "success"))


def in_words(metric: str) -> str:
    return metric.replace("_", " ")


def kl_title(results: Results) -> str:
    return f"KL to the start model ({results.meta.get('kl_unit', 'nats per token')})"


def _measure(results: Results) -> str:
    return f"{in_words(metric_of(results))} (%)"


# ---------------------------------------------------------------- planes


def _planes(results: Results, panels: Sequence[Panel], ood: str | Sequence[str]) -> go.Figure | None:
    """Success on the split `ood` (or on one for each panel) against something else: the panels side by side."""
    rows, legend, trained, origins = results.rows, legend_of(results), trained_split(results), origins_in(results)
    arms, styles = legend.arms_in(rows), arm_styles(legend)
    splits = [ood] * len(panels) if isinstance(ood, str) else list(ood)
    placed = [
        {arm: _spots(rows, panel, arm, split, trained, origins.get(arm)) for arm in arms}
        for panel, split in zip(panels, splits, strict=True)
    ]
    if not any(spots for by_arm in placed for arm, spots in by_arm.items() if arm != legend.start):
        return None
    headings = [panel.heading for panel in panels]
    figure = make_subplots(1, len(panels), horizontal_spacing=0.1, subplot_titles=headings)
    crowded = sum(not styles[arm].is_variant for arm in arms if arm != legend.start) > crowd.MANY
    for column, (panel, by_arm, split) in enumerate(zip(panels, placed, splits, strict=True), start=1):
        traces: list[go.Scatter] = []
        start = by_arm.get(legend.start, [])[:1]
        for arm in drawing_order(legend, rows):
            before = origins.get(arm)
            if not styles[arm].is_variant:
                for seed in _seeds(rows, arm):
                    own = [row for row in rows if row.seed == seed]
                    first = _first(_spots(own, panel, before[0], split, trained), before) if before else start
                    spots = _spots(own, panel, arm, split, trained)
                    traces.append(_seed_trace([*first, *spots], styles[arm], arm))
            if by_arm[arm]:
                others = [spots[-1] for other, spots in by_arm.items() if spots and other != arm]
                side = "" if crowded else _side(by_arm[arm][-1], others)
                first = _first(by_arm.get(before[0], []), before) if before else start
                traces += _path_traces([*first, *by_arm[arm]], styles[arm], arm, side)
        if start:
            traces.append(_start_trace(start[0], legend.start, styles[legend.start]))
        figure.add_traces(traces, rows=[1] * len(traces), cols=[column] * len(traces))
        if start:
            figure.add_hline(start[0].y, line=DOTTED, layer="below", row=1, col=column)
        figure.update_xaxes(axis(**_across_axis(results, panel, by_arm)), col=column)
    figure.update_yaxes(axis())
    title = f"OOD {in_words(metric_of(results))}, {ood} split (%)" if isinstance(ood, str) else _measure(results)
    figure.update_yaxes(title_text=title, col=1)
    finish(figure, legend, height=460)
    for column, by_arm in enumerate(placed if crowded else (), start=1):
        _crowded(figure, by_arm, legend, styles, column)
    return figure


def _crowded(
    figure: go.Figure,
    by_arm: Mapping[str, Sequence[PlanePoint]],
    legend: Legend,
    styles: Mapping[str, ArmStyle],
    column: int,
) -> None:
    """See `crowd.show`: variants have no names. A panel that shows fewer than two ends is left as it is."""
    ends = {arm: (spots[-1].x, spots[-1].y) for arm, spots in by_arm.items() if spots and arm != legend.start}
    named = {arm: end for arm, end in ends.items() if not styles[arm].is_variant}
    start = [(spot.x, spot.y) for spot in by_arm.get(legend.start, [])[:1]]
    if len(ends) > 1:
        view = crowd.view_of(list(ends.values()), start)
        crowd.show(figure, view, named, {arm: styles[arm].colour for arm in named}, column)


def _across_axis(results: Results, panel: Panel, by_arm: Mapping[str, Sequence[PlanePoint]]) -> dict[str, object]:
    """Title and range: KL from a little below zero, so that the start model is seen whole, to where a name ends that
    stands beside the farthest arm."""
    if panel.across == "recognition":
        return {"title_text": "recognition of first replies (%)"}
    if panel.across == "id":
        return {"title_text": f"ID {in_words(panel.view.metric)}, {trained_split(results)} split (%)"}
    furthest = max((spot.x for spots in by_arm.values() for spot in spots), default=0.0) or 1.0
    return {
        "title_text": kl_title(results),
        "range": [-0.03 * furthest, (1.04 + LETTER_OF_NAME * max(map(len, by_arm))) * furthest],
    }


def _spots(
    rows: Sequence[Row], panel: Panel, arm: str, ood: str, trained: str, begun: tuple[str, int] | None = None
) -> list[PlanePoint]:
    """An arm's path, mean over the seeds in `rows`, without its start. begun: the other arm that it began with, and
    after which step."""
    seen = panel.across == "recognition"
    other_view, other_split = (Measure(1, panel.view.decoding, "recognition"), ood) if seen else (panel.view, trained)
    beside = {point.steps: point for point in curve(rows, other_view, arm, other_split)}
    spots = []
    for point in curve(rows, panel.view, arm, ood):
        y, low, high = 100 * point.value, 100 * point.low, 100 * point.high
        label = point.label(begun)
        if panel.across == "kl":
            kl = 0.0 if point.kl is None and point.at_start else point.kl
            if kl is not None:
                details = f"OOD {with_interval(point)}<br>KL {kl:.3g}"
                spots.append(PlanePoint(kl, y, (0, y - low), (0, high - y), label, details, point.steps))
        elif other := beside.get(point.steps):
            x, left, right = 100 * other.value, 100 * other.low, 100 * other.high
            first, second = (in_words(panel.view.metric), "recognition") if seen else ("OOD", "ID")
            details = f"{first} {with_interval(point)}<br>{second} {with_interval(other)}{_flops(point)}"
            bars = (x - left, y - low), (right - x, high - y)
            spots.append(PlanePoint(x, y, *bars, label, details, point.steps))
    return spots


def _flops(point: Mean) -> str:
    return "" if not point.flops else f"<br>{point.flops:.2g} training FLOP"


def _seeds(rows: Sequence[Row], arm: str) -> list[int]:
    """The seeds of an arm, where there are several."""
    seeds = sorted({row.seed for row in rows if row.arm == arm})
    return seeds if len(seeds) > 1 else []


def _first(path: Sequence[PlanePoint], begun: tuple[str, int]) -> list[PlanePoint]:
    """The point of another arm's path with which an arm began."""
    return [replace(spot, label=beginning(begun)) for spot in at_step(path, begun[1])]


def _side(end: PlanePoint, others: Sequence[PlanePoint]) -> str:
    """Where an arm's name stands beside its end: on the left where another arm ends close by on the right."""
    every = [end, *others]
    width = max(spot.x for spot in every) - min(spot.x for spot in every)
    height = max(spot.y + spot.above[1] for spot in every) - min(spot.y - spot.below[1] for spot in every)
    close = any(0 < spot.x - end.x < width / 4 and abs(spot.y - end.y) < height / 10 for spot in others)
    return "left" if close else "right"


def _path_traces(spots: Sequence[PlanePoint], style: ArmStyle, arm: str, side: str) -> list[go.Scatter]:
    """The path with a small mark per evaluation, and a large one with error bars at its end, with the arm's name on
    that `side`; where there is none, without it, and cut off where the view ends."""
    last, rises, named = spots[-1], spots[-1].y >= spots[0].y, bool(side) and not style.is_variant
    line = {"color": style.colour, "width": 1.6 if style.is_variant else 2.4, "dash": style.dash}
    path = _scatter(spots, arm, style, mode="lines+markers", line=line, marker={"size": 5}, showlegend=True)
    final = _scatter(
        [last],
        arm,
        style,
        mode="markers+text" if named else "markers",
        marker={"size": 11},
        text=[f" {arm} "],
        textposition=f"{'top' if rises else 'bottom'} {side or 'right'}",
        textfont={"color": style.colour, "size": 14, "weight": 700},
        error_x=_error_bar(last, 0, style),
        error_y=_error_bar(last, 1, style),
        cliponaxis=not side,
    )
    return [path, final]


def _seed_trace(spots: Sequence[PlanePoint], style: ArmStyle, arm: str) -> go.Scatter:
    line = {"color": style.transparent(0.28), "width": 1}
    return _scatter(spots, arm, style, mode="lines", line=line, hoverinfo="skip", hovertemplate=None)


def _start_trace(start: PlanePoint, arm: str, style: ArmStyle) -> go.Scatter:
    trace = _scatter([start], f"{arm} (start model)", style, mode="markers", marker={"size": 12}, showlegend=True)
    bars = {"error_x": _error_bar(start, 0, style), "error_y": _error_bar(start, 1, style)}
    return trace.update(**bars, legendgroup=arm, cliponaxis=False)


def _scatter(spots: Sequence[PlanePoint], name: str, style: ArmStyle, **settings: object) -> go.Scatter:
    marker = {"color": style.colour, "symbol": style.symbol, "line": {"color": "white", "width": 1}}
    merged = {"showlegend": False, "hovertemplate": HOVER, **settings}
    merged["marker"] = marker | dict(settings.get("marker", {}))  # type: ignore[call-overload]
    return go.Scatter(
        x=[spot.x for spot in spots],
        y=[spot.y for spot in spots],
        customdata=[[spot.label, spot.details] for spot in spots],
        name=name,
        legendgroup=name,
        **merged,
    )


def _error_bar(spot: PlanePoint, dimension: int, style: ArmStyle) -> dict[str, object]:
    return {
        "array": [spot.above[dimension]],
        "arrayminus": [spot.below[dimension]],
        "color": style.transparent(0.55),
        "thickness": 1.2,
        "width": 0,
    }


def with_interval(point: Mean) -> str:
    return f"{100 * point.value:.1f}% [{100 * point.low:.1f}, {100 * point.high:.1f}]"


def drawing_order(legend: Legend, rows: Sequence[Row]) -> list[str]:
    """Trained arms, variants first, so that the chosen settings lie on top."""
    trained = (arm for arm in legend.arms_in(rows) if arm != legend.start)
    return sorted(trained, key=lambda arm: not legend.is_variant(arm))


def as_line(arm: str, style: ArmStyle, width: float = 1.6) -> dict[str, Any]:
    """What makes a trace the line of an arm, with its marks."""
    return {
        "name": arm,
        "legendgroup": arm,
        "showlegend": True,
        "mode": "lines+markers",
        "line": {"color": style.colour, "width": width, "dash": style.dash},
        "marker": {"color": style.colour, "symbol": style.symbol, "size": 7},
    }


def finish(figure: go.Figure, legend: Legend, height: int) -> go.Figure:
    """The shared layout, panel titles in its type, and one entry per arm, in the order of the legend. That has room
    for all of them where the figure is `LEGEND_ROOM` wide."""
    seen: set[str] = set()
    for trace in figure.data:
        if trace.showlegend:
            trace.update(showlegend=trace.legendgroup not in seen, legendrank=1 + legend.names.index(trace.legendgroup))
            seen.add(trace.legendgroup)
    figure.update_annotations(font={"size": 14, "weight": 600}, yshift=4)
    width = sum(ENTRY + LETTER * len(trace.name) for trace in figure.data if trace.showlegend)
    figure.update_layout(layout(height=height))
    return figure.update_layout(margin_t=figure.layout.margin.t + LEGEND_LINE * (width // LEGEND_ROOM))
