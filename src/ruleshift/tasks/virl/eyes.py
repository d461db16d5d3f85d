"""What a walker sees: a picture for every point of a rail, drawn in a city or cut out of panoramas."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.pictures import picture_of
from ruleshift.records import Picture
from ruleshift.tasks.virl.official import PICTURES
from ruleshift.tasks.virl.panoramas import NAMES, WITHIN, Panoramas, load_panoramas
from ruleshift.tasks.virl.prompt import Views
from ruleshift.tasks.virl.rail import RailPoint
from ruleshift.tasks.virl.route import Geocode
from ruleshift.tasks.virl.views.panorama import GAP, grid_of, panorama_grid, panorama_view, read_panorama
from ruleshift.tasks.virl.world.graph import StreetGraph

if TYPE_CHECKING:
    from ruleshift.tasks.virl.views.looks import CityLook

Pixels = np.ndarray  # (size, size, 3) uint8


class Scenery(Protocol):
    """What there is to see from any point."""

    @property
    def look(self) -> str:
        """What it looks like, in a word."""
        ...

    def front(self, at: Geocode, heading: float, size: int) -> Pixels:
        """The view along a heading in degrees."""
        ...

    def grid(self, at: Geocode, heading: float, size: int, compat: str) -> Pixels:
        """Four views of `size` pixels a side; see `panorama.panorama_grid`."""
        ...


class Surroundings(Protocol):
    """A city and how it looks: a `DesignCell`, or `OnMap`."""

    @property
    def look(self) -> str: ...

    def scene(self) -> "tuple[StreetGraph, CityLook]": ...


@dataclass(frozen=True)
class OnMap:
    """A map of the user's own, in the look of a named city."""

    graph: StreetGraph = field(repr=False)
    look: str

    def scene(self) -> "tuple[StreetGraph, CityLook]":
        from ruleshift.tasks.virl.views.cities import look_of

        return self.graph, look_of(self.look)


@dataclass(frozen=True)
class Streets:
    """Streets that are drawn."""

    city: Surroundings

    @property
    def look(self) -> str:
        return self.city.look

    def front(self, at: Geocode, heading: float, size: int) -> Pixels:
        from ruleshift.tasks.virl.views.render import street_view

        graph, look = self.city.scene()
        return street_view(graph, look, graph.locate(at), heading, size)

    def grid(self, at: Geocode, heading: float, size: int, compat: str) -> Pixels:
        from ruleshift.tasks.virl.views.render import grid_view

        if compat == "official":
            return grid_of(lambda heading, size: self.front(at, heading, size), heading, size, compat)
        graph, look = self.city.scene()
        return grid_view(graph, look, graph.locate(at), heading, size)


@dataclass(frozen=True)
class Download:
    """The panoramas of the paper's data, in the `folder` that holds the routes."""

    folder: Path
    panoramas: Panoramas = field(repr=False)
    look: str = "panoramas"

    def front(self, at: Geocode, heading: float, size: int) -> Pixels:
        return panorama_view(*self._panorama(at), heading, size)

    def grid(self, at: Geocode, heading: float, size: int, compat: str) -> Pixels:
        return panorama_grid(*self._panorama(at), heading, size, compat)

    def along(self, points: tuple[RailPoint, ...]) -> tuple[RailPoint, ...]:
        """The points of a rail that have panoramas. Raises RuleshiftError where one that cannot fall out has none, and
        for a panorama without a picture."""
        found = []
        for point in points:
            id = self.panoramas.nearest(point.at)
            if id is None and point.kind != "way":
                raise RuleshiftError(f"no panorama within {WITHIN:g} m of {point.at} ({point.kind}){self._remedy}")
            if id is not None:
                if not (self.folder / PICTURES / f"{id}.jpg").is_file():
                    raise RuleshiftError(f"{id}.jpg, the panorama at {point.at}, is missing{self._remedy}")
                found.append(point)
        return tuple(found)

    def _panorama(self, at: Geocode) -> tuple[Pixels, float]:
        id = self.panoramas.nearest(at)
        if id is None:
            raise RuleshiftError(f"no panorama within {WITHIN:g} m of {at}{self._remedy}")
        try:
            return read_panorama(self.folder / PICTURES, id)
        except RuleshiftError as error:
            raise RuleshiftError(f"{error}{self._remedy}") from error

    @property
    def _remedy(self) -> str:
        return f": `ruleshift data check-virl {self.folder}` lists what the data lack"


def read_download(folder: Path) -> Download:
    """The panoramas beside the routes of the paper's data. Raises RuleshiftError where there are none."""
    mapping = next((folder / name for name in NAMES if (folder / name).exists()), None)
    if mapping is None or not (folder / PICTURES).is_dir():
        missing = NAMES[0] if mapping is None else PICTURES
        raise RuleshiftError(
            f"{folder} holds no {missing}, which pictures are made from: download it "
            f"(`ruleshift data check-virl {folder}` lists what is missing), or walk in text with virl-l"
        )
    return Download(folder, load_panoramas(mapping))


@dataclass(frozen=True)
class Eyes:
    """How a walker looks at the scenery: square pictures, `size` pixels a side, of four views or the one ahead.

    Four views of equal sizes may leave a black line at the right and at the bottom.
    """

    scenery: Scenery
    size: int
    views: Views = "grid"
    compat: str = "fixed"

    def picture(self, point: RailPoint) -> Picture:
        """What is seen on arrival at a point."""
        if self.views == "front":
            return picture_of(self.scenery.front(point.at, point.heading, self.size))
        view = (self.size - GAP[self.compat]) // 2
        pixels = np.zeros((self.size, self.size, 3), np.uint8)
        grid = self.scenery.grid(point.at, point.heading, view, self.compat)
        pixels[: len(grid), : len(grid)] = grid
        return picture_of(pixels)
