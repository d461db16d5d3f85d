"""Answering or not: what is wrong among the answers that one is surest of, and agreement over samples. Pure functions.

N answers, each with a confidence and whether it is right; P problems with K replies each.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from ruleshift.evaluation.statistics import ROUNDING


class Selected(NamedTuple):
    """Of all answers, the share that is given (`coverage`), and of these the share that is wrong (`risk`)."""

    coverage: float
    risk: float


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[Selected]:
    """The risk at every coverage k / N, k from 1 to N, where the surest answers are given first.

        risk(k) = 1/k sum over the k surest of 1[wrong]

    confidences, right (N,). Answers of equal confidence come in any order, so each of them counts as the mean of all.
    Raises ValueError without answers.
    Source: Y. Geifman and R. El-Yaniv, Selective classification for deep neural networks (arXiv 1705.08500).
    """
    if not confidences:
        raise ValueError("no answers")
    pairs = sorted(zip(confidences, right, strict=True), key=lambda pair: -pair[0])
    wrong: list[float] = []
    for _, group in groupby(pairs, key=lambda pair: pair[0]):
        alike = [float(not is_right) for _, is_right in group]
        wrong += [fmean(alike)] * len(alike)
    curve, total = [], 0.0
    for k, one in enumerate(wrong, 1):
        total += one
        curve.append(Selected(k / len(wrong), total / k))
    return curve


def aurc(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """The area under the risk-coverage curve: the mean of risk(k). Where it is below the share that is wrong,
    confidence tells right answers from wrong ones. Source: Y. Geifman et al., arXiv 1805.08206, equation 2."""
    return fmean(point.risk for point in risk_coverage(confidences, right))


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
