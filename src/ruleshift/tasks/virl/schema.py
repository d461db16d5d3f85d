"""Routes in the schema of the paper's data: V-IRL's `route_infos.json`.

    start_place, dest_place   places: name, geocode [latitude, longitude], relocated_geocode ...
    route_results             geocode_list (one per milestone, the last is the destination), landmark_list (one per
                              intersection, null where there is none), distance_list, time_list, polyline ...
    init_heading              degrees; 0 or absent: drawn at random
    milestone_info            a block per milestone: what is seen there, and the heading of the leg that leads there

The blocks look like JSON and are not: nothing in them is escaped, and a comma stands after the last pair. Keys that
are not used here are left alone. Two keys are ours: `id` and `city`; what reads the official data ignores them.
"""

import re

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.compass import compass_name
from ruleshift.tasks.virl.entries import Entry, finite, shown
from ruleshift.tasks.virl.route import SIDES, Geocode, Milestone, Route, Sight

MOST_MILESTONES = 1_000
MOST_POINTS = 100_000  # of a polyline
MOST_INFO = 1_000_000  # characters of milestone_info
LONGEST_LEG = 50_000.0  # metres

NOTHING_SEEN = ("No landmark nearby", "No landmarks nearby")
_DESTINATION = "The destination "
_ON_YOUR = " is on your "
# V-IRL's own words for what lies behind, beside those of SIDES
_SIDES = {*SIDES, "behind", "right behind", "left behind", "back", "right back", "left back"}

_OPENING = re.compile(r'"([a-z_]+)"\s*:\s*"')  # of a pair: its key, up to where the value begins
_PAIRS_GO_ON = re.compile(r"[\s,]*")
_NEXT_BLOCK = re.compile(r"[\s,]*\}[\s,]*\{\s*")
_LAST_BLOCK = re.compile(r"[\s,]*\}[\s,]*")
_HEADING = re.compile(r"(\S+) \(([a-z]+)\)")


def from_official(raw: object, where: str = "route", id: str = "", city: str = "") -> Route:
    """A route from the official schema; `id` and `city` are for one that names none itself.

    Raises RuleshiftError, with `where` and the field, for what is missing, of another type or out of bounds.
    """
    entry = Entry(raw, where)
    results = entry["route_results"]
    ends = [item.geocode() for item in results["geocode_list"].items(MOST_MILESTONES)]
    if not ends:
        raise results["geocode_list"].fault("is empty")
    _check_landmarks(results["landmark_list"], len(ends) - 1)
    blocks = _blocks(entry["milestone_info"])
    if len(blocks) != len(ends):
        raise entry["milestone_info"].fault(f"has {len(blocks)} blocks for {len(ends)} milestones")
    distances = _distances(results, blocks)
    start, destination = entry["start_place"], entry["dest_place"]
    destination["name"].text()
    initial = entry["init_heading"].number(0, 360) if entry.has("init_heading") else 0.0
    region = destination["region"].text() if destination.has("region") else city
    return Route(
        id=entry["id"].text() if entry.has("id") else id,
        city=entry["city"].text() if entry.has("city") else region,
        start_name=start["name"].text() if start.has("name") else "",
        start=start["relocated_geocode" if start.has("relocated_geocode") else "geocode"].geocode(),
        initial_heading=initial or None,
        milestones=tuple(
            Milestone(at, _heading(block), distance, _sight(block, index == len(ends) - 1))
            for index, (at, block, distance) in enumerate(zip(ends, blocks, distances, strict=True))
        ),
        polyline=_polyline(results["polyline"]) if results.has("polyline") else (),
    )


def to_official(route: Route) -> dict[str, object]:
    """A route in the official schema; `from_official` gives the same route back, to the last digit.

    Headings of whole degrees are written as the official code reads them; others keep their decimals, which it does
    not read. `polyline` is a list of pairs. Raises RuleshiftError for what the schema cannot hold: an initial heading
    of 0 (which means a random one there), headings outside [0, 360], names with control characters.
    """
    if route.initial_heading == 0:
        raise RuleshiftError(f"route {route.id}: 0 stands for a random initial heading: use None for that, or 360")
    for name in (route.start_name, *(milestone.sight.name for milestone in route.milestones if milestone.sight)):
        if any(letter < " " for letter in name) or _OPENING.search(name):
            raise RuleshiftError(f"route {route.id}: a name cannot be {shown(name)}: choose another one")
    sights = [milestone.sight for milestone in route.milestones]
    previous = [route.initial_heading or 0.0, *(milestone.heading for milestone in route.milestones)]
    return {
        "id": route.id,
        "city": route.city,
        "start_place": _place(route.start_name, route.start),
        "dest_place": _place(route.destination, route.milestones[-1].at),
        "route_results": {
            "geocode_list": [list(milestone.at) for milestone in route.milestones],
            "polyline": [list(point) for point in route.polyline],
            "distance_list": [milestone.distance for milestone in route.milestones],
            "distance": sum(milestone.distance for milestone in route.milestones),
            "n_landmarks": sum(sight is not None for sight in sights[:-1]),
            "landmark_list": [
                None if sight is None else {**_place(sight.name, milestone.at), "spatial_relation": sight.side}
                for sight, milestone in zip(sights[:-1], route.milestones, strict=False)
            ],
        },
        "init_heading": 0 if route.initial_heading is None else _number(route, route.initial_heading),
        "instruction": "",
        "milestone_info": "\n".join(
            _write_block(route, index, milestone, previous[index]) for index, milestone in enumerate(route.milestones)
        ),
    }


def _place(name: str, at: Geocode) -> dict[str, object]:
    return {"name": name, "geocode": list(at), "relocated_geocode": list(at), "place_id": "", "place_types": []}


def _write_block(route: Route, index: int, milestone: Milestone, previous: float) -> str:
    last = index == route.legs - 1
    seen = NOTHING_SEEN[0] if milestone.sight is None else (_DESTINATION if last else "") + str(milestone.sight)
    pairs = {
        "intersection_idx": str(index + 1),
        "landmarks": seen,
        "distance": f"{milestone.distance!r} meters",
        "human_heading": str(int(previous)),
        "to_next_intersection_heading": f"{_number(route, milestone.heading)} ({compass_name(int(milestone.heading))})",
    }
    return "{\n" + "".join(f'"{key}": "{value}",\n' for key, value in pairs.items()) + "}\n"


def _number(route: Route, heading: float) -> int | float:
    """A heading as it is written: without decimals where it has none."""
    if not 0 <= heading <= 360:
        raise RuleshiftError(f"route {route.id}: the heading {heading} is not within 0 and 360: wrap it")
    return int(heading) if heading == int(heading) else heading


def _blocks(info: Entry) -> list[Entry]:
    """The blocks of `milestone_info`, each a mapping of texts. One walk over the text, whatever it holds."""
    text = info.text(MOST_INFO)
    openings = list(_OPENING.finditer(text))
    if not openings or text[: openings[0].start()].strip() != "{":
        raise info.fault("does not begin with a block in braces")
    blocks: list[dict[str, str]] = [{}]
    for opening, following in zip(openings, [*openings[1:], None], strict=True):
        end = len(text) if following is None else following.start()
        value, quote, rest = text[opening.end() : end].rpartition('"')
        key = opening[1]
        if not quote or key in blocks[-1] or "\n" in value:
            raise info.fault(f"is broken at {key!r} of block {len(blocks)}")
        blocks[-1][key] = value
        if (_NEXT_BLOCK if following else _LAST_BLOCK).fullmatch(rest):
            blocks.append({})
        elif following is None or not _PAIRS_GO_ON.fullmatch(rest):
            raise info.fault(f"is broken after {key!r} of block {len(blocks)}")
    return [Entry(block, info.where, f"milestone_info, block {n}:") for n, block in enumerate(blocks[:-1], start=1)]


def _heading(block: Entry) -> float:
    """Degrees of a heading such as "298 (northwest)", whose word must be that of the number."""
    entry = block["to_next_intersection_heading"]
    read = _HEADING.fullmatch(entry.text())
    heading = None if read is None else finite(read[1])
    if read is None or heading is None or not 0 <= heading <= 360:
        raise entry.fault(f"must be like '298 (northwest)', not {shown(entry.value)}")
    if read[2] != compass_name(int(heading)):  # the official code cuts off decimals before it names
        raise entry.fault(f"is {shown(entry.value)}, but {heading:g} is {compass_name(int(heading))}")
    return heading


def _sight(block: Entry, last: bool) -> Sight | None:
    """What "Prince St is on your front" says; at the destination, "The destination" stands before the name."""
    if not block.has("landmarks") or block["landmarks"].value in NOTHING_SEEN:
        return None
    entry = block["landmarks"]
    name, _, side = entry.text().rpartition(_ON_YOUR)
    name = name.removeprefix(_DESTINATION) if last else name
    if not name or side not in _SIDES:
        raise entry.fault(f"must be like 'Prince St is on your left front', not {shown(entry.value)}")
    return Sight(name, side)


def _check_landmarks(landmarks: Entry, count: int) -> None:
    """The places in landmark_list; what is seen of them stands in the blocks."""
    for item in landmarks.items(MOST_MILESTONES, count):
        if item.value is not None:
            item["name"].text()
            item["geocode"].geocode()


def _distances(results: Entry, blocks: list[Entry]) -> list[float]:
    """Metres of every leg, from distance_list, or from the blocks where there is none."""
    if results.has("distance_list"):
        items = results["distance_list"].items(MOST_MILESTONES, len(blocks))
        return [item.number(0, LONGEST_LEG) for item in items]
    return [_block_distance(block["distance"]) for block in blocks]


def _block_distance(entry: Entry) -> float:
    metres = finite(entry.text().removesuffix(" meters"))
    if metres is None or not 0 <= metres <= LONGEST_LEG:
        raise entry.fault(f"must be like '16 meters', not {shown(entry.value)}")
    return metres


def _polyline(entry: Entry) -> tuple[Geocode, ...]:
    """Points of the way: pairs, or Google's encoded text, of the whole or of each leg."""
    if isinstance(entry.value, str):
        return tuple(_decode(entry))
    points: list[Geocode] = []
    for item in entry.items(MOST_POINTS):
        points.extend(_decode(item) if isinstance(item.value, str) else [item.geocode()])
        if len(points) > MOST_POINTS:
            raise entry.fault(f"has more than {MOST_POINTS} points")
    return tuple(points)


def _decode(entry: Entry) -> list[Geocode]:
    """Google's encoded polyline: differences in units of 0.00001 degrees, 5 bits a letter, the sign in the last bit."""
    numbers, value, shift = [], 0, 0
    for letter in entry.text(MOST_POINTS):
        bits = ord(letter) - 63
        if not 0 <= bits < 64 or shift > 30:
            raise entry.fault("is no encoded polyline")
        value |= (bits & 31) << shift
        shift += 5
        if bits < 32:
            numbers.append(~(value >> 1) if value & 1 else value >> 1)
            value, shift = 0, 0
    if shift or len(numbers) % 2:
        raise entry.fault("is no encoded polyline")
    points, latitude, longitude = [], 0, 0
    for north, east in zip(numbers[::2], numbers[1::2], strict=True):
        latitude, longitude = latitude + north, longitude + east
        points.append(Entry([latitude / 1e5, longitude / 1e5], entry.where, entry.field).geocode())
    return points
