"""Settings of models and of the bundled backbones, with bounds. No heavy imports, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ruleshift.bounds import Count, Natural, NotNegative, Positive, Seed, Share, check_bounds
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.protocol import Style

MERGED = "ruleshift_merged"  # in config.json: adapters were merged into the weights, which stay in float32

BUNDLED = Path(__file__).parent / "bundled" / "text"
BUNDLED_VISION = BUNDLED.with_name("vision")
NAMED = ("bundled", "smollm2")
INSIDERS = ("expert", "random", "blind")  # answer without a model
API = "api:"  # before the name of a model behind a server
AnyStyle = Literal["auto", Style]


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded and spoken to."""

    chat_template: str | None = None
    """Chat template in place of the model's own: a file, or plain (User: ... Assistant: ...), for base models."""
    system: str | None = None
    """System message before every conversation."""
    trust_remote_code: bool = False
    """Run the code that comes with the model, if it brings some: only for models whose authors you trust."""


@dataclass(frozen=True)
class BuildConfig:
    """Shape and pretraining of the bundled text backbone. Every conversation is shown once."""

    width: Count = 128
    """Size of a token's vector."""
    layers: Count = 6
    """Layers."""
    heads: Count = 4
    """Attention heads."""
    key_value_heads: Count = 1
    """Heads of keys and values, which attention heads share."""
    feedforward: Count = 256
    """Width of the feed-forward part of a layer."""
    echo_steps: Natural = 200
    """Steps of the first phase, which teaches to copy."""
    first_steps: Natural = 4600
    """Steps of the second phase, of first tries at cards and walks."""
    retry_steps: Natural = 2000
    """Steps of the third phase, in which failed tries and feedback come before some right ones. Optimisers start
    anew."""
    retry_share: Share = 0.6
    """Share of its conversations in which failed tries may come first."""
    batch: Count = 128
    """Conversations a step."""
    walk_share: Share = 0.1
    """Share of walks in the second and third phase; the others are card problems."""
    learning_rate: Positive = 4e-3
    """Peak learning rate of the layers' matrices (Muon)."""
    embedding_learning_rate: Positive = 2e-3
    """Peak learning rate of everything else (AdamW)."""
    warmup: Natural = 100
    """Steps of linear warm-up."""
    weight_decay: NotNegative = 0.01
    """Weight decay of matrices and embeddings."""
    max_grad_norm: Positive = 1.0
    """Gradient clipping (global norm)."""
    bf16: bool = True
    """Matrix products in bfloat16 (autocast); faster where the processor has instructions for it. Weights and optimiser
    states are float32 in any case."""
    seed: Seed = 0
    """Seed of the weights and of the data."""

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_multiple("--width", self.width, "twice --heads", 2 * self.heads)  # positions turn pairs of numbers
        _check_multiple("--heads", self.heads, "--key-value-heads", self.key_value_heads)

    @property
    def steps(self) -> int:
        return self.retries_from + self.retry_steps

    @property
    def retries_from(self) -> int:
        """Steps before the first failed try."""
        return self.echo_steps + self.first_steps


@dataclass(frozen=True)
class VisionBuildConfig:
    """Shape and pretraining of the bundled vision-language backbone: a vision tower before a copy of the bundled text
    backbone, trained together. Every conversation is shown once."""

    width: Count = 96
    """Size of a patch's vector in the tower."""
    layers: Count = 3
    """Layers of the tower."""
    heads: Count = 3
    """Attention heads of the tower."""
    feedforward: Count = 288
    """Width of the feed-forward part of a layer of the tower."""
    picture: Count = 192
    """Pixels a side of a picture."""
    patch: Count = 16
    """Pixels a side of the patches that the tower cuts a picture into."""
    merged: Count = 3
    """Patches a side of the squares that become one token of the decoder."""
    first_steps: Natural = 2000
    """Steps of the first phase, of first tries."""
    retry_steps: Natural = 1000
    """Steps of the second phase, in which failed tries and feedback come before some right ones. Optimisers start
    anew."""
    batch: Count = 24
    """Conversations a step."""
    walk_share: Share = 0.17
    """Share of walks; the others are card problems."""
    learning_rate: Positive = 4e-3
    """Peak learning rate of matrices (Muon)."""
    embedding_learning_rate: Positive = 2e-3
    """Peak learning rate of everything else (AdamW)."""
    decoder_share: Share = 0.25
    """Share of these rates at which the decoder moves, which has learned already."""
    warmup: Natural = 50
    """Steps of linear warm-up."""
    weight_decay: NotNegative = 0.01
    """Weight decay of matrices and embeddings."""
    max_grad_norm: Positive = 1.0
    """Gradient clipping (global norm)."""
    bf16: bool = True
    """Matrix products in bfloat16 (autocast); faster where the processor has instructions for it. Weights and optimiser
    states are float32 in any case."""
    seed: Seed = 0
    """Seed of the tower's weights and of the data."""

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_multiple("--width", self.width, "--heads", self.heads)
        _check_multiple("--picture", self.picture, "--patch times --merged", self.patch * self.merged)

    @property
    def steps(self) -> int:
        return self.retries_from + self.retry_steps

    @property
    def retries_from(self) -> int:
        """Steps before the first failed try."""
        return self.first_steps


def _check_multiple(option: str, value: int, what: str, divisor: int) -> None:
    if value % divisor:
        raise RuleshiftError(f"{option} {value} is not a multiple of {what} ({divisor}): change either")
