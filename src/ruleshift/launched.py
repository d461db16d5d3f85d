"""How many processes a launcher started for this command."""

import os


def launched() -> int:
    """The number that `accelerate launch` or torchrun tell each of them; 1 for a command that was started by itself."""
    told = os.environ.get("WORLD_SIZE", "1")
    return int(told) if told.isdecimal() and "RANK" in os.environ else 1
