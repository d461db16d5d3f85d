"""Settings of the bundled backbone. No heavy imports, so that `--help` is quick."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuildConfig:
    """Shape and pretraining of the bundled text backbone.

    The first phase (`clean_steps`) shows right answers only, the second (`careless_steps`) the careless student.
    Each phase passes over a pool of its own distinct conversations, `batch` at a step.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 1
    feedforward: int = 384
    clean_steps: int = 1000
    careless_steps: int = 600
    batch: int = 128
    clean_pool: int = 128_000
    careless_pool: int = 64_000
    error_rate: float = 0.4
    learning_rate: float = 1.5e-3
    warmup: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0

    @property
    def steps(self) -> int:
        return self.clean_steps + self.careless_steps
