"""What lies and stands between the houses: pavements, kerbs, markings, cars, trees and lamps."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ruleshift.tasks.virl.views.blocks import Front
from ruleshift.tasks.virl.views.looks import Look
from ruleshift.tasks.virl.views.pictures import Pictures
from ruleshift.tasks.virl.views.quads import Draft
from ruleshift.tasks.virl.views.surfaces import PAVING_TEXELS
from ruleshift.tasks.virl.world.graph import XY

ROUND = 2.2  # metres of a kerb on either side of a corner that are rounded
KERB = 0.5  # metres of the kerb's picture, of which the stone is 0.25
PAVEMENT, STONE, PAINT, SHADOW = range(4)  # the order on the ground
FREE = 19.0  # metres from a crossing without trees and parked cars, so that its places are seen
STOPS = 5.5  # metres from a place without trees


@dataclass(frozen=True)
class Car:
    """Where a car stands, the unit vector it looks along, and its colour."""

    at: XY
    way: XY
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Stand:
    """A tree or a lamp: its foot, picture, width and height in metres."""

    at: XY
    picture: int
    width: float
    height: float
    reach: float
    tone: int


def pave(draft: Draft, front: Front, after: Front, middle: XY | None, look: Look, pictures: Pictures) -> None:
    """The pavement from kerb to houses, up to and around the corner to the front that comes after.

    `middle` is that of the block's kerbs where it has no houses.
    """
    assert front.kerb is not None
    assert after.kerb is not None
    kerb_start, kerb_end = front.kerb
    texels, base = (PAVING_TEXELS, PAVING_TEXELS), kerb_start
    length = _along(front, kerb_end) - _along(front, kerb_start)
    turn = front.way[0] * after.way[1] - front.way[1] * after.way[0]
    round_end = turn > 0.2 and kerb_end == after.kerb[0]
    cut = min(ROUND, length * 0.3) if length > 0.5 else 0.0
    house_start, house_end = front.houses or (middle, middle)
    assert house_start is not None
    assert house_end is not None
    corner: list[XY] = [kerb_end]
    if round_end:
        to = min(ROUND, max((_along(after, after.kerb[1]) - _along(after, after.kerb[0])) * 0.3, 0.0))
        a = _moved(kerb_end, front.way, -cut)
        b = _moved(after.kerb[0], after.way, to)
        corner = [_curve(a, kerb_end, b, step / 4) for step in range(5)]
    first = _moved(kerb_start, front.way, cut if _is_rounded(front) else 0.0)

    def piece(points: Sequence[XY]) -> None:
        draft.ground(points, front.way, texels, pictures.pavement, layer=PAVEMENT, base=base)

    piece((house_start, house_end, corner[0], kerb_start))
    for p, q in zip(corner[:-1], corner[1:], strict=True):
        piece((house_end, q, p, p))
    line = [first, *corner]
    for p, q in zip(line[:-1], line[1:], strict=True):
        _kerb(draft, p, q, front.way, look, pictures)


def _is_rounded(front: Front) -> bool:
    return front.street is not None


def _along(front: Front, at: XY) -> float:
    return (at[0] - front.base[0]) * front.way[0] + (at[1] - front.base[1]) * front.way[1]


def _moved(at: XY, way: XY, metres: float) -> XY:
    return at[0] + metres * way[0], at[1] + metres * way[1]


def _curve(a: XY, b: XY, c: XY, t: float) -> XY:
    p, q, r = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
    return p * a[0] + q * b[0] + r * c[0], p * a[1] + q * b[1] + r * c[1]


def _kerb(draft: Draft, a: XY, b: XY, way: XY, look: Look, pictures: Pictures) -> None:
    """The stone from a to b, the houses on the left."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    far = (dx * dx + dy * dy) ** 0.5
    if far < 0.01:
        return
    x, y = -dy / far * KERB / 2, dx / far * KERB / 2
    inner = (a[0] + x, a[1] + y), (b[0] + x, b[1] + y)
    outer = (b[0] - x, b[1] - y), (a[0] - x, a[1] - y)
    corners = [(*at, 0.0) for at in (*inner, *outer)]
    draft.add(corners, ((0.0, 0.0), (0.0, far * 32), (31.0, 0.0)), pictures.kerb, layer=STONE)


def mark(draft: Draft, front: Front, start: float, end: float, ends: tuple[bool, bool], look: Look, pictures: Pictures) -> None:
    """The line in the middle of the street from `start` to `end`, and the crosswalks at its `ends` that have one."""
    white = look.crossing != "none"
    for at, there, sign in ((start, ends[0], 1), (end, ends[1], -1)):
        if there and white and end - start > 12:
            near, far = at + sign * 0.4, at + sign * 3.2
            low, high = min(near, far), max(near, far)
            _strip(draft, front, low, high, front.road - 0.2, ((front.road * 2 - 0.4) * 32, 64.0), pictures.crosswalk)
    low, high = start + (4.2 if ends[0] else 0.0), end - (4.2 if ends[1] else 0.0)
    if high - low > 3 and look.marking != "none":
        _strip(draft, front, low, high, 0.45, (32.0, (high - low) * 64 / 8), pictures.centre)


def _strip(
    draft: Draft, front: Front, low: float, high: float, half: float, texels: tuple[float, float], picture: int
) -> None:
    (x, y), (dx, dy) = front.base, front.way
    corners = [
        (x + s * dx + side * dy, y + s * dy - side * dx, 0.0)
        for s, side in ((high, -half), (high, half), (low, half), (low, -half))
    ]
    draft.add(corners, ((0.0, 0.0), (texels[0], 0.0), (0.0, texels[1])), picture, layer=PAINT)


def stand(
    front: Front, start: float, end: float, places: Sequence[float], look: Look, pictures: Pictures, rng: random.Random
) -> tuple[list[Car], list[Stand]]:
    """Cars at the kerb, trees and lamps on the pavement; `places` are metres of entrances along the street's piece."""
    cars, stands = [], []
    (x, y), (dx, dy) = front.base, front.way

    def at(along: float, left: float) -> XY:
        return x + along * dx - left * dy, y + along * dy + left * dx

    along = start + FREE + rng.uniform(0, 6)
    while along < end - FREE and front.road >= 3.2:
        if rng.random() < look.cars * 5.8 / 100:
            way = (dx, dy) if look.left_hand else (-dx, -dy)
            cars.append(Car(at(along, front.road - 1.15), way, look.car[rng.randrange(len(look.car))]))
        along += 5.8
    along = start + FREE + rng.uniform(0, 4)
    while along < end - FREE:
        if rng.random() < look.trees * 7 / 100 and all(abs(along - place) > STOPS for place in places):
            high = rng.uniform(0.85, 1.2) * look.height
            picture = pictures.trees[rng.randrange(len(pictures.trees))]
            stands.append(Stand(at(along, front.road + 0.7), picture, high * look.spread, high, 260.0, rng.randint(215, 256)))
        along += 7
    along = start + 2.5
    while along < end - 2:
        stands.append(Stand(at(along, front.road + 0.45), pictures.lamp, 3.1, 6.2, 150.0, 256))
        along += 27
    return cars, stands
