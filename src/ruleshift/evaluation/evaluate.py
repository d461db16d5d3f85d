"""Evaluating a policy: episodes on a split, boiled down to what every later number is computed from."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ruleshift.engines.protocol import Engine
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.statistics import wilson_interval
from ruleshift.files import write_atomically
from ruleshift.records import Episode
from ruleshift.results import Row
from ruleshift.revision import revise
from ruleshift.tasks.protocol import Style, Task


@dataclass(frozen=True)
class Cell:
    """Outcomes of one model on one split with one decoding, problem by problem.

    `solved_at` holds the turn (from 1) that solved each problem, 0 where none did; `valid` and `read_right` say of
    each first reply whether its form was right to the letter and whether the cards were read right.
    """

    split: str
    decoding: str
    solved_at: tuple[int, ...]
    valid: tuple[bool, ...]
    read_right: tuple[bool, ...]

    def success(self, turns: int) -> list[bool]:
        """Per problem: solved within `turns` replies."""
        return [0 < at <= turns for at in self.solved_at]


@dataclass(frozen=True)
class Point:
    """One model at one moment of its training, evaluated."""

    task: str
    arm: str
    seed: int
    step: int
    train_flops: float
    kl_to_start: float
    cells: tuple[Cell, ...]

    def cell(self, split: str, decoding: str) -> Cell:
        return next(cell for cell in self.cells if (cell.split, cell.decoding) == (split, decoding))

    def success(self, split: str, turns: int, decoding: str) -> float:
        outcomes = self.cell(split, decoding).success(turns)
        return sum(outcomes) / len(outcomes)


def evaluate(
    engine: Engine,
    task: Task,
    split: str,
    n: int,
    turns: int,
    style: Style = "full",
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> list[Episode]:
    """Episodes of the problems 0..n-1 of (split, seed): the same hands for every model."""
    problems = [task.problem(split, seed, index, style) for index in range(n)]
    return revise(problems, engine, turns, progress)


def cell_of(split: str, decoding: str, episodes: Sequence[Episode]) -> Cell:
    """The outcomes of episodes."""
    solved_at = tuple(
        next((k for k, turn in enumerate(episode.turns, 1) if turn.verdict.solved), 0) for episode in episodes
    )
    first = [episode.turns[0].verdict for episode in episodes]
    return Cell(
        split, decoding, solved_at, tuple(v.valid for v in first), tuple(v.read_right is not False for v in first)
    )


def rows_of(point: Point, turns: Sequence[int]) -> list[Row]:
    """Result rows of a point: success within each of `turns`, and first-reply `validity` and `recognition`."""
    rows = []
    for cell in point.cells:
        measured = [("success", budget, cell.success(budget)) for budget in turns]
        measured += [("validity", 1, list(cell.valid)), ("recognition", 1, list(cell.read_right))]
        for metric, budget, outcomes in measured:
            hits, n = sum(outcomes), len(outcomes)
            low, high = wilson_interval(hits, n)
            where = (point.task, point.arm, point.seed, point.step, cell.split, metric, budget, cell.decoding)
            rows.append(Row(*where, hits / n, n, low, high, point.kl_to_start, point.train_flops))
    return rows


def save_point(path: Path, point: Point) -> None:
    write_atomically(path, json.dumps(asdict(point)))


def load_point(path: Path) -> Point:
    """Read back a point. Raises RuleshiftError for a damaged file."""
    try:
        fields = json.loads(path.read_text())
        cells = [
            Cell(c["split"], c["decoding"], *(tuple(c[k]) for k in ("solved_at", "valid", "read_right")))
            for c in fields.pop("cells")
        ]
        return Point(**fields, cells=tuple(cells))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuleshiftError(f"{path} is damaged ({error}); delete it and run the command again") from error
