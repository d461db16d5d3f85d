"""Invented cities: a pure function of a seed and a city's name."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.world.geometry import turned
from ruleshift.tasks.virl.world.graph import XY, Street, StreetGraph, hanging_together
from ruleshift.tasks.virl.world.names import STREET_KINDS, STREETS
from ruleshift.tasks.virl.world.places import furnish
from ruleshift.tasks.virl.world.plan import CityPlan
from ruleshift.tasks.virl.world.styles import Style, style_of

Cell = tuple[int, int]  # column, row: a corner of the grid, or the block that has this corner south-west of it
Lattice = dict[Cell, int]  # the corners in the plan


@lru_cache(maxsize=64)
def procedural(seed: int, city: str) -> StreetGraph:
    """The city of that name (see `styles`) in the world of that seed."""
    style = style_of(city)
    rng = stream("virl-city", seed, city)
    plan = CityPlan()
    lattice = _draw_corners(plan, style, rng)
    _draw_grid(plan, lattice, _lay_parks(plan, lattice, style, rng))
    for piece in list(plan.pieces):
        if rng.random() < style.missing:
            del plan.pieces[piece]
    for number, step in enumerate(style.diagonals):
        _draw_diagonal(plan, lattice, style, step, f"diagonal {number}", rng)
    _draw_dead_ends(plan, style, rng)
    nodes, streets = _finish(plan, rng)
    bare = StreetGraph(city, style.origin, nodes, streets, ())
    return replace(bare, places=furnish(bare, plan.parks, style, rng))


def _draw_corners(plan: CityPlan, style: Style, rng: random.Random) -> Lattice:
    """The corners of a grid that is bent, turned and jittered."""
    xs = _lines(style.columns, style.block[0], style.spread, rng)
    ys = _lines(style.rows, style.block[1], style.spread, rng)
    bend = _bending(style, xs[-1], ys[-1], rng)
    lattice = {}
    for column, x in enumerate(xs):
        for row, y in enumerate(ys):
            at = bend((x, y))
            away, way = style.jitter * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
            lattice[column, row] = plan.add((at[0] + away * math.cos(way), at[1] + away * math.sin(way)))
    return lattice


def _lines(count: int, size: float, spread: float, rng: random.Random) -> list[float]:
    """Positions of parallel lines, the first at 0."""
    positions = [0.0]
    for _ in range(count - 1):
        positions.append(positions[-1] + size * rng.uniform(1 - spread, 1 + spread))
    return positions


def _bending(style: Style, width: float, height: float, rng: random.Random) -> Callable[[XY], XY]:
    """Where a point of the straight grid comes to lie; its middle becomes (0, 0).

    Columns and rows swing like sines; then the columns are bent into arcs, all around one point; then all is turned.
    """
    slope = math.tan(math.radians(style.sway))
    waves = [2 * math.pi / (length * rng.uniform(0.6, 1.0)) for length in (height, width)]
    phases = [rng.uniform(0, 2 * math.pi) for _ in waves]
    radius = height / math.radians(style.bow or 1e-6)

    def bend(at: XY) -> XY:
        x = at[0] - width / 2 + slope / waves[0] * math.sin(waves[0] * at[1] + phases[0])
        y = at[1] - height / 2 + slope / waves[1] * math.sin(waves[1] * at[0] + phases[1])
        x, y = radius - (radius - x) * math.cos(y / radius), (radius - x) * math.sin(y / radius)
        return turned((x, y), style.rotation)

    return bend


def _lay_parks(plan: CityPlan, lattice: Lattice, style: Style, rng: random.Random) -> dict[Cell, int]:
    """Parks of one to four blocks; answers which park each of their blocks belongs to."""
    blocks = (style.columns - 1) * (style.rows - 1)
    park_of: dict[Cell, int] = {}
    for _ in range(round(style.parks * blocks)):
        wide, high = rng.randint(1, 2), rng.randint(1, 2)
        left, low = rng.randrange(style.columns - wide), rng.randrange(style.rows - high)
        ground = [(left + i, low + j) for i in range(wide) for j in range(high)]
        if park_of.keys().isdisjoint(ground):
            park_of |= dict.fromkeys(ground, len(plan.parks))
            around = [(left + i, low) for i in range(wide)] + [(left + wide, low + j) for j in range(high)]
            around += [(left + wide - i, low + high) for i in range(wide)] + [
                (left, low + high - j) for j in range(high)
            ]
            plan.parks.append([plan.points[lattice[corner]] for corner in around])
    return park_of


def _draw_grid(plan: CityPlan, lattice: Lattice, park_of: dict[Cell, int]) -> None:
    """All rows and columns, but for the pieces between two blocks of one park."""
    for (column, row), corner in lattice.items():
        block, below, before = (column, row), (column, row - 1), (column - 1, row)
        ways = ((f"row {row}", (column + 1, row), below), (f"column {column}", (column, row + 1), before))
        for label, end, beside in ways:
            in_park = block in park_of and park_of[block] == park_of.get(beside)
            if end in lattice and not in_park:
                plan.connect(corner, lattice[end], label)


def _draw_diagonal(plan: CityPlan, lattice: Lattice, style: Style, step: Cell, label: str, rng: random.Random) -> None:
    """Through a corner in the inner half of the city, in steps of so many columns and rows, from edge to edge."""
    column, row = (rng.randint(count // 4, count * 3 // 4) for count in (style.columns, style.rows))
    here = (column, row)
    while (here[0] - step[0], here[1] - step[1]) in lattice:
        here = here[0] - step[0], here[1] - step[1]
    while (there := (here[0] + step[0], here[1] + step[1])) in lattice:
        plan.draw_diagonal(lattice[here], lattice[there], label)
        here = there


def _draw_dead_ends(plan: CityPlan, style: Style, rng: random.Random) -> None:
    blocks = (style.columns - 1) * (style.rows - 1)
    for number in range(round(style.dead_ends * blocks)):
        piece = rng.choice(list(plan.pieces))
        length = rng.uniform(0.35, 0.6) * min(style.block)
        plan.draw_dead_end(piece, rng.uniform(0.3, 0.7), length, rng.random() < 0.5, f"dead end {number}")


def _finish(plan: CityPlan, rng: random.Random) -> tuple[tuple[XY, ...], tuple[Street, ...]]:
    """What hangs together with most of the city, with indices from 0 and names for the labels."""
    plan.straighten()
    most = max(hanging_together(plan.pieces), key=len)
    kept = sorted(most)
    index = {corner: position for position, corner in enumerate(kept)}
    pieces = sorted((piece, label) for piece, label in plan.pieces.items() if piece[0] in index)
    names = _street_names(list(dict.fromkeys(label for _, label in pieces)), rng)
    streets = tuple(Street(index[a], index[b], names[label]) for (a, b), label in pieces)
    return tuple(plan.points[corner] for corner in kept), streets


def _street_names(labels: list[str], rng: random.Random) -> dict[str, str]:
    """Every word is used once before one is used again, then with another kind of street."""
    words, kinds = list(STREETS), list(STREET_KINDS)
    rng.shuffle(words)
    rng.shuffle(kinds)
    names = {}
    for number, label in enumerate(labels):
        lap, position = divmod(number, len(words))
        names[label] = f"{words[position]} {kinds[(position + lap) % len(kinds)]}"
    return names
