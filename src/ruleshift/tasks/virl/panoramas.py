"""Which panorama was taken where: the `gps_pano_mapping` of the paper's data, from a pickle, JSON or CSV.

Nothing is unpickled. `read_pickle` follows the few instructions that a dict from pairs of numbers to texts consists
of, with its own stack, and refuses all others, so that no class or function is ever looked up, imported or called.
"""

import csv
import io
import pickletools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, cos, floor, radians
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.compass import metres_between
from ruleshift.tasks.virl.entries import Entry, finite, read_bytes, read_json, shown
from ruleshift.tasks.virl.route import Geocode

NAMES = ("gps_pano_mapping.pkl", "gps_pano_mapping.json", "gps_pano_mapping.csv")
WITHIN = 20.0  # metres from a point to the panorama that serves it

MOST_BYTES = 128 << 20
MOST_PANORAMAS = 1_000_000
MOST_INSTRUCTIONS = 12 * MOST_PANORAMAS  # of a pickle; a panorama takes 7 to 10

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")  # it becomes part of a file's name
_CELL = 0.0002  # degrees; about 22 m of latitude


@dataclass(frozen=True)
class Panoramas:
    """Panorama ids by the place where they were taken."""

    ids: Mapping[Geocode, str]

    def nearest(self, at: Geocode, within: float = WITHIN) -> str | None:
        """Id of the panorama nearest to a point, None where none lies closer than `within` metres."""
        if at in self.ids:
            return self.ids[at]
        row, column = floor(at[0] / _CELL), floor(at[1] / _CELL)
        rows = ceil(within / 110_000 / _CELL)
        columns = min(ceil(rows / max(cos(radians(at[0])), 1e-3)), 1_000)
        places = [
            place
            for r in range(row - rows, row + rows + 1)
            for c in range(column - columns, column + columns + 1)
            for place in self._cells.get((r, c), ())
        ]
        distance, place = min(((metres_between(at, place), place) for place in places), default=(within, at))
        return self.ids[place] if distance < within else None

    @cached_property
    def _cells(self) -> dict[tuple[int, int], list[Geocode]]:
        cells: dict[tuple[int, int], list[Geocode]] = {}
        for place in self.ids:
            cells.setdefault((floor(place[0] / _CELL), floor(place[1] / _CELL)), []).append(place)
        return cells


def load_panoramas(path: Path, name: str = "") -> Panoramas:
    """Read a mapping; `name` is how messages call the file. Raises RuleshiftError for a broken or a hostile one."""
    name = name or path.name
    if path.suffix == ".json":
        pairs = _from_json(read_json(path, name, MOST_BYTES))
    elif path.suffix == ".csv":
        pairs = _from_csv(read_bytes(path, name, MOST_BYTES), name)
    else:
        pairs = read_pickle(read_bytes(path, name, MOST_BYTES), name).items()
    return Panoramas(dict(_checked(pairs, name)))


def _checked(pairs: Iterable[tuple[object, object]], name: str) -> Iterable[tuple[Geocode, str]]:
    """The pairs, each of which must be a place on earth and an id that can be part of a file's name."""
    for number, (place, id) in enumerate(pairs, start=1):
        if number > MOST_PANORAMAS:
            raise RuleshiftError(f"{name} holds more than {MOST_PANORAMAS:,} panoramas: it is not what it should be")
        at = Entry(list(place) if isinstance(place, tuple) else place, name, f"entry {number}").geocode()
        if not isinstance(id, str) or _ID.fullmatch(id) is None:
            raise Entry(id, name, f"entry {number}").fault(f"has {_brief(id)} for a panorama id")
        yield at, id


def _brief(value: object) -> str:
    return shown(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _from_json(entry: Entry) -> Iterable[tuple[object, object]]:
    """From {"latitude,longitude": id}, or a list of [latitude, longitude, id]."""
    if isinstance(entry.value, dict):
        for key, id in entry.value.items():
            yield tuple(map(finite, re.sub(r"[()\s]", "", key[:100]).split(","))), id
        return
    for item in entry.items(MOST_PANORAMAS):
        latitude, longitude, id = item.items(3, 3)
        yield (latitude.value, longitude.value), id.value


def _from_csv(content: bytes, name: str) -> Iterable[tuple[object, object]]:
    """From lines of latitude, longitude, id; a line of headings may stand first."""
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        for number, row in enumerate(rows, start=1):
            if len(row) != 3:
                raise Entry(row, name, f"line {number}").fault("must hold latitude, longitude, panorama id")
            place = (finite(row[0].strip()), finite(row[1].strip()))
            if number > 1 or place != (None, None):
                yield place, row[2].strip()
    except (csv.Error, UnicodeDecodeError) as error:
        raise RuleshiftError(f"{name} is not CSV ({error}): download it again") from error


_NUMBERS = {"FLOAT", "BINFLOAT", "INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1"}
_TEXTS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_IDLE = {"PROTO", "FRAME", "STOP"}
_MARK = object()


def read_pickle(content: bytes, name: str) -> dict[Geocode, str]:
    """The dict from pairs of numbers to texts that a pickle of any protocol writes down, and nothing else.

    Raises RuleshiftError for a pickle that is cut off, is longer than such a dict needs, or holds anything else.
    """
    reader = _Reader()
    try:
        for number, (instruction, argument, _) in enumerate(pickletools.genops(content)):
            if number >= MOST_INSTRUCTIONS:
                raise ValueError("it is too long")
            reader.follow(instruction.name, argument)
        return reader.result()
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        reason = str(error) if type(error) is ValueError else "its instructions do not fit together"
        raise RuleshiftError(
            f"{name} is not read as a pickle of panorama ids ({shown(reason, 120)}): download it again, "
            "or write it as gps_pano_mapping.csv with lines of latitude, longitude, id"
        ) from error


class _Reader:
    """A stack and a memo, as the pickle format describes them, for numbers, texts, pairs and one dict."""

    def __init__(self) -> None:
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def follow(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _NUMBERS or name in _TEXTS:
            stack.append(argument)
        elif name in _PUTS:
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "DICT":
            stack.append(_fill({}, self._above_mark()))
        elif name == "TUPLE2":
            stack[-2:] = [_pair(stack[-2:])]
        elif name == "TUPLE":
            stack.append(_pair(self._above_mark()))
        elif name in ("SETITEM", "SETITEMS"):
            items = self._above_mark() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            _fill(stack[-1], items)
        elif name not in _IDLE:
            raise ValueError(f"it holds the instruction {name}, which no such mapping needs")

    def result(self) -> dict[Geocode, str]:
        (value,) = self.stack
        if not isinstance(value, dict):
            raise ValueError("it holds no dict")
        return value

    def _above_mark(self) -> list[object]:
        """What was put on the stack since the last mark, taken off together with the mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items


def _pair(items: list[object]) -> Geocode:
    numbers = [float(item) for item in items if isinstance(item, int | float)]
    if len(items) != 2 or len(numbers) != 2:
        raise ValueError("a key is no pair of numbers")
    return numbers[0], numbers[1]


def _fill(target: object, items: list[object]) -> dict[Geocode, str]:
    if not isinstance(target, dict) or len(items) % 2:
        raise ValueError("its instructions do not fit together")
    for place, id in zip(items[::2], items[1::2], strict=True):
        if not isinstance(place, tuple) or not isinstance(id, str):
            raise ValueError("it maps something else than pairs of numbers to texts")
        target[place] = id
    return target
