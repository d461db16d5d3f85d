"""Street views: pictures of a city from a point in its streets."""

from collections import OrderedDict

import numpy as np

from ruleshift.tasks.virl.views.camera import VIEWS, camera
from ruleshift.tasks.virl.views.looks import Look
from ruleshift.tasks.virl.views.rasterise import render
from ruleshift.tasks.virl.views.scene import Scene
from ruleshift.tasks.virl.world.graph import XY, StreetGraph

KEPT = 4  # scenes that are remembered
_scenes: OrderedDict[tuple[StreetGraph, Look], Scene] = OrderedDict()


def scene_of(graph: StreetGraph, look: Look) -> Scene:
    key = (graph, look)
    if key not in _scenes:
        _scenes[key] = Scene(graph, look)
        while len(_scenes) > KEPT:
            _scenes.popitem(last=False)
    return _scenes[key]


def street_view(graph: StreetGraph, look: Look, at: XY, heading: float, size: int, turns: int = 0) -> np.ndarray:
    scene = scene_of(graph, look)
    near = scene.near(at)
    return render(size, camera(at, heading, turns), near.solid, near.ground, near.sprites, scene.pictures.textures, scene.weather)


def grid_view(graph: StreetGraph, look: Look, at: XY, heading: float, size: int) -> np.ndarray:
    views = [street_view(graph, look, at, heading, size, turns) for turns in range(len(VIEWS))]
    return np.concatenate([np.concatenate([views[0], views[1]], 1), np.concatenate([views[2], views[3]], 1)], 0)
