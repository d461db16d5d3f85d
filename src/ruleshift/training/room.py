"""What to change where memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ruleshift.errors import RuleshiftError
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.training.heap import given_back

CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch raises a plain RuntimeError for the memory of a CPU


@contextmanager
def room_for(doing: str, remedy: str) -> Iterator[None]:
    """Turn any failure to allocate memory inside into a RuleshiftError that names the remedy."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or CPU_ALLOCATOR in str(error)):
            raise
        raise RuleshiftError(
            f"memory ran out {doing}: {remedy}; add --plan to the command to see what takes how much"
        ) from error


@contextmanager
def room_to_sample(config: SFTConfig | RLConfig) -> Iterator[None]:
    """While conversations are sampled."""
    remedy = f"lower --batch-size (now {config.batch_size})"
    with room_for("while it sampled", remedy), given_back(config.gradient_checkpointing):
        yield


@contextmanager
def room_to_learn(config: SFTConfig | RLConfig) -> Iterator[None]:
    """While passes and steps are made."""
    ways = [f"lower --max-tokens (now {config.max_tokens})"]
    ways += [] if config.gradient_checkpointing else ["give --gradient-checkpointing"]
    ways += [] if config.lora_rank else ["train adapters (--lora-rank 16)"]
    with room_for("while it learned", ", or ".join(ways)), given_back(config.gradient_checkpointing):
        yield
