"""The V-IRL verifier: one reply at one position of a route.

Rewards, those of the paper: right action +1, wrong action -1, wrong action with a wrong observation (an intersection
that is not there, or one that was missed; in pictures a landmark, too) -1.5, and a further -1 when the tries of the
position are spent. `compat="official"` compares with an observation that never mentions the intersection, as the
official code does, so that a wrong action at an intersection that was read right earns -1.5. `docs/deviations.md` lists
the differences.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ruleshift.records import Words, Work
from ruleshift.tasks.replies import MAX_REPLY, Fields, is_echo, named_value, read_fields, strict_fields
from ruleshift.tasks.virl.route import Sight

Outcome = Literal["right", "wrong_action", "wrong_observation", "unreadable"]

REWARDS: dict[Outcome, float] = {"right": 1.0, "wrong_action": -1.0, "wrong_observation": -1.5, "unreadable": -1.0}
BUDGET_SPENT = -1.0
FIELDS = ("current observation", "current instruction", "action")

_NAMES = r"(?P<name>forward|stop|turn[\s_-]?direction)"
_CALL = re.compile(rf"(?<![A-Za-z]){_NAMES}\s{{0,9}}\((?P<argument>[^()]{{0,60}})\)", re.IGNORECASE)
_BARE = re.compile(r"(?P<name>forward|stop)", re.IGNORECASE)
_WORD = re.compile(r"(?<![A-Za-z])(?:forward|stop|turn)(?![A-Za-z])", re.IGNORECASE)
_TURN = re.compile(
    r"""turn(?:[\s_-]?direction)?\s{0,9}[\s:=]\s{0,9}(?P<argument>["'“‘`]?\w[^():=]{0,60})""", re.IGNORECASE
)
_FORM = re.compile(r"\W*+(?:what you see|\Z)", re.IGNORECASE)  # what prompts say that the observation is to be
_KEYWORD = re.compile(r"\s*[a-z_]{1,20}\s*[:=]\s*")
_NOT = re.compile(r"\b(?:not|never|no|cannot|avoid|refuse|without|\w{1,9}n['’]t)\W+(?:\w+\W+){0,3}$", re.IGNORECASE)
_AROUND = " \t\r\n\\\"'`*“”„‘’.,;!"
_SPACES = re.compile(r"[\s_\\\-\"'`“”„‘’<>\[\]{}*]+")
_HALVES = re.compile(r"\b(north|south) (east|west)\b")


@dataclass(frozen=True)
class WalkReply:
    """What was read from a reply: the observation it states, its action in canonical form (None where none was found),
    whether the form is right to the letter, and the line of the way that it says it is at."""

    observation: str
    action: str | None
    valid: bool
    line: str = ""


def read_reply(text: str) -> WalkReply:
    """Read a model's reply. Never raises; text beyond 100,000 characters is not read."""
    if len(text) > MAX_REPLY:
        return WalkReply("", None, False)
    fields = strict_fields(text, FIELDS)
    if fields is not None and all(isinstance(value, str) for value in fields.values()):
        return WalkReply(_stated(fields[FIELDS[0]]), canonical_action(fields["action"]), True, fields[FIELDS[1]])
    found = read_fields(text, "action", _is_action, _in_words)
    action, line = found.get("action"), found.get(FIELDS[1])
    return WalkReply(
        _stated(found.get(FIELDS[0])),
        canonical_action(action) if isinstance(action, str) else None,
        False,
        line if isinstance(line, str) else "",
    )


def _is_action(value: object) -> bool:
    """Whether a value gives an action, if only a wrong one, and does not echo the form of the reply."""
    return isinstance(value, str) and not is_echo(value) and "(x)" not in value


def _in_words(text: str) -> Fields:
    """The fields of a reply that holds no object."""
    found = {name: named_value(text, name, _is_action) for name in FIELDS}
    return {name: value for name, value in found.items() if value is not None}


def _stated(observation: object) -> str:
    """An observation that is stated: the form of the reply, given back as it is, states none."""
    return observation if isinstance(observation, str) and not _FORM.match(observation) else ""


def canonical_action(text: str) -> str | None:
    """`forward()`, `stop()` or `turn_direction(word)` in lower case with single spaces; None for anything else.

    Read is the one call in a text (None beside another action, in words too, or after a negation), or a text that is
    nothing but an action without its parentheses.
    """
    text = unicodedata.normalize("NFKC", text[:400])
    calls = list(_CALL.finditer(text))
    if calls:
        read = {_canonical(call["name"], call["argument"]) for call in calls}
        denied = any(_NOT.search(text[: call.start()]) for call in calls)
        others = {word[0].lower()[:4] for word in _WORD.finditer(_CALL.sub(" ", text))} - {calls[0]["name"].lower()[:4]}
        return None if len(read) > 1 or denied or others else read.pop()
    alone = text.strip(_AROUND)
    bare, turn = _BARE.fullmatch(alone), _TURN.fullmatch(alone)
    if bare is not None:
        return _canonical(bare["name"], "")
    return None if turn is None else _canonical("turn_direction", turn["argument"])


def _canonical(name: str, argument: str) -> str | None:
    name, argument = name.lower(), argument.lower()
    if name.startswith("turn"):
        name, argument = "turn_direction", _KEYWORD.sub("", argument, count=1)
    argument = _HALVES.sub(r"\1\2", " ".join(_SPACES.split(argument)).strip(" .,;"))
    return None if (name == "turn_direction") != bool(argument) else f"{name}({argument})"


def whose_word(action: str | None, stated: tuple[str, ...], trained: tuple[str, ...]) -> Words:
    """Whose word for a turn an action (in canonical form) uses: one of those `stated`, or `trained`, or another one."""
    if action in _turns(stated):
        return "stated"
    return "trained" if action in _turns(trained) else "other"


@lru_cache(maxsize=100)
def _turns(words: tuple[str, ...]) -> frozenset[str | None]:
    """The turns with these words, in canonical form."""
    return frozenset(canonical_action(f"turn_direction({word})") for word in words)


def judge(
    reply: WalkReply,
    action: str,
    intersection: bool,
    compat: str = "fixed",
    sight_right: bool = True,
    names: Collection[str] = (),
) -> Outcome:
    """Judge a reply where `action` is right and an intersection is (not) in sight. `sight_right` says whether the
    landmark is stated right, where that is asked (never in mode `official`); `names` are those of the way."""
    if reply.action is None:
        return "unreadable"
    if reply.action == canonical_action(action):
        return "right"
    shown = intersection and compat == "fixed"
    right = states_intersection(reply.observation, names) == shown and (sight_right or compat == "official")
    return "wrong_action" if right else "wrong_observation"


def judged_work(reply: WalkReply, line: str, lines: Collection[str], leads_to: str) -> Work | None:
    """What it is worth that a reply says at which of the `lines` of the way it is: None where it says nothing. True is
    what names this `line`, or a part of it that no other one has; it leads to an action."""
    said, here, *all_lines = (_squeezed(text).rstrip(".,;!") for text in (reply.line, line, *lines))
    if not said:
        return None
    named = {each for each in all_lines if each == said} or {each for each in all_lines if each in said or said in each}
    if named != {here}:
        return "untrue"
    return "sound" if reply.action == canonical_action(leads_to) else "astray"


# ---------------------------------------------------------------- observations

LONGEST_OBSERVATION = 3_000  # characters that are looked at; names have 2,000 at most

_DROPPED = dict.fromkeys(map(ord, "\"'`*\\“”„‟«»‹›‘’‚‛\u00ad\u200b\u200c\u200d\u2060\ufeff"), "")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_INTERSECTION = re.compile(r"\bintersections?\b|\bintersection")
_CROSS = re.compile(r"(?<!\bno )(?<!\bnot )cross\s*$")
_SAID = r"(?:you|i|we)\s+(?:can\s+|now\s+)?(?:observe|see|are|am|stand|reach)|there(?:s|\s+is|\s+are)\b"
_OPENS = (
    rf"(?:{_SAID}|(?:you|i|we|it|this|only|just|an?|the|one|at|observe|see)\b|intersections?\s*(?:[:=?]|ahead|here))"
)
_STATEMENTS = re.compile(
    rf"[.;!\n]|\?(?!\s*(?:no|not|none)\b)|\b(?:but|however|though|although|whereas|while|except)\b|(?:,|\band\b)\s*(?={_OPENS})"
    rf"|(?<!think)(?<!believe)(?<!doubt)(?<!that)\s(?={_SAID})"
)
_NO = re.compile(
    r"\b(?:no|not|never|without|neither|nor|none|cannot|lack(?:s|ing)?|absent|nothing|zero|doubt"
    r"|(?:do|does|did|is|are|was|were|ca|could|wo|have|has)nt)\b"
)
_NO_DENIAL = re.compile(r"\b(?:no doubt|not only|not just|nothing but|none other)\b")
_DENIED_AFTER = re.compile(
    r"(?:\s+(?:is|are|was|here|nearby|ahead|visible|in sight|in view))*\s*[:=?]?\s*"
    r"\b(?:not|no|none|isnt|arent|wasnt|false|absent|cannot|cant|nowhere|n/a)\b(?!\s+landmark)"
)
_ARTICLE = re.compile(r"\A\s*(?:the|an?)\s+", re.IGNORECASE)
_THING = r"(?<=\bno)\s+(?!longer\b|at\b|near\b|by\b|around\b)[^\W\d]+|\s*landmarks?"
_NO_THING_AT = re.compile(rf"(?:{_THING})\b(?!.*\b(?:or|nor|and)\b).*\b(?:at|near|by|around)\b")


def states_intersection(observation: str, names: Collection[str] = ()) -> bool:
    """Whether a stated observation says that there is an intersection: one that is denied is none, nor is the word in
    one of the `names` of the way."""
    text = _cleaned(observation)
    if "cross" not in text.lower() and "intersection" not in text.lower():
        return False
    for name in names:
        if "cross" in name.lower() or "intersection" in name.lower():
            text = _spelled(name).sub(" ", text)
    text = _NO_DENIAL.sub(" ", text.casefold())
    return _CROSS.search(text) is not None or any(map(_claims, _STATEMENTS.split(text)))


def _claims(statement: str) -> bool:
    """Whether a statement mentions an intersection and does not deny it."""
    found = _INTERSECTION.search(statement)
    if found is None:
        return False
    denials = list(_NO.finditer(statement, 0, found.start()))
    if denials and not _NO_THING_AT.match(statement, denials[-1].end(), found.start()):
        return False
    return _DENIED_AFTER.match(statement, found.end()) is None


@lru_cache(maxsize=1_000)
def _spelled(name: str) -> re.Pattern[str]:
    """A pattern for a name with any spaces, without its article. The word alone is told from the thing by capitals."""
    letters = "".join(_ARTICLE.sub("", _cleaned(name)).split())
    alone = re.fullmatch(r"intersections?|cross", letters, re.IGNORECASE)
    return re.compile(r"\s*".join(map(re.escape, letters)), 0 if alone else re.IGNORECASE)


def states_sight(observation: str, name: str | None) -> bool:
    """Whether a stated observation names the landmark that was shown (spaces, case, quotes and the way in which letters
    are encoded aside); nothing is asked of one where none was."""
    return name is None or _squeezed(name) in _squeezed(observation)


def states_sight_alone(observation: str, name: str | None, others: Iterable[str]) -> bool:
    """Whether a stated observation names the landmark that was shown, and none of the `others` of the way."""
    stated = _squeezed(observation)
    if name is not None:
        stated = stated.replace(_squeezed(name), " ")
    return states_sight(observation, name) and not any(_squeezed(other) in stated for other in others if other != name)


_SIDE = "left|right|front|back|behind|ahead"
_ONE_WORD = {"behind": "back", "ahead": "front"}
_SIDES = re.compile(rf"(?:{_SIDE})(?:(?:and|or|onyour|onthe|tothe|your|the|[,/-])*(?:{_SIDE}))*")
_ENDS = re.compile(r"[.;!?]")


def recognises(observation: str, sight: Sight | None, intersection: bool, names: Collection[str]) -> bool:
    """Whether a stated observation says rightly all that is shown: the landmark with its side and no other one of the
    way (`names`), whether there is an intersection, and where there is neither that nothing is there."""
    name = None if sight is None else sight.name
    if states_intersection(observation, names) != intersection or not states_sight_alone(observation, name, names):
        return False
    if sight is not None:
        return states_side(observation, sight)
    return (
        intersection
        or _squeezed(observation).startswith("no")
        or _NO.search(_cleaned(observation).casefold()) is not None
    )


def states_side(observation: str, sight: Sight) -> bool:
    """Whether a stated observation gives the side of a landmark: wherever it names both in one sentence, the right one.
    The side is read after the name, or else before it; its words may come in any order, without spaces too."""
    name, stated = _squeezed(sight.name), _squeezed(observation)
    before, *after = stated.split(name) if name else ("", stated)
    given = []
    for tail in after:
        sides = [*_SIDES.finditer(_ENDS.split(tail)[0])][:1] or [*_SIDES.finditer(_ENDS.split(before)[-1])][-1:]
        given += [frozenset(_ONE_WORD.get(word, word) for word in re.findall(_SIDE, found[0])) for found in sides]
        before = tail
    return bool(given) and set(given) == {frozenset(_ONE_WORD.get(word, word) for word in sight.side.split())}


def _cleaned(text: str) -> str:
    """The text in one encoding of its letters, without quotes, marks of type and signs that do not show."""
    text = unicodedata.normalize("NFKC", text[:LONGEST_OBSERVATION])
    return text.translate(_DROPPED | _DASHES)


def _squeezed(text: str) -> str:
    return "".join(_cleaned(text).casefold().split())
