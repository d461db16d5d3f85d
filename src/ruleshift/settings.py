"""Settings of training and of measurement, with their presets. No heavy imports, so that `--help` is quick."""

from dataclasses import dataclass, replace
from typing import Literal

from ruleshift.errors import RuleshiftError

Part = Literal["tower", "projector", "decoder"]


@dataclass(frozen=True)
class SFTConfig:
    """SFT on expert data."""

    # The defaults are the preset `tiny` of gp-l.
    steps: int = 400
    """Optimiser steps."""
    examples: int = 20_000
    """Distinct expert conversations; steps beyond them start another epoch."""
    batch: int = 64
    """Conversations an optimiser step."""
    micro_batch: int = 64
    """Conversations in one pass; gradients accumulate up to `batch`."""
    learning_rate: float = 3e-4
    """Peak learning rate (AdamW)."""
    schedule: str = "cosine"
    """Learning rate schedule, a name of transformers.SchedulerType."""
    warmup_share: float = 0.03
    """Share of the steps spent on linear warm-up."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: float = 1.0
    """Gradient clipping (global norm)."""
    split: str = "train"
    """Split that the examples come from."""
    train_parts: tuple[Part, ...] = ("tower", "projector", "decoder")
    """Parts of a vision-language model that learn; the others stay as they are."""
    lora_rank: int = 0
    """Above 0, adapters of this rank (LoRA) beside the linear layers of the decoder learn, and nothing else."""
    seed: int = 0
    """Seed of deals and shuffling."""
    save_every: int = 100
    """Steps between checkpoints."""


_GP_SFT = {
    "tiny": SFTConfig(),
    "paper": SFTConfig(steps=400, examples=50_000, batch=128, micro_batch=16, learning_rate=1e-6, save_every=50),
}
_VIRL_SFT = {
    "tiny": SFTConfig(steps=200, examples=1_000, batch=32, micro_batch=8, learning_rate=1e-3),
    "paper": SFTConfig(steps=25, examples=1_000, batch=128, micro_batch=16, learning_rate=1e-6, save_every=5),
}


def _seeing(presets: dict[str, SFTConfig], tiny: SFTConfig) -> dict[str, SFTConfig]:
    """The presets of a task in text for the same task in pictures: the paper halves the learning rate."""
    return {"tiny": tiny, "paper": replace(presets["paper"], learning_rate=5e-7)}


_GP_SEEN = replace(_GP_SFT["tiny"], steps=200, micro_batch=32, learning_rate=1e-3)
# A walk holds a dozen pictures.
_VIRL_SEEN = replace(_VIRL_SFT["tiny"], steps=60, batch=16, learning_rate=3e-4)

# By task, then by name of the preset.
SFT_PRESETS: dict[str, dict[str, SFTConfig]] = {
    "gp-l": _GP_SFT,
    "gp-vl": _seeing(_GP_SFT, _GP_SEEN),
    "virl-l": _VIRL_SFT,
    "virl-vl": _seeing(_VIRL_SFT, _VIRL_SEEN),
}


@dataclass(frozen=True)
class RLConfig:
    """Multi-turn reinforcement learning. Raises RuleshiftError for episodes that make no whole groups."""

    # The defaults are the preset `tiny` of gp-l.
    algorithm: str = "ppo"
    """How it learns; where this is named, options left out take the values that make it so (ruleshift rl --help)."""
    updates: int = 30
    """Updates; each collects `episodes` and learns from them."""
    episodes: int = 128
    """Episodes collected for an update."""
    group: int = 1
    """Episodes about the same problem, each with draws of its own; a divisor of `episodes`."""
    turns: int = 5
    """Verification budget: most replies to a card problem, or at a position of a route."""
    batch_size: int = 256
    """Episodes sampled at once; fewer take less memory, and give the same replies."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_new_tokens: int = 36
    """Longest reply, in tokens."""
    learning_rate: float = 3e-4
    """Peak learning rate of the model (Adam)."""
    value_learning_rate: float = 5e-3
    """Peak learning rate of the value head."""
    value_steps: int = 50
    """Steps of the value head alone on the states of an update, before the model learns; the value loss then leaves
    the model untouched. 0 trains head and model together, as the official code does."""
    adam_epsilon: float = 1e-8
    """Epsilon of Adam."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Learning rate after warm-up."""
    final_rate: float = 0.1
    """Share of the peak learning rate at the end of the schedule."""
    warmup: int = 5
    """Updates of linear warm-up."""
    value_only: int = 1
    """First updates that train the value head alone."""
    epochs: int = 1
    """Passes over the episodes of an update."""
    minibatches: int = 4
    """Optimiser steps per pass; each sees about the same number of tokens."""
    max_tokens: int = 3_000
    """Most padded tokens in one forward and backward pass; gradients accumulate over as many as it takes."""
    max_pictures: int = 64
    """Most pictures in such a pass."""
    clip: float | None = 0.2
    """Clip range of the probability ratio; None does not clip it."""
    ratio: Literal["token", "sequence"] = "token"
    """One ratio per token, or one per reply."""
    weigh: Literal["ratio", "turn", "episode"] = "ratio"
    """What counts the same in the policy loss: every ratio, every turn, or every episode."""
    gamma: float = 0.9
    """Discount per turn."""
    lam: float = 0.95
    """GAE lambda per turn."""
    kl_coef: float = 0.2
    """Weight of the KL to the start model."""
    kl_in: Literal["loss", "reward"] = "loss"
    """Where the KL enters: as k3 in the loss, or as log-ratio in the reward of each turn."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    value_coef: float = 0.5
    """Weight of the value loss where head and model learn together."""
    normalise_advantages: bool = True
    """Scale the advantages of an update to mean 0 and deviation 1."""
    max_grad_norm: float = 0.5
    """Gradient clipping (global norm of the model's gradient)."""
    target_kl: float | None = 0.1
    """End an update early once the KL per token from the sampling policy exceeds this (nats)."""
    split: str = "train"
    """Split that the episodes come from."""
    train_parts: tuple[Part, ...] = ("tower", "projector", "decoder")
    """Parts of a vision-language model that learn; the others stay as they are."""
    lora_rank: int = 0
    """Above 0, adapters of this rank (LoRA) beside the linear layers of the decoder learn, and nothing else."""
    seed: int = 0
    """Seed of deals, sampling and shuffling."""
    save_every: int = 10
    """Updates between checkpoints."""

    def __post_init__(self) -> None:
        if self.group < 1 or self.episodes % self.group:
            raise RuleshiftError(f"--episodes {self.episodes} is not a multiple of --group {self.group}: change either")


_PAPER = RLConfig(
    updates=20,
    episodes=512,  # about 256 turns a process, 8 processes, 4 turns an episode
    temperature=0.2,
    max_new_tokens=512,
    learning_rate=1e-6,
    value_learning_rate=1e-6,
    adam_epsilon=1e-7,
    schedule="cosine",
    final_rate=1e-3,
    warmup=0,
    value_only=0,
    epochs=4,
    minibatches=16,  # 2,048 turns at 128 turns an optimiser step
    max_tokens=2_048,
    clip=0.1,
    ratio="sequence",
    kl_coef=0.0,
    value_steps=0,
    normalise_advantages=False,
    max_grad_norm=0.01,
    target_kl=None,
    save_every=1,
)
_GP_PPO = {"tiny": RLConfig(), "paper": _PAPER}
_VIRL_PPO = {
    "tiny": RLConfig(episodes=96, turns=2, max_new_tokens=24, value_only=2),
    "paper": replace(_PAPER, turns=2, episodes=320),  # about 512 turns a process, 8 processes, 13 turns a route
}
_VIRL_SEEN_PPO = replace(_VIRL_PPO["tiny"], updates=36, episodes=64, learning_rate=1e-4, warmup=3, save_every=6)
# By task, then by name of the preset.
PPO_PRESETS: dict[str, dict[str, RLConfig]] = {
    "gp-l": _GP_PPO,
    "gp-vl": {**_GP_PPO, "tiny": replace(_GP_PPO["tiny"], updates=20)},
    "virl-l": _VIRL_PPO,
    "virl-vl": {**_VIRL_PPO, "tiny": _VIRL_SEEN_PPO},
}


@dataclass(frozen=True)
class Measurement:
    """What is measured at every point: the same hands for every arm and seed."""

    task: str = "gp-l"
    splits: tuple[str, ...] = ("id", "rule-ood", "heldout", "fake")
    n: int = 400
    turns: tuple[int, ...] = (1, 5)
    decodings: tuple[Literal["greedy", "sampled"], ...] = ("greedy", "sampled")
    seed: int = 1_000
    max_new_tokens: int = 36
    kl_problems: int = 256
    """Problems of `id-val` on which the start model's replies (with one try each) give the KL."""


# What a study of each task measures.
MEASUREMENTS = {
    "gp-vl": Measurement("gp-vl", ("id", "rule-ood", "visual-ood"), n=300, kl_problems=128),
    "virl-vl": Measurement(
        "virl-vl",
        ("id", "rule-ood", "visual-ood", "city-ood", "mini"),
        n=100,
        turns=(1, 2),
        max_new_tokens=24,
        kl_problems=24,
    ),
    "gp-l": Measurement(),
    "virl-l": Measurement(
        "virl-l", ("id", "rule-ood", "city-ood", "fake"), n=200, turns=(1, 2), max_new_tokens=24, kl_problems=48
    ),
}
