"""The KL to the start: against its definition, and as exact as is asked for."""

import copy
from statistics import fmean

import pytest
import torch

from helpers import tiny_chat, tiny_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.evaluation.kl import StartReplies, forward_kl
from ruleshift.evaluation.statistics import CLOSE, PRECISE, is_precise, standard_error
from ruleshift.tasks import get_task
from ruleshift.training.trajectories import Trajectory, evaluate_tokens

TASK = get_task("gp-l")


def engine(model, tokens: int = 6) -> LocalEngine:
    return LocalEngine(model, tiny_chat(), Sampling(1.0, tokens, seed=7))


def moved(model, by: float):
    """A copy with other weights."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    for parameter in other.parameters():
        parameter.data += by * torch.randn(parameter.shape, generator=generator)
    return other


def test_kl_of_one_token_by_hand() -> None:
    start = tiny_model(spread=0.3)
    other = moved(start, 0.05)
    (episode,) = evaluate(engine(start, 1), TASK, "id-val", 1, 1, "terse", seed=7)
    trajectory = Trajectory.of(episode)
    assert len(trajectory.positions) == 1
    prompt = torch.tensor([trajectory.ids[: trajectory.positions[0]]])
    with torch.no_grad():
        p, q = (model(prompt).logits[0, -1].log_softmax(-1) for model in (start, other))
    by_hand = sum(float(a.exp() * (a - b)) for a, b in zip(p, q, strict=True))
    assert forward_kl(start, other, [trajectory]) == [pytest.approx(by_hand, rel=1e-4)]
    assert forward_kl(start, start, [trajectory]) == [0.0]


def test_it_has_the_mean_of_the_log_ratio_and_less_spread() -> None:
    start = tiny_model(spread=0.3)
    other = moved(start, 0.05)
    drawn = [Trajectory.of(e) for e in evaluate(engine(start), TASK, "id-val", 200, 1, "terse", seed=7)]
    (before, _), (after, _) = (evaluate_tokens(model, drawn, 3_000) for model in (start, other))
    ratios = [float((a - b).sum()) for a, b in zip(before, after, strict=True)]
    found = forward_kl(start, other, drawn)
    assert abs(fmean(found) - fmean(ratios)) < 3 * standard_error(ratios)
    assert standard_error(found) < 0.6 * standard_error(ratios)


def test_problems_are_added_until_the_error_is_small() -> None:
    start = tiny_model(spread=0.3)
    other = moved(start, 0.05)
    few = StartReplies(engine(start), TASK, "terse", 3, 3)
    assert (few.ends, len(few.kl_of(other))) == ([3], 3)  # the stated most
    many = StartReplies(engine(start), TASK, "terse", 4, 1_000)
    assert many.ends == [4, 8, 16, 32, 64, 128, 256, 512, 1_000]
    found = many.kl_of(other)
    assert is_precise(fmean(found), standard_error(found))
    assert not is_precise(fmean(few.kl_of(other)), standard_error(few.kl_of(other)))
    assert len(found) in many.ends
    assert len(found) < 1_000
    near = many.kl_of(moved(start, 0.0005))
    assert standard_error(near) <= CLOSE < 10 * fmean(near)
    assert standard_error(near) > PRECISE * fmean(near)  # as few as that
    assert many.kl_of(start) == [0.0] * 4  # nothing moved: nothing to add
    again = StartReplies(engine(start), TASK, "terse", 4, 1_000)
    assert again.kl_of(start) == [0.0] * 4
    assert again.kl_of(other) == found  # whatever was asked before
