"""What verification costs and what it gains: success within more and more replies, against the tokens these take."""

from collections.abc import Sequence

import plotly.graph_objects as go

from ruleshift.report.arms import Legend
from ruleshift.report.library import Library, Listing
from ruleshift.report.palette import arm_styles, axis
from ruleshift.report.plots import finish


def gain_of_verification(library: Library, legend: Legend, split: str) -> go.Figure | None:
    """A line for each arm at its last evaluation, a dot for each number of replies: of the sampled episodes of a split
    that were kept, the share solved by then and the mean tokens of replies up to then. None where none were kept, or
    no problem takes a second reply."""
    figure, styles = go.Figure(), arm_styles(legend)
    for arm in legend.names:
        shown = _last(library, arm, split)
        most = max((len(entry.told["tokens"]) for entry in shown), default=0)
        if most < 2:
            continue
        points = [_point(shown, replies) for replies in range(1, most + 1)]
        figure.add_trace(
            go.Scatter(
                x=[tokens for tokens, _ in points],
                y=[100 * share for _, share in points],
                name=arm,
                legendgroup=arm,
                showlegend=True,
                mode="lines+markers",
                line={"color": styles[arm].colour, "width": 1.6, "dash": styles[arm].dash},
                marker={"color": styles[arm].colour, "symbol": styles[arm].symbol, "size": 7},
                customdata=list(range(1, most + 1)),
                hovertemplate="<b>%{fullData.name}</b>, %{customdata} replies<br>%{y:.1f}% for %{x:.0f} tokens"
                "<extra></extra>",
            )
        )
    if not figure.data:
        return None
    figure.update_xaxes(axis(title_text="tokens of replies to a problem, mean", rangemode="tozero"))
    figure.update_yaxes(axis(title_text=f"solved, {split} (%)"))
    return finish(figure, legend, height=400)


def _last(library: Library, arm: str, split: str) -> list[Listing]:
    """The sampled episodes of an arm's last evaluation on a split."""
    mine = [e for e in library.entries if e.arm == arm and e.kind == "point" and e.told["split"] == split]
    last = max((entry.step for entry in mine), default=0)
    return [entry for entry in mine if entry.step == last and entry.told["decoding"] == "sampled"]


def _point(entries: Sequence[Listing], replies: int) -> tuple[float, float]:
    """Mean tokens of the first replies, and the share of episodes that these solved."""
    tokens = sum(sum(entry.told["tokens"][:replies]) for entry in entries)
    solved = sum(0 < entry.told["solved_at"] <= replies for entry in entries)
    return tokens / len(entries), solved / len(entries)
