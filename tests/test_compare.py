"""Which points of two arms are compared: at the end, and where they match."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.comparison import Comparison, said_over
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.settings import Measurement
from ruleshift.studies import compare as comparing
from ruleshift.studies.compare import curves_of
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


def test_an_arm_that_goes_on_from_another_is_followed_by_way_of_it():
    """RL from step 20 of SFT (12 of 20 solved, KL 0.6) is never where the start model is, and begins at that step."""
    on = [point("on", 3, id_solved=14, ood_solved=6, kl=0.9), point("on", 6, id_solved=15, ood_solved=7, kl=1.2)]
    curves, origins = curves_of([BASE, *SFT, *RL, *on]), {"on": ("sft", 20)}
    way = comparing.path_of(curves, "on", 1, BASE, origins)
    assert [(p.arm, p.step) for p in way] == [("base", -20), ("sft", -10), ("sft", 0), ("on", 3), ("on", 6)]
    assert [p.step for p in comparing.path_of(curves, "sft", 1, BASE, origins)] == [0, 10, 20, 40]
    pairs = [Pair("on", "rl", "id"), Pair("on", "sft", "kl")]
    found = comparing.compare([BASE, *SFT, *RL, *on], pairs, (1,), ("success",), "base", "id", origins=origins)
    by_id, by_kl = [c for c in found if c.split == "rule-ood"]
    assert (by_id.point_arm, by_id.matched_value) == ("on step 0", pytest.approx(0.6))  # where RL ends, SFT was
    assert by_id.value == pytest.approx(3 / 20)
    assert (by_id.note, by_kl.matched_value) == ("", pytest.approx(1.2))
    early = replace(RL[0], step=9)  # RL ends at 9 of 20: where SFT was before
    (by_id, *_) = comparing.compare([BASE, *SFT, early, *on], pairs, (1,), ("success",), "base", "id", origins=origins)
    assert (by_id.point_arm, by_id.note) == ("on step -10", "steps of on below 0 are of what it went on from")
    assert by_kl.value == pytest.approx(7 / 20)
    (blind, _) = [c for c in compare([BASE, *SFT, *RL, *on], pairs, (1,)) if c.split == "rule-ood"]
    assert blind.point_arm == "on between step 0 and 3"  # control: as if it had gone there from the start model


def test_pairs_are_not_followed_by_way_of_what_diverged():
    on = [point("on", 3, id_solved=14, ood_solved=6, kl=0.9)]
    pairs = [Pair("on", "rl", "id"), Pair("on", "rl")]
    found = comparing.compare([BASE, *RL, *on], pairs, (1,), ("success",), "base", "id", origins={"on": ("sft", 20)})
    assert {c.matched_on for c in found} == {None}


def by_title(points: list[Point], turns: int = 1, split: str = "rule-ood") -> dict:
    return {c.title: c for c in compare(points, PAIRS, (1, 5)) if (c.split, c.turns) == (split, turns)}


def test_arms_are_matched_in_those_turns_alone_that_every_point_tells_of():
    short = [replace(p, cells=tuple(replace(c, most=1) for c in p.cells)) for p in (*SFT[:-1], *RL[:-1])]
    found = comparing.compare([BASE, *short, SFT[-1], RL[-1]], PAIRS, (1, 5), ("success",), "base", "id", (1,))
    assert {(c.matched_on is None, c.turns) for c in found} == {(True, 1), (True, 5), (False, 1)}
    with pytest.raises(ValueError, match="says nothing of 5"):
        short[0].value("success", "id", 5, "greedy")
    with pytest.raises(RuleshiftError, match="turns_along 1"):
        Measurement(turns=(5,), turns_along=1)


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


def test_matched_on_flops():
    near = [point("sft", 8, id_solved=9, ood_solved=5, kl=0.3), *SFT]  # 9e9 FLOPs lie half-way between steps 8 and 10
    found = by_title([BASE, *near, *RL])["rl against sft at matched training FLOPs"]
    assert (found.point_arm, found.point_reference, found.matched_on) == ("rl step 9", "sft step 9", "flops")
    assert found.matched_value == found.matched_reference_value == pytest.approx(9e9)
    assert found.value == pytest.approx(7 / 20)
    assert found.reference_value == pytest.approx((5 + 4) / 40)
    far = by_title([BASE, *SFT, *RL])["rl against sft at matched training FLOPs"]  # the control: a quarter of all FLOPs
    assert (far.point_reference, far.reference_spread) == ("sft between step 0 and 10", 0)


def test_the_error_of_a_kl_is_told_and_enters_the_interval():
    def measured(p: Point, spread: float, problems: int) -> Point:
        kls = [p.kl_to_start + spread * (-1) ** i for i in range(problems)]
        return replace(p, kls=tuple(kls) if p.step else (0.0,) * problems)

    curve = [point("sft", 10 * k, 9, 9 - k, kl=0.05 * k) for k in range(1, 8)]

    def title(spread: float, sft: Sequence[Point] = curve, of_sft: int = 8) -> Comparison:
        points = [measured(BASE, spread, 4), *(measured(p, spread, of_sft) for p in sft), measured(RL[1], spread, 6)]
        return by_title(points)["rl against sft at matched KL to the start"]

    sure, unsure = title(1e-6), title(0.1)
    assert unsure.matched_error == pytest.approx(0.1 * (6 / 5) ** 0.5 / 6**0.5)
    assert title(0.1, of_sft=2).matched_error == pytest.approx(0.1)  # both are read, and SFT is the less sure one
    assert title(0.1, SFT, of_sft=2).matched_error == unsure.matched_error  # between two steps no KL of SFT is read
    assert sure.matched_value == pytest.approx(0.25)
    assert unsure.ci_high - unsure.ci_low > 1.02 * (sure.ci_high - sure.ci_low)
    assert by_title([BASE, *SFT, *RL])["rl against sft at matched ID success"].matched_error is None


def test_at_the_end():
    found = by_title([BASE, *SFT, *RL])
    assert set(found) == {
        "sft at its end against base",
        "rl at its end against base",
        "rl against sft, both at their end",
        "rl against sft at matched ID success",
        "rl against sft at matched KL to the start",
        "rl against sft at matched training FLOPs",
    }
    sft, rl = found["sft at its end against base"], found["rl at its end against base"]
    assert (sft.value, sft.reference_value, sft.difference) == (1 / 20, 4 / 20, pytest.approx(-3 / 20))
    assert (rl.value, rl.reference_value, rl.difference) == (7 / 20, 4 / 20, pytest.approx(3 / 20))
    both = found["rl against sft, both at their end"]
    assert (both.value, both.reference_value, both.matched_on, both.matched_value) == (7 / 20, 1 / 20, None, None)


def test_the_interval_is_that_of_paired_problems():
    # Solved by base: problems 0-3; by SFT: problem 0. Differences: -1 three times, 0 otherwise. t(19) = 2.0930.
    found = by_title([BASE, *SFT])["sft at its end against base"]
    mean, square = -3 / 20, 3 / 20
    deviation = ((square - mean**2) * 20 / 19) ** 0.5
    assert found.ci_low == pytest.approx(mean - 2.0930 * deviation / 20**0.5, abs=1e-5)
    assert found.ci_high == pytest.approx(mean + 2.0930 * deviation / 20**0.5, abs=1e-5)
    assert (found.over, found.by_seed) == ("problems", (pytest.approx(mean),))


def test_the_verification_budget_counts():
    points = [BASE, *SFT, *RL]
    one, five = (by_title(points, turns)["rl at its end against base"].value for turns in (1, 5))
    assert (one, five) == (7 / 20, 9 / 20)


def test_neither_order_nor_lonely_arms_matter():
    points = [BASE, *SFT, *RL]
    assert compare(points[::-1], PAIRS, (1,))[0].split == "id"
    assert by_title(points[::-1]) == by_title(points)
    assert set(by_title([BASE, *SFT])) == {"sft at its end against base"}


SECOND = [
    point("sft", 10, id_solved=10, ood_solved=2, kl=0.5, seed=2),
    point("sft", 40, id_solved=18, ood_solved=0, kl=2.0, seed=2),
    point("rl", 5, id_solved=9, ood_solved=5, kl=0.1, seed=2),
    point("rl", 12, id_solved=17, ood_solved=9, kl=0.4, seed=2),
]


def test_seeds_are_matched_one_by_one_and_averaged():
    found = by_title([BASE, *SFT, *RL, *SECOND])["rl against sft at matched ID success"]
    assert found.point_arm == "rl step 9 to 12"
    assert found.value == pytest.approx((7 + 9) / 40)
    assert found.spread == 0
    assert found.matched_value == found.matched_reference_value == pytest.approx((12 + 17) / 40)
    # SFT: measured at step 20 (3 of 20); of seed 2 anywhere from step 10 (2 of 20) to step 40 (none)
    assert found.reference_value == pytest.approx((3 + 1) / 40)
    assert found.reference_spread == pytest.approx((0 + 1) / 40)
    assert found.range == pytest.approx(((4 + 7) / 40, (4 + 9) / 40))
    assert found.by_seed == pytest.approx((4 / 20, 8 / 20))
    assert found.over == "seeds and problems"


def test_a_match_across_a_cliff_is_a_range_between_two_steps():
    there = {c.split: c for c in compare([BASE, *SFT, *RL, *SECOND], [Pair("sft", "rl", "id")], (1,))}["rule-ood"]
    assert there.point_arm == "sft between step 10 and 40"
    assert there.range == pytest.approx((-(4 + 9) / 40, -(4 + 7) / 40))
    assert there.ci_low < there.range[0] < there.range[1] < there.ci_high
    # the control: neighbours that are close are read between
    near = [point("sft", 10, 8, 4, kl=0.24), point("sft", 20, 8, 3, kl=0.26)]
    (read,) = [c for c in compare([BASE, *near, *RL], [Pair("sft", "rl", "kl")], (1,)) if c.split == "rule-ood"]
    assert (read.point_arm, read.spread) == ("sft step 15", 0)
    assert read.value == pytest.approx(3.5 / 20)


def test_every_crossing_of_a_curve_that_turns_back_is_told():
    back = [point("sft", 5, 12, 4, 0.2), point("sft", 9, 9, 4, 0.4), point("sft", 20, 14, 4, 1.2)]
    found = by_title([BASE, *back, *RL])["rl against sft at matched ID success"]
    assert found.note == "not monotone, read at the first of several steps: sft (5, 9 to 20)"
    assert by_title([BASE, *SFT, *RL])["rl against sft at matched ID success"].note == ""


def test_intervals_are_over_seeds_and_problems():
    """Two seeds that differ by 5 points: Student's t of one degree of freedom, 12.7 times the half of it."""
    found = by_title([BASE, *SFT, *SECOND[:2]])["sft at its end against base"]
    assert (found.over, found.by_seed) == ("seeds and problems", pytest.approx((-3 / 20, -4 / 20)))
    assert found.ci_low == pytest.approx(-3.5 / 20 - 12.7062 / 40, abs=1e-4)
    assert said_over([found]) == "over seeds and problems"
    alone = by_title([BASE, *SFT])["sft at its end against base"]
    assert said_over([alone]).startswith("over problems only")
    other = replace(alone, arm="rl")
    assert said_over([found, other]) == "over seeds and problems, of rl over problems only"
    wide = replace(found, split="fake")
    assert said_over([found, other, replace(wide, arm="rl"), replace(alone, arm="c"), replace(alone, arm="d")]) == (
        f"over seeds and problems, on {alone.split} of rl and of c, d over problems only"
    )


def test_a_single_problem_has_an_endless_interval_and_json_without_it():
    def one(p: Point) -> Point:
        cells = [replace(c, tries=c.tries[:1], valid=c.valid[:1], read_right=c.read_right[:1]) for c in p.cells]
        return replace(p, cells=tuple(cells))

    found = compare([one(p) for p in (BASE, *SFT, *RL)], PAIRS, (1,))
    assert {(c.ci_low, c.ci_high, c.excludes_0) for c in found} == {(None, None, False)}
    json.dumps([asdict(c) for c in found], allow_nan=False)


@pytest.mark.parametrize("matched_on", ["id", "kl"])
def test_an_arm_keeps_its_name_where_it_matches_at_the_start(matched_on):
    still = point("rl", 9, id_solved=8, ood_solved=9, kl=0.0)
    (found,) = [c for c in compare([BASE, *SFT, still], [Pair("rl", "sft", matched_on)], (1,)) if c.split == "rule-ood"]
    assert (found.arm, found.reference, found.point_arm) == ("rl", "sft", "rl step 0")
    assert found.difference == 0.0
    assert found.by_seed == (0.0,)


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
            assert len(steps) == min(count, last)
