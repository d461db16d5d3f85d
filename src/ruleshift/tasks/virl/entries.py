"""Reading foreign JSON: every value is checked, and every complaint says where it stands."""

import json
import math
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.route import Geocode

LONGEST_TEXT = 2_000  # characters of a name and the like
REMEDY = "correct the entry, or download the file again"


@dataclass(frozen=True)
class Entry:
    """A value of a JSON file. `where` is the file and the route, `field` the way to the value inside that."""

    value: object
    where: str
    field: str = ""

    def fault(self, wrong: str) -> RuleshiftError:
        """What is wrong here, as one line."""
        place = f"{self.where}: {self.field}" if self.field else self.where
        return RuleshiftError(f"{place} {wrong}: {REMEDY}")

    def inside(self, key: str, value: object) -> "Entry":
        return Entry(value, self.where, f"{self.field}.{key}" if self.field else key)

    def members(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            raise self.fault(f"must be an object in braces, not {kind_of(self.value)}")
        return self.value

    def has(self, key: str) -> bool:
        """Whether a key is there with a value."""
        return self.members().get(key) is not None

    def __getitem__(self, key: str) -> "Entry":
        """The value of a key that must be there."""
        members = self.members()
        if key not in members:
            near = get_close_matches(key, map(str, members), n=1)
            raise self.inside(key, None).fault("is missing" + (f" (there is {near[0]!r})" if near else ""))
        return self.inside(key, members[key])

    def items(self, most: int, length: int | None = None) -> list["Entry"]:
        """The entries of a list: `most` at most, or exactly `length`."""
        if not isinstance(self.value, list):
            raise self.fault(f"must be a list, not {kind_of(self.value)}")
        if length is not None and len(self.value) != length:
            raise self.fault(f"must have {length} entries, not {len(self.value)}")
        if len(self.value) > most:
            raise self.fault(f"has {len(self.value)} entries, more than {most}")
        return [Entry(item, self.where, f"{self.field}[{index}]") for index, item in enumerate(self.value)]

    def text(self, most: int = LONGEST_TEXT) -> str:
        if not isinstance(self.value, str):
            raise self.fault(f"must be text, not {kind_of(self.value)}")
        if len(self.value) > most:
            raise self.fault(f"has {len(self.value)} characters, more than {most}")
        if any("\ud800" <= letter <= "\udfff" for letter in self.value):
            raise self.fault("holds half of a character")
        return self.value

    def number(self, low: float, high: float) -> float:
        """A number from `low` to `high`, both of them allowed."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(f"must be a number, not {kind_of(value)}")
        if not low <= value <= high:  # NaN, too
            raise self.fault(f"must be from {low:g} to {high:g}, not {shown(value)}")
        return float(value)

    def geocode(self) -> Geocode:
        latitude, longitude = self.items(most=2, length=2)
        return latitude.number(-90, 90), longitude.number(-180, 180)


def kind_of(value: object) -> str:
    """A JSON value's kind in words."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def shown(value: object, most: int = 60) -> str:
    """A value as part of a message: short, and harmless in a terminal."""
    text = ascii(value) if not isinstance(value, int) or abs(value) < 10**12 else "a huge number"
    return text if len(text) <= most else text[:most] + "..."


def read_json(path: Path, name: str, most: int) -> Entry:
    """The content of a JSON file of at most `most` bytes; `name` is how messages call it."""
    content = read_bytes(path, name, most)
    try:
        return Entry(json.loads(content), name)
    except json.JSONDecodeError as error:
        reason = f"is not JSON from line {error.lineno}, column {error.colno} on, perhaps cut off"
    except (ValueError, RecursionError):
        reason = "is not JSON"
    raise RuleshiftError(f"{name} {reason}: download it again")


def read_bytes(path: Path, name: str, most: int) -> bytes:
    """The content of a plain file of at most `most` bytes. Raises RuleshiftError where there is none."""
    try:
        if not path.is_file():
            reason = "is not a file" if path.exists() else "is missing"
            raise RuleshiftError(f"{name} {reason}: download it again")
        size = path.stat().st_size
        if size > most:
            raise RuleshiftError(f"{name} has {size:,} bytes, more than {most:,}: it is not what it should be")
        return path.read_bytes()
    except OSError as error:
        raise RuleshiftError(f"cannot read {name} ({error.strerror}): check who may read it") from error


def finite(text: str) -> float | None:
    """The number that a text writes in decimals, None for anything else (inf and 1_000 among it)."""
    if not text or len(text) > 40 or set(text) - set("0123456789.e+-"):
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
