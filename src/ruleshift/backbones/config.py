"""Settings of models and of the bundled backbones. No heavy imports, so that `--help` is quick."""

from dataclasses import dataclass
from pathlib import Path

from ruleshift.errors import RuleshiftError

BUNDLED = Path(__file__).parent / "bundled" / "text"
BUNDLED_VISION = BUNDLED.with_name("vision")


def check_model(name: str) -> None:
    """Raise RuleshiftError for a name that looks like a folder's and holds no model."""
    try:
        folder = Path(name)
        looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1 or folder.exists()
        is_missing = looks_like_path and not (folder / "config.json").is_file()
        is_adapter = looks_like_path and (folder / "adapter_config.json").is_file()
    except OSError as error:
        raise RuleshiftError(f"no model {name!r}: it can be no folder ({error.strerror}): check the name") from error
    if is_adapter:
        raise RuleshiftError(
            f"{name} holds an adapter: put it into its model (merge_and_unload of peft), and save that as a whole"
        )
    if is_missing:
        raise RuleshiftError(f"no model at {name}: a folder with config.json and model.safetensors is expected")


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

    width: int = 128
    """Size of a token's vector."""
    layers: int = 4
    """Layers."""
    heads: int = 4
    """Attention heads."""
    key_value_heads: int = 1
    """Heads of keys and values, which attention heads share."""
    feedforward: int = 384
    """Width of the feed-forward part of a layer."""
    echo_steps: int = 200
    """Steps of the first phase, which teaches to copy."""
    clean_steps: int = 1000
    """Steps of the second phase, which shows right answers only."""
    careless_steps: int = 500
    """Steps of the third phase, which shows careless answers."""
    batch: int = 128
    """Conversations a step."""
    walk_share: float = 0.15
    """Share of walks in the second and third phase; the others are card problems."""
    learning_rate: float = 4e-3
    """Peak learning rate of the layers' matrices (Muon)."""
    embedding_learning_rate: float = 2e-3
    """Peak learning rate of everything else (AdamW)."""
    warmup: int = 100
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Weight decay of matrices and embeddings."""
    max_grad_norm: float = 1.0
    """Gradient clipping (global norm)."""
    seed: int = 0
    """Seed of the weights and of the data."""

    @property
    def steps(self) -> int:
        return self.echo_steps + self.clean_steps + self.careless_steps


@dataclass(frozen=True)
class VisionBuildConfig:
    """Shape and pretraining of the bundled vision-language backbone: a vision tower before a copy of the bundled text
    backbone, trained together. Every conversation is shown once."""

    width: int = 96
    """Size of a patch's vector in the tower."""
    layers: int = 3
    """Layers of the tower."""
    heads: int = 3
    """Attention heads of the tower."""
    feedforward: int = 288
    """Width of the feed-forward part of a layer of the tower."""
    picture: int = 192
    """Pixels a side of a picture."""
    patch: int = 16
    """Pixels a side of the patches that the tower cuts a picture into."""
    merged: int = 3
    """Patches a side of the squares that become one token of the decoder."""
    clean_steps: int = 1000
    """Steps of the first phase, which shows right answers only."""
    careless_steps: int = 500
    """Steps of the second phase, which shows careless answers."""
    batch: int = 24
    """Conversations a step."""
    walk_share: float = 0.17
    """Share of walks; the others are card problems."""
    learning_rate: float = 4e-3
    """Peak learning rate of matrices (Muon)."""
    embedding_learning_rate: float = 2e-3
    """Peak learning rate of everything else (AdamW)."""
    decoder_share: float = 0.5
    """Share of these rates at which the decoder moves, which has learned already."""
    warmup: int = 50
    """Steps of linear warm-up."""
    weight_decay: float = 0.01
    """Weight decay of matrices and embeddings."""
    max_grad_norm: float = 1.0
    """Gradient clipping (global norm)."""
    seed: int = 0
    """Seed of the tower's weights and of the data."""

    @property
    def steps(self) -> int:
        return self.clean_steps + self.careless_steps
