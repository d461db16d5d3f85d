"""What to --set in a study whose settings do not fit together. What is set holds for every arm, so each remedy is
tried on all of them, with what the others need then."""

from collections.abc import Callable

from ruleshift.commands.assignments import Assignments, Values
from ruleshift.errors import RuleshiftError
from ruleshift.misfits import MisfitError, as_assigned
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig

Check = Callable[[Assignments], object]  # makes and checks all arms of a task


def remedied(error: MisfitError, task: str, given: Assignments, check: Check) -> str:
    """Why settings of an arm do not fit together, and what else to set that lets every arm fit."""
    why = error.reason(lambda name, value: f"{_part(error.settings, name, task, given)}.{name}={as_assigned(value)}")
    tried = (_completed(remedy, task, given, check) for remedy in _remedies(error, task, given))
    found = [one for one in tried if one]
    least = [one for one in found if not any(other.items() < one.items() for other in found)]
    ways = [" ".join(f"--set {part}.{name}={text}" for (part, name), text in one.items()) for one in least]
    if not ways:
        return f"{why}: leave out what was set of it, or choose other arms or another study"
    return f"{why}: give {', or '.join(dict.fromkeys(ways))}"


def _completed(remedy: Values, task: str, given: Assignments, check: Check) -> Values | None:
    """A remedy with what other arms need then; None where some do not fit whatever is set."""
    try:
        check(given.also(task, remedy))
    except MisfitError as error:
        further = [more for more in _remedies(error, task, given) if not more.keys() & remedy.keys()]
        return next(filter(None, (_completed({**remedy, **more}, task, given, check) for more in further)), None)
    except RuleshiftError:
        return None
    return remedy


def _remedies(error: MisfitError, task: str, given: Assignments) -> list[Values]:
    """As values to set."""
    return [
        {(_part(error.settings, name, task, given), name): as_assigned(value) for name, value in remedy.items()}
        for remedy in error.remedies
    ]


def _part(settings: object, name: str, task: str, given: Assignments) -> str:
    """The part of the recipe that a setting is given in: for distillation that of RL, where it can be and is not set
    for distillation alone."""
    if isinstance(settings, SFTConfig):
        return "sft"
    alone = name in given.of(task, "distil") or not hasattr(RLConfig, name)
    return "distil" if isinstance(settings, DistilConfig) and alone else "rl"
