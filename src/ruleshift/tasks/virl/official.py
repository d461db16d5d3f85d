"""The paper's V-IRL data as released: a folder with routes and, for pictures, panoramas.

    nyc_1k_routes/route_infos.json           [[route, ...], number], a list of routes, or one route
    nyc_1k_routes/gps_pano_mapping.pkl       {(latitude, longitude): panorama id}; or .json, or .csv
    nyc_1k_routes/street_views/ID.jpg        equirectangular panoramas
    nyc_1k_routes/street_views/ID.metadata.json      {"rotation": degrees ...}

The text task needs the routes alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.entries import Entry, read_json
from ruleshift.tasks.virl.route import Route
from ruleshift.tasks.virl.schema import from_official

ROUTES = "route_infos.json"
PICTURES = "street_views"
DEPTH = 2  # how far below the given folder data are looked for

MOST_BYTES = 1 << 30
MOST_ROUTES = 200_000


def load_routes(path: str | os.PathLike[str]) -> list[Route]:
    """The routes of a file, or of a folder: its route_infos.json, or else the only one below it.

    A route that names no `id` is called by its folder and its place in the file, counted from 0. Raises RuleshiftError
    for the first thing that is missing or broken, with file, route and field.
    """
    file = routes_file(Path(path))
    return [read_route(entry, file) for entry in route_entries(file, str(file))]


def routes_file(path: Path) -> Path:
    """The file with the routes: the one given, or that of a folder. Raises RuleshiftError where there is none."""
    return _find_routes(path) if path.is_dir() else path


def _find_routes(folder: Path) -> Path:
    found = [below / ROUTES for below in folders(folder) if (below / ROUTES).is_file()]
    if not found:
        raise RuleshiftError(f"{folder} holds {no_routes(folder)}")
    if len(found) > 1 and found[0].parent != folder:
        raise RuleshiftError(f"{folder} holds {len(found)} sets of routes: choose from {', '.join(map(str, found))}")
    return found[0]


def no_routes(folder: Path) -> str:
    """What to say of a folder without routes."""
    archives = sorted(child.name for child in folder.glob("*.zip"))
    return f"no {ROUTES}: " + (f"unpack {archives[0]} first" if archives else "name the folder that the data lie in")


def folders(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """A folder and those below it that may be read, in the order of their names."""
    if not os.access(folder, os.R_OK | os.X_OK):
        return
    yield folder
    if depth:
        for child in sorted(folder.iterdir()):
            if child.name != PICTURES and child.is_dir():
                yield from folders(child, depth - 1)


def route_entries(file: Path, name: str) -> list[Entry]:
    """The routes of a file, not looked into yet; `name` is how messages call the file."""
    whole = read_json(file, name, MOST_BYTES)
    routes = whole.value
    if isinstance(routes, dict):
        routes = [routes]
    elif isinstance(routes, list) and len(routes) == 2 and isinstance(routes[0], list):
        Entry(routes[1], name, "second entry").number(0, float("inf"))
        routes = routes[0]
    routes = Entry(routes, name).items(MOST_ROUTES)
    if not routes:
        raise whole.fault("holds no route")
    return [Entry(route.value, f"{name}: route {index}") for index, route in enumerate(routes)]


def read_route(entry: Entry, file: Path) -> Route:
    """One of the `route_entries` of a file. Raises RuleshiftError for what is wrong with it."""
    folder = file.resolve().parent.name
    index = entry.where.rpartition(" ")[2]
    return from_official(entry.value, entry.where, id=f"{folder}/{index}", city=folder)
