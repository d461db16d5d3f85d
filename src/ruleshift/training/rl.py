"""Multi-turn reinforcement learning with a verifier: the one loop of every algorithm.

One turn is one action: a whole reply. The state is the conversation, all turns of an episode are trained in one pass
over it, and what an algorithm is stands in `algorithms.py`.

How PPO differs from the paper's official settings is listed in `docs/deviations.md`; the preset `paper` in
`tasks/recipe.py` holds the official values.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.errors import Diverged
from ruleshift.records import Episode
from ruleshift.runs import RunFolder
from ruleshift.training.algorithms import check_algorithm
from ruleshift.training.answers import token_counts
from ruleshift.training.batching import pad, split_evenly
from ruleshift.training.checkpoints import load_learner, writer_of
from ruleshift.training.context import check_context
from ruleshift.training.estimators import (
    ESTIMATORS,
    Turns,
    discounted,
    explained_variance,
    normalise,
    without_variance,
)
from ruleshift.training.guide import Guided
from ruleshift.training.learner import Batch, Learner, check_finite
from ruleshift.training.parts import recomputes
from ruleshift.training.privileged import Asked
from ruleshift.training.rewards import earned, kl_cost, overlong
from ruleshift.training.rollout import Rollout, episode_metrics, rollout_dtype, turns_within
from ruleshift.training.room import room_to_learn, room_to_sample
from ruleshift.training.sft_lessons import demonstration
from ruleshift.training.trajectories import Trajectory
from ruleshift.training.watch import Watch


class RL:
    """Trains `model` in place. One call of `update` is the whole algorithm: collect, estimate, learn."""

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        rollout: Rollout,
        watch: Watch | None = None,
        teacher: PreTrainedModel | None = None,
    ) -> None:
        """watch: keeps some of the episodes of every update, and changes nothing about them. teacher: another model,
        where the settings say that one guides (`teachers.load_teacher`)."""
        self.rollout, self.config, self.watch = rollout, rollout.config, watch
        check_algorithm(self.config)
        self.learner = Learner(model, chat, self.config, teacher, rollout.processes)
        self.done = 0  # updates made
        self.tokens_per_s = 0.0  # of replies, in the last update: a clock's, and so none of the metrics
        self.dealt: dict[str, int] = {}  # numbers of the problems of this update, by their ids

    def update(self) -> dict[str, float]:
        """One update; returns its metrics. Raises Diverged, before a step is taken, for a number that is not finite."""
        try:
            with room_to_sample(self.config), self.learner.shards.sampler(rollout_dtype(self.config)) as sampler:
                self.rollout.engine.sync(sampler)
                began = time.monotonic()
                episodes, collected = self.collect()
                self.tokens_per_s = collected["generated_tokens"] / max(time.monotonic() - began, 1e-3)
            with room_to_learn(self.config, map(Trajectory.of, episodes), recomputes(self.learner.model)):
                batch, estimates = self.estimate(episodes)
                seen = self.watch and self.watch.before(self.learner, episodes, batch, self.done + 1)
                losses = self.learn(batch)
            self.learner.check_weights()
        except Diverged as error:
            raise Diverged(
                f"the training diverged: {error} in update {self.done + 1}. The run keeps what was saved before; start "
                "in another folder with a smaller learning rate, or look at the start model if this was the first one"
            ) from error
        self.done += 1
        if self.watch and seen:
            self.watch.after(self.learner, episodes, batch, self.done, seen)
        flops = self.learner.account.flops()
        return {**collected, **estimates, **losses, "train_flops": flops}

    def collect(self) -> tuple[list[Episode], dict[str, float]]:
        """The episodes to learn from, and how all that were drawn went. Groups without variance give way to others, in
        `resample` more rounds at most, and stay where those were not enough."""
        config, account = self.config, self.learner.account
        kept: list[Episode] = []
        flat: list[Episode] = []
        self.dealt.clear()
        for _ in range(1 + config.resample):
            episodes = self.rollout.collect(self.done, account.problems)
            self.dealt |= {e.problem_id: account.problems + i // config.group for i, e in enumerate(episodes)}
            account.problems += config.episodes // config.group
            for episode, is_flat in zip(episodes, self._flat(episodes), strict=True):
                (flat if is_flat and config.resample else kept).append(episode)
            if len(kept) >= config.episodes:
                break
        drawn = [*kept, *flat]
        account.passed([Trajectory.of(episode) for episode in drawn[config.episodes :]], 1)
        metrics = episode_metrics(drawn)
        metrics["drawn_episodes"] = float(len(drawn))
        metrics["generated_tokens"] = float(sum(len(t.completion.token_ids) for e in drawn for t in e.turns))
        if config.group > 1:
            metrics["flat_groups"] = sum(self._flat(drawn)) / len(drawn)
        return drawn[: config.episodes], metrics

    def _flat(self, episodes: Sequence[Episode]) -> list[bool]:
        """Of each episode, whether its whole group earned the same: in each turn, or in all where these are credited
        together."""
        config = self.config
        rows = [earned(episode.turns, config.reward, config.gamma) for episode in episodes]
        if config.credit == "episode":
            rows = [[sum(config.gamma**turn * reward for turn, reward in enumerate(row))] for row in rows]
        group = torch.tensor(self.rollout.groups(len(episodes)))
        return without_variance(*_padded(rows), group).tolist()

    def estimate(self, episodes: Sequence[Episode]) -> tuple[Batch, dict[str, float]]:
        """Advantages and returns of all turns, and what they are made of."""
        config = self.config
        counts = turns_within(episodes, config.buffer)
        trajectories = [self._trajectory(e, count) for e, count in zip(episodes, counts, strict=False)]
        self.learner.account.passed([Trajectory.of(e) for e in episodes[len(counts) :]], 1)  # drawn, and left out
        read = self.learner.read(trajectories)
        if config.importance_sampling_cap is not None:
            trajectories = [
                replace(t, old_logprobs=tuple(own.tolist()), sampled=t.old_logprobs)
                for t, own in zip(trajectories, read.logprobs, strict=True)
            ]
        rewards, mask = _padded([self._shaped(t, ref) for t, ref in zip(trajectories, read.reference, strict=True)])
        values = pad(read.values, 0.0, torch.float64)
        after = torch.tensor(read.after, dtype=torch.float64)
        group = torch.tensor(self.rollout.groups(len(trajectories)))
        if not config.critic:
            mean = discounted(Turns(rewards, values, mask, group, after), config.gamma).sum() / mask.sum()
            values = torch.full_like(values, self.learner.baseline_before(float(mean)))
        turns = Turns(rewards, values, mask, group, after)
        advantages, returns = ESTIMATORS[config.estimator](turns, config.gamma, config.lam, config.credit)
        metrics = {"explained_variance": explained_variance(values, returns, mask)} if config.critic else {}
        if config.normalise_advantages:
            advantages = normalise(advantages, mask, config.advantage_epsilon)
        if config.critic and bool(without_variance(rewards, mask, torch.zeros_like(group)).all()):
            advantages = torch.zeros_like(advantages)  # what is left are the errors of the critic
        advantages = config.reward_coef * advantages
        check_finite({"a return": float(returns.sum()), "an advantage": float(advantages.sum()), **metrics})
        device = self.learner.model.device

        def rows(table: torch.Tensor) -> list[torch.Tensor]:
            return [table[i, :count].float().to(device) for i, count in enumerate(counts)]

        of_turns = rows(advantages), rows(returns), rows(values)
        guided = self._guided(episodes, trajectories)
        batch = Batch(trajectories, *of_turns, read.states, read.reference, guided.of_tokens, guided.told)
        if config.sft_coef or config.sft_mix == "noise":
            of_each = {i: self._demonstration(i) for i in dict.fromkeys(self.dealt[e.problem_id] for e in episodes)}
            check_context(self.learner.model, (len(t.ids) for t in of_each.values()), "demonstrations")
            problems = [self.dealt[e.problem_id] for e in episodes[: len(counts)]]
            batch = replace(batch, demonstrations=[of_each[i] for i in problems], problems=problems)
        return batch, metrics | guided.metrics

    def _demonstration(self, index: int) -> Trajectory:
        """The expert's conversation about the problem of this number, whose replies are to be learned."""
        rollout = self.rollout
        problem = rollout.task.problem(self.config.split, self.config.seed, index, rollout.style)
        return demonstration(self.learner.chat, problem, self.config.turns)

    def _guided(self, episodes: Sequence[Episode], trajectories: Sequence[Trajectory]) -> Guided:
        """What a teacher says of these episodes, each with the others of its group; nothing without one."""
        guide = self.learner.guide
        if guide is None:
            return Guided([], [], {})
        groups: dict[str, list[Episode]] = {}
        for episode in episodes:
            groups.setdefault(episode.problem_id, []).append(episode)
        asked = []
        for one, trajectory in zip(episodes, trajectories, strict=False):
            problem = self.rollout.again(self.dealt[one.problem_id])
            others = [other for other in groups[one.problem_id] if other is not one]
            asked.append(Asked(one, len(trajectory.states), problem, self.config.turns, others))
        return guide.guided(asked, trajectories)

    def _trajectory(self, episode: Episode, turns: int) -> Trajectory:
        """The first turns of an episode, with what they earn, and how often their tokens count."""
        config, kept = self.config, episode.turns[:turns]
        lengths = [len(turn.completion.token_ids) for turn in kept]
        costs = overlong(lengths, config.max_new_tokens, config.overlong)
        given = earned(kept, config.reward, config.gamma, ended=turns == len(episode.turns))
        rewards = [reward - cost for reward, cost in zip(given, costs, strict=True)]
        trajectory = replace(Trajectory.of(episode, turns), rewards=tuple(rewards))
        if config.thought_coef == 1 and not config.skip_tokens:
            return trajectory
        decode = self.learner.chat.decode
        weighing = (config.answer_key, config.thought_coef, config.skip_tokens)
        counts = [c for turn in kept for c in token_counts(turn.completion.token_ids, decode, *weighing)]
        return replace(trajectory, counts=tuple(counts))

    def _shaped(self, trajectory: Trajectory, reference: torch.Tensor) -> list[float]:
        """Rewards of its turns, less the log-ratio to the start model of their tokens where the KL enters there."""
        rewards = list(trajectory.rewards)
        if self.config.kl_in == "reward":
            costs = kl_cost(trajectory.turn, trajectory.old_logprobs, reference.tolist(), len(rewards))
            rewards = [reward - self.config.kl_coef * cost for reward, cost in zip(rewards, costs, strict=True)]
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
                history.append(self.learner.step(batch, [order[i] for i in part], untouched=not history))
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
    updates and at the end, so that a killed run resumes with the same numbers as an unbroken one. progress(updates
    made, metrics) is told the speed, too (`tokens_per_s`), which no two runs share.
    """
    last = run.latest_checkpoint()
    if last is not None:
        load_learner(last.path, rl.learner)
        rl.done = last.step
    run.truncate_metrics(rl.done)
    while rl.done < rl.config.updates:
        metrics = rl.update()
        run.append_metrics({"step": rl.done, **metrics})
        if evaluate is not None and rl.done in at:
            evaluate(rl.done, rl)
        if rl.done % rl.config.save_every == 0 or rl.done == rl.config.updates:
            run.save_checkpoint(rl.done, writer_of(rl.learner), keep_last=2)
        if progress is not None:
            progress(rl.done, {**metrics, "tokens_per_s": rl.tokens_per_s})


def _mean(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the steps that have it; the first one has all."""
    columns = {name: [entry[name] for entry in history if name in entry] for name in history[0]}
    return {name: sum(column) / len(column) for name, column in columns.items()}


def _padded(rows: Sequence[Sequence[float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths as a table, and where it is real: (B, K) each."""
    return pad(rows, 0.0, torch.float64), pad([[1.0] * len(row) for row in rows], 0.0, torch.float64)
