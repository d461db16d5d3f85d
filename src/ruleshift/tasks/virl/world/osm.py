"""Real cities: OpenStreetMap extracts (.osm.pbf, .osm), read with osmium (the extra `maps`).

OpenStreetMap's data is under the ODbL: whoever shows or passes on what was made of it names the source (CREDIT).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.route import Geocode
from ruleshift.tasks.virl.world.graph import StreetGraph
from ruleshift.tasks.virl.world.plane import checked, flat, middle
from ruleshift.tasks.virl.world.simplify import simplified
from ruleshift.tasks.virl.world.snap import NamedPoint, clean, snapped
from ruleshift.tasks.virl.world.ways import Node, Way

CREDIT = "© OpenStreetMap contributors"
ROADS = ("trunk", "primary", "secondary", "tertiary")
STREETS = frozenset(
    [
        *ROADS,
        *(f"{road}_link" for road in ROADS),
        *("unclassified", "residential", "living_street", "road", "pedestrian"),
        *("service", "track", "footway", "path", "steps", "cycleway"),
    ]
)
PLACES = ("shop", "amenity", "tourism", "leisure", "craft", "healthcare", "office", "historic", "building")
UNSEEN = frozenset(
    [
        *("parking", "parking_entrance", "parking_space", "bicycle_parking", "bicycle_rental", "car_sharing"),
        *("atm", "charging_station", "vending_machine", "recycling"),
    ]
)
Tags = Mapping[str, str]


def osm(file: str | Path) -> StreetGraph:
    """The named streets of an extract on which one may walk, and the named places along them.

    Left out: what is private or under the ground, and streets that do not hang together with most of the others.
    Raises RuleshiftError for a file that is missing, broken, no extract, too wide, or without named streets.
    """
    ways, points, places = _read(Path(file))
    origin = middle(points.values())
    nodes, streets = simplified(ways, {node: flat(at, origin) for node, at in points.items()})
    spots = [
        NamedPoint(clean(tags["name"]), _kind(tags), flat(at, origin), clean(tags.get("addr:street", "")))
        for tags, at in places
    ]
    bare = checked(StreetGraph(clean(Path(file).name.partition(".")[0]), origin, nodes, streets, ()), file)
    return replace(bare, places=snapped(bare, spots))


def _read(path: Path) -> tuple[list[Way], dict[Node, Geocode], list[tuple[Tags, Geocode]]]:
    """Streets, where their nodes are (latitude, longitude), and places with theirs."""
    try:
        import osmium
    except ImportError as error:
        raise RuleshiftError('OpenStreetMap files need osmium: pip install "ruleshift[maps]"') from error
    if not path.is_file():
        raise RuleshiftError(f"there is no file {path}: name an OpenStreetMap extract (.osm.pbf, .osm).")
    ways: list[Way] = []
    points: dict[Node, Geocode] = {}
    places: list[tuple[Tags, Geocode]] = []
    thing: Any
    try:
        reader = osmium.FileProcessor(path, osmium.osm.NODE | osmium.osm.WAY).with_locations()
        for thing in reader.with_filter(osmium.filter.KeyFilter("name")):
            tags = {tag.k: tag.v for tag in thing.tags}
            line = _line(thing)
            if not clean(tags["name"]) or not line or _is_below(tags):
                continue
            if thing.is_way() and _is_street(tags):
                ways.append(Way(clean(tags["name"]), tuple(node for node, _ in line)))
                points.update(line)
            elif _kind(tags):
                places.append((tags, _centre(dict(line).values())))
    except (RuntimeError, UnicodeDecodeError, osmium.InvalidLocationError) as error:
        raise RuleshiftError(
            f"cannot read {path} as an OpenStreetMap extract ({error}): fetch it again, or name another."
        ) from error
    return ways, points, places


def _line(thing: Any) -> list[tuple[Node, Geocode]]:
    """The nodes of a thing that the extract holds, with their latitude and longitude."""
    if thing.is_node():
        return [(thing.id, (thing.lat, thing.lon))] if thing.location.valid() else []
    return [(node.ref, (node.lat, node.lon)) for node in thing.nodes if node.location.valid()]


def _centre(points: Collection[Geocode]) -> Geocode:
    """The mean of some points."""
    return sum(at[0] for at in points) / len(points), sum(at[1] for at in points) / len(points)


def _is_street(tags: Tags) -> bool:
    """Whether one may walk there, outdoors, along a line."""
    walks = tags.get("foot", tags.get("access", "no" if tags.get("highway") == "cycleway" else "yes"))
    is_line = tags.get("highway") in STREETS and tags.get("area") != "yes"
    return is_line and walks not in ("no", "private") and tags.get("indoor", "no") == "no"


def _is_below(tags: Tags) -> bool:
    """Whether a thing lies in a tunnel or under the ground."""
    below = tags.get("layer", "").startswith("-") or tags.get("level", "").startswith("-")
    return below or tags.get("tunnel", "no") != "no"


def _kind(tags: Tags) -> str:
    """What a place is, such as "cafe"; "" for what is no place, or nothing that one would see from the street."""
    for key in PLACES:
        value = tags.get(key, "no").partition(";")[0]
        if value in UNSEEN:
            return ""
        if value != "no":
            return key if value == "yes" else clean(value.replace("_", " "))
    return ""
