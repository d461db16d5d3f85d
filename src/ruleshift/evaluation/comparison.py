"""One arm against another, at the end of training or where the two have something in common.

Two trained models can be compared unfairly: the one that trained longer, or moved further, has learnt more and
forgotten more. So arms are also compared at matched points of their dense curves: where their ID success is the same,
where they are equally far (KL) from the start model, and where as much computing (FLOPs) was spent on them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ruleshift.errors import RuleshiftError
from ruleshift.results import fits

MatchedOn = Literal["id", "kl", "flops"]
Over = Literal["seeds and problems", "problems"]


@dataclass(frozen=True)
class Comparison:
    """`arm` against `reference` on one split: a difference of shares (value - reference_value) with its interval.

    The shares are those of `metric`. `title` names the table it belongs to. `point_arm` and `point_reference` name the
    evaluated points of both in words ("sft step 120").
    `matched_on` says what the two points have in common, None at the end of training; `matched_value` and
    `matched_reference_value` are what each has of it (both near equal where the match is good), with the standard error
    `matched_error` where it is a KL, of those steps at which it is read. Where a match lies between two evaluated steps
    that are far apart, the value lies anywhere within +-`spread` of `value`, that of the reference within
    +-`reference_spread` of its own, and the difference within +- the sum of both. `note` says in words what else there
    is to know of a match.
    `over` says what the interval is over: "seeds and problems", or "problems" where nothing is known of other seeds (or
    the file was written before that was measured). Its ends are None where it is endless. `by_seed` holds the
    differences of single training seeds.
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
    ci_low: float | None
    ci_high: float | None
    matched_on: MatchedOn | None = None
    matched_value: float | None = None
    matched_reference_value: float | None = None
    metric: str = "success"
    over: Over = "problems"
    by_seed: tuple[float, ...] = ()
    spread: float = 0.0
    reference_spread: float = 0.0
    note: str = ""
    point_reference: str = ""
    matched_error: float | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest difference that the match allows; equal where it is read at one place."""
        half = self.spread + self.reference_spread
        return self.difference - half, self.difference + half

    @property
    def excludes_0(self) -> bool:
        """Whether the interval of the difference excludes 0."""
        return (self.ci_low is not None and self.ci_low > 0) or (self.ci_high is not None and self.ci_high < 0)


def said_over(comparisons: Iterable[Comparison]) -> str:
    """What the intervals of some comparisons are over, in words for a table."""
    items = list(comparisons)
    if items and all(item.over == "problems" for item in items):
        return "over problems only: other seeds may differ by more"
    narrow: dict[tuple[str, ...], list[str]] = {}  # arms by the splits where they are so; by none where everywhere
    for arm in dict.fromkeys(item.arm for item in items):
        mine = [item for item in items if item.arm == arm]
        splits = tuple(dict.fromkeys(item.split for item in mine if item.over == "problems"))
        if splits:
            everywhere = all(item.over == "problems" for item in mine)
            narrow.setdefault(() if everywhere else splits, []).append(arm)
    if not narrow:
        return "over seeds and problems"
    said = [
        f"on {', '.join(splits)} of {', '.join(arms)}" if splits else f"of {', '.join(arms)}"
        for splits, arms in narrow.items()
    ]
    return f"over seeds and problems, {' and '.join(said)} over problems only"


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
    of_words = {"matched_on": (None, *get_args(MatchedOn)), "over": get_args(Over)}
    for field in fields(Comparison):
        value = getattr(comparison, field.name)
        if field.name == "by_seed":
            good = isinstance(value, list | tuple) and all(fits(seed, float) for seed in value)
        elif field.name in of_words:
            good = isinstance(value, str | None) and value in of_words[field.name]
        else:
            good = fits(value, field.type)
        if not good:
            raise ValueError(f"{str(value)[:40]!r} stands for `{field.name}`")
    return replace(comparison, by_seed=tuple(comparison.by_seed))
