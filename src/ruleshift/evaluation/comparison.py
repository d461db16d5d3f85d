"""One arm against another, at the end of training or where the two have something in common.

Two trained models can be compared unfairly: the one that trained longer, or moved further, has learnt more and
forgotten more. So arms are also compared at matched points of their dense curves: where their ID success is the same,
and where they are equally far (KL) from the start model.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ruleshift.errors import RuleshiftError
from ruleshift.results import fits

MatchedOn = Literal["id", "kl"]


@dataclass(frozen=True)
class Comparison:
    """`arm` against `reference` on one split: a difference of shares (value - reference_value) with its interval.

    The shares are those of `metric`. `title` names the table it belongs to. `point_arm` names the evaluated point of
    the arm in words ("sft step 120").
    `matched_on` says what the two points have in common, None at the end of training; `matched_value` and
    `matched_reference_value` are what each has of it (both near equal where the match is good).
    """

    title: str
    split: str
    turns: int
    decoding: str
    arm: str
    reference: str
    point_arm: str
    value: float
    reference_value: float
    difference: float
    ci_low: float
    ci_high: float
    matched_on: MatchedOn | None = None
    matched_value: float | None = None
    matched_reference_value: float | None = None
    metric: str = "success"


def load_comparisons(path: Path) -> list[Comparison]:
    """Read comparisons.json, as a study writes it. Raises RuleshiftError for one that is missing or damaged."""
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, list):
            raise TypeError("not a list")
        return [_comparison(entry) for entry in content]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise RuleshiftError(f"cannot read {path} ({reason[:200]}): run the study again to write it anew.") from error


def _comparison(entry: Mapping[str, Any]) -> Comparison:
    """A comparison from JSON. Raises TypeError or ValueError for anything else."""
    comparison = Comparison(**entry)
    for field in fields(Comparison):
        value = getattr(comparison, field.name)
        if not fits(value, field.type if field.name != "matched_on" else str | None):
            raise ValueError(f"{str(value)[:40]!r} stands for `{field.name}`")
    if comparison.matched_on not in (None, *get_args(MatchedOn)):
        raise ValueError(f"{str(comparison.matched_on)[:40]!r} stands for `matched_on`")
    return comparison
