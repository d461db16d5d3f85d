"""The houses along a front: lots, walls, roofs' edges, ground floors."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.views.blocks import Front
from ruleshift.tasks.virl.views.facades import CELL, CELLS, FRONT
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.pictures import Pictures
from ruleshift.tasks.virl.views.quads import Draft, Tint
from ruleshift.tasks.virl.world.graph import XY, Place

DEPTH = 10.0  # metres of a house from front to back, at most
TOWER = 7.0  # metres that a tower is deep, at least
SHOP = 8.0  # metres of a shop's front, at most
SHUT = 0.2  # share of the ground floors without a place that are closed shops
LEDGE, LEDGE_REACH = 0.25, 110.0  # metres that a cornice stands out, and from which its ends are seen


@dataclass(frozen=True)
class House:
    """What a house looks like: its wall, its picture, floors above the ground floor, bay to begin with, brightness."""

    wall: int
    variant: int
    floors: int
    bay: int
    tone: int


@dataclass(frozen=True)
class Unit:
    """A piece of ground floor from `start` to `end`, in metres along the houses, and the place that is there."""

    start: float
    end: float
    place: Place | None = None


@dataclass(frozen=True)
class Lot:
    """A house's piece of the front, in metres along the houses."""

    start: float
    end: float
    units: tuple[Unit, ...]
    house: House


class Wall:
    """The upright plane that a front's houses stand in. Metres run to the right for who looks at it."""

    def __init__(self, front: Front, light: int) -> None:
        assert front.houses is not None
        (ax, ay), (bx, by) = front.houses
        self.start, self.way = front.houses[0], front.way
        self.length = max((bx - ax) * front.way[0] + (by - ay) * front.way[1], 0.0)
        self.light = light

    def at(self, along: float, out: float = 0.0) -> XY:
        """A point so many metres along, and so many in front of the wall."""
        (x, y), (dx, dy) = self.start, self.way
        return x + along * dx + out * dy, y + along * dy - out * dx

    def tint(self, colour: tuple[int, int, int] | int = 255) -> Tint:
        """A tint for a colour, as bright as the sun makes this wall."""
        red, green, blue = (colour,) * 3 if isinstance(colour, int) else colour
        return tuple((c + (c >> 7)) * self.light >> 8 for c in (red, green, blue))  # type: ignore[return-value]


def house(look: CityLook, key: Sequence[object], tower: bool = True) -> House:
    """The house of a key, which may be one of the look's towers."""
    rng = stream("virl-house", *key)
    floors = rng.randint(*look.floors)
    if rng.random() < look.towers and tower:
        floors = rng.randint(look.floors[1], look.tower)
    return House(rng.randrange(len(look.walls)), rng.randrange(2), floors, rng.randrange(CELLS), rng.randint(218, 256))


def split(
    length: float,
    places: Sequence[tuple[float, Place]],
    look: CityLook,
    corners: tuple[House, House],
    draw: Callable[[int, float], House],
    rng: random.Random,
) -> list[Lot]:
    """The lots of a front of so many metres, with places at so many metres along it, sorted.

    Every place has a unit around its entrance that it shares with no other. The houses at both ends are given, since
    they stand round a corner; `draw` makes the others, from their number and their middle.
    """  # fmt: skip
    units: list[Unit] = []
    at = 0.0
    for number, (middle, place) in enumerate(places):
        before = (places[number - 1][0] + middle) / 2 if number else 0.0
        after = (middle + places[number + 1][0]) / 2 if number + 1 < len(places) else length
        start, end = max(middle - SHOP / 2, before, 0.0), min(middle + SHOP / 2, after, length)
        if start - at < 3.0:
            start = max(at, middle - SHOP)
        units += _fill(at, start, look, rng)
        if length - end < 3.0:
            end = min(length, middle + SHOP)
        units.append(Unit(start, end, place))
        at = end
    units += _fill(at, length, look, rng)
    lots: list[tuple[Unit, ...]] = []
    for unit in units:
        last = lots[-1] if lots else ()
        if last and unit.end - last[0].start <= look.lot[1] and last[-1].end - last[0].start < look.lot[0]:
            lots[-1] = (*last, unit)
        else:
            lots.append((unit,))
    found = []
    for number, parts in enumerate(lots):
        if number == 0:
            one = corners[0]
        elif number == len(lots) - 1:
            one = corners[1]
        else:
            one = draw(number, (parts[0].start + parts[-1].end) / 2)
        found.append(Lot(parts[0].start, parts[-1].end, parts, one))
    return found


def _fill(start: float, end: float, look: CityLook, rng: random.Random) -> list[Unit]:
    """Units without places between two points."""
    if end - start < 0.05:
        return []
    count = max(round((end - start) / rng.uniform(6.0, min(look.lot[1], 10.0))), 1)
    step = (end - start) / count
    return [Unit(start + i * step, start + (i + 1) * step) for i in range(count)]


def build_lot(
    draft: Draft, wall: Wall, lot: Lot, left: float | None, right: float | None, depths: tuple[float, float],
    mitres: tuple[float, float], look: CityLook, pictures: Pictures, rng: random.Random,
) -> None:  # fmt: skip
    """A house: `left` and `right` are the heights of the neighbours in metres, None round a corner.

    `depths` is how deep it is at its two ends, `mitres` how much longer its cornice is there, for one metre that it
    stands out.
    """
    one, top = lot.house, roof(lot.house, look)
    tint = wall.tint(one.tone - 1)
    bays = max(round((lot.end - lot.start) / look.bay), 1)
    box = (float(one.bay * CELL), 0.0), (float((one.bay + bays) * CELL), float(one.floors * CELL))
    picture = pictures.facades[one.wall][one.variant]
    a, b = wall.at(lot.start), wall.at(lot.end)
    draft.wall(a, b, look.ground, top, box, picture, tint)
    for unit in lot.units:
        _ground_floor(draft, wall, unit, one, look, pictures, rng)
    _ledge(draft, wall, lot, top, left, right, mitres, look, pictures)
    side, texels = pictures.sides[one.wall], 64 / look.floor
    back_a, back_b = wall.at(lot.start, -depths[0]), wall.at(lot.end, -depths[1])
    total, (red, green, blue) = top + look.cornice, (part * 210 >> 8 for part in tint)
    faces = ((left, depths[0], back_a, a), (right, depths[1], b, back_b), (0.0, lot.end - lot.start, back_b, back_a))
    for low, wide, *ends in faces:
        if low is not None and low < total - 0.05:
            whole = (0.0, 0.0), (wide * texels, (total - low) * texels)
            draft.wall(ends[0], ends[1], low, total, whole, side, (red, green, blue))


def roof(one: House, look: CityLook) -> float:
    """Metres of the edge of the roof above the ground."""
    return look.ground + one.floors * look.floor


def _ledge(
    draft: Draft, wall: Wall, lot: Lot, top: float, left: float | None, right: float | None,
    mitres: tuple[float, float], look: CityLook, pictures: Pictures,
) -> None:  # fmt: skip
    """The cornice: its front, its lower side and its ends; it runs round the corners."""
    low, high = top - 0.1, top + look.cornice
    a, b = lot.start, lot.end
    out_a, out_b = a - mitres[0] * LEDGE, b + mitres[1] * LEDGE
    wide = max(round((b - a) * 1.5), 1) * 32.0
    tint = wall.tint()
    draft.wall(
        wall.at(out_a, LEDGE), wall.at(out_b, LEDGE), low, high, ((0.0, 0.0), (wide, 32.0)), pictures.cornice, tint
    )
    corners = [(*wall.at(s, out), low) for s, out in ((out_a, LEDGE), (out_b, LEDGE), (b, 0.0), (a, 0.0))]
    draft.add(corners, ((0.0, 31.0), (wide, 31.0), (0.0, 28.0)), pictures.cornice, wall.tint(110), LEDGE_REACH)
    for at, free, ends in ((a, left, (0.0, LEDGE)), (b, right, (LEDGE, 0.0))):
        if free is not None:
            box = ((0.0, 0.0), (8.0, 32.0))
            draft.wall(wall.at(at, ends[0]), wall.at(at, ends[1]), low, high, box, pictures.cornice, tint, LEDGE_REACH)


def _ground_floor(
    draft: Draft, wall: Wall, unit: Unit, one: House, look: CityLook, pictures: Pictures, rng: random.Random
) -> None:
    if unit.place is not None:
        picture = pictures.shops[trade_front(unit.place, len(pictures.shops))]
        tint = wall.tint()
    elif rng.random() < SHUT:
        picture, tint = pictures.shutters[one.wall], wall.tint(one.tone - 1)
    else:
        picture, tint = pictures.houses[one.wall][rng.randrange(2)], wall.tint(one.tone - 1)
    times = max(round((unit.end - unit.start) / SHOP), 1)
    box = ((0.0, 0.0), (float(times * FRONT[0]), float(FRONT[1])))
    draft.wall(wall.at(unit.start), wall.at(unit.end), 0.0, look.ground, box, picture, tint)


def trade_front(place: Place, count: int) -> int:
    """Which of so many shop fronts a place has: the same whenever the city is drawn."""
    return stream("virl-front", place.name).randrange(count)
