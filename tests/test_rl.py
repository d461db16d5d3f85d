"""The loop of reinforcement learning: wiring against numbers by hand, a task that must be learnt, and kill -9."""

import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import EchoTask, new_rl, one_thread, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Episode, Turn, Verdict
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig
from ruleshift.training.accounting import Sizes, TokenCount
from ruleshift.training.checkpoints import load_learner, writer_of
from ruleshift.training.learner import Batch, rate_scale
from ruleshift.training.objectives import k3
from ruleshift.training.rl import RL, train_rl
from ruleshift.training.rollout import Rollout, episode_metrics, local_engine

SMALL = RLConfig(
    updates=5,
    episodes=8,
    turns=3,
    max_new_tokens=6,
    learning_rate=1e-2,
    value_learning_rate=1e-2,
    value_steps=3,
    schedule="constant",
    final_rate=0.0,
    warmup=0,
    value_only=0,
    epochs=2,
    minibatches=2,
    max_tokens=12_000,
    kl_coef=0.0,
    normalise_advantages=False,
    target_kl=None,
    save_every=1,
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def new_ppo(config: RLConfig = SMALL, drift: float = 0.0, seed: int = 0) -> RL:
    """PPO on a tiny model; `drift` moves the model away from its start, which stays the reference."""
    ppo = new_rl(tiny_model(seed, layers=1, spread=0.3), tiny_chat(), EchoTask(), "terse", config)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in ppo.learner.model.parameters():
            parameter += drift * torch.randn(parameter.shape, generator=generator)
    return ppo


def batch_of(ppo: RL) -> Batch:
    return ppo.estimate(ppo.rollout.collect(ppo.done))[0]


def start_logprobs(ppo: RL, batch: Batch) -> list[torch.Tensor]:
    """Of every trajectory, log-probs of its reply tokens under the start model, one conversation at a time."""
    rows = []
    for trajectory in batch.trajectories:
        with torch.no_grad(), ppo.learner.as_at_start():
            table = ppo.learner.model(input_ids=torch.tensor([trajectory.ids])).logits[0].log_softmax(-1)
        rows.append(torch.stack([table[p - 1, trajectory.ids[p]] for p in trajectory.positions]))
    return rows


# Estimates


def test_kl_in_the_reward_lowers_it_by_the_log_ratio_of_the_reply():
    config = replace(SMALL, kl_in="reward", kl_coef=0.1, gamma=0.0)  # without a future, returns are rewards
    ppo = new_ppo(config, drift=0.1)
    batch = batch_of(ppo)
    sizes = []
    for trajectory, ref, returns in zip(batch.trajectories, start_logprobs(ppo, batch), batch.returns, strict=True):
        for k, reward in enumerate(trajectory.rewards):
            of_turn = [i for i, turn in enumerate(trajectory.turn) if turn == k]
            log_ratio = sum(trajectory.old_logprobs[i] - float(ref[i]) for i in of_turn)
            assert float(returns[k]) == pytest.approx(reward - 0.1 * log_ratio, abs=1e-4)
            sizes.append(abs(log_ratio))
    assert max(sizes) > 1  # the model has moved, or nothing was tested


def test_kl_in_the_loss_leaves_rewards_alone():
    batch = batch_of(new_ppo(replace(SMALL, kl_in="loss", kl_coef=0.1, gamma=0.0), drift=0.1))
    assert [r.tolist() for r in batch.returns] == [list(t.rewards) for t in batch.trajectories]


def without_advantages(batch: Batch) -> Batch:
    return replace(batch, advantages=[torch.zeros_like(a) for a in batch.advantages])


def test_kl_in_the_loss_is_the_mean_k3_and_pulls_the_model_back():
    config = replace(SMALL, kl_coef=1.0, learning_rate=1e-3, epochs=1, minibatches=1)
    ppo = new_ppo(config, drift=0.1)
    batch = batch_of(ppo)
    old = torch.tensor([p for t in batch.trajectories for p in t.old_logprobs])
    by_hand = float(k3(torch.cat(start_logprobs(ppo, batch)) - old).mean())
    first = ppo.learn(without_advantages(batch))
    assert first["policy_loss"] == 0.0
    assert first["kl_to_start"] == pytest.approx(by_hand, rel=1e-3)
    assert ppo.learn(without_advantages(batch))["kl_to_start"] < 0.99 * first["kl_to_start"]
    # Control: in the reward, it is no part of the loss, and nothing moves.
    ppo = new_ppo(replace(config, kl_in="reward"), drift=0.1)
    before = weights_of(ppo.learner.model)
    ppo.learn(without_advantages(batch_of(ppo)))
    assert same_weights(ppo.learner.model, before)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_the_first_policy_loss_is_minus_the_mean_advantage(ratio):
    long = {"max_new_tokens": 80, "max_tokens": 400}  # long enough that some replies end of themselves
    ppo = new_ppo(replace(SMALL, ratio=ratio, epochs=1, minibatches=1, **long), seed=1)
    batch = batch_of(ppo)
    per_token = [float(a[k]) for t, a in zip(batch.trajectories, batch.advantages, strict=True) for k in t.turn]
    per_turn = torch.cat(batch.advantages).tolist()
    units = per_token if ratio == "token" else per_turn
    metrics = ppo.learn(batch)
    assert metrics["policy_loss"] == pytest.approx(-sum(units) / len(units), abs=1e-4)
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-8)
    assert metrics["clipped"] == 0.0
    assert sum(per_token) / len(per_token) != pytest.approx(sum(per_turn) / len(per_turn), abs=1e-3)


def test_advantages_are_normalised_over_all_turns_on_request():
    raw, scaled = (torch.cat(batch_of(new_ppo(replace(SMALL, normalise_advantages=n))).advantages) for n in (0, 1))
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-6)
    assert float(scaled.std(correction=0)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(scaled, (raw - raw.mean()) / raw.std(correction=0), atol=1e-5, rtol=0)


def test_tokens_are_counted_by_what_was_processed():
    ppo = new_ppo()
    batch = batch_of(ppo)
    every = sum(len(t.ids) for t in batch.trajectories)
    assert ppo.learner.account.tokens == TokenCount(
        trained=0, forward=3 * every
    )  # sampled, valued, read by the reference
    ppo.learn(batch)
    assert ppo.learner.account.tokens == TokenCount(trained=2 * every, forward=3 * every)  # two epochs
    parameters = sum(p.numel() for p in ppo.learner.model.parameters())
    assert Sizes.of(ppo.learner.model) == Sizes(parameters, parameters, 0)
    assert parameters > 10_000
    assert ppo.learner.account.flops() == 6 * parameters * 2 * every + 2 * parameters * 3 * every


def test_no_problem_is_dealt_twice():
    ppo = new_ppo()
    first = {episode.problem_id for episode in ppo.rollout.collect(ppo.done)}
    ppo.done = 1
    second = {episode.problem_id for episode in ppo.rollout.collect(ppo.done)}
    assert first == {f"echo/train/0/{i}" for i in range(8)}
    assert second == {f"echo/train/0/{i}" for i in range(8, 16)}


# Learning


@pytest.mark.parametrize("changes", [{}, {"ratio": "sequence", "value_steps": 0, "value_learning_rate": 1e-3}])
def test_micro_batches_do_not_change_the_step(changes):
    after = []
    for max_tokens in (40, 100_000):
        config = replace(SMALL, max_tokens=max_tokens, kl_coef=0.1, entropy_coef=0.01, adam_epsilon=1e-3, **changes)
        ppo = new_ppo(config, drift=0.05)
        metrics = ppo.learn(batch_of(ppo))
        after.append((torch.cat([p.detach().flatten() for p in ppo.learner.model.parameters()]), metrics))
    (small, metrics_small), (large, metrics_large) = after
    torch.testing.assert_close(small, large, atol=2e-5, rtol=0)
    assert metrics_small == pytest.approx(metrics_large, abs=1e-4, rel=1e-3)
    start = torch.cat([p.detach().flatten() for p in new_ppo(drift=0.05).learner.model.parameters()])
    assert float((small - start).abs().max()) > 1e-3  # control: it was a step


def test_an_update_ends_early_once_the_policy_has_moved_too_far():
    def steps(target_kl: float | None) -> tuple[float, int]:
        ppo = new_ppo(replace(SMALL, target_kl=target_kl, minibatches=1, epochs=4))
        batch = batch_of(ppo)
        stopped = ppo.learn(batch)["early_stop"]
        return stopped, ppo.learner.account.tokens.trained // sum(len(t.ids) for t in batch.trajectories)

    assert steps(None) == (0.0, 4)
    assert steps(1e9) == (0.0, 4)
    assert steps(1e-4) == (1.0, 2)  # the first step is taken where the policy is still the one that sampled


def value_error(ppo: RL, batch: Batch) -> float:
    with torch.no_grad():
        return float(((ppo.learner.critic(torch.cat(batch.states)) - torch.cat(batch.returns)) ** 2).mean()) / 2


def test_value_only_updates_fit_the_head_and_leave_the_model_alone():
    ppo = new_ppo(replace(SMALL, value_only=1, value_steps=40))
    model, head = weights_of(ppo.learner.model), weights_of(ppo.learner.critic)
    batch = batch_of(ppo)
    error = value_error(ppo, batch)
    metrics = ppo.learn(batch)
    assert value_error(ppo, batch) < 0.5 * error
    assert metrics.keys() == {"value_loss"}
    assert same_weights(ppo.learner.model, model)
    assert not same_weights(ppo.learner.critic, head)
    assert ppo.learner.account.tokens.trained == 0
    ppo.done = 1  # control: the next update trains the model too
    assert "policy_loss" in ppo.learn(batch)
    assert not same_weights(ppo.learner.model, model)


def test_the_value_loss_reaches_the_model_only_when_they_learn_together():
    for value_steps, touched in ((3, False), (0, True)):
        ppo = new_ppo(replace(SMALL, value_steps=value_steps))
        batch, model, head = (
            without_advantages(batch_of(ppo)),
            weights_of(ppo.learner.model),
            weights_of(ppo.learner.critic),
        )
        assert ppo.learn(batch)["value_loss"] > 0
        assert same_weights(ppo.learner.model, model) != touched
        assert not same_weights(ppo.learner.critic, head)


def test_the_start_model_stays_as_it_was():
    ppo = new_ppo()
    before = weights_of(ppo.learner.model)
    ppo.update()
    with ppo.learner.as_at_start():
        assert same_weights(ppo.learner.model, before)
    assert not same_weights(ppo.learner.model, before)


LEARN = replace(
    SMALL,
    updates=28,
    episodes=96,
    turns=2,
    max_new_tokens=1,
    value_steps=10,
    value_only=1,
    schedule="linear",
    final_rate=0.1,
    normalise_advantages=True,
    max_grad_norm=1.0,
)


def successes(config: RLConfig, updates: int) -> list[float]:
    ppo = new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", config)
    return [ppo.update()["success_first"] for _ in range(updates)]


def test_ppo_learns_to_repeat_the_rank_it_is_shown():
    history = successes(LEARN, LEARN.updates)
    assert sum(history[:3]) / 3 < 0.05  # chance is one token in about 140
    assert sum(history[-5:]) / 5 > 0.9


def test_with_hardly_a_learning_rate_it_does_not_learn():
    assert max(successes(replace(LEARN, learning_rate=1e-12), 6)) < 0.1


# Settings


def test_a_value_only_update_needs_a_head_that_learns_by_itself():
    with pytest.raises(RuleshiftError, match="--value-steps"):
        new_ppo(replace(SMALL, value_only=1, value_steps=0))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"schedule": "constant", "warmup": 4}, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "linear", "warmup": 0}, [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ({"schedule": "linear", "warmup": 4, "final_rate": 0.2}, [0.25, 0.5, 0.75, 1.0, 1.0, 0.8, 0.6, 0.4]),
        ({"schedule": "cosine", "warmup": 0}, [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]),
        ({"schedule": "cosine", "warmup": 4, "final_rate": 0.5}, [0.25, 0.5, 0.75, 1.0, 1.0, 0.926777, 0.75, 0.573223]),
    ],
)
def test_rate_scale(changes, expected):
    config = replace(SMALL, updates=8, **changes)
    assert [rate_scale(config, k) for k in range(8)] == pytest.approx(expected, abs=1e-6)
    assert rate_scale(config, 8) == pytest.approx(1.0 if config.schedule == "constant" else config.final_rate)


def test_the_learning_rates_follow_the_schedule():
    ppo = new_ppo(replace(SMALL, updates=4, schedule="linear", learning_rate=1e-2, value_learning_rate=1e-3))
    rates = []
    for _ in range(2):
        ppo.update()
        rates.append([group["lr"] for group in ppo.learner.optimizer.param_groups])
    assert rates == [pytest.approx([1e-2, 1e-3]), pytest.approx([0.75e-2, 0.75e-3])]


def test_episode_metrics():
    def episode(*solved: bool) -> Episode:
        turns = [
            Turn((1,), Completion("", (1,) * (k + 1), (0.0,) * (k + 1)), Verdict("", 5.0 if s else -1.0, s, ""))
            for k, s in enumerate(solved)
        ]
        return Episode("p", tuple(turns), ())

    episodes = [episode(True), episode(False, True), episode(False, False, False), episode(True)]
    expected = {"success_first": 2 / 4, "success": 3 / 4, "reward": (5 + 4 - 3 + 5) / 4, "turns": 7 / 4}
    judged = {"replies:unnamed": 1.0, "replies:cut": 0.0}
    assert episode_metrics(episodes) == {**expected, "reply_tokens": (1 + 3 + 6 + 1) / 4, **judged}


def test_a_walk_is_solved_at_first_where_no_position_took_another_try():
    ahead, wrong, arrived = (
        Verdict("", 1.0, False, "", advanced=True),
        Verdict("", -1.0, False, ""),
        Verdict("", 1.0, True, ""),
    )

    def walk(*verdicts: Verdict) -> Episode:
        return Episode("p", tuple(Turn((1,), Completion("", (1,), (0.0,)), verdict) for verdict in verdicts), ())

    walks = [walk(ahead, ahead, arrived), walk(ahead, wrong, ahead, arrived), walk(ahead, ahead, wrong), walk(arrived)]
    assert episode_metrics(walks)["success_first"] == 2 / 4
    assert [walks[1].solved_within(tries) for tries in (1, 2)] == [False, True]
    assert not walks[2].solved_within(9)


# Resuming


def train(
    path: str | Path, config: RLConfig = SMALL, progress: Callable[[int, dict[str, float]], object] | None = None
) -> None:
    """Run or continue the run at `path`."""
    with one_thread(), RunFolder.open(path, config) as run:
        train_rl(new_ppo(config), run, progress=progress)


def train_until_killed(path: str) -> None:
    """Report every update, and never come to the last one."""

    def report(done: int, metrics: dict[str, float]) -> None:
        print(done, flush=True)
        if done == SMALL.updates - 1:
            time.sleep(600)

    train(path, progress=report)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "unbroken"
    train(path)
    return path


def results(run: Path) -> tuple[bytes, bytes]:
    """Metrics and final weights, to the byte."""
    last = RunFolder(run).latest_checkpoint()
    assert last is not None
    assert last.step == SMALL.updates
    return (run / "metrics.jsonl").read_bytes(), (last.path / "policy.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_numbers(unbroken, tmp_path):
    run = tmp_path / "killed"
    command = [sys.executable, "-c", "import sys, test_rl; test_rl.train_until_killed(sys.argv[1])", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        started = time.monotonic()
        assert process.stdout.readline() == "2\n"
        delay = random.uniform(0, 2 * min(time.monotonic() - started, 5))
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    made = len(RunFolder(run).read_metrics())
    assert 2 <= made < SMALL.updates, f"killed {delay:.3f} s after update 2"
    train(run)
    assert results(run) == results(unbroken), f"killed {delay:.3f} s after update 2, with {made} lines of metrics"


def test_updates_after_the_last_checkpoint_are_made_again(unbroken, tmp_path):
    class StopHereError(Exception):
        pass

    def stop(done: int, metrics: dict[str, float]) -> None:
        if done == 3:
            raise StopHereError

    config, run = replace(SMALL, save_every=2), tmp_path / "run"
    with pytest.raises(StopHereError):
        train(run, config, stop)
    assert [line["step"] for line in RunFolder(run).read_metrics()] == [1, 2, 3]
    again: list[int] = []
    train(run, config, lambda done, metrics: again.append(done))
    assert again == [3, 4, 5]
    assert results(run) == results(unbroken)


def test_a_checkpoint_holds_the_moments_of_the_optimiser(tmp_path):
    ppo, loaded, without = new_ppo(), new_ppo(), new_ppo()
    ppo.update()
    writer_of(ppo.learner)(tmp_path)
    for other in (loaded, without):
        load_learner(tmp_path, other.learner)
        other.done = 1
    without.learner.optimizer.state.clear()
    expected = ppo.update()
    assert loaded.update() == expected
    assert same_weights(loaded.learner.model, weights_of(ppo.learner.model))
    # Control: without the moments the same episodes are collected, and the steps are others.
    assert without.update()["reward"] == expected["reward"]
    assert not same_weights(without.learner.model, weights_of(ppo.learner.model))


def test_a_finished_run_is_left_alone_and_evaluated_where_asked(tmp_path):
    config = replace(SMALL, updates=3, save_every=2)
    seen: list[tuple[int, int, int]] = []
    with RunFolder.open(tmp_path, config) as run:
        train_rl(
            new_ppo(config), run, (1, 3), lambda done, p: seen.append((done, p.done, p.learner.account.tokens.trained))
        )
        before = run.metrics_path.read_bytes()
        train_rl(new_ppo(config), run, (1, 3), lambda done, p: seen.append((0, 0, 0)))
    assert [done for done, _, _ in seen] == [done for _, done, _ in seen] == [1, 3]
    assert 0 < seen[0][2] < seen[1][2]
    assert run.metrics_path.read_bytes() == before
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [2, 3]


# An engine from outside


class Apart:
    """An engine with a model of its own, which it is told of after every update."""

    def __init__(self, config: RLConfig, deaf: bool = False) -> None:
        self.model, self.deaf = tiny_model(layers=1, spread=0.3), deaf
        self.inner = local_engine(self.model, tiny_chat(), config)
        self.batch_size = config.batch_size
        self.synced = 0

    def open(self, requests):
        return self.inner.open(requests)

    def sync(self, model):
        self.synced += 1
        if not self.deaf:
            self.model.load_state_dict(model.state_dict())


def apart(config: RLConfig = SMALL, deaf: bool = False) -> RL:
    model = tiny_model(layers=1, spread=0.3)
    return RL(model, tiny_chat(), Rollout(EchoTask(), "terse", config, Apart(config, deaf)))


def test_an_engine_from_outside_is_told_of_every_update_and_after_resuming(unbroken, tmp_path):
    with RunFolder.open(tmp_path, SMALL) as run:
        rl = apart()
        train_rl(rl, run)
    assert rl.rollout.engine.synced == SMALL.updates
    assert results(tmp_path) == results(unbroken)
    shutil.rmtree(tmp_path / "checkpoints" / f"step-{SMALL.updates:06d}")
    with RunFolder.open(tmp_path, SMALL) as run:
        train_rl(apart(), run)
    assert results(tmp_path) == results(unbroken)
    # Control: one that does not listen samples from the start model for ever.
    deaf = apart(deaf=True)
    third = [deaf.update() for _ in range(3)][2]
    assert third["kl_to_start"] != RunFolder(unbroken).read_metrics()[2]["kl_to_start"]
