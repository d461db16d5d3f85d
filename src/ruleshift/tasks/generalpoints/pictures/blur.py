"""Blur in integers: means of neighbours at distances 1, 2, 4 ..., so that wide ones are cheap too."""

import numpy as np
from numpy.typing import NDArray

FINE = 6  # more bits while averaging


def blurred(pixels: NDArray[np.uint16], steps: int, channels: int) -> NDArray[np.uint16]:
    """Values 0..256 of shape (H, channels * W), averaged over a triangle 2 * 2**steps - 1 pixels wide, both ways."""
    values: NDArray[np.uint16] = np.left_shift(pixels, FINE, dtype=np.uint16)
    for step in range(steps):
        across, down = channels << step, 1 << step
        values[:, :-across] = (values[:, :-across] + values[:, across:]) >> 1
        values[:-down] = (values[:-down] + values[down:]) >> 1
    for step in range(steps):
        across, down = channels << step, 1 << step
        values[:, across:] = (values[:, :-across] + values[:, across:]) >> 1
        values[down:] = (values[:-down] + values[down:]) >> 1
    values += 1 << (FINE - 1)
    values >>= FINE
    return values


def steps_for(thousandths: int, side: int) -> int:
    """How often to double the width for a blur of this share of a side: the power of two nearest to it."""
    steps = 0
    while (2 << steps) ** 2 * 1_000_000 <= 2 * (thousandths * side) ** 2:
        steps += 1
    return steps
