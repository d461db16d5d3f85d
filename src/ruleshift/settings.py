"""Settings of training and of measurement, each with its bounds. No heavy imports, so that `--help` is quick."""

from dataclasses import dataclass
from itertools import count
from typing import Literal

from ruleshift.bounds import Count, Finite, Natural, NotNegative, Positive, Seed, Share, ShareAboveZero, check_bounds
from ruleshift.errors import RuleshiftError
from ruleshift.misfits import MisfitError
from ruleshift.records import Told

Part = Literal["tower", "projector", "decoder"]
Reward = Literal["verifier", "success", "partial", "potential"]
Privileged = Literal["none", "rule", "demonstration", "feedback", "success", "success-or-feedback"]
# Those of transformers.SchedulerType that need nothing but a number of steps.
Schedule = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]


@dataclass(frozen=True)
class SFTConfig:
    """Supervised fine-tuning. Raises RuleshiftError for a value out of its bounds, as its siblings below do."""

    data: str = "expert"
    """What it learns from (ruleshift sft --help)."""
    loss: Literal["nll", "dft", "talr", "psft"] = "nll"
    """nll: the mean negative log-likelihood of learned tokens. dft: each weighted by its own probability, which is not
    differentiated, so that unlikely tokens weigh less (Wu et al., arXiv 2508.05629). talr: by a power of it, and never
    by less than 0.01 (arXiv 2509.20758). psft: PPO's clipped ratio to weights of a while ago (arXiv 2508.17784)."""
    loss_tau: Positive = 1.0
    """talr weighs a token by its probability to the power of 1 over this."""
    loss_clip: ShareAboveZero = 0.2
    """psft: a token that became more likely by more than this share teaches nothing."""
    loss_lag: Count = 4
    """psft: steps after which the old weights follow; a divisor of `save_every`."""
    noise: Share = 0.0
    """Share of the expert's replies that are wrong, in the right form."""
    pass_low: Share = 0.0
    """Learn from problems that the start model solves without a mistake in at least this share of conversations ..."""
    pass_high: Share = 1.0
    """... and at most this one: difficulty slices. From 0 to 1, nothing is sampled to know."""
    pass_samples: Count = 8
    """Conversations about a problem from which that share is counted."""
    steps: Count = 400
    """Optimiser steps."""
    examples: Count = 20_000
    """Distinct problems, a conversation each; steps beyond them start another epoch."""
    batch: Count = 64
    """Conversations an optimiser step."""
    micro_batch: Count = 64
    """Conversations that are prepared at once; gradients accumulate up to `batch`."""
    max_tokens: Count = 3_000
    """Most padded tokens in one forward and backward pass; gradients accumulate over as many as it takes."""
    learning_rate: Positive = 3e-4
    """Peak learning rate (AdamW)."""
    schedule: Schedule = "cosine"
    """Learning rate after warm-up, as transformers names it."""
    warmup_share: Share = 0.03
    """Share of the steps spent on linear warm-up."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: Positive = 1.0
    """Gradient clipping (global norm)."""
    turns: Count = 5
    """Verification budget of data that the start model samples: most replies to a card problem, or at a position."""
    temperature: Positive = 1.0
    """Its temperature there."""
    max_new_tokens: Count = 80
    """Its longest reply there, in tokens."""
    batch_size: Count = 256
    """Conversations that it samples at once; fewer take less memory, and give the same replies."""
    split: str = "train"
    """Split that the examples come from."""
    train_parts: tuple[Part, ...] = ("tower", "projector", "decoder")
    """Parts of a vision-language model that learn; the others stay as they are."""
    lora_rank: Natural = 0
    """Above 0, adapters of this rank (LoRA) beside the linear layers of the decoder learn, and nothing else."""
    gradient_checkpointing: bool = False
    """Keep of each layer only what it was given, and compute the rest again in the backward pass: a third more
    arithmetic, and a small part of the memory."""
    bf16: bool = False
    """Matrix products of passes in bfloat16 (autocast). What learns, its gradient and the moments of Adam stay in
    float32, and replies are sampled as without it; quick on a GPU, and slow on most CPUs."""
    adam_8bit: bool = False
    """Keep the moments of Adam in 8 bits (bitsandbytes): a quarter of their memory. Matrices and vectors of fewer than
    4,096 weights keep theirs in float32, many adapters among them."""
    seed: Seed = 0
    """Seed of deals, sampling and shuffling."""
    save_every: Count = 100
    """Steps between checkpoints."""
    checkpoints: Count = 2
    """How many of them stay, the last ones. RL can start from one: `ruleshift backbone export RUN --step 100 --out
    FOLDER` makes a model of it, for --model."""

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_parts(self)
        if self.pass_low > self.pass_high:
            swapped = {"pass_low": self.pass_high, "pass_high": self.pass_low}
            raise MisfitError(self, "{pass_low} is above {pass_high}", [swapped])
        if self.loss == "psft":
            so = ", so that a run could not resume with the same old weights"
            _check_multiple(self, "save_every", "loss_lag", so)
        if self.micro_batch < self.batch:
            _check_multiple(self, "batch", "micro_batch")

    def micro_batch_in(self, processes: int) -> int:
        """Conversations that each of so many processes prepares at once. Raises MisfitError for batches that they
        cannot share."""

        def shared(batch: int, micro_batch: int) -> bool:
            """Whether they can, and the two fit together as well."""
            share = batch // processes
            return batch == share * processes and all(n <= micro_batch or n % micro_batch == 0 for n in (share, batch))

        if not shared(self.batch, self.micro_batch):
            least = next(n for n in count(self.batch + 1) if shared(n, self.micro_batch))
            smaller = next(({"micro_batch": n} for n in range(self.micro_batch, 1, -1) if shared(self.batch, n)), None)
            uneven = self.batch % processes
            why = f"{{batch}} is not a multiple of {'' if uneven else '{micro_batch} times '}the {processes} processes"
            raise MisfitError(self, why, [{"batch": least}, *([smaller] if smaller else [])])
        return min(self.micro_batch, self.batch // processes)


@dataclass(frozen=True)
class RLConfig:
    """Multi-turn reinforcement learning. Raises RuleshiftError for episodes that make no whole groups."""

    algorithm: str = "ppo"
    """How it learns; where this is named, options left out take the values that make it so (ruleshift rl --help)."""
    estimator: Literal["gae", "group_centred", "group_scaled", "leave_one_out", "group_over_mean"] = "gae"
    """What becomes an advantage: GAE, or the return against those of the group."""
    critic: bool = True
    """Whether a value head learns what is to be expected of a state, for GAE."""
    baseline_decay: Share | None = None
    """Without a critic: take off the mean return of earlier updates, which count less by this factor with every update
    (0: the last one alone); None takes nothing off."""
    credit: Literal["turn", "episode"] = "turn"
    """Credit each reply with what is earned from it on, or all of an episode with the whole of it."""
    updates: Count = 30
    """Updates; each collects `episodes` and learns from them."""
    episodes: Count = 128
    """Episodes collected for an update."""
    group: Count = 1
    """Episodes about the same problem, each with draws of its own; a divisor of `episodes`."""
    resample: Natural = 0
    """Further rounds of collecting, at most, to replace groups in which all earn the same (dynamic sampling)."""
    buffer: Natural = 0
    """Turns that an update learns from; the episodes collected are cut there, the last one in its middle, where the
    critic's value stands for the rest. 0 learns from whole episodes."""
    reward: Reward = "verifier"
    """What a reply earns. verifier: the verifier's reward. success: 1 where it solves the problem, else 0. partial: 1
    where it is right, else a quarter each for its form and for reading right what is shown. potential: as success, and
    how much nearer it came by that measure than the reply before (Ng, Harada and Russell, 1999)."""
    reward_coef: NotNegative = 1.0
    """Weight of the advantages that rewards give, beside a teacher or the expert's replies."""
    sft_coef: NotNegative = 0.0
    """Weight of SFT on the expert's replies to the same problems in the loss (mean negative log-likelihood)."""
    sft_mix: Literal["fixed", "noise"] = "fixed"
    """noise: weigh SFT, at every step, by how noisy its gradient and that of RL are, and how far apart (GAC, arXiv
    2605.26184), in the place of `sft_coef`; RL has the rest."""
    overlong: Share = 0.0
    """Share of `max_new_tokens` at the end of which replies cost more with every token, up to 1."""
    turns: Count = 5
    """Verification budget: most replies to a card problem, or at a position of a route."""
    batch_size: Count = 256
    """Episodes sampled at once; fewer take less memory, and give the same replies."""
    temperature: Positive = 1.0
    """Sampling temperature."""
    max_new_tokens: Count = 80
    """Longest reply, in tokens."""
    learning_rate: Positive = 3e-4
    """Peak learning rate of the model (Adam)."""
    value_learning_rate: Positive = 5e-3
    """Peak learning rate of the value head."""
    value_steps: Natural = 50
    """Steps of the value head alone on the states of an update, before the model learns; the value loss then leaves
    the model untouched. 0 trains head and model together, as the official code does."""
    adam_epsilon: Positive = 1e-8
    """Epsilon of Adam."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Learning rate after warm-up."""
    schedule_updates: Natural = 0
    """Updates that the schedule is made for, where it goes on after the last one; 0 ends it with the training."""
    final_rate: Share = 0.1
    """Share of the peak learning rate at the end of the schedule."""
    warmup: Natural = 5
    """Updates of linear warm-up."""
    value_only: Natural = 1
    """First updates that train the value head alone."""
    epochs: Count = 1
    """Passes over the episodes of an update."""
    minibatches: Count = 4
    """Optimiser steps per pass; each sees about the same number of tokens."""
    max_tokens: Count = 3_000
    """Most padded tokens in one forward and backward pass; gradients accumulate over as many as it takes."""
    max_pictures: Count = 64
    """Most pictures in such a pass."""
    clip: ShareAboveZero | None = 0.2
    """Clip range of the probability ratio; None does not clip it."""
    clip_high: Positive | None = None
    """Clip range above 1, where it is another than below."""
    ratio: Literal["token", "sequence", "geometric"] = "token"
    """One ratio per token, or one per reply: the product over its tokens, or their geometric mean."""
    weigh: Literal["ratio", "turn", "episode", "constant"] = "ratio"
    """What counts the same in the policy loss: every ratio, every turn, every episode, or every ratio with a divisor
    that does not depend on the length of replies."""
    importance_sampling_cap: Positive | None = None
    """Weigh each ratio by how likely its tokens are to the program that learns, by how likely they were to the one that
    sampled, at most this much (2, say): corrects for a sampler of another precision or make. None does not weigh."""
    rollout_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision to sample in; auto is that of the weights that learn."""
    skip_tokens: Natural = 0
    """First tokens of every reply that its ratio leaves out."""
    thought_coef: Share = 1.0
    """How often a token before the answer counts in the ratio of its reply."""
    answer_key: str = ""
    """Key of the JSON reply with which the answer begins; its last five tokens are the answer where there is none."""
    gamma: Share = 0.9
    """Discount per turn."""
    lam: Share = 0.95
    """GAE lambda per turn."""
    kl_coef: NotNegative = 0.2
    """Weight of the KL to the start model."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the KL enters: in the loss, or as log-ratio in the reward of each turn."""
    kl_estimator: Literal["k3", "k2"] = "k3"
    """KL in the loss: k3 has the gradient of KL(start || policy), k2 that of KL(policy || start)."""
    entropy_coef: NotNegative = 0.0
    """Weight of the entropy bonus."""
    value_coef: NotNegative = 0.5
    """Weight of the value loss where head and model learn together."""
    value_clip: Positive | None = None
    """Hold values within this of their old ones in the value loss, and take the larger error; None does not."""
    normalise_advantages: bool = True
    """Scale the advantages of an update to mean 0 and deviation 1."""
    advantage_epsilon: Positive = 1e-8
    """Added to the deviation that they are divided by."""
    max_grad_norm: Positive = 0.5
    """Gradient clipping (global norm over the model, and over the value head where both learn together)."""
    target_kl: Positive | None = 0.1
    """End an update early once the KL per token from the sampling policy exceeds this (nats)."""
    split: str = "train"
    """Split that the episodes come from."""
    train_parts: tuple[Part, ...] = ("tower", "projector", "decoder")
    """Parts of a vision-language model that learn; the others stay as they are."""
    lora_rank: Natural = 0
    """Above 0, adapters of this rank (LoRA) beside the linear layers of the decoder learn, and nothing else."""
    reference: Literal["device", "cpu", "disk"] = "device"
    """Where the weights of the start model are while the model learns; with adapters there are none of its own."""
    gradient_checkpointing: bool = False
    """Keep of each layer only what it was given, and compute the rest again in the backward pass: a third more
    arithmetic, and a small part of the memory."""
    bf16: bool = False
    """Matrix products of passes in bfloat16 (autocast). What learns, its gradient and the moments of Adam stay in
    float32, and replies are sampled as without it; quick on a GPU, and slow on most CPUs."""
    adam_8bit: bool = False
    """Keep the moments of Adam in 8 bits (bitsandbytes): a quarter of their memory. Matrices and vectors of fewer than
    4,096 weights keep theirs in float32, many adapters among them."""
    seed: Seed = 0
    """Seed of deals, sampling and shuffling."""
    save_every: Count = 10
    """Updates between checkpoints."""

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_parts(self)
        _check_multiple(self, "episodes", "group")


@dataclass(frozen=True)
class DistilConfig(RLConfig):
    """On-policy distillation: reinforcement learning whose advantages, or gradients, come from a teacher that scores
    what the student samples. Options that TRL's trainers of SDFT and SDPO have too are named as there, but for
    `distillation_coef`: their `distillation_weight` takes from the weight of rewards what it gives to the teacher."""

    algorithm: str = "opd"
    """How it learns; options left out take the values that make it so (ruleshift distil --help)."""
    teacher: str = "self"
    """Who scores: self, expert, a model folder or hub id, or the folder of a run of `ruleshift sft`, `rl` or `distil`,
    whose end it is then."""
    privileged_context: Privileged = "none"
    """What the teacher is shown beside the prompt: the rule that is scored (which the prompts of the built-in tasks
    state already, but for the split `fake`, where they state another one), the expert's reply, what the verifier says
    of the very reply that is scored, a right reply of another episode of the group, or that and, where there is none,
    feedback."""
    teacher_model_kind: Literal["base", "live", "ema"] = "base"
    """Weights of the teacher self: those of the start, those that learn, or their moving average."""
    teacher_update_rate: Share = 0.05
    """Share by which that average moves with every optimiser step."""
    distillation_mode: Literal["sampled_token", "full_logits"] = "sampled_token"
    """sampled_token: -(log student - log teacher) of each sampled token is its advantage. full_logits: the divergence
    of all next tokens is in the loss."""
    distillation_alpha: Share = 1.0
    """That divergence: KL(teacher || student) at 0, KL(student || teacher) at 1, Jensen-Shannon in between."""
    distillation_coef: NotNegative = 1.0
    """Weight of what the teacher says."""
    distillation_is_clip: Positive | None = None
    """Weigh each token's divergence by its ratio to the sampling policy, at most this; None does not weigh."""
    fixed_advantage: Finite | None = None
    """The control: every sampled token has this advantage (-1, say) in the place of the teacher's."""


@dataclass(frozen=True)
class Measurement:
    """What is measured at every point: the same hands for every arm and seed."""

    task: str = ""
    """Name of the task; studies put in the one that they are given."""
    splits: tuple[str, ...] = ("id", "rule-ood")
    n: Count = 400
    turns: tuple[Count, ...] = (1, 5)
    turns_along: Natural = 0
    """Most turns at points before the end of a training, and so where arms are matched; 0: as many as at its end."""
    decodings: tuple[Literal["greedy", "sampled"], ...] = ("greedy", "sampled")
    seed: Natural = 1_000
    max_new_tokens: Count = 80
    kl_problems: Count = 256
    """Problems of `id-val` on which the start model's replies (with one try each) give the KL, at first."""
    kl_most: Count = 4_096
    """Most such problems: they double until the standard error of the KL is below 5% of it, or 0.005 nats."""
    feedback: Told = "full"
    """What the verifier says of a wrong reply, in training too; none, in evaluation alone, forgets the reply."""
    profile_problems: Natural = 0
    """Problems of the first two splits of which pass@k and distinct replies are measured, with entropy, KL both ways
    and parameters moved, at the end of each training; 0 measures none of these."""
    profile_samples: Count = 64
    """First replies to each of them."""
    insight_problems: Natural = 0
    """Problems of the first two splits of which, at every point, several replies are read: copies of training replies,
    calibration, agreement, distinct answers; with how far the weights moved and turned. 0 reads none."""
    insight_samples: Count = 8
    """First replies to each of them."""
    flow_problems: Natural = 0
    """Problems on which the flow from the stated rule to the answer is measured then, too."""
    sharpness_problems: Natural = 0
    """Problems of `id-val` on whose expert's replies the sharpness of the loss is measured at every point; 0: none."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.everywhere:
            raise RuleshiftError(f"turns_along {self.turns_along} is less than every number of turns: raise it, or 0")

    @property
    def everywhere(self) -> tuple[int, ...]:
        """The numbers of turns that all points tell of, those before an end included."""
        return tuple(turns for turns in self.turns if not self.turns_along or turns <= self.turns_along)


def _check_parts(config: SFTConfig | RLConfig) -> None:
    if config.lora_rank and config.train_parts != type(config).train_parts:
        whole = {"train_parts": type(config).train_parts}
        raise MisfitError(config, "{lora_rank} trains adapters and no part of the model", [whole, {"lora_rank": 0}])


def _check_multiple(config: SFTConfig | RLConfig, whole: str, part: str, so: str = "") -> None:
    """Raise MisfitError, with the next numbers that fit, for a setting that is not a multiple of another."""
    count, size = getattr(config, whole), getattr(config, part)
    if count % size:
        smaller = next(({part: n} for n in range(size, 1, -1) if count % n == 0), None)
        remedies = [{whole: count + -count % size}, *([smaller] if smaller else [])]
        raise MisfitError(config, f"{{{whole}}} is not a multiple of {{{part}}}{so}", remedies)
