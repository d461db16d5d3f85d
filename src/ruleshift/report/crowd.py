"""Planes of many arms: a view that is not stretched by those far from all others, and names in a column beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

import plotly.graph_objects as go

from ruleshift.report.palette import SOFT_INK

MANY = 12  # arms: up to so many, names stand beside their points
COLUMN = 0.42  # of the width of the view, beside it: room for names
LINE = 0.052  # of the height of the view: a name's line
FENCE = 1.5  # interquartile ranges
IN_A_LINE, LINE_BELOW, BELOW = 3, 15, 52  # arms, and pixels: how high a line below the figure is, how far below
EDGE = 0.06  # of the range of values: room on either side


@dataclass(frozen=True)
class Extent:
    """What of a plane is shown: (low, high) across and up."""

    x: tuple[float, float]
    y: tuple[float, float]

    def holds(self, x: float, y: float) -> bool:
        return self.x[0] <= x <= self.x[1] and self.y[0] <= y <= self.y[1]

    @property
    def across(self) -> list[float]:
        """The range of the x axis, with the column of names."""
        return [self.x[0], self.x[1] + COLUMN * (self.x[1] - self.x[0])]


def view_of(ends: Sequence[tuple[float, float]], start: Sequence[tuple[float, float]]) -> Extent:
    """The view of where arms end, without those beyond Tukey's fences (1.5 interquartile ranges from the quartiles;
    Exploratory Data Analysis, 1977), with the start. There are at least two ends."""
    fences = [_fences([end[dimension] for end in ends]) for dimension in (0, 1)]
    near = [end for end in ends if all(low <= at <= high for at, (low, high) in zip(end, fences, strict=True))]
    across, up = zip(*(near or ends), *start, strict=True)
    return Extent(_with_edge(across), _with_edge(up))


def _fences(values: Sequence[float]) -> tuple[float, float]:
    first, _, third = quantiles(values, n=4, method="inclusive")
    room = FENCE * (third - first)
    return first - room, third + room


def _with_edge(values: Sequence[float]) -> tuple[float, float]:
    edge = EDGE * (max(values) - min(values) or 1.0)
    return min(values) - edge, max(values) + edge


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, three to six of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= next(times for times in (5, 2, 1) if (high - low) / (step * times) >= 3 or times == 1)
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def spread(wanted: Sequence[float], low: float, high: float, apart: float) -> list[float]:
    """Places between `low` and `high`, near those wanted and in their order, at least `apart` from each other; closer,
    and evenly, where that is too many."""
    if len(wanted) > 1:
        apart = min(apart, (high - low) / (len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = [0.0] * len(wanted)
    least = low
    for index in order:
        places[index] = max(wanted[index], least)
        least = places[index] + apart
    most = high
    for index in reversed(order):
        places[index] = min(places[index], most)
        most = places[index] - apart
    return places


def show(
    figure: go.Figure,
    view: Extent,
    ends: Mapping[str, tuple[float, float]],
    colours: Mapping[str, str],
    column: int = 1,
) -> None:
    """Show the view alone, write the names of arms that end in it in a column at its right, each with a line to its
    end, and below the panel where the others end. column: the panel, from 1."""
    panel = "" if column == 1 else column
    figure.layout[f"xaxis{panel}"].update(range=view.across, tickvals=ticks(*view.x))
    figure.layout[f"yaxis{panel}"].update(range=view.y)
    shown = {arm: end for arm, end in ends.items() if view.holds(*end)}
    height = view.y[1] - view.y[0]
    places = spread([y for _, y in shown.values()], view.y[0] + LINE * height, view.y[1], LINE * height)
    for (arm, (x, y)), place in zip(shown.items(), places, strict=True):
        figure.add_annotation(
            x=x,
            y=y,
            ax=view.x[1] + 0.05 * (view.x[1] - view.x[0]),
            ay=place,
            xref=f"x{panel}",
            yref=f"y{panel}",
            axref=f"x{panel}",
            ayref=f"y{panel}",
            text=arm,
            xanchor="left",
            font={"size": 12, "color": colours[arm]},
            showarrow=True,
            arrowhead=0,
            arrowwidth=0.7,
            arrowcolor=colours[arm],
            opacity=0.9,
            standoff=5,
        )
    outside = [f"{arm} ({x:.3g}, {y:.3g})" for arm, (x, y) in ends.items() if arm not in shown]
    lines = [", ".join(outside[first : first + IN_A_LINE]) for first in range(0, len(outside), IN_A_LINE)]
    if lines:
        figure.add_annotation(
            x=0,
            y=0,
            yshift=-BELOW,
            xref=f"x{panel} domain",
            yref=f"y{panel} domain",
            text="outside: " + ",<br>".join(lines),
            showarrow=False,
            align="left",
            xanchor="left",
            yanchor="top",
            font={"size": 11, "color": SOFT_INK},
        )
        margin = BELOW + LINE_BELOW * (1 + len(lines))
        figure.update_layout(margin_b=max(margin, figure.layout.margin.b))
