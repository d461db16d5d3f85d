"""The looks of the cities, by name; those of cities for pretraining are drawn at random and resemble none of them."""

import math
import random
from functools import lru_cache
from typing import get_args

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.views.looks import CityLook, Crossing, Lamp, Marking, Material, Paving, Tree, Window
from ruleshift.tasks.virl.views.paint import RGB, mixed, shade
from ruleshift.tasks.virl.world.styles import PRETRAINING

LOOKS: dict[str, CityLook] = {
    "new-york": CityLook(
        walls=((138, 66, 50), (158, 84, 62), (120, 88, 70), (176, 150, 122), (98, 62, 52)),
        trim=(196, 180, 156), material="brick", window="sash", glass=(64, 84, 104), bay=2.7, floor=3.3,
        floors=(4, 7), towers=0.12, tower=16, lot=(8.0, 16.0), extra="escape", cornice=0.9,
        signs=(((20, 60, 44), (240, 236, 220)), ((150, 22, 28), (255, 250, 240)), ((24, 26, 30), (250, 206, 70)),
               ((18, 44, 92), (245, 245, 250))),
        fronts=((40, 42, 44), (58, 40, 30), (30, 50, 44)), blade="panel",
        awnings=((24, 84, 56), (150, 30, 34), (30, 50, 100)), awning=0.3, pen=1.6,
        road=(74, 76, 80), paint=(236, 190, 40), marking="double", crossing="ladder",
        kerb=(150, 150, 148), pavement=(172, 170, 164), paving="slabs", sidewalk=3.2,
        tree="round", leaves=(82, 122, 54), trees=3.0, lamp="hook", iron=(70, 74, 78), cars=9.0,
        car=((246, 196, 30), (246, 196, 30), (58, 60, 66), (220, 222, 224), (110, 114, 120), (120, 24, 28)),
        zenith=(70, 128, 208), horizon=(196, 216, 236), sight=300, clouds=110, sun=150.0, contrast=80,
    ),
    "lagos": CityLook(
        walls=((226, 192, 108), (206, 160, 120), (170, 196, 168), (222, 216, 196), (216, 148, 96)),
        trim=(236, 230, 212), material="stucco", window="grille", glass=(58, 66, 70), bay=3.4, floor=3.0,
        floors=(1, 3), towers=0.04, tower=7, lot=(9.0, 15.0), cornice=0.35, ground=4.2,
        signs=(((250, 208, 30), (180, 24, 24)), ((206, 34, 34), (255, 244, 80)), ((20, 128, 70), (255, 255, 255)),
               ((250, 250, 240), (24, 60, 160))),
        fronts=((58, 110, 90), (150, 60, 44), (60, 84, 130)), blade="none", fascia=1.5,
        awnings=((206, 60, 40), (40, 110, 190), (240, 190, 40)), awning=0.55, pen=1.9, slant=0.12,
        road=(112, 102, 92), paint=(240, 240, 236), marking="none", crossing="none",
        kerb=(176, 166, 148), pavement=(186, 150, 112), paving="earth", sidewalk=2.6,
        tree="palm", leaves=(92, 124, 48), trees=2.2, height=7.5, spread=0.9, lamp="pole", iron=(130, 124, 112),
        cars=10.0, car=((244, 190, 20), (244, 190, 20), (244, 190, 20), (230, 230, 226), (96, 40, 36)),
        zenith=(150, 182, 204), horizon=(232, 224, 204), sight=170, clouds=150, sun=180.0, contrast=60,
    ),
    "new-delhi": CityLook(
        walls=((232, 222, 196), (214, 196, 160), (196, 122, 92), (224, 206, 178), (182, 104, 80)),
        trim=(170, 84, 64), material="render", window="square", glass=(70, 80, 76), bay=3.1, floor=3.5,
        floors=(2, 4), towers=0.03, tower=8, lot=(10.0, 18.0), extra="cooler", cornice=0.6, ground=4.4,
        signs=(((24, 52, 140), (255, 226, 60)), ((240, 236, 226), (196, 30, 30)), ((240, 130, 20), (255, 255, 250)),
               ((110, 20, 60), (255, 236, 200))),
        fronts=((120, 70, 40), (64, 70, 84), (150, 110, 60)), blade="disc", fascia=1.4,
        awnings=((196, 150, 90), (180, 80, 40)), awning=0.25, pen=1.35,
        road=(96, 92, 88), paint=(236, 232, 220), marking="dashes", crossing="zebra",
        kerb=(214, 196, 70), pavement=(168, 122, 98), paving="tiles", sidewalk=3.4, left_hand=True,
        tree="bush", leaves=(84, 104, 50), trees=7.0, height=8.5, spread=1.05, lamp="arms", iron=(110, 104, 92),
        cars=7.0, car=((40, 130, 70), (236, 236, 232), (236, 236, 232), (60, 64, 70), (150, 30, 30)),
        zenith=(172, 168, 150), horizon=(216, 202, 170), sight=105, clouds=40, sun=230.0, contrast=50,
    ),
    "hong-kong": CityLook(
        walls=((210, 216, 206), (224, 184, 178), (168, 206, 200), (230, 220, 180), (190, 196, 212)),
        trim=(150, 158, 160), material="tile", window="ribbon", glass=(60, 82, 92), bay=2.3, floor=2.8,
        floors=(9, 16), towers=0.25, tower=24, lot=(7.0, 11.0), extra="cooler", cornice=0.3, ground=4.6,
        signs=(((214, 20, 40), (255, 240, 120)), ((20, 150, 90), (255, 255, 255)), ((250, 206, 20), (190, 16, 30)),
               ((130, 20, 130), (255, 255, 255))),
        fronts=((150, 154, 158), (96, 100, 110), (176, 168, 150)), blade="tall", fascia=1.6, pen=2.0,
        road=(64, 68, 72), paint=(238, 238, 236), marking="dashes", crossing="zebra",
        kerb=(120, 124, 128), pavement=(150, 134, 130), paving="tiles", sidewalk=2.5, left_hand=True,
        trees=0.0, lamp="pole", iron=(150, 156, 160), cars=5.0,
        car=((196, 24, 30), (196, 24, 30), (226, 228, 230), (60, 62, 70)),
        zenith=(132, 144, 154), horizon=(192, 200, 204), sight=210, clouds=190, sun=180.0, contrast=46,
    ),
    "melbourne": CityLook(
        walls=((92, 98, 108), (112, 116, 122), (186, 176, 152), (126, 108, 98), (74, 80, 92)),
        trim=(214, 206, 186), material="stone", window="arch", glass=(54, 66, 88), bay=3.0, floor=3.8,
        floors=(2, 4), towers=0.08, tower=14, lot=(6.0, 11.0), cornice=1.3, ground=4.6,
        signs=(((236, 230, 214), (40, 44, 60)), ((34, 62, 60), (232, 206, 140)), ((120, 40, 60), (250, 236, 220)),
               ((52, 60, 110), (255, 255, 255))),
        fronts=((28, 34, 60), (90, 30, 40), (26, 62, 50)), blade="panel", fascia=1.2,
        awnings=((60, 74, 66), (96, 40, 44), (52, 60, 88)), awning=0.85, pen=1.2,
        road=(58, 60, 68), paint=(246, 246, 244), marking="edge", crossing="lines",
        kerb=(84, 88, 96), pavement=(104, 106, 112), paving="setts", sidewalk=3.6, left_hand=True,
        tree="tall", leaves=(112, 142, 62), trees=7.0, height=11.0, spread=0.62, lamp="globe", iron=(40, 60, 52),
        cars=6.0, car=((240, 240, 240), (170, 174, 180), (40, 60, 110), (30, 90, 60), (78, 78, 84)),
        zenith=(36, 92, 186), horizon=(168, 204, 240), sight=420, clouds=60, sun=20.0, contrast=96,
    ),
    "milan": CityLook(
        walls=((232, 184, 110), (222, 148, 96), (238, 214, 160), (206, 124, 90), (230, 196, 150)),
        trim=(226, 214, 188), material="stucco", window="shutter", glass=(74, 86, 84), bay=2.9, floor=3.6,
        floors=(3, 5), towers=0.02, tower=8, lot=(12.0, 20.0), extra="balcony", cornice=1.0, ground=4.4,
        signs=(((60, 34, 26), (244, 222, 170)), ((244, 238, 220), (110, 20, 34)), ((30, 70, 40), (246, 240, 220)),
               ((150, 110, 50), (255, 250, 235))),
        fronts=((46, 84, 60), (96, 62, 40), (60, 86, 84)), blade="disc", fascia=1.05,
        awnings=((196, 60, 44), (226, 190, 110), (60, 110, 80)), awning=0.5, pen=1.0,
        road=(122, 116, 110), paint=(244, 240, 230), marking="none", crossing="zebra",
        kerb=(190, 182, 170), pavement=(158, 146, 134), paving="setts", sidewalk=2.6,
        tree="column", leaves=(54, 84, 52), trees=2.5, height=9.0, spread=0.8, lamp="lantern", iron=(52, 56, 50),
        cars=8.0, car=((246, 246, 244), (180, 30, 30), (90, 110, 90), (60, 66, 76), (200, 204, 206)),
        zenith=(108, 150, 202), horizon=(252, 226, 184), sight=260, clouds=50, sun=250.0, contrast=70,
    ),
    "london": CityLook(
        walls=((154, 136, 104), (238, 234, 222), (128, 110, 88), (170, 148, 112), (224, 218, 204)),
        trim=(246, 244, 238), material="brick", window="wide", glass=(72, 80, 90), bay=3.7, floor=3.2,
        floors=(2, 4), towers=0.02, tower=9, lot=(6.0, 9.0), cornice=0.7, ground=4.1, extra="box",
        signs=(((16, 18, 24), (226, 190, 96)), ((14, 60, 110), (255, 255, 255)), ((116, 14, 40), (246, 226, 170)),
               ((26, 70, 62), (240, 240, 230))),
        fronts=((18, 20, 26), (20, 40, 78), (80, 16, 30)), blade="panel", fascia=1.15,
        awnings=((30, 60, 50), (40, 40, 46)), awning=0.12, pen=1.25,
        road=(84, 84, 88), paint=(244, 244, 240), marking="dashes", crossing="zebra",
        kerb=(196, 194, 190), pavement=(190, 186, 176), paving="slabs", sidewalk=2.7, left_hand=True,
        tree="bare", leaves=(84, 68, 54), trees=3.5, height=8.5, spread=1.0, lamp="lantern", iron=(24, 26, 30),
        cars=6.0, car=((46, 46, 52), (46, 46, 52), (190, 20, 26), (70, 74, 82), (214, 214, 214)),
        zenith=(142, 150, 160), horizon=(210, 212, 214), sight=230, clouds=230, sun=160.0, contrast=30,
    ),
    "new-york-soho": CityLook(
        walls=((226, 222, 208), (176, 182, 186), (206, 190, 160), (120, 132, 136), (240, 240, 236)),
        trim=(250, 248, 240), material="concrete", window="loft", glass=(50, 62, 78), bay=3.3, floor=4.1,
        floors=(4, 6), towers=0.0, lot=(10.0, 18.0), extra="escape", cornice=1.5, ground=4.9,
        signs=(((250, 250, 248), (20, 20, 22)), ((20, 20, 22), (250, 250, 248)), ((226, 84, 40), (255, 255, 255)),
               ((70, 76, 82), (255, 220, 120))),
        fronts=((226, 222, 210), (34, 36, 40), (110, 120, 124)), blade="disc", fascia=1.2, pen=0.9,
        awnings=((28, 28, 30), (210, 206, 196)), awning=0.2,
        road=(92, 84, 80), paint=(244, 242, 236), marking="edge", crossing="ladder",
        kerb=(132, 130, 132), pavement=(140, 142, 146), paving="concrete", sidewalk=2.8,
        trees=1.2, tree="round", leaves=(150, 140, 60), height=6.5, spread=0.75, lamp="arms", iron=(40, 44, 48),
        cars=8.0, car=((246, 196, 30), (50, 52, 58), (50, 52, 58), (240, 240, 240), (124, 128, 132)),
        zenith=(104, 166, 226), horizon=(226, 236, 244), sight=360, clouds=20, sun=110.0, contrast=90,
    ),
    "san-francisco": CityLook(
        walls=((166, 200, 222), (240, 206, 196), (196, 222, 186), (246, 232, 168), (204, 188, 222)),
        trim=(252, 252, 250), material="boards", window="bay", glass=(80, 100, 118), bay=4.0, floor=3.1,
        floors=(1, 2), towers=0.03, tower=8, lot=(7.0, 9.0), cornice=0.8, ground=4.0,
        signs=(((40, 110, 150), (255, 255, 255)), ((250, 246, 236), (200, 70, 60)), ((230, 120, 90), (255, 252, 240)),
               ((70, 130, 90), (255, 248, 214))),
        fronts=((240, 240, 236), (70, 100, 120), (120, 80, 70)), blade="panel", fascia=1.25,
        awnings=((70, 140, 170), (230, 140, 110)), awning=0.35, pen=1.45, slant=0.18,
        road=(104, 106, 110), paint=(250, 206, 70), marking="dashes", crossing="lines",
        kerb=(226, 226, 222), pavement=(206, 204, 198), paving="concrete", sidewalk=3.4,
        tree="column", leaves=(76, 116, 74), trees=3.0, height=7.0, spread=0.8, lamp="globe", iron=(120, 128, 132),
        cars=9.0, car=((236, 238, 240), (70, 130, 180), (60, 110, 90), (220, 90, 60), (60, 64, 72)),
        zenith=(92, 156, 214), horizon=(236, 240, 244), sight=140, clouds=90, sun=240.0, contrast=56,
    ),
    "buenos-aires": CityLook(
        walls=((214, 208, 196), (196, 192, 186), (226, 222, 212), (178, 170, 158), (208, 198, 180)),
        trim=(236, 232, 224), material="stone", window="tall", glass=(62, 78, 84), bay=2.5, floor=3.7,
        floors=(5, 8), towers=0.06, tower=12, lot=(9.0, 14.0), extra="balcony", cornice=1.2, ground=4.8,
        signs=(((110, 180, 226), (255, 255, 255)), ((30, 34, 40), (120, 210, 255)), ((255, 255, 250), (40, 90, 160)),
               ((220, 60, 90), (255, 240, 230))),
        fronts=((70, 60, 54), (56, 74, 96), (40, 44, 48)), blade="tall", fascia=1.35,
        awnings=((120, 190, 230), (236, 236, 230), (200, 60, 60)), awning=0.4, pen=1.75,
        road=(80, 84, 92), paint=(250, 250, 250), marking="none", crossing="zebra",
        kerb=(170, 168, 160), pavement=(196, 180, 140), paving="tiles", sidewalk=3.1,
        tree="round", leaves=(138, 104, 190), trees=8.0, height=8.0, spread=0.95, lamp="hook", iron=(60, 66, 60),
        cars=7.0, car=((48, 48, 54), (250, 210, 30), (236, 236, 236), (130, 134, 140), (60, 80, 130)),
        zenith=(58, 140, 232), horizon=(206, 232, 254), sight=330, clouds=140, sun=330.0, contrast=76,
    ),
    "port-alder": CityLook(
        walls=((54, 92, 110), (156, 44, 40), (234, 228, 216), (40, 70, 62), (206, 164, 60)),
        trim=(242, 240, 234), material="boards", window="sash", glass=(84, 100, 112), bay=3.2, floor=2.9,
        floors=(2, 3), towers=0.0, lot=(7.0, 10.0), cornice=0.4, ground=3.9,
        signs=(((240, 240, 236), (30, 60, 90)), ((30, 60, 90), (250, 250, 250)), ((200, 60, 40), (255, 246, 230))),
        fronts=((240, 238, 232), (46, 84, 96), (110, 40, 36)), blade="panel", fascia=1.1, pen=1.15,
        awnings=((200, 70, 60), (60, 110, 130)), awning=0.3,
        road=(70, 74, 84), paint=(240, 240, 240), marking="edge", crossing="zebra",
        kerb=(110, 114, 120), pavement=(136, 138, 142), paving="setts", sidewalk=2.9,
        tree="tall", leaves=(60, 96, 70), trees=3.5, height=9.0, spread=0.6, lamp="globe", iron=(40, 44, 50),
        zenith=(96, 130, 168), horizon=(206, 214, 222), sight=220, clouds=170, sun=200.0, contrast=46,
    ),
    "saint-vine": CityLook(
        walls=((202, 110, 84), (216, 136, 104), (190, 150, 176), (228, 190, 170), (170, 90, 74)),
        trim=(238, 226, 206), material="brick", window="shutter", glass=(70, 78, 92), bay=3.5, floor=3.4,
        floors=(2, 4), towers=0.0, lot=(8.0, 13.0), cornice=0.8, ground=4.2, extra="balcony",
        signs=(((90, 110, 60), (250, 244, 226)), ((246, 240, 226), (90, 50, 110)), ((170, 60, 60), (255, 240, 220))),
        fronts=((110, 130, 160), (120, 90, 120), (90, 110, 90)), blade="disc", fascia=1.15, pen=1.05, slant=0.1,
        awnings=((210, 120, 90), (130, 150, 190)), awning=0.45,
        road=(128, 112, 104), paint=(240, 236, 226), marking="none", crossing="lines",
        kerb=(186, 160, 140), pavement=(196, 160, 138), paving="setts", sidewalk=2.6,
        tree="round", leaves=(126, 146, 70), trees=4.0, height=7.0, spread=0.9, lamp="lantern", iron=(60, 54, 50),
        zenith=(88, 136, 196), horizon=(244, 226, 206), sight=300, clouds=70, sun=220.0, contrast=64,
    ),
}  # fmt: skip

APART = 60  # how far a drawn wall is from every wall above, as a distance between colours
SKY_APART = 40
WINDOWS: tuple[Window, ...] = ("slit", "pair", "hatch", "grid", "broad", "low")  # those that no named city has


@lru_cache(maxsize=128)
def look_of(city: str) -> CityLook:
    """The look of a named city, or for `pretrain-<k>` one drawn at random that resembles none of the named."""
    if city in LOOKS:
        return LOOKS[city]
    if city.startswith(PRETRAINING) and city.removeprefix(PRETRAINING).isdecimal():
        return _draw_look(stream("virl-look", city))
    raise RuleshiftError(f"no city named {city!r} has a look: choose from {', '.join(LOOKS)} or {PRETRAINING}<number>")


def apart(a: RGB, b: RGB) -> float:
    """The distance between two colours."""
    return math.sqrt(sum((x - y) * (x - y) for x, y in zip(a, b, strict=True)))


def _draw_colour(rng: random.Random, low: int, high: int, known: list[RGB], least: float) -> RGB:
    """A colour that is so far from all that are known."""
    while True:
        colour = rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)
        if all(apart(colour, other) >= least for other in known):
            return colour


def _draw_look(rng: random.Random) -> CityLook:
    walls = [wall for look in LOOKS.values() for wall in look.walls]
    zenith = _draw_colour(rng, 60, 235, [look.zenith for look in LOOKS.values()], SKY_APART)
    horizon = mixed(zenith, (250, 246, 240), rng.randint(120, 200))
    boards = [ground for look in LOOKS.values() for ground, _ in look.signs]
    grounds = [_draw_colour(rng, 10, 250, boards, 30) for _ in range(4)]
    grey, least = rng.randint(60, 130), rng.randint(1, 8)
    height = rng.uniform(6, 10)
    return CityLook(
        walls=tuple(_draw_colour(rng, 40, 240, walls, APART) for _ in range(5)),
        trim=_draw_colour(rng, 60, 250, [], 0),
        material=rng.choice(get_args(Material)),
        window=rng.choice(WINDOWS),
        glass=(rng.randint(40, 110), rng.randint(50, 110), rng.randint(50, 120)),
        bay=rng.uniform(2.4, 4.0),
        floor=rng.uniform(2.8, 4.0),
        floors=(least, least + rng.randint(1, 4)),
        towers=rng.choice((0.0, 0.0, rng.uniform(0.0, 0.2))),
        tower=least + 8,
        lot=(rng.uniform(6, 10), rng.uniform(10, 18)),
        signs=tuple((ground, (250, 250, 245) if sum(ground) < 380 else (24, 24, 30)) for ground in grounds),
        fronts=tuple(shade(_draw_colour(rng, 30, 230, [], 0), 200) for _ in range(3)),
        road=(grey + rng.randint(-14, 24), grey + rng.randint(-14, 14), grey + rng.randint(-14, 24)),
        paint=rng.choice(((240, 240, 236), (236, 150, 60), (150, 220, 240), (240, 214, 90))),
        kerb=(rng.randint(100, 230), rng.randint(100, 220), rng.randint(90, 220)),
        pavement=(rng.randint(100, 210), rng.randint(100, 200), rng.randint(90, 200)),
        zenith=zenith,
        horizon=horizon,
        sight=rng.randint(110, 400),
        extra=rng.choice(("", "", "balcony", "cooler", "box")),
        cornice=rng.uniform(0.3, 1.4),
        ground=rng.uniform(4.0, 4.9),
        fascia=rng.uniform(1.1, 1.6),
        blade=rng.choice(("panel", "tall", "disc", "none")),
        awnings=tuple(_draw_colour(rng, 30, 230, [], 0) for _ in range(2)),
        awning=rng.uniform(0.0, 0.8),
        pen=rng.uniform(0.9, 2.0),
        slant=rng.choice((0.0, 0.0, rng.uniform(0.05, 0.25))),
        marking=rng.choice(get_args(Marking)),
        crossing=rng.choice(get_args(Crossing)),
        paving=rng.choice(get_args(Paving)),
        sidewalk=rng.uniform(2.5, 3.5),
        tree=rng.choice(get_args(Tree)),
        leaves=(rng.randint(50, 220), rng.randint(60, 190), rng.randint(30, 160)),
        trees=rng.uniform(0, 8),
        height=height,
        spread=rng.uniform(0.6, 1.0),
        lamp=rng.choice(get_args(Lamp)),
        iron=(rng.randint(30, 150), rng.randint(30, 150), rng.randint(30, 150)),
        car=tuple(_draw_colour(rng, 20, 245, [], 0) for _ in range(4)),
        cars=rng.uniform(2, 10),
        left_hand=rng.random() < 0.5,
        clouds=rng.randint(20, 230),
        sun=rng.uniform(0, 360),
        contrast=rng.randint(30, 96),
    )
