"""Parked cars, of ten faces each."""

import random
from itertools import pairwise

from ruleshift.tasks.virl.views.blocks import Front
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.pictures import Pictures
from ruleshift.tasks.virl.views.quads import Draft
from ruleshift.tasks.virl.views.streets import FREE, SHADOW
from ruleshift.tasks.virl.world.graph import XY

LENGTH, WIDTH, HIGH = 4.4, 1.8, 1.5  # metres
STEP = 5.8  # metres from car to car
ROOM = 3.2  # metres from the middle of the street to the kerb that it takes to park
SEEN = 120.0  # metres from which cars are seen
# The upper outline of the side's picture: share of the length from the back, share of the height.
_OUTLINE = ((0.016, 0.53), (0.156, 0.58), (0.312, 0.94), (0.61, 0.94), (0.766, 0.59), (0.97, 0.5))
_REAR, _WINDSCREEN = 1, 3  # which of its parts are windows


def park_cars(
    solid: Draft, ground: Draft, front: Front, start: float, end: float, look: CityLook, pictures: Pictures,
    rng: random.Random,
) -> None:  # fmt: skip
    """Cars at the kerb between the crossings at `start` and `end`, looking the way that the traffic goes."""
    (x, y), (dx, dy) = front.base, front.way
    along, left = start + FREE + rng.uniform(0, 6), front.road - 1.15
    way = (dx, dy) if look.left_hand else (-dx, -dy)
    while along < end - FREE and front.road >= ROOM:
        if rng.random() < look.cars * STEP / 100:
            at = x + along * dx - left * dy, y + along * dy + left * dx
            _car(solid, ground, at, way, look.car[rng.randrange(len(look.car))], pictures)
        along += STEP


def _car(solid: Draft, ground: Draft, middle: XY, way: XY, colour: tuple[int, int, int], pictures: Pictures) -> None:
    """The faces of a car that looks along `way`, and its shadow."""
    (x, y), (dx, dy) = middle, way
    side, front, back, pane = pictures.car

    def at(along: float, left: float, up: float) -> tuple[float, float, float]:
        s, t = (along - 0.5) * LENGTH, left * WIDTH / 2
        return x + s * dx - t * dy, y + s * dy + t * dx, up * HIGH

    red, green, blue = (part + (part >> 7) for part in colour)
    ends, sides, tops = ((red * c >> 8, green * c >> 8, blue * c >> 8) for c in (190, 214, 248))
    for left, rear, head, uv in ((-1.0, 0.0, 1.0, (0.5, 127.5)), (1.0, 1.0, 0.0, (127.5, 0.5))):
        corners = (at(rear, left, 1.0), at(head, left, 1.0), at(head, left, 0.0), at(rear, left, 0.0))
        solid.add(corners, ((uv[0], 0.5), (uv[1], 0.5), (uv[0], 63.5)), side, sides, SEEN)
    for number, ((a, low), (b, high)) in enumerate(pairwise(_OUTLINE)):
        corners = (at(a, 1.0, low), at(b, 1.0, high), at(b, -1.0, high), at(a, -1.0, low))
        first, second = (31.5, 0.5) if number == _REAR else (0.5, 31.5)
        uv_top = ((63.5, first), (63.5, second), (0.5, first))
        solid.add(corners, uv_top, pane if number in (_REAR, _WINDSCREEN) else pictures.board, tops, SEEN)
    for (along, high), first, last, picture in ((_OUTLINE[0], 1.0, -1.0, back), (_OUTLINE[-1], -1.0, 1.0, front)):
        corners = (at(along, first, high), at(along, last, high), at(along, last, 0.16), at(along, first, 0.16))
        solid.add(corners, ((0.5, 0.5), (63.5, 0.5), (0.5, 31.5)), picture, ends, SEEN)
    shade = [at(along, left, 0.0) for along, left in ((-0.05, 1.15), (1.05, 1.15), (1.05, -1.15), (-0.05, -1.15))]
    ground.add(shade, ((0.5, 0.5), (63.5, 0.5), (0.5, 31.5)), pictures.shadow, reach=SEEN, layer=SHADOW)
