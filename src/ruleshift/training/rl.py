"""Multi-turn reinforcement learning with a verifier: the one loop of every algorithm.

One turn is one action: a whole reply. The state is the conversation, all turns of an episode are trained in one pass
over it, and what an algorithm is stands in `algorithms.py`.

How PPO differs from the paper's official settings is listed in `docs/deviations.md`; the preset `paper` in
`settings.py` holds the official values.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.errors import Diverged
from ruleshift.records import Episode
from ruleshift.runs import RunFolder
from ruleshift.training.algorithms import algorithm_of
from ruleshift.training.batching import pad, split_evenly
from ruleshift.training.checkpoints import load_learner, save_learner
from ruleshift.training.estimators import ESTIMATORS, explained_variance, normalise
from ruleshift.training.learner import Batch, Learner, check_finite
from ruleshift.training.rollout import Rollout, episode_metrics
from ruleshift.training.trajectories import Trajectory


class RL:
    """Trains `model` in place. One call of `update` is the whole algorithm: collect, estimate, learn."""

    def __init__(self, model: PreTrainedModel, chat: Chat, rollout: Rollout) -> None:
        self.rollout, self.config = rollout, rollout.config
        self.algorithm = algorithm_of(self.config)
        self.learner = Learner(model, chat, self.config, self.algorithm.critic)
        self.done = 0  # updates made

    def update(self) -> dict[str, float]:
        """One update; returns its metrics. Raises Diverged, before a step is taken, for a number that is not finite."""
        try:
            episodes = self.rollout.collect(self.done)
            batch, estimates = self.estimate(episodes)
            losses = self.learn(batch)
            self.learner.check_weights()
        except Diverged as error:
            raise Diverged(
                f"the training diverged: {error} in update {self.done + 1}. The run keeps what was saved before; start "
                "in another folder with a smaller learning rate, or look at the start model if this was the first one"
            ) from error
        self.done += 1
        self.rollout.engine.sync(self.learner.model)
        flops = self.learner.account.flops()
        return {**episode_metrics(episodes), **estimates, **losses, "train_flops": flops}

    def estimate(self, episodes: Sequence[Episode]) -> tuple[Batch, dict[str, float]]:
        """Advantages and returns of all turns, and what they are made of."""
        config = self.config
        trajectories = [Trajectory.of(episode) for episode in episodes]
        states, values, reference = self.learner.read(trajectories)
        pairs = zip(trajectories, reference, strict=True)
        rewards = pad([self._shaped(t, ref.tolist()) for t, ref in pairs], 0.0, torch.float64)  # (B, K)
        mask = pad([[1.0] * len(t.rewards) for t in trajectories], 0.0, torch.float64)
        value = pad(values, 0.0, torch.float64)
        group = torch.tensor(self.rollout.groups())
        estimator = ESTIMATORS[self.algorithm.estimator]
        advantages, returns = estimator(rewards, value, mask, group, config.gamma, config.lam)
        metrics = {"explained_variance": explained_variance(value, returns, mask)} if self.algorithm.critic else {}
        if config.normalise_advantages:
            advantages = normalise(advantages, mask)
        check_finite({"a return": float(returns.sum()), "an advantage": float(advantages.sum()), **metrics})
        device = self.learner.model.device
        counts = [len(t.rewards) for t in trajectories]

        def rows(table: torch.Tensor) -> list[torch.Tensor]:
            return [table[i, :count].float().to(device) for i, count in enumerate(counts)]

        return Batch(trajectories, rows(advantages), rows(returns), states, reference), metrics

    def _shaped(self, trajectory: Trajectory, reference: Sequence[float]) -> list[float]:
        """Rewards of its turns, less the log-ratio to the start model of their tokens where the KL enters there."""
        rewards = list(trajectory.rewards)
        if self.config.kl_in == "reward":
            for k, old, start in zip(trajectory.turn, trajectory.old_logprobs, reference, strict=True):
                rewards[k] -= self.config.kl_coef * (old - start)
        return rewards

    def learn(self, batch: Batch) -> dict[str, float]:
        """The critic, then epochs of mini-batch steps on the model; these stop early once the policy has moved
        `target_kl` from the sampling one."""
        config = self.config
        self.learner.set_rates(self.done)
        fitted = self.learner.fit_critic(batch)
        if self.done < config.value_only:
            return fitted
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.done)
        lengths = [len(t.ids) for t in batch.trajectories]
        history: list[dict[str, float]] = []
        for _ in range(config.epochs):
            order = torch.randperm(len(lengths), generator=generator).tolist()
            for part in split_evenly([lengths[i] for i in order], config.minibatches):
                history.append(self.learner.step(batch, [order[i] for i in part]))
                if config.target_kl is not None and history[-1]["approx_kl"] > config.target_kl:
                    return {**fitted, **_mean(history), "early_stop": 1.0}
        return {**fitted, **_mean(history), "early_stop": 0.0}


def train_rl(
    rl: RL,
    run: RunFolder,
    at: Sequence[int] = (),
    evaluate: Callable[[int, RL], None] | None = None,
    progress: Callable[[int, dict[str, float]], object] | None = None,
) -> None:
    """Run all updates in a run folder, from its last checkpoint if it has one.

    evaluate(updates made, rl) is called after the updates listed in `at`, and must be safe to repeat: a run killed
    after an evaluation and before the next checkpoint evaluates again. A checkpoint is written every `save_every`
    updates and at the end, so that a killed run resumes with the same numbers as an unbroken one.
    """
    last = run.latest_checkpoint()
    if last is not None:
        load_learner(last.path, rl.learner)
        rl.done = last.step
        rl.rollout.engine.sync(rl.learner.model)
    run.truncate_metrics(rl.done)
    while rl.done < rl.config.updates:
        metrics = rl.update()
        run.append_metrics({"step": rl.done, **metrics})
        if evaluate is not None and rl.done in at:
            evaluate(rl.done, rl)
        if rl.done % rl.config.save_every == 0 or rl.done == rl.config.updates:
            run.save_checkpoint(rl.done, lambda folder: save_learner(folder, rl.learner), keep_last=2)
        if progress is not None:
            progress(rl.done, metrics)


def _mean(history: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(entry[name] for entry in history) / len(history) for name in history[0]}
