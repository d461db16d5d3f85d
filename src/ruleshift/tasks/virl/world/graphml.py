"""Street networks in GraphML, as OSMnx and momepy write them, read with networkx (the extra `maps`).

Nodes have `x` and `y`, or `lon` and `lat`; edges have a `name`, and may have a `geometry`, their course as a WKT
LINESTRING in the coordinates of the nodes. Coordinates are taken for degrees if all of them could be degrees. Else
they are metres; then `lat` and `lon` of the nodes, if given, tell where on earth they are, and north is that of the
grid, up to two degrees off.
"""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from xml.etree.ElementTree import ParseError
from xml.parsers import expat

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.route import Geocode
from ruleshift.tasks.virl.world.graph import XY, StreetGraph
from ruleshift.tasks.virl.world.houses import houses
from ruleshift.tasks.virl.world.plane import checked, flat, middle
from ruleshift.tasks.virl.world.simplify import simplified
from ruleshift.tasks.virl.world.snap import clean
from ruleshift.tasks.virl.world.ways import Node, Way

LARGEST = 200_000_000  # bytes; a large city has a tenth of it
Attributes = Mapping[str, Any]
Nodes = Mapping[str, Attributes]


def graphml(file: str | Path) -> StreetGraph:
    """The named streets of a network, with houses as places, since it has none of its own.

    Left out: streets that do not hang together with most of the others. Raises RuleshiftError for a file that is
    missing, too large, broken, no street network, too wide, or without named streets.
    """
    path = Path(file)
    nodes, edges = _read(path)
    try:
        points: dict[Node, XY] = {node: _position(attributes) for node, attributes in nodes.items()}
        origin, metres = _plane(nodes, points)
        ways = [way for edge in edges if (way := _way(*edge, points))]
    except (KeyError, ValueError) as error:
        raise RuleshiftError(f"{path} is no street network ({error}): name a GraphML file that OSMnx wrote.") from error
    corners, streets = simplified(ways, {node: metres(at) for node, at in points.items()})
    bare = checked(StreetGraph(clean(path.name.partition(".")[0]), origin, corners, streets, ()), path)
    return replace(bare, places=houses(bare))


def _read(path: Path) -> tuple[Nodes, list[tuple[str, str, Attributes]]]:
    """Nodes and edges with their attributes."""
    try:
        import networkx
    except ImportError as error:
        raise RuleshiftError('GraphML files need networkx: pip install "ruleshift[maps]"') from error
    if not path.is_file():
        raise RuleshiftError(f"there is no file {path}: name a street network in GraphML.")
    if path.stat().st_size > LARGEST:
        raise RuleshiftError(f"{path} is larger than {LARGEST // 1_000_000} MB: cut a city out of it.")
    content = path.read_bytes()
    try:
        _refuse_entities(content)
        graph = networkx.read_graphml(io.BytesIO(content))
    except (expat.ExpatError, ParseError, networkx.NetworkXError, KeyError, ValueError) as error:
        raise RuleshiftError(f"cannot read {path} as GraphML ({error}): fetch or write it again.") from error
    return dict(graph.nodes(data=True)), list(graph.edges(data=True))


def _refuse_entities(content: bytes) -> None:
    """GraphML needs no document type; one that declares entities could make a small file fill the memory."""

    def refuse(*_: object) -> NoReturn:
        raise ValueError("it declares a document type")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _position(attributes: Attributes) -> XY:
    x, y = ("x", "y") if "x" in attributes else ("lon", "lat")
    return _finite(attributes[x]), _finite(attributes[y])


def _finite(text: object) -> float:
    number = float(str(text))
    if not math.isfinite(number):
        raise ValueError(f"{text} is no coordinate")
    return number


def _plane(nodes: Nodes, points: Mapping[Node, XY]) -> tuple[Geocode, Callable[[XY], XY]]:
    """The geocode of (0, 0), and the way from the file's coordinates to metres."""
    if all(abs(x) <= 180 and abs(y) <= 90 for x, y in points.values()):
        origin = middle([(y, x) for x, y in points.values()])
        return origin, lambda at: flat((at[1], at[0]), origin)
    centre = middle(list(points.values()))
    node = min(nodes, key=lambda node: math.dist(points[node], centre))
    x, y = points[node]
    known = nodes[node].keys() >= {"lat", "lon"}
    origin = (_finite(nodes[node]["lat"]), _finite(nodes[node]["lon"])) if known else (0.0, 0.0)
    return origin, lambda at: (at[0] - x, at[1] - y)


def _way(start: str, end: str, attributes: Attributes, points: dict[Node, XY]) -> Way | None:
    """The edge as a way, None without a name; adds its bends to `points`."""
    name = str(attributes.get("name", ""))
    listed = re.match(r"""\[(['"])(.*?)\1""", name)  # several names; the first counts
    name = clean(listed[2] if listed else name)
    line = list(_line(str(attributes["geometry"]))) if "geometry" in attributes else []
    if line and math.dist(line[0], points[start]) > math.dist(line[0], points[end]):
        line.reverse()
    bends = {object(): at for at in line[1:-1]}
    points.update(bends)
    return Way(name, (start, *bends, end)) if name else None


def _line(text: str) -> Iterator[XY]:
    """The points of a WKT LINESTRING."""
    found = re.fullmatch(r"\s*LINESTRING\s*(?:Z\s*)?\(([^()]*)\)\s*", text)
    if not found:
        raise ValueError(f"a geometry that is no LINESTRING: {clean(text)}")
    for point in found[1].split(","):
        x, y, *_ = point.split()
        yield _finite(x), _finite(y)
