"""The first figure: where training led, on the shifted rule against the training rule, as arrows from the start."""

import plotly.graph_objects as go

from ruleshift.report import crowd
from ruleshift.report.arms import legend_of, references_in, trained_split
from ruleshift.report.palette import SOFT_INK, arm_styles, axis, layout
from ruleshift.report.plots import DOTTED, in_words, measured, metric_of, with_interval
from ruleshift.report.points import Mean, Measure, end, turns_in, turns_label
from ruleshift.report.tables import claimed_turns
from ruleshift.results import Results


def arrows(results: Results, decoding: str, ood: str) -> go.Figure | None:
    """An arrow for each arm from the start to its end, a dot for each seed, floors and ceiling as lines. None where
    nothing was trained, or nothing measured on both splits."""
    rows, legend = measured(results, decoding), legend_of(results)
    turns, trained = claimed_turns(results, turns_in(rows)), trained_split(results)
    view, styles = Measure(turns, decoding, metric_of(results)), arm_styles(legend)
    ends = {arm: (end(rows, view, arm, trained), end(rows, view, arm, ood)) for arm in legend.names}
    start_x, start_y = ends.get(legend.start, (None, None))
    arms = {arm: (x, y) for arm, (x, y) in ends.items() if arm != legend.start and x and y}
    spots = {arm: (100 * x.value, 100 * y.value) for arm, (x, y) in arms.items()}
    from_there = [(100 * start_x.value, 100 * start_y.value)] if start_x and start_y else []
    seen = crowd.view_of(list(spots.values()), from_there) if len(arms) > crowd.MANY else None
    figure = go.Figure()
    for arm, (x, y) in arms.items():
        style = styles[arm]
        figure.add_trace(_seeds(x, y, arm, style.colour, style.symbol))
        mean = _mean(x, y, arm, style.colour, style.symbol, style.is_variant)
        figure.add_trace(mean.update(mode="markers", cliponaxis=True) if seen else mean)
        if from_there and (not seen or seen.holds(*spots[arm])):
            figure.add_annotation(
                x=spots[arm][0],
                y=spots[arm][1],
                ax=from_there[0][0],
                ay=from_there[0][1],
                xref="x",
                yref="y",
                axref="x",
                ayref="y",
                showarrow=True,
                arrowhead=2,
                arrowsize=1.1,
                arrowwidth=1.2 if style.is_variant else 2.4,
                arrowcolor=style.colour,
                standoff=7,
                startstandoff=7,
                opacity=0.9,
            )
    if not figure.data:
        return None
    if start_x and start_y:
        start = _mean(start_x, start_y, f"{legend.start} (start)", styles[legend.start].colour, "diamond", False)
        start.update(textposition="middle left")  # away from the arrows, most of which lead right
        figure.add_trace(start.update(mode="markers") if seen else start)
    for name, kind in references_in(rows).items():
        point = end(rows, view, name, ood)
        if point:
            label = {"text": f"{kind}: {name}", "font": {"size": 11, "color": SOFT_INK}}
            figure.add_hline(
                100 * point.value,
                line=DOTTED,
                layer="below",
                label={**label, "textposition": "start", "yanchor": "bottom"},
            )
    measure = f"{in_words(view.metric)} (%), {turns_label(turns)}, {decoding}"
    figure.update_xaxes(axis(title_text=f"training rule: {trained}, {measure}"), range=_with_room(figure))
    figure.update_yaxes(axis(title_text=f"shifted: {ood}, {in_words(view.metric)} (%)"))
    if figure.layout.shapes:
        figure.update_yaxes(range=[-3, 107])
    figure.update_layout(layout(height=440, margin={"l": 60, "r": 60, "t": 24, "b": 56}, showlegend=False))
    if seen:
        named = spots | {f"{legend.start} (start)": spot for spot in from_there}
        colours = {name: styles[name if name in spots else legend.start].colour for name in named}
        crowd.show(figure, seen, named, colours)
    return figure


def _with_room(figure: go.Figure) -> list[float]:
    """The range of x that leaves room for the labels on either side."""
    places = [x for trace in figure.data for x in trace.x]
    low, high = min(places), max(places)
    width = max(high - low, 1.0)
    return [low - 0.4 * width, high + 0.25 * width]


def _seeds(x: Mean, y: Mean, arm: str, colour: str, symbol: str) -> go.Scatter:
    pairs = list(zip(x.by_seed, y.by_seed, strict=False))
    return go.Scatter(
        x=[100 * a for a, _ in pairs],
        y=[100 * b for _, b in pairs],
        mode="markers",
        marker={"color": colour, "size": 6, "opacity": 0.55, "symbol": symbol},
        name=f"{arm}, single seeds",
        hovertemplate="%{fullData.name}<br>%{x:.1f}%, %{y:.1f}%<extra></extra>",
    )


def _mean(x: Mean, y: Mean, name: str, colour: str, symbol: str, small: bool) -> go.Scatter:
    return go.Scatter(
        x=[100 * x.value],
        y=[100 * y.value],
        mode="markers+text",
        text=[f"  {name}  "],
        textposition="middle right",
        textfont={"color": colour, "size": 12 if small else 14},
        marker={"color": colour, "size": 8 if small else 11, "symbol": symbol, "line": {"color": "white", "width": 1}},
        name=name,
        customdata=[[with_interval(x), with_interval(y)]],
        hovertemplate="<b>%{fullData.name}</b><br>training rule %{customdata[0]}<br>shifted %{customdata[1]}"
        "<extra></extra>",
        cliponaxis=False,
    )
