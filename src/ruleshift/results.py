"""results.json: what a study measured, one row per number.

    {"version": 1, "meta": {...}, "rows": [{"task": "gp-l", "arm": "sft", ...}, ...]}

`meta` is any JSON object. What reports read from it, where it is there: `title`, `command`, `seeds`, `commit`,
`time` (when), `duration_s`, `machine`, `versions` (package -> version), `splits` (split -> one-line description),
`kl_unit`, `metric`; of the arms, in the order in which they are shown, `arms` (a list of `name`, `about`,
`variant_of`), `start` (the arm that all others began from) and `diverged` (a list of `arm`, `seed`, `why`); `trained`
(the split of the training rule), `pictures` (whether the task shows any), `figures` (names of those on the page),
`claims` (on the primary endpoint; see `evaluation.claims.Claim`), `feedback` (its level, where it is not `full`).
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.files import write_atomically

RESULTS_VERSION = 1
FLOORS, CEILING = ("blind", "random"), "expert"
"""Arms without a model, which tables show below the others: what no skill earns, and all of it."""
LATER = ("kl_error",)  # fields that files of earlier versions lack
_REMEDY = "run the study again to write it anew, or name another file"


@dataclass(frozen=True)
class Row:
    """One number: a metric of one evaluated model on one split.

    `arm` is the name that its study gave it; `step` counts its optimiser steps (0 for the start model). `turns` is the
    verification budget, `decoding` "greedy" or "sampled". `value` is a share between 0 and 1 for metrics that are
    shares (success, validity ...), with its interval `ci_low`, `ci_high` over `n` problems. `kl_to_start` (with
    its standard error `kl_error`) and `train_flops` are None where nobody measured them.
    """

    task: str
    arm: str
    seed: int
    step: int
    split: str
    metric: str
    turns: int
    decoding: str
    value: float
    n: int
    ci_low: float
    ci_high: float
    kl_to_start: float | None = None
    train_flops: float | None = None
    kl_error: float | None = None


@dataclass(frozen=True)
class Results:
    """All rows of a study, and where they come from."""

    rows: tuple[Row, ...]
    meta: Mapping[str, Any]


def save_results(path: str | os.PathLike[str], rows: Sequence[Row], meta: Mapping[str, Any]) -> None:
    """Write results.json, whole or not at all. Raises RuleshiftError if the disk refuses, or for a row not fit to load.

    JSON has no NaN or infinity, so neither may a row: a KL that could not be measured is None. What JSON has no form
    for in `meta` (a path, say) is written as text.
    """
    plain = [asdict(row) for row in rows]
    for index, row in enumerate(plain):
        problem = _row_problem(row)
        if problem:
            raise RuleshiftError(f"cannot write {os.fspath(path)}: row {index} {problem}; correct that row.")
    content = {"version": RESULTS_VERSION, "meta": dict(meta), "rows": plain}
    write_atomically(path, json.dumps(content, indent=1, allow_nan=False, default=str) + "\n")


def load_results(path: str | os.PathLike[str]) -> Results:
    """Read results.json. Raises RuleshiftError for one that is missing, damaged, or of another version."""
    content = _read_json(Path(path))
    problem = _content_problem(content)
    if problem:
        raise RuleshiftError(f"{os.fspath(path)} {problem}: {_REMEDY}.")
    return Results(tuple(Row(**_with_floats(row)) for row in content["rows"]), content["meta"])


def task_in(folder: Path) -> str:
    """The task that a folder of a study is about: its name, or what stands before the start model in TASK@MODEL, where
    a study has several."""
    return folder.name.partition("@")[0]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RuleshiftError(f"{path} is not there: run the study first, or name another file.") from error
    except OSError as error:
        raise RuleshiftError(f"cannot read {path} ({error.strerror or error}): name a file you can read.") from error
    except (ValueError, RecursionError) as error:
        raise RuleshiftError(f"{path} is damaged or cut short (no valid JSON): {_REMEDY}.") from error


def _content_problem(content: Any) -> str | None:
    """What is wrong with the whole of a results file, or None."""
    if not isinstance(content, dict) or "version" not in content:
        return "is not a results file (no version in it)"
    if content["version"] != RESULTS_VERSION:
        return f"has version {str(content['version'])[:40]!r}, and this program reads version {RESULTS_VERSION}"
    if not isinstance(content.get("meta"), dict):
        return "lacks the object `meta`"
    if not isinstance(content.get("rows"), list):
        return "lacks the list `rows`"
    problems = ((index, _row_problem(row)) for index, row in enumerate(content["rows"]))
    return next((f"is damaged (row {index} {problem})" for index, problem in problems if problem), None)


def _row_problem(row: Any) -> str | None:
    """What is wrong with one row, or None."""
    if not isinstance(row, dict):
        return "is not an object"
    names = [field.name for field in fields(Row)]
    missing = [name for name in names if name not in row and name not in LATER]
    if missing:
        return f"lacks `{missing[0]}`"
    unknown = [name for name in row if name not in names]
    if unknown:
        return f"has the unknown field {str(unknown[0])[:40]!r}"
    wrong = [field for field in fields(Row) if field.name in row and not fits(row[field.name], field.type)]
    return f"has {str(row[wrong[0].name])[:40]!r} as `{wrong[0].name}`" if wrong else None


def fits(value: object, kind: Any) -> bool:
    """Whether a value from JSON is of the type of a field. Whole numbers are floats too, bools are not numbers."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float) and not abs(value) <= sys.float_info.max:  # NaN and infinity, too
        return False
    return isinstance(value, int | kind if kind in (float, float | None) else kind)


def _with_floats(row: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers in fields of type float made floats, so that a row loads as it was saved."""
    real = {field.name for field in fields(Row) if field.type is not int}
    return {name: float(value) if name in real and isinstance(value, int) else value for name, value in row.items()}
