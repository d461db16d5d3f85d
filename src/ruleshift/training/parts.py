"""Which weights of a model learn: parts of a vision-language model, or adapters beside its decoder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from tempfile import NamedTemporaryFile
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ruleshift.backbones.lora import add_lora, has_lora, without_lora
from ruleshift.backbones.vision import FAMILIES, sees
from ruleshift.errors import RuleshiftError
from ruleshift.settings import Part, RLConfig
from ruleshift.training.sharding import exchange, here


def part_of(model: PreTrainedModel, name: str) -> Part:
    """The part that the parameter called `name` belongs to. Models of text are all decoder."""
    if sees(model):
        parts = FAMILIES[model.config.model_type]
        if name.startswith(parts.projector):  # may be within the tower
            return "projector"
        if name.startswith(parts.tower):
            return "tower"
    return "decoder"


def choose(model: PreTrainedModel, parts: Sequence[Part], lora_rank: int, seed: int) -> None:
    """Have these parts of a vision-language model learn and no others; with a `lora_rank` above 0, adapters beside the
    decoder and nothing else. A model of text learns whole.

    Raises RuleshiftError for a model with adapters, and where weights in half precision would learn: they round away
    what a step of 1e-6 changes.
    """
    if has_lora(model):
        raise RuleshiftError("the model has adapters already: save it, which makes them part of it, and load it again")
    if lora_rank:
        add_lora(model, lora_rank, seed)
    elif sees(model):
        if not parts:
            raise RuleshiftError("--train-parts names no part: nothing would learn")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(part_of(model, name) in parts)
    halves = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.requires_grad and p.itemsize < 4}
    if halves:
        raise RuleshiftError(
            f"weights in {', '.join(sorted(halves))} would round small steps away: load the model with "
            'dtype="float32", or train adapters beside it (lora_rank)'
        )


def recomputes(model: PreTrainedModel) -> bool:
    """Whether the model is of a family whose layers can be computed again."""
    return any(isinstance(module, GradientCheckpointingLayer) for module in model.modules())


def check_recompute(model: PreTrainedModel, wanted: bool) -> None:
    """Raise RuleshiftError where layers are to be computed again, and none of the model can be."""
    if wanted and not recomputes(model):
        raise RuleshiftError(
            f"--gradient-checkpointing does nothing for {type(model).__name__}, whose layers are not of the kind that "
            "transformers computes again: leave it out, and lower --max-tokens for less memory"
        )


def learns(model: PreTrainedModel, *parts: Part) -> bool:
    """Whether anything in one of these parts learns."""
    return any(p.requires_grad for name, p in model.named_parameters() if part_of(model, name) in parts)


Start = Callable[[], AbstractContextManager[None]]  # inside, a model answers as it did at the start


def start_of(model: PreTrainedModel, config: RLConfig) -> Start:
    """How `model` is made what it is now, later: without its adapters, or with a copy of what learns in it."""
    return partial(without_lora, model) if config.lora_rank else StartCopy(model, config.reference).in_place


class StartCopy:
    """The values of what learns in a model as it is now: on its device, in the memory of the CPU, or in a file that
    goes with the process, so that the device has them only while they are used."""

    def __init__(self, model: PreTrainedModel, place: Literal["device", "cpu", "disk"]) -> None:
        self.learning = [p for p in model.parameters() if p.requires_grad]
        self.file = NamedTemporaryFile(suffix=".safetensors") if place == "disk" else None  # noqa: SIM115
        self.values: list[torch.Tensor] = []
        mine = [here(p) for p in self.learning]
        if self.file is None:
            self.values = [value.to(value.device if place == "device" else "cpu", copy=True) for value in mine]
        else:
            save_file({str(i): value.contiguous() for i, value in enumerate(mine)}, self.file.name)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has these values, which must stay as they are."""
        now: list[torch.Tensor] = []
        try:
            for parameter, value in zip(self.learning, self._read(), strict=True):
                now.append(exchange(parameter, value))
            yield
        finally:
            for parameter, value in zip(self.learning, now, strict=False):
                exchange(parameter, value)

    def _read(self) -> Iterator[torch.Tensor]:
        if self.file is None:
            yield from self.values
            return
        with safe_open(self.file.name, "pt") as stored:
            for i in range(len(self.learning)):
                yield stored.get_tensor(str(i)).clone()


class LaggingCopy:
    """A second set of values for what learns in a model, which follows it."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.learning = [p for p in model.parameters() if p.requires_grad]
        self.values = nn.ParameterList([nn.Parameter(p.detach().clone(), requires_grad=False) for p in self.learning])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has these values."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for learning, value in zip(self.learning, self.values, strict=True):
            learning.data, value.data = value.data, learning.data

    @torch.no_grad()
    def follow(self, rate: float = 1.0) -> None:
        """Move by this share of the way to the model."""
        for learning, value in zip(self.learning, self.values, strict=True):
            value.lerp_(learning, rate)
