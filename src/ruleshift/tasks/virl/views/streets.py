"""What lies and stands between the houses: pavements, kerbs, markings, cars, trees and lamps."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ruleshift.tasks.virl.views.blocks import Front
from ruleshift.tasks.virl.views.flora import TREE
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.pictures import Pictures
from ruleshift.tasks.virl.views.quads import GRID, Draft, Quads, planes_of
from ruleshift.tasks.virl.views.surfaces import PAVING_TEXELS
from ruleshift.tasks.virl.world.graph import XY

ROUND = 2.2  # metres of a kerb on either side of a corner that are rounded
TAPER = 3.0  # metres of a kerb on either side of a place where the street's width changes
KERB = 0.5  # metres of the kerb's picture, of which the stone is 0.25
PAVEMENT, STONE, PAINT, SHADOW = range(4)  # the order on the ground
FREE = 19.0  # metres from a crossing without trees and parked cars, so that its places are seen
CLEAR = 5.5  # metres on either side of an entrance without trees and lamps
TREES, LAMPS = 7.0, 27.0  # metres between two trees, at least, and between two lamps
LAMP = (6.2, 6.2)  # metres of a lamp's picture
STANDS = 240.0  # metres from which trees and lamps are seen


def pave(draft: Draft, before: Front, front: Front, after: Front, middle: XY | None, pictures: Pictures) -> None:
    """The pavement from kerb to houses, up to and around the corner to the front that comes after.

    `middle` is that of the block's kerbs, where it has no houses.
    """
    assert front.kerb is not None
    assert after.kerb is not None
    start, end = front.kerb
    cut, onward = _cuts(front, after)
    first, last = _moved(start, front.way, _cuts(before, front)[1]), _moved(end, front.way, -cut)
    line = [first, last]
    to = _moved(after.kerb[0], after.way, onward)
    if after.kerb[0] != end:
        line.append(to)
    elif cut:
        line += [_curve(last, end, to, step / 4) for step in range(1, 5)]

    def piece(points: Sequence[XY]) -> None:
        texels = PAVING_TEXELS, PAVING_TEXELS
        draft.ground(points, front.way, texels, pictures.pavement, layer=PAVEMENT, base=start)

    house_start, house_end = front.houses or (middle, middle)
    assert house_start is not None
    assert house_end is not None
    piece((house_start, house_end, last, first))
    for p, q in pairwise(line[1:]):
        piece((house_end, q, p, p))
    if front.houses and after.houses and after.houses[0] != house_end:
        piece((house_end, after.houses[0], line[-1], line[-1]))
    for p, q in pairwise(line):
        _kerb(draft, p, q, pictures)


def _cuts(front: Front, after: Front) -> tuple[float, float]:
    """Metres that are cut off the kerb's end and the beginning of the next one: to round the corner of a block, or to
    get from one width of a street to another."""
    assert front.kerb is not None
    assert after.kerb is not None
    turn = front.way[0] * after.way[1] - front.way[1] * after.way[0]
    meet = front.kerb[1] == after.kerb[0]
    if meet and turn < 0.2:
        return 0.0, 0.0
    lengths = (_along(side, side.kerb[1]) - _along(side, side.kerb[0]) for side in (front, after) if side.kerb)
    cut, onward = (min(ROUND if meet else TAPER, max(length, 0.0) * 0.3) for length in lengths)
    return cut, onward


def _along(front: Front, at: XY) -> float:
    return (at[0] - front.base[0]) * front.way[0] + (at[1] - front.base[1]) * front.way[1]


def _moved(at: XY, way: XY, metres: float) -> XY:
    return at[0] + metres * way[0], at[1] + metres * way[1]


def _curve(a: XY, b: XY, c: XY, t: float) -> XY:
    p, q, r = (1 - t) * (1 - t), 2 * t * (1 - t), t * t
    return p * a[0] + q * b[0] + r * c[0], p * a[1] + q * b[1] + r * c[1]


def _kerb(draft: Draft, a: XY, b: XY, pictures: Pictures) -> None:
    """The stone from a to b, the houses on the left."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    far = math.sqrt(dx * dx + dy * dy)
    if far < 0.01:
        return
    x, y = -dy / far * KERB / 2, dx / far * KERB / 2
    inner = (a[0] + x, a[1] + y), (b[0] + x, b[1] + y)
    outer = (b[0] - x, b[1] - y), (a[0] - x, a[1] - y)
    corners = [(*at, 0.0) for at in (*inner, *outer)]
    draft.add(corners, ((0.0, 0.0), (0.0, far * 32), (31.0, 0.0)), pictures.kerb, layer=STONE)


def mark(
    draft: Draft, front: Front, start: float, end: float, ends: tuple[bool, bool], look: CityLook, pictures: Pictures
) -> None:
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
    front: Front,
    start: float,
    end: float,
    places: Sequence[float],
    look: CityLook,
    pictures: Pictures,
    rng: random.Random,
) -> list[tuple[float, ...]]:
    """Trees and lamps on the pavement: x, y, picture, width and height in metres, brightness of 256.

    `places` are the metres of entrances along the piece of street, which stay free.
    """
    found: list[tuple[float, ...]] = []
    (x, y), (dx, dy) = front.base, front.way

    def put(along: float, out: float, picture: int, width: float, height: float, tone: int) -> bool:
        free = all(abs(along - place) > CLEAR for place in places)
        if free:
            found.append((x + along * dx - out * dy, y + along * dy + out * dx, picture, width, height, tone))
        return free

    along = start + FREE + rng.uniform(0, 4)
    while along < end - FREE:
        if rng.random() < look.trees * TREES / 100:
            high = rng.uniform(0.85, 1.2) * look.height
            picture = pictures.trees[rng.randrange(len(pictures.trees))]
            put(along, front.road + 0.7, picture, high * look.spread, high, rng.randint(215, 256))
        along += TREES
    along = start + 2.5
    while along < end - 2:
        along += LAMPS if put(along, front.road + 0.45, pictures.lamp, *LAMP, 256) else CLEAR
    return found


def turned_to(stands: np.ndarray, at: XY) -> Quads:
    """Trees and lamps turned towards a point, from far to near."""
    x, y = stands[:, 0] - at[0], stands[:, 1] - at[1]
    square = x * x + y * y
    seen = np.flatnonzero((square > 1.0) & (square < STANDS * STANDS))
    order = seen[np.argsort(-square[seen], kind="stable")]
    one, far = stands[order], np.sqrt(square[order])
    half = one[:, 3] / 2 / far
    dx, dy = y[order] * half, -x[order] * half
    corners = np.zeros((len(one), 4, 3))
    sides = np.array((-1, 1, 1, -1))
    corners[:, :, 0], corners[:, :, 1] = one[:, :1] + sides * dx[:, None], one[:, 1:2] + sides * dy[:, None]
    corners[:, :2, 2] = one[:, 4:5]
    corners = np.rint(corners * GRID) / GRID
    picture = one[:, 2].astype(np.int64)
    wide, high = TREE[0] - 0.5, TREE[1] - 0.5
    uv = np.broadcast_to(np.array(((0.5, 0.5), (wide, 0.5), (0.5, high))), (len(one), 3, 2))
    tone = one[:, 5].astype(np.int64)
    reach = np.full(len(one), STANDS)
    looks = np.stack([picture, tone, tone, tone], 1)
    discs = one[:, (0, 1, 3)] * (1.0, 1.0, 0.5) + (0.0, 0.0, 0.01)
    return Quads(corners, planes_of(corners, uv), looks, reach, np.zeros(len(one), np.int64), discs)
