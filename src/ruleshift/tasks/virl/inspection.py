"""What of the paper's V-IRL data is there, and what is missing or broken."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.entries import read_json
from ruleshift.tasks.virl.official import PICTURES, ROUTES, folders, no_routes, read_route, route_entries
from ruleshift.tasks.virl.panoramas import NAMES, WITHIN, Panoramas, load_panoramas
from ruleshift.tasks.virl.rail import build_rail
from ruleshift.tasks.virl.route import Route
from ruleshift.tasks.virl.views.panorama import MOST_METADATA, open_panorama

COUNTED = ("routes", "broken routes", "milestones", "landmarks", "panoramas", "pictures", "metadata")
JPEG = b"\xff\xd8\xff"  # how such a file begins
END = b"\xff\xd9"  # how it ends, but for padding
PADDING = 64  # bytes at the end of a file that END is looked for in

Found = TypeVar("Found")


@dataclass(frozen=True)
class Inspection:
    """What a folder holds. `faults` is what is missing or broken, `notes` what is only worth knowing, a line each.

    `panoramas` counts those that the mapping names; `pictures` and `metadata` the files in street_views.
    """

    folder: Path
    counts: Mapping[str, int]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.faults


def check_folder(folder: str | os.PathLike[str]) -> Inspection:
    """Look at all data in a folder and below it, a partial download too. A fault does not end the search.

    Raises RuleshiftError if there is no such folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise RuleshiftError(f"{top} is not a folder: name the one that the data lie in")
    check = _Check(top)
    for part in [part for part in folders(top) if _holds_data(part)] or [top]:
        check.look_at(part)
    return Inspection(top, dict(check.counts), tuple(check.faults), tuple(check.notes))


def _holds_data(folder: Path) -> bool:
    return any((folder / name).exists() for name in (ROUTES, PICTURES, *NAMES))


@dataclass
class _Check:
    """What has been found so far in `top`."""

    top: Path
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(COUNTED, 0)))
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def look_at(self, part: Path) -> None:
        """One set of data: its routes, and its panoramas if it has any."""
        routes = list(self._routes(part))
        mapping = next((part / name for name in NAMES if (part / name).exists()), None)
        if mapping is None and not (part / PICTURES).exists():
            if routes:
                self.notes.append(f"{self._name(part)} has no pictures; the text task needs none")
            return
        places = None
        if mapping is None:
            self.faults.append(f"{self._name(part / NAMES[0])} is missing: download it, to find the picture of a place")
        else:
            places = self._attempt(lambda: load_panoramas(mapping, self._name(mapping)))
        wanted = None if places is None else set(places.ids.values())
        self.counts["panoramas"] += len(wanted or ())
        self._pictures(part / PICTURES, wanted)
        if places is not None:
            self._points(part, routes, places)

    def _name(self, path: Path) -> str:
        return str(path if path == self.top else path.relative_to(self.top))

    def _attempt(self, look: Callable[[], Found]) -> Found | None:
        """What `look` finds; what it complains of becomes a fault."""
        try:
            return look()
        except RuleshiftError as error:
            self.faults.append(str(error))
            return None

    def _routes(self, part: Path) -> Iterator[tuple[str, Route]]:
        """The sound routes, each with the words for where it stands."""
        file = part / ROUTES
        if not file.exists():
            self.faults.append(f"{self._name(part)} holds {no_routes(part)}")
            return
        for entry in self._attempt(lambda: route_entries(file, self._name(file))) or []:
            try:
                route = read_route(entry, file)
            except RuleshiftError as error:
                self.faults.append(str(error))
                self.counts["broken routes"] += 1
                continue
            self.counts["routes"] += 1
            self.counts["milestones"] += route.legs
            self.counts["landmarks"] += sum(milestone.sight is not None for milestone in route.milestones[:-1])
            yield entry.where, route

    def _pictures(self, folder: Path, wanted: set[str] | None) -> None:
        """The pictures with their metadata: those in `wanted`, or all that are there if that is not known."""
        if not folder.is_dir():
            self.faults.append(f"{self._name(folder)} is missing: download and unpack it")
            return
        files = sorted(os.listdir(folder))
        pictures = {file.removesuffix(".jpg") for file in files if file.endswith(".jpg")}
        metadata = {file.removesuffix(".metadata.json") for file in files if file.endswith(".metadata.json")}
        self.counts["pictures"] += len(pictures)
        self.counts["metadata"] += len(metadata)
        for id in sorted(pictures if wanted is None else wanted):
            self.faults += _faults_of_panorama(folder, id, self._name(folder / id))
        unused = 0 if wanted is None else len((pictures | metadata) - wanted)
        if unused:
            self.notes.append(f"{self._name(folder)} holds {unused} panoramas that the mapping does not name")

    def _points(self, part: Path, routes: list[tuple[str, Route]], places: Panoramas) -> None:
        """Panoramas for the starts and milestones. Way points may lack one: the official code leaves such out."""
        points = without = 0
        for where, route in routes:
            for point in build_rail(route, compat="official"):
                found = places.nearest(point.at) is not None
                if point.kind == "way":
                    points, without = points + 1, without + (not found)
                elif not found:
                    spot = "the start" if point.kind == "start" else f"milestone {point.leg + 1}"
                    self.faults.append(
                        f"{where}: no panorama within {WITHIN:g} m of {spot} at {point.at}: "
                        "download the mapping again, or do without the pictures of this route"
                    )
        if without:
            self.notes.append(f"{self._name(part)}: {without} of {points} way points have no panorama and fall out")


def _faults_of_panorama(folder: Path, id: str, name: str) -> Iterator[str]:
    """What is wrong with the picture of a panorama and with its metadata."""
    try:
        _check_picture(folder / f"{id}.jpg", f"{name}.jpg")
    except RuleshiftError as error:
        yield str(error)
    try:
        metadata = read_json(folder / f"{id}.metadata.json", f"{name}.metadata.json", MOST_METADATA)
        metadata["rotation"].number(-360, 360)
    except RuleshiftError as error:
        yield str(error)


def _check_picture(path: Path, name: str) -> None:
    """Look at both ends of a panorama's picture and at its size, without decoding it.

    Raises RuleshiftError if it is missing, cut short, no picture or no panorama.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(JPEG))
            file.seek(max(0, file.seek(0, os.SEEK_END) - PADDING))
            end = file.read(PADDING)
    except FileNotFoundError as error:
        raise RuleshiftError(f"{name} is missing: download it") from error
    except OSError as error:
        raise RuleshiftError(f"cannot read {name} ({error.strerror}): check who may read it") from error
    if start != JPEG:
        raise RuleshiftError(f"{name} is not a JPEG picture: download it again")
    if END not in end:
        raise RuleshiftError(f"{name} is cut short: download it again")
    with open_panorama(path, name):
        pass
