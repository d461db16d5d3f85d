"""The V-IRL verifier: one reply at one position of a route.

Rewards, those of the paper: right action +1, wrong action -1, wrong action with a wrong observation (an intersection
that is not there, or one that was missed; in pictures a landmark, too) -1.5, and a further -1 when the tries of the
position are spent. `compat="official"` compares with an observation that never mentions the intersection, as the
official code does, so that a wrong action at an intersection that was read right earns -1.5. `docs/deviations.md` lists
the differences.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ruleshift.tasks.replies import MAX_REPLY, plain_quotes, strict_fields, tolerant_field

Outcome = Literal["right", "wrong_action", "wrong_observation", "unreadable"]

REWARDS: dict[Outcome, float] = {"right": 1.0, "wrong_action": -1.0, "wrong_observation": -1.5, "unreadable": -1.0}
BUDGET_SPENT = -1.0
FIELDS = ("current observation", "current instruction", "action")

_CALL = re.compile(r"\b(forward|stop|turn_direction)\s{0,9}\(([^()]{0,60})\)", re.IGNORECASE)
_INTERSECTION = re.compile(r"\bintersection|cross\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """What was read from a reply: the observation it states, its action in canonical form (None where none was found),
    and whether the form is right to the letter."""

    observation: str
    action: str | None
    valid: bool


def read_reply(text: str) -> Reply:
    """Read a model's reply. Never raises; text beyond 100,000 characters is not read."""
    if len(text) > MAX_REPLY:
        return Reply("", None, False)
    fields = strict_fields(text, FIELDS)
    if fields is not None and all(isinstance(value, str) for value in fields.values()):
        return Reply(fields[FIELDS[0]], canonical_action(fields["action"]), True)
    text = plain_quotes(text)
    action = tolerant_field(text, "action")
    return Reply(tolerant_field(text, FIELDS[0]) or "", None if action is None else canonical_action(action), False)


def canonical_action(text: str) -> str | None:
    """`forward()`, `stop()` or `turn_direction(word)` in lower case with single spaces; None for anything else."""
    found = _CALL.search(text[:400])
    if found is None:
        return None
    name, argument = found[1].lower(), " ".join(re.split(r"[\s_\-\"'`]+", found[2].lower())).strip()
    if (name == "turn_direction") != bool(argument):
        return None
    return f"{name}({argument})"


def judge(reply: Reply, action: str, intersection: bool, compat: str = "fixed", sight_right: bool = True) -> Outcome:
    """Judge a reply where `action` is right and an intersection is (not) in sight. `sight_right` says whether the
    landmark is stated right, where that is asked (never in mode `official`)."""
    if reply.action is None:
        return "unreadable"
    if reply.action == canonical_action(action):
        return "right"
    shown = intersection and compat == "fixed"
    right = states_intersection(reply.observation) == shown and (sight_right or compat == "official")
    return "wrong_action" if right else "wrong_observation"


def states_intersection(observation: str) -> bool:
    """Whether a stated observation mentions an intersection."""
    return _INTERSECTION.search(observation) is not None


def states_sight(observation: str, name: str | None) -> bool:
    """Whether a stated observation names the landmark that was shown (spaces and case aside); nothing is asked of one
    where none was."""
    return name is None or _squeezed(name) in _squeezed(observation)


def states_sight_alone(observation: str, name: str | None, others: Iterable[str]) -> bool:
    """Whether a stated observation names the landmark that was shown, and none of the `others` of the way."""
    stated = _squeezed(observation)
    if name is not None:
        stated = stated.replace(_squeezed(name), " ")
    return states_sight(observation, name) and not any(_squeezed(other) in stated for other in others if other != name)


def _squeezed(text: str) -> str:
    return "".join(text.lower().split())
