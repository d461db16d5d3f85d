"""What jobs have taken, in the folder of their run.

RUN/cost.json      for each kind of job: units of work, seconds, peak of memory, and the host of the last one
"""

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from platform import node

from ruleshift.files import write_atomically

COST = "cost.json"


@dataclass(frozen=True)
class Cost:
    """What jobs of one kind have taken: units of work, seconds, bytes of memory at the peak of their process."""

    units: int
    seconds: float
    memory: int
    host: str

    def __add__(self, other: "Cost") -> "Cost":
        memory = max(self.memory, other.memory)
        return Cost(self.units + other.units, self.seconds + other.seconds, memory, other.host)


class CostMeter:
    """Takes the cost of a job, in its process, from when it is made."""

    def __init__(self, kind: str) -> None:
        self.kind, self.began = kind, time.monotonic()
        self.first: int | None = None
        self.done = 0

    def reach(self, done: int) -> None:
        """So many units of work are done. An earlier call made all but one of those that are done when the first is."""
        if self.first is None and done:
            self.first = done - 1
        self.done = done

    def save(self, folder: Path) -> None:
        """Add what was taken to what the folder says; nothing where no unit was made."""
        units = self.done - (self.first or 0)
        if units:
            cost = Cost(units, time.monotonic() - self.began, peak_memory(), node())
            before = costs_in(folder)
            costs = before | {self.kind: before[self.kind] + cost if self.kind in before else cost}
            write_atomically(folder / COST, json.dumps({kind: asdict(one) for kind, one in costs.items()}) + "\n")


def costs_in(folder: Path) -> dict[str, Cost]:
    """The costs of a run by kind of job; none where they cannot be read, since nothing but estimates needs them."""
    try:
        content = json.loads((folder / COST).read_bytes())
        return {
            kind: Cost(int(one["units"]), float(one["seconds"]), int(one["memory"]), str(one["host"]))
            for kind, one in content.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return {}


def peak_memory() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
