"""How many processes a launcher started for this command."""

import os

from ruleshift.errors import RuleshiftError

OF_ACCELERATE = "ACCELERATE_DYNAMO_BACKEND"  # which every `accelerate launch` sets


def launched() -> int:
    """The number that `accelerate launch` or torchrun tell each of them; 1 for a command that was started by itself.

    Raises RuleshiftError where `accelerate launch` was asked for several and started one alone, as it does without
    --multi_gpu: it then says where the first of them is to be found, and not which one this is.
    """
    told = os.environ.get("WORLD_SIZE", "1")
    if "RANK" in os.environ:
        return int(told) if told.isdecimal() else 1
    if {OF_ACCELERATE, "MASTER_ADDR"} <= os.environ.keys():
        raise RuleshiftError(
            "accelerate launch was asked for several processes and started one: on GPUs add --multi_gpu to it, on a "
            "CPU use torchrun --nproc-per-node N -m ruleshift in its place, or start this command without a launcher"
        )
    return 1
