"""Learning rates of arms: those that a sweep chose, set from outside, or the recipe's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ruleshift.bounds import Positive, above_zero, check_bounds
from ruleshift.errors import RuleshiftError
from ruleshift.settings import Measurement, RLConfig
from ruleshift.studies.study import Arm, variant

HIGHER = 10  # of about eight steps an update that others take


@dataclass(frozen=True)
class Choice:
    """Options of studies of many arms."""

    names: tuple[str, ...] = ("all",)
    """Arms to train, by name; all of them."""
    rates: tuple[str, ...] = ("recipe",)
    """Learning rates, as ARM:RATE with commas between, from the sweep of the study (`sweep.json`); the others, or all
    (recipe), have the rate of the recipe."""
    dense: bool = True
    """Evaluate along the training too, and not at its end alone."""

    def __post_init__(self) -> None:
        check_bounds(self)
        self.of_arms()

    def of_arms(self) -> dict[str, float]:
        """The rates that are given, by arm. Raises RuleshiftError for what is none."""
        found = {}
        for text in self.rates:
            name, colon, rate = text.rpartition(":")
            if not colon and text == "recipe":
                continue
            try:
                found[name] = float(rate)
            except ValueError as error:
                raise RuleshiftError(f"--set rates: {text!r} is no ARM:RATE, as in grpo:1e-4") from error
            above_zero(f"--set rates: {name}", found[name])
        return found


def chosen(arms: Sequence[Arm], options: Choice) -> list[Arm]:
    """The arms that are asked for, at their rates. Raises RuleshiftError for the name of none."""
    names, rates = [arm.name for arm in arms], options.of_arms()
    wanted = names if options.names == ("all",) else list(options.names)
    unknown = [name for name in (*wanted, *rates) if name not in names]
    if unknown:
        raise RuleshiftError(f"there is no arm {unknown[0]!r}; choose from {', '.join(names)}")
    return [
        replace(
            arm,
            dense=options.dense,
            training=arm.training
            and replace(arm.training, learning_rate=rates.get(arm.name, arm.training.learning_rate)),
        )
        for arm in arms
        if arm.name in wanted
    ]


def profiled(usual: Measurement) -> Measurement:
    """What is usually measured, and a profile of each training, on fewer problems in a small study."""
    return replace(usual, profile_problems=max(1, min(32, usual.n // 12)))


@dataclass(frozen=True)
class Swept(Choice):
    """Options of their sweeps."""

    grid: tuple[Positive, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Learning rates to try; ten times these where an update is one step."""


def swept(arms: Sequence[Arm], options: Swept) -> list[Arm]:
    """Every arm at every rate of the grid; an arm that takes one step an update at `HIGHER` times these. A rate is
    chosen for each arm, also for one that is a variant of another."""
    return [
        variant(replace(arm, variant_of=None), learning_rate=float(f"{rate * times:.6g}"))
        for arm in chosen(arms, options)
        for times in (HIGHER if _takes_one_step(arm) else 1,)
        for rate in sorted(set(options.grid))
    ]


def _takes_one_step(arm: Arm) -> bool:
    training = arm.training
    return isinstance(training, RLConfig) and training.epochs * training.minibatches == 1
