"""Doses of training on a map, and what explains what they did: how far the model drifted, or the way it was trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from ruleshift.evaluation.foretelling import explained

FEWEST = 8  # trainings that an interval over trainings is from, at least


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


@dataclass(frozen=True)
class Beyond:
    """By how much the share of the variance that is explained in trainings left out of the fit is larger with the way
    to train beside drift than with drift alone, and its 95% interval over trainings."""

    difference: float
    ci_low: float
    ci_high: float
    trainings: int


def explanations(cells: Sequence[PhaseCell]) -> list[Explained]:
    """How much of the change is drift, and how much more the way to train explains (with slopes of its own), and the
    start model where there are several. Cells of one training are not independent of each other: they are left out
    together."""
    starts = _indicators([cell.start for cell in cells])
    models = {
        "drift: root of KL": _drift(cells)[:1],
        "drift: root of KL, ID gain": _drift(cells),
        "the way to train alone": _ways(cells),
        "drift and the way to train": [*_drift(cells), *_leaning(cells)],
        **({"all of these and the start model": [*_drift(cells), *_leaning(cells), *starts]} if starts else {}),
    }
    found = []
    for by, columns in models.items():
        r2, q2 = _explained(cells, columns)
        found.append(Explained(by, r2 if isfinite(r2) else None, q2 if isfinite(q2) else None, len(cells)))
    return found


def beyond_drift(cells: Sequence[PhaseCell], samples: int = 1_000) -> Beyond | None:
    """What the way to train tells of trainings left out that drift (root of KL, ID gain) does not. None of fewer than
    `FEWEST` trainings, which carry no interval.

    The interval is the bootstrap's over trainings (percentiles), each with all of its cells; a training that is drawn
    twice is left out of the fit at once. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), ch. 13.
    """
    trainings: dict[tuple[str, str, float], list[PhaseCell]] = {}
    for cell in cells:
        trainings.setdefault(_training(cell), []).append(cell)
    if len(trainings) < FEWEST:
        return None
    rng, each = np.random.default_rng(0), list(trainings.values())
    drawn = [
        [cell for index in rng.integers(len(each), size=len(each)) for cell in each[index]] for _ in range(samples)
    ]
    found = [value for sample in drawn if isfinite(value := _beyond(sample))]
    whole = _beyond(cells)
    if not isfinite(whole) or not found:
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return Beyond(whole, float(low), float(high), len(each))


def _beyond(cells: Sequence[PhaseCell]) -> float:
    with_way = _explained(cells, [*_drift(cells), *_leaning(cells)])
    return with_way[1] - _explained(cells, _drift(cells))[1]


def _explained(cells: Sequence[PhaseCell], columns: Sequence[Sequence[float]]) -> tuple[float, float]:
    if not columns or not cells:
        return nan, nan
    change = np.array([cell.ood_change for cell in cells])
    return explained(np.array(columns).T, change, [_training(cell) for cell in cells])


def _training(cell: PhaseCell) -> tuple[str, str, float]:
    return cell.start, cell.way, cell.learning_rate


def _drift(cells: Sequence[PhaseCell]) -> list[list[float]]:
    return [[max(cell.kl, 0.0) ** 0.5 for cell in cells], [cell.id_gain for cell in cells]]


def _ways(cells: Sequence[PhaseCell]) -> list[list[float]]:
    return _indicators([cell.way for cell in cells])


def _leaning(cells: Sequence[PhaseCell]) -> list[list[float]]:
    """The way to train, with a slope of its own along the root of KL."""
    root, ways = _drift(cells)[0], _ways(cells)
    return [*ways, *([own * size for own, size in zip(way, root, strict=True)] for way in ways)]


def _indicators(names: Sequence[str]) -> list[list[float]]:
    """A column for each name but the first."""
    return [[float(one == name) for one in names] for name in sorted({*names})[1:]]
