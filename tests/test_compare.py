"""Which points of two arms are compared: at the end, and where they match."""

from dataclasses import replace

import pytest

from ruleshift.evaluation.comparison import Comparison
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.studies import compare as comparing
from ruleshift.studies.compare import CurvePlace, curves_of, match
from ruleshift.studies.study import Pair, head_to_head, log_spaced

PROBLEMS = 20
PAIRS = (Pair("sft", "base"), Pair("rl", "base"), *head_to_head("rl", "sft"))


def cell(split: str, solved: int, decoding: str = "greedy", late: int = 0) -> Cell:
    """`solved` problems are solved on the first turn, `late` more on the third."""
    tries = ((1,),) * solved + ((3,),) * late + ((-5,),) * (PROBLEMS - solved - late)
    return Cell(split, decoding, tries, (1,) * PROBLEMS, (1,) * PROBLEMS)


def point(arm: str, step: int, id_solved: int, ood_solved: int, kl: float, seed: int = 1, late: int = 0) -> Point:
    cells = (cell("id", id_solved), cell("rule-ood", ood_solved, late=late))
    return Point("gp-l", arm, seed, step, 1e9 * step, kl, cells)


BASE = point("base", 0, id_solved=8, ood_solved=4, kl=0.0, seed=0)
# SFT goes further in both ID success and KL: it matches the end of RL in ID success at step 20, in KL at step 10.
SFT = [
    point("sft", 10, id_solved=9, ood_solved=4, kl=0.3),
    point("sft", 20, id_solved=12, ood_solved=3, kl=0.6),
    point("sft", 40, id_solved=16, ood_solved=1, kl=1.5),
]
RL = [
    point("rl", 5, id_solved=9, ood_solved=5, kl=0.05),
    point("rl", 9, id_solved=12, ood_solved=7, kl=0.25, late=2),
]


def compare(points, pairs, turns, start: str = "base", trained: str = "id") -> list[Comparison]:
    return comparing.compare(points, pairs, turns, ("success",), start, trained)


def by_title(points: list[Point], turns: int = 1, split: str = "rule-ood") -> dict:
    return {c.title: c for c in compare(points, PAIRS, (1, 5)) if (c.split, c.turns) == (split, turns)}


def kl(p: Point) -> float:
    return p.kl_to_start


def test_curves_match_as_far_along_as_both_get():
    rl, sft = match([BASE, *RL], [BASE, *SFT], kl)
    assert (rl.second, rl.share) == (RL[-1], 1.0)  # RL goes to 0.25 and no further
    assert (sft.first, sft.second) == (BASE, SFT[0])
    assert sft.share == pytest.approx(0.25 / 0.3)
    assert sft.step == pytest.approx(10 * 0.25 / 0.3)
    assert sft.value(kl) == pytest.approx(0.25)
    assert match([BASE, *SFT], [BASE, *RL], kl) == (sft, rl)


def test_outcomes_between_two_points_are_interpolated_problem_by_problem():
    outcomes = CurvePlace(RL[0], RL[1], 0.25).outcomes("success", "rule-ood", 1, "greedy")
    assert outcomes == [1.0] * 5 + [0.25] * 2 + [0.0] * 13


def test_a_curve_is_followed_to_where_it_first_gets():
    peak = [BASE, point("sft", 5, 14, 4, kl=0.9), point("sft", 9, 10, 4, kl=0.4), point("sft", 20, 18, 4, kl=1.2)]
    _, there = match([BASE, point("rl", 9, 9, 4, kl=0.5)], peak, kl)
    assert (there.first, there.second) == (peak[0], peak[1])


def test_curves_that_never_leave_the_start_match_there():
    still = [BASE, point("rl", 9, 8, 4, kl=0.0)]
    assert match(still, [BASE, *SFT], kl) == (CurvePlace(BASE, BASE), CurvePlace(BASE, BASE))


def test_matched_on_id_success():
    found = by_title([BASE, *SFT, *RL])["rl against sft at matched ID success"]
    assert (found.arm, found.reference, found.point_arm, found.matched_on) == ("rl", "sft", "rl step 9", "id")
    assert (found.matched_value, found.matched_reference_value) == (0.6, 0.6)
    assert found.value == pytest.approx(7 / 20)
    assert found.reference_value == pytest.approx(3 / 20)
    assert found.difference == pytest.approx(4 / 20)
    assert found.ci_low < found.difference < found.ci_high


def test_matched_on_kl():
    found = by_title([BASE, *SFT, *RL])["rl against sft at matched KL to the start"]
    assert (found.point_arm, found.matched_on) == ("rl step 9", "kl")
    assert found.matched_value == pytest.approx(0.25)
    assert found.matched_reference_value == pytest.approx(0.25)
    assert found.value == pytest.approx(7 / 20)
    assert found.reference_value == pytest.approx(4 / 20)  # 4 at the base, 4 at step 10


def test_at_the_end():
    found = by_title([BASE, *SFT, *RL])
    assert set(found) == {
        "sft at its end against base",
        "rl at its end against base",
        "rl against sft, both at their end",
        "rl against sft at matched ID success",
        "rl against sft at matched KL to the start",
    }
    sft, rl = found["sft at its end against base"], found["rl at its end against base"]
    assert (sft.value, sft.reference_value, sft.difference) == (1 / 20, 4 / 20, pytest.approx(-3 / 20))
    assert (rl.value, rl.reference_value, rl.difference) == (7 / 20, 4 / 20, pytest.approx(3 / 20))
    both = found["rl against sft, both at their end"]
    assert (both.value, both.reference_value, both.matched_on, both.matched_value) == (7 / 20, 1 / 20, None, None)


def test_the_interval_is_that_of_paired_problems():
    # Solved by base: problems 0-3; by SFT: problem 0. Differences: -1 three times, 0 otherwise.
    found = by_title([BASE, *SFT])["sft at its end against base"]
    mean, square = -3 / 20, 3 / 20
    deviation = ((square - mean**2) * 20 / 19) ** 0.5
    assert found.ci_low == pytest.approx(mean - 1.96 * deviation / 20**0.5, abs=1e-12)
    assert found.ci_high == pytest.approx(mean + 1.96 * deviation / 20**0.5, abs=1e-12)


def test_the_verification_budget_counts():
    points = [BASE, *SFT, *RL]
    one, five = (by_title(points, turns)["rl at its end against base"].value for turns in (1, 5))
    assert (one, five) == (7 / 20, 9 / 20)


def test_neither_order_nor_lonely_arms_matter():
    points = [BASE, *SFT, *RL]
    assert compare(points[::-1], PAIRS, (1,))[0].split == "id"
    assert by_title(points[::-1]) == by_title(points)
    assert set(by_title([BASE, *SFT])) == {"sft at its end against base"}


def test_seeds_are_matched_one_by_one_and_averaged():
    second = [
        point("sft", 10, id_solved=10, ood_solved=2, kl=0.5, seed=2),
        point("sft", 40, id_solved=18, ood_solved=0, kl=2.0, seed=2),
        point("rl", 5, id_solved=9, ood_solved=5, kl=0.1, seed=2),
        point("rl", 12, id_solved=17, ood_solved=9, kl=0.4, seed=2),
    ]
    found = by_title([BASE, *SFT, *RL, *second])["rl against sft at matched ID success"]
    assert found.point_arm == "rl step 9 to 12"
    assert found.value == pytest.approx((7 + 9) / 40)
    assert found.reference_value == pytest.approx((3 + 0.25) / 40)  # step 20; 7/8 of the way from 10 to 40
    assert found.matched_value == pytest.approx((12 + 17) / 40)
    assert found.matched_reference_value == pytest.approx((12 + 17) / 40)


@pytest.mark.parametrize("matched_on", ["id", "kl"])
def test_an_arm_keeps_its_name_where_it_matches_at_the_start(matched_on):
    still = point("rl", 9, id_solved=8, ood_solved=9, kl=0.0)
    (found,) = [c for c in compare([BASE, *SFT, still], [Pair("rl", "sft", matched_on)], (1,)) if c.split == "rule-ood"]
    assert (found.arm, found.reference, found.point_arm) == ("rl", "sft", "rl step 0")
    assert found.difference == 0.0


def renamed(points: list[Point], **names: str) -> list[Point]:
    return [replace(p, arm=names[p.arm]) for p in points]


def test_no_arm_is_known_by_name():
    points = [BASE, *SFT, *RL]
    names = {"base": "before", "sft": "a", "rl": "b-with-a-suffix"}
    pairs = [replace(pair, arm=names[pair.arm], reference=names[pair.reference]) for pair in PAIRS]
    found = compare(renamed(points, **names), pairs, (1, 5), start="before")
    assert [(c.split, c.turns, c.value, c.difference, c.ci_low, c.matched_value) for c in found] == [
        (c.split, c.turns, c.value, c.difference, c.ci_low, c.matched_value) for c in compare(points, PAIRS, (1, 5))
    ]
    assert {c.title for c in found} >= {"a at its end against before", "b-with-a-suffix against a, both at their end"}
    with pytest.raises(ValueError, match="no arm `base`"):
        compare(renamed(points, **names), pairs, (1,))


def test_only_the_pairs_that_are_asked_for_are_compared():
    third = renamed(RL, rl="dft")
    pairs = [Pair("dft", "sft", "kl"), Pair("sft", "rl"), Pair("rl", "lost"), Pair("lost", "base")]
    titles = {c.title for c in compare([BASE, *SFT, *RL, *third], pairs, (1,))}
    assert titles == {"dft against sft at matched KL to the start", "sft against rl, both at their end"}


def test_arms_are_matched_on_the_split_of_the_training_rule():
    (found,) = [
        c for c in compare([BASE, *SFT, *RL], [Pair("rl", "sft", "id")], (1,), trained="rule-ood") if c.split == "id"
    ]
    assert found.matched_value == pytest.approx(4 / 20)  # SFT never gets beyond its start


def test_seeds_that_one_arm_lacks_are_left_out():
    more = [replace(p, seed=2) for p in RL]
    found = {c.title: c for c in compare([BASE, *SFT, *RL, *more], PAIRS, (1,)) if c.split == "rule-ood"}
    assert (
        found["rl against sft, both at their end"] == by_title([BASE, *SFT, *RL])["rl against sft, both at their end"]
    )


def test_curves_are_by_arm_and_seed_in_the_order_of_steps():
    curves = curves_of([SFT[2], RL[1], SFT[0], BASE, SFT[1], RL[0]])
    assert curves == {"base": {0: [BASE]}, "sft": {1: SFT}, "rl": {1: RL}}


@pytest.mark.parametrize(
    ("last", "count", "first", "expected"),
    [
        (100, 3, 1, (1, 10, 100)),
        (1000, 4, 1, (1, 10, 100, 1000)),
        (16, 3, 4, (4, 8, 16)),
        (5, 20, 1, (1, 2, 3, 4, 5)),  # no more than there are
        (40, 1, 1, (40,)),
        (1, 9, 1, (1,)),
        (3, 4, 10, (3,)),
    ],
)
def test_log_spaced(last, count, first, expected):
    assert log_spaced(last, count, first) == expected


def test_log_spaced_is_sorted_distinct_and_ends_at_the_last_step():
    for last in (2, 7, 40, 333):
        for count in (2, 5, 12):
            steps = log_spaced(last, count)
            assert list(steps) == sorted(set(steps))
            assert (steps[0], steps[-1]) == (1, last)
            assert len(steps) <= count
