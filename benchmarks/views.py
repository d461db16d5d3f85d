"""Speed of street views on one core: both renderers, and what it takes to come to a place.

    python benchmarks/views.py

One row per city: views per second at every size with numba, then with numpy at the smallest size. A view is one of the
four of a point, and its share of finding out what can be seen from there is part of it; the points are those of routes.
"Point ms" is that finding out alone, "square ms" what it takes more where the square of 40 m is new. "City s" is making
a city's pictures and blocks, once per city and process, and "houses s" building what stands along the routes, when they
are first walked. Times are processor times, medians over repetitions; compiling is not counted.
"""

import argparse
import statistics
import time
from itertools import cycle, islice

from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.rules import TEST_CITIES, TRAIN_CITY
from ruleshift.tasks.virl.views.cities import look_of
from ruleshift.tasks.virl.views.render import Renderer, grid_view, scene_of
from ruleshift.tasks.virl.world.graph import XY, StreetGraph
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import WORLD, procedural_route
from timing import print_json, print_table

ROUTES = 3


def points(graph: StreetGraph) -> list[tuple[XY, float]]:
    """Positions in metres and headings along some routes of a city."""
    rails = [build_rail(procedural_route(graph.name, "benchmark", index, (3, 4))) for index in range(ROUTES)]
    return [(graph.locate(point.at), point.heading) for rail in rails for point in rail]


def rate(city: str, size: int, renderer: Renderer, grids: int, repeats: int) -> float:
    """Views per second along the routes, each point as if it had not been seen before."""
    graph, look = procedural(WORLD, city), look_of(city)
    ways = list(islice(cycle(points(graph)), grids))
    grid_view(graph, look, *ways[0], size, renderer)
    times = []
    for repeat in range(repeats):
        aside = 0.01 * (repeat + 1)
        began = time.process_time()
        for (x, y), heading in ways:
            grid_view(graph, look, (x + aside, y), heading, size, renderer)
        times.append(time.process_time() - began)
    return 4 * grids / statistics.median(times)


def measured(city: str, sizes: list[int], grids: int, repeats: int) -> list[float]:
    """The columns of one city, the name left out."""
    graph, look = procedural(WORLD, city), look_of(city)
    ways = points(graph)
    began = time.process_time()
    scene = scene_of(graph, look)
    assert scene.pictures
    made = time.process_time()
    for at, _ in ways:
        scene.near(at)
    built = time.process_time()
    for (x, y), _ in ways:
        scene.near((x + 0.5, y))
    found = time.process_time()
    for (x, y), _ in ways:
        scene.forget()
        scene.near((x + 0.6, y))
    surveyed = time.process_time()
    fast = [rate(city, size, "numba", grids, repeats) for size in sizes]
    slow = rate(city, sizes[0], "numpy", max(grids // 20, 1), 1)
    point, square = (1000 * seconds / len(ways) for seconds in (found - built, surveyed - found))
    return [*fast, slow, point, square - point, made - began, built - made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cities", nargs="+", default=[TRAIN_CITY, *TEST_CITIES], help="(default: all ten)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[112, 224, 336], help="pixels (default: %(default)s)")
    parser.add_argument("--grids", type=int, default=40, help="points per repetition (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="(default: %(default)s)")
    arguments = parser.parse_args()
    fast = [f"{size} px" for size in arguments.sizes]
    columns = ("city", *fast, f"{arguments.sizes[0]} px numpy", "point ms", "square ms", "city s", "houses s")
    rows = [[city, *measured(city, arguments.sizes, arguments.grids, arguments.repeats)] for city in arguments.cities]
    print_table("Street views per second on one core", columns, rows)
    print_json("views", vars(arguments), {"columns": columns, "rows": rows})


if __name__ == "__main__":
    main()
