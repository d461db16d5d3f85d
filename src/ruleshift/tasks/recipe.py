"""What a task brings to training and to measuring, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ruleshift.settings import Measurement, RLConfig, SFTConfig

# Presets of tasks that bring none: `tiny` for a small model that knows the form of replies, `paper` as in
# arXiv 2501.17161 for problems of one step.
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
}
RL: Mapping[str, RLConfig] = {
    "tiny": RLConfig(),
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
