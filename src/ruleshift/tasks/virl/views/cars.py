"""Parked cars: nine faces each, made only for those that are near."""

from collections.abc import Sequence

import numpy as np

from ruleshift.tasks.virl.views.looks import Look
from ruleshift.tasks.virl.views.pictures import Pictures
from ruleshift.tasks.virl.views.quads import FAR, Draft, Quads
from ruleshift.tasks.virl.views.streets import SHADOW, Car

LENGTH, WIDTH, HIGH = 4.4, 1.8, 1.5  # metres
# The upper outline of the side's picture: share of the length from the back, share of the height.
_OUTLINE = ((0.016, 0.53), (0.156, 0.58), (0.312, 0.94), (0.61, 0.94), (0.766, 0.59), (0.97, 0.5))
_GLASS = (1, 3)  # which of its parts are windows


def park_cars(cars: Sequence[Car], pictures: Pictures, look: Look) -> tuple[Quads, Quads]:
    """The faces of these cars, and their shadows on the ground."""
    draft, ground = Draft(), Draft()
    side, front, back, pane = pictures.car
    for car in cars:
        (x, y), (dx, dy) = car.at, car.way

        def at(along: float, left: float, up: float) -> tuple[float, float, float]:
            s, t = (along - 0.5) * LENGTH, left * WIDTH / 2
            return x + s * dx - t * dy, y + s * dy + t * dx, up * HIGH

        tint = tuple(part + (part >> 7) for part in car.colour)
        tints = [tuple(part * light >> 8 for part in tint) for light in (205, 225, 256)]
        for left in (-1.0, 1.0):
            rear, head = (0.0, 1.0) if left < 0 else (1.0, 0.0)
            u, v = (0.5, 127.5) if left < 0 else (127.5, 0.5), (0.5, 63.5)
            corners = (at(rear, left, 1.0), at(head, left, 1.0), at(head, left, 0.0), at(rear, left, 0.0))
            draft.add(corners, ((u[0], v[0]), (u[1], v[0]), (u[0], v[1])), side, tints[1], FAR)
        for number, ((a, low), (b, high)) in enumerate(zip(_OUTLINE[:-1], _OUTLINE[1:], strict=True)):
            corners = (at(a, 1.0, low), at(b, 1.0, high), at(b, -1.0, high), at(a, -1.0, low))
            picture = pane if number in _GLASS else pictures.awnings[0]
            uv = ((63.5, 0.5), (63.5, 31.5), (0.5, 0.5)) if number in _GLASS else ((0.0, 0.0), (2.0, 0.0), (0.0, 2.0))
            draft.add(corners, uv, picture, tints[2], FAR)
        ends = ((_OUTLINE[0], 1.0, -1.0, back), (_OUTLINE[-1], -1.0, 1.0, front))
        for (along, high), first, last, picture in ends:
            corners = (at(along, first, high), at(along, last, high), at(along, last, 0.16), at(along, first, 0.16))
            draft.add(corners, ((0.5, 0.5), (63.5, 0.5), (0.5, 31.5)), picture, tints[0], FAR)
        shade = [at(along, left, 0.0) for along, left in ((-0.05, 1.15), (1.05, 1.15), (1.05, -1.15), (-0.05, -1.15))]
        ground.add(shade, ((0.5, 0.5), (63.5, 0.5), (0.5, 31.5)), pictures.shadow, layer=SHADOW)
    return draft.quads(), ground.quads()
