"""V-IRL in words: prompts, observations, feedback, and replies.

Three styles: `full` for language models, `terse` for small ones, `varied` (paraphrases drawn per problem). The history
of observations and actions is the conversation itself: after every right action the verifier shows what is seen next.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ruleshift.records import Feedback
from ruleshift.tasks.feedback import SILENT
from ruleshift.tasks.protocol import Style, is_terse
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.rail import RailPoint
from ruleshift.tasks.virl.route import Sight
from ruleshift.tasks.virl.rules import ActionSpace, Kind, Told, WalkRule
from ruleshift.tasks.virl.verifier import FIELDS

Views = Literal["grid", "front"]


@dataclass(frozen=True)
class Pictured:
    """That a walker is shown what there is to see, not told: in four `views` or the one ahead, and with the `leak` of
    the paper, where the text still tells of intersections."""

    views: Views = "grid"
    leak: bool = False


@dataclass(frozen=True)
class Itinerary:
    """What a prompt is written from: the rule, the points of the route, which words the instruction uses, and how
    observations are `pictured` (None: told)."""

    rule: WalkRule
    points: tuple[RailPoint, ...]
    told: Told = "both"
    compat: str = "fixed"
    pictured: Pictured | None = None

    def turn(self, point: RailPoint, kind: Kind) -> str:
        """The word for the turn at a point where the route turns."""
        assert point.next_heading is not None
        return self.rule.space(kind).word(point.heading, point.next_heading, self.compat)

    def action(self, point: RailPoint, kind: Kind) -> str:
        """The expert's action at a point."""
        if point.kind == "destination":
            return "stop()"
        return "forward()" if point.next_heading is None else f"turn_direction({self.turn(point, kind)})"

    @property
    def turns(self) -> tuple[RailPoint, ...]:
        """The points where the route turns: its start and its intersections."""
        return tuple(point for point in self.points if point.next_heading is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The places that the way names."""
        return tuple(point.sight.name for point in self.points if point.sight is not None)

    @property
    def facing(self) -> str:
        """The absolute word for the heading at the start."""
        return self.faced(self.points[0])

    def faced(self, point: RailPoint) -> str:
        """The absolute word for the heading on arrival at a point."""
        return self.rule.absolute.word(point.heading, point.heading, self.compat)


def prompt(itinerary: Itinerary, style: Style, problem_id: str) -> str:
    """The first user message: what to do, the words for turns, the way, the form of replies, and the first sight."""
    if is_terse(style):
        return _terse_prompt(itinerary, problem_id)
    rng = stream("virl-varied", problem_id) if style == "varied" else None
    words = ", ".join(itinerary.rule.space(itinerary.rule.stated).words)
    way = [f"{number}. {line}" for number, line in enumerate(_way(itinerary), 1)]
    return "\n".join(
        [
            *_opening(itinerary.pictured, rng),
            "",
            "Way:",
            *way,
            "",
            _one_of(_ACTIONS, rng),
            "- forward(): walk on to the next point",
            f"- turn_direction(x): turn; x is one of: {words}",
            "- stop(): you have reached the destination",
            "",
            _one_of(_REPLIES, rng),
            *_fields(itinerary.pictured, rng),
            "",
            f"You start out facing {itinerary.facing}.",
            f"Observation: {observation(itinerary, itinerary.points[0], style)}",
        ]
    )


_OPENINGS = (
    "You walk through a city along the way described below. At every point you are told what you see, and you choose "
    "the next action.",
    "Follow the described way on foot. You get one observation at a time and answer with one action.",
    "You are a pedestrian with directions to a place. After each observation, decide what to do next.",
    "Guide a walker through town: read the directions, look at what is in sight, and name the next action.",
)
_SEEING = (
    "You walk through a city along the way described below. At every point you see a picture, and you choose the next "
    "action.",
    "Follow the described way on foot. You get one picture at a time and answer with one action.",
    "You are a pedestrian with directions to a place. After each picture, decide what to do next.",
    "Guide a walker through town: read the directions, look at the picture, and name the next action.",
)
_VIEWS: dict[Views, str] = {
    "grid": "A picture shows four views from where you stand: front and right above, back and left below.",
    "front": "A picture shows the view ahead from where you stand.",
}
_ACTIONS = ("Actions:", "You can do one of these at a time:", "The possible actions are:")
_REPLIES = (
    "Reply with a single JSON object and no other text. Its fields, all strings:",
    "Every answer is one JSON object, nothing around it, with these string fields:",
    "Answer in JSON only, an object with these text fields:",
)
_FIELD_LINES = (
    f'- "{FIELDS[0]}": what you see now',
    f'- "{FIELDS[1]}": the step of the way that you are at',
    f'- "{FIELDS[2]}": your action',
)


_LOOK = (
    f'- "{FIELDS[0]}": what you see now, for example "<name> is on your <side>. You observe an intersection." or '
    '"No landmarks nearby."; landmarks are places that the way names'
)


def rule_words(itinerary: Itinerary, style: Style) -> str:
    """The rule that is scored, by itself: the words for turns. In the terse style, as the prompt lists words."""
    space = itinerary.rule.space(itinerary.rule.scored)
    if is_terse(style):
        return " ".join(["space", *space.words])
    by = "where it leads" if space.kind == "absolute" else "how far it turns"
    return f"The rule that holds: a turn is named by {by}, with one of: {', '.join(space.words)}."


def _opening(pictured: Pictured | None, rng: random.Random | None) -> list[str]:
    if pictured is None:
        return [_one_of(_OPENINGS, rng)]
    return [_one_of(_SEEING, rng), _VIEWS[pictured.views]]


def _one_of(lines: Sequence[str], rng: random.Random | None) -> str:
    return lines[0] if rng is None else rng.choice(lines)


def _fields(pictured: Pictured | None, rng: random.Random | None) -> list[str]:
    lines = [_LOOK if pictured else _FIELD_LINES[0], *_FIELD_LINES[1:]]
    if rng is not None:
        rng.shuffle(lines)
    return lines


def _way(itinerary: Itinerary) -> list[str]:
    """The instruction, a line for each turn and each stretch."""
    lines = []
    for point in itinerary.turns:
        lines.append(_turn_line(itinerary, point))
        end = _end_of_leg(itinerary, point)
        if end.kind == "destination":
            lines.append(f"Go on to your destination{_where(end.sight)}.")
        else:
            lines.append(f"Go on to the next intersection{_where(end.sight)}.")
    return lines


def _where(sight: Sight | None) -> str:
    return "" if sight is None else f", where {sight}"


def _turn_line(itinerary: Itinerary, point: RailPoint) -> str:
    absolute, relative = itinerary.turn(point, "absolute"), itinerary.turn(point, "relative")
    face = "still face" if absolute == itinerary.faced(point) else "face"  # small turns stay within a word
    if itinerary.told == "both":
        return f"Turn {relative}, so that you {face} {absolute}."
    return f"Turn {relative}." if itinerary.rule.stated == "absolute" else f"Turn so that you {face} {absolute}."


def _end_of_leg(itinerary: Itinerary, turn: RailPoint) -> RailPoint:
    """The intersection or destination that the leg after a turn leads to."""
    leg = turn.line // 2
    return next(p for p in itinerary.points if p.leg == leg and p.kind in ("intersection", "destination"))


# ---------------------------------------------------------------- terse


def _terse_prompt(itinerary: Itinerary, problem_id: str) -> str:
    words = [f"facing {itinerary.facing} space", *_listed(itinerary, problem_id)]
    for point in itinerary.turns:
        absolute, relative = itinerary.turn(point, "absolute"), itinerary.turn(point, "relative")
        told = {"both": (relative, absolute), "other": (relative if itinerary.rule.stated == "absolute" else absolute,)}
        end = _end_of_leg(itinerary, point)
        words += [
            "turn",
            *told[itinerary.told],
            "to" if end.kind == "destination" else "until",
            _terse_sight(end.sight),
        ]
    return " ".join([*words, observation(itinerary, itinerary.points[0], "terse")])


def _listed(itinerary: Itinerary, problem_id: str) -> list[str]:
    """The words of the stated space, in any order: those that the route needs, and others up to the number listed, so
    that the length of the list does not tell one space from another."""
    rule, rng = itinerary.rule, stream("virl-list", problem_id)
    space: ActionSpace = rule.space(rule.stated)
    needed = list(dict.fromkeys(itinerary.turn(point, rule.stated) for point in itinerary.turns))
    others = [word for word in space.words if word not in needed]
    rng.shuffle(others)
    listed = needed + others[: max(0, space.listed - len(needed))]
    rng.shuffle(listed)
    return listed


def _terse_sight(sight: Sight | None) -> str:
    return "none" if sight is None else f"{sight.name} {sight.side}"


# ---------------------------------------------------------------- along the way


def observation(itinerary: Itinerary, point: RailPoint, style: Style) -> str:
    """What is seen at a point, in words; where it is pictured, that there is a picture."""
    if itinerary.pictured is not None:
        hint = itinerary.pictured.leak and point.intersection
        if is_terse(style):
            return "see cross" if hint else "see"
        return "see the picture. You observe an intersection." if hint else "see the picture."
    stated = _stated(itinerary, point, style)
    return f"see {stated}" if is_terse(style) else stated


def _stated(itinerary: Itinerary, point: RailPoint, style: Style) -> str:
    """The observation as a reply states it."""
    if is_terse(style):
        return _terse_sight(point.sight) + (" cross" if point.intersection else "")
    lone = itinerary.compat == "official" and point.intersection  # the official data's word at intersections
    nothing = "No landmark nearby." if lone else "No landmarks nearby."
    seen = nothing if point.sight is None else f"{point.sight}."
    return f"{seen} You observe an intersection." if point.intersection else seen


_FEEDBACK = {
    "right": "Right.",
    "wrong_action": "The observation is taken up well, but this action is not right here. Try again.",
    "wrong_observation": "Look again whether you are at an intersection: the action is not right here. Try again.",
    "unreadable": 'No action was found. Reply with one JSON object that holds "current observation", "current '
    'instruction" and "action".',
}
_LOOK_AGAIN = (
    "Look again which landmark is in sight, if any, and whether you are at an intersection: the action is not right "
    "here. Try again."
)
_TERSE_FEEDBACK = {"wrong_action": "wrong", "wrong_observation": "misread", "unreadable": "unreadable"}


def feedback(
    outcome: str, style: Style, itinerary: Itinerary, ahead: RailPoint | None = None, level: Feedback = "full"
) -> str:
    """What the verifier says: of a wrong reply, what was wrong with it (`silent`: only that it was), never the right
    action, so that `outcome` and `full` are one; then what is seen `ahead`, at the next point, where the walk goes on.
    """
    if ahead is not None:
        led = outcome != "right"
        if is_terse(style):
            return f"{'led ' if led else ''}{observation(itinerary, ahead, style)}"
        return f"{'You are led on.' if led else 'Right.'} Observation: {observation(itinerary, ahead, style)}"
    if outcome == "right":
        return "right" if is_terse(style) else "Right: you have arrived."
    if level == "silent":
        return SILENT[is_terse(style)]
    if is_terse(style):
        return _TERSE_FEEDBACK[outcome]
    return _LOOK_AGAIN if outcome == "wrong_observation" and itinerary.pictured else _FEEDBACK[outcome]


def write_reply(itinerary: Itinerary, point: RailPoint, action: str, style: Style) -> str:
    """A reply in the requested form that reads the observation right and gives this action; without spaces between
    fields in the terse style."""
    return _fields_of(style, _stated(itinerary, point, style), current_line(itinerary, point, style), action)


def unseeing_reply(action: str, style: Style) -> str:
    """A reply in the requested form that gives this action, and says neither what is seen nor which step this is."""
    return _fields_of(style, "", "", action)


def _fields_of(style: Style, *said: str) -> str:
    separators = (",", ":") if is_terse(style) else (", ", ": ")
    return json.dumps(dict(zip(FIELDS, said, strict=True)), separators=separators)


def current_line(itinerary: Itinerary, point: RailPoint, style: Style) -> str:
    """The line of the way that is followed at a point."""
    if is_terse(style):
        if point.next_heading is None:
            return "stop" if point.kind == "destination" else "forward"
        absolute, relative = itinerary.turn(point, "absolute"), itinerary.turn(point, "relative")
        told = {"both": f"{relative} {absolute}", "absolute": relative, "relative": absolute}
        return "turn " + told["both" if itinerary.told == "both" else itinerary.rule.stated]
    return _way(itinerary)[point.line]
