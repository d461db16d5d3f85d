"""Studies of many arms: what is set of all of them, and learning rates: those that a sweep chose, set by hand, or the
recipe's."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ruleshift.bounds import Positive, above_zero, check_bounds
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of
from ruleshift.settings import Measurement, RLConfig
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Training, variant
from ruleshift.tasks import get_task

HIGHER = 10  # of about eight steps an update that others take
RECIPE = "recipe"
LONGEST = 4_000_000  # bytes of a sweep.json; a hundred arms at ten rates take a tenth of it


@dataclass(frozen=True)
class Choice:
    """Options of studies of many arms."""

    names: tuple[str, ...] = ("all",)
    """Arms to train, by name; all of them."""
    rates: tuple[str, ...] = (RECIPE,)
    """Learning rates, with commas between: ARM:RATE, which is for that arm alone, or the files `sweep.json` of the
    study's sweep, one a task, which are to hold every arm (or give `recipe`, too); one that goes on from another, and
    is not swept, has that of the arm it is trained as."""
    dense: bool = True
    """Evaluate along the training too, and not at its end alone."""

    def __post_init__(self) -> None:
        check_bounds(self)
        self.by_hand()

    @property
    def files(self) -> list[str]:
        """The sweeps among the rates."""
        return [text for text in self.rates if text.endswith(".json")]

    def by_hand(self) -> dict[str, float]:
        """The rates that are given by arm. Raises RuleshiftError for what is none."""
        found = {}
        for text in self.rates:
            if text == RECIPE or text in self.files:
                continue
            name, _, rate = text.rpartition(":")
            try:
                found[name] = float(rate)
            except ValueError as error:
                raise RuleshiftError(
                    f"--set rates: {text!r} is no ARM:RATE, as in grpo:1e-4, and no sweep.json"
                ) from error
            above_zero(f"--set rates: {name}", found[name])
        return found

    def swept_on(self, task: str) -> dict[str, float]:
        """The rates that sweeps of this task chose, by arm. Raises RuleshiftError where all are of other tasks, and the
        recipe's are not asked for."""
        read = [rates_in(file) for file in self.files]
        mine = [rates for of, rates in read if of in (task, get_task(task).id)]
        if read and not mine and RECIPE not in self.rates:
            raise RuleshiftError(
                f"--set rates: {', '.join(self.files)} is of {', '.join(of for of, _ in read)}, and not of {task}: "
                f"give the sweep.json of {task} too, leave that task out (--tasks), or add {RECIPE} "
                f"(--set rates={','.join(self.rates)},{RECIPE}) for the recipe's"
            )
        return {name: rate for rates in mine for name, rate in rates.items()}


@cache  # a study goes on with what it began with
def rates_in(file: str) -> tuple[str, Mapping[str, float]]:
    """The task of a sweep.json, and the rates that it chose, by arm. Raises RuleshiftError for any other file."""
    path = Path(file)
    if not path.is_file():
        raise RuleshiftError(f"--set rates: there is no file {file}; a sweep writes it (FOLDER/TASK/sweep.json)")
    try:
        if path.stat().st_size > LONGEST:
            raise ValueError(f"it has more than {LONGEST:,} bytes")
        content = json.loads(path.read_bytes())
        found = {}
        for name in content["chosen"].values():
            arm, _, rate = name.rpartition("-lr")
            found[arm] = float(rate)
            above_zero(arm, found[arm])
        return str(content["task"]), found
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, RuleshiftError) as error:
        raise RuleshiftError(
            f"--set rates: {file} is no sweep of learning rates ({reason_of(error)[:100]}); `ruleshift study "
            "algorithms-sweep` and its like write one"
        ) from error


def chosen(arms: Sequence[Arm], options: Choice, task: str) -> list[Arm]:
    """The arms that are asked for, at their rates. Raises RuleshiftError for the name of none, and for one that was not
    swept where all are to be."""
    names, by_hand, swept = [arm.name for arm in arms], options.by_hand(), options.swept_on(task)
    wanted = names if options.names == ("all",) else list(options.names)
    unknown = [name for name in (*wanted, *by_hand) if name not in names]
    if unknown:
        raise RuleshiftError(f"there is no arm {unknown[0]!r}; choose from {', '.join(names)}")
    found, missing = [], []
    for arm in arms:
        if arm.name in wanted:
            assert arm.training is not None, f"{arm.name} is not trained"
            alike = _trained_as(arm, arms)
            rate = by_hand.get(arm.name, swept.get(arm.name, swept.get(alike)))
            if rate is None:
                missing.append(arm.name if alike == arm.name else f"{arm.name} (that of {alike})")
            training = arm.training if rate is None else replace(arm.training, learning_rate=rate)
            found.append(replace(arm, dense=options.dense, training=training))
    if options.files and missing and RECIPE not in options.rates:
        raise RuleshiftError(
            f"--set rates: {', '.join(options.files)} has no rate for {', '.join(missing)}: sweep it too, leave it out "
            f"(--set names), or add {RECIPE} (--set rates={','.join(options.rates)},{RECIPE}) for the recipe's"
        )
    return found


def _trained_as(arm: Arm, arms: Sequence[Arm]) -> str:
    """The arm whose rate this one has where it has none of its own: of one that goes on from another, which no sweep
    tries, the one that is trained alike from the start model."""
    alike = [other.name for other in arms if other.start is None and other.training == arm.training]
    return alike[0] if alike and arm.start is not None else arm.name


def as_set(recipe: StudyRecipe, part: str, arms: Sequence[str], apart: Collection[str] = ()) -> dict[str, Any]:
    """What was set by hand of a part of the recipe, and holds for every arm. Raises RuleshiftError for an algorithm, or
    another setting that tells the arms `apart`."""
    given = dict(recipe.given.get(part, {}))
    for name in ("algorithm", *apart):
        if name in given:
            raise RuleshiftError(
                f"--set {part}.{name}: that is what arms differ in here; choose arms with --set names=..., of "
                f"{', '.join(arms)}"
            )
    return given


def profiled(usual: Measurement) -> Measurement:
    """What is usually measured, and a profile of each training, on fewer problems in a small study."""
    return replace(usual, profile_problems=max(2, min(32, usual.n // 12)))


@dataclass(frozen=True)
class Swept(Choice):
    """Options of their sweeps."""

    grid: tuple[Positive, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Learning rates to try; ten times these where an update is one step."""


def swept(arms: Sequence[Arm], options: Swept, task: str) -> list[Arm]:
    """Every arm that begins with the start model, at every rate of the grid. A rate is chosen for each arm, also for
    one that is a variant of another. Raises RuleshiftError for the name of one that begins with what another made."""
    for arm in arms:
        if arm.start is not None and arm.name in options.names:
            alike = _trained_as(arm, arms)
            instead = "" if alike == arm.name else f", and name {alike}, whose rate it has"
            raise RuleshiftError(
                f"--set names: {arm.name} starts from {arm.start.arm}, and is not swept: leave it out{instead}"
            )
    return [
        variant(replace(arm, variant_of=None), learning_rate=rate)
        for arm in chosen(arms, options, task)
        if arm.training is not None and arm.start is None
        for rate in grid_of(arm.training, options.grid)
    ]


def grid_of(training: Training, grid: Sequence[float]) -> list[float]:
    """The rates to try: `HIGHER` times these where an update is one step."""
    one_step = isinstance(training, RLConfig) and training.epochs * training.minibatches == 1
    return [higher(rate) if one_step else rate for rate in sorted(set(grid))]


def higher(rate: float) -> float:
    """The rate to try of who takes one step an update."""
    return float(f"{rate * HIGHER:.6g}")
