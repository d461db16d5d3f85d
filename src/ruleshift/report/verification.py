"""What verification costs and what it gains: success within more and more replies, against the tokens these take."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.report.arms import Legend, legend_of, trained_split
from ruleshift.report.library import Library, Listing
from ruleshift.report.palette import arm_styles, axis
from ruleshift.report.plots import as_line, finish, measured, with_interval
from ruleshift.report.points import Measure, end, splits_in, turns_in
from ruleshift.results import Results


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
                **as_line(arm, styles[arm]),
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


MANY = 4  # numbers of tries, from which on they make a curve


def solved_within_tries(results: Results, decoding: str, ood: str) -> go.Figure | None:
    """What every arm solves at its end within more and more tries, a panel each for the training rule and the shifted
    one; the intervals are over problems. None where fewer than `MANY` numbers of tries were measured."""
    rows = measured(results, decoding, "success")
    budgets, legend = turns_in(rows), legend_of(results)
    splits = [split for split in (trained_split(results), ood) if split in splits_in(rows)]
    if len(budgets) < MANY or not splits:
        return None
    styles = arm_styles(legend)
    figure = make_subplots(cols=len(splits), column_titles=splits, horizontal_spacing=0.08)
    for j, split in enumerate(splits, start=1):
        for arm in legend.arms_in(rows):
            found = [(turns, end(rows, Measure(turns, decoding), arm, split)) for turns in budgets]
            points = [(turns, point) for turns, point in found if point]
            figure.add_trace(
                go.Scatter(
                    x=[turns for turns, _ in points],
                    y=[100 * point.value for _, point in points],
                    **as_line(arm, styles[arm]),
                    customdata=[with_interval(point) for _, point in points],
                    hovertemplate="<b>%{fullData.name}</b>, within %{x} tries<br>%{customdata}<extra></extra>",
                ),
                row=1,
                col=j,
            )
    figure.update_xaxes(axis(title_text="tries", type="log", tickvals=budgets, ticktext=[*map(str, budgets)]))
    figure.update_yaxes(axis(title_text=f"solved, {decoding} (%)", rangemode="tozero"))
    return finish(figure, legend, height=440)


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
