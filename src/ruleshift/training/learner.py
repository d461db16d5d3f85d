"""What learns in reinforcement learning, and what stands beside it: a model, its critic, its start, their optimiser."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel

from ruleshift.backbones.head import check_head
from ruleshift.backbones.vision import Known
from ruleshift.chat import Chat
from ruleshift.errors import Diverged
from ruleshift.settings import RLConfig
from ruleshift.training.accounting import Account
from ruleshift.training.critic import ValueHead
from ruleshift.training.guide import Guide, Pupil, guide_of
from ruleshift.training.mixing import noise_aware
from ruleshift.training.objectives import (
    KL_ESTIMATES,
    divisor,
    importance_weights,
    k3,
    mismatch,
    policy_loss,
    value_loss,
    weights,
)
from ruleshift.training.optimizers import adam
from ruleshift.training.parts import check_recompute, choose, learns, start_of
from ruleshift.training.processes import ALONE, Processes
from ruleshift.training.room import room_to_begin
from ruleshift.training.sharding import Shards
from ruleshift.training.teachers import Told
from ruleshift.training.trajectories import PassResult, Thrift, Trajectory, evaluate_tokens, forward, groups_of


@dataclass(frozen=True)
class Batch:
    """What an update learns from: trajectories with, per turn, advantage and return, and reference log-probs; where a
    teacher guides, what it adds per token, or is told of each."""

    trajectories: list[Trajectory]
    advantages: list[torch.Tensor]  # each (N_i,)
    returns: list[torch.Tensor]  # each (N_i,)
    values: list[torch.Tensor]  # each (N_i,), as the critic gave them before this update; 0 without one
    states: list[torch.Tensor]  # each (N_i, H), as the model saw them before this update; without a critic (N_i, 0)
    reference: list[torch.Tensor]  # each (T_i,)
    of_tokens: list[torch.Tensor] = field(default_factory=list)  # each (T_i,), added to the advantage of the turn
    told: list[Told] = field(default_factory=list)
    demonstrations: list[Trajectory] = field(default_factory=list)  # the expert's conversation about the same problem
    problems: list[int] = field(default_factory=list)  # a number for each problem, where there are any


@dataclass(frozen=True)
class Readings:
    """What was read in trajectories before an update, an entry for each."""

    states: list[torch.Tensor]  # each (N_i, H); without a critic (N_i, 0)
    values: list[list[float]]  # each N_i; without a critic 0
    after: list[float]  # value of the state after an episode that was cut; 0 after its end
    reference: list[torch.Tensor]  # each (T_i,), log-probs of the reply tokens by the start model
    logprobs: list[torch.Tensor]  # each (T_i,), by the model as it is; empty where nothing asks for them


class Learner:
    """Reads trajectories, and takes steps on `model` in place. `teacher`: another model that guides it. Several
    processes are given the same trajectories, share the passes out, and take the same steps."""

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        config: RLConfig,
        teacher: PreTrainedModel | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.chat, self.config, self.processes = model, chat, config, processes
        choose(model, config.train_parts, config.lora_rank, config.seed)
        check_recompute(model, config.gradient_checkpointing)
        if chat.eye is None:
            check_head(model)
        self.shards = Shards.of(model, config, processes)
        with room_to_begin(config):
            self.as_at_start = start_of(model, config)
        self.thrift = Thrift(config.bf16, config.gradient_checkpointing)
        self.model.eval()  # no dropout: the policy that is trained is the one that sampled
        torch.manual_seed(config.seed)
        with room_to_begin(config):
            self.critic = ValueHead(model).to(model.device) if config.critic else None
        self.trained = [p for p in model.parameters() if p.requires_grad]
        rates = [{"params": self.trained, "peak": config.learning_rate}]
        if self.critic is not None:
            rates.append({"params": list(self.critic.parameters()), "peak": config.value_learning_rate})
        optimizer = adam(rates, config.learning_rate, config.adam_epsilon, config.adam_8bit)
        self.optimizer = self.shards.adopt(optimizer, self.trained, config.max_grad_norm)
        # Features of the pictures of an update, where neither tower nor projector learns. Pictures for which it has no
        # room are looked at more often than `account` counts.
        self.known = None if learns(model, "tower", "projector") else Known()
        self.account = Account(model, chat.eye)
        self.baseline: float | None = None  # mean return of earlier updates, where one is kept
        pupil = Pupil(model, self.as_at_start, chat, self.known, self.account, processes)
        with room_to_begin(config):
            self.guide: Guide | None = guide_of(config, pupil, teacher)

    def modules(self, model: nn.Module | None = None) -> dict[str, nn.Module]:
        """All that changes, and a checkpoint holds: of the model (or a whole copy of it) all, or its adapters."""
        model = self.model if model is None else model
        adapters = nn.ParameterList([p for p in model.parameters() if p.requires_grad])
        critic = {} if self.critic is None else {"value": self.critic}
        policy = adapters if self.config.lora_rank else model
        return {"policy": policy} | critic | ({} if self.guide is None else self.guide.modules)

    def read(self, trajectories: Sequence[Trajectory]) -> Readings:
        """States and their values, and the log-probs of the start model and, with a critic or an
        `importance_sampling_cap`, of the model as it is."""
        if self.known is not None:
            self.known.clear()
        states = [torch.empty(len(t.states), 0) for t in trajectories]
        values = [[0.0] * len(t.states) for t in trajectories]
        after = [0.0] * len(trajectories)
        logprobs: list[torch.Tensor] = []
        reads = self.critic is not None or self.config.importance_sampling_cap is not None
        if reads:
            ends = [() if t.after is None else (t.after,) for t in trajectories]
            whole = [replace(t, states=(*t.states, *end)) for t, end in zip(trajectories, ends, strict=True)]
            logprobs, found = self._evaluate(whole)
        if self.critic is not None:
            with torch.no_grad():
                valued = [self.critic(hidden).tolist() for hidden in found]
            states = [hidden[: len(t.states)] for hidden, t in zip(found, trajectories, strict=True)]
            values = [row[: len(t.states)] for row, t in zip(valued, trajectories, strict=True)]
            after = [sum(row[len(t.states) :]) for row, t in zip(valued, trajectories, strict=True)]
        with self.as_at_start():
            reference, _ = self._evaluate(trajectories)
        self.account.passed(trajectories, 3 if reads else 2)
        return Readings(states, values, after, reference, logprobs)

    def _evaluate(self, trajectories: Sequence[Trajectory]) -> tuple[list[torch.Tensor], ...]:
        limits = (self.config.max_tokens, self.chat.eye, self.config.max_pictures)
        how = (self.known, self.config.temperature, self.thrift)
        least = self._least(trajectories)

        def read(some: Sequence[Trajectory]) -> list[tuple[torch.Tensor, torch.Tensor]]:
            found = self.shards.run(lambda: evaluate_tokens(self.model, some, *limits, *how, least))
            return [(logprobs.cpu(), states.cpu()) for logprobs, states in zip(*found, strict=True)]

        found = self.processes.spread(read, trajectories)
        return tuple([part[which].to(self.model.device) for part in found] for which in (0, 1))

    def baseline_before(self, returns: float) -> float:
        """The mean return of the updates before this one, of `returns` on average, which then joins it."""
        decay, before = self.config.baseline_decay, self.baseline
        if decay is None:
            return 0.0
        self.baseline = returns if before is None else decay * before + (1 - decay) * returns
        return before or 0.0

    def set_rates(self, update: int) -> None:
        """The learning rates of an update, counted from 0."""
        scale = rate_scale(self.config, update)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale

    def fit_critic(self, batch: Batch) -> dict[str, float]:
        """Full-batch steps of the critic alone on the states of this update; the model is not touched."""
        metrics: dict[str, float] = {}
        if self.critic is None:
            return metrics
        states, returns = torch.cat(batch.states).detach(), torch.cat(batch.returns)
        old = torch.cat(batch.values)
        for _ in range(self.config.value_steps):
            loss = value_loss(self.critic(states), returns, old, self.config.value_clip).mean()
            metrics = {"value_loss": loss.item()}
            check_finite(metrics)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return metrics

    def step(self, batch: Batch, chosen: Sequence[int], untouched: bool = False) -> dict[str, float]:
        """One optimiser step on these trajectories, gradients accumulated over micro-batches. Raises Diverged before
        it is taken where a loss or the gradient is not finite.

        untouched: the model is still the one that sampled, so that the mismatch between the two can be told."""
        config = self.config
        counts = Counts.of([batch.trajectories[i] for i in chosen], config)
        if self.guide is not None and batch.told:
            self.guide.count([batch.told[i] for i in chosen])
        totals: dict[str, float] = {}
        again: list[torch.Tensor] = []
        drawn: list[float] = []
        halves = [chosen[::2], chosen[1::2]] if config.sft_mix == "noise" else [chosen]
        apart: list[list[torch.Tensor]] = []  # the gradient of each half, where there are two
        for half in halves:
            for group in self._groups([batch.trajectories[i] for i in half]):
                if not group:
                    self._sum_of_logprobs([]).backward()
                    continue
                members = [half[i] for i in group]
                loss, parts, logprobs = self.shards.run(partial(self._loss, batch, members, counts))
                loss.backward()
                again.append(logprobs.cpu())
                for t in (batch.trajectories[i] for i in members):
                    drawn += t.sampled or t.old_logprobs
                for name, part in parts.items():
                    totals[name] = totals.get(name, 0.0) + float(part.detach())
            apart += [self._take_gradient()] if len(halves) > 1 else []
        totals = self.processes.total(totals)
        if batch.demonstrations:
            totals |= self._demonstrate(
                list({batch.problems[i]: batch.demonstrations[i] for i in chosen}.values()), apart
            )
        if not apart:
            self.shards.share_gradients(self.trained)
        self.processes.share_gradients(self._beside)
        check_finite(totals)
        if untouched:
            scored = self.processes.gather((again, drawn))
            now = torch.cat([logprobs for of_process, _ in scored for logprobs in of_process])
            totals |= mismatch(now, torch.tensor([p for _, of_process in scored for p in of_process]))
        totals["grad_norm"] = self._apply_gradients()
        if self.guide is not None and self.guide.teacher is not None:
            self.guide.teacher.follow()
        return totals

    def _loss(
        self, batch: Batch, group: Sequence[int], counts: "Counts"
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], torch.Tensor]:
        """Loss of a micro-batch and the terms of it, each divided by the counts of the whole mini-batch; and the
        log-probs of its tokens."""
        config = self.config
        trajectories = [batch.trajectories[i] for i in group]
        how_read = (config.temperature, config.entropy_coef > 0, self.thrift)
        result = forward(self.model, trajectories, self.chat.eye, self.known, *how_read)
        device = result.logprobs.device
        old = torch.tensor([p for t in trajectories for p in t.old_logprobs], device=device)
        often = [c for t in trajectories for c in t.counts]
        advantages = torch.cat([batch.advantages[i] for i in group])
        counted = torch.tensor(often, device=device) if often else None
        how = (config.ratio, config.clip, config.clip_high)
        of_tokens = torch.cat([batch.of_tokens[i] for i in group]) if batch.of_tokens else None
        policy = policy_loss(result.logprobs, old, result.turn, advantages, *how, counted, of_tokens)
        weight = torch.tensor([w for t in trajectories for w in _weights(t, config)], device=device)
        corrected = {}
        if config.importance_sampling_cap is not None:
            sampled = torch.tensor([p for t in trajectories for p in t.sampled], device=device)
            which = (result.turn, len(advantages), config.ratio, config.importance_sampling_cap)
            importance = importance_weights(old, sampled, *which)
            weight = weight * importance
            truncated = (importance >= config.importance_sampling_cap).sum()
            corrected = {"importance": importance.sum() / counts.ratios, "truncated": truncated / counts.ratios}
        distance = torch.cat([batch.reference[i] for i in group]) - result.logprobs
        policy_term = (policy.loss * weight).sum() / counts.weight
        loss = policy_term
        if config.kl_in == "loss" and config.kl_coef:
            loss = loss + config.kl_coef * (KL_ESTIMATES[config.kl_estimator](distance).sum() / counts.tokens)
        taught = self._taught(batch, group, result, old)
        if taught is not None:
            loss = loss + taught / counts.tokens
        entropy = result.entropy.sum() / counts.tokens
        if config.entropy_coef:
            loss = loss - config.entropy_coef * entropy
        parts = {
            "policy_loss": policy_term,
            "kl_to_start": k3(distance.detach()).sum() / counts.tokens,
            "entropy": entropy,
            "clipped": policy.clipped.sum() / counts.ratios,
            "approx_kl": policy.approx_kl * (len(old) / counts.tokens),
            **({} if taught is None else {"divergence": taught / counts.tokens}),
            **corrected,
        }
        if self.critic is not None and not config.value_steps:
            returns, before = (torch.cat([rows[i] for i in group]) for rows in (batch.returns, batch.values))
            parts["value_loss"] = (
                value_loss(self.critic(result.states), returns, before, config.value_clip).sum() / counts.turns
            )
            loss = loss + config.value_coef * parts["value_loss"]
        return loss, parts, result.logprobs.detach()

    def _groups(self, trajectories: Sequence[Trajectory]) -> list[list[int]]:
        """Which of them share a pass that learns, of this process's own. Some are empty where another process makes
        more, and takes all to put the model together."""
        self.account.trained(trajectories)
        own, limits = self.processes.share(range(len(trajectories))), (self.config.max_tokens, self.config.max_pictures)
        groups = groups_of([trajectories[i] for i in own], *limits, self._least(trajectories))
        return [[own[i] for i in group] for group in groups]

    def _least(self, trajectories: Sequence[Trajectory]) -> int:
        """How many passes over these every process makes at least."""
        limits = (self.config.max_tokens, self.config.max_pictures)
        return self.shards.passes(
            lambda own: len(groups_of([trajectories[i] for i in own], *limits)), len(trajectories)
        )

    def _sum_of_logprobs(self, some: Sequence[Trajectory]) -> torch.Tensor:
        """Of all reply tokens, by one pass; of none its gradient is 0, also of what only pictures pass through."""

        def work() -> torch.Tensor:
            total = forward(self.model, some, self.chat.eye, self.known, thrift=self.thrift).logprobs.sum()
            return total if total.requires_grad else total + sum(0.0 * weight.sum() for weight in self.trained)

        return self.shards.run(work)

    def _demonstrate(self, shown: Sequence[Trajectory], of_rl: Sequence[list[torch.Tensor]]) -> dict[str, float]:
        """Add the gradient of SFT on the expert's conversations to that of RL, at its fixed weight; or where the halves
        of the latter are given, mix both by their noise. Returns the loss and the weight."""
        count = sum(len(t.positions) for t in shown)
        if not of_rl:
            return {"sft_loss": self._likelihood(shown, count, self.config.sft_coef)}
        total, of_sft = 0.0, []
        for half in (shown[::2], shown[1::2]):
            total += self._likelihood(half, count, 1.0)
            of_sft.append(self._take_gradient())
        mix = noise_aware((of_rl[0], of_rl[1]), (of_sft[0], of_sft[1]))
        for place, parameter in enumerate(self.trained):
            rl, sft = (of[0][place] + of[1][place] for of in (of_rl, of_sft))
            parameter.grad = (1 - mix.weight) * rl + mix.weight * sft
        noise = {"sft_noise": mix.noise_sft, "rl_noise": mix.noise_rl, "gradients_apart": mix.apart}
        return {"sft_loss": total, "sft_weight": mix.weight, **noise}

    def _likelihood(self, shown: Sequence[Trajectory], count: int, weight: float) -> float:
        """Backward passes of the mean negative log-likelihood over `count` tokens, times `weight`; returns the mean."""
        total = 0.0
        for group in self._groups(shown) if shown else []:
            loss = -self._sum_of_logprobs([shown[i] for i in group]) / count
            (weight * loss).backward()
            total += float(loss.detach())
        return sum(self.processes.gather(total))

    def _take_gradient(self) -> list[torch.Tensor]:
        """The gradient so far of what learns in the model, of all processes, which then begins anew."""
        self.processes.share_gradients(self.trained)
        taken = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trained]
        for parameter in self.trained:
            parameter.grad = None
        return taken

    def _taught(self, batch: Batch, group: Sequence[int], result: PassResult, old: torch.Tensor) -> torch.Tensor | None:
        """The sum of what the student differs by from a teacher whose divergence is in the loss; None without one."""
        if self.guide is None or not batch.told:
            return None
        return self.guide.loss([batch.told[i] for i in group], result.before, result.logprobs - old).sum()

    @property
    def _beside(self) -> list[nn.Parameter]:
        """What of the critic takes its steps with the model."""
        return [] if self.critic is None or self.config.value_steps else list(self.critic.parameters())

    def _apply_gradients(self) -> float:
        """Clip the gradient of what learns together, step, and forget gradients. Returns the norm before clipping.
        Raises Diverged instead where it is not finite."""
        norm = self.shards.clip([*self.trained, *self._beside], self.config.max_grad_norm)
        check_finite({"grad_norm": norm})
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def check_weights(self) -> None:
        """Raise Diverged if a weight is not finite, or so large that its square is not."""
        for name, module in self.modules().items():
            if not all(bool(p.detach().float().square().sum().isfinite()) for p in module.parameters()):
                raise Diverged(f"the weights of the {name} are not finite, or too large to continue with,")


@dataclass(frozen=True)
class Counts:
    """By what the sums over a mini-batch are divided."""

    tokens: int
    turns: int
    ratios: int
    weight: float

    @classmethod
    def of(cls, trajectories: Sequence[Trajectory], config: RLConfig) -> "Counts":
        tokens, turns = sum(len(t.positions) for t in trajectories), sum(len(t.states) for t in trajectories)
        each = [w for t in trajectories for w in _weights(t, config)]
        among = divisor(each, len(trajectories), config.ratio, config.weigh, config.max_new_tokens)
        return cls(tokens, turns, len(each), among)


def _weights(trajectory: Trajectory, config: RLConfig) -> list[float]:
    return weights(trajectory.turn_lengths, config.ratio, config.weigh)


def check_finite(numbers: dict[str, float]) -> None:
    """Raise Diverged, with its name, for a number that is not finite."""
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise Diverged(f"{name} is {number}")


def rate_scale(config: RLConfig, update: int) -> float:
    """Share of the peak learning rate at an update: linear warm-up, then the schedule down to `final_rate`."""
    if update < config.warmup:
        return (update + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    last = max(config.updates, config.schedule_updates)
    progress = (update - config.warmup) / max(1, last - config.warmup)
    shape = 1 - progress if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return config.final_rate + (1 - config.final_rate) * shape
