"""A city as a renderer needs it: what is near a point, as quads, sorted from near to far."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.views import gardens, houses, signs, streets
from ruleshift.tasks.virl.views.blocks import Front, fronts
from ruleshift.tasks.virl.views.camera import HEIGHT
from ruleshift.tasks.virl.views.cars import park_cars
from ruleshift.tasks.virl.views.houses import House, Lot, Wall
from ruleshift.tasks.virl.views.looks import CityLook
from ruleshift.tasks.virl.views.pictures import Pictures, draw_pictures
from ruleshift.tasks.virl.views.quads import FAR, Draft, Pile, Quads
from ruleshift.tasks.virl.views.streets import turned_to
from ruleshift.tasks.virl.views.surfaces import ROAD_TEXELS
from ruleshift.tasks.virl.views.weather import Weather, weather
from ruleshift.tasks.virl.world.graph import XY, Place, StreetGraph

CELL = 40.0  # metres of the squares for which it is known what is near
KEPT, KEPT_CELLS = 24, 200  # points, and squares of about half a megabyte, that are remembered
FACING = 1e-6  # square metres times metres that a camera is before a plane whose front it sees


@dataclass(frozen=True)
class Visible:
    """What can be seen from a point: of the solid quads those with the numbers in `solids`, from near to far; of the
    pieces of ground those in `grounds`, in their order; and sprites from far to near."""

    solid: Quads
    solids: np.ndarray
    ground: Quads
    grounds: np.ndarray
    sprites: Quads


@dataclass(frozen=True)
class _Piece:
    """What belongs to one front: numbers in the scene's piles; `stands` (N, 6): see `streets.stand`."""

    solids: np.ndarray
    grounds: np.ndarray
    stands: np.ndarray


@dataclass(frozen=True)
class _Cell:
    """What can be seen from some point of a square: numbers in the scene's piles, in the order of drawing; stands.

    What is asked for every point lies in rows: `planes` (4, solids) of the solids; `spots` (3, quads), of the solids
    and of the ground, the first corner on the map and the reach.
    """

    solids: np.ndarray
    grounds: np.ndarray
    stands: np.ndarray
    planes: np.ndarray
    spots: tuple[np.ndarray, np.ndarray]


class Scene:
    """One city in one look. Pieces are built when something near them is first looked at."""

    def __init__(self, graph: StreetGraph, look: CityLook) -> None:
        if not graph.streets:
            raise RuleshiftError(f"{graph.name} is a map without streets: there is nothing to see")
        self.graph, self.look = graph, look
        self.fronts = fronts(graph, look.sidewalk)
        self._solid, self._ground = Pile(), Pile()
        self._pieces: dict[int, _Piece] = {}
        self._cells: OrderedDict[tuple[int, int], _Cell] = OrderedDict()
        self._points: OrderedDict[XY, Visible] = OrderedDict()
        self._next: dict[int, int] = {}
        blocks: dict[int, list[int]] = {}
        for front in self.fronts:
            blocks.setdefault(front.block, []).append(front.index)
        for members in blocks.values():
            for here, there in zip(members, [*members[1:], members[0]], strict=True):
                self._next[here] = there
        self._before = {there: here for here, there in self._next.items()}
        self._blocks = blocks
        self._sides = {(f.street, f.offset, f.forward): f for f in self.fronts if f.street is not None}

    @cached_property
    def pictures(self) -> Pictures:
        return draw_pictures(self.look, (word for place in self.graph.places for word in place.name.split()))

    @cached_property
    def weather(self) -> Weather:
        return weather(self.look.zenith, self.look.horizon, self.look.sight, ROAD_TEXELS)

    @cached_property
    def _segments(self) -> np.ndarray:
        """A segment for every front, (fronts, 2, 2), from whose distance it is judged what is near."""
        ends = [front.houses or front.kerb or (front.base, front.base) for front in self.fronts]
        return np.array(ends, np.float64)

    @cached_property
    def _places(self) -> dict[int, list[Place]]:
        """The places of every front."""
        found: dict[int, list[Place]] = {}
        sides: dict[tuple[int, bool], list[Front]] = {}
        for (street, _, forward), front in self._sides.items():
            sides.setdefault((street, forward), []).append(front)
        for place in self.graph.places:
            pieces = sides[place.street, place.side == "left"]
            front = min(pieces, key=lambda f: max(f.offset - place.along, place.along - f.offset - f.length, 0.0))
            found.setdefault(front.index, []).append(place)
        return found

    def near(self, at: XY) -> Visible:
        """What can be seen from a point."""
        key = float(at[0]), float(at[1])
        if key not in self._points:
            self._points[key] = self._look_from(key)
            while len(self._points) > KEPT:
                self._points.popitem(last=False)
        return self._points[key]

    def forget(self) -> None:
        """Find out anew what can be seen from everywhere, for measurements; what was built stays."""
        self._points.clear()
        self._cells.clear()

    def _look_from(self, at: XY) -> Visible:
        cell = self._cell((math.floor(at[0] / CELL), math.floor(at[1] / CELL)))
        solids = cell.solids[(_before(cell.planes, at) > FACING) & _within(cell.spots[0], at)]
        grounds = cell.grounds[_within(cell.spots[1], at)]
        return Visible(self._solid.quads, solids, self._ground.quads, grounds, turned_to(cell.stands, at))

    def _cell(self, cell: tuple[int, int]) -> _Cell:
        if cell not in self._cells:
            self._cells[cell] = self._survey(cell[0] * CELL, cell[1] * CELL)
            while len(self._cells) > KEPT_CELLS:
                self._cells.popitem(last=False)
        self._cells.move_to_end(cell)
        return self._cells[cell]

    def _survey(self, x: float, y: float) -> _Cell:
        """The square with these least coordinates: solids by the distance of their pieces, the ground by layers.

        Solids are left out that are out of reach or show their front to no corner of the square, thus to no point.
        """
        middle = x + CELL / 2, y + CELL / 2
        away = _distances(self._segments, middle)
        order = np.argsort(away, kind="stable")
        pieces = [self._piece(int(i)) for i in order[: max(int((away < FAR + CELL * 0.75).sum()), 1)]]
        solids = np.concatenate([piece.solids for piece in pieces])
        grounds = np.concatenate([piece.grounds for piece in pieces])
        stands = np.concatenate([piece.stands for piece in pieces])
        spots, planes = _spots(self._solid.quads, solids), np.ascontiguousarray(self._solid.quads.planes[solids, 0].T)
        corners = product((x, x + CELL), (y, y + CELL))
        shown = np.maximum.reduce([_before(planes, at) for at in corners]) > 0
        shown &= _within(spots, middle, CELL * 0.75)
        grounds = grounds[np.argsort(self._ground.quads.layer[grounds], kind="stable")]
        far = np.array((stands[:, 0], stands[:, 1], np.full(len(stands), streets.STANDS)))
        stands = stands[_within(far, middle, CELL * 0.75)]
        both = spots[:, shown], _spots(self._ground.quads, grounds)
        return _Cell(solids[shown], grounds, stands, planes[:, shown], both)

    def _piece(self, index: int) -> _Piece:
        if index not in self._pieces:
            self._pieces[index] = self._build(self.fronts[index])
        return self._pieces[index]

    def _corner(self, front: Front) -> House:
        """The house round the corner at a front's end."""
        return houses.house(self.look, (self.graph.name, "corner", front.index), tower=False)

    def _build(self, front: Front) -> _Piece:
        solid, ground = Draft(), Draft()
        rng = stream("virl-front", self.graph.name, front.index)
        after = self.fronts[self._next[front.index]]
        stands: list[tuple[float, ...]] = []
        if front.houses is not None and front.block in self._parks:
            stands += self._build_park(solid, ground, front)
        elif front.houses is not None:
            self._build_houses(solid, front, after)
        if front.kerb is not None:
            streets.pave(
                ground, self.fronts[self._before[front.index]], front, after, self._block_middle(front), self.pictures
            )
        if front.street is not None:
            start, end = self._mouth(front, True), self._mouth(front, False)
            if front.forward:
                streets.mark(ground, front, start, end, self._crossings(front), self.look, self.pictures)
            (x, y), (dx, dy) = front.base, front.way
            places = self._places.get(front.index, ())
            entrances = [(place.at[0] - x) * dx + (place.at[1] - y) * dy for place in places]
            stands += streets.stand(front, start, end, entrances, self.look, self.pictures, rng)
            park_cars(solid, ground, front, start, end, self.look, self.pictures, rng)
        numbers = self._solid.add(solid.quads()), self._ground.add(ground.quads())
        return _Piece(*numbers, np.array(stands, np.float64).reshape(-1, 6))

    def lots(self, front: Front) -> tuple[Wall, list[Lot]]:
        """The wall of a front that has houses, and its lots."""
        wall, name = Wall(front, self._light(front)), self.graph.name
        (x, y), (dx, dy) = wall.start, wall.way
        places = sorted(
            (((p.at[0] - x) * dx + (p.at[1] - y) * dy, p) for p in self._places.get(front.index, ())),
            key=lambda pair: pair[0],
        )
        places = [(min(max(along, 0.0), wall.length), place) for along, place in places]
        corners = self._corner(self.fronts[self._before[front.index]]), self._corner(front)
        rng = stream("virl-lots", name, front.index)

        def draw(number: int, middle: float) -> House:
            deep = self._room(front, wall.at(middle)) >= houses.TOWER
            return houses.house(self.look, (name, front.index, number), tower=deep)

        return wall, houses.split(wall.length, places, self.look, corners, draw, rng)

    @cached_property
    def _parks(self) -> dict[int, XY]:
        """The middles of the blocks that are parks: all of their places are, and the middle is seen from everywhere."""
        kinds: dict[int, set[str]] = {}
        for index, places in self._places.items():
            kinds.setdefault(self.fronts[index].block, set()).update(place.kind for place in places)
        found = {}
        for block in (block for block, there in kinds.items() if there == {"park"}):
            sides = [self.fronts[index] for index in self._blocks[block]]
            x, y = middle = self._block_middle(sides[0])
            if all(
                side.houses and side.way[0] * (y - side.houses[0][1]) - side.way[1] * (x - side.houses[0][0]) > 1
                for side in sides
            ):
                found[block] = middle
        return found

    def _build_park(self, draft: Draft, ground: Draft, front: Front) -> list[tuple[float, ...]]:
        """One side of a park, with its gates; its trees."""
        assert front.houses is not None
        wall = Wall(front, self._light(front))
        gardens.plant(draft, ground, wall, front.houses[1], self._parks[front.block], self.look, self.pictures)
        for place in self._places.get(front.index, ()):
            x, y = place.at[0] - wall.start[0], place.at[1] - wall.start[1]
            gardens.name_gate(draft, wall, x * wall.way[0] + y * wall.way[1], place, self.look, self.pictures)
        return gardens.trees(wall, self.look, self.pictures, self._room(front, wall.at(wall.length / 2)))

    def _build_houses(self, draft: Draft, front: Front, after: Front) -> None:
        wall, lots = self.lots(front)
        rng = stream("virl-ground-floors", self.graph.name, front.index)
        heights = [houses.roof(lot.house, self.look) + self.look.cornice for lot in lots]
        before = self.fronts[self._before[front.index]]
        mitres = _mitre(before, front), _mitre(front, after)
        for number, lot in enumerate(lots):
            first, last = number == 0, number + 1 == len(lots)
            left, right = (None if first else heights[number - 1]), (None if last else heights[number + 1])
            ends = (lot.start + 0.05, (lot.start + lot.end) / 2, lot.end - 0.05)
            rooms = [min(houses.DEPTH, self._room(front, wall.at(along))) for along in ends]
            depths = min(rooms[0], rooms[1]), min(rooms[1], rooms[2])
            outs = (mitres[0] if first else 0.0), (mitres[1] if last else 0.0)
            houses.build_lot(draft, wall, lot, left, right, depths, outs, self.look, self.pictures, rng)
            for unit in lot.units:
                if unit.place is not None:
                    signs.sign_place(draft, wall, unit, unit.place, self.look, self.pictures)
        assert front.houses is not None
        if after.houses is not None and after.houses[0] != front.houses[1]:
            self._join(draft, front.houses[1], after.houses[0], wall, self._corner(front))

    def _join(self, draft: Draft, a: XY, b: XY, wall: Wall, one: House) -> None:
        """The wall between two fronts of which one stands back."""
        top = houses.roof(one, self.look) + self.look.cornice
        wide = math.sqrt(_squared(a, b))
        texels = 64 / self.look.floor
        tint = tuple(part * 200 >> 8 for part in wall.tint(one.tone - 1))
        side = self.pictures.sides[one.wall]
        draft.wall(a, b, 0.0, top, ((0.0, 0.0), (wide * texels, top * texels)), side, (tint[0], tint[1], tint[2]))

    def _light(self, front: Front) -> int:
        """How bright the sun makes a front, of 256."""
        angle = math.radians(self.look.sun)
        east, north = round(math.sin(angle), 6), round(math.cos(angle), 6)
        facing = east * front.way[1] - north * front.way[0]
        return round(256 - self.look.contrast * (1 - facing) / 2)

    def _room(self, front: Front, at: XY) -> float:
        """Nearly half of the metres from a point of a front to the houses on the other side of its block."""
        x, y = -front.way[1], front.way[0]
        found = 2.2 * houses.DEPTH
        for index in self._blocks[front.block]:
            other = self.fronts[index]
            if other.houses is None or index == front.index:
                continue
            (ax, ay), (bx, by) = other.houses
            ex, ey = bx - ax, by - ay
            across = x * ey - y * ex
            if abs(across) < 1e-9:
                continue
            far = ((ax - at[0]) * ey - (ay - at[1]) * ex) / across
            share = ((ax - at[0]) * y - (ay - at[1]) * x) / across
            if far > 0 and 0 <= share <= 1:
                found = min(found, far)
        return max(found * 0.45, 0.3)

    def _mouth(self, front: Front, beginning: bool) -> float:
        """Where along a piece of street its crossing ends, or (not `beginning`) the next one begins, in metres."""
        assert front.street is not None
        other = self._sides[front.street, front.offset, not front.forward]
        marks = []
        for side, at_start in ((front, beginning), (other, not beginning)):
            if side.kerb is not None:
                x, y = side.kerb[0 if at_start else 1]
                marks.append((x - front.base[0]) * front.way[0] + (y - front.base[1]) * front.way[1])
        if beginning:
            return max([*marks, 0.0]) + streets.ROUND
        return min([*marks, front.length]) - streets.ROUND

    def _crossings(self, front: Front) -> tuple[bool, bool]:
        """Whether three streets or more meet where a forward piece begins, and where it ends."""
        assert front.street is not None
        street = self.graph.streets[front.street]
        length = self.graph.length(front.street)
        first, last = front.offset == 0.0, front.offset + front.length > length - 0.01
        meeting = self.graph.streets_at
        return first and len(meeting[street.a]) >= 3, last and len(meeting[street.b]) >= 3

    def _block_middle(self, front: Front) -> XY:
        kerbs = [self.fronts[index].kerb for index in self._blocks[front.block]]
        points = [kerb[0] for kerb in kerbs if kerb]
        return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)


def _mitre(front: Front, after: Front) -> float:
    """How much longer a ledge that stands out by 1 m is at a corner of two fronts than its wall; 0 where they part."""
    if front.houses is None or after.houses is None or front.houses[1] != after.houses[0]:
        return 0.0
    (ax, ay), (bx, by) = front.way, after.way
    return (ax * by - ay * bx) / max(1 + ax * bx + ay * by, 0.2)


def _squared(a: XY, b: XY) -> float:
    return (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1])


def _distances(segments: np.ndarray, at: XY) -> np.ndarray:
    """Metres from a point to segments (N, 2, 2)."""
    ax, ay, bx, by = segments[:, 0, 0], segments[:, 0, 1], segments[:, 1, 0], segments[:, 1, 1]
    dx, dy = bx - ax, by - ay
    square = np.maximum(dx * dx + dy * dy, 1e-9)
    share = np.clip(((at[0] - ax) * dx + (at[1] - ay) * dy) / square, 0.0, 1.0)
    x, y = at[0] - ax - share * dx, at[1] - ay - share * dy
    return np.sqrt(x * x + y * y)


def _spots(quads: Quads, numbers: np.ndarray) -> np.ndarray:
    return np.stack([quads.corners[numbers, 0, 0], quads.corners[numbers, 0, 1], quads.reach[numbers]])


def _within(spots: np.ndarray, at: XY, more: float = 0.0) -> np.ndarray:
    """Which quads are within reach, and so many metres `more`, of a point."""
    x, y, reach = spots[0] - at[0], spots[1] - at[1], spots[2] + more
    return x * x + y * y < reach * reach


def _before(planes: np.ndarray, at: XY) -> np.ndarray:
    """For planes (4, N), how far the camera at a point is before them, by what is above 0."""
    return ((planes[0] * at[0] + planes[1] * at[1]) + planes[2] * HEIGHT) - planes[3]
