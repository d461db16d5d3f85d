"""Settings that do not fit together, as data: whoever asks says how a setting is written, on its own command line."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ruleshift.errors import RuleshiftError

Spelling = Callable[[str, Any], str]  # of a setting and its value


def as_option(name: str, value: Any) -> str:
    """A setting as an option of a command of its own."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return shlex.join([f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))])


def as_assigned(value: Any) -> str:
    """A value as --set reads it in a study."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


class MisfitError(RuleshiftError):
    """Why `settings` (a record) do not fit together, or to a task. `why` has the names of fields in braces, and
    `remedies` are other values for some of them, of which each lets all fit. `where`: the arm of a study, if any."""

    where = ""

    def __init__(self, settings: Any, why: str, remedies: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(settings, why, remedies)
        self.settings = settings
        self.why = why
        self.remedies = [remedy for place, remedy in enumerate(remedies) if remedy not in remedies[:place]]

    def __str__(self) -> str:
        ways = (" ".join(as_option(name, value) for name, value in remedy.items()) for remedy in self.remedies)
        return f"{self.reason(as_option)}: give {', or '.join(ways)}"

    def reason(self, spelling: Spelling) -> str:
        """Why, in the words of a command line."""
        names = [field.name for field in fields(self.settings)]
        return self.why.format_map({name: spelling(name, getattr(self.settings, name)) for name in names})
