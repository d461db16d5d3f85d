"""Routes from a user's own files: a real map, or the paper's data."""

from functools import cache, partial
from pathlib import Path

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.eyes import Download, read_download
from ruleshift.tasks.virl.official import load_routes, routes_file
from ruleshift.tasks.virl.route import OwnRoutes, Route
from ruleshift.tasks.virl.rules import USUAL_LEGS
from ruleshift.tasks.virl.world.graph import StreetGraph
from ruleshift.tasks.virl.world.graphml import graphml
from ruleshift.tasks.virl.world.legs import Limits
from ruleshift.tasks.virl.world.osm import CREDIT, osm
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import WORLD, build_routes, counted

ROUTES_OF_A_MAP = 100
ON_REAL_MAPS = Limits(landmark=25.0)  # corners are wider than in V-IRL's filters


def routes_from(path: Path) -> OwnRoutes:
    """The routes of official data (a folder, .json), or ROUTES_OF_A_MAP routes through a map (.osm.pbf, .osm,
    .graphml).

    Raises RuleshiftError for what cannot be read, with the remedy; the routes raise it for a number of legs that the
    data or the map do not hold.
    """
    if not path.exists():
        raise RuleshiftError(f"there is nothing at {path}: name a folder or file of official data, or a map")
    if is_data(path):
        return partial(_of_data, path, tuple(load_routes(path)))
    return _through(read_map(path))


def routes_and_world(path: Path) -> tuple[OwnRoutes, StreetGraph | Download]:
    """As `routes_from`, with what the routes lead through: a map, or the panoramas of official data.

    Raises RuleshiftError also for official data without panoramas.
    """
    if not path.exists() or is_data(path):
        return routes_from(path), read_download(routes_file(path).parent)
    graph = read_map(path)
    return _through(graph), graph


def is_data(path: Path) -> bool:
    """Whether a path is that of official data, as their form goes; else it is that of a map."""
    return path.is_dir() or path.suffix == ".json"


def _of_data(path: Path, routes: tuple[Route, ...], legs: tuple[int, int]) -> tuple[Route, ...]:
    """Where a split asks for a length of its own, the routes that have it; else all, as long as they are."""
    if legs == USUAL_LEGS:
        return routes
    found = tuple(route for route in routes if legs[0] <= route.legs <= legs[1])
    if not found:
        raise RuleshiftError(f"{path} holds no routes of {counted(legs)}, which the split is of: name another split")
    return found


def _through(graph: StreetGraph) -> OwnRoutes:
    return cache(lambda legs: tuple(build_routes(graph, ROUTES_OF_A_MAP, 0, legs, ON_REAL_MAPS)))


def read_map(path: Path) -> StreetGraph:
    """The city of a map file. Raises RuleshiftError for what is no map."""
    if path.suffix == ".graphml":
        return graphml(path)
    if path.suffix in (".pbf", ".osm"):
        return osm(path)
    raise RuleshiftError(
        f"cannot tell what {path} holds: routes come from official data (a folder, .json) or from a map (.osm.pbf, "
        ".osm, .graphml)"
    )


def credit_of(path: Path | None) -> str:
    """Whom a picture of the map has to name: both kinds of map files hold OpenStreetMap's data."""
    return CREDIT if path is not None and path.suffix in (".pbf", ".osm", ".graphml") else ""


def city_of(route: Route, path: Path | None = None) -> StreetGraph:
    """The map that a route goes through: of a file, or its invented city; without streets for official data."""
    if path is None:
        return procedural(WORLD, route.city)
    if is_data(path):
        return StreetGraph(route.city, route.start, (), (), ())
    return read_map(path)
