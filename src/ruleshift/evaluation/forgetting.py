"""What a training forgets out of distribution, what a later one recovers, and how sure a model is of it."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

import numpy as np

from ruleshift.evaluation.evaluate import Cell
from ruleshift.evaluation.statistics import Estimate, Outcomes, crossed_estimate

LEAST = 0.05
"""A share of a smaller loss or gain is not told: it would be one of noise. Of all problems."""


def forgetting(ood: Sequence[float]) -> list[float]:
    """max over s <= t of OOD(s), minus OOD(t), of each step t of a training: (T,) from (T,).

    Source: "RL Heals OOD Forgetting" (arXiv 2509.12235).
    """
    return [peak - now for peak, now in zip(accumulate(ood, max), ood, strict=True)]


def forgotten(ood: Sequence[Outcomes]) -> Estimate:
    """What was forgotten since the best step, without the luck by which it looks best.

    ood: outcomes of each step of a training up to now, T tables of (S, P), or (1, P) of a model that no seed had a part
    in. The best of several noisy means is too high, and `forgetting` with it. Here the best step is chosen on every
    other problem, and read on those between, both ways round; then as `crossed_estimate`. Where steps differ little the
    choice is at random, and less is told than was lost.
    """
    seeds = max(len(step) for step in ood)
    tables = np.stack(
        [np.broadcast_to(np.array(step, dtype=float), (seeds, len(step[0]))) for step in ood]
    )  # (T, S, P)
    peak = np.empty_like(tables[0])
    for chosen_on, read_on in ((0, 1), (1, 0)):
        best = tables[:, :, chosen_on::2].mean((1, 2)).argmax()
        peak[:, read_on::2] = tables[best, :, read_on::2]
    return crossed_estimate(peak.tolist(), tables[-1].tolist())


def recovery(after: float, before: float, peak: float) -> float | None:
    """(OOD_RL - OOD_SFT) / (OOD_peak - OOD_SFT): the share of what SFT forgot since its peak that RL brought back. None
    where less than `LEAST` was forgotten. Source: arXiv 2509.12235."""
    return (after - before) / (peak - before) if peak - before >= LEAST else None


def overconfidence(cell: Cell) -> float | None:
    """The mean probability of the first replies less the share of right ones, where something is decided: 0 where a
    model is as sure as it is right (on average; calibration asks for more), near 1 where it is sure and wrong. Of
    the replies of the cell, drawn or greedy; None where probabilities are not known."""
    if not cell.confidence:
        return None
    right = [count / of for count, of in zip(cell.decided_right, cell.decided, strict=True)]
    return fmean(sure - share for sure, share in zip(cell.confidence, right, strict=True))


def kept_share(start: float, learned: float, after: float) -> float | None:
    """(after - start) / (learned - start): the share of what a first training brought that is left after a second one.
    None where the first brought less than `LEAST`."""
    return (after - start) / (learned - start) if learned - start >= LEAST else None
