"""Training state as safetensors: weights and optimiser moments, no pickle."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ruleshift.runs import read_tensors


def save_state(folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Write the weights of each module and the state of each optimiser into `folder`, a file each."""
    for name, module in modules.items():
        _save(folder, name, module.state_dict())
    for name, optimizer in optimizers.items():
        states = optimizer.state_dict()["state"].items()
        _save(folder, name, {f"{index}.{key}": value for index, state in states for key, value in state.items()})


def load_state(folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Read back what `save_state` wrote. Raises RuleshiftError for a missing or truncated file."""
    for name, module in modules.items():
        module.load_state_dict(read_tensors(folder / f"{name}.safetensors"))
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, torch.Tensor]] = {}
        for entry, tensor in read_tensors(folder / f"{name}.safetensors").items():
            index, key = entry.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _save(folder: Path, name: str, values: Mapping[str, object]) -> None:
    tensors = {key: torch.as_tensor(value).detach().contiguous().clone() for key, value in values.items()}
    save_file(tensors, folder / f"{name}.safetensors")
