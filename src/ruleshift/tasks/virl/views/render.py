"""Street views: what a walker sees of a city from a point in its streets."""

from collections import OrderedDict
from functools import cache
from typing import Literal, Protocol

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.views import rasterise
from ruleshift.tasks.virl.views.atlas import Textures
from ruleshift.tasks.virl.views.camera import VIEWS, Camera, camera
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.scene import Scene, Visible
from ruleshift.tasks.virl.views.weather import Weather
from ruleshift.tasks.virl.world.graph import XY, StreetGraph

Renderer = Literal["auto", "numba", "numpy"]
KEPT = 12  # scenes that are remembered: all that are trained or tested on; up to 150 MB each, a second to make anew
SMALLEST, LARGEST = 8, 2048  # pixels of a view

_scenes: OrderedDict[tuple[int, int], Scene] = OrderedDict()


class Render(Protocol):
    def __call__(
        self, size: int, camera: Camera, near: Visible, textures: Textures, weather: Weather
    ) -> np.ndarray: ...


def street_view(
    graph: StreetGraph, look: CityLook, at: XY, heading: float, size: int, renderer: Renderer = "auto"
) -> np.ndarray:
    """The view (size, size, 3) uint8, 90 degrees wide, from a point in metres along a heading in degrees.

    Both renderers make the same bytes; `auto` takes the fast one where numba is installed. Raises RuleshiftError for
    a size that is no picture's, and for `numba` where it is missing.
    """
    return _views(graph, look, at, heading, size, (0,), renderer)[0]


def grid_view(
    graph: StreetGraph, look: CityLook, at: XY, heading: float, size: int, renderer: Renderer = "auto"
) -> np.ndarray:
    """Front and right above back and left, (2 * size, 2 * size, 3) uint8, for a walker with this heading.

    Raises as `street_view` does.
    """
    front, right, back, left = _views(graph, look, at, heading, size, range(len(VIEWS)), renderer)
    return np.concatenate([np.concatenate([front, right], 1), np.concatenate([back, left], 1)])


def scene_of(graph: StreetGraph, look: CityLook) -> Scene:
    """The scene of a city in a look, made once while it is among the last few that were asked for."""
    key = id(graph), id(look)  # a scene keeps both alive, so that their ids stay theirs
    if key not in _scenes:
        _scenes[key] = Scene(graph, look)
        while len(_scenes) > KEPT:
            _scenes.popitem(last=False)
    _scenes.move_to_end(key)
    return _scenes[key]


def _views(
    graph: StreetGraph,
    look: CityLook,
    at: XY,
    heading: float,
    size: int,
    turns: "range | tuple[int, ...]",
    name: Renderer,
) -> list[np.ndarray]:
    if not SMALLEST <= size <= LARGEST:
        raise RuleshiftError(f"a view has {SMALLEST} to {LARGEST} pixels a side, not {size}")
    scene, render = scene_of(graph, look), renderer_of(name)
    near, textures = scene.near(at), scene.pictures.textures
    return [render(size, camera(at, heading, turn), near, textures, scene.weather) for turn in turns]


@cache
def renderer_of(name: Renderer) -> Render:
    """The function that renders; RuleshiftError for `numba` where it is missing."""
    if name != "numpy":
        try:
            from ruleshift.tasks.virl.views import fast
        except ImportError as error:
            if name == "numba":
                raise RuleshiftError('fast street views need numba: pip install "ruleshift[views]"') from error
        else:
            return fast.render
    return rasterise.render
