"""V-IRL rules and splits, as data.

An action space says how a turn is named: by where it leads (absolute) or by how far it turns (relative). A rule pairs
two of them, since the instruction can name every turn in both, and says which one the prompt lists and which one the
verifier wants. A split says which rule holds, in which cities, over how many legs.
"""

import random
from dataclasses import dataclass, field
from typing import Literal

from ruleshift.tasks.virl.compass import ABSOLUTE, RELATIVE, SIXTEEN, compass_name, relative_name

Kind = Literal["absolute", "relative"]
Told = Literal["both", "other"]
Names = Literal["seen", "heldout"]


@dataclass(frozen=True)
class ActionSpace:
    """Names of turns. An absolute space divides the circle evenly, its first word centred on north; a relative one has
    a word for each of RELATIVE, in that order. The prompt of the terse style lists `listed` words, the others all."""

    kind: Kind
    words: tuple[str, ...]
    listed: int = 4

    def word(self, heading: float, next_heading: float, compat: str = "fixed") -> str:
        """What a turn from `heading` to `next_heading` (degrees clockwise from north) is called."""
        if self.kind == "absolute":
            return compass_name(next_heading, self.words)
        return self.words[RELATIVE.index(relative_name(heading, next_heading, compat))]


@dataclass(frozen=True)
class WalkRule:
    """The two ways to name a turn, the one the prompt lists (`stated`), and the one the verifier wants (`scored`)."""

    absolute: ActionSpace
    relative: ActionSpace
    stated: Kind
    scored: Kind

    def space(self, kind: Kind) -> ActionSpace:
        return self.absolute if kind == "absolute" else self.relative

    @property
    def shifted(self) -> bool:
        """Whether the words for turns are others than in training: then they are all that there is to decide."""
        return (self.stated, self.scored, self.absolute) != ("absolute", "absolute", COMPASS)

    @property
    def trained(self) -> ActionSpace:
        """The words of training, where the rule is shifted: those for where a turn leads."""
        return self.absolute if self.stated == "relative" else COMPASS


COMPASS = ActionSpace("absolute", ABSOLUTE)
TURNS = ActionSpace("relative", RELATIVE)
_COMPASS_16 = ActionSpace("absolute", SIXTEEN, listed=16)
_DEGREES = ActionSpace("absolute", tuple(f"{degrees} degrees" for degrees in range(0, 360, 10)), listed=36)

# Words without a meaning of their own, out of which pretraining makes action spaces, with some that have one.
_INVENTED = """bol cim dax dov fep gor hix jul kep kov lem lux mar mip nar nol opu pex pim quo rab sut tev ulo vax wex
    yad zim"""
_CLOCK = tuple(f"{hour} o'clock" for hour in range(1, 13))
_WORDS = (*SIXTEEN, *RELATIVE, *_INVENTED.split(), *_CLOCK)
POOL = (*_WORDS, *_DEGREES.words)
_SOME_DEGREES = 6  # that a route may draw: few, or the many headings would crowd out the words


def drawn_spaces(rng: random.Random) -> tuple[ActionSpace, ActionSpace]:
    """An absolute and a relative space with words of their own from POOL, as pretraining uses them.

    Neither consists of the words of the training rule or of the shifted one: at most half of a space's words are
    names of a compass or of turns.
    """
    while True:
        words = rng.sample((*_WORDS, *rng.sample(_DEGREES.words, _SOME_DEGREES)), 12)
        absolute, relative = tuple(words[:8]), tuple(words[8:])
        if len(set(absolute) & _TESTED) <= 4 and len(set(relative) & _TESTED) <= 2:
            return ActionSpace("absolute", absolute), ActionSpace("relative", relative)


_TESTED = frozenset(SIXTEEN + RELATIVE)
_PROXY = (
    ActionSpace("absolute", ("fep", "nar", "rab", "quo", "lux", "cim", "zim", "tev")),
    ActionSpace("relative", ("opu", "kov", "dax", "jul")),
)
_VALIDATION = {
    "val-shift-a": (COMPASS, ActionSpace("relative", ("gor", "lem", "vax", "pim"))),
    "val-shift-b": (
        ActionSpace("absolute", ("dov", "hix", "ulo", "mar", "bol", "kep", "yad", "sut")),
        ActionSpace("relative", ("9 o'clock", "3 o'clock", "11 o'clock", "1 o'clock")),
    ),
}

# Further training rules: the words of the training rule, or others out of the pool.
_MORE = ((COMPASS, TURNS), *(drawn_spaces(random.Random(number)) for number in range(7)))

TRAIN_CITY = "new-york"
TEST_CITIES = (
    "lagos",
    "new-delhi",
    "hong-kong",
    "melbourne",
    "milan",
    "london",
    "new-york-soho",
    "san-francisco",
    "buenos-aires",
)
VALIDATION_CITIES = ("port-alder", "saint-vine")
USUAL_LEGS = (3, 4)  # of a route, at least and at most
PRETRAINING_CITIES = tuple(f"pretrain-{k}" for k in range(24))


@dataclass(frozen=True)
class WalkSplit:
    """Which routes and rules belong to a split.

    `spaces` are pairs of an absolute and a relative space, one of which is drawn for each route (None: drawn from
    POOL). `told`: whether the instruction names turns in both spaces or only in the one that is not listed. `size` is
    the number of routes (of a seed, where they are for training), after which they repeat (None: no end). `heldout`:
    whether routes go ways that no training route goes (True), only others (False), or any (None). `looks` are the
    cities in whose looks pictures show the map, in turn (none: each in its own); text does not show them. `names`:
    whether places have names that no city has.
    """

    description: str
    stated: tuple[Kind, ...] = ("absolute",)
    scored: Kind | None = None
    spaces: tuple[tuple[ActionSpace, ActionSpace], ...] | None = ((COMPASS, TURNS),)
    told: Told = "both"
    cities: tuple[str, ...] = field(default=(TRAIN_CITY,), repr=False)
    legs: tuple[int, int] = USUAL_LEGS
    size: int | None = None
    heldout: bool | None = True
    looks: tuple[str, ...] = field(default=(), repr=False)
    names: Names = "seen"

    @property
    def trains(self) -> bool:
        """Whether its routes are trained on: every seed has its own, while all others are the same for everybody."""
        return self.size is not None and self.heldout is False

    def rule(self, rng: random.Random) -> WalkRule:
        """The rule of one route."""
        absolute, relative = drawn_spaces(rng) if self.spaces is None else rng.choice(self.spaces)
        stated = rng.choice(self.stated)
        return WalkRule(absolute, relative, stated, self.scored or stated)


_SHIFT: tuple[Kind, ...] = ("relative",)
SPLITS: dict[str, WalkSplit] = {
    "train": WalkSplit("training routes: absolute directions, New York", size=1_000, heldout=False),
    "id-val": WalkSplit("validation routes of the training rule"),
    "id": WalkSplit("test routes of the training rule: absolute directions, training city"),
    "rule-ood": WalkSplit("relative directions: left, right, slightly left, slightly right", _SHIFT),
    "city-ood": WalkSplit("absolute directions, nine other cities", cities=TEST_CITIES),
    "both-ood": WalkSplit("relative directions, nine other cities", _SHIFT, cities=TEST_CITIES),
    "mini": WalkSplit("absolute directions, 18 routes, two in each of nine other cities", cities=TEST_CITIES, size=18),
    "five-legs": WalkSplit("absolute directions, five legs", legs=(5, 5)),
    "long": WalkSplit("absolute directions, eight legs or more", legs=(8, 10)),
    "big-actions": WalkSplit(
        "a larger action space: 16 compass points, or headings in steps of 10 degrees",
        spaces=((_COMPASS_16, TURNS), (_DEGREES, TURNS)),
    ),
    "fake": WalkSplit(
        "the prompt lists relative directions and the verifier wants absolute ones: measures memorisation",
        _SHIFT,
        scored="absolute",
    ),
    "one-worded": WalkSplit(
        "relative directions, and an instruction in absolute ones only, so that copying cannot solve it",
        _SHIFT,
        told="other",
    ),
    "visual-ood": WalkSplit("absolute directions, training city in the looks of nine others", looks=TEST_CITIES),
    "new-names": WalkSplit("absolute directions, training city with names of places that no city has", names="heldout"),
    "val-shift-a": WalkSplit("validation shift: invented relative words", _SHIFT, spaces=(_VALIDATION["val-shift-a"],)),
    "val-shift-b": WalkSplit(
        "validation shift: clock positions beside invented absolute words", _SHIFT, spaces=(_VALIDATION["val-shift-b"],)
    ),
    "train-long": WalkSplit("training routes of eight legs or more", legs=(8, 10), size=1_000, heldout=False),
    "train-big-actions": WalkSplit(
        "training routes with a larger action space: 16 compass points, or headings in steps of 10 degrees",
        spaces=((_COMPASS_16, TURNS), (_DEGREES, TURNS)),
        size=1_000,
        heldout=False,
    ),
    **{
        f"train-{count}-rules": WalkSplit(
            f"training routes under {count} rules: absolute directions in the words of training, or in others",
            spaces=_MORE[:count],
            size=1_000,
            heldout=False,
        )
        for count in (2, 4, 8)
    },
    "proxy-train": WalkSplit(
        "a whole experiment in invented words, to choose settings by: training routes, absolute words",
        spaces=(_PROXY,),
        size=1_000,
        heldout=False,
    ),
    "proxy-id": WalkSplit("of that experiment: test routes of its training rule", spaces=(_PROXY,)),
    "proxy-ood": WalkSplit("of that experiment: its shifted rule, relative words", _SHIFT, spaces=(_PROXY,)),
    "city-val": WalkSplit("absolute directions, validation cities", cities=VALIDATION_CITIES),
    "val-visual": WalkSplit(
        "validation shift of the look: training city in the looks of two validation cities", looks=VALIDATION_CITIES
    ),
    "pretrain": WalkSplit(
        "pretraining routes, of fewer legs: both spaces made of words drawn for each route, cities of their own",
        ("absolute", "relative"),
        spaces=None,
        cities=PRETRAINING_CITIES,
        legs=(2, 3),
        heldout=None,
    ),
}
