"""Profiles: pass@k, distinct replies, both directions of the KL, parameters moved, and how they are kept."""

import json
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from helpers import EchoTask, tiny_chat, tiny_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.kl import SEED, SPLIT
from ruleshift.evaluation.training_profile import (
    Answers,
    TrainingProfile,
    answers_of,
    load_profile,
    mean_entropy,
    own_replies,
    pass_at_k,
    rows_of_profile,
    save_profile,
    share_moved,
    share_moved_far,
)
from ruleshift.runs import RunFolder
from ruleshift.settings import Measurement
from ruleshift.studies.profiles import Behind, measure, path_of, profile_records
from ruleshift.studies.study import Run
from ruleshift.tasks import get_task
from ruleshift.training.trajectories import Trajectory

PROFILE = TrainingProfile(
    "gp-l",
    "sft",
    0,
    3,
    (Answers("id", 4, (0, 0, 5), (0, 2, 4), (0, 1, 3), (4, 2, 0)),),
    0.5,
    0.25,
    1.5,
    0.1,
    7,
    9,
    1e9,
    2.5,
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def test_pass_at_k_is_that_worked_out_by_hand():
    assert pass_at_k(4, 2, 1) == 0.5
    assert pass_at_k(4, 2, 2) == pytest.approx(1 - 1 / 6)  # one pair of six has no right one
    assert pass_at_k(4, 2, 3) == 1.0
    assert pass_at_k(64, 0, 64) == 0.0
    assert pass_at_k(64, 1, 64) == 1.0
    for wrong in ((4, 5, 1), (4, 2, 0), (4, 2, 5)):
        with pytest.raises(ValueError, match="pass@"):
            pass_at_k(*wrong)


def engine(model: torch.nn.Module) -> LocalEngine:
    return LocalEngine(model, tiny_chat(), Sampling(1.0, 4))


def test_replies_are_many_and_of_streams_of_their_own():
    found = answers_of(engine(tiny_model(layers=1)), EchoTask(), "train", 5, 16, "terse", 0)
    assert len(found.right) == 5
    assert all(d <= r for d, r in zip(found.distinct_right, found.right, strict=True))
    assert min(found.distinct_wrong) > 8  # near uniform replies
    again = answers_of(engine(tiny_model(layers=1)), EchoTask(), "train", 5, 16, "terse", 0)
    assert again == found
    greedy = LocalEngine(tiny_model(layers=1, spread=0.3), tiny_chat(), Sampling(0.0, 4))
    same = answers_of(greedy, EchoTask(), "train", 5, 16, "terse", 0)
    assert all(a + b == 1 for a, b in zip(same.distinct_right, same.distinct_wrong, strict=True))  # control


def test_what_stays_is_not_far_and_what_moved_is():
    start, model = tiny_model(layers=1, spread=0.3), tiny_model(layers=1, spread=0.3)
    assert share_moved(start, model) == 0.0
    cards = get_task("gp-l")
    (back,), unsure = own_replies(engine(model), [start], cards, "terse", 4)
    assert back == pytest.approx(0.0, abs=1e-6)
    assert unsure > 0
    weight = model.lm_head.weight
    with torch.no_grad():
        weight[: len(weight) // 2] += 1e-4
        weight[len(weight) // 2 :] += 1e-7  # within the tolerance
    expected = weight[: len(weight) // 2].numel() / sum(p.numel() for p in model.parameters())
    assert share_moved(start, model) == pytest.approx(expected)
    assert share_moved_far(start, model) == 0.0
    with torch.no_grad():
        weight[1] += 0.1 * weight.square().mean().sqrt()
    one = weight[1].numel() / sum(p.numel() for p in model.parameters())
    assert share_moved_far(start, model) == pytest.approx(one)
    with torch.no_grad():
        weight[3] += 1.0
    to_start, to_itself = own_replies(engine(model), [start, model], cards, "terse", 4)[0]
    assert to_start > 0
    assert to_itself == pytest.approx(0.0, abs=1e-6)


def next_tokens(model: torch.nn.Module, n: int) -> torch.Tensor:
    """Log-probabilities after the prompts of the problems that a KL is measured on: (n, V)."""
    problems = [EchoTask().problem(SPLIT, SEED, index, "terse") for index in range(n)]
    prompts = [tiny_chat().encode_prompt(problem.context()) for problem in problems]
    with torch.no_grad():
        return torch.stack([model(torch.tensor([ids])).logits[0, -1].log_softmax(-1) for ids in prompts])


def kl(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p.exp() * (p - q)).sum(-1).mean())


def test_a_profile_tells_the_kl_both_ways_and_what_the_model_has_behind_it(tmp_path):
    """Of replies of one token, whose KL and entropy are sums over all tokens."""
    models = [tiny_model(layers=1, spread=0.3, seed=seed) for seed in range(3)]
    start, model, origin = (next_tokens(one, 6) for one in models)
    kls = {"kl_problems": 6, "kl_most": 6, "max_new_tokens": 1}
    m = Measurement("echo", splits=("id",), profile_problems=2, profile_samples=2, **kls)
    point = Point("echo", "arm", 0, 3, train_flops=1e9, kl_to_start=kl(start, model), cells=())
    run, behind = Run("arm", 0, None, (3,)), Behind(generated=700.0, trained=900, seconds=2.5)
    path_of(tmp_path, run).parent.mkdir()

    def engine_of(one: torch.nn.Module, sampling: Sampling) -> LocalEngine:
        return LocalEngine(one, tiny_chat(), sampling)

    where, both = (EchoTask(), "terse"), (models[0], models[1])
    measure(run, m, RunFolder(tmp_path), both, engine_of, where, point, behind, models[2])
    found = load_profile(path_of(tmp_path, run))
    expected = {
        "kl_to_start": kl(start, model),
        "kl_from_start": kl(model, start),
        "kl_to_origin": kl(origin, model),
        "kl_from_origin": kl(model, origin),
    }
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-4)
    assert min(abs(a - b) for a, b in combinations(expected.values(), 2)) > 0.01  # control: four numbers
    assert found.entropy == pytest.approx(float(-(model.exp() * model).sum(-1).mean()), rel=1e-4)
    assert (found.generated_tokens, found.trained_tokens, found.seconds) == (700.0, 900, 2.5)
    rows = {row.metric: row.value for row in rows_of_profile(found)}
    assert rows["kl_from_start"] == found.kl_from_start
    assert rows["generated_tokens"] == 700.0
    measure(run, m, RunFolder(tmp_path), both, engine_of, where, point, Behind())
    found = load_profile(path_of(tmp_path, run))
    assert (found.kl_to_origin, found.kl_from_origin, found.generated_tokens) == (None, None, 0.0)


def test_the_entropy_of_a_uniform_model_is_that_of_its_vocabulary():
    model = tiny_model(layers=1)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    words = len(tiny_chat().tokenizer)
    one = Trajectory((1, 2, 3), (1, 2), (0, 0), (0.0, 0.0), (0,), (0.0,))
    assert mean_entropy(engine(model), [one]) == pytest.approx(float(torch.tensor(words).log()), rel=1e-5)


def test_rows_and_the_file(tmp_path):
    rows = {(row.metric, row.split): row for row in rows_of_profile(PROFILE)}
    assert rows["pass@1", "id"].value == pytest.approx(0.5)
    assert rows["pass@2", "id"].value == pytest.approx((0 + 5 / 6 + 1) / 3)
    assert ("pass@8", "id") not in rows
    assert rows["distinct_wrong", "id"].value == 2.0
    assert rows["kl_from_start", "id-val"].value == 0.25
    assert rows["seconds", "id-val"].value == 2.5
    assert ("seconds", "id-val") not in {(r.metric, r.split) for r in rows_of_profile(replace(PROFILE, seconds=None))}
    one = replace(PROFILE, answers=(Answers("id", 4, (0,), (2,), (1,), (2,)),))
    assert json.dumps(profile_records([one]), allow_nan=False)  # of one problem there is no endless interval
    save_profile(tmp_path / "p.json", PROFILE)
    assert load_profile(tmp_path / "p.json") == PROFILE
    content = json.loads((tmp_path / "p.json").read_text())
    for damage in ({}, [], {**content, "moved": None, "more": 1}, {**content, "answers": [{}]}):
        (tmp_path / "p.json").write_text(json.dumps(damage))
        with pytest.raises(RuleshiftError, match="delete it and run the same command again"):
            load_profile(tmp_path / "p.json")
