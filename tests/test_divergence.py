"""Numbers that are not finite: reinforcement learning stops before the step, says what and when, and keeps what was."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from helpers import Bandit, EchoProblem, EchoTask, new_rl, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.records import Verdict
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig
from ruleshift.tasks.protocol import Style
from ruleshift.training.algorithms import ALGORITHMS, configured
from ruleshift.training.rl import RL, train_rl

SMALL = RLConfig(
    updates=4,
    episodes=8,
    turns=2,
    max_new_tokens=4,
    value_steps=2,
    schedule="constant",
    warmup=0,
    value_only=0,
    minibatches=2,
    target_kl=None,
    save_every=1,
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


@dataclass(frozen=True)
class Paid(EchoProblem):
    """Rewards of another type."""

    of: Callable[[float], object]

    def submit(self, reply: str, last: bool) -> Verdict:
        verdict = super().submit(reply, last)
        return replace(verdict, reward=self.of(verdict.reward))


@dataclass(frozen=True)
class Paying(EchoTask):
    id: str = "paying"
    of: Callable[[float], object] = float

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> Paid:
        problem = EchoTask().problem(split, seed, index, style)
        return Paid(problem.id, problem.rank, problem.count, self.of)


def new(config: RLConfig = SMALL, task: EchoTask | None = None) -> RL:
    return new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), task or EchoTask(), "terse", config)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_learning_rate_beyond_reason_stops_the_run_in_one_line(tmp_path, algorithm):
    config = replace(configured(SMALL, algorithm), learning_rate=1e30, minibatches=2)
    rl = new(config, Bandit())
    with RunFolder.open(tmp_path, config) as run, pytest.raises(Diverged) as raised:
        train_rl(rl, run)
    message = str(raised.value)
    assert "\n" not in message
    assert "not finite" in message or "is nan" in message or "is inf" in message
    assert f"update {rl.done + 1}." in message
    assert "smaller learning rate" in message
    lines = run.metrics_path.read_text().splitlines() if run.metrics_path.exists() else []
    assert len(lines) == rl.done
    for line in lines:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    # Carrying out the remedy: another folder, a smaller rate.
    config = replace(config, learning_rate=1e-3)
    with RunFolder.open(tmp_path / "again", config) as run:
        train_rl(new(config, Bandit()), run)
        assert len(run.read_metrics()) == config.updates


def broken(rl: RL, where: str) -> None:
    """Make one kind of number of the next update not finite."""
    learner = rl.learner
    if where == "reference":
        learner.as_at_start.__self__.values[0].fill_(float("nan"))
    elif where == "critic":
        next(learner.critic.parameters()).data.fill_(float("nan"))
    elif where == "gradient":
        next(learner.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    elif where == "log-probs":
        for parameter in learner.model.parameters():
            parameter.data.fill_(float("nan"))


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("reference", "kl_to_start is nan"),
        ("critic", "is nan"),
        ("gradient", "grad_norm is"),
        ("log-probs", "are NaN"),
    ],
)
def test_it_stops_before_the_step_and_the_last_checkpoint_stays(tmp_path, where, named):
    with RunFolder.open(tmp_path, SMALL) as run:
        rl = new()

        def progress(done: int, metrics: dict[str, float]) -> None:
            if done == 2:
                broken(rl, where)
                kept.update(weights_of(rl.learner.model))

        kept: dict[str, torch.Tensor] = {}
        with pytest.raises(Diverged, match=rf"{named}.* in update 3\."):
            train_rl(rl, run, progress=progress)
        assert rl.done == 2
        if where != "log-probs":
            assert same_weights(rl.learner.model, kept)  # no step was taken
        assert [checkpoint.step for checkpoint in run.checkpoints()] == [1, 2]
        assert [line["step"] for line in run.read_metrics()] == [1, 2]
        again = new()  # what was kept is good: a run from it goes on
        train_rl(again, run)
        assert again.done == SMALL.updates


@pytest.mark.parametrize(
    "of", [int, np.float32, np.int64, Fraction, Decimal, torch.tensor, lambda reward: np.array(reward), lambda r: r > 0]
)
def test_rewards_of_any_real_type_are_taken(of):
    rl, plain = new(task=Paying(of=of)), new(task=Paying(of=lambda reward: float(of(reward))))
    assert rl.update() == plain.update()
    assert same_weights(rl.learner.model, weights_of(plain.learner.model))
    assert {type(t.verdict.reward) for e in rl.rollout.collect(0) for t in e.turns} == {float}


@pytest.mark.parametrize(
    "reward",
    ["5", b"5", bytearray(b"5"), memoryview(b"5"), None, 1j, np.complex64(5), [5.0], object(), 10**400, "x" * 10**6],
)
def test_rewards_that_are_no_numbers_are_refused_with_the_name_of_the_task(reward):
    with pytest.raises(RuleshiftError, match=r"paying gave the reward .* no real number") as raised:
        new(task=Paying(of=lambda number: reward)).update()
    assert len(str(raised.value)) < 200
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), np.float32("-inf")])
def test_rewards_that_are_not_finite_are_refused_with_the_update(reward):
    rl = new(task=Paying(of=lambda number: reward))
    before = weights_of(rl.learner.model)
    rl.done = 6
    with pytest.raises(RuleshiftError, match=r"paying gave a reward that is not finite .* in update 7"):
        rl.update()
    assert same_weights(rl.learner.model, before)


def test_rewards_so_large_that_their_sum_is_not_finite_stop_the_run():
    with pytest.raises(Diverged, match="in update 1"):
        new(task=Paying(of=lambda number: 1e308)).update()


def test_a_baseline_that_is_too_high_is_felt_where_all_earn_the_same():
    """Without a critic no advantage is taken for its error."""
    rl = new(replace(configured(SMALL, "reinforce"), turns=1), Paying(of=lambda number: -1.0))
    rl.learner.baseline = 1.0
    batch, _ = rl.estimate(rl.rollout.collect(0))
    advantages = torch.cat(batch.advantages)
    assert torch.allclose(advantages, torch.full_like(advantages, -2.0))
