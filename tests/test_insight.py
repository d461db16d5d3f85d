"""Measures beside scores, each against an answer worked out by hand: copies, calibration and abstaining, weights,
what foretells what; and how they are kept."""

import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers import EchoTask, tiny_chat, tiny_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.copying import TrainingReplies, answer_of, expert_replies
from ruleshift.evaluation.foretelling import chances, explained, spearman, spearman_within
from ruleshift.evaluation.insight import (
    Insight,
    coverage_curve,
    load_insight,
    rows_of_insight,
    save_insight,
    values_of,
)
from ruleshift.evaluation.once import at_decision
from ruleshift.evaluation.rule_flow import RuleFlow
from ruleshift.evaluation.sampled import Sampled, sampled_replies
from ruleshift.evaluation.selective import agreement, aurc, majority, risk_coverage, threshold
from ruleshift.evaluation.subspaces import rotation, turned
from ruleshift.report.terminal import WHOLE, plain
from ruleshift.results import Results
from ruleshift.studies.changes import change_tables, changes
from ruleshift.studies.failures import mitigated, mitigations
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints.canonical import canonical
from ruleshift.tasks.protocol import Constrained, Exchangeable, Style, Task

HALF, TENTH = math.log(0.5), math.log(0.1)
REPLIES = Sampled(
    split="id",
    steps=(0, 3),
    logprobs=((HALF, HALF), (2 * TENTH, TENTH)),
    tokens=((1, 1), (2, 1)),
    answers=((0, 0), (0, 1)),
    right=((1, 1), (0, 1)),
    strict=((1, 0), (0, 1)),
    copied=((1, 0), (0, 0)),
    copied_answer=((1, 1), (0, 0)),
    start_copied=((0, 0), (0, 1)),
    start_copied_answer=((0, 1), (0, 0)),
    expert_copied=(1, 0),
    expert_copied_answer=(1, 1),
)
COPIES = ("copied", "copied_answer", "start_copied", "start_copied_answer", "expert_copied", "expert_copied_answer")
NOT_KNOWN = dict.fromkeys(COPIES, ())
FLOW = RuleFlow((1.0, 3.0), (1, 0), (0, 1), (4.0, 4.0), ((4.0, 4.0), (2.0, 4.0), (0.0, 0.0)), ((0.1, 0.3),) * 2, (1, 1))
INSIGHT = Insight("gp-l", "sft", 1, 3, (REPLIES,), FLOW, 0.25, 12.5)


pytestmark = pytest.mark.usefixtures("on_one_thread")


# ---------------------------------------------------------------- abstaining and agreement


def test_risk_against_coverage_by_hand() -> None:
    curve = risk_coverage([0.6, 0.9, 0.7, 0.8], [False, True, True, False])
    assert [point.coverage for point in curve] == [0.25, 0.5, 0.75, 1.0]
    assert [point.risk for point in curve] == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc([0.6, 0.9, 0.7, 0.8], [False, True, True, False]) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert aurc([0.5] * 4, [True, False, False, True]) == 0.5  # of equal ones none is surer
    assert aurc([0.9, 0.1], [True, False]) < 0.5 < aurc([0.1, 0.9], [True, False])
    with pytest.raises(ValueError, match="no answers"):
        risk_coverage([], [])


def test_the_threshold_gives_at_least_the_share_that_is_asked_for() -> None:
    sure = [0.9, 0.5, 0.7, 0.1, 0.3]
    for coverage, least in ((0.2, 0.9), (0.21, 0.7), (0.8, 0.3), (1.0, 0.1), (0.0, 0.9)):
        assert threshold(sure, coverage) == least


def test_agreement_and_the_majority() -> None:
    assert agreement(["a", "b", "a", None]) == [0.5, 0.25, 0.5, 0.25]
    assert majority(["b", "a", "c", "a"]) == 1
    assert majority(["b", "a"]) == 0  # of equally many, the first


# ---------------------------------------------------------------- copies


def test_formulas_are_the_same_up_to_order() -> None:
    same = ("(4+10*3)-10=24", "3*10+4-10", "10*3-(10-4)", "24 = 3*10-10+4", "4+(3*10)-10")
    assert {canonical(text) for text in same} == {"4+10*3-10"}
    assert canonical("4-10+3/10") != canonical(same[0])
    assert [canonical(text) for text in ("", "4+", "x", "4**2")] == [None] * 4


def expert_of(task: Task, n: int, style: Style = "terse", seed: int = 0) -> TrainingReplies:
    return TrainingReplies.of(expert_replies(task, style, "train", seed, n))


def test_more_of_the_experts_replies_are_copies_of_more_training_replies() -> None:
    """Of 100 hands like those of training, the same share as counted one by one; never of hands that it does not
    deal."""
    cards, few, many = get_task("gp-l"), expert_of(get_task("gp-l"), 50), expert_of(get_task("gp-l"), 1_000)
    golds = {
        split: [cards.problem(split, 1_000, index, "terse").gold() for index in range(100)]
        for split in ("id", "heldout")
    }
    shown = [cards.problem("train", 0, index, "terse").gold() for index in range(1_000)]
    assert sum(map(many.has_reply, golds["id"])) == sum(gold in shown for gold in golds["id"])
    assert sum(map(few.has_reply, golds["id"])) < sum(map(many.has_reply, golds["id"])) / 2
    assert not any(map(many.has_reply, golds["heldout"]))


def test_copies_are_those_of_training_replies() -> None:
    cards = get_task("gp-l")
    known = expert_of(cards, 20)
    problem = cards.problem("train", 0, 7, "terse")
    assert known.has_reply(f" {problem.gold()}\n")
    assert known.has_answer(answer_of(problem, problem.gold()))
    formula = json.loads(problem.gold())["formula"].removesuffix("=24")
    turned_round = problem.reply(f"({formula})*1=24")
    assert not known.has_reply(turned_round)
    assert not known.has_answer(answer_of(problem, turned_round))  # one number more is another answer
    spaced = problem.gold().replace("+", " + ")
    assert known.has_answer(answer_of(problem, spaced))
    assert not known.has_answer(answer_of(problem, "nothing"))
    other = expert_of(cards, 20, seed=1)
    assert known.texts != other.texts
    walks = get_task("virl-l")
    route = walks.problem("train", 0, 0, "terse")
    said = expert_of(walks, 1)
    assert said.answers == set(route.describe()["actions"])  # type: ignore[call-overload]


def test_replies_are_sampled_and_told_apart() -> None:
    task, chat = EchoTask(), tiny_chat()
    known = expert_of(task, 8)
    engine = LocalEngine(tiny_model(layers=1), chat, Sampling(1.0, 3, seed=5))
    found = sampled_replies(engine, task, "train", 3, 4, "terse", 0, known)
    assert len(found.right) == len(found.answers) == 3
    assert all(len(row) == 4 for row in (*found.right, *found.logprobs))
    assert all(row[0] == 0 for row in found.answers)
    assert found.expert_copied == (1, 1, 1)
    assert all(count <= 3 for row in found.tokens for count in row)
    greedy = LocalEngine(tiny_model(layers=1, spread=0.3), chat, Sampling(0.0, 3))
    same = sampled_replies(greedy, task, "train", 3, 4, "terse", 0, known)
    assert same.answers == ((0, 0, 0, 0),) * 3
    assert same.steps == (0, 0, 0)
    assert (found.start_copied, found.start_copied_answer) == ((), ())
    beside = sampled_replies(engine, task, "train", 3, 4, "terse", 0, known, same)
    assert (beside.copied, beside.start_copied) == (found.copied, same.copied)
    unknown = sampled_replies(engine, task, "train", 3, 4, "terse", 0)
    assert unknown == replace(found, copied=(), copied_answer=(), expert_copied=(), expert_copied_answer=())


# ---------------------------------------------------------------- weights


def test_a_turned_matrix_has_turned_by_its_angle() -> None:
    matrix = torch.diag(torch.tensor([3.0, 2.0, 0.1]))
    angle = math.radians(30)
    turn = torch.eye(3)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = -math.sin(angle), math.sin(angle)
    assert turned(matrix, matrix, 1) == pytest.approx(0.0, abs=1e-3)
    assert turned(matrix, 5 * matrix, 1) == pytest.approx(0.0, abs=1e-3)  # larger is not turned
    assert turned(matrix, turn @ matrix, 1) == pytest.approx(15.0, abs=1e-3)  # left 30 degrees, right none
    assert turned(matrix, turn @ matrix @ turn.T, 1) == pytest.approx(30.0, abs=1e-3)
    assert turned(matrix, torch.diag(torch.tensor([0.1, 2.0, 3.0])), 1) == pytest.approx(90.0)
    assert turned(matrix, turn @ matrix @ turn.T, 3) == pytest.approx(0.0, abs=1e-3)  # all of space is the same space


def test_the_rotation_of_a_model_is_that_of_its_matrices() -> None:
    start, model = tiny_model(layers=1, spread=0.3), tiny_model(layers=1, spread=0.3)
    assert rotation(start, model) == 0.0
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
    assert rotation(start, model) == 0.0  # embeddings are left out
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.normal_()
    assert 0 < rotation(start, model, top=2) < 90


# ---------------------------------------------------------------- what foretells what


def test_rank_correlation_and_explained_variance() -> None:
    x = np.array([1.0, 2.0, 3.0, 10.0])
    assert spearman(x, x**3) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)
    assert math.isnan(spearman(np.array([1.0, 1.0, 2.0]), np.array([3.0, 3.0, 3.0])))  # nothing varies
    assert explained(x[:, None], 2 * x + 1)[0] == pytest.approx(1.0)
    assert explained(np.array([[-1.0], [0.0], [1.0]]), np.array([1.0, 0.0, 1.0]))[0] == pytest.approx(0.0)


def test_what_tells_two_kinds_apart_is_no_sign_within_either() -> None:
    """Two clusters: over all the higher goes with the higher, and within each with the lower."""
    kind = ["sft"] * 3 + ["rl"] * 3
    x, y = np.array([1.0, 2.0, 3.0, 11.0, 12.0, 13.0]), np.array([3.0, 2.0, 1.0, 13.0, 12.0, 11.0])
    assert spearman(x, y) > 0.5
    assert spearman_within(x, y, kind) == pytest.approx(-1.0)
    assert math.isnan(spearman_within(x, y, range(6)))  # one of each kind
    more = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 4.0, 2.0, 3.0]), ["sft"] * 4
    alone = np.append(more[0], [3.0, 5.0, 9.0]), np.append(more[1], [-7.0, 7.0, 3.0]), [*more[2], "a", "b", "c"]
    assert spearman_within(*alone) == pytest.approx(spearman_within(*more))  # they tell nothing, and dilute nothing
    runs = np.arange(4), np.arange(7)
    assert chances([(alone[0], runs[1])], alone[1], alone[2], runs[1]) == pytest.approx(
        chances([(more[0], runs[0])], more[1], more[2], runs[0]), abs=0.05
    )
    assert math.isnan(spearman_within(np.array([0.1, 0.1, 7.0, 7.0]), y[:4], ["a", "a", "b", "b"]))


def test_of_many_signs_the_best_is_good_by_chance() -> None:
    rng = np.random.default_rng(0)
    y, kind, runs = rng.normal(size=10) + 9 * np.repeat([0, 1], 5), ["sft"] * 5 + ["rl"] * 5, np.arange(10)
    noise = [(rng.normal(size=10), runs) for _ in range(30)]
    alone, many = [chances([one], y, kind, runs)[0] for one in noise], chances(noise, y, kind, runs)
    assert all(a <= b for a, b in zip(alone, many, strict=True))
    assert min(alone) < 0.05 < min(many)
    told_apart = np.repeat([0.0, 1.0], 5), runs  # what the arms differ in is nothing within one
    assert chances([told_apart], y, kind, runs) == [1.0]
    both = chances([(y, runs), *noise], y, kind, runs)
    assert both[0] < 0.05 < min(both[1:])  # one that foretells, and still none of the others
    assert chances([], y, kind, runs) == []


def test_a_sign_of_few_runs_does_not_hide_one_of_many() -> None:
    """Over four runs a correlation is often 1 by chance, over forty one of a half is none."""
    rng = np.random.default_rng(2)
    y, runs = rng.normal(size=40), np.arange(40)
    signs = [(y + 1.5 * rng.normal(size=40), runs), *((rng.normal(size=4), runs[:4]) for _ in range(9))]
    assert abs(spearman_within(signs[0][0], y, ["an arm"] * 40)) < 0.7
    assert chances(signs, y, ["an arm"] * 40, runs)[0] < 0.02


def test_chance_is_uniform_where_nothing_is_foretold_and_arms_share_seeds() -> None:
    """Six arms of five seeds, each of which moves all arms alike, in loss one way and in signs another: of one sign
    and of the best of ten. Dealt run by run, as if all were independent, small chances come far too often."""
    rng = np.random.default_rng(3)
    arms, seeds, runs = np.repeat(np.arange(6), 5), np.tile(np.arange(5), 6), np.arange(30)
    found: dict[str, list[float]] = {"by seed": [], "by run": [], "of ten": []}
    for _ in range(300):
        y, *xs = (rng.normal(size=5)[seeds] + 0.5 * rng.normal(size=30) + 3 * arms for _ in range(11))
        signs = [(x, runs) for x in xs]
        found["by seed"] += chances(signs[:1], y, arms, seeds, samples=199)
        found["by run"] += chances(signs[:1], y, arms, runs, samples=199)
        found["of ten"].append(min(chances(signs, y, arms, seeds, samples=199)))
    below = {how: [float(np.mean(np.array(told) <= share)) for share in (0.1, 0.5)] for how, told in found.items()}
    assert below["by seed"] == pytest.approx([0.1, 0.5], abs=0.06)  # standard errors of 0.017 and 0.029
    assert below["of ten"] == pytest.approx([0.1, 0.5], abs=0.06)
    assert below["by run"][0] > 0.25


def test_left_out_runs_are_those_of_fits_without_them() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 2)), rng.normal(size=9)
    fitted, left_out = explained(x, y)
    errors = []
    for i in range(9):
        rest = np.arange(9) != i
        design = np.column_stack([np.ones(8), x[rest]])
        weights = np.linalg.lstsq(design, y[rest], rcond=None)[0]
        errors.append(y[i] - weights @ [1.0, *x[i]])
    assert left_out == pytest.approx(1 - sum(e**2 for e in errors) / ((y - y.mean()) ** 2).sum())
    assert left_out < fitted
    assert math.isnan(explained(x, y, ["one"] * 9)[1])  # nothing is left to fit
    group, errors = ["a", "a", "a", "b", "b", "b", "c", "c", "c"], []
    for name in "abc":
        out = np.array([each == name for each in group])
        design = np.column_stack([np.ones(9), x])
        errors.append(y[out] - design[out] @ np.linalg.lstsq(design[~out], y[~out], rcond=None)[0])
    wanted = 1 - float((np.concatenate(errors) ** 2).sum()) / ((y - y.mean()) ** 2).sum()
    assert explained(x, y, group) == (fitted, pytest.approx(wanted))
    assert explained(x, x @ [1.0, 2.0]) == pytest.approx((1.0, 1.0))
    assert all(map(math.isnan, explained(x[:3], y[:3])))  # as many weights as runs


# ---------------------------------------------------------------- the record


def test_values_are_those_worked_out_by_hand() -> None:
    values = values_of(INSIGHT)
    assert INSIGHT.least == pytest.approx(0.1)  # per token 0.5, 0.5, 0.1, 0.1: all four
    expected = {
        "copied": [0.5, 0.0],
        "copied_answer": [1.0, 0.0],
        "start_copied": [0.0, 0.5],
        "start_copied_answer": [0.5, 0.0],
        "expert_copied": [1.0, 0.0],
        "distinct_right": [1.0, 1.0],
        "distinct_wrong": [0.0, 1.0],
        "pass@1": [1.0, 0.5],
        "pass@2": [1.0, 1.0],
        "agreement": [1.0, 0.5],
        "majority": [1.0, 0.0],
        "strict": [0.5, 0.5],
        "answered": [1.0, 1.0],
        "sure_wrong": [0.0, 0.5],
        "answered_wrong": [0.0, 0.5],
        "brier": [0.25, (0.01**2 + 0.9**2) / 2],
        "brier_per_token": [0.25, (0.1**2 + 0.9**2) / 2],
        "brier_agreement": [0.0, 0.25],
    }
    for metric, numbers in expected.items():
        assert values["id", metric] == pytest.approx(numbers), metric
    assert values["id-val", "rule_follows"] == [1.0, 0.0]
    assert sum(values["id-val", "rule_read"]) / 2 == pytest.approx(6 / 8)
    assert values["id-val", "rule_attention"] == pytest.approx([0.1, 0.3])


def test_drawing_anew_until_a_reply_is_admitted() -> None:
    """By hand: the first reply counts where it is admitted; one problem needs its second; one has none, and all."""
    right = ((1, 0), (0, 1), (0, 0))
    some = replace(
        REPLIES,
        **dict.fromkeys(("tokens", "answers", "strict"), ((0, 0),) * 3),
        **NOT_KNOWN,
        steps=(0, 0, 0),
        logprobs=((HALF, HALF),) * 3,
        right=right,
        admitted=((1, 1), (0, 1), (0, 0)),
    )
    assert some.first_admitted() == [0, 1, None]
    values = values_of(replace(no_flow(), replies=(some,)))
    assert values["id", "constrained"] == [1.0, 1.0, 0.0]
    assert values["id", "constrained_draws"] == [1.0, 2.0, 2.0]
    assert ("id", "constrained") not in values_of(INSIGHT)  # a task that cannot tell
    assert not any("copied" in metric for _, metric in values)  # nor what was shown


@pytest.mark.parametrize(("name", "style"), [("gp-l", "stepwise"), ("virl-l", "full"), ("gp-vl", "terse")])
def test_what_could_be_right_is_admitted_and_what_uses_other_things_is_not(name: str, style: Style) -> None:
    task = get_task(name)
    faces = 0
    for index in range(12):
        one = at_decision(task, "rule-ood", 0, index, style)
        problem, gold = one.problem, one.problem.gold()
        assert isinstance(problem, Constrained)
        assert problem.admits(gold)
        assert not problem.admits("")
        assert not problem.admits("I give up.")
        pair = problem.exchanged("id") if isinstance(problem, Exchangeable) else None
        if pair is not None and name != "gp-vl":
            faces += 1
            assert not pair[0].admits(pair[1].gold())  # answers the training rule, where the shifted one is stated
    assert faces or name == "gp-vl"
    assert {problem.admits(problem.guess(draw)) for draw in range(20)} == {True}  # wrong ones are, too


def test_rows_have_every_number_and_an_interval() -> None:
    rows = {(row.metric, row.split): row for row in rows_of_insight(INSIGHT, 0.5, 1e9)}
    assert rows["copied", "id"].value == 0.25
    assert rows["rotation", "id-val"].value == rows["rotation", "id-val"].ci_high == 12.5
    assert rows["aurc_per_token", "id"].value == pytest.approx((0 + 0 + 0.5 / 3 + 1 / 4) / 4)
    assert all(row.ci_low <= row.value + 1e-9 and row.value <= row.ci_high + 1e-9 for row in rows.values())
    assert {row.kl_to_start for row in rows.values()} == {0.5}
    assert not any(metric.startswith("rule") for metric, _ in {(r.metric, 0) for r in rows_of_insight(no_flow())})
    assert [point[0] for point in coverage_curve(REPLIES, 2)] == [0.5, 1.0]


def test_mitigations_are_counted_against_one_reply() -> None:
    """By hand: of two problems one is answered right in both samples, one in one of them, where the majority errs."""
    found: Any = SimpleNamespace(insights=[INSIGHT], measurement=SimpleNamespace(splits=("id",)))
    made = {one.by: one for one in mitigations(found)}
    assert {by: (one.alone, one.wrong, one.difference) for by, one in made.items()} == {
        "majority": (0.25, 0.5, 0.25),
        "abstaining": (0.25, 0.25, 0.0),
    }
    assert made["majority"].over == "problems"
    (table,) = map(plain, mitigated(found, WHOLE))
    assert table.columns[2:] == ("one reply", "majority", "constrained", "abstaining")
    assert [row[2:5] for row in table.rows] == [("25.0", table.rows[0][3], "")]
    assert table.rows[0][3].startswith("50.0\n+25.0 [")


def test_copies_change_from_what_the_start_model_has_of_the_same() -> None:
    """By hand: each arm beside the start model's copies of its own training, and all else beside the start's value."""
    base = replace(INSIGHT, arm="base", step=0, replies=(replace(REPLIES, **NOT_KNOWN, right=((0, 0), (0, 1))),))
    rl = replace(INSIGHT, arm="rl", replies=(replace(REPLIES, start_copied_answer=((0, 0), (0, 0))),))
    found: Any = SimpleNamespace(insights=[base, INSIGHT, rl], results=Results((), {"start": "base"}))
    metrics = ("copied", "copied_answer", "expert_copied", "pass@1")
    made = {(one.arm, one.metric): one for one in changes(found, [("id", metric) for metric in metrics])}
    told = {key: (one.value, one.start_value, one.difference) for key, one in made.items()}
    assert told["sft", "copied"] == (0.25, 0.25, 0.0)
    assert told["sft", "copied_answer"] == (0.5, 0.25, 0.25)
    assert told["rl", "copied_answer"] == (0.5, 0.0, 0.5)
    assert told["sft", "expert_copied"] == (0.5, 0.25, 0.25)
    assert told["sft", "pass@1"] == told["rl", "pass@1"] == (0.75, 0.25, 0.5)
    (table,) = map(plain, change_tables("t", list(made.values()), WHOLE))
    assert [row[2] for row in table.rows] == ["25.0", "25.0 0.0", "25.0", "25.0"]
    unknown: Any = SimpleNamespace(insights=[base, replace(base, arm="sft", step=3)], results=found.results)
    assert [one.metric for one in changes(unknown, [("id", metric) for metric in metrics])] == ["pass@1"]


def no_flow() -> Insight:
    return replace(INSIGHT, flow=None)


def test_records_are_read_back_or_refused(tmp_path) -> None:
    path = tmp_path / "one.json"
    for insight in (INSIGHT, no_flow(), replace(INSIGHT, replies=(replace(REPLIES, **NOT_KNOWN),))):
        save_insight(path, insight)
        assert load_insight(path) == insight
    older = json.loads(json.dumps(asdict(INSIGHT)))
    for name in ("start_copied", "start_copied_answer"):
        del older["replies"][0][name]
    path.write_text(json.dumps(older))
    with pytest.raises(RuleshiftError, match=r"copies are counted otherwise now\): delete it"):
        load_insight(path)
    save_insight(path, INSIGHT)
    content = json.loads(path.read_text())
    for damage in ([], {}, {**content, "flow": {}}, {**content, "replies": [{}]}, {**content, "more": 1}):
        path.write_text(json.dumps(damage))
        with pytest.raises(RuleshiftError, match="delete it and run the same command again"):
            load_insight(path)
