"""Doses of training on a map, and what explains what they did: how far the model drifted, or the way it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from ruleshift.evaluation.foretelling import explained


@dataclass(frozen=True)
class PhaseCell:
    """One dose of one way to train at one rate, mean over seeds: the gain of the training rule's score and the change
    of the shifted one's, against the start model, with the latter's 95% interval over what `over` says (None where it
    is endless), and the KL. `strength` is the start model's own score under the training rule."""

    start: str
    strength: float
    way: str
    learning_rate: float
    step: int
    id_gain: float
    ood_change: float
    ci_low: float | None
    ci_high: float | None
    over: str
    kl: float
    train_flops: float
    seeds: int


@dataclass(frozen=True)
class Explained:
    """What a linear model of some properties of cells explains of the change of the shifted rule's score: the share of
    the variance of the cells (`r2`), and of those of one training left out of the fit at a time (`q2`); None where
    there are too few."""

    by: str
    r2: float | None
    q2: float | None
    cells: int


def explanations(cells: Sequence[PhaseCell]) -> list[Explained]:
    """How much of the change is drift, and how much more the way to train explains (with slopes of its own), and the
    start model where there are several. Cells of one training are not independent of each other: they are left out
    together."""
    trainings = [(cell.start, cell.way, cell.learning_rate) for cell in cells]
    change, root = np.array([cell.ood_change for cell in cells]), [max(cell.kl, 0.0) ** 0.5 for cell in cells]
    drift = [root, [cell.id_gain for cell in cells]]
    is_way = [[float(cell.way == way) for cell in cells] for way in sorted({cell.way for cell in cells})[1:]]
    leaning = [[own * size for own, size in zip(column, root, strict=True)] for column in is_way]
    is_start = [[float(cell.start == start) for cell in cells] for start in sorted({cell.start for cell in cells})[1:]]
    models = {
        "drift: root of KL": drift[:1],
        "drift: root of KL, ID gain": drift,
        "the way to train alone": is_way,
        "drift and the way to train": [*drift, *is_way, *leaning],
        **({"all of these and the start model": [*drift, *is_way, *leaning, *is_start]} if is_start else {}),
    }
    found = []
    for by, columns in models.items():
        r2, q2 = explained(np.array(columns).T, change, trainings) if columns and cells else (nan, nan)
        found.append(Explained(by, r2 if isfinite(r2) else None, q2 if isfinite(q2) else None, len(cells)))
    return found
