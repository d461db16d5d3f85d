"""Answering or not: what is wrong among the answers that one is surest of, and agreement over samples. Pure functions.

N answers, each with a confidence and whether it is right; P problems with K replies each.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ruleshift.evaluation.statistics import ROUNDING


class Selected(NamedTuple):
    """Of all answers, the share that is given (`coverage`), and of these the share that is wrong (`risk`)."""

    coverage: float
    risk: float


def risk_coverage(confidences: ArrayLike, right: ArrayLike) -> list[Selected]:
    """The risk at every coverage k / N, k from 1 to N, where the surest answers are given first.

        risk(k) = 1/k sum over the k surest of 1[wrong]

    confidences, right (N,). Answers of equal confidence come in any order, so each of them counts as the mean of all.
    Raises ValueError without answers.
    Source: Y. Geifman and R. El-Yaniv, Selective classification for deep neural networks (arXiv 1705.08500).
    """
    risks = _risks(confidences, right)
    return [Selected(k / len(risks), float(risk)) for k, risk in enumerate(risks, 1)]


def aurc(confidences: ArrayLike, right: ArrayLike) -> float:
    """The area under the risk-coverage curve: the mean of risk(k). Where it is below the share that is wrong,
    confidence tells right answers from wrong ones. Source: Y. Geifman et al., arXiv 1805.08206, equation 2."""
    return float(_risks(confidences, right).mean())


def _risks(confidences: ArrayLike, right: ArrayLike) -> np.ndarray:
    """risk(k) for k from 1 to N."""
    sure, wrong = np.asarray(confidences, float), 1.0 - np.asarray(right, float)
    if not len(sure):
        raise ValueError("no answers")
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], wrong[order]
    firsts = np.flatnonzero(np.concatenate([[True], sure[1:] != sure[:-1]]))  # of those of equal confidence
    alike = np.diff(np.append(firsts, len(sure)))
    expected = np.repeat(np.add.reduceat(wrong, firsts) / alike, alike)
    return expected.cumsum() / np.arange(1, len(sure) + 1)


def threshold(confidences: Sequence[float], coverage: float) -> float:
    """The confidence from which on at least this share of answers is given. Raises ValueError without answers."""
    if not confidences:
        raise ValueError("no answers")
    falling = sorted(confidences, reverse=True)
    return falling[max(1, math.ceil(coverage * len(falling) - ROUNDING)) - 1]


def agreement(answers: Sequence[Hashable]) -> list[float]:
    """For each of K answers to a problem, the share of all K that it agrees with, itself included."""
    counts = Counter(answers)
    return [counts[answer] / len(answers) for answer in answers]


def majority(answers: Sequence[Hashable]) -> int:
    """The place of the first answer that most agree with (self-consistency, X. Wang et al., arXiv 2203.11171)."""
    shares = agreement(answers)
    return shares.index(max(shares))
