"""Settings of the bundled backbones. No heavy imports, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path

BUNDLED = Path(__file__).parent / "bundled" / "text"
BUNDLED_VISION = BUNDLED.with_name("vision")


@dataclass(frozen=True)
class BuildConfig:
    """Shape and pretraining of the bundled text backbone.

    The first phase (`echo_steps`) teaches to copy, the second (`clean_steps`) shows right answers only, the third
    (`careless_steps`) careless ones. Every conversation is shown once, `batch` at a step; in the second and third phase
    `walk_share` of them are walks, the others card problems. `learning_rate` is that of the layers' matrices (Muon),
    `embedding_learning_rate` that of everything else (AdamW).
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 1
    feedforward: int = 384
    echo_steps: int = 200
    clean_steps: int = 1000
    careless_steps: int = 500
    batch: int = 128
    walk_share: float = 0.15
    learning_rate: float = 4e-3
    embedding_learning_rate: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.echo_steps + self.clean_steps + self.careless_steps


@dataclass(frozen=True)
class VisionBuildConfig:
    """Shape and pretraining of the bundled vision-language backbone: a vision tower before a copy of the bundled text
    backbone, trained together.

    The tower cuts a picture of `picture` pixels a side into patches of `patch`; `merged` times `merged` of them become
    one token of the decoder. The first phase (`clean_steps`) shows right answers only, the second (`careless_steps`)
    careless ones. Every conversation is shown once, `batch` at a step; `walk_share` of them are walks, the others card
    problems. `learning_rate` is that of matrices (Muon), `embedding_learning_rate` that of everything else (AdamW); the
    decoder, which has learned already, moves at `decoder_share` of them.
    """

    width: int = 96
    layers: int = 3
    heads: int = 3
    feedforward: int = 288
    picture: int = 192
    patch: int = 16
    merged: int = 3
    clean_steps: int = 1000
    careless_steps: int = 500
    batch: int = 24
    walk_share: float = 0.17
    learning_rate: float = 4e-3
    embedding_learning_rate: float = 2e-3
    decoder_share: float = 0.5
    warmup: int = 50
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.clean_steps + self.careless_steps
