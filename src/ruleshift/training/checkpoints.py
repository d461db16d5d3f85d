"""Training state as safetensors: weights and optimiser moments, no pickle."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from ruleshift.backbones.save import save_model
from ruleshift.errors import RuleshiftError
from ruleshift.runs import read_tensors
from ruleshift.training.accounting import TokenCount
from ruleshift.training.learner import Learner
from ruleshift.training.optimizers import SHARED, fits, moments
from ruleshift.training.sharding import divided_like, load_whole

Tensors = dict[str, torch.Tensor]


def writer_of(learner: Learner) -> Callable[[Path], None]:
    """What writes everything needed to resume into a folder, as safetensors, and the model in Hugging Face format. All
    processes of a run ask for it, which puts pieces together; one of them calls it."""
    model = learner.shards.whole()
    state = learner.shards.kept(moments(learner.optimizer))

    def write(folder: Path) -> None:
        save_model(model, learner.chat.source, folder / "model")
        save_state(folder, learner.modules(model), {"optimizer": state})
        save_file(_counted(learner), folder / "tokens.safetensors")

    return write


def load_learner(folder: Path, learner: Learner) -> None:
    """Resume from what `writer_of` wrote. Raises RuleshiftError for what is missing, damaged, or of another run."""
    load_state(folder, learner.modules(), {"optimizer": learner.optimizer})
    file = folder / "tokens.safetensors"
    found = read_tensors(file)
    _check(file, found, _counted(learner))
    learner.account.tokens = TokenCount(*found["tokens"].tolist())
    learner.account.problems = int(found["problems"])
    baseline = float(found["baseline"])
    learner.baseline = None if math.isnan(baseline) else baseline


def _counted(learner: Learner) -> Tensors:
    """What a run has processed, and the mean return that it remembers (NaN: none)."""
    account, baseline = learner.account, math.nan if learner.baseline is None else learner.baseline
    return {
        "tokens": torch.tensor(astuple(account.tokens)),
        "problems": torch.tensor(account.problems),
        "baseline": torch.tensor(baseline, dtype=torch.float64),
    }


def save_state(folder: Path, modules: Mapping[str, nn.Module], states: Mapping[str, Tensors]) -> None:
    """Write the weights of each module and the `moments` of each optimiser into `folder`, a file each."""
    for name, module in modules.items():
        _save(folder, name, module.state_dict())
    for name, state in states.items():
        _save(folder, name, state)


def load_state(folder: Path, modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Read back what `save_state` wrote. Raises RuleshiftError for a missing or truncated file, and for one that holds
    something else than these modules and optimisers have, before anything is changed."""
    read = {name: read_tensors(folder / f"{name}.safetensors") for name in (*modules, *optimizers)}
    for name, module in modules.items():
        _check(folder / f"{name}.safetensors", read[name], module.state_dict())
    states = {name: _moments(folder / f"{name}.safetensors", read[name], o) for name, o in optimizers.items()}
    for name, module in modules.items():
        load_whole(module, read[name])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict({"state": states[name], "param_groups": optimizer.state_dict()["param_groups"]})


def _moments(file: Path, found: Tensors, optimizer: torch.optim.Optimizer) -> dict[int, dict[str, torch.Tensor | int]]:
    """The state of an optimiser, by the index of its parameter: numbers, and tensors of the shapes that belong to it. A
    parameter that has learned nothing yet has none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, torch.Tensor | int]] = {}
    for entry, tensor in found.items():
        index, _, key = entry.partition(".")
        if not (key and index.isdecimal() and int(index) < len(parameters)):
            raise _of_another(file, f"an entry {entry[:60]!r}")
        if not fits(parameters[int(index)], {key: tensor}):
            raise _of_another(file, f"{entry} of the shape {tuple(tensor.shape)}")
        counts = not tensor.dim() and not tensor.is_floating_point()
        value = divided_like(tensor, parameters[int(index)])
        state.setdefault(int(index), {})[key] = int(tensor) if counts else value
    keys = {frozenset(of_one) for of_one in state.values()}
    if len({of_one - SHARED for of_one in keys}) > 1 or any(of_one & SHARED not in (set(), SHARED) for of_one in keys):
        raise _of_another(file, "not the same entries for every weight")
    return state


def _check(file: Path, found: Tensors, expected: Mapping[str, torch.Tensor]) -> None:
    """Raise RuleshiftError unless these are the tensors that are expected: names, shapes and kinds of number."""
    lost, more = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if lost or more:
        told = [
            f"{len(names)} {what} ({_some(names)})" for names, what in ((lost, "missing"), (more, "others")) if names
        ]
        raise _of_another(file, f"tensors of other names: {', '.join(told)}")
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape or found[name].dtype != tensor.dtype:
            raise _of_another(file, f"{name} as {tuple(found[name].shape)} of {found[name].dtype}")


def _some(names: Iterable[str]) -> str:
    first = [name[:60] for name in names]
    return ", ".join(first[:3]) + (" ..." if len(first) > 3 else "")


def _of_another(file: Path, holds: str) -> RuleshiftError:
    return RuleshiftError(
        f"{file} is not of this run: it holds {holds}. Delete the checkpoint folder {file.parent} and run the same "
        "command again, which resumes from the checkpoint before it, or starts anew where there is none."
    )


def _save(folder: Path, name: str, values: Mapping[str, object]) -> None:
    tensors: Tensors = {}
    written: set[int] = set()
    for key, value in values.items():
        tensor = torch.as_tensor(value).detach().contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[key] = tensor.clone() if place in written else tensor  # the format refuses memory that is shared
        written.add(place)
    save_file(tensors, folder / f"{name}.safetensors")
