"""The control of tests about intervals: one over problems alone, for the seeds at hand."""

import math
from statistics import fmean, stdev

from ruleshift.evaluation.statistics import Difference, Outcomes


def clustered_difference(a_seeds: Outcomes, b_seeds: Outcomes, z: float = 1.96) -> Difference:
    """mean(d) +- z sd(d) / sqrt(P), where d_p is the difference of the means over seeds of problem p."""
    a, b = ([fmean(map(float, problem)) for problem in zip(*seeds, strict=True)] for seeds in (a_seeds, b_seeds))
    d = [x - y for x, y in zip(a, b, strict=True)]
    half = z * stdev(d) / math.sqrt(len(d))
    return Difference(fmean(d), fmean(d) - half, fmean(d) + half, len(d))
