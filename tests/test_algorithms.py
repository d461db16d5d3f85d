"""The algorithms: identities between them, groups, the same numbers again, and their entries."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from statistics import fmean, pstdev
from types import SimpleNamespace

import pytest
import torch
from transformers import PreTrainedModel

from helpers import Bandit, EchoTask, new_rl, one_thread, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Episode, Turn, Verdict
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task
from ruleshift.training.algorithms import ALGORITHMS, check_algorithm, configured
from ruleshift.training.checkpoints import load_learner, writer_of
from ruleshift.training.estimators import ESTIMATORS
from ruleshift.training.rl import RL, train_rl
from ruleshift.training.trajectories import Trajectory

BASE = RLConfig(
    updates=25,
    episodes=64,
    turns=1,
    max_new_tokens=1,
    learning_rate=1e-2,
    value_learning_rate=1e-2,
    value_steps=5,
    schedule="constant",
    final_rate=0.0,
    warmup=0,
    value_only=0,
    minibatches=2,
    kl_coef=0.0,
    target_kl=None,
    max_grad_norm=1.0,
    save_every=2,
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


# Identities


def with_opinions(config: RLConfig) -> RL:
    return new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), EchoTask(), "terse", config)


def learned_from_one_update(config: RLConfig) -> RL:
    rl = with_opinions(config)
    rl.update()
    return rl


def same_model(one: RL, other: RL, tolerance: float = 1e-6) -> bool:
    pairs = zip(one.learner.model.parameters(), other.learner.model.parameters(), strict=True)
    return all(torch.allclose(a, b, atol=tolerance, rtol=0) for a, b in pairs)


MULTI = replace(BASE, turns=3, max_new_tokens=5, episodes=16, minibatches=1, normalise_advantages=False)


def test_reinforce_is_ppo_with_lambda_one_an_ignorant_critic_and_one_step():
    """A new critic values every state at 0, and one step is taken where all ratios are 1."""
    reinforce = learned_from_one_update(configured(MULTI, "reinforce"))
    ppo = learned_from_one_update(replace(MULTI, lam=1.0, value_steps=1))
    assert reinforce.learner.critic is None
    assert same_model(reinforce, ppo)
    # Controls: another lambda, and a second step with a clip, are something else.
    assert not same_model(reinforce, learned_from_one_update(replace(MULTI, lam=0.5, value_steps=1)))
    free = learned_from_one_update(replace(configured(MULTI, "reinforce"), epochs=2))
    assert not same_model(free, learned_from_one_update(replace(MULTI, lam=1.0, value_steps=1, epochs=2, clip=0.01)))


def test_credit_crosses_turns_where_the_future_counts():
    """The first reply of an episode is credited with what later ones earn, and only with gamma above 0."""

    def first(name: str, gamma: float) -> list[float]:
        rl = with_opinions(replace(configured(MULTI, name), gamma=gamma))
        episodes = rl.rollout.collect(0)
        batch, _ = rl.estimate(episodes)
        return [float(a[0]) - e.turns[0].verdict.reward for a, e in zip(batch.advantages, episodes, strict=True)]

    assert max(map(abs, first("reinforce", 0.0))) < 1e-6
    assert max(map(abs, first("reinforce", 0.9))) > 0.5


def test_grpo_weighs_episodes_alike_and_each_of_their_turns_with_one_advantage():
    config = replace(configured(MULTI, "grpo"), group=4)
    rl = new_rl(tiny_model(layers=1), tiny_chat(), Bandit(), "terse", config)
    episodes = rl.rollout.collect(0)
    batch, metrics = rl.estimate(episodes)
    assert "explained_variance" not in metrics
    for k in range(0, 16, 4):
        sums = torch.tensor([e.total_reward for e in episodes[k : k + 4]])
        expected = (sums - sums.mean()) / (sums.std(correction=0) + 1e-8)
        for advantage, value in zip(batch.advantages[k : k + 4], expected, strict=True):
            torch.testing.assert_close(advantage, value.expand_as(advantage), atol=1e-4, rtol=0)
    assert {len(a) for a in batch.advantages} == {1, 2, 3}
    assert max(float(a.abs().max()) for a in batch.advantages) > 0.5
    metrics = rl.learn(batch)
    means = torch.stack([a[0] for a in batch.advantages])
    assert metrics["policy_loss"] == pytest.approx(-float(means.mean()), abs=1e-5)


def test_rloo_is_reinforce_with_the_mean_of_the_others_as_baseline():
    config = replace(configured(MULTI, "rloo"), kl_coef=0.0)
    rl = with_opinions(config)
    episodes = rl.rollout.collect(0)
    batch, metrics = rl.estimate(episodes)
    assert "explained_variance" not in metrics
    sums = [e.total_reward for e in episodes]
    for i, advantage in enumerate(batch.advantages):
        others = [sums[j] for j in range(i // 4 * 4, i // 4 * 4 + 4) if j != i]
        torch.testing.assert_close(advantage, torch.full_like(advantage, sums[i] - sum(others) / 3), atol=1e-5, rtol=0)
    assert max(float(a.abs().max()) for a in batch.advantages) > 0.5
    # The KL enters by way of the rewards: once the model has moved, they are others.
    far = with_opinions(replace(config, kl_coef=0.5))
    for parameter in far.learner.model.parameters():
        parameter.data += 0.05
    episodes = far.rollout.collect(0)
    plain = with_opinions(config).estimate(episodes)[0].returns
    assert not torch.allclose(torch.cat(far.estimate(episodes)[0].returns), torch.cat(plain), atol=1e-3)


# Groups


def test_a_group_is_about_one_problem_with_draws_of_its_own():
    config = replace(MULTI, episodes=12, group=4)
    rl = new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", config)
    episodes = rl.rollout.collect(0)
    assert [e.problem_id for e in episodes] == [f"echo/train/0/{i // 4}" for i in range(12)]
    assert rl.rollout.groups() == [i // 4 for i in range(12)]
    for k in range(0, 12, 4):
        assert len({tuple(t.completion.token_ids for t in e.turns) for e in episodes[k : k + 4]}) == 4
    # The first of each group is what a run without groups draws for the problem.
    alone = new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", replace(config, episodes=3, group=1))
    assert [e.messages for e in alone.rollout.collect(0)] == [e.messages for e in episodes[::4]]
    assert {e.problem_id for e in rl.rollout.collect(1)} == {f"echo/train/0/{i}" for i in range(3, 6)}


@pytest.mark.parametrize("group", [0, -1, 3, 17])
def test_groups_that_do_not_fit_are_refused(group):
    with pytest.raises(RuleshiftError, match="--group"):
        replace(MULTI, group=group)


# The same numbers again


def resuming(name: str) -> RLConfig:
    return configured(replace(MULTI, updates=3, turns=2), name)


def train_in(path: Path, config: RLConfig, at_last: Callable[[int, RL], None] | None = None) -> None:
    """Run or continue the run at `path`; `at_last` is called after the last update, before its checkpoint."""
    with one_thread(), RunFolder.open(path, config) as run:
        train_rl(at_the_bandit(config), run, [config.updates], at_last)


def train_until_killed(folder: str) -> None:
    """A run for each algorithm, by a process that is killed after the update that follows a checkpoint."""

    def killed(done: int, rl: RL) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    for name in ALGORITHMS:
        child = os.fork()
        if not child:
            train_in(Path(folder) / name, resuming(name), killed)
            os._exit(1)  # it was to be killed
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def results(path: Path) -> tuple[int, bytes, bytes]:
    """Updates made, metrics, and the weights of the last checkpoint."""
    last = RunFolder(path).latest_checkpoint()
    assert last is not None
    return last.step, (path / "metrics.jsonl").read_bytes(), (last.path / "policy.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_of_every_algorithm_that_was_killed_goes_on_to_the_same_bytes(tmp_path):
    """To its checkpoint it goes back, before the update that it made last."""
    script = "import sys, test_algorithms; test_algorithms.train_until_killed(sys.argv[1])"
    command = [sys.executable, "-c", script, str(tmp_path / "killed")]
    subprocess.run(command, check=True, cwd=Path(__file__).parent, timeout=200)
    for name in ALGORITHMS:
        killed, unbroken = tmp_path / "killed" / name, tmp_path / "unbroken" / name
        assert results(killed)[0] == 2
        assert len(RunFolder(killed).read_metrics()) == 3
        for path in (killed, unbroken):
            train_in(path, resuming(name))
        assert results(killed) == results(unbroken), name
        # Control: all updates have something to learn, those after the checkpoint, too.
        assert min(metrics["grad_norm"] for metrics in RunFolder(unbroken).read_metrics()) > 0.01


def of_many_lengths() -> PreTrainedModel:
    """A model with opinions whose replies end early or late."""
    model = tiny_model(layers=1, spread=0.3)
    with torch.no_grad():
        model.lm_head.weight[model.config.eos_token_id] *= 5
    return model


def learned_in_passes_of(tokens: int, config: RLConfig, task: Task) -> tuple[RL, dict[str, float], list[int]]:
    """One step on the episodes of an update, in passes of so many tokens, by a model that has left its start and moved
    since it sampled; with its metrics, and the reply tokens of each episode. Nothing hides how large the gradient is.
    """
    config = replace(config, max_tokens=tokens, minibatches=1, adam_epsilon=1.0, learning_rate=1.0, max_grad_norm=1e9)
    rl = new_rl(of_many_lengths(), tiny_chat(), task, "terse", config)
    for parameter in rl.learner.trained:
        parameter.data *= 1.2
    batch, found = rl.estimate(rl.collect()[0])
    for parameter in rl.learner.trained:
        parameter.data *= 1.05
    return rl, found | rl.learn(batch), [len(one.positions) for one in batch.trajectories]


def check_that_micro_batches_change_nothing(config: RLConfig, task: Task) -> None:
    few, small, lengths = learned_in_passes_of(40, config, task)
    whole, large, _ = learned_in_passes_of(9_999, config, task)
    assert len(set(lengths)) > 4
    assert small == pytest.approx(large, rel=1e-3, abs=1e-5)
    assert same_model(few, whole, 1e-5)
    assert large["grad_norm"] > 0.1  # control: there is something to learn


TOGETHER = {"value_steps": 0, "value_only": 0, "entropy_coef": 0.1}  # the critic with the model


@pytest.mark.parametrize(
    ("name", "changes"),
    [*((name, {}) for name in ALGORITHMS), ("ppo", TOGETHER)],
    ids=[*ALGORITHMS, "ppo-together"],
)
def test_no_algorithm_minds_micro_batches(name, changes):
    check_that_micro_batches_change_nothing(configured(MULTI, name, **changes), Bandit())


def test_the_running_baseline_is_the_mean_return_of_earlier_updates_and_is_kept(tmp_path):
    """Rewards less the baseline; in the first update there is none, and the second takes off the mean of the first."""
    config = replace(configured(MULTI, "reinforce"), learning_rate=1e-12)
    rl = with_opinions(config)
    means, decay = [], config.baseline_decay
    for _ in range(3):
        before = rl.learner.baseline
        episodes, _ = rl.collect()
        batch, _ = rl.estimate(episodes)
        advantages, returns = torch.cat(batch.advantages), torch.cat(batch.returns)
        torch.testing.assert_close(advantages, returns - (before or 0.0), atol=1e-5, rtol=0)
        means.append(float(returns.mean()))
    running = decay * (decay * means[0] + (1 - decay) * means[1]) + (1 - decay) * means[2]
    assert rl.learner.baseline == pytest.approx(running, abs=1e-5)
    writer_of(rl.learner)(tmp_path)
    again = with_opinions(config)
    load_learner(tmp_path, again.learner)
    assert (again.learner.baseline, again.learner.account.problems) == (rl.learner.baseline, 48)


def at_the_bandit(config: RLConfig) -> RL:
    return new_rl(tiny_model(layers=1), tiny_chat(), Bandit(), "terse", config)


def test_where_no_more_groups_vary_those_without_variance_stay():
    config = replace(configured(MULTI, "dapo"), turns=1, group=2, episodes=16, resample=1)
    rl = new_rl(tiny_model(layers=1), tiny_chat(), Bandit(fair=True), "terse", config)
    episodes, metrics = rl.collect()
    assert len(episodes) == 16
    assert metrics["flat_groups"] == 1.0
    assert rl.learner.account.problems == 16
    before = weights_of(rl.learner.model)
    rl.learn(rl.estimate(episodes)[0])
    assert same_weights(rl.learner.model, before)  # they teach nothing


def test_groups_without_variance_give_way_to_others():
    """Dynamic sampling. About half of the groups of two pulls earn the same."""
    config = replace(configured(MULTI, "dapo"), turns=1, group=2, episodes=16, overlong=0.0, learning_rate=1e-12)
    plain, rl = at_the_bandit(replace(config, resample=0)), at_the_bandit(config)
    once, first = plain.collect()
    more, _ = rl.collect()
    varied = sum(e.total_reward != o.total_reward for e, o in zip(once[::2], once[1::2], strict=True))
    assert first["flat_groups"] == 1 - varied / 8
    assert 0 < varied < 8
    assert len(more) == len(once) == 16
    assert 8 < rl.learner.account.problems <= 80
    assert rl.learner.account.problems % 8 == 0
    differ = [e.total_reward != o.total_reward for e, o in zip(more[::2], more[1::2], strict=True)]
    assert sum(differ) == 8 > varied
    assert rl.learner.account.tokens.forward > plain.learner.account.tokens.forward == 0  # thrown away, and counted
    again, _ = rl.collect()
    assert not {e.problem_id for e in again} & {e.problem_id for e in more}


def test_without_clip_and_deviation_grpo_is_reinforce_with_the_mean_of_the_group_as_baseline():
    same = {"estimator": "group_centred", "clip": None, "weigh": "ratio", "kl_coef": 0.0}
    grpo = learned_from_one_update(replace(configured(MULTI, "grpo"), group=4, **same))
    reinforce = with_opinions(replace(configured(MULTI, "reinforce"), group=4, gamma=1.0, baseline_decay=None))
    episodes, _ = reinforce.collect()
    batch, _ = reinforce.estimate(episodes)
    sums = torch.tensor([e.total_reward for e in episodes]).reshape(-1, 4)
    baselines = sums.mean(1).repeat_interleave(4)
    centred = [
        torch.full_like(a, float(r - b)) for a, r, b in zip(batch.advantages, sums.flatten(), baselines, strict=True)
    ]
    reinforce.learn(replace(batch, advantages=centred))
    assert same_model(grpo, reinforce)
    assert not same_model(grpo, learned_from_one_update(replace(configured(MULTI, "grpo"), group=4)))  # control


# Of a first step with this epsilon a weight moves by g / (|g| + 1), g its gradient, so that sizes of gradients show.
PLAIN = replace(MULTI, adam_epsilon=1.0, learning_rate=1.0, max_grad_norm=1e9)


def after_a_step_by_hand(config: RLConfig, advantages: Callable[[list[Episode]], list[float]]) -> RL:
    """Plain REINFORCE, a step of Adam on the policy gradient alone: of the log-probabilities of all tokens of an
    episode, each times its advantage, the mean, and of these the mean over episodes."""
    rl = with_opinions(config)
    episodes, _ = rl.collect()
    losses = []
    for episode, advantage in zip(episodes, advantages(episodes), strict=True):
        one = Trajectory.of(episode)
        ids, places = torch.tensor([one.ids]), torch.tensor(one.positions)
        logprobs = rl.learner.model(ids).logits[0].log_softmax(-1)[places - 1, ids[0, places]]
        losses.append(-advantage * logprobs.mean())
    torch.stack(losses).mean().backward()
    for parameter in rl.learner.trained:
        parameter.data -= parameter.grad / (parameter.grad.abs() + 1)
    return rl


def in_units_of_the_deviation(episodes: list[Episode]) -> list[float]:
    """The returns of groups of four less their mean, divided by their deviation."""
    groups = [[episode.total_reward for episode in episodes[i : i + 4]] for i in range(0, len(episodes), 4)]
    return [(r - fmean(group)) / (pstdev(group) + 1e-8) for group in groups for r in group]


def test_grpo_of_one_epoch_is_reinforce_with_the_baseline_of_the_group_in_units_of_its_deviation():
    """As the entry is, its clip and its KL included: where all ratios are 1, neither does anything."""
    config = configured(PLAIN, "grpo", group=4)
    assert (config.clip, config.kl_coef, config.epochs) == (0.2, 0.04, 1)
    grpo = learned_from_one_update(config)
    by_hand = after_a_step_by_hand(config, in_units_of_the_deviation)
    assert same_model(grpo, by_hand)
    # Of the library's REINFORCE, too, where each episode weighs the same.
    reinforce = with_opinions(configured(PLAIN, "reinforce", group=4, baseline_decay=None, weigh="episode"))
    episodes, _ = reinforce.collect()
    batch, _ = reinforce.estimate(episodes)
    scaled = in_units_of_the_deviation(episodes)
    given = [torch.full_like(a, value) for a, value in zip(batch.advantages, scaled, strict=True)]
    reinforce.learn(replace(batch, advantages=given))
    assert same_model(grpo, reinforce)
    # Controls: in other units; and with a second epoch the clip and the KL say something.
    assert not same_model(grpo, after_a_step_by_hand(config, lambda es: [v / 2 for v in in_units_of_the_deviation(es)]))
    centred = replace(config, estimator="group_centred")
    assert not same_model(grpo, learned_from_one_update(centred))
    again = replace(config, epochs=2)
    assert not same_model(learned_from_one_update(again), learned_from_one_update(replace(again, clip=None)))


def test_ppo_with_lambda_one_no_critic_and_one_turn_is_reinforce_with_a_baseline_of_zero():
    ignorant = {"critic": False, "value_only": 0, "value_steps": 0, "lam": 1.0}
    one = replace(PLAIN, turns=1)
    config = configured(one, "ppo", **ignorant)
    assert (config.clip, config.epochs) == (0.2, 1)
    ppo = learned_from_one_update(config)
    assert same_model(ppo, learned_from_one_update(configured(one, "reinforce", baseline_decay=None)))
    # By hand, too: the reward of a reply is its advantage (with --weigh episode, which is how that is weighed).
    by_hand = after_a_step_by_hand(config, lambda episodes: [episode.total_reward for episode in episodes])
    assert same_model(learned_from_one_update(replace(config, weigh="episode")), by_hand)
    # Controls: a critic; another baseline; over several turns, another lambda.
    assert not same_model(ppo, learned_from_one_update(configured(one, "ppo", lam=1.0, value_steps=5)))
    one_less = after_a_step_by_hand(config, lambda episodes: [episode.total_reward - 1 for episode in episodes])
    assert not same_model(by_hand, one_less)


def test_dapo_with_one_clip_and_nothing_drawn_anew_is_grpo_with_the_mean_over_tokens():
    several = replace(MULTI, max_new_tokens=8, episodes=32, epochs=4, minibatches=2)
    grpo = learned_from_one_update(configured(several, "grpo", group=2, weigh="ratio", kl_coef=0.0))
    plain = {"group": 2, "clip_high": None, "resample": 0, "overlong": 0.0}
    dapo = learned_from_one_update(configured(several, "dapo", **plain))
    assert same_model(grpo, dapo)
    assert dapo.learner.account.tokens.trained == grpo.learner.account.tokens.trained > 0
    # Controls: each of its parts is something of its own.
    for part in ("clip_high", "resample", "overlong"):
        with_it = {name: value for name, value in plain.items() if name != part}
        assert not same_model(dapo, learned_from_one_update(configured(several, "dapo", **with_it))), part
    assert not same_model(dapo, learned_from_one_update(configured(several, "dapo", **plain, weigh="episode")))


def test_gspo_with_one_token_a_reply_is_grpo():
    one = replace(MULTI, max_new_tokens=1)
    of_both = {"group": 4, "clip": 0.1, "clip_high": 0.2, "weigh": "turn", "kl_coef": 0.0, "epochs": 3}
    gspo, grpo = (learned_from_one_update(replace(configured(one, n), **of_both)) for n in ("gspo", "grpo"))
    assert same_model(gspo, grpo)
    long = {**of_both, "weigh": "ratio"}
    gspo, grpo = (learned_from_one_update(replace(configured(MULTI, n), **long)) for n in ("gspo", "grpo"))
    assert not same_model(gspo, grpo)  # control


def test_reinforce_plus_plus_is_ppo_with_lambda_one_and_no_critic():
    plus = learned_from_one_update(replace(configured(MULTI, "reinforce++"), kl_coef=0.0))
    none = {"critic": False, "value_steps": 0, "lam": 1.0, "gamma": 1.0, "normalise_advantages": True}
    assert same_model(plus, learned_from_one_update(replace(MULTI, **none)))
    assert not same_model(plus, learned_from_one_update(replace(MULTI, **none | {"normalise_advantages": False})))


def test_maxrl_is_told_of_success_alone():
    rl = at_the_bandit(replace(configured(MULTI, "maxrl"), turns=1, group=4))
    episodes, _ = rl.collect()
    batch, _ = rl.estimate(episodes)
    solved = torch.tensor([float(e.solved) for e in episodes]).reshape(-1, 4)
    assert 0 < float(solved.mean()) < 1
    rates = solved.mean(1, keepdim=True)
    expected = torch.where(rates > 0, (solved - rates) / rates.clamp(min=1e-8), 0.0).flatten()
    for advantage, value in zip(batch.advantages, expected, strict=True):
        torch.testing.assert_close(advantage, value.expand_as(advantage), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if configured(BASE, name).group > 1])
def test_credit_of_groups_can_be_given_turn_by_turn(name):
    def advantages(credit: str) -> list[torch.Tensor]:
        rl = at_the_bandit(replace(configured(MULTI, name), group=8, kl_coef=0.0, gamma=0.5, credit=credit))
        return rl.estimate(rl.collect()[0])[0].advantages

    def vary_within(rows: list[torch.Tensor]) -> bool:
        return any(len(set(row.tolist())) > 1 for row in rows)

    assert not vary_within(advantages("episode"))
    assert vary_within(advantages("turn"))


def test_a_checkpoint_without_a_critic_holds_none(tmp_path):
    rl = learned_from_one_update(configured(MULTI, "reinforce"))
    writer_of(rl.learner)(tmp_path)
    assert not (tmp_path / "value.safetensors").exists()
    again = with_opinions(rl.config)
    load_learner(tmp_path, again.learner)
    assert same_weights(again.learner.model, weights_of(rl.learner.model))


def test_tokens_of_an_algorithm_without_a_critic_are_read_once_less():
    plain, critic = (
        learned_from_one_update(configured(MULTI, name)).learner.account.tokens for name in ("reinforce", "ppo")
    )
    assert plain.trained == critic.trained > 0
    assert 3 * plain.forward == 2 * critic.forward > 0


# Entries and options


@pytest.mark.parametrize("name", ALGORITHMS)
def test_entries_are_complete(name):
    entry = ALGORITHMS[name]
    assert entry.summary
    assert configured(RLConfig(), name).estimator in ESTIMATORS
    assert entry.paper
    assert entry.deviations
    assert entry.settings.keys() <= {field.name for field in fields(RLConfig)}
    check_algorithm(configured(RLConfig(), name))


def test_ppo_is_what_the_presets_say():
    assert configured(RLConfig(), "ppo") == RLConfig()


def test_options_left_out_take_the_values_of_the_algorithm():
    from ruleshift.cli import parse

    tiny = get_task("gp-l").recipe.rl["tiny"]
    command = parse(["rl", "gp-l", "--out", "x", "--algorithm=grpo", "--gamma", "0.5"])
    assert command.training == replace(configured(tiny, "grpo"), gamma=0.5)
    assert parse(["rl", "gp-l", "--out", "x"]).training == tiny


def test_every_setting_of_an_algorithm_can_be_given_by_itself():
    from ruleshift.cli import _as_named, parse

    tiny = get_task("gp-l").recipe.rl["tiny"]
    for name, algorithm in ALGORITHMS.items():
        for setting in algorithm.settings:
            assert hasattr(RLConfig(), setting)
        assert parse(["rl", "gp-l", "--out", "x", "--algorithm", name]).training == configured(tiny, name)
    assert parse(["rl", "gp-l", "--out", "x", "--algorithm", "grpo"]).training.kl_estimator == "k3"  # as in its paper
    flags = ["--ratio", "geometric", "--clip-high", "0.3", "--weigh", "constant", "--kl-estimator", "k2"]
    ppo = parse(["rl", "gp-l", "--out", "x", *flags]).training
    assert (ppo.ratio, ppo.clip_high, ppo.weigh, ppo.kl_estimator) == ("geometric", 0.3, "constant", "k2")
    no_critic = parse(["rl", "gp-l", "--out", "x", "--no-critic", "--value-only", "0", "--lam", "1"]).training
    check_algorithm(no_critic)
    # The numbers that a preset lacks for whole groups may come with the algorithm.
    few = RLConfig(episodes=4)
    assert _as_named(few, ["--algorithm", "grpo", "--episodes=16"]).episodes == 16
    assert _as_named(few, ["--group", "2", "--algorithm=grpo"]).group == 2
    with pytest.raises(RuleshiftError, match="--group 8"):
        _as_named(few, ["--algorithm", "grpo"])


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("preset", ["tiny", "small-llm", "gpu", "paper"])
def test_an_algorithm_is_the_same_under_every_preset(preset, name):
    """But for ppo, which presets are made of: settings of its paper are not those of another one's."""
    own = configured(RLConfig(), name)
    found = configured(get_task("gp-l").recipe.rl[preset], name)
    check_algorithm(found)
    what = ("ratio", "clip", "clip_high", "skip_tokens", "thought_coef", "buffer", "estimator", "credit", "critic")
    same = [getattr(found, field) == getattr(own, field) for field in what]
    assert all(same) or (name == "ppo" and preset == "paper")


def earning(*rewards: float) -> Episode:
    verdicts = [Verdict("", reward, False, "") for reward in rewards]
    return Episode("p", tuple(Turn((1,), Completion("", (1,), (0.0,)), verdict) for verdict in verdicts), ())


@pytest.mark.parametrize(("credit", "flat"), [("turn", False), ("episode", True)])
def test_a_group_is_flat_where_what_is_compared_is_the_same(credit, flat):
    config = replace(configured(RLConfig(), "grpo"), group=2, credit=credit)
    rl = SimpleNamespace(config=config, rollout=SimpleNamespace(groups=lambda count: [i // 2 for i in range(count)]))
    together = [earning(-1.0, -2.0, -3.0), earning(-3.0, -2.0, -1.0)]
    apart = [earning(-1.0, 5.0), earning(-1.0, -1.0)]
    assert RL._flat(rl, [*together, *apart]) == [flat, flat, False, False]
