"""V-IRL in pictures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self, get_args

from ruleshift.errors import RuleshiftError
from ruleshift.records import Picture
from ruleshift.tasks.protocol import Style, is_terse
from ruleshift.tasks.recipe import Recipe
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.eyes import Download, Eyes, OnMap, Scenery, Streets
from ruleshift.tasks.virl.prompt import Pictured, Views, write_reply
from ruleshift.tasks.virl.recipe import PICTURES
from ruleshift.tasks.virl.rules import SPLITS, TRAIN_CITY
from ruleshift.tasks.virl.task import Virl, VirlProblem, WalkOptions
from ruleshift.tasks.virl.verifier import states_sight_alone
from ruleshift.tasks.virl.views.factorial import DesignCell
from ruleshift.tasks.virl.world.graph import StreetGraph

TERSE_SIZE, FULL_SIZE = 192, 672  # pixels a side
SMALLEST, LARGEST = 32, 2048


@dataclass
class VirlVLProblem(VirlProblem):
    """One walk in pictures, each of which is drawn when it is asked for. See `VirlVL`."""

    eyes: Eyes = field(kw_only=True)
    shown: bool = field(kw_only=True, default=True)

    def _seen_from(self, position: int) -> tuple[Picture, ...]:
        if not self.shown:
            return ()
        return (self._first if position == 0 else self.eyes.picture(self.itinerary.points[position]),)

    @cached_property
    def _first(self) -> Picture:
        return self.eyes.picture(self.itinerary.points[0])

    def _states_sight(self, observation: str) -> bool:
        """Also that no landmark is stated that the way names and this point does not show."""
        sight = self.point.sight
        return states_sight_alone(observation, None if sight is None else sight.name, self.itinerary.names)

    def guess(self, draw: int) -> str:
        """A reply that sees nothing: the observation of any point of the way, and a random action."""
        rng = stream("virl-guess", draw)
        action = self._random_action(rng)
        return write_reply(self.itinerary, rng.choice(self.itinerary.points), action, self.style)

    def describe(self) -> Mapping[str, object]:
        eyes = self.eyes
        return {**super().describe(), "look": eyes.scenery.look, "views": eyes.views, "size": eyes.size}


@dataclass(frozen=True)
class SeenWalkOptions(WalkOptions):
    """Where one walks, and what is seen there."""

    size: int | None = None
    """Pixels a side of the pictures; by default 192 in the terse style, else 672."""
    views: Views = "grid"
    """What a picture shows: front and right above back and left (grid), or the front alone."""
    leak: bool = False
    """Tell in words where there is an intersection, as the paper does."""


@dataclass(frozen=True)
class VirlVL(Virl):
    """V-IRL in pictures, `virl-vl`.

    Description: as `virl-l`, along the same walks for the same split, seed and index; what there is to see at a point
        is seen, not told. Training shows one city; the shifted tests of vision show other cities (`city-ood`,
        `both-ood`, `mini`), the city in the looks of others (`visual-ood`), or other names on its signs (`new-names`).
    Observation: at every point a square picture, `size` pixels a side (None: 192 in the terse style, 672 in the
        others): front and right above back and left, as the walker stands on arrival there, or with `views="front"`
        the front alone. With `leak`, as in the paper, the text says where there is an intersection.
    Action: as in `virl-l`.
    Start: as in `virl-l`.
    Rewards: as in `virl-l`; a wrong action earns -1.5 also where the landmark in sight is not stated, or one is that
        the way names and that is not there. `compat="official"`: as in `virl-l`, with the official views at -135,
        -45, 45 and 135 degrees.
    End: as in `virl-l`.
    Splits: `ruleshift.tasks.virl.rules.SPLITS`. Where `routes` are given, `world` is what they lead through: a map,
        which is drawn in the looks of the split or else of the training city, or a download of the paper's panoramas,
        which are shown as they are. Points between the ends of a leg that have no panorama fall out, as in the paper.
    Reference: Chu et al., "SFT Memorizes, RL Generalizes" (arXiv 2501.17161), section 4.2 and appendix; Yang et al.,
        "V-IRL" (arXiv 2402.03310).
    Versions: 1.0 first release. Later ones as `virl-l`.
    """

    id: str = "virl-vl"
    size: int | None = None
    leak: bool = False
    views: Views = "grid"
    shown: bool = True
    world: StreetGraph | Download | None = field(default=None, repr=False)
    pictures: ClassVar[bool] = True
    recipe: ClassVar[Recipe] = PICTURES
    options: ClassVar[type] = SeenWalkOptions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and not SMALLEST <= self.size <= LARGEST:
            raise RuleshiftError(f"a picture of streets has {SMALLEST} to {LARGEST} pixels a side, not {self.size}")
        if self.views not in get_args(Views):
            raise RuleshiftError(f"unknown views {self.views!r}; choose from {', '.join(get_args(Views))}")
        if (self.routes is None) != (self.world is None):
            raise RuleshiftError("routes of one's own come with the world they lead through: see virl.sources")

    def with_options(self, options: WalkOptions) -> Self:
        assert isinstance(options, SeenWalkOptions)
        task = super().with_options(options)
        return replace(task, size=options.size, views=options.views, leak=options.leak)

    def _through(self, source: Path) -> Self:
        from ruleshift.tasks.virl.sources import routes_and_world

        routes, world = routes_and_world(source)
        return replace(self, routes=routes, world=world, source=source)

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> VirlVLProblem:
        told = super().problem(split, seed, index, style)
        points = told.itinerary.points
        if isinstance(self.world, Download):
            points = self.world.along(points)
        size = self.size or (TERSE_SIZE if is_terse(style) else FULL_SIZE)
        eyes = Eyes(self._scenery(split, told.route.city, index), size, self.views, self.compat)
        itinerary = replace(told.itinerary, points=points, pictured=Pictured(self.views, self.leak))
        return VirlVLProblem(
            told.id, told.route, itinerary, style, self.go_on, self.source, self.feedback, eyes=eyes, shown=self.shown
        )

    def unseen(self) -> Self:
        return replace(self, shown=False)

    def _scenery(self, split: str, city: str, index: int) -> Scenery:
        """What is seen along the walk at `index` of a split: looks take turns."""
        if isinstance(self.world, Download):
            return self.world
        spec = SPLITS[split]
        look = spec.looks[index % len(spec.looks)] if spec.looks else None
        if self.world is not None:
            return Streets(OnMap(self.world, look or TRAIN_CITY))
        return Streets(DesignCell(city, look or city, spec.names))
