"""A model in pieces: FSDP2 divides its weights, their gradients and Adam's moments over the processes of a run.

A layer of the decoder is whole while it computes; what is beside the layers (embeddings, output matrix, what sees) is
whole during a pass and its gradient. Putting pieces together takes all processes, so that each makes as many passes as
every other. All else knows of whole tensors alone: they are what samples, and what a checkpoint holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ruleshift.backbones.lora import has_lora
from ruleshift.backbones.vision import looks_across, sees
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.training.processes import Processes
from ruleshift.training.sft_losses import LAGGING
from ruleshift.training.zero import Zero, check_zero

Result = TypeVar("Result")
State = dict[Any, Any]
CPU = torch.device("cpu")


def check_sharding(config: SFTConfig | RLConfig) -> None:
    """Raise RuleshiftError for settings that need weights or gradients as a whole."""
    needs = instead = ""
    if config.adam_8bit:
        needs, instead = "--adam-8bit", "leave it out"
    if not config.lora_rank and "decoder" not in config.train_parts:  # no gradient would pass it where none is seen
        needs, instead = f"--train-parts {' '.join(config.train_parts)}", "add decoder to it"
    if isinstance(config, SFTConfig) and config.loss in LAGGING:
        needs, instead = f"--loss {config.loss}", "leave it out"
    if isinstance(config, RLConfig) and config.sft_mix == "noise":
        needs, instead = "--sft-mix noise", "leave it out"
    if isinstance(config, DistilConfig) and config.teacher == "self" and config.fixed_advantage is None:
        needs, instead = "--teacher self", "name another --teacher"
    if needs:
        raise RuleshiftError(f"{needs} is not for weights in pieces: {instead}, or leave --shard out")


def check_divisible(model: PreTrainedModel) -> None:
    """Raise RuleshiftError for a model that cannot be divided, or not by this version of torch."""
    if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
        raise RuleshiftError("--shard needs PyTorch 2.13 or newer: upgrade torch, or leave --shard out")
    if sees(model) and looks_across(model):
        raise RuleshiftError(
            f"{type(model).__name__} has layers that only pictures pass through, and is not for weights in pieces: "
            "leave --shard out"
        )


def full(tensor: torch.Tensor) -> torch.Tensor:
    """It as a whole, in every process; all processes ask for it at once."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def here(tensor: torch.Tensor) -> torch.Tensor:
    """What this process has of it, in the same memory."""
    mine: torch.Tensor = tensor.detach()
    return mine.to_local() if isinstance(mine, DTensor) else mine


def exchange(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give a weight another value (what this process has of it), and return the one that it had. Pieces stay in their
    memory, which FSDP reads."""
    if not isinstance(weight, DTensor):
        before, weight.data = weight.data, value.to(weight.device)
        return before
    mine = here(weight)
    before = mine.clone()
    mine.copy_(value)
    return before


def divided_like(whole: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A tensor that every process has, in pieces where `other` of the same shape is."""
    if not isinstance(other, DTensor) or whole.shape != other.shape:
        return whole
    placed = distribute_tensor(whole.to(other.device), other.device_mesh, other.placements, src_data_rank=None)
    return placed.clone()  # without the memory of the whole


def load_whole(module: nn.Module, tensors: Mapping[str, torch.Tensor], strict: bool = True) -> Any:
    """What `load_state_dict` does, for a module some of whose tensors may be in pieces."""
    own = module.state_dict()
    divided = {name: divided_like(tensor, own[name]) if name in own else tensor for name, tensor in tensors.items()}
    return module.load_state_dict(divided, strict=strict)


def clip_gradients(weights: Sequence[torch.Tensor], most: float) -> float:
    """Scale the gradients of these weights, some of which may be in pieces, so that the norm of all together is `most`
    at most. Returns the norm before."""
    kinds: dict[bool, list[torch.Tensor]] = {}
    for weight in weights:
        if weight.grad is not None:
            kinds.setdefault(isinstance(weight, DTensor), []).append(weight)
    norms = [full(get_total_norm([weight.grad for weight in kind])) for kind in kinds.values()]  # type: ignore[misc]
    norm = norms[0] if len(norms) == 1 else torch.tensor(norms).norm()
    for kind in kinds.values():
        clip_grads_with_norm_(kind, most, norm)
    return float(norm)


class _Pass(nn.Module):
    """Its forward pass is any work with the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[], Result]) -> Result:
        return work()


@dataclass(frozen=True)
class Shards:
    """A model as the processes of a run hold it: whole in each, or in pieces, when `blank` is a copy without weights.
    Where others take part in its passes (FSDP2, or DeepSpeed), these go through `root`."""

    model: PreTrainedModel
    processes: Processes
    root: nn.Module | None = None
    blank: PreTrainedModel | None = None

    @classmethod
    def of(
        cls, model: PreTrainedModel, config: SFTConfig | RLConfig, processes: Processes, mean: bool = False
    ) -> "Shards":
        """Divide `model` in place where that is asked for. Gradients of the processes are then added up, or their mean
        is taken. Raises RuleshiftError for what cannot be divided."""
        if processes.zero is not None:
            check_zero(config, processes.zero, model)
            times = 1 if mean else processes.world  # the mean that DeepSpeed takes, or the sum
            return cls(model, processes, Zero(model, processes.zero, times, processes.main))
        if not processes.shard:
            return cls(model, processes)
        check_sharding(config)
        check_divisible(model)
        meta = {id(p): nn.Parameter(p.to("meta"), requires_grad=p.requires_grad) for p in model.parameters()}
        blank = deepcopy(model, dict[int, Any](meta))
        mesh = init_device_mesh(model.device.type, (processes.world,))
        decoder: nn.Module = model.get_decoder()
        for layer in [module for module in decoder.modules() if isinstance(module, GradientCheckpointingLayer)]:
            fully_shard(layer, mesh=mesh)
        root: Any = fully_shard(_Pass(model), mesh=mesh, reshard_after_forward=True)
        root.set_reduce_scatter_unused_params(True)  # one of what sees, where the pass of another process sees nothing
        for module in root.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(float(processes.world) if mean else 1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
        return cls(model, processes, root, blank)

    def run(self, work: Callable[[], Result]) -> Result:
        """`work()`, which makes passes of the model; as many in every process."""
        if self.root is None:
            return work()
        result: Result = self.root(work)
        return result

    def passes(self, count: Callable[[Sequence[int]], int], items: int) -> int:
        """How many passes every process makes at least, where a share of so many items takes one `count`."""
        return 0 if self.root is None else max(map(count, self.processes.shares(range(items))))

    def adopt(
        self, optimizer: torch.optim.Optimizer, weights: Sequence[nn.Parameter], most: float
    ) -> torch.optim.Optimizer:
        """What steps on these weights, and on all else that `optimizer` does: itself, unless DeepSpeed does."""
        return self.root.adopt(optimizer, weights, most) if isinstance(self.root, Zero) else optimizer

    def share_gradients(self, weights: Sequence[nn.Parameter], mean: bool = False) -> None:
        """Have each process hold the sum (or mean) of all gradients of weights of the model, unless DeepSpeed does."""
        if not isinstance(self.root, Zero):
            self.processes.share_gradients(weights, mean)

    def clip(self, weights: Sequence[nn.Parameter], most: float) -> float:
        """Scale gradients so that the norm of all together is `most` at most, and return the norm before. Where
        DeepSpeed does that it makes its step, too."""
        return self.root.step() if isinstance(self.root, Zero) else clip_gradients(weights, most)

    @contextmanager
    def sampler(self, dtype: torch.dtype | None = None) -> Iterator[PreTrainedModel]:
        """A model that answers as this one does now: itself, or a whole copy, which is gone afterwards; in this
        precision, unless there are adapters, which are merged before anything is rounded."""
        if self.blank is None:
            yield self.model
            return
        copy = self._whole(self.model.device, None if has_lora(self.model) else dtype)
        try:
            yield copy
        finally:
            copy.to("meta")  # type: ignore[arg-type]

    def whole(self) -> PreTrainedModel:
        """For the process that writes: the model itself, or a whole copy on the CPU. All processes ask for it at once;
        the others get their own model."""
        return self.model if self.blank is None else self._whole(CPU, keep=self.processes.main)

    def kept(self, state: State) -> State:
        """The same for a record whose values are tensors, records, or anything else."""
        return state if self.blank is None else {name: self._kept(value) for name, value in state.items()}

    def _kept(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.kept(value)
        if not isinstance(value, DTensor):
            return value
        whole = full(value)
        return whole.to(CPU) if self.processes.main else value

    @torch.no_grad()
    def _whole(self, device: torch.device, dtype: torch.dtype | None = None, keep: bool = True) -> PreTrainedModel:
        known: dict[int, Any] = {}
        assert self.blank is not None
        for blank, piece in zip(self.blank.parameters(), self.model.parameters(), strict=True):
            kind = dtype if dtype is not None and piece.is_floating_point() else piece.dtype
            whole = full(piece.to(kind))
            if keep:
                known[id(blank)] = nn.Parameter(whole.to(device), requires_grad=piece.requires_grad)
        return deepcopy(self.blank, known) if keep else self.model
