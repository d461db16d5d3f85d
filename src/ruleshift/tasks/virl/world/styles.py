"""The statistics of each city's streets. Numbers are invented in the manner of the place whose name they carry."""

import math
import random
from dataclasses import dataclass, replace

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.streams import stream

PRETRAINING = "pretrain-"  # any number may follow: a city of random style
INNERMOST = 40.0  # m


@dataclass(frozen=True)
class Style:
    """How a city's streets are drawn: a grid of columns and rows that is bent, thinned out and added to.

    `origin` is (latitude, longitude) in degrees. `block` is metres between columns and between rows, varying by the
    share `spread`. The grid is turned clockwise by `rotation` degrees, and its columns turn by `bow` degrees more from
    their southern to their northern end; its lines swing by up to `sway` degrees and its corners are moved by up to
    `jitter` metres. `missing` is the share of pieces of street left out. Each of
    `diagonals` crosses the city in steps of that many columns and rows. `dead_ends` and `parks` are shares of the
    blocks. `corners` is the share of street corners with a place; `places` how many there are per 100 m of street
    besides. `facade` is metres from the middle of a street to its houses, at least and at most.
    """

    origin: tuple[float, float]
    columns: int
    rows: int
    block: tuple[float, float]
    rotation: float
    bow: float = 0.0
    spread: float = 0.1
    sway: float = 5.0
    jitter: float = 3.0
    missing: float = 0.05
    diagonals: tuple[tuple[int, int], ...] = ()
    dead_ends: float = 0.05
    parks: float = 0.02
    corners: float = 0.5
    places: float = 1.5
    facade: tuple[float, float] = (6.0, 8.0)


STYLES = {
    "new-york": Style(
        (40.754, -73.984), 12, 36, (132.0, 80.0), 29.0, bow=36.0, spread=0.08, sway=5.0, jitter=3.0, missing=0.04,
        diagonals=((1, -3),), dead_ends=0.01, parks=0.02, corners=0.5, places=1.2, facade=(7.5, 9.0),
    ),
    "lagos": Style(
        (6.447, 3.399), 14, 15, (72.0, 88.0), 12.0, spread=0.3, sway=14.0, jitter=9.0, missing=0.2,
        dead_ends=0.3, parks=0.005, corners=0.6, places=2.6, facade=(6.0, 6.5),
    ),
    "new-delhi": Style(
        (28.632, 77.219), 12, 12, (115.0, 105.0), 40.0, spread=0.2, sway=16.0, jitter=6.0, missing=0.12,
        diagonals=((1, 1), (1, -1)), dead_ends=0.12, parks=0.06, corners=0.45, places=1.3, facade=(7.5, 9.0),
    ),
    "hong-kong": Style(
        (22.282, 114.157), 17, 14, (62.0, 78.0), -12.0, spread=0.25, sway=17.0, jitter=6.0, missing=0.17,
        dead_ends=0.12, parks=0.02, corners=0.7, places=3.0, facade=(6.0, 6.5),
    ),
    "melbourne": Style(
        (-37.814, 144.963), 12, 13, (125.0, 96.0), -12.0, spread=0.05, sway=3.0, jitter=2.0, missing=0.03,
        dead_ends=0.35, parks=0.03, corners=0.5, places=1.6, facade=(7.5, 9.0),
    ),
    "milan": Style(
        (45.464, 9.190), 14, 14, (86.0, 92.0), 35.0, bow=60.0, spread=0.2, sway=8.0, jitter=7.0, missing=0.14,
        diagonals=((1, 1), (2, -1)), dead_ends=0.06, parks=0.02, corners=0.5, places=1.9, facade=(6.0, 7.5),
    ),
    "london": Style(
        (51.513, -0.131), 15, 14, (78.0, 86.0), 8.0, spread=0.35, sway=18.0, jitter=11.0, missing=0.2,
        diagonals=((1, 2),), dead_ends=0.25, parks=0.05, corners=0.5, places=2.1, facade=(6.0, 7.0),
    ),
    "new-york-soho": Style(
        (40.724, -74.000), 13, 14, (84.0, 118.0), 33.0, spread=0.1, sway=6.0, jitter=3.0, missing=0.06,
        dead_ends=0.02, parks=0.01, corners=0.65, places=2.4, facade=(6.5, 7.5),
    ),
    "san-francisco": Style(
        (37.787, -122.411), 13, 15, (126.0, 84.0), -9.0, spread=0.06, sway=4.0, jitter=2.0, missing=0.05,
        diagonals=((1, -1), (1, -1)), dead_ends=0.18, parks=0.03, corners=0.5, places=1.5, facade=(7.0, 9.0),
    ),
    "buenos-aires": Style(
        (-34.604, -58.382), 14, 14, (112.0, 112.0), 4.0, spread=0.03, sway=6.0, jitter=3.0, missing=0.02,
        diagonals=((1, 1),), dead_ends=0.0, parks=0.04, corners=0.6, places=1.6, facade=(6.5, 7.5),
    ),
    "port-alder": Style(
        (54.321, 10.135), 13, 13, (95.0, 82.0), 50.0, spread=0.2, sway=12.0, jitter=5.0, missing=0.1,
        diagonals=((1, -2),), dead_ends=0.1, parks=0.03, corners=0.5, places=1.8, facade=(6.0, 8.0),
    ),
    "saint-vine": Style(
        (43.604, 1.444), 14, 13, (80.0, 100.0), -38.0, spread=0.3, sway=15.0, jitter=8.0, missing=0.16,
        dead_ends=0.2, parks=0.02, corners=0.55, places=2.2, facade=(6.0, 7.0),
    ),
}  # fmt: skip


def style_of(city: str) -> Style:
    """The style of a named city, or for `pretrain-<k>` one drawn at random from wide ranges."""
    if city in STYLES:
        return STYLES[city]
    if city.startswith(PRETRAINING) and city.removeprefix(PRETRAINING).isdecimal():
        return _draw_style(stream("virl-style", city))
    raise RuleshiftError(f"no city named {city!r}: choose from {', '.join(STYLES)} or {PRETRAINING}<number>")


def _draw_style(rng: random.Random) -> Style:
    facade = rng.uniform(6.0, 7.5)
    diagonals = ((1, 1), (1, -1), (1, 2), (2, -1), (1, -3), (3, 1))
    drawn = Style(
        origin=(rng.uniform(-50, 60), rng.uniform(-180, 180)),
        columns=rng.randint(10, 14),
        rows=rng.randint(10, 14),
        block=(rng.uniform(65, 130), rng.uniform(65, 130)),
        rotation=rng.choice((0, 45)) + rng.uniform(-17, 17),
        bow=rng.choice((0.0, 0.0, rng.uniform(-45, 45))),
        spread=rng.uniform(0.05, 0.3),
        sway=rng.uniform(3, 18),
        jitter=rng.uniform(2, 8),
        missing=rng.uniform(0.02, 0.2),
        diagonals=tuple(rng.choice(diagonals) for _ in range(rng.randint(0, 2))),
        dead_ends=rng.uniform(0, 0.3),
        parks=rng.uniform(0, 0.05),
        corners=rng.uniform(0.4, 0.7),
        places=rng.uniform(1.2, 2.5),
        facade=(facade, facade + rng.uniform(0, 1.5)),
    )
    return replace(drawn, bow=_bent_at_most(drawn))


def _bent_at_most(style: Style) -> float:
    """Its bow, or as much of it as leaves INNERMOST metres between rows where bending brings them closest."""
    width, height = (style.columns - 1) * style.block[0], (style.rows - 1) * style.block[1]
    most = math.degrees(2 * height / width * (1 - INNERMOST / style.block[1]))
    return max(-most, min(style.bow, most))
