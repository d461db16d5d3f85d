"""What is forgotten, recovered and kept; how sure a model is; what the answer to an expectation is."""

import numpy as np
import pytest

from ruleshift.evaluation.claims import Answer, Word, answer
from ruleshift.evaluation.evaluate import Cell, cell_of
from ruleshift.evaluation.forgetting import forgetting, forgotten, kept_share, overconfidence, recovery
from ruleshift.records import Completion, Episode, Turn, Verdict


def test_what_is_forgotten_is_counted_from_the_best_step_so_far() -> None:
    assert forgetting([0.5, 0.75, 0.25, 0.5, 1.0]) == [0.0, 0.0, 0.5, 0.25, 0.0]
    assert forgetting([]) == []


def test_recovery_is_a_share_of_what_was_lost() -> None:
    assert recovery(after=0.5, before=0.25, peak=0.75) == 0.5
    assert recovery(after=0.0, before=0.25, peak=0.75) == -0.5  # it can also lose more
    assert recovery(after=1.0, before=0.25, peak=0.75) == 1.5
    assert recovery(after=1.0, before=0.75, peak=0.75) is None
    assert recovery(after=1.0, before=0.75, peak=0.765) is None  # a share of noise


def test_what_is_surely_forgotten_owes_nothing_to_the_luck_of_the_best_step() -> None:
    """Six steps of a model that never changes: the best of them looks better, by luck alone. And one that falls."""
    random = np.random.default_rng(0)
    lucky, fair, covers = [], [], 0
    for _ in range(100):
        steps = (random.random((6, 3, 60)) < 0.5).tolist()
        lucky.append(forgetting([float(np.mean(step)) for step in steps])[-1])
        estimate = forgotten(steps)
        fair.append(estimate.mean)
        interval = estimate.interval()
        covers += interval.low <= 0 <= interval.high
    assert np.mean(lucky) > 0.03
    assert abs(np.mean(fair)) < 0.01
    assert covers >= 90
    start, late = [[True] * 40], [[False] * 40] * 3  # the start, which no seed had a part in, and three seeds
    fallen = forgotten([start, late])
    assert (fallen.mean, forgotten([start]).mean, forgotten([start, late, start * 3]).mean) == (1.0, 0.0, 0.0)


def test_what_is_kept_is_a_share_of_what_was_gained() -> None:
    assert kept_share(start=0.25, learned=0.75, after=0.5) == 0.5
    assert kept_share(start=0.25, learned=0.75, after=0.0) == -0.5
    assert kept_share(start=0.5, learned=0.5, after=0.5) is None
    assert kept_share(start=0.5, learned=0.54, after=0.5) is None


def episode(right: bool, *logprobs: float) -> Episode:
    turn = Turn((1,), Completion("", (2,) * len(logprobs), logprobs), Verdict("", 0.0, right, ""))
    return Episode("", (turn,), ())


def test_over_confidence_is_probability_less_share_right() -> None:
    half = -0.6931471805599453
    sure = [episode(False, 0.0, 0.0), episode(False, 0.0), episode(True, half, half), episode(False, half)]
    cell = cell_of("id", "greedy", sure)
    assert cell.confidence == pytest.approx((1.0, 1.0, 0.25, 0.5))
    assert overconfidence(cell) == pytest.approx(2.75 / 4 - 1 / 4)
    assert overconfidence(cell_of("id", "greedy", [episode(True)])) is None
    later = Cell("id", "greedy", ((2,), (1,)), (1, 1), (1, 1), (1, 1), (0, 1), confidence=(0.5, 0.5))
    assert overconfidence(later) == 0.0  # a second try is not the reply whose probability is meant


def test_over_confidence_of_walks_is_that_of_what_is_decided() -> None:
    """Of four steps two decide: one is sure and right, one half as sure, and wrong at first."""
    half = -0.6931471805599453

    def turn(right: bool, logprob: float, decides: bool, advanced: bool) -> Turn:
        verdict = Verdict("", 1.0 if right else -1.0, False, "", advanced=advanced, ended=right, decides=decides)
        return Turn((1,), Completion("", (2,), (logprob,)), verdict)

    turns = (
        turn(True, 0.0, True, True),
        turn(True, 3 * half, False, True),
        turn(False, half, True, False),
        turn(True, 0.0, True, True),
        turn(True, 5 * half, False, False),
    )
    cell = cell_of("id", "greedy", [Episode("", turns, ())])
    assert (cell.decided, cell.decided_right) == ((2,), (1,))
    assert cell.confidence == pytest.approx((0.75,))
    assert overconfidence(cell) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("expected", "found", "reference", "says"),
    [
        ("raises", "raises", 0.5, "holds"),
        ("raises", "lowers", 0.5, "does not hold"),
        ("raises", "keeps", 0.5, "does not hold"),
        ("raises", "undecided", 0.5, "undecided"),
        ("raises", "undecided", 0.96, "does not apply at this scale"),
        ("raises", "raises", 0.96, "holds"),
        ("lowers", "undecided", 0.96, "undecided"),
        ("lowers", "keeps", 0.04, "does not apply at this scale"),
        ("keeps", "keeps", 0.0, "holds"),
        ("keeps", "raises", 0.0, "does not hold"),
        ("keeps", "undecided", 1.0, "undecided"),
    ],
)
def test_answers(expected: Word, found: Word, reference: float, says: Answer) -> None:
    assert answer(expected, found, reference) == says
