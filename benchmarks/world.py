"""Speed and size of the invented cities on one core: street graphs, routes and rails.

    python benchmarks/world.py

One row per city. "Graph" draws the streets and places, "tables" finds all legs and starts, both once per city and
process; "routes and rails" is the time for 1,000 of them after that, of 3 or 4 legs as in training. "Landmark" is the
share of intersections that have a place within 18 m. Times are processor times. Medians over repetitions, each of
which draws another world.
"""

import argparse
import statistics
import time

from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.world.procedural import procedural
from ruleshift.tasks.virl.world.routes import RouteBuilder
from ruleshift.tasks.virl.world.styles import STYLES
from timing import print_json, print_table

COLUMNS = ("city", "intersections", "places", "landmark", "starts", "graph ms", "tables ms", "routes and rails s")
LEGS = (3, 4)


def measured(city: str, world: int, routes: int) -> list[float]:
    """The columns of one city in one world, the name left out."""
    began = time.process_time()
    graph = procedural(world, city)
    drawn = time.process_time()
    builder = RouteBuilder(graph)
    starts = builder.table.starts
    ready = time.process_time()
    for index in range(routes):
        build_rail(builder.route("benchmark", index, LEGS))
    walked = time.process_time()
    crossings = builder.table.crossings
    landmark = sum(bool(builder.table.landmarks(crossing)) for crossing in crossings) / len(crossings)
    times = [1000 * (drawn - began), 1000 * (ready - drawn), walked - ready]
    return [len(crossings), len(graph.places), landmark, len(starts), *times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=1000, help="routes per city (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="worlds per city (default: %(default)s)")
    arguments = parser.parse_args()
    rows = []
    for city in STYLES:
        worlds = [measured(city, world, arguments.routes) for world in range(arguments.repeats)]
        rows.append([city, *map(statistics.median, zip(*worlds, strict=True))])
    print_table(f"{arguments.routes:,} routes through every invented city", COLUMNS, rows)
    print_json("world", vars(arguments), {"columns": COLUMNS, "rows": rows})


if __name__ == "__main__":
    main()
