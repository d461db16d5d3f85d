"""A picture of a route on its map, as SVG. `terminal` draws it for the terminal."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element, SubElement, tostring

from ruleshift.tasks.virl.maps.labels import Box, Room, street_boxes, text_width
from ruleshift.tasks.virl.rail import RailPoint
from ruleshift.tasks.virl.route import Route
from ruleshift.tasks.virl.world.graph import XY, Place, StreetGraph
from ruleshift.tasks.virl.world.lines import between, nearest, onto
from ruleshift.tasks.virl.world.plane import flat, walked
from ruleshift.tasks.virl.world.snap import clean

INK, SOFT_INK, GRID = "#1f2328", "#656d76", "#e7e9ec"
ROUTE, START, GOAL = "#0072b2", "#009e73", "#d55e00"  # safe for colour-blind readers (Okabe and Ito)
FONT = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', system-ui, sans-serif"
WIDTH = 900.0  # pixels, as all sizes below but where they are metres
HEAD, LINE, FOOT = 64.0, 24.0, 14.0  # of the title, of a line of the legend, below the legend
STREET_TEXT, PLACE_TEXT = 12.5, 11.5
WRONG = "\u00d7"  # behind the number of a reply
LETTERS = 100  # of a line of text
DOT, DISC = 3.5, 11.0  # radius of a place, of a marker
MARGIN, LEAST = 60.0, 240.0  # metres shown around the route, metres shown across
AGAIN = 300.0  # pixels to where the name of a street is written again
SEEN = 45.0  # metres from the route to the places that are shown


def draw_route(
    graph: StreetGraph,
    route: Route,
    rail: Sequence[RailPoint] | None = None,
    credit: str = "",
    replies: Sequence[tuple[int, bool]] = (),
) -> str:
    """The part of the map around a route: streets and places with their names, the way with its intersections.

    With a rail, the walker's positions are dotted on the way; `replies`, each with the number of its position there and
    whether it was right, are numbered beside them. `credit` names the source of the map, where its licence wants that.
    Names may hold any text.
    """
    picture = _Picture(graph, route)
    picture.draw_streets()
    picture.draw_frame(credit)
    picture.draw_way(rail or ())
    picture.draw_replies(rail or (), replies)
    picture.draw_places(named=True)
    picture.draw_street_names()
    picture.draw_places(named=False)
    picture.draw_legend()
    return tostring(picture.svg, encoding="unicode")


@dataclass(frozen=True)
class _View:
    """A section of a map: its north-west corner in metres, pixels per metre, and its height in pixels."""

    west: float
    north: float
    scale: float
    height: float

    def __call__(self, at: XY) -> XY:
        """The pixel of a point."""
        return round((at[0] - self.west) * self.scale, 1), round(HEAD + (self.north - at[1]) * self.scale, 1)


def _view_of(points: Sequence[XY]) -> _View:
    xs, ys = zip(*points, strict=True)
    high = max(ys) - min(ys) + 2 * MARGIN
    wide = max(max(xs) - min(xs) + 2 * MARGIN, LEAST, 0.9 * high)
    high = max(high, 0.5 * wide)
    scale = WIDTH / wide
    return _View((min(xs) + max(xs) - wide) / 2, (min(ys) + max(ys) + high) / 2, scale, round(high * scale))


class _Picture:
    """The SVG while it grows, and the room on it that labels may still take."""

    def __init__(self, graph: StreetGraph, route: Route) -> None:
        self.graph, self.route = graph, route
        self.stops = [flat(stop.at, graph.origin) for stop in route.milestones]
        self.start = flat(route.start, graph.origin)
        self.way = walked(route, graph.origin)
        self.view = _view_of([self.start, *self.way, *self.stops])
        self.named = self._find_named()
        self.bottom = HEAD + self.view.height
        self.streets = [street for street in range(len(graph.streets)) if self._is_shown(graph.line(street))]
        self.height = self.bottom + LINE * (route.legs + 1) + FOOT
        size = {"width": f"{WIDTH:g}", "height": f"{self.height:g}", "viewBox": f"0 0 {WIDTH:g} {self.height:g}"}
        self.svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": FONT})
        _add(self.svg, "rect", width="100%", height="100%", fill="white")
        section = {"x": "0", "y": f"{HEAD:g}", "width": f"{WIDTH:g}", "height": f"{self.view.height:g}"}
        self.map = _add(self.svg, "svg", **section, viewBox=" ".join(section.values()))  # cuts off what is outside
        _add(self.map, "rect", fill=GRID, **section)
        self.room = Room(4, HEAD + 4, WIDTH - 4, self.bottom - 4)

    def draw_streets(self) -> None:
        wide = min(26.0, max(7.0, 11 * self.view.scale))
        streets = _add(self.map, "g", fill="none", stroke="white", stroke_width=wide)
        streets.attrib |= {"stroke-linecap": "round", "stroke-linejoin": "round"}
        for street in self.streets:
            _add(streets, "polyline", points=self._pixels(self.graph.line(street)))

    def draw_way(self, rail: Sequence[RailPoint]) -> None:
        """The way with its positions and arrows, then the markers of start, intersections and destination."""
        line = _add(self.map, "polyline", points=self._pixels(self.way), fill="none", stroke=ROUTE, stroke_width=6)
        line.attrib |= {"stroke-linecap": "round", "stroke-linejoin": "round"}
        for point in rail:
            x, y = self.view(onto(flat(point.at, self.graph.origin), self.way))
            _add(self.map, "circle", cx=x, cy=y, r=2.2, fill="white", stroke=ROUTE)
        for a, b in pairwise(map(self.view, self.way)):
            self.room.take(_box_between(a, b, 6))
            self._draw_arrow(a, b)
        self._draw_facing()
        for number, at in enumerate([self.start, *self.stops]):
            self._draw_marker(self.map, number, *self.view(at))
            self.room.take(Box(*self.view(at), 2 * DISC + 4, 2 * DISC + 4))

    def draw_replies(self, rail: Sequence[RailPoint], replies: Sequence[tuple[int, bool]]) -> None:
        """Beside each position the numbers of the replies that were given there; a cross follows a wrong one."""
        given: dict[int, list[str]] = defaultdict(list)
        for number, (position, right) in enumerate(replies, start=1):
            given[position].append(str(number) if right else f"{number}{WRONG}")
        for position, numbers in given.items():
            x, y = self.view(onto(flat(rail[position].at, self.graph.origin), self.way))
            text = " ".join(numbers)
            colour = GOAL if WRONG in text else START
            boxes = _boxes_around(x, y, text_width(text, PLACE_TEXT), PLACE_TEXT)
            box = self.room.first_free(boxes) or boxes[0]
            self.room.take(box)
            if rail[position].kind == "way":  # elsewhere a marker stands
                _add(self.map, "circle", cx=x, cy=y, r=DOT + 1, fill=colour, stroke="white")
            _label(self.map, box, text, PLACE_TEXT, colour, "700")

    def draw_places(self, named: bool) -> None:
        """The places that the route names, in bold; or of the others near the way those that there is room for."""
        away = {place: nearest(place.at, self.way)[0] for place in self.graph.places if place not in self.named}
        others = sorted((place for place, far in away.items() if far <= SEEN), key=lambda place: away[place])
        size, weight = (PLACE_TEXT + 1.5, "600") if named else (PLACE_TEXT, "400")
        for place in self.named if named else others:
            name = clean(place.name)
            dot = Box(*self.view(place.at), 2 * DOT, 2 * DOT)
            boxes = _boxes_around(dot.x, dot.y, text_width(name, size) * (1.07 if named else 1), size)
            box = self.room.first_free(boxes) if named or self.room.is_free(dot) else None
            if box or named:
                box = box or boxes[0]
                self.room.take(dot)
                self.room.take(box)
                _add(self.map, "circle", cx=dot.x, cy=dot.y, r=DOT, fill=GOAL if named else SOFT_INK)
                _label(self.map, box, name, size, INK if named else SOFT_INK, weight)

    def draw_street_names(self) -> None:
        """Every street's name, near a leg of the route if it can be, and not twice side by side."""
        middles = [between(a, b, 0.5) for a, b in pairwise(map(self.view, [self.start, *self.stops]))]
        written: dict[str, list[XY]] = defaultdict(list)
        for name, boxes in street_boxes(self.graph, self.streets, self.view, STREET_TEXT, middles):
            fresh = (box for box in boxes if all(math.dist((box.x, box.y), at) > AGAIN for at in written[name]))
            box = self.room.first_free(fresh)
            if box:
                written[name].append((box.x, box.y))
                _label(self.map, box, name, STREET_TEXT, SOFT_INK).set("font-style", "italic")

    def draw_frame(self, credit: str) -> None:
        """The title, the scale, the arrow to the north, and whose map it is."""
        total = sum(stop.distance for stop in self.route.milestones)
        _text(self.svg, 16, 28, f"To {self.route.destination}", 19, INK, weight="600")
        legs = "1 leg" if self.route.legs == 1 else f"{self.route.legs} legs"
        _text(self.svg, 16, 50, f"{self.route.city} · {legs}, {total:.0f} m", 13, SOFT_INK)
        if credit:
            _text(self.svg, WIDTH - 16, 50, credit, 11, SOFT_INK, anchor="end")
        metres = max(
            m for m in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10**6) if m == 10 or m * self.view.scale < 190
        )
        long, y = metres * self.view.scale, self.bottom - 22
        self._panel(10, y - 20, long + 24, 32)
        _add(self.map, "path", d=f"M22 {y - 4}v6h{long:.1f}v-6", fill="none", stroke=INK, stroke_width=1.6)
        _text(self.map, 22 + long / 2, y - 5, f"{metres} m", 11, INK, anchor="middle")
        self._panel(WIDTH - 46, HEAD + 10, 36, 50)
        x, y = WIDTH - 28, HEAD + 18
        _add(self.map, "path", d=f"M{x} {y}l8 20l-8 -5l-8 5z", fill=INK)
        _text(self.map, x, y + 36, "N", 13, INK, anchor="middle", weight="600")

    def draw_legend(self) -> None:
        """What is seen at the start, at every intersection and at the destination, below the map."""
        lines = [f"start on {self.route.start_name}"]
        for stop in self.route.milestones:
            seen = "intersection" if stop.sight is None else str(stop.sight)
            lines.append(f"after {stop.distance:.0f} m: {seen}")
        for number, line in enumerate(lines):
            y = self.bottom + LINE * (number + 0.75)
            self._draw_marker(self.svg, number, 26, y, 0.75)
            _text(self.svg, 46, y + 4.5, line, 13, INK)

    def _panel(self, x: float, y: float, width: float, height: float) -> None:
        """A light ground for what is not map, on which no label is set."""
        _add(self.map, "rect", x=x, y=y, width=width, height=height, rx=5, fill="white", opacity=0.85)
        self.room.take(Box(x + width / 2, y + height / 2, width, height))

    def _draw_marker(self, parent: Element, number: int, x: float, y: float, size: float = 1.0) -> None:
        """Start: a green disc; intersections: their number; destination: a star."""
        last = number == self.route.legs
        colour = GOAL if last else ROUTE if number else START
        _add(parent, "circle", cx=x, cy=y, r=DISC * size, fill=colour, stroke="white", stroke_width=2)
        if last:
            _add(parent, "path", d=_star(x, y, 7.5 * size), fill="white")
        else:
            _text(parent, x, y + 4.5 * size, str(number or "S"), 13 * size, "white", anchor="middle", weight="700")

    def _draw_facing(self) -> None:
        """The way the walker faces at the start, as a point on its disc."""
        if self.route.initial_heading is not None:
            x, y = self.view(self.start)
            self.room.take(Box(x, y, 40, 40))
            turn = f"translate({x:g} {y:g}) rotate({self.route.initial_heading:g})"
            _add(self.map, "path", d="M0 -25l11 18h-22z", transform=turn, fill=START, stroke="white")

    def _draw_arrow(self, a: XY, b: XY) -> None:
        """The direction of the way, in the middle of a piece of it that is long enough."""
        if math.dist(a, b) > 56:
            turn = math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))
            place = f"translate({(a[0] + b[0]) / 2:.1f} {(a[1] + b[1]) / 2:.1f}) rotate({turn:.1f})"
            _add(self.map, "path", d="M-7 -8l16 8l-16 8z", transform=place, fill=ROUTE, stroke="white")

    def _find_named(self) -> list[Place]:
        """The places that the route names: of those with the name of a sight, the nearest to where it is seen."""
        found = []
        for stop, at in zip(self.route.milestones, self.stops, strict=True):
            same = [place for place in self.graph.places if stop.sight and place.name == stop.sight.name]
            near = min(same, key=lambda place: math.dist(place.at, at), default=None)
            if near and math.dist(near.at, at) <= SEEN and near not in found:
                found.append(near)
        return found

    def _is_shown(self, line: Sequence[XY]) -> bool:
        """Whether the section may show a part of a line."""
        xs, ys = zip(*map(self.view, line), strict=True)
        return min(xs) <= WIDTH and max(xs) >= 0 and min(ys) <= self.bottom and max(ys) >= HEAD

    def _pixels(self, line: Sequence[XY]) -> str:
        return " ".join(f"{x:g},{y:g}" for x, y in map(self.view, line))


def _add(parent: Element, tag: str, **attributes: object) -> Element:
    """A new child; `_` in the name of an attribute stands for `-`."""
    return SubElement(parent, tag, {name.replace("_", "-"): _written(value) for name, value in attributes.items()})


def _written(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _text(
    parent: Element, x: float, y: float, text: str, size: float, colour: str, anchor: str = "start", weight: str = "400"
) -> Element:
    """One line of text, whatever it holds, with its baseline at y. ElementTree escapes it."""
    element = _add(parent, "text", x=x, y=y, fill=colour, font_size=size, font_weight=weight, text_anchor=anchor)
    element.text = clean(text, LETTERS)
    return element


def _label(parent: Element, box: Box, text: str, size: float, colour: str, weight: str = "400") -> Element:
    """A name on the map, around the middle of its box, with a white rim."""
    x = box.x + {"start": -0.5, "middle": 0.0, "end": 0.5}[box.anchor] * box.width
    element = _text(parent, x, box.y + 0.35 * size, text, size, colour, box.anchor, weight)
    element.attrib |= {"stroke": "white", "stroke-width": "3", "paint-order": "stroke", "stroke-linejoin": "round"}
    if box.degrees:
        element.set("transform", f"rotate({box.degrees:.1f} {box.x:.1f} {box.y:.1f})")
    return element


def _boxes_around(x: float, y: float, width: float, size: float) -> list[Box]:
    """Where the name of a place could stand: right, left, above, below, then askew and further away."""
    boxes = []
    for gap in (DOT + 3, DOT + 9, DOT + 16, DOT + 26):
        side, above = gap + width / 2, gap + size / 2
        boxes += [Box(x + side, y, width, size, anchor="start"), Box(x - side, y, width, size, anchor="end")]
        boxes += [
            Box(x + lean * width, y + up * above, width, size) for lean in (0, 0.3, -0.3, 0.5, -0.5) for up in (-1, 1)
        ]
    return boxes


def _star(x: float, y: float, radius: float) -> str:
    """The path of a star with five points."""
    points = []
    for corner in range(10):
        far, turn = radius * (1 if corner % 2 == 0 else 0.42), math.radians(36 * corner)
        points.append(f"{x + far * math.sin(turn):.1f} {y - far * math.cos(turn):.1f}")
    return f"M{'L'.join(points)}z"


def _box_between(a: XY, b: XY, width: float) -> Box:
    turn = math.degrees(math.atan2(b[1] - a[1], b[0] - a[0]))
    return Box((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, math.dist(a, b), width, turn)
