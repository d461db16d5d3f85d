"""A pinhole camera that stands upright in a street and looks along the ground, 90 degrees wide and high.

A point that lies `z` metres ahead, `x` to the right and `y` above the camera is seen at `x / z` and `y / z`, each
between -1 and 1. The middle of pixel i of a row of `size` is at (i + 0.5 - size / 2) / (size / 2).
"""

import math
from dataclasses import dataclass

HEIGHT = 2.5  # metres of the camera above the ground
NEAR = 0.25  # metres; what is nearer is not seen
VIEWS = ("front", "right", "back", "left")
_STEPS = float(1 << 30)  # to which sines are kept, so that their last digits make no difference between machines


@dataclass(frozen=True)
class Camera:
    """Where it is in metres, and the unit vector (east, north) that it looks along."""

    x: float
    y: float
    z: float
    east: float
    north: float


def camera(at: tuple[float, float], heading: float, turns: int = 0) -> Camera:
    """A camera that looks along a heading in degrees clockwise from north, turned right by so many right angles."""
    angle = math.radians(heading)
    east, north = round(math.sin(angle) * _STEPS) / _STEPS, round(math.cos(angle) * _STEPS) / _STEPS
    for _ in range(turns % 4):
        east, north = north, -east
    return Camera(float(at[0]), float(at[1]), HEIGHT, east, north)
