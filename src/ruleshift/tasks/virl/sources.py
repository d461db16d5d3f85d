"""Routes from a user's own files: a real map, or the paper's data."""

from pathlib import Path

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.eyes import Download, read_download
from ruleshift.tasks.virl.official import load_routes, routes_file
from ruleshift.tasks.virl.route import Route
from ruleshift.tasks.virl.world.graph import StreetGraph
from ruleshift.tasks.virl.world.graphml import graphml
from ruleshift.tasks.virl.world.legs import Limits
from ruleshift.tasks.virl.world.osm import CREDIT, osm
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import WORLD, build_routes

ROUTES_OF_A_MAP = 100
ON_REAL_MAPS = Limits(landmark=25.0)  # corners are wider than in V-IRL's filters


def routes_from(path: Path, seed: int = 0, count: int = ROUTES_OF_A_MAP) -> tuple[Route, ...]:
    """The routes of official data (a folder, .json), or `count` routes through a map (.osm.pbf, .osm, .graphml).

    Raises RuleshiftError for what cannot be read, with the remedy, and for a map that does not hold so many routes.
    """
    if not path.exists():
        raise RuleshiftError(f"there is nothing at {path}: name a folder or file of official data, or a map")
    if path.is_dir() or path.suffix == ".json":
        return tuple(load_routes(path))
    return _routes_through(read_map(path), count, seed)


def routes_and_world(path: Path) -> tuple[tuple[Route, ...], StreetGraph | Download]:
    """As `routes_from`, with what the routes lead through: a map, or the panoramas of official data.

    Raises RuleshiftError also for official data without panoramas.
    """
    if not path.exists() or path.is_dir() or path.suffix == ".json":
        return routes_from(path), read_download(routes_file(path).parent)
    graph = read_map(path)
    return _routes_through(graph, ROUTES_OF_A_MAP, 0), graph


def _routes_through(graph: StreetGraph, count: int, seed: int) -> tuple[Route, ...]:
    return tuple(build_routes(graph, count, seed, limits=ON_REAL_MAPS))


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
    if path.is_dir() or path.suffix == ".json":
        return StreetGraph(route.city, route.start, (), (), ())
    return read_map(path)
