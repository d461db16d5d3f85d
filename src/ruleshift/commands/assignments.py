"""Options of the form NAME=VALUE, for the fields of frozen records."""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ruleshift.bounds import check_value
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig
from ruleshift.training.algorithms import configured

if TYPE_CHECKING:
    from ruleshift.studies.recipes import StudyRecipe
    from ruleshift.studies.study import Arm

R = TypeVar("R")
Values = Mapping[tuple[str, str], str]  # by part of the recipe and field
PARTS = ("sft", "rl", "distil", "measurement")  # of a recipe, whose settings can be set
GIVEN = {**{(part, "seed"): "--seeds" for part in ("sft", "rl", "distil")}, ("measurement", "task"): "--tasks"}
GIVEN |= {("measurement", "feedback"): "--feedback"}


@dataclass(frozen=True)
class Assignments:
    """What --set says: `options` of the study, and `settings` by task and part of its recipe."""

    options: dict[str, str] = field(default_factory=dict)
    settings: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Sequence[str], tasks: Sequence[str]) -> "Assignments":
        """Raises RuleshiftError for what is no assignment, or of no task or part that there is."""
        read = cls()
        for text in given:
            name, sign, value = text.partition("=")
            *places, setting = name.split(".")
            if not sign or not setting or len(places) > 2:
                raise RuleshiftError(f"--set {text}: give it as NAME=VALUE, say {tasks[0]}.rl.updates=12")
            if not places:
                read.options[setting] = value
                continue
            *task, part = places
            if task and task[0] not in tasks:
                raise RuleshiftError(f"--set {text}: {task[0]!r} is not studied; choose from {', '.join(tasks)}")
            if (part, setting) in GIVEN:
                raise RuleshiftError(f"--set {text}: that comes from {GIVEN[part, setting]}")
            if part not in PARTS:
                raise RuleshiftError(f"--set {text}: there is no {part!r}; choose from {', '.join(PARTS)}")
            for one in task or tasks:
                read.settings.setdefault((one, part), {})[setting] = value
        return read

    def of(self, task: str, part: str) -> dict[str, str]:
        return self.settings.get((task, part), {})

    def also(self, task: str, further: Values) -> "Assignments":
        """With further settings of a task, in the place of those that are there."""
        settings = dict(self.settings)
        for (part, name), value in further.items():
            settings[task, part] = {**settings.get((task, part), {}), name: value}
        return replace(self, settings=settings)

    def apply(self, task: str, recipe: "StudyRecipe") -> "StudyRecipe":
        """The recipe of a task with its training as it is set. With another algorithm come the values that make it."""
        records = {"sft": recipe.sft, "rl": recipe.rl, "distil": DistilConfig()}
        given = {
            part: read_values(record, self.of(task, part), f"--set {task}.{part}.") for part, record in records.items()
        }
        of_rl = dict(given["rl"])
        named = of_rl.pop("algorithm", None)  # with all other values at once, which may have to fit to its own
        rl = replace(recipe.rl, **of_rl) if named is None else configured(recipe.rl, named, **of_rl)
        return replace(recipe, sft=replace(recipe.sft, **given["sft"]), rl=rl, given=given)

    def check_taken(self, task: str, recipe: "StudyRecipe", arms: "Sequence[Arm]") -> None:
        """Raises RuleshiftError for a setting of distillation that no arm takes."""
        distilled = [arm.training for arm in arms if isinstance(arm.training, DistilConfig)]
        for name, value in recipe.given["distil"].items():
            if all(getattr(training, name) != value for training in distilled):
                raise RuleshiftError(
                    f"--set {task}.distil.{name}: none of the arms takes it ({', '.join(arm.name for arm in arms)}); "
                    "leave it out, or choose other arms or another study"
                )


def changed(record: R, values: Mapping[str, str], where: str) -> R:
    """The record with other values in some fields, read from text as the type of each wants it.

    Raises RuleshiftError for a field that is not there, a value of another type or out of its bounds, and lets through
    what the record itself raises. `where` begins the message.
    """
    return replace(record, **read_values(record, values, where))  # type: ignore[type-var]


def read_values(record: object, values: Mapping[str, str], where: str) -> dict[str, Any]:
    """The values of these fields, by name, before they are put into the record; as in `changed`."""
    names = [field.name for field in fields(record)]  # type: ignore[arg-type]
    kinds, bounded = get_type_hints(type(record)), get_type_hints(type(record), include_extras=True)
    read = {}
    for name, text in values.items():
        plain = name.replace("-", "_")
        if plain not in names:
            raise RuleshiftError(f"{where}{name}: there is no such setting; choose from {', '.join(names)}")
        try:
            read[plain] = _read(text, kinds[plain])
        except ValueError as error:
            raise RuleshiftError(f"{where}{name} must be {_in_words(kinds[plain])}, not {text!r}") from error
        check_value(f"{where}{name}", read[plain], bounded[plain])
    return read


def _read(text: str, kind: Any) -> Any:
    """Text as a value of a type. Raises ValueError if it is none."""
    if get_origin(kind) is Literal:
        return _chosen(text, get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        if text.lower() == "none" and type(None) in get_args(kind):
            return None
        return _read(text, next(part for part in get_args(kind) if part is not type(None)))
    if get_origin(kind) is tuple:
        return tuple(_read(part.strip(), get_args(kind)[0]) for part in text.split(",") if part.strip())
    if kind is bool:
        return _chosen(text.lower(), ("true", "false")) == "true"
    return kind(text)


def _chosen(text: str, choices: tuple[Any, ...]) -> Any:
    """The choice that is written so. Raises ValueError if none is."""
    if text not in map(str, choices):
        raise ValueError(text)
    return next(choice for choice in choices if str(choice) == text)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join("none" if part is type(None) else _in_words(part) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return f"{_in_words(get_args(kind)[0])}, or several with commas between"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a text")
