"""Where the randomness of problems comes from."""

import random


def stream(*parts: object) -> random.Random:
    """A random stream of its own for these parts (the same on every machine and Python version)."""
    return random.Random("/".join(map(str, parts)))
