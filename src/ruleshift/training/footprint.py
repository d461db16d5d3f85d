"""How much memory tensors take, counted on tensors that have shapes and no numbers."""

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
WRITTEN = (aten.arange, aten.scalar_tensor)  # make tensors of numbers in a program
AT_PLACES = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)  # the second argument says where


class Shapes(FakeTensorMode):
    """Inside, what weights take part in has shapes and no numbers. Token ids, pixels and numbers in a program are kept,
    and so is what is calculated from them alone: shapes may depend on it. Fractions that integers take part in are not:
    no shape depends on these, and masks that are made of them are large."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind, given = function.overloadpacket, _tensors((args, kwargs))
        if kind in WRITTEN or (given and all(map(_has_numbers, given))):
            output = function(*args, **(kwargs or {}))
            if all(map(torch.is_floating_point, given)) or not any(map(torch.is_floating_point, _tensors(output))):
                return output
        if kind in AT_PLACES:
            args = (args[0], _places(args[1]), *args[2:])
        return super().__torch_dispatch__(function, types, args, kwargs)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _has_numbers(tensor: torch.Tensor) -> bool:
    return not isinstance(tensor, FakeTensor) and not tensor.is_meta


def _places(index: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """The same, with integers for masks that have numbers: how many places these mark cannot be told later."""
    places: list[torch.Tensor | None] = []
    for one in index:
        if one is not None and one.dtype == torch.bool and _has_numbers(one):
            places += one.nonzero(as_tuple=True)
        else:
            places.append(one)
    return places


def weightless(model: nn.Module, device: torch.device) -> None:
    """Move a model of the meta device to another one, whose memory it does not take: call it in a FakeTensorMode."""
    moved: dict[torch.Tensor, torch.Tensor] = {}  # weights may be tied

    def there(tensor: torch.Tensor) -> torch.Tensor:
        if tensor not in moved:
            empty = torch.empty_like(tensor, device=device)
            moved[tensor] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
        return moved[tensor]

    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                store[name] = None if tensor is None else there(tensor)  # type: ignore[assignment]


class Footprint(TorchDispatchMode):
    """Inside, the bytes of all storages that are alive, by part, and what they were at their peak.

    head: the shape of the output matrix, (V, H). A tensor whose rows have V entries is logits, if it is not that matrix
    or its gradient, turned. Where replies are sampled, one of five dimensions is a cache (`engines.cache.Columns`).
    Others belong to `part`. What kernels allocate within themselves is not seen.
    """

    def __init__(self, head: torch.Size, part: str = "activations") -> None:
        super().__init__()
        self.vocabulary, self.width, self.part = *head, part
        self.held: dict[int, tuple[Any, str, int]] = {}  # by the address of a storage: itself, its part and its bytes
        self.alive: Counter[str] = Counter()
        self.peak: Mapping[str, int] = {}  # of all parts together
        self.most: Counter[str] = Counter()  # of each part on its own

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        for tensor in _tensors(output):
            self.hold(tensor, self._part_of(tensor))
        return output

    def _part_of(self, tensor: torch.Tensor) -> str:
        if tensor.dim() == 5 and self.part == "sampler":
            return "cache"
        if tensor.dim() < 2 or tensor.shape[-1] != self.vocabulary or tensor.shape[0] == self.width:
            return self.part
        return "logits"

    def hold(self, tensor: torch.Tensor, part: str, move: bool = False) -> None:
        """Count the storage of a tensor for this part, unless it is counted; `move`: whether it was for another."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.held:
            if not move:
                return
            self._drop(key)
        self.held[key] = (weakref.ref(storage, lambda _: self._drop(key)), part, storage.nbytes())
        self.alive[part] += storage.nbytes()
        self.most[part] = max(self.most[part], self.alive[part])
        if self.alive.total() > sum(self.peak.values()):
            self.peak = +self.alive

    def _drop(self, key: int) -> None:
        _, part, size = self.held.pop(key)
        self.alive[part] -= size

    @contextmanager
    def gradients_of(self, parameters: list[nn.Parameter]) -> Iterator[None]:
        """Inside, what adds up in these is counted as gradients."""

        def found(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            self.hold(parameter.grad, "gradients", move=True)

        hooks = [parameter.register_post_accumulate_grad_hook(found) for parameter in parameters]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
