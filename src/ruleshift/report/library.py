"""The episodes of a study as the viewer asks for them: an index of all, and each by its number.

What a page holds itself is a part of them that fits, whole problems under all arms and steps; `ruleshift report
--serve` has all of them.
"""

import base64
import gzip
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode
from ruleshift.report.arms import Legend
from ruleshift.report.scenes import Replay, Stage
from ruleshift.rollouts import FOLDER, SUMMARY, KeptEpisode, files_in, load, load_all, rows_with, summaries

MOST_EPISODES = 4_000  # in a page
MOST_BYTES = 8_000_000  # of them in a page, compressed
MOST_MAPS = 256  # of them whose maps a page holds
CHUNK = 64  # episodes that a page unpacks at once


class Location(NamedTuple):
    """Where an episode lies: a file of a run, and its row there."""

    path: Path
    row: int


@dataclass(frozen=True)
class Listing:
    """An episode in the index. `kind` says whether it is of a `point` or an `update`."""

    arm: str
    seed: int
    kind: str
    step: int
    told: Mapping[str, Any]


@dataclass
class Library:
    """Entries, and where each episode lies: on disk, or in memory. `stage` is where they can be seen again."""

    entries: list[Listing] = field(default_factory=list)
    places: list[Location | KeptEpisode] = field(default_factory=list)
    files: set[Path] = field(default_factory=set)
    stage: Stage | None = None

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, entry: Listing, place: Location | KeptEpisode) -> None:
        self.entries.append(entry)
        self.places.append(place)

    def episode(self, number: int) -> KeptEpisode:
        """Raises IndexError for a number that there is not, RuleshiftError for a damaged file."""
        if number < 0:
            raise IndexError(number)
        place = self.places[number]
        return place if isinstance(place, KeptEpisode) else load(*place)

    def part(self, most: int = MOST_EPISODES) -> "Library":
        """At most so many episodes: the first problems of every split under all arms, and what was learned from."""
        chosen = sorted(self._order()[:most])
        return Library([self.entries[i] for i in chosen], [self.places[i] for i in chosen], stage=self.stage)

    @property
    def shows(self) -> bool:
        """Whether its episodes have scenes: pictures or maps."""
        return self.stage is not None and self.stage.shows

    def scene(self, number: int) -> Replay | None:
        """What was to be seen in an episode; None where that cannot be told."""
        return self.stage.scene(self.episode(number)) if self.stage else None

    def search(self, text: str) -> list[int]:
        """The numbers of the episodes in which a text stands, in whatever case. Files that cannot be read have none."""
        if not text:
            return list(range(len(self)))
        found: list[int] = []
        rows: dict[Path, set[int]] = {}
        for number, place in enumerate(self.places):
            if isinstance(place, KeptEpisode):
                if any(text.lower() in content.lower() for _, content, _ in place.messages):
                    found.append(number)
                continue
            if place.path not in rows:
                rows[place.path] = rows_with(place.path, text)
            if place.row in rows[place.path]:
                found.append(number)
        return found

    def _order(self) -> list[int]:
        """The episodes by problem: the first problem of every split, then the second, under all arms and steps."""
        counts: dict[tuple[str, str], dict[str, int]] = {}
        splits: dict[tuple[str, str], int] = {}
        ranks = []
        for entry in self.entries:
            split = entry.told["split"]
            splits.setdefault((entry.kind, split), len(splits))
            among = counts.setdefault((entry.kind, split), {})
            ranks.append(among.setdefault(entry.told["problem"], len(among)))
        where = [splits[entry.kind, entry.told["split"]] for entry in self.entries]
        return sorted(range(len(self)), key=lambda i: (ranks[i], where[i], i))

    def index(self) -> dict[str, Any]:
        """The entries as columns; texts stand in `names` once, and in the columns by number."""
        columns: dict[str, list[Any]] = {name: [getattr(e, name) for e in self.entries] for name in WHERE}
        columns |= {name: [_plain(entry.told[name]) for entry in self.entries] for name in SUMMARY.names}
        names: dict[str, list[str]] = {}
        for name, values in columns.items():
            if any(isinstance(value, str) for value in values):
                numbers: dict[str, int] = {}
                columns[name] = [numbers.setdefault(str(value), len(numbers)) for value in values]
                names[name] = list(numbers)
        return {"count": len(self), "columns": columns, "names": names}

    def chunks(self, most: int = MOST_BYTES) -> tuple["Library", list[str]]:
        """As many episodes as fit, in order of their problems, and their content: gzip in base64, `CHUNK` of them
        each."""
        order = self._order()
        found = self._load(order)
        kept, packed, size = Library(stage=self.stage), [], 0
        for first in range(0, len(order), CHUNK):
            numbers = order[first : first + CHUNK]
            chunk = pack([as_plain(found[i]) for i in numbers])
            size += len(chunk)
            if size > most:
                break
            packed.append(chunk)
            for i in numbers:
                kept.add(self.entries[i], self.places[i])
        return kept, packed

    def maps(self, most: int = MOST_MAPS) -> list[str]:
        """The maps of the first episodes, in chunks as these are; none where problems have no maps."""
        if self.stage is None or not self.stage.shows:
            return []
        found = self._load(range(min(most, len(self))))
        scenes = [self.stage.scene(found[i], pictures=False) for i in sorted(found)]
        if not any(scene and scene.map for scene in scenes):
            return []
        plain = [scene_as_plain(scene) for scene in scenes]
        return [pack(plain[first : first + CHUNK]) for first in range(0, len(plain), CHUNK)]

    def _load(self, numbers: Iterable[int]) -> dict[int, KeptEpisode]:
        """These episodes; each file is opened once."""
        by_path: dict[Path, list[tuple[int, int]]] = {}
        found: dict[int, KeptEpisode] = {}
        for i in numbers:
            place = self.places[i]
            if isinstance(place, KeptEpisode):
                found[i] = place
            else:
                by_path.setdefault(place.path, []).append((i, place.row))
        for path, wanted in by_path.items():
            loaded = load_all(path, [row for _, row in wanted])
            found |= {i: episode for (i, _), episode in zip(wanted, loaded, strict=True)}
        return found


WHERE = ("arm", "seed", "kind", "step")


def library_of(folder: Path, legend: Legend, stage: Stage | None = None) -> Library:
    """The episodes that are kept of a task's study. Files that cannot be read are left out."""
    found = Library(stage=stage)
    grow(found, folder, legend)
    return found


def grow(library: Library, folder: Path, legend: Legend) -> None:
    """Add the files that are not in the library yet, behind those that are: numbers of episodes stay."""
    runs = {path.name: path for path in (folder / "arms").glob("*-seed*") if (path / FOLDER).is_dir()}
    for arm in legend.names:
        for name, run in sorted(runs.items()):
            stem, _, seed = name.rpartition("-seed")
            if stem == arm and seed.isdigit():
                for kind, step, path in files_in(run):
                    if path not in library.files:
                        _add_file(library, path, (arm, int(seed), kind, step))


def _add_file(library: Library, path: Path, where: tuple[str, int, str, int]) -> None:
    try:
        rows = summaries(path).to_pylist()
    except RuleshiftError:
        return
    library.files.add(path)
    for row, told in enumerate(rows):
        library.add(Listing(*where, told), Location(path, row))


def library_in_memory(episodes: Mapping[str, Sequence[Episode]], split: str = "") -> Library:
    """A few conversations by arm, of results that kept no others. The split is read from the id of a problem."""
    found = Library()
    for arm, shown in episodes.items():
        for episode in shown:
            parts = episode.problem_id.split("/")
            kept = KeptEpisode.of(episode, split or (parts[1] if len(parts) > 2 else ""), "shown", why="shown")
            found.add(Listing(arm, 0, "point", 0, kept.summary()), kept)
    return found


def pack(content: object) -> str:
    """JSON, packed with gzip, in base64: a chunk of a page."""
    text = json.dumps(content, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def as_plain(episode: KeptEpisode) -> dict[str, Any]:
    """An episode as JSON: pictures are data URLs, numbers are rounded to what is shown."""
    return {
        "problem": episode.problem,
        "messages": [
            {"role": role, "text": text, "pictures": [_url(data) for data in seen]}
            for role, text, seen in episode.messages
        ],
        "turns": [
            {name: _plain(value) for name, value in vars(turn).items() if name != "ids"} for turn in episode.turns
        ],
    }


def scene_as_plain(scene: Replay | None) -> dict[str, Any] | None:
    """A scene as JSON. All of it is shown as pictures are, in which nothing is run and nothing loaded."""
    if scene is None:
        return None
    return {
        "map": _url(scene.map.encode("utf-8", "replace"), "svg+xml") if scene.map else "",
        "pictures": [[_url(data) for data in seen] for seen in scene.pictures],
    }


def _url(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _plain(value: Any) -> Any:
    """Numbers with four places, and none that JSON has no word for."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
