"""LoRA through peft: small matrices beside the linear layers of a decoder learn, and the model itself stays as it is.

Source: Hu et al. (arXiv 2106.09685). The adapters are put into the model in place, so that it keeps its class.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCALE = 2  # of what an adapter adds (lora_alpha / rank)


def add_lora(model: "PreTrainedModel", rank: int, seed: int) -> None:
    """Freeze `model` and put an adapter of this rank beside every linear layer of its decoder, the output head left
    out. An adapter starts by adding nothing; half of it is random, drawn from `seed`. It is in float32, whatever the
    model is in."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RuleshiftError("--lora-rank needs peft: pip install 'ruleshift[lora]'") from error
    decoder: Any = model.get_decoder()
    inside = {id(module) for module in decoder.modules() if isinstance(module, nn.Linear)}
    names = [name for name, module in model.named_modules() if id(module) in inside]
    if not names:
        raise RuleshiftError(
            f"{type(model).__name__} has no linear layers to put adapters beside: leave --lora-rank out"
        )
    model.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=names), model)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()


def has_lora(model: nn.Module) -> bool:
    return any(".lora_A." in name for name, _ in model.named_parameters())


@contextmanager
def without_lora(model: nn.Module) -> Iterator[None]:
    """Inside, the model answers as it did before `add_lora`."""
    layers = adapted_layers(model)
    for _, layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for _, layer in layers:
            layer.enable_adapters(True)


def merged_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a model of the same class without adapters that answers as this one does with them."""
    return merged_tensors(model.state_dict())


def merged_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same of the state of a model with adapters (its `state_dict`): weight + SCALE * B A. These are in float32, in
    the memory of the CPU, whatever the weight is in: half precision would round most of what adapters add away. Others
    stay as they are."""
    merged = {n.replace(".base_layer.", "."): weight for n, weight in tensors.items() if ".lora_" not in n}
    for name, down in tensors.items():
        layer, found, adapter = name.partition(".lora_A.")
        if found:
            parts = merged[f"{layer}.weight"], tensors[f"{layer}.lora_B.{adapter}"], down
            whole, up, down = (part.to("cpu", torch.float32) for part in parts)
            merged[f"{layer}.weight"] = whole + SCALE * (up @ down)
    return merged


def adapted_layers(model: nn.Module) -> list[tuple[str, Any]]:
    """Names of the layers that have adapters, and the layers (peft's)."""
    from peft.tuners.lora import LoraLayer

    return [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
