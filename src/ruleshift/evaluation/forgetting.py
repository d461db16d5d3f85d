"""What a training forgets out of distribution, what a later one recovers, and how sure a model is of it."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from ruleshift.evaluation.evaluate import Cell

LEAST = 0.02  # of all problems: a share of a smaller loss or gain is one of noise


def forgetting(ood: Sequence[float]) -> list[float]:
    """max over s <= t of OOD(s), minus OOD(t), of each step t of a training: (T,) from (T,).

    Source: "RL Heals OOD Forgetting" (arXiv 2509.12235).
    """
    return [peak - now for peak, now in zip(accumulate(ood, max), ood, strict=True)]


def recovery(after: float, before: float, peak: float) -> float | None:
    """(OOD_RL - OOD_SFT) / (OOD_peak - OOD_SFT): the share of what SFT forgot since its peak that RL brought back. None
    where less than `LEAST` was forgotten. Source: arXiv 2509.12235."""
    return (after - before) / (peak - before) if peak - before >= LEAST else None


def overconfidence(cell: Cell) -> float | None:
    """The mean probability of the first replies less the share of right ones, where something is decided: 0 where a
    model is as sure as it is right (on average; calibration asks for more), near 1 where it is sure and wrong. Of
    greedy replies; None where probabilities are not known."""
    if not cell.confidence:
        return None
    right = [count / of for count, of in zip(cell.decided_right, cell.decided, strict=True)]
    return fmean(sure - share for sure, share in zip(cell.confidence, right, strict=True))


def kept_share(start: float, learned: float, after: float) -> float | None:
    """(after - start) / (learned - start): the share of what a first training brought that is left after a second one.
    None where the first brought less than `LEAST`."""
    return (after - start) / (learned - start) if learned - start >= LEAST else None
