"""Objectives against hand values, enumeration and plain policy gradients."""

import math

import pytest
import torch

from ruleshift.training.objectives import (
    Level,
    bounded_exp,
    clipped_objective,
    divisor,
    entropy,
    importance_weights,
    k2,
    k3,
    mismatch,
    policy_loss,
    value_loss,
    weights,
)

LEVELS = ["token", "sequence", "geometric"]
TURN = torch.tensor([0, 0, 0, 1, 2, 2])  # three turns of 3, 1 and 2 tokens
ADVANTAGES = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.0, 2.0, -2.0, 0),
        (1.1, 2.0, -2.2, 0),
        (1.5, 2.0, -2.4, 1),  # min(3, 1.2 * 2): no reward for going further up
        (0.5, 2.0, -1.0, 0),  # min(1, 0.8 * 2): too low is pulled back
        (1.0, -2.0, 2.0, 0),
        (0.9, -2.0, 1.8, 0),
        (0.5, -2.0, 1.6, 1),  # min(-1, 0.8 * -2): no reward for going further down
        (1.5, -2.0, 3.0, 0),  # min(-3, 1.2 * -2): too high is pushed back
    ],
)
def test_clipped_objective_on_both_sides(ratio, advantage, loss, clipped):
    log_ratio = double(math.log(ratio)).requires_grad_()
    value, decided = clipped_objective(log_ratio, double(advantage), clip=0.2)
    assert value.item() == pytest.approx(loss, abs=1e-12)
    assert decided.item() == clipped
    value.sum().backward()
    # d(-r A)/d log r = -r A where the clip does not decide, and 0 where it does.
    assert log_ratio.grad.item() == pytest.approx(0.0 if clipped else -ratio * advantage, abs=1e-12)


def test_losses_agree_for_turns_of_one_token():
    new, old = double(-1.0, -2.0, -0.5), double(-1.2, -1.0, -0.5)
    turn = torch.arange(3)
    token, sequence, geometric = (policy_loss(new, old, turn, ADVANTAGES, level, 0.2) for level in LEVELS)
    for a, b, c in zip(token, sequence, geometric, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert token.clipped.tolist() == [1.0, 1.0, 0.0]  # ratios 1.22 up and 0.37 down, each where its advantage wants


def test_losses_agree_per_turn_when_the_policy_has_not_moved():
    old = -torch.arange(1.0, 7.0).double()
    token = policy_loss(old, old, TURN, ADVANTAGES, "token", 0.2)
    sequence = policy_loss(old, old, TURN, ADVANTAGES, "sequence", 0.2)
    assert torch.equal(token.loss, -ADVANTAGES[TURN])
    assert torch.equal(sequence.loss, -ADVANTAGES)
    assert token.approx_kl.item() == sequence.approx_kl.item() == 0.0
    moved = old + double(0, 0, 0.1, 0, 0, 0)  # control: then they differ
    token, sequence, _ = (policy_loss(moved, old, TURN, ADVANTAGES, level, 0.2) for level in LEVELS)
    assert token.loss[:3].mean() != pytest.approx(sequence.loss[0].item(), abs=1e-3)


def test_the_ratio_of_a_sequence_is_the_product_over_its_tokens():
    old = -torch.arange(1.0, 7.0).double()
    ratios = double(1.1, 1.2, 0.9, 0.7, 1.05, 1.3)
    loss = policy_loss(old + ratios.log(), old, TURN, ADVANTAGES, "sequence", clip=10.0).loss
    expected = [-2.0 * 1.1 * 1.2 * 0.9, 1.0 * 0.7, -0.5 * 1.05 * 1.3]
    assert loss.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_turns_of_tokens_may_come_in_any_order():
    generator = torch.Generator().manual_seed(0)
    new, old = torch.randn(2, 6, dtype=torch.float64, generator=generator)
    order = torch.tensor([4, 0, 3, 5, 2, 1])
    straight = policy_loss(new, old, TURN, ADVANTAGES, "sequence", 0.2)
    mixed = policy_loss(new[order], old[order], TURN[order], ADVANTAGES, "sequence", 0.2)
    torch.testing.assert_close(mixed.loss, straight.loss, atol=1e-12, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_first_gradient_is_the_policy_gradient(level):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, dtype=torch.float64, generator=generator).requires_grad_()
    tokens = torch.tensor([0, 3, 1, 4, 4, 2])
    logprobs = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    policy_loss(logprobs, logprobs.detach(), TURN, ADVANTAGES, level, 0.2).loss.sum().backward()
    # For a softmax, d log p(a) / d logits = onehot(a) - p.
    onehot = torch.nn.functional.one_hot(tokens, 5).double()
    expected = -ADVANTAGES[TURN, None] * (onehot - logits.detach().softmax(-1))
    if level == "geometric":  # each token has its share of the reply
        expected /= double(3, 3, 3, 1, 2, 2)[:, None]
    torch.testing.assert_close(logits.grad, expected, atol=1e-12, rtol=0)
    assert not torch.allclose(logits.grad, -expected, atol=1e-3)


@pytest.mark.parametrize("level", LEVELS)
def test_approx_kl_is_the_mean_k3_and_carries_no_gradient(level):
    new = double(-1.0, -2.0, -0.5, -1.0, -1.0, -1.0).requires_grad_()
    old = double(-1.5, -2.0, -0.5, -1.0, -1.0, -1.0)
    kl = policy_loss(new, old, TURN, ADVANTAGES, level, 0.2).approx_kl
    assert kl.item() == pytest.approx((math.exp(0.5) - 1.5) / 6, abs=1e-12)
    assert not kl.requires_grad


def test_k3_is_never_negative_and_zero_only_when_equal():
    log_ratio = torch.linspace(-5, 5, 101, dtype=torch.float64)
    estimate = k3(log_ratio)
    assert torch.all(estimate[log_ratio.abs() > 1e-9] > 1e-4)
    assert k3(double(0.0)).item() == 0.0
    assert k3(double(1.0, -1.0)).tolist() == pytest.approx([math.e - 2, 1 / math.e], abs=1e-12)


def test_the_expectation_of_k3_is_the_exact_kl():
    generator = torch.Generator().manual_seed(0)
    q, p = torch.randn(2, 5, dtype=torch.float64, generator=generator).log_softmax(-1)
    expectation = (q.exp() * k3(p - q)).sum().item()
    exact = (q.exp() * (q - p)).sum().item()
    other_way = (p.exp() * (p - q)).sum().item()
    assert expectation == pytest.approx(exact, abs=1e-12)
    assert abs(expectation - other_way) > 0.01


def test_value_loss_is_half_the_squared_error():
    assert value_loss(double(1.0, 2.0), double(4.0, 2.0)).tolist() == [4.5, 0.0]


def test_entropy():
    assert entropy(torch.full((2, 7), 3.0).log_softmax(-1)).tolist() == pytest.approx([math.log(7)] * 2, abs=1e-6)
    half = double(0.0, 0.0, -1e9, -1e9)[None].log_softmax(-1)
    assert entropy(half).tolist() == pytest.approx([math.log(2)], abs=1e-12)
    assert entropy(double(0.0, -1e9)[None].log_softmax(-1)).item() == pytest.approx(0.0, abs=1e-12)


# Without a clip, and weights


@pytest.mark.parametrize("level", LEVELS)
def test_without_a_clip_the_ratio_goes_as_far_as_it_likes(level):
    old = -torch.arange(1.0, 7.0).double()
    new = old + double(2, 0, 0, -2, 0, 0.1)
    loss, clipped, _ = policy_loss(new, old, TURN, ADVANTAGES, level, None)
    wide, none, _ = policy_loss(new, old, TURN, ADVANTAGES, level, 1e9)
    assert torch.equal(loss, wide)
    assert clipped.tolist() == none.tolist() == [0.0] * len(loss)
    assert policy_loss(new, old, TURN, ADVANTAGES, level, 0.2).clipped.sum() == 2  # control: up at +2, down at -1


@pytest.mark.parametrize(
    ("level", "weighing", "expected"),
    [
        ("token", "ratio", [1, 1, 1, 1, 1, 1]),
        ("token", "turn", [1 / 3, 1 / 3, 1 / 3, 1, 1 / 2, 1 / 2]),
        ("token", "episode", [1 / 6] * 6),
        ("token", "constant", [1] * 6),
        ("geometric", "constant", [1] * 3),
        ("sequence", "ratio", [1, 1, 1]),
        ("sequence", "turn", [1, 1, 1]),
        ("sequence", "episode", [1 / 3] * 3),
    ],
)
def test_weights(level, weighing, expected):
    assert weights([3, 1, 2], level, weighing) == pytest.approx(expected)


def test_weighing_by_turn_makes_a_long_reply_count_as_much_as_a_short_one():
    old = -torch.arange(1.0, 7.0).double()
    token = policy_loss(old, old, TURN, ADVANTAGES, "token", 0.2).loss
    sequence = policy_loss(old, old, TURN, ADVANTAGES, "sequence", 0.2).loss
    by_turn = double(*weights([3, 1, 2], "token", "turn"))
    assert float((token * by_turn).sum()) == pytest.approx(float(sequence.sum()), abs=1e-12)
    by_token = double(*weights([3, 1, 2], "token", "ratio"))
    assert float((token * by_token).sum()) == pytest.approx(-(3 * 2.0 - 1.0 + 2 * 0.5), abs=1e-12)


def test_the_constant_divisor_knows_no_lengths():
    for tokens in ([3, 1, 2], [30, 10, 20]):
        for level, expected in (("token", 2 * 40.0), ("sequence", 2.0)):
            assert divisor(weights(tokens, level, "constant"), 2, level, "constant", longest=40) == expected
        assert divisor(weights(tokens, "token", "ratio"), 2, "token", "ratio", longest=40) == sum(tokens)


# Clips and ratios


def test_the_upper_clip_can_be_another():
    log_ratio, up, down = double(1.25, 1.25, 1.4, 0.7).log(), double(1, -1, 1, -1), 0.2
    loss, clipped = clipped_objective(log_ratio, up, down, 0.28)
    assert loss.tolist() == pytest.approx([-1.25, 1.25, -1.28, 0.8], abs=1e-12)
    assert clipped.tolist() == [0, 0, 1, 1]
    assert clipped_objective(log_ratio, up, down)[0].tolist() == pytest.approx([-1.2, 1.25, -1.2, 0.8], abs=1e-12)


def test_the_geometric_ratio_does_not_grow_with_the_length():
    old = -torch.arange(1.0, 7.0).double()
    ratios = double(1.1, 1.2, 0.9, 0.7, 1.05, 1.3)
    loss = policy_loss(old + ratios.log(), old, TURN, ADVANTAGES, "geometric", clip=10.0).loss
    expected = [-2.0 * (1.1 * 1.2 * 0.9) ** (1 / 3), 0.7, -0.5 * (1.05 * 1.3) ** 0.5]
    assert loss.tolist() == pytest.approx(expected, abs=1e-12)


def test_tokens_count_as_often_as_they_are_told_to():
    old = -torch.arange(1.0, 7.0).double()
    ratios, counts = double(1.1, 1.2, 0.9, 0.7, 1.05, 1.3), double(0, 0.5, 1, 1, 0, 0)
    new = (old + ratios.log()).requires_grad_()
    sequence = policy_loss(new, old, TURN, ADVANTAGES, "sequence", None, counts=counts).loss
    assert sequence.tolist() == pytest.approx([-2.0 * 1.2**0.5 * 0.9, 0.7, -0.5], abs=1e-12)
    sequence.sum().backward()
    assert new.grad.tolist() == pytest.approx([0, -(1.2**0.5) * 0.9, -2 * 1.2**0.5 * 0.9, 0.7, 0, 0], abs=1e-12)
    token = policy_loss(new.detach(), old, TURN, ADVANTAGES, "token", None, counts=counts).loss
    assert token.tolist() == pytest.approx([-2, -2 * 1.2**0.5, -2 * 0.9, 0.7, -0.5, -0.5], abs=1e-12)
    geometric = policy_loss(new.detach(), old, TURN, ADVANTAGES, "geometric", None, counts=counts).loss
    assert geometric.tolist() == pytest.approx([-2 * (1.2**0.5 * 0.9) ** (1 / 1.5), 0.7, -0.5], abs=1e-12)
    plain = policy_loss(new.detach(), old, TURN, ADVANTAGES, "sequence", None).loss
    ones = policy_loss(new.detach(), old, TURN, ADVANTAGES, "sequence", None, counts=torch.ones(6).double()).loss
    assert torch.equal(plain, ones)


@pytest.mark.parametrize("far", [20.0, 89.0, 1e3, 1e20])
def test_neither_ratios_nor_k3_nor_their_gradients_overflow(far):
    assert not torch.tensor(89.0).exp().isfinite()
    log_ratio = torch.tensor([far, -far, 0.0]).requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0])
    for loss in (k3(log_ratio), *(clipped_objective(log_ratio, a, 0.2)[0] for a in (advantages, -advantages))):
        (gradient,) = torch.autograd.grad(loss.sum(), log_ratio)
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
    assert k3(log_ratio)[0] > 1e8


def test_the_bounded_exp_is_exp_up_to_its_bound_and_its_tangent_beyond():
    near = torch.linspace(-80, 20, 1001)
    assert torch.equal(bounded_exp(near), near.exp())
    assert bounded_exp(double(22.0)).item() == pytest.approx(3 * math.exp(20), rel=1e-12)


# The KL


def gradients(estimate) -> tuple[torch.Tensor, ...]:
    """Of the mean of an estimate over samples of a policy q, those drawn by enumeration, in the logits of q; of KL(q ||
    p) and of KL(p || q)."""
    generator = torch.Generator().manual_seed(0)
    logits, start = torch.randn(2, 6, dtype=torch.float64, generator=generator)
    logits.requires_grad_()
    q, p = logits.log_softmax(-1), start.log_softmax(-1)
    losses = ((q.exp().detach() * estimate(p - q)).sum(), (q.exp() * (q - p)).sum(), (p.exp() * (p - q)).sum())
    return tuple(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in losses)


def test_k3_in_a_loss_has_the_gradient_of_kl_from_start_to_policy_and_k2_of_the_other():
    of_k3, policy_start, start_policy = gradients(k3)
    torch.testing.assert_close(of_k3, start_policy, atol=1e-12, rtol=0)
    of_k2, policy_start, _ = gradients(k2)
    torch.testing.assert_close(of_k2, policy_start, atol=1e-12, rtol=0)
    assert (start_policy - policy_start).abs().max() > 0.05  # control: they are not the same


def test_mismatch_by_hand():
    found = mismatch(torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.0, -2.5, -0.25]))
    assert found["mismatch_mean"] == pytest.approx(0.25)
    assert found["mismatch_max"] == 0.5
    assert found["mismatch_kl"] == pytest.approx((math.exp(0.5) - 1.5 + math.exp(-0.25) - 0.75) / 3)
    assert set(mismatch(torch.ones(2), torch.ones(2)).values()) == {0.0}


def test_importance_weights_by_hand():
    """p / q of four tokens of two replies: 2, 1/4, 3, 1; of the replies: 1/2 and 3."""
    sampled = double(-1.0, -2.0, -3.0, -0.5)
    learns = sampled + double(2.0, 0.25, 3.0, 1.0).log()
    turn = torch.tensor([0, 0, 1, 1])

    def found(level: Level, cap: float) -> list[float]:
        return importance_weights(learns, sampled, turn, 2, level, cap).tolist()

    assert found("token", 2.0) == pytest.approx([2, 0.25, 2, 1])
    assert found("token", 10.0) == pytest.approx([2, 0.25, 3, 1])
    assert found("sequence", 2.0) == pytest.approx([0.5, 2])
    assert found("geometric", 10.0) == pytest.approx([0.5**0.5, 3**0.5])
    for level in ("token", "sequence", "geometric"):
        assert set(importance_weights(sampled, sampled, turn, 2, level, 2.0).tolist()) == {1.0}


@pytest.mark.parametrize("cap", [1.2, 2.0, 3.4, 3.5, 5.5])
def test_importance_weights_reach_their_cap_to_the_last_digit(cap):
    """In float32, where the exponential of a logarithm may be less, and where p / q is infinite."""
    learns, sampled = torch.tensor([9.0, 900.0]), torch.zeros(2)
    assert bool((importance_weights(learns, sampled, torch.arange(2), 2, "token", cap) >= cap).all())


def test_importance_weights_have_the_mean_of_the_program_that_learns():
    """Of any function of a token, over what the other one samples; unless they are cut."""
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 50, dtype=torch.float64, generator=generator).log_softmax(-1)
    value, each = torch.randn(50, dtype=torch.float64, generator=generator), torch.arange(50)

    def mean(cap: float) -> float:
        return float((q.exp() * importance_weights(p, q, each, 50, "token", cap) * value).sum())

    exact = float((p.exp() * value).sum())
    assert mean(1e6) == pytest.approx(exact, abs=1e-12)
    assert abs(float((q.exp() * value).sum()) - exact) > 0.05  # control: it is another without weights
    assert abs(mean(1.0) - exact) > 0.01


# Values


def test_the_clipped_value_loss_is_the_larger_of_two_errors():
    values, returns, old = double(0.5, -1.0, 0.05, 3.0), double(1.0, 1.0, 1.0, 1.0), double(0.0, 0.0, 0.0, 2.0)
    # Held within 0.1 of the old ones: 0.1, -0.1, 0.05, 2.1.
    expected = [0.9**2 / 2, 2.0**2 / 2, 0.95**2 / 2, 2.0**2 / 2]
    clipped = value_loss(values.requires_grad_(), returns, old, 0.1)
    assert clipped.tolist() == pytest.approx(expected, abs=1e-12)
    clipped.sum().backward()
    # No gradient where moving further gains nothing; back where it went the wrong way.
    assert values.grad.tolist() == pytest.approx([0.0, -2.0, -0.95, 2.0], abs=1e-12)
    assert torch.equal(value_loss(values, returns, old, None), value_loss(values, returns))
