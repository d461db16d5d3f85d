"""Which kept models a study evaluates further: enough for every match, no more than it may, the same when resumed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ruleshift.evaluation.comparison import load_comparisons
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.results import load_results
from ruleshift.studies.compare import compare
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.pool import Job
from ruleshift.studies.refine import wanted_steps
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Plan, log_spaced
from study_helpers import MEASUREMENT, RECIPE, RL, SFT, in_this_process, plan_of, rows_in, tiny_start

PROBLEMS = 100
PLAN = Plan(HEADLINE, RECIPE, replace(MEASUREMENT, turns=(1, 5), n=PROBLEMS), Rates("none"))
KEPT = {("base", 0): (), ("sft", 0): log_spaced(400, 24, 3), ("rl", 0): tuple(range(2, 31))}
ENDS = {"sft": 400, "rl": 30}


def cell(split: str, share: float) -> Cell:
    solved = round(share * PROBLEMS)
    return Cell(split, "sampled", ((1,),) * solved + ((-5,),) * (PROBLEMS - solved), (), ())


def measured(arm: str, step: int) -> Point:
    """SFT rises evenly in success on the training rule, and falls off a cliff in the shifted one after step 30."""
    share = {"base": 0.0, "sft": (step / 400) ** 0.25, "rl": 0.7 * step / 30}[arm]
    on_rule = 0.4 + 0.6 * share
    shifted = 0.7 - 0.6 * (arm == "sft" and step > 30)
    cells = (cell("id", on_rule), cell("rule-ood", shifted))
    return Point("gp-l", arm, 0, step, 1e9 * step * (10 if arm == "rl" else 1), 2 * share, cells)


def first_points() -> list[Point]:
    return [measured("base", 0), *(measured("sft", s) for s in (3, 15, 78, 400)), *(measured("rl", s) for s in (2, 30))]


def refined(plan: Plan, points: list[Point]) -> tuple[list[Point], int]:
    """All points once nothing more is wanted, and the rounds that it took."""
    for rounds in range(30):
        wanted = wanted_steps(plan, points, KEPT)
        if not wanted:
            return points, rounds
        known = {(point.arm, point.step) for point in points}
        fresh = [(arm, step) for (arm, _), steps in wanted.items() for step in steps]
        assert not known & set(fresh)
        assert all(step in KEPT[arm, 0] for arm, step in fresh)
        points = [*points, *(measured(*one) for one in fresh)]
    raise AssertionError("it never ends")


@pytest.mark.parametrize("axis", ["id", "kl", "flops"])
def test_every_match_is_read_closely_or_between_two_kept_steps(axis: str) -> None:
    plan = replace(PLAN, matched_on=(axis,))
    points, rounds = refined(plan, first_points())
    assert 1 <= rounds <= 8
    for found in compare(points, plan.pairs(), (1, 5), ("success",), "base", "id"):
        if found.matched_on and "between" in found.point_reference:
            low, high = (int(word) for word in found.point_reference.split() if word.isdigit())
            kept = (0, *KEPT["sft", 0])
            assert kept.index(high) == kept.index(low) + 1, found
    many = len(points) - len(first_points())
    assert many < (24 if axis == "id" else 12)  # of 24 and 29 kept; what lies within the error of ID is read too


def test_a_cliff_is_found_where_it_is() -> None:
    """Matched ID of 0.82 is SFT's step 96; matched KL of 1.4 too; the control reads between the first points."""
    plan = replace(PLAN, matched_on=("id",))
    before, after = (
        next(
            c
            for c in compare(points, plan.pairs(), (5,), ("success",), "base", "id")
            if c.matched_on and c.split == "rule-ood"
        )
        for points in (first_points(), refined(plan, first_points())[0])
    )
    assert before.point_reference == "sft between step 78 and 400"
    low, high = (int(word) for word in after.point_reference.split() if word.isdigit())
    assert 78 <= low < 96.04 <= high < 130


def test_what_the_primary_endpoint_needs_comes_first() -> None:
    """gp-l: success on rule-ood. On `fake` SFT has a cliff elsewhere, which can wait."""
    plan = replace(PLAN, matched_on=("id",))

    def with_fake(point: Point) -> Point:
        late = point.arm == "sft" and point.step > 100
        return replace(point, cells=(*point.cells, cell("fake", 0.9 if late else 0.05)))

    alone, both = (wanted_steps(plan, points, KEPT) for points in (first_points(), [*map(with_fake, first_points())]))
    assert alone == both
    assert ("sft", 0) in alone


def test_without_matched_pairs_or_arms_nothing_is_wanted() -> None:
    assert wanted_steps(replace(PLAN, matched_on=()), first_points(), KEPT) == {}
    assert wanted_steps(PLAN, first_points()[:5], KEPT) == {}  # rl diverged
    assert wanted_steps(PLAN, first_points()[1:], KEPT) == {}
    nothing = dict.fromkeys(KEPT, ())
    assert wanted_steps(PLAN, first_points(), nothing) == {}  # models were deleted


# ---------------------------------------------------------------- from end to end


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A study in which PPO takes as much computing as SFT does somewhere between its first points."""
    model = tiny_start(tmp_path_factory.mktemp("models"))
    measured = replace(MEASUREMENT, turns_along=1)
    small = plan_of(HEADLINE, model, measured, options=Rates("none"), further=2, matched_on=("flops",))
    recipe = replace(RECIPE, sft=replace(SFT, steps=12, save_every=12), rl=replace(RL, updates=2))
    return replace(small, recipe=recipe)


def studied(plan: Plan, out: Path, jobs: Callable[..., None]) -> dict[Path, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ruleshift.studies.run.run_jobs", jobs)
        run_study([plan], out)
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("points/*"))}


@pytest.mark.slow
def test_a_study_evaluates_more_of_what_it_kept_and_resumes(plan: Plan, tmp_path: Path) -> None:
    rounds: list[list[Job]] = []

    def counted(jobs: list[Job], workers: int | None = None) -> None:
        rounds.append(jobs)
        in_this_process(jobs)

    whole = studied(plan, tmp_path / "whole", counted)
    steps = {int(path.stem) for path in whole if "sft-seed0" in str(path)}
    further = {step for jobs in rounds[1:] for job in jobs for step in job.further if job.run.name == "sft"}
    assert 1 <= len(further) <= 2
    assert steps == {3, 12} | further
    results = load_results(tmp_path / "whole" / "gp-l" / "results.json")
    assert {row.step for row in results.rows if row.arm == "sft"} == steps
    assert all(row.kl_error is not None for row in results.rows if row.arm == "sft")
    assert {(row.step == 12, row.turns) for row in results.rows if (row.arm, row.metric) == ("sft", "success")} == {
        (False, 1),
        (True, 1),
        (True, 2),
    }
    compared = load_comparisons(tmp_path / "whole" / "gp-l" / "comparisons.json")
    assert {(c.matched_on, c.turns) for c in compared} == {(None, 1), (None, 2), ("flops", 1)}

    def killed(jobs: list[Job], workers: int | None = None) -> None:
        if any(job.further for job in jobs):
            raise KeyboardInterrupt
        in_this_process(jobs)

    with pytest.raises(KeyboardInterrupt):
        studied(plan, tmp_path / "killed", killed)
    rounds.clear()
    assert studied(plan, tmp_path / "killed", counted) == whole
    assert rows_in(tmp_path / "killed") == rows_in(tmp_path / "whole")
    rounds.clear()
    assert studied(plan, tmp_path / "killed", counted) == whole  # nothing is measured twice
    assert not any(rounds[1:])

    # Models that were deleted to make room are not asked for; points that were measured stay.
    for folder in (tmp_path / "killed").rglob("models"):
        shutil.rmtree(folder)
    assert studied(plan, tmp_path / "killed", counted) == whole
    fewer = studied(replace(plan, further=0), tmp_path / "killed", counted)
    assert fewer == whole  # they stay on disk, and out of the results
    assert {row["step"] for row in rows_in(tmp_path / "killed") if row["arm"] == "sft"} == {3, 12}
