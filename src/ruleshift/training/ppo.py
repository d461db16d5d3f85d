"""Multi-turn PPO with a verifier.

One turn is one action: a whole reply. The state is the conversation, the value is read off its last token, the
advantages are turn-level GAE, and all turns of an episode are trained in one pass over the conversation.

How it differs from the paper's official settings is listed in `docs/deviations.md`; the preset `paper` in
`settings.py` holds the official values.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from ruleshift.backbones.lora import without_lora
from ruleshift.backbones.save import save_model
from ruleshift.backbones.vision import Known, patches
from ruleshift.chat import Chat
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode
from ruleshift.revision import revise
from ruleshift.runs import RunFolder, read_tensors
from ruleshift.settings import RLConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.advantages import gae, normalise
from ruleshift.training.batching import pad, split_evenly
from ruleshift.training.checkpoints import load_state, save_state
from ruleshift.training.flops import TokenCount, count_parameters, count_tower
from ruleshift.training.losses import k3, sequence_policy_loss, token_policy_loss, value_loss
from ruleshift.training.parts import choose, frozen_copy, learns
from ruleshift.training.trajectories import Trajectory, evaluate_tokens, forward, groups_of
from ruleshift.training.value import ValueHead


@dataclass(frozen=True)
class Batch:
    """What an update learns from: trajectories with, per turn, advantage and return, and reference log-probs."""

    trajectories: list[Trajectory]
    advantages: list[torch.Tensor]  # each (N_i,)
    returns: list[torch.Tensor]  # each (N_i,)
    states: list[torch.Tensor]  # each (N_i, H), as the model saw them before this update
    reference: list[torch.Tensor]  # each (T_i,)


class PPO:
    """Trains `model` in place. One call of `update` is the whole algorithm: collect, estimate, learn."""

    def __init__(self, model: PreTrainedModel, chat: Chat, task: Task, style: Style, config: RLConfig) -> None:
        if config.value_only and not config.value_steps:
            raise RuleshiftError("--value-only needs a value head that learns by itself: set --value-steps above 0")
        self.model, self.chat, self.task, self.style, self.config = model, chat, task, style, config
        choose(model, config.train_parts, config.lora_rank, config.seed)
        self.reference = None if config.lora_rank else frozen_copy(model)  # None: the model without its adapters
        self.model.eval()  # no dropout: the policy that is trained is the one that sampled
        torch.manual_seed(config.seed)
        self.value = ValueHead(model).to(model.device)
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.trained, "peak": config.learning_rate},
                {"params": list(self.value.parameters()), "peak": config.value_learning_rate},
            ],
            lr=config.learning_rate,
            eps=config.adam_epsilon,
        )
        # Features of the pictures of an update, where neither tower nor projector learns. Pictures for which it has no
        # room are looked at more often than `tokens` counts.
        self.known = None if learns(model, "tower", "projector") else Known()
        self.tokens = TokenCount()
        self.done = 0  # updates made

    def update(self) -> dict[str, float]:
        """One update; returns its metrics."""
        episodes = self.collect()
        batch, estimates = self.estimate(episodes)
        losses = self.learn(batch)
        self.done += 1
        flops = self.tokens.flops(count_parameters(self.model), count_tower(self.model))
        return {**episode_metrics(episodes), **estimates, **losses, "train_flops": flops}

    def collect(self) -> list[Episode]:
        """Episodes of this update, never dealt before in the run."""
        config = self.config
        first = self.done * config.episodes
        problems = [self.task.problem(config.split, config.seed, first + i, self.style) for i in range(config.episodes)]
        sampling = Sampling(config.temperature, config.max_new_tokens, config.seed)
        return revise(problems, LocalEngine(self.model, self.chat, sampling, config.batch_size), config.turns)

    def estimate(self, episodes: Sequence[Episode]) -> tuple[Batch, dict[str, float]]:
        """Values, advantages and returns of all turns; reference log-probs of all reply tokens."""
        config = self.config
        trajectories = [Trajectory.of(episode) for episode in episodes]
        if self.known is not None:
            self.known.clear()
        _, states = self._evaluate(self.model, trajectories)
        if self.reference is None:
            with without_lora(self.model):
                reference, _ = self._evaluate(self.model, trajectories)
        else:
            reference, _ = self._evaluate(self.reference, trajectories)
        tokens = sum(len(t.ids) for t in trajectories)
        looks = 3 if self.known is None else 2  # by the engine, for values, by the reference
        self.tokens += TokenCount(forward=3 * tokens, patches_forward=looks * self._patches(trajectories))
        with torch.no_grad():
            value_rows = [self.value(hidden).tolist() for hidden in states]
        reward_rows = [list(t.rewards) for t in trajectories]
        if config.kl_in == "reward":
            for rewards, trajectory, ref in zip(reward_rows, trajectories, reference, strict=True):
                for k, old, logprob in zip(trajectory.turn, trajectory.old_logprobs, ref.tolist(), strict=True):
                    rewards[k] -= config.kl_coef * (old - logprob)
        mask = pad([[1.0] * len(row) for row in reward_rows], 0.0, torch.float64)
        values = pad(value_rows, 0.0, torch.float64)
        rewards_padded = pad(reward_rows, 0.0, torch.float64)
        advantages, returns = gae(rewards_padded, values, mask, config.gamma, config.lam)  # (B, K)
        explained = 1 - _masked_var(returns - values, mask) / _masked_var(returns, mask).clamp(min=1e-8)
        if config.normalise_advantages:
            advantages = normalise(advantages, mask)
        device = self.model.device
        split = [
            [table[i, : len(row)].float().to(device) for i, row in enumerate(reward_rows)]
            for table in (advantages, returns)
        ]
        return Batch(trajectories, split[0], split[1], states, reference), {"explained_variance": float(explained)}

    def _evaluate(self, model: PreTrainedModel, trajectories: Sequence[Trajectory]) -> tuple[list[torch.Tensor], ...]:
        limits = (self.config.max_tokens, self.chat.eye, self.config.max_pictures)
        return evaluate_tokens(model, trajectories, *limits, self.known)

    def _patches(self, trajectories: Sequence[Trajectory]) -> int:
        eye = self.chat.eye
        return 0 if eye is None else sum(patches(self.model, eye, t.pictures) for t in trajectories)

    def learn(self, batch: Batch) -> dict[str, float]:
        """The value head, then epochs of mini-batch steps on the model; these stop early once the policy has moved
        `target_kl` from the sampling one."""
        config = self.config
        self._set_learning_rates()
        fitted = self._fit_value(batch)
        if self.done < config.value_only:
            return fitted
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.done)
        lengths = [len(t.ids) for t in batch.trajectories]
        history: list[dict[str, float]] = []
        for _ in range(config.epochs):
            order = torch.randperm(len(lengths), generator=generator).tolist()
            for part in split_evenly([lengths[i] for i in order], config.minibatches):
                metrics = self._step(batch, [order[i] for i in part])
                history.append(metrics)
                if config.target_kl is not None and metrics["approx_kl"] > config.target_kl:
                    return {**fitted, **_mean(history), "early_stop": 1.0}
        return {**fitted, **_mean(history), "early_stop": 0.0}

    def _fit_value(self, batch: Batch) -> dict[str, float]:
        """Full-batch steps of the value head on the states of this update; the model is not touched."""
        states, returns = torch.cat(batch.states).detach(), torch.cat(batch.returns)
        metrics: dict[str, float] = {}
        for _ in range(self.config.value_steps):
            loss = value_loss(self.value(states), returns).mean()
            loss.backward()
            self._apply_gradients()
            metrics = {"value_loss": loss.item()}
        return metrics

    def _apply_gradients(self) -> float:
        """Clip the model's gradient, step, and forget gradients. Returns the norm before clipping."""
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.config.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def _step(self, batch: Batch, chosen: list[int]) -> dict[str, float]:
        """One optimiser step on these trajectories, gradients accumulated over micro-batches."""
        config = self.config
        trajectories = [batch.trajectories[i] for i in chosen]
        tokens = sum(len(t.positions) for t in trajectories)
        turns = sum(len(t.states) for t in trajectories)
        self.tokens += TokenCount(trained=sum(len(t.ids) for t in trajectories))
        if self.known is None:
            looked = self._patches(trajectories)
            learned = learns(self.model, "tower")
            self.tokens += TokenCount(0, 0, looked * learned, looked * (not learned))
        totals: dict[str, float] = {}
        for group in groups_of(trajectories, config.max_tokens, config.max_pictures):
            parts = self._loss(batch, [chosen[i] for i in group], tokens, turns)
            parts.pop("loss").backward()
            for name, part in parts.items():
                totals[name] = totals.get(name, 0.0) + float(part.detach())
        totals["grad_norm"] = self._apply_gradients()
        return totals

    def _loss(self, batch: Batch, group: list[int], tokens: int, turns: int) -> dict[str, torch.Tensor]:
        """Loss terms of a micro-batch, each divided by the counts of the whole mini-batch."""
        config = self.config
        trajectories = [batch.trajectories[i] for i in group]
        result = forward(self.model, trajectories, self.chat.eye, self.known)
        device = result.logprobs.device
        old = torch.tensor([p for t in trajectories for p in t.old_logprobs], device=device)
        advantages = torch.cat([batch.advantages[i] for i in group])
        objective = token_policy_loss if config.ratio == "token" else sequence_policy_loss
        policy = objective(result.logprobs, old, result.turn, advantages, config.clip)
        units = tokens if config.ratio == "token" else turns
        kl = k3(torch.cat([batch.reference[i] for i in group]) - result.logprobs).sum() / tokens
        entropy = result.entropy.sum() / tokens
        policy_term = policy.loss.sum() / units
        kl_weight = config.kl_coef if config.kl_in == "loss" else 0.0
        loss = policy_term + kl_weight * kl - config.entropy_coef * entropy
        parts = {
            "policy_loss": policy_term,
            "kl_to_start": kl,
            "entropy": entropy,
            "clipped": policy.clipped.sum() / units,
            "approx_kl": policy.approx_kl * (len(old) / tokens),
        }
        if config.value_steps == 0:
            value = value_loss(self.value(result.states), torch.cat([batch.returns[i] for i in group])).sum() / turns
            loss, parts["value_loss"] = loss + config.value_coef * value, value
        return {"loss": loss, **parts}

    @property
    def _policy(self) -> nn.Module:
        """What a checkpoint holds of the model: all of it, or its adapters."""
        return nn.ParameterList(self.trained) if self.config.lora_rank else self.model

    def _set_learning_rates(self) -> None:
        scale = rate_scale(self.config, self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale

    def save(self, folder: Path) -> None:
        """Everything needed to go on, as safetensors; the model in Hugging Face format."""
        save_model(self.model, self.chat.source, folder / "model")
        save_state(folder, {"policy": self._policy, "value": self.value}, {"optimizer": self.optimizer})
        save_file({"tokens": torch.tensor(astuple(self.tokens))}, folder / "tokens.safetensors")

    def load(self, folder: Path, done: int) -> None:
        """Go on from what `save` wrote after `done` updates."""
        load_state(folder, {"policy": self._policy, "value": self.value}, {"optimizer": self.optimizer})
        self.tokens = TokenCount(*read_tensors(folder / "tokens.safetensors")["tokens"].tolist())
        self.done = done


def rate_scale(config: RLConfig, update: int) -> float:
    """Share of the peak learning rate at an update: linear warm-up, then the schedule down to `final_rate`."""
    if update < config.warmup:
        return (update + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    progress = (update - config.warmup) / max(1, config.updates - config.warmup)
    shape = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_rate + (1 - config.final_rate) * shape


def episode_metrics(episodes: Sequence[Episode]) -> dict[str, float]:
    """Success on the first turn and within the budget, mean total reward, turns and reply tokens per episode."""
    count = len(episodes)
    return {
        "success_first": sum(e.solved_within(1) for e in episodes) / count,
        "success": sum(e.solved for e in episodes) / count,
        "reward": sum(e.total_reward for e in episodes) / count,
        "turns": sum(len(e.turns) for e in episodes) / count,
        "reply_tokens": sum(len(t.completion.token_ids) for e in episodes for t in e.turns) / count,
    }


def train_ppo(
    ppo: PPO,
    run: RunFolder,
    at: Sequence[int] = (),
    evaluate: Callable[[int, PPO], None] | None = None,
    progress: Callable[[int, dict[str, float]], object] | None = None,
) -> None:
    """Run all updates in a run folder, from its last checkpoint if it has one.

    evaluate(updates made, ppo) is called after the updates listed in `at`, and must be safe to repeat: a run killed
    after an evaluation and before the next checkpoint evaluates again. A checkpoint is written every `save_every`
    updates and at the end, so that a killed run resumes with the same numbers as an unbroken one.
    """
    last = run.latest_checkpoint()
    if last is not None:
        ppo.load(last.path, last.step)
    run.truncate_metrics(ppo.done)
    while ppo.done < ppo.config.updates:
        metrics = ppo.update()
        run.append_metrics({"step": ppo.done, **metrics})
        if evaluate is not None and ppo.done in at:
            evaluate(ppo.done, ppo)
        if ppo.done % ppo.config.save_every == 0 or ppo.done == ppo.config.updates:
            run.save_checkpoint(ppo.done, ppo.save, keep_last=2)
        if progress is not None:
            progress(ppo.done, metrics)


def _mean(history: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(entry[name] for entry in history) / len(history) for name in history[0]}


def _masked_var(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    mean = (values * mask).sum() / mask.sum()
    return (((values - mean) * mask) ** 2).sum() / mask.sum()
