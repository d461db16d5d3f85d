"""The processes of one run, as `accelerate launch` or torchrun start them, and what they have to say to each other.

Every process knows all episodes of an update, and does the same sums with them. What takes long is shared out:
sampling, and passes over conversations, whose gradients are added up. So a run has the numbers that it has in one
process, but for the order in which floats are added, and a checkpoint says nothing of how many there were.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from ruleshift.errors import RuleshiftError
from ruleshift.launched import launched
from ruleshift.runs import FollowedFolder, RunFolder
from ruleshift.training.zero import ASKED, asked_for, read_settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PATIENCE = timedelta(hours=6)  # with a process that is busy; one that ends is noticed at once, by the launcher
BUCKET = 2**25  # numbers that are added up together
FSDP = "ACCELERATE_USE_FSDP"  # the launcher's variable
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this one is. One alone does everything itself, and waits for nobody."""

    rank: int = 0
    world: int = 1
    talk: Any = None  # the group in which objects are exchanged, on the CPU
    shard: bool = False  # whether models that learn are divided among them (see `sharding`)
    zero: Mapping[str, Any] | None = None  # how DeepSpeed divides what an optimiser remembers (see `zero`)

    @property
    def main(self) -> bool:
        """Whether this is the one that writes and shows."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those of the items that are this process's own: every `world`-th."""
        return items if self.world == 1 else self.shares(items)[self.rank]

    def shares(self, items: Sequence[Item]) -> list[Sequence[Item]]:
        """Those of each process."""
        return [items[rank :: self.world] for rank in range(self.world)]

    def gather(self, mine: Item) -> list[Item]:
        """What every process has, in their order; tensors in it stand on the CPU."""
        if self.world == 1:
            return [mine]
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, mine, group=self.talk)
        return parts

    def spread(self, work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
        """The results of `work`, one for each item, in order: every process works on its share. All raise the
        RuleshiftError that one of them meets."""
        if self.world == 1:
            return work(items)
        try:
            mine: list[Result] | RuleshiftError = work(self.share(items))
        except RuleshiftError as error:
            mine = error
        parts = []
        for part in self.gather(mine):
            if isinstance(part, RuleshiftError):
                raise part
            parts.append(part)
        return [parts[i % self.world][i // self.world] for i in range(len(items))]

    def once(self, work: Callable[[], None]) -> None:
        """The main process does it, while the others wait. All raise the RuleshiftError that it meets."""

        def done(places: Sequence[int]) -> list[None]:
            for _ in places:
                work()
            return [None] * len(places)

        self.spread(done, range(1))

    def total(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Each number, added up over the processes that have it."""
        if self.world == 1:
            return dict(numbers)
        parts = self.gather(dict(numbers))
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: sum(part[name] for part in parts if name in part) for name in names}

    @torch.no_grad()
    def share_gradients(self, weights: Sequence[torch.Tensor], mean: bool = False) -> None:
        """Have each process hold the sum (or mean) of all gradients of these weights, which are of one kind of number.
        One that has none of a weight adds nothing. Those of weights in pieces are sums (or means) already."""
        if self.world == 1:
            return
        for bucket in buckets([weight for weight in weights if not isinstance(weight, DTensor)]):
            flat = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in bucket])
            dist.all_reduce(flat)
            parts = (flat / self.world if mean else flat).split([w.numel() for w in bucket])
            for weight, part in zip(bucket, parts, strict=True):
                weight.grad = part.view_as(weight)

    @contextmanager
    def folder(
        self, path: str | os.PathLike[str], config: "DataclassInstance | Mapping[str, Any]"
    ) -> Iterator[RunFolder]:
        """The folder of a run, which the main process opens (see `RunFolder.open`) and the others follow."""
        with ExitStack() as stack:
            opened: list[RunFolder] = []
            self.once(lambda: opened.append(stack.enter_context(RunFolder.open(path, config))))
            yield opened[0] if self.main else FollowedFolder(Path(path))


ALONE = Processes()


def start(shard: bool = False) -> Processes:
    """Those that a launcher started, once they have found each other and have their devices; `shard`: to divide what
    learns among them. Raises RuleshiftError for a way of sharing a model out that is not supported here."""
    zero = read_settings() if asked_for() else None
    if zero is not None and "RANK" not in os.environ:
        raise RuleshiftError(
            f"{ASKED} is set, but no launcher started this process: use accelerate launch --use_deepspeed, or unset it"
        )
    if zero is not None and shard:
        raise RuleshiftError("--shard divides what DeepSpeed would: leave it out, or launch with --multi_gpu")
    if launched() == 1 and zero is None:
        if shard:
            raise RuleshiftError(
                "--shard divides a model among several processes: start them with accelerate launch --multi_gpu or "
                "torchrun, or leave it out"
            )
        return ALONE
    from accelerate import PartialState

    if os.environ.get(FSDP, "false").lower() == "true":
        raise RuleshiftError(
            "FSDP is not taken from the launcher: launch with --multi_gpu, and give --shard to "
            "ruleshift, which divides weights, gradients and moments by FSDP2 (docs/scale.md)"
        )
    os.environ.pop(ASKED, None)  # for accelerate, which would set up an engine of its own
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    if not dist.is_initialized():  # one process on a CPU, with DeepSpeed
        dist.init_process_group("gloo", timeout=PATIENCE)
    talk = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes, talk, shard, zero)


def buckets(weights: Sequence[torch.Tensor], room: int = BUCKET) -> list[list[torch.Tensor]]:
    """Weights in order, as many together as have `room` numbers; one alone may have more."""
    filled: list[list[torch.Tensor]] = []
    size = room
    for weight in weights:
        size += weight.numel()
        if size > room or not filled:
            filled.append([])
            size = weight.numel()
        filled[-1].append(weight)
    return filled
