"""Looks: every factor of a picture apart from its cards, drawn from ranges that are data."""

import random
from dataclasses import asdict, dataclass

from ruleshift.tasks.generalpoints.rules import SPLITS
from ruleshift.tasks.streams import stream

Pair = tuple[int, int]


@dataclass(frozen=True)
class Look:
    """How a hand is shown. `deck`, `style`, `table` and `light` are names in `styles.py`.

    `place` is where the hand lies in the room that the table leaves, in hundredths from the left and from the top.
    `overlap` is how much of a card its right neighbour covers, in hundredths of the width (below 0: a gap between
    them). `angles` are degrees clockwise, one for each card; `shifts` move the cards, in hundredths of their width.
    `blur` is the width of the blur in thousandths of the picture's longer side.
    """

    deck: str
    style: str
    table: str
    light: str
    place: Pair
    overlap: int
    angles: tuple[int, ...]
    shifts: tuple[Pair, ...]
    blur: int

    def facts(self) -> dict[str, object]:
        """All factors as plain data, for logs."""
        return asdict(self) | {
            "place": list(self.place),
            "angles": list(self.angles),
            "shifts": [list(shift) for shift in self.shifts],
        }


@dataclass(frozen=True)
class LookRule:
    """The range of every factor. Each is drawn evenly and apart from the others; a value listed twice comes twice as
    often. Angles are drawn for each card from `angles`, shifts from -`shift` to `shift` in both directions."""

    decks: tuple[str, ...]
    styles: tuple[str, ...]
    tables: tuple[str, ...]
    lights: tuple[str, ...]
    overlaps: tuple[int, ...] = (-14, -6, 12, 24)
    angles: tuple[int, ...] = tuple(range(-4, 5))
    shift: int = 3
    blurs: tuple[int, ...] = (0, 0, 0, 9)


TRAINING = LookRule(
    decks=("two-colour",),
    styles=("classic", "club", "jumbo"),
    tables=("green-felt", "blue-felt", "grey-felt"),
    lights=("overhead", "lamp-left", "lamp-right"),
)
LOOKS: dict[str, LookRule] = {
    "training": TRAINING,
    "four-colour": LookRule(("four-colour",), TRAINING.styles, TRAINING.tables, TRAINING.lights),
    "style-ood": LookRule(
        decks=TRAINING.decks,
        styles=("great-rank", "tinted", "one-emblem"),
        tables=("oak", "walnut", "checked-cloth"),
        lights=("window", "evening", "dim"),
        overlaps=(0, 30),
        angles=(*range(-16, -7), *range(8, 17)),
        shift=8,
        blurs=(0, 0, 10),
    ),
    "validation": LookRule(
        decks=("leaves-and-acorns",),
        styles=("linen",),
        tables=("moss-felt",),
        lights=("cloudy",),
        angles=(-6, -5, 5, 6),
    ),
    "pretraining": LookRule(
        decks=("blue", "orange", "purple", "stars-and-moons", "bells-and-shields"),
        styles=("plain", "parchment", "large-pips"),
        tables=("teal-felt", "sand-cloth", "violet-felt", "slate"),
        lights=("daylight", "overhead", "lamp-left", "lamp-right"),
        overlaps=(-14, -6, 0, 12, 24),
        angles=tuple(range(-6, 7, 2)),
        shift=5,
        blurs=(0, 0, 0, 6, 9),
    ),
}


def look_of(rule: LookRule, cards: int, rng: random.Random) -> Look:
    """A look for this many cards, each factor drawn from its range."""
    return Look(
        deck=rng.choice(rule.decks),
        style=rng.choice(rule.styles),
        table=rng.choice(rule.tables),
        light=rng.choice(rule.lights),
        place=(rng.randint(0, 100), rng.randint(0, 100)),
        overlap=rng.choice(rule.overlaps),
        blur=rng.choice(rule.blurs),
        angles=tuple(rng.choice(rule.angles) for _ in range(cards)),
        shifts=tuple(
            (rng.randint(-rule.shift, rule.shift), rng.randint(-rule.shift, rule.shift)) for _ in range(cards)
        ),
    )


def look(split: str, seed: int, index: int) -> Look:
    """The look of the hand at `index` of the stream (split, seed). Raises KeyError for an unknown split."""
    spec = SPLITS[split]
    return look_of(LOOKS[spec.look], spec.cards, stream("gp-look", split, seed, index))
