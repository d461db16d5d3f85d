"""V-IRL in text."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar, Self

from ruleshift.records import Feedback, Message, Picture, Verdict, Work
from ruleshift.tasks.feedback import check_feedback
from ruleshift.tasks.protocol import Style, Task, check_split, check_style
from ruleshift.tasks.recipe import Recipe
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl import prompt, verifier
from ruleshift.tasks.virl.prompt import Itinerary
from ruleshift.tasks.virl.rail import RailPoint, build_rail
from ruleshift.tasks.virl.recipe import TEXT
from ruleshift.tasks.virl.route import OwnRoutes, Route
from ruleshift.tasks.virl.rules import SPLITS, WalkSplit
from ruleshift.tasks.virl.world.graph import StreetGraph
from ruleshift.tasks.virl.world.routes import procedural_route

VERSION_ON_MAPS = "1.4"
DROP_RATE = 0.5  # of the points between the ends of a leg


@dataclass
class VirlProblem:
    """One walk. It moves on as right actions are submitted, so it serves one conversation. See `Virl`."""

    id: str
    route: Route
    itinerary: Itinerary
    style: Style
    go_on: bool = False
    source: Path | None = None
    feedback: Feedback = "full"
    position: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    tried: int = field(default=0, init=False)
    given: list[tuple[int, bool]] = field(default_factory=list, init=False, repr=False)
    """Of each reply, the position where it was given, and whether it was right."""

    @property
    def point(self) -> RailPoint:
        """Where the walker is."""
        return self.itinerary.points[self.position]

    def context(self) -> tuple[Message, ...]:
        return (Message("user", prompt.prompt(self.itinerary, self.style, self.id), self._seen_from(0)),)

    def submit(self, reply: str, last: bool) -> Verdict:
        read = verifier.read_reply(reply)
        here, compat, rule = self.point, self.itinerary.compat, self.itinerary.rule
        sight_right = self._states_sight(read.observation)
        outcome = verifier.judge(
            read,
            self.action,
            here.intersection,
            compat,
            sight_right or self.itinerary.pictured is None,
            self.itinerary.names,
        )
        if compat == "official" and last:  # the try after the budget never counts there
            outcome = "wrong_action"
        right, at_end = outcome == "right", here.kind == "destination"
        moves = not at_end and (right or (last and self.go_on))
        reward = verifier.REWARDS[outcome] + (verifier.BUDGET_SPENT if last and not right else 0.0)
        if compat == "official" and last:
            reward = verifier.BUDGET_SPENT
        if last and not right:
            self.failed += 1
        self.given.append((self.position, right))
        self.tried = 0 if moves else self.tried + 1
        if moves:
            self.position += 1
        return Verdict(
            outcome,
            reward,
            solved=right and at_end and not self.failed,
            feedback=prompt.feedback(outcome, self.style, self.itinerary, self.point if moves else None, self.feedback),
            valid=read.valid,
            read_right=verifier.recognises(read.observation, here.sight, here.intersection, self.itinerary.names),
            found=read.action,
            advanced=moves,
            ended=right and at_end,
            pictures=self._seen_from(self.position) if moves else (),
            decides=here.next_heading is not None or (here.kind == "destination" and not rule.shifted),
            words=verifier.whose_word(read.action, rule.space(rule.stated).words, rule.trained.words)
            if rule.shifted
            else None,
            work=self._work(read, here),
        )

    def _work(self, read: verifier.WalkReply, here: RailPoint) -> Work | None:
        """What it is worth that a reply says which line of the way it follows here."""
        action = self.itinerary.action(here, self.itinerary.rule.stated)
        return verifier.judged_work(read, prompt.current_line(self.itinerary, here, self.style), self.lines, action)

    @cached_property
    def lines(self) -> frozenset[str]:
        """The lines of the way, each once."""
        return frozenset(prompt.current_line(self.itinerary, point, self.style) for point in self.itinerary.points)

    def answer(self, reply: str) -> str | None:
        """The action of a reply."""
        return verifier.read_reply(reply).action

    def exchanged(self, split: str) -> tuple[Self, Self] | None:
        """The walk with the words for turns of a split, once of the kind that is listed here and once of the kind that
        is listed there; None where that is the same kind."""
        given = self.itinerary.rule
        other = SPLITS[split].rule(stream("virl-exchange", split, self.id))
        if other.stated == given.stated:
            return None
        rules = (replace(other, stated=given.stated, scored=given.stated), replace(other, scored=other.stated))
        one, two = (replace(self, itinerary=replace(self.itinerary, rule=rule)) for rule in rules)
        return None if one.action == two.action else (one, two)

    def follows(self, reply: str) -> bool:
        """Whether the action is a turn in a word of the kind that is listed."""
        rule = self.itinerary.rule
        return verifier.whose_word(self.answer(reply), rule.space(rule.stated).words, ()) == "stated"

    def admits(self, reply: str) -> bool:
        """Whether an action of those listed is read."""
        return self.answer(reply) in ("forward()", "stop()") or self.follows(reply)

    def _seen_from(self, position: int) -> tuple[Picture, ...]:
        """The pictures that are shown at a position: none in text."""
        return ()

    def _states_sight(self, observation: str) -> bool:
        return verifier.states_sight(observation, None if self.point.sight is None else self.point.sight.name)

    @property
    def action(self) -> str:
        """The right action here."""
        return self.itinerary.action(self.point, self.itinerary.rule.scored)

    def gold(self) -> str:
        return self.reply(self.action)

    def rule(self) -> str:
        """How turns are named under the rule that is scored."""
        return prompt.rule_words(self.itinerary, self.style)

    def reply(self, action: str) -> str:
        """A reply that reads the observation right and gives this action (a bare word is taken as a turn)."""
        call = action if "(" in action or action in ("", None) else _as_call(action)
        return prompt.write_reply(self.itinerary, self.point, call, self.style)

    def guess(self, draw: int) -> str:
        """A reply that reads the observation right and gives a random action."""
        return self.reply(self._random_action(stream("virl-guess", draw)))

    def blind(self, draw: int) -> str:
        """A reply that states no observation: the first turn at the start, then forward, if that was wrong the next
        turn of the way, at last stop."""
        rule, ahead = self.itinerary.rule, self.itinerary.points[self.position :]
        turns = [self.itinerary.turn(point, rule.stated) for point in ahead if point.next_heading is not None]
        actions = ["forward()", *(f"turn_direction({word})" for word in turns[:1]), "stop()"]
        if self.position == 0:
            actions[:2] = actions[1::-1]
        return prompt.unseeing_reply(actions[min(self.tried, len(actions) - 1)], self.style)

    def _random_action(self, rng: random.Random) -> str:
        rule = self.itinerary.rule
        word = rng.choice(rule.space(rule.stated).words)
        return rng.choice(["forward()", "stop()", f"turn_direction({word})"])

    def describe(self) -> Mapping[str, object]:
        rule, points = self.itinerary.rule, self.itinerary.points
        return {
            "city": self.route.city,
            "route": self.route.id,
            "legs": self.route.legs,
            "stated": list(rule.space(rule.stated).words),
            "scored": rule.scored,
            "actions": [self.itinerary.action(point, rule.scored) for point in points],
        }

    def map_svg(self) -> str:
        from ruleshift.tasks.virl.maps.svg import draw_route
        from ruleshift.tasks.virl.sources import credit_of

        return draw_route(self._city, self.route, self.itinerary.points, credit_of(self.source), self.given)

    def map_text(self, width: int, plain: bool) -> str:
        from ruleshift.tasks.virl.maps.terminal import terminal_map

        return terminal_map(self._city, self.route, self.point, width, plain=plain)

    @cached_property
    def _city(self) -> StreetGraph:
        from ruleshift.tasks.virl.sources import city_of

        return city_of(self.route, self.source)


def _as_call(word: str) -> str:
    return f"{word}()" if word in ("forward", "stop") else f"turn_direction({word})"


@dataclass(frozen=True)
class WalkOptions:
    """Where one walks, how far, and what one is told."""

    routes: Path | None = None
    """Walk routes of your own: through a map (.osm.pbf, .osm, .graphml), of as many legs as the split asks for; or the
    paper's data (a folder, .json), all of them but where a split asks for an unusual number of legs."""
    go_on: bool = False
    """Where the tries of a position are spent, lead the walker on, so that every position is met (an expert never
    needs it)."""
    feedback: Feedback = "full"
    """What the verifier says of a wrong action: what was wrong with it (full and outcome), or only that it was not
    right (silent)."""


@dataclass(frozen=True)
class Virl(Task):
    """V-IRL in text, `virl-l`.

    Description: follow a described way through a city to a destination, one action at a time. The prompt lists the
        words for turns. Training names where a turn leads (north, northeast ...), the shifted test how far it turns
        (left, right, slightly left, slightly right); the instruction gives both.
    Observation: the way, the words and the first sight in one user message; after every reply the verifier's feedback,
        which after a right action is what is seen at the next point: a landmark with its side, an intersection.
    Action: one reply, a JSON object with `current observation`, `current instruction` and `action`, which is
        `forward()`, `turn_direction(x)` or `stop()`. Wrong actions are not executed.
    Start: a route of 3 or 4 legs (2 or 3 intersections) in a procedural city; on every leg up to five points between
        its ends, each left out with probability 0.5. Every route is a function of (city, seed, index); every seed has
        1,000 training routes of its own.
    Rewards (`compat="fixed"`): +1 right action; -1 wrong one; -1.5 wrong one with an intersection seen or missed
        wrongly; a further -1 when the verification budget of the position is spent. `compat="official"`: those of the
        official code, whose last try never counts (so that its budget of 2 is one of 3 here).
    End: the destination is reached, or the budget of a position (2 tries by default) is spent; with `go_on`, the
        walker is led to the next point instead.
    Splits: `ruleshift.tasks.virl.rules.SPLITS`. Where `routes` are given (official data, a real map), every split takes
        its routes from them, in turn, under its own rule: through a map of as many legs as it asks for, of official
        data all, but where it asks for an unusual number; `source` is the file that they come from, and their map.
    Reference: Chu et al., "SFT Memorizes, RL Generalizes" (arXiv 2501.17161), section 4.2 and appendix; Yang et al.,
        "V-IRL" (arXiv 2402.03310).
    Versions: 1.0 first release. 1.1 the full and varied styles say "so that you still face southeast" of a turn that
        stays within one word; terse prompts are as before. 1.2 training routes differ by seed (those of seed 0 are as
        before); `read_right` asks for the side of a landmark; at shifted rules only turns are decided. 1.3 which line
        of the way a reply names is judged (`work`). 1.4 (through maps of one's own only) routes have as many legs as
        the split says, where they had 2 to 4.
    """

    id: str = "virl-l"
    version: str = "1.3"
    compat: str = "fixed"
    go_on: bool = False
    routes: OwnRoutes | None = field(default=None, repr=False)
    source: Path | None = None
    feedback: Feedback = "full"
    metric: str = "decision_accuracy"
    pictures: ClassVar[bool] = False
    recipe: ClassVar[Recipe] = TEXT
    options: ClassVar[type] = WalkOptions

    def __post_init__(self) -> None:
        check_feedback(self.feedback, self.compat)

    def with_options(self, options: WalkOptions) -> Self:
        task = replace(self, go_on=options.go_on, feedback=options.feedback)
        if options.routes is None:
            return task
        from ruleshift.tasks.virl.sources import is_data

        version = self.version if is_data(options.routes) else VERSION_ON_MAPS
        return replace(task._through(options.routes), version=version)

    def _through(self, source: Path) -> Self:
        """The task on the routes of a file. Raises RuleshiftError for what cannot be read."""
        from ruleshift.tasks.virl.sources import routes_from

        return replace(self, routes=routes_from(source), source=source)

    @property
    def default_turns(self) -> int:
        return 2 if self.compat == "fixed" else 3

    def splits(self) -> Mapping[str, str]:
        return {name: split.description for name, split in SPLITS.items()}

    def count(self, split: str) -> int | None:
        spec = SPLITS[split]
        return spec.size if self.routes is None else len(self.routes(spec.legs))

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> VirlProblem:
        check_split(self, split)
        check_style(style)
        spec, name = SPLITS[split], f"{self.id}/{split}/{seed}/{index}"
        route = _route(spec, split, seed, index) if self.routes is None else _given(self.routes, spec, seed, index)
        walk = f"virl-l/{split}/{seed}/{index}"  # the same in text and in pictures
        points = tuple(build_rail(route, self.compat, DROP_RATE, seed=stream("virl-rail", walk).getrandbits(32)))
        itinerary = Itinerary(spec.rule(stream("virl-rule", walk)), points, spec.told, self.compat)
        return VirlProblem(name, route, itinerary, style, self.go_on, self.source, self.feedback)


def _given(own: OwnRoutes, spec: WalkSplit, seed: int, index: int) -> Route:
    """Of routes of one's own, the one at `index`: to train on, in an order that the seed gives."""
    routes = own(spec.legs)
    place = index % len(routes)
    return routes[_order(len(routes), seed)[place] if spec.trains else place]


@lru_cache(maxsize=16)
def _order(count: int, seed: int) -> tuple[int, ...]:
    """The numbers below `count` in the order of a seed."""
    order = list(range(count))
    stream("virl-order", seed).shuffle(order)
    return tuple(order)


def _route(spec: WalkSplit, split: str, seed: int, index: int) -> Route:
    """The route at `index` of a split: cities take turns."""
    if spec.size is not None:
        seed, index = seed if spec.trains else 0, index % spec.size
    city, series, number = spec.cities[index % len(spec.cities)], f"{split}/{seed}", index // len(spec.cities)
    if spec.names == "heldout":
        from ruleshift.tasks.virl.views.factorial import DesignCell

        return DesignCell(city, city, spec.names).route(series, number, spec.legs)
    return procedural_route(city, series, number, spec.legs, spec.heldout)
