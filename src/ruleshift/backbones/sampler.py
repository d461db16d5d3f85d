"""The model that samples, where it is not the very one that learns: adapters merged, or in another precision."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ruleshift.backbones.lora import adapted_layers, has_lora


def sampler_of(model: PreTrainedModel, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A model that answers as this one does now, to read and not to train: `model` itself where it would be no other,
    else a copy that shares all weights which are the same.

    Adapters beside float32 weights are merged into a copy of these: sampling is then as quick as without adapters, and
    the weights that learn are never touched, so that nothing drifts. Beside weights of less precision they stay
    apart: these lie on a coarse grid, and a merged weight would be rounded back to where it was. dtype: of the weights
    of the copy, rounded after merging; buffers stay as they are, as `from_pretrained` has them.
    """
    kind = model.dtype if dtype is None else dtype
    adapters = [layer for _, layer in adapted_layers(model)] if has_lora(model) and model.dtype == torch.float32 else []
    if not adapters and kind == model.dtype:
        return model
    known: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    if kind != model.dtype:
        known |= {id(weight): _frozen(weight.to(kind)) for weight in model.parameters() if weight.is_floating_point()}
    for layer in adapters:
        whole = layer.base_layer.weight
        if not layer.disable_adapters:
            whole = whole + layer.get_delta_weight(*layer.active_adapters)
        known[id(layer)] = deepcopy(layer.base_layer, known | {id(layer.base_layer.weight): _frozen(whole.to(kind))})
    return deepcopy(model, known).eval()


def _frozen(weight: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)
