"""What a task brings to training and to measuring, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ruleshift.settings import Measurement, RLConfig, SFTConfig

# For a language model of 0.1 to 1 billion weights in the terse style, with adapters: what a processor does in
# hours, and a GPU in minutes.
_SMALL_SFT = SFTConfig(
    steps=100,
    examples=1_600,
    batch=16,
    micro_batch=16,
    learning_rate=1e-3,
    lora_rank=16,
    max_new_tokens=64,
    batch_size=32,
    save_every=20,
)
# Every reply answers for its own reward: what a later one earns would also pay for having failed before. The KL is
# small, and k2: where the start model is sure of a reply, k3 is now and then larger than all else in an update.
_OWN_REWARD = RLConfig(gamma=0.0, epochs=2, kl_coef=0.02, kl_estimator="k2")
_SMALL_RL = replace(
    _OWN_REWARD,
    epochs=1,  # for the hours of a CPU
    updates=20,
    episodes=32,
    batch_size=32,
    max_new_tokens=64,
    learning_rate=3e-4,
    lora_rank=16,
    warmup=2,
    save_every=4,
)

# Presets of tasks that bring none: `tiny` for a small model that knows the form of replies, `small-llm` and `gpu` as
# above, `paper` as in arXiv 2501.17161, for problems of one step.
SFT: Mapping[str, SFTConfig] = {
    "tiny": SFTConfig(),
    "paper": SFTConfig(
        steps=400,
        examples=50_000,
        batch=128,
        micro_batch=16,
        learning_rate=1e-6,
        temperature=0.2,
        max_new_tokens=512,
        save_every=50,
    ),
    "small-llm": _SMALL_SFT,
    "gpu": replace(_SMALL_SFT, steps=200, examples=12_800, batch=64, micro_batch=64, max_tokens=8_000),
}
RL: Mapping[str, RLConfig] = {
    "tiny": _OWN_REWARD,
    "paper": RLConfig(
        updates=20,
        episodes=640,
        buffer=2_048,  # 256 turns a process, 8 processes
        temperature=0.2,
        max_new_tokens=512,
        learning_rate=1e-6,
        value_learning_rate=1e-6,
        adam_epsilon=1e-7,
        schedule="cosine",
        schedule_updates=100,
        final_rate=1e-3,  # 1e-9
        warmup=0,
        value_only=0,
        epochs=4,
        minibatches=2,  # 1,024 turns an optimiser step
        max_tokens=2_048,
        clip=0.1,
        ratio="sequence",
        skip_tokens=2,
        thought_coef=0.5,
        answer_key="formula",
        kl_coef=0.0,
        value_steps=0,
        value_clip=0.1,
        advantage_epsilon=1e-5,
        max_grad_norm=0.01,
        target_kl=None,
        save_every=1,
    ),
    "small-llm": _SMALL_RL,
    "gpu": replace(_SMALL_RL, epochs=2, updates=30, episodes=256, batch_size=256, max_tokens=8_000),
}


@dataclass(frozen=True)
class Endpoint:
    """The one difference to the start model that a study of a task is decided by, named before it is run.

    An arm whose interval lies within +-`margin` keeps what the start model could do.
    """

    metric: str
    split: str
    turns: int
    decoding: str
    margin: float = 0.05


@dataclass(frozen=True)
class Recipe:
    """How a task is trained on and measured. Of the presets, studies take the one called `tiny`."""

    title: str
    """What the task is called in reports."""
    sft: Mapping[str, SFTConfig] = field(default_factory=lambda: SFT)
    """Settings of SFT, by the name of the preset."""
    rl: Mapping[str, RLConfig] = field(default_factory=lambda: RL)
    """Settings of RL, by the name of the preset."""
    measurement: Measurement | None = None
    """What a study measures; every split but `train` and `id-val` where nothing is said."""
    floors: tuple[str, ...] = ("random",)
    """Policies without any skill, which success has to be read against."""
    beside: tuple[str, ...] = ("success",)
    """Metrics that arms are compared by, beside the task's own."""
    published: str = ""
    """What the paper found on the shifted rule, in words."""
    primary: Endpoint | None = None
    """What studies claim something about; all else that they measure is exploratory."""
