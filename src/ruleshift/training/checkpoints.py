"""Training state as safetensors: weights and optimiser moments, no pickle."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ruleshift.runs import read_tensors


def save_state(folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Write the weights of each module and the optimiser's state into `folder` (one file each)."""
    for name, module in modules.items():
        tensors = {key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}
        save_file(tensors, folder / f"{name}.safetensors")
    moments = {
        f"{index}.{key}": torch.as_tensor(value).detach().contiguous().clone()
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    save_file(moments, folder / "optimizer.safetensors")


def load_state(folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Read back what `save_state` wrote. Raises RuleshiftError for a missing or truncated file."""
    for name, module in modules.items():
        module.load_state_dict(read_tensors(folder / f"{name}.safetensors"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in read_tensors(folder / "optimizer.safetensors").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
