"""Options of the form NAME=VALUE, for the fields of frozen records."""

import types
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ruleshift.bounds import check_value
from ruleshift.errors import RuleshiftError

R = TypeVar("R")


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
