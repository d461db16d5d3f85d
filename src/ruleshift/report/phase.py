"""The map of a study of phases: what a dose at a learning rate changed under the shifted rule, for each way to train
and each start model. From phase.json, which the study writes beside its results."""

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ruleshift.evaluation.phases import PhaseCell, beyond_drift, explanations
from ruleshift.report.palette import axis, layout
from ruleshift.results import fits, task_in

NAME = "phase.json"
LOSS_TO_GAIN = [[0.0, "#b2481a"], [0.5, "#f7f7f7"], [1.0, "#0b5f9e"]]


def cells_in(folder: Path) -> list[PhaseCell]:
    """The cells of the study in a folder, and of those beside it about the same task from other start models; none
    where there is no such study, and without what cannot be read."""
    if not (folder / NAME).is_file():
        return []
    task, found = task_in(folder), []
    for path in sorted({folder, *folder.parent.glob(f"{task}@*")}):
        try:
            cells = [PhaseCell(**entry) for entry in json.loads((path / NAME).read_bytes())["cells"]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        found += [cell for cell in cells if all(fits(getattr(cell, one.name), one.type) for one in fields(PhaseCell))]
    return found


def what_explains(cells: Sequence[PhaseCell]) -> str:
    """In words, how much of the change of all cells drift explains, and how much the way to train."""
    told = [
        f"{one.by} {one.r2:.2f}{'' if one.q2 is None else f' ({one.q2:.2f})'}"
        for one in explanations(cells)
        if one.r2 is not None
    ]
    said = f"Share of the variance of the change over all {len(cells)} cells (and over trainings left out of the fit)"
    return f"{said} that is explained by {'; '.join(told)}{beyond_drift_in_words(cells)}." if told else ""


def beyond_drift_in_words(cells: Sequence[PhaseCell]) -> str:
    """In words, the study's endpoint: what the way to train tells beyond drift. Nothing where that has no interval."""
    found = beyond_drift(cells)
    if found is None:
        return ""
    interval = f"{found.difference:+.2f} [{found.ci_low:+.2f}, {found.ci_high:+.2f}]"
    return f"; in trainings left out, the way to train adds {interval} to drift (over {found.trainings} trainings)"


def phase_map(cells: Sequence[PhaseCell]) -> go.Figure | None:
    """A row of panels for each way to train, a column for each start model, from the weakest to the strongest. Along:
    dose; up: learning rate; colour: the change in points. None without cells."""
    if not cells:
        return None
    strengths = {cell.start: cell.strength for cell in cells}
    starts, ways = sorted(strengths, key=lambda start: strengths[start]), list(dict.fromkeys(c.way for c in cells))
    rates = sorted({cell.learning_rate for cell in cells})
    most = math.ceil(100 * max(abs(cell.ood_change) for cell in cells)) or 1
    figure = make_subplots(
        len(ways),
        len(starts),
        row_titles=ways,
        column_titles=[f"{start} ({100 * strengths[start]:.0f}% at the start)" for start in starts],
        horizontal_spacing=0.06,
        vertical_spacing=0.22 / len(ways),
    )
    for row, way in enumerate(ways, 1):
        for column, start in enumerate(starts, 1):
            mine = [cell for cell in cells if (cell.way, cell.start) == (way, start)]
            steps = sorted({cell.step for cell in mine})
            known = {(cell.learning_rate, cell.step): cell for cell in mine}
            grid = [[known.get((rate, step)) for step in steps] for rate in rates]
            figure.add_trace(
                go.Heatmap(
                    x=list(map(str, steps)),
                    y=[f"{rate:g}" for rate in rates],
                    z=[[None if cell is None else 100 * cell.ood_change for cell in line] for line in grid],
                    text=[["" if cell is None else f"{100 * cell.ood_change:+.0f}" for cell in line] for line in grid],
                    hovertext=[["" if cell is None else _hover(cell) for cell in line] for line in grid],
                    hovertemplate="%{hovertext}<extra></extra>",
                    texttemplate="%{text}",
                    colorscale=LOSS_TO_GAIN,
                    zmin=-most,
                    zmax=most,
                    showscale=(row, column) == (1, 1),
                    colorbar={"title": {"text": "points"}, "thickness": 12},
                    xgap=2,
                    ygap=2,
                ),
                row=row,
                col=column,
            )
    figure.update_xaxes(axis(type="category", showgrid=False))
    figure.update_xaxes(title_text="steps or updates", row=len(ways))
    figure.update_yaxes(axis(type="category", showgrid=False))
    figure.update_yaxes(title_text="learning rate", col=1)
    figure.update_annotations(font={"size": 13, "weight": 600})
    return figure.update_layout(layout(height=110 + 190 * len(ways), margin={"l": 80, "r": 60, "t": 50, "b": 60}))


def _hover(cell: PhaseCell) -> str:
    return (
        f"<b>{cell.way}</b> at {cell.learning_rate:g}, step {cell.step}<br>"
        f"shifted {100 * cell.ood_change:+.1f}, training rule {100 * cell.id_gain:+.1f} points<br>"
        f"KL {cell.kl:.3g}"
    )
