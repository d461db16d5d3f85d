"""The largest curvature of a loss, and what it takes to measure a model's."""

import pytest
import torch

from ruleshift.backbones.config import BuildConfig
from ruleshift.evaluation.sharpness import largest_curvature, sharpness
from ruleshift.pretraining.build import new_model
from ruleshift.tasks import get_task


def test_of_a_quadratic_it_is_the_largest_eigenvalue() -> None:
    # Turned by 30 degrees, so that no axis is an eigenvector: eigenvalues 1 and -4, then 1 and 9.
    c, s = 3**0.5 / 2, 0.5
    turn = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    for other in (-4.0, 9.0):
        hessian = turn @ torch.diag(torch.tensor([1.0, other], dtype=torch.float64)) @ turn.T
        for point in (torch.zeros(2, dtype=torch.float64), torch.tensor([100.0, -7.0], dtype=torch.float64)):
            assert largest_curvature(lambda w, h=hessian: h @ w, point, steps=40) == pytest.approx(max(1.0, other))
    assert largest_curvature(torch.zeros_like, torch.ones(3)) == 0.0


def test_a_model_is_left_as_it_was() -> None:
    model, chat = new_model(BuildConfig(width=32, layers=1, heads=2, feedforward=32))
    problems = [get_task("gp-l").problem("id-val", 1, index, "terse") for index in range(4)]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sharp = sharpness(model, chat, problems)
    assert sharp == sharpness(model, chat, problems)
    assert sharp > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
