"""Street views: where things are seen, that both renderers agree, and that cities differ."""

import hashlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl import views
from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.rules import PRETRAINING_CITIES, TEST_CITIES, TRAIN_CITY, VALIDATION_CITIES
from ruleshift.tasks.virl.task import Virl
from ruleshift.tasks.virl.views import rasterise
from ruleshift.tasks.virl.views.atlas import Atlas
from ruleshift.tasks.virl.views.blocks import Front, fronts
from ruleshift.tasks.virl.views.camera import HEIGHT, VIEWS, camera
from ruleshift.tasks.virl.views.cities import APART, LOOKS, SKY_APART, WINDOWS, apart, look_of
from ruleshift.tasks.virl.views.factorial import DesignCell, cells, new_names
from ruleshift.tasks.virl.views.font import letters, spelled, written
from ruleshift.tasks.virl.views.panorama import panorama_grid, panorama_view, read_panorama
from ruleshift.tasks.virl.views.quads import Draft, Pile, planes_of
from ruleshift.tasks.virl.views.render import grid_view, renderer_of, scene_of, street_view
from ruleshift.tasks.virl.views.scene import Visible
from ruleshift.tasks.virl.views.streets import STONE, pave
from ruleshift.tasks.virl.views.weather import weather
from ruleshift.tasks.virl.world.graph import StreetGraph
from ruleshift.tasks.virl.world.names import FIRST
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import builder_of, procedural_route

CITIES = (TRAIN_CITY, *TEST_CITIES)
RED = (255, 0, 0)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array((*colour, 255), np.uint8), (4, 4, 4))


def one_wall(left: tuple[float, float], right: tuple[float, float], low: float, high: float) -> tuple[Visible, Atlas]:
    """A red wall under a blue sky on a green plane, and nothing else."""
    atlas = Atlas()
    clear = plain((0, 0, 0)).copy()
    clear[..., 3] = 0
    atlas.add(clear)
    atlas.add(plain((0, 255, 0)))
    draft = Draft()
    draft.wall(left, right, low, high, ((0, 0), (4, 4)), atlas.add(plain(RED)))
    none = np.arange(0)
    return Visible(draft.quads(), np.arange(1), Draft().quads(), none, Draft().quads()), atlas


CLEAR = weather((0, 0, 255), (0, 0, 255), 10**6, 1.0)


def red(view: np.ndarray) -> np.ndarray:
    """Which pixels are the wall's."""
    return (view[..., 0] > 250) & (view[..., 1] < 5)


# A wall 8 m to each side of the camera's axis, worked out by hand: its corners are 10 m ahead, from 4 m left to 6 m
# right of the axis, from 0.5 m below to 7.5 m above the camera, so in a view of 100 pixels they are at columns
# 50 - 4 / 10 * 50 = 30 and 50 + 6 / 10 * 50 = 80, and at rows 50 - 7.5 / 10 * 50 = 12.5 and 50 + 0.5 / 10 * 50 = 52.5.
BY_HAND = {0: ((-4, 10), (6, 10)), 1: ((10, 4), (10, -6)), 2: ((4, -10), (-6, -10)), 3: ((-10, -4), (-10, 6))}


@pytest.mark.parametrize("turn", range(4), ids=VIEWS)
def test_corners_land_where_they_are_computed_by_hand(turn: int) -> None:
    near, atlas = one_wall(*BY_HAND[turn], HEIGHT - 0.5, HEIGHT + 7.5)
    view = rasterise.render(100, camera((0.0, 0.0), 0.0, turn), near, atlas.textures(), CLEAR)
    rows, columns = np.flatnonzero(red(view).any(1)), np.flatnonzero(red(view).any(0))
    assert (columns[0], columns[-1]) == (30, 79)  # pixel 30 has its middle at 30.5, pixel 79 at 79.5
    assert (rows[0], rows[-1]) == (12, 51)
    assert red(view)[12:52, 30:80].all()


def test_a_heading_turns_the_camera_clockwise() -> None:
    """What is in front for who walks east is on the right for who walks north."""
    near, atlas = one_wall(*BY_HAND[1], HEIGHT - 0.5, HEIGHT + 7.5)
    views = [rasterise.render(64, camera((0.0, 0.0), *way), near, atlas.textures(), CLEAR) for way in ((90, 0), (0, 1))]
    assert red(views[0]).any()
    np.testing.assert_array_equal(*views)


def test_a_receding_wall() -> None:
    """From (2, 2) to (2, 20): its edges are 2 / 2 and 2 / 20 to the right; 2.5 m below and 1.5 m above the eye."""
    near, atlas = one_wall((2, 20), (2, 2), 0.0, HEIGHT + 1.5)
    view = red(rasterise.render(200, camera((0.0, 0.0), 0.0), near, atlas.textures(), CLEAR))
    columns = np.flatnonzero(view.any(0))
    assert (columns[0], columns[-1]) == (110, 199)
    far, close = np.flatnonzero(view[:, 110]), np.flatnonzero(view[:, 199])
    assert (far[0], far[-1]) == pytest.approx((100 - 7.5, 100 + 12.5), abs=1.01)
    assert (close[0], close[-1]) == pytest.approx((100 - 75, 199), abs=1.01)


def test_horizon_and_the_corner_too_near() -> None:
    """The plane ends in the middle of the picture, for odd sizes too; a wall through the camera's plane is cut."""
    near, atlas = one_wall((1, 5), (1, -5), 0.0, 9.0)
    view = rasterise.render(51, camera((0.0, 0.0), 0.0), near, atlas.textures(), CLEAR)
    assert (view[:25, :20] == (0, 0, 255)).all()
    assert (view[26:, :20] == (0, 255, 0)).all()
    assert red(view)[:, 50].all()


def test_gradients_of_a_picture() -> None:
    """u and v from the plane equal those given at the corners, and in between."""
    corners = np.array([[[0, 0, 2], [4, 0, 2], [4, 0, 0], [0, 0, 0]]], float)
    planes = planes_of(corners, np.array([[[8, 16], [40, 16], [8, 48]]], float))[0]
    for at, uv in (((0, 0, 2), (8, 16)), ((4, 0, 2), (40, 16)), ((0, 0, 0), (8, 48)), ((1, 0, 0.5), (16, 40))):
        assert tuple(row[:3] @ np.array(at) + row[3] for row in planes[1:]) == pytest.approx(uv)
    assert planes[0, 1] < 0  # its front is to the south


@pytest.mark.parametrize("city", [*CITIES, *VALIDATION_CITIES])
def test_blocks_are_closed(city: str) -> None:
    """Houses of neighbouring fronts meet in a point, or beside a nearly straight street; places stand in the wall."""
    graph = procedural(0, city)
    found = fronts(graph, look_of(city).sidewalk)
    blocks: dict[int, list[int]] = {}
    for front in found:
        blocks.setdefault(front.block, []).append(front.index)
    for members in blocks.values():
        for i, j in zip(members, [*members[1:], members[0]], strict=True):
            one, other = found[i].houses, found[j].houses
            assert (one is None) == (other is None)
            if one and other:
                assert math.dist(one[1], other[0]) < 4
    sides = {(front.street, front.forward): front for front in found}
    for place in graph.places:
        front = sides[place.street, place.side == "left"]
        assert front.houses is not None
        (ax, ay), (dx, dy) = front.houses[0], front.way
        x, y = place.at[0] - ax, place.at[1] - ay
        assert abs(x * dy - y * dx) < 0.06
        assert -0.1 <= x * dx + y * dy <= math.dist(*front.houses) + 0.1


def walk(city: str, index: int = 0) -> list[tuple[tuple[float, float], float, str, str | None]]:
    """Position, heading, kind, and the name of what is seen at the points of a route."""
    graph = procedural(0, city)
    rail = build_rail(procedural_route(city, "views", index, (3, 4)), drop_rate=0.5)
    return [(graph.locate(p.at), p.heading, p.kind, p.sight.name if p.sight else None) for p in rail]


@pytest.mark.parametrize("city", [TRAIN_CITY, "milan"])
def test_both_renderers_make_the_same_bytes(city: str) -> None:
    pytest.importorskip("numba")
    graph, look = procedural(0, city), look_of(city)
    at, heading, *_ = walk(city)[2]
    for size in (112, 75):
        slow, fast = (grid_view(graph, look, at, heading, size, name) for name in ("numpy", "numba"))
        np.testing.assert_array_equal(slow, fast)


@pytest.mark.parametrize("seed", range(6))
def test_both_renderers_agree_on_anything(seed: int) -> None:
    """Walls, roofs, ground and clear pictures at random, before and behind each other, in no order."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    atlas = Atlas()
    for _ in range(8):
        picture = rng.integers(0, 256, (8, 16, 4), dtype=np.uint8)
        picture[..., 3] = rng.choice((0, 100, 255), (8, 16)) if rng.random() < 0.5 else 255
        atlas.add(picture)
    solid, ground, sprites = Draft(), Draft(), Draft()
    for _ in range(60):
        (ax, ay), (bx, by) = rng.uniform(-20, 20, (2, 2))
        low, high = np.sort(rng.uniform(-1, 12, 2))
        picture, tint = int(rng.integers(8)), tuple(int(part) for part in rng.integers(0, 257, 3))
        box = ((0.0, 0.0), tuple(rng.uniform(1, 60, 2)))
        for draft in (solid, solid, sprites):
            draft.wall((ax, ay), (bx, by), low, high, box, picture, tint)
            ax, ay = rng.uniform(-20, 20, 2)
        lean = rng.uniform(-3, 3, 2)
        corners = [(ax, ay, high), (bx, by, high), (bx + lean[0], by + lean[1], low), (ax + lean[0], ay + lean[1], low)]
        solid.add(corners, ((0, 0), (9, 3), (2, 7)), picture, tint)
        corners = [(ax, ay, 0.0), (bx, ay, 0.0), (bx, by, 0.0), (ax, by, 0.0)]
        ground.add(corners, ((0, 0), (20, 3), (2, 17)), picture, tint)
    parts = [draft.quads() for draft in (solid, ground, sprites)]
    near = Visible(parts[0], np.arange(len(parts[0])), parts[1], np.arange(len(parts[1])), parts[2])
    sky = weather((40, 90, 200), (200, 210, 230), 30, 20.0)
    for size, heading in ((33, 10.0), (64, 200.0)):
        eye = camera((0.3, -0.2), heading)
        slow, fast = (renderer_of(name)(size, eye, near, atlas.textures(), sky) for name in ("numpy", "numba"))
        np.testing.assert_array_equal(slow, fast)


def test_a_pile_of_quads() -> None:
    """Numbers stay; what was handed out does not change when more are added."""
    pile, numbers, handed = Pile(), [], []
    for count in (3, 0, 1, 7, 40, 2):
        draft = Draft()
        for number in range(count):
            draft.wall((0, 0), (count, 1), 0, 1 + number, ((0, 0), (1, 1)), count, reach=10.0 * count)
        numbers.append(pile.add(draft.quads()))
        handed.append((pile.quads, pile.quads.corners.copy()))
    np.testing.assert_array_equal(np.concatenate(numbers), np.arange(53))
    assert [len(quads) for quads, _ in handed] == [3, 3, 4, 11, 51, 53]
    for quads, corners in handed:
        np.testing.assert_array_equal(quads.corners, corners)
    assert pile.quads.looks[numbers[4], 0].tolist() == [40] * 40
    assert pile.quads.corners[numbers[3], 0, 2].tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_a_square_holds_all_that_its_points_see() -> None:
    """What is left out for a whole square faces none of its points, or is too far: within 250 m nothing is missing."""
    scene = scene_of(procedural(0, "lagos"), look_of("lagos"))
    for index in range(len(scene.fronts)):
        scene._piece(index)  # of the whole city
    for at in ((3.0, 5.0), (39.9, 0.1), (20.0, 39.0)):
        near = scene.near(at)
        every = near.solid
        n, away = every.planes[:, 0], ((every.corners[:, 0, :2] - np.array(at)) ** 2).sum(1)
        before = n[:, 0] * at[0] + n[:, 1] * at[1] + n[:, 2] * HEIGHT - n[:, 3] > 1e-6
        seen = every.corners[before & (away < np.minimum(every.reach, 250) ** 2)]
        found = near.solid.corners[near.solids]
        found = found[((found[:, 0, :2] - np.array(at)) ** 2).sum(1) < 250**2]
        assert sorted(map(np.ndarray.tobytes, seen)) == sorted(map(np.ndarray.tobytes, found))


def test_grid_holds_the_four_views_in_reading_order() -> None:
    graph, look = procedural(0, "lagos"), look_of("lagos")
    at, heading, *_ = walk("lagos")[1]
    grid = grid_view(graph, look, at, heading, 40)
    views = [street_view(graph, look, at, heading + 90 * turn, 40) for turn in range(4)]
    assert grid.shape == (80, 80, 3)
    for number, view in enumerate(views):
        row, column = divmod(number, 2)
        part = grid[40 * row : 40 * row + 40, 40 * column : 40 * column + 40]
        assert (part != view).mean() < 0.001  # sines of other angles, so that a rare pixel may differ


def seen(city: str, size: int = 48) -> np.ndarray:
    """The first view at a fixed place of a city."""
    at, heading, *_ = walk(city)[1]
    return street_view(procedural(0, city), look_of(city), at, heading, size)


# Of the views of `seen`; they change with the looks, and with nothing else.
HASHES = {
    "new-york": "22a0365becf82018",
    "lagos": "d257efe2d62a33eb",
    "new-delhi": "2a8e4b2d40f2e5f8",
    "hong-kong": "ed67d7e6865ed2ec",
    "melbourne": "10960e09825e3308",
    "milan": "ccf3c46f63dd2695",
    "london": "a1966451f8e2d491",
    "new-york-soho": "565363b3b4d3fa08",
    "san-francisco": "4448ac46bcccef2f",
    "buenos-aires": "495f6aa1281b9973",
}


def test_a_kerb_goes_over_gently_where_its_street_becomes_wider() -> None:
    def front(start: float, road: float) -> Front:
        ends = tuple(((start, y), (start + 30, y)) for y in (road + 3, road))
        return Front(0, 0, 0, True, 0.0, (start, 0.0), (1.0, 0.0), 30.0, road + 3, road, *ends)

    row, draft = [front(0, 4), front(30, 4), front(60, 5.2), front(90, 5.2)], Draft()
    for before, here, after in zip(row, row[1:], row[2:], strict=False):
        pave(draft, before, here, after, None, SimpleNamespace(pavement=0, kerb=1))
    quads = draft.quads()
    inner = quads.corners[quads.layer == STONE][:, :2, :2]  # (stones, ends, xy)
    (dx, dy) = (inner[:, 1] - inner[:, 0]).T
    assert dx.sum() == pytest.approx(60, abs=0.2)
    assert dy.sum() == pytest.approx(1.2, abs=0.05)
    assert (np.abs(dy) < 0.25 * dx).all()


@pytest.mark.parametrize("city", CITIES)
def test_same_bytes_on_every_machine(city: str) -> None:
    assert hashlib.sha256(seen(city).tobytes()).hexdigest()[:16] == HASHES[city]


def test_the_way_there_makes_no_difference() -> None:
    """A fresh scene, first looked at from elsewhere, shows the same."""
    graph, look = procedural(0, "london"), look_of("london")
    at, heading, *_ = walk("london")[1]
    other = replace(look)
    street_view(graph, other, (at[0] + 300, at[1] - 200), 10, 16)
    np.testing.assert_array_equal(street_view(graph, look, at, heading, 48), street_view(graph, other, at, heading, 48))


def features(view: np.ndarray) -> np.ndarray:
    """Colour and texture of a picture: a histogram of colours, and how much neighbours differ, by brightness."""
    coarse = (view // 64).astype(int)
    colours = np.bincount((coarse[..., 0] * 16 + coarse[..., 1] * 4 + coarse[..., 2]).ravel(), minlength=64)
    grey = view.astype(int).sum(2)
    rough = [np.abs(np.diff(grey, axis=axis)).clip(0, 255) // 32 for axis in (0, 1)]
    texture = np.concatenate([np.bincount(part.ravel(), minlength=8)[:8] for part in rough])
    return np.sqrt(np.concatenate([colours, texture]) / grey.size)


@pytest.mark.timeout(900)  # ten cities are built
def test_a_probe_tells_the_cities_apart() -> None:
    """Nearest mean of the views from two points, tried on those from a third; chance is one in ten."""
    known, tried = [], []
    for city in CITIES:
        graph, look = procedural(0, city), look_of(city)
        places = [walk(city, 0)[1], walk(city, 0)[-1], walk(city, 1)[-2]]
        views = [features(street_view(graph, look, p[0], p[1] + 90 * turn, 48)) for p in places for turn in range(4)]
        known.append(np.mean(views[:8], 0))
        tried.append(views[8:])
    hits = [
        int(np.argmin([np.linalg.norm(one - mean) for mean in known])) == number
        for number, views in enumerate(tried)
        for one in views
    ]
    assert np.mean(hits) > 0.7


@pytest.mark.parametrize("city", ["hong-kong", "new-york"])
def test_landmarks_show_their_signs_on_their_side(city: str) -> None:
    """At the intersections of routes, lettering of the landmark is in a view; seen from there, on the side told."""
    graph = procedural(0, city)
    scene = scene_of(graph, look_of(city))
    checked = 0
    for index in range(2):
        for at, heading, kind, name in walk(city, index):
            if kind != "intersection" or name is None:
                continue
            place = next(place for place in graph.places if place.name == name)
            words = {scene.pictures.words[letters(word)].picture for word in name.split()}
            near = scene.near(at)
            shown = {int(n): near.solid.looks[n, 0] for n in near.solids if near.solid.looks[n, 0] in words}
            close = [
                n for n in shown if math.dist(near.solid.corners[n, :, :2].mean(0), place.at) < 9.0
            ]  # the same words may stand on other signs
            assert {shown[n] for n in close} == words
            bearing = math.degrees(math.atan2(place.at[0] - at[0], place.at[1] - at[1])) - heading
            turn = round(bearing / 90) % 4
            eye = camera(at, heading, turn)
            x, y = place.at[0] - eye.x, place.at[1] - eye.y
            assert abs(x * eye.north - y * eye.east) <= x * eye.east + y * eye.north + 1e-6
            checked += 1
    assert checked >= 4


def test_lettering_reads_from_left_to_right_on_both_sides() -> None:
    """The first letter of every sign is to the left of the last for who stands before it."""
    graph = procedural(0, "lagos")
    scene = scene_of(graph, look_of("lagos"))
    sides = set()
    for place in graph.places[3:60]:
        if place.kind == "park":
            continue
        (ax, ay), (bx, by) = graph.line(place.street)
        dx, dy = (bx - ax) / math.dist((ax, ay), (bx, by)), (by - ay) / math.dist((ax, ay), (bx, by))
        at = ax + place.along * dx, ay + place.along * dy
        near, picture = scene.near(at), scene.pictures.words[letters(place.name.split()[0])].picture
        numbers = [n for n in near.solids if near.solid.looks[n, 0] == picture]
        n = min(numbers, key=lambda n: math.dist(near.solid.corners[n, 0, :2], place.at))
        plane, (left, right) = near.solid.planes[n], near.solid.corners[n, :2, :2]
        right_hand = (1 if place.side == "left" else -1) * np.array((dx, dy))  # of who looks at the place
        assert (right - left) @ right_hand > 0
        assert plane[1, :2] @ right_hand > 0  # columns of the letters grow to the right
        sides.add(place.side)
    assert sides == {"left", "right"}


def test_pretraining_never_sees_a_look_of_the_cities() -> None:
    """Other walls, other skies, other windows, however many are drawn."""
    walls = [wall for look in LOOKS.values() for wall in look.walls]
    for city in (*PRETRAINING_CITIES, "pretrain-1000"):
        look = look_of(city)
        assert min(apart(one, wall) for one in look.walls for wall in walls) >= APART
        assert min(apart(look.zenith, other.zenith) for other in LOOKS.values()) >= SKY_APART
        assert look.window in WINDOWS
        assert look.window not in {other.window for other in LOOKS.values()}
    assert look_of("pretrain-3") == look_of("pretrain-3") != look_of("pretrain-4")


def test_cities_differ_in_every_factor() -> None:
    """Among the ten, no two share a value of these factors."""
    looks = [LOOKS[city] for city in CITIES]
    for factor in ("walls", "window", "bay", "road", "zenith", "horizon", "pavement", "kerb", "signs", "sight"):
        assert len({getattr(look, factor) for look in looks}) == len(looks), factor


@pytest.mark.parametrize("city", ["atlantis", "pretrain-", "pretrain-x"])
def test_unknown_city(city: str) -> None:
    with pytest.raises(RuleshiftError, match="choose from new-york, lagos"):
        look_of(city)


def test_a_map_without_streets_and_a_point_far_away() -> None:
    look = look_of("lagos")
    with pytest.raises(RuleshiftError, match="without streets"):
        street_view(StreetGraph("x", (0, 0), (), (), ()), look, (0, 0), 0, 16)
    far = street_view(procedural(0, "lagos"), look, (9e4, 0), 0, 16)
    assert (far[0] != far[-1]).any()


def test_unusable_sizes_and_missing_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, look = procedural(0, "lagos"), look_of("lagos")
    with pytest.raises(RuleshiftError, match="not 0"):
        street_view(graph, look, (0, 0), 0, 0)
    monkeypatch.setitem(sys.modules, "ruleshift.tasks.virl.views.fast", None)
    monkeypatch.delattr(views, "fast", raising=False)
    renderer_of.cache_clear()
    try:
        with pytest.raises(RuleshiftError, match=r'pip install "ruleshift\[views\]"'):
            renderer_of("numba")
        assert renderer_of("auto") is rasterise.render
    finally:
        renderer_of.cache_clear()


def test_font() -> None:
    """Every name can be written; letters differ; accents fall away."""
    assert spelled("Donaudampfschifffahrt") == "DONAUDAMPFSCHIFFFA"
    assert letters("Café Zürich & Söhne 24!") == "CAFE ZURICH & SOHNE 24"
    drawn = {letter: written(letter, 20, 1.5, 0.0) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789&-'.,/"}
    assert len({(one.shape, one.tobytes()) for one in drawn.values()}) == len(drawn)
    assert all(one.max() == 255 for one in drawn.values())


def test_mip_maps_keep_the_mean() -> None:
    """The smallest copy of a picture is its mean; what is clear has no say in the colour."""
    picture = np.zeros((4, 8, 4), np.uint8)
    picture[:, :4] = (200, 100, 40, 255)
    atlas = Atlas()
    atlas.add(picture)
    textures = atlas.textures()
    row = textures.table[0]
    assert tuple(row[:3]) == (3, 2, 3)
    assert textures.texels[row[3 + row[2]]].tolist() == [200, 100, 40, 128]
    with pytest.raises(ValueError, match="fits no atlas"):
        atlas.add(np.zeros((3, 4, 4), np.uint8))


def test_factorial_cells() -> None:
    """Cells of a map share its walks; names differ and are new; looks differ; the expert is at 100% in all of them."""
    design = list(cells(TRAIN_CITY, "milan"))
    assert len(set(design)) == 8
    walks: dict[str, set[object]] = {}
    for cell in design:
        routes = tuple(cell.route(0, index) for index in range(3))
        walks.setdefault(cell.map, set()).add(tuple(stop.at for route in routes for stop in route.milestones))
        words = {stop.sight.name.split()[0] for route in routes for stop in route.milestones if stop.sight}
        assert words.isdisjoint(FIRST) == (cell.names == "heldout")
        graph, look = cell.scene()
        assert words <= {place.name.split()[0] for place in graph.places}
        assert look == look_of(cell.look)
        task = Virl(routes=lambda legs, here=routes: here)
        for index in range(3):
            problem = task.problem("id", 0, index)
            verdict = problem.submit(problem.gold(), last=False)
            while not verdict.ended:
                verdict = problem.submit(problem.gold(), last=False)
            assert verdict.solved
    assert [len(found) for found in walks.values()] == [1, 1]
    names = new_names(procedural(0, TRAIN_CITY))
    assert len(set(names.values())) == len(names)
    assert DesignCell("milan", "lagos").scene()[0] is procedural(0, "milan")


def test_views_of_a_panorama() -> None:
    """A panorama whose columns say their heading and whose rows their height: both are found where they should be."""
    columns, rows = 720, 360
    panorama = np.zeros((rows, columns, 3), np.uint8)
    panorama[..., 0] = (np.arange(columns) * 0.5 / 2).astype(np.uint8)  # half the heading in degrees
    panorama[..., 1] = np.arange(rows)[:, None] // 2  # degrees below the zenith
    view = panorama_view(panorama, 0.0, 90.0, 101)
    assert view[50, 50, 0] == pytest.approx(45, abs=1)
    assert view[50, 50, 1] == pytest.approx(90, abs=1)
    assert (view[50, 0, 0], view[50, 100, 0]) == pytest.approx((45 / 2, 135 / 2), abs=1)  # 45 degrees to each side
    assert (view[0, 50, 1], view[100, 50, 1]) == pytest.approx((45, 135), abs=1)
    np.testing.assert_array_equal(panorama_view(panorama, 30.0, 60.0, 101), view)
    fixed, official = panorama_grid(panorama, 0.0, 200.0, 40), panorama_grid(panorama, 0.0, 200.0, 40, "official")
    assert (fixed.shape, official.shape) == ((80, 80, 3), (85, 85, 3))
    np.testing.assert_array_equal(fixed[:40, 40:], panorama_view(panorama, 0.0, 290.0, 40))
    np.testing.assert_array_equal(official[45:, :40], panorama_view(panorama, 0.0, 245.0, 40))


def test_every_landmark_of_a_city_has_a_sign() -> None:
    """All places that routes can name are on a lot of the scene, next to their entrance."""
    city = "buenos-aires"
    graph, table = procedural(0, city), builder_of(city).table
    scene = scene_of(graph, look_of(city))
    found = {}
    for front in scene.fronts:
        if front.houses is not None:
            wall, lots = scene.lots(front)
            for lot in lots:
                for unit in lot.units:
                    if unit.place:
                        assert unit.start - 1e-6 <= unit.end
                        found[unit.place.name] = math.dist(wall.at((unit.start + unit.end) / 2), unit.place.at)
    landmarks = {place.name for crossing in table.crossings for place in table.landmarks(crossing)}
    assert landmarks <= set(found)
    assert set(found) == {place.name for place in graph.places}
    assert max(found.values()) < 8.5


def test_reading_a_panorama(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(RuleshiftError, match="metadata"):
        read_panorama(tmp_path, "abc")
    (tmp_path / "abc.metadata.json").write_text(json.dumps({"rotation": 12.5}))
    with pytest.raises(RuleshiftError, match="is missing: download it"):
        read_panorama(tmp_path, "abc")
    (tmp_path / "abc.jpg").write_bytes(b"not a picture")
    with pytest.raises(RuleshiftError, match="download it again"):
        read_panorama(tmp_path, "abc")
    image.new("RGB", (64, 32), (200, 100, 50)).save(tmp_path / "abc.jpg", quality=95)
    picture, rotation = read_panorama(tmp_path, "abc")
    assert picture.shape == (32, 64, 3)
    assert np.abs(picture.astype(int) - (200, 100, 50)).max() < 6
    assert rotation == 12.5
