"""Sky, haze and road: what a picture is filled with where nothing stands."""

from dataclasses import dataclass

import numpy as np

from ruleshift.tasks.virl.views.quads import FAR

FOG_STEPS = 512  # one per metre
SKY_STEPS = 256  # from the horizon to 45 degrees above it
DOME = 400.0  # metres up to the clouds
FADES = 200  # metres from which on all fades, however clear the air is
CLOUDS, ROAD = 0, 1  # numbers of the two pictures in every atlas


@dataclass(frozen=True)
class Weather:
    """`sky` (SKY_STEPS, 3) and `haze` (3,) int64 colours; `fog` (FOG_STEPS,) int64, how much haze lies before what is
    so many metres away, 256 for all; texels per metre of the pictures of clouds and road."""

    sky: np.ndarray
    haze: np.ndarray
    fog: np.ndarray
    cloud_texels: float
    road_texels: float


def weather(zenith: tuple[int, ...], horizon: tuple[int, ...], sight: int, road_texels: float) -> Weather:
    """`sight` is the metres at which half of a colour is haze, whose colour is that of the horizon."""
    step = np.arange(SKY_STEPS)[:, None]
    # the lower the faster: share = 1 - (1 - t)^2
    share = 65536 - (256 - step) * (256 - step)
    top, low = np.array(zenith), np.array(horizon)
    metres = np.arange(FOG_STEPS)
    square = metres * metres
    fading = (metres - FADES) * 256 // int(FAR - FADES)  # nothing is drawn beyond FAR
    fog = np.clip(np.maximum(256 * square // (square + sight * sight), fading), 0, 256)
    return Weather(low + (((top - low) * share) >> 16), low, fog, 0.5, road_texels)
