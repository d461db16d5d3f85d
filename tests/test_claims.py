"""Claims about several differences: Holm's procedure, its intervals, and the words they carry."""

import math

import numpy as np
import pytest

from ruleshift.evaluation.claims import claims, corrected, verdict
from ruleshift.evaluation.statistics import Difference, Estimate, Reading, crossed_estimate
from ruleshift.tasks.recipe import Endpoint

ENDPOINT = Endpoint("success", "rule-ood", 5, "sampled")


def estimates(means: list[float]) -> list[Estimate]:
    """Estimates with an error of 1 and 30 degrees of freedom."""
    return [Estimate(mean, (Reading(1.0, 30.0),), 31, 1) for mean in means]


def test_corrected_levels_by_hand() -> None:
    # p = 0.0039, 0.0197, 0.0367 with two-sided points of 30 df: 2.5357 at 1 - 0.05 / 3, 2.3596 at 1 - 0.05 / 2
    found = corrected(estimates([2.45, 3.12, 2.19]))
    assert [x.high - x.mean for x in found] == pytest.approx([2.3596, 2.5357, 2.0423], abs=1e-4)
    assert [verdict(x) for x in found] == ["raises"] * 3
    found = corrected(estimates([2.2, 3.12, -2.19]))  # the second step is not rejected, so the third is not tried
    assert [x.high - x.mean for x in found] == pytest.approx([2.3596, 2.5357, 2.3596], abs=1e-4)
    assert [verdict(x) for x in found] == ["undecided", "raises", "undecided"]
    assert [verdict(x.interval()) for x in estimates([2.2, -2.19])] == [
        "raises",
        "lowers",
    ]  # the control: no correction


def rejected_by_holm(p_values: list[float], alpha: float = 0.05) -> list[bool]:
    """In order of size, the i-th of m is rejected while it and those before are at most alpha / (m - i + 1)."""
    ranked = sorted(p_values)
    passed = [p <= alpha / (len(ranked) - i) for i, p in enumerate(ranked)]
    return [all(passed[: ranked.index(p) + 1]) for p in p_values]


def test_corrected_intervals_leave_0_out_where_holm_rejects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        many = [crossed_estimate(rng.normal(mean, 1, (3, 12)), [[0.0] * 12]) for mean in (0.0, 0.4, 0.6, 1.0)]
        rejected = rejected_by_holm([estimate.p_value for estimate in many])
        assert [verdict(x) != "undecided" for x in corrected(many)] == rejected
    assert corrected([]) == []


def test_what_is_not_here_yet_makes_nothing_bolder() -> None:
    """Some of eight estimates, corrected as some of eight, leave out 0 only where they do among all eight; corrected as
    if they were alone they leave it out more often."""
    rng = np.random.default_rng(0)
    apart = alone = together = 0
    for _ in range(100):
        many = estimates([*rng.normal(1.5, 1.5, 8)])
        all_of_them = [verdict(x) != "undecided" for x in corrected(many)]
        some = [verdict(x) != "undecided" for x in corrected(many[:4], named=8)]
        assert all(not one or other for one, other in zip(some, all_of_them[:4], strict=True))
        apart, together = apart + sum(some), together + sum(all_of_them[:4])
        alone += sum(verdict(x) != "undecided" for x in corrected(many[:4]))
    assert 50 < apart <= together < alone
    assert [c.of for c in claims([("gp-l", "sft", "base", ENDPOINT, many[0])], named=4)] == [4]


def test_claims_are_corrected_over_all_tasks() -> None:
    raised, lowered, endless = *estimates([3.12, -2.1]), Estimate(0.5, (Reading(math.inf, 1.0),), 1, 1)
    about = [(f"task-{i}", "sft", "base", ENDPOINT, e) for i, e in enumerate((lowered, raised, endless))]
    found = claims(about)
    assert [(c.task, c.word, c.of) for c in found] == [
        ("task-0", "undecided", 3),
        ("task-1", "raises", 3),
        ("task-2", "undecided", 3),
    ]
    assert [(c.ci_low is None, c.ci_high is None) for c in found] == [(False, False), (False, False), (True, True)]
    assert (found[0].metric, found[0].split, found[0].turns, found[0].decoding) == ("success", "rule-ood", 5, "sampled")
    assert claims(about[:1])[0].word == "lowers"  # the control: alone, it is decided
    assert claims([]) == []


def test_corrected_claims_are_seldom_wrong() -> None:
    """Of studies with eight endpoints and no effect, at most 5% claim anything; without correction, a third do."""
    rng = np.random.default_rng(0)
    tables = rng.normal(0, 0.3, (400, 8, 5, 1)) + rng.normal(0, 1, (400, 8, 1, 20)) + rng.normal(0, 1, (400, 8, 5, 20))
    studies = [[crossed_estimate(table, [[0.0] * 20]) for table in study] for study in tables]
    claims = [any(verdict(x) != "undecided" for x in corrected(study)) for study in studies]
    assert np.mean(claims) <= 0.05 + 0.02
    assert np.mean([any(verdict(x.interval()) != "undecided" for x in study) for study in studies]) > 0.2


@pytest.mark.parametrize(
    ("low", "high", "margin", "word"),
    [
        (0.01, 0.2, 0.0, "raises"),
        (-0.2, -0.01, 0.5, "lowers"),
        (-0.2, 0.01, 0.0, "undecided"),
        (-0.2, 0.0, 0.0, "undecided"),
        (0.0, 0.0, 0.0, "undecided"),
        (-0.01, 0.01, 0.0, "undecided"),  # what was not named beforehand is not "no change"
        (-0.01, 0.01, 0.02, "keeps"),
        (-0.03, 0.01, 0.02, "undecided"),
        (1e-17, 1e-17, 0.0, "undecided"),  # what rounding leaves of no difference
        (-math.inf, math.inf, 0.02, "undecided"),
    ],
)
def test_words(low: float, high: float, margin: float, word: str) -> None:
    assert verdict(Difference((low + high) / 2 if math.isfinite(low) else 0.0, low, high, 9), margin) == word
