#!/usr/bin/env python3
"""Write docs/gallery.md: pictures of every split of the tasks in pictures, with captions that the problems give.

python scripts/gallery.py                     write the page and what is out of date in docs/gallery/
python scripts/gallery.py --check [PART ...]  exit with 1, naming what is out of date: the page, and all pictures or
                                              those of the parts that are named (virl-vl/id ...)

Pictures are lossless WebP files and compared by their pixels, so that the version of the encoder does not matter.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ruleshift.files import write_atomically
from ruleshift.pictures import pixels_of
from ruleshift.tasks.generalpoints.pictures.styles import DECKS
from ruleshift.tasks.generalpoints.rules import SPLITS as HANDS
from ruleshift.tasks.generalpoints.visual import GeneralPointsVL, GeneralPointsVLProblem
from ruleshift.tasks.virl.eyes import Streets
from ruleshift.tasks.virl.rail import RailPoint
from ruleshift.tasks.virl.rules import SPLITS as WALKS
from ruleshift.tasks.virl.rules import TEST_CITIES, TRAIN_CITY, VALIDATION_CITIES
from ruleshift.tasks.virl.views.factorial import DesignCell
from ruleshift.tasks.virl.visual import VirlVL, VirlVLProblem

DOCS = Path(__file__).resolve().parent.parent / "docs"
SEED = 0
CARDS, IN_A_STRIP = GeneralPointsVL(size=224), 3
STREETS, FRONT = VirlVL(size=448), 224
SIGNS = {"clubs": "♣", "spades": "♠", "hearts": "♥", "diamonds": "♦"}

Pixels = np.ndarray  # (height, width, 3) uint8


@dataclass(frozen=True)
class Part:
    """One picture of the gallery and what stands above and below it. `name` is the task and the split, and the city
    where a split shows several."""

    name: str
    draw: Callable[[], Pixels]
    above: str
    below: str

    @property
    def file(self) -> str:
        return f"gallery/{self.name.replace('/', '-')}.webp"

    def __str__(self) -> str:
        return "\n\n".join(filter(None, [self.above, f"![{self.name}]({self.file})", self.below]))


# ---------------------------------------------------------------- cards


def card_parts() -> Iterator[Part]:
    for split in HANDS:
        hands = [CARDS.problem(split, SEED, index) for index in range(IN_A_STRIP)]
        captions = [f"{number}. {hand_caption(split, hand)}" for number, hand in enumerate(hands, 1)]
        yield Part(
            f"gp-vl/{split}", partial(strip, hands), heading(split, HANDS[split].description), "\n".join(captions)
        )


def strip(hands: Sequence[GeneralPointsVLProblem]) -> Pixels:
    return np.hstack([pixels_of(hand.picture) for hand in hands])


def hand_caption(split: str, problem: GeneralPointsVLProblem) -> str:
    look, emblems = problem.look, DECKS[problem.look.deck].emblems
    signs = [SIGNS.get(emblems[card.suit], f" of {emblems[card.suit]}") for card in problem.hand.cards]
    cards = ", ".join(rank + sign for rank, sign in zip(problem.hand.ranks, signs, strict=True))
    drawn = any(len(values) > 1 for values in HANDS[split].faces)
    faces = f" with J, Q, K = {', '.join(map(str, problem.hand.stated.faces))}" if drawn else ""
    formula = json.loads(problem.gold())["formula"]
    return f"{cards}: `{formula}`{faces}; {look.deck}, {look.style}, {look.table}, {look.light}"


# ---------------------------------------------------------------- streets


def street_parts() -> Iterator[Part]:
    yield walk_part("id")
    yield walk_part("rule-ood")
    yield looks_part()
    yield walk_part("new-names")
    for index in range(len(TEST_CITIES)):
        yield walk_part("city-ood", index)
    yield walk_part("mini")
    for index in range(len(VALIDATION_CITIES)):
        yield walk_part("val-visual", index)
    for index in range(3):
        yield walk_part("pretrain", index)


def walk_part(split: str, index: int = 0) -> Part:
    spec, problem = WALKS[split], STREETS.problem(split, SEED, index)
    point = walk_to_landmark(problem)
    city, look, rule = problem.route.city, problem.eyes.scenery.look, problem.itinerary.rule
    reply = json.loads(problem.gold())
    where = city if look == city else f"{city} in the look of {look}"
    caption = f"**{where}.** “{reply['current observation']}” Action: `{reply['action']}`."
    if index == 0 or spec.spaces is None:
        caption += f" Words for turns: {', '.join(rule.space(rule.stated).words)}."
    name = f"virl-vl/{split}" if look == TRAIN_CITY else f"virl-vl/{split}/{look}"
    above = heading(split, spec.description) if index == 0 else ""
    return Part(name, lambda: pixels_of(problem.eyes.picture(point)), above, caption)


def walk_to_landmark(problem: VirlVLProblem) -> RailPoint:
    """The first crossing with a landmark, or else the first point with one; the walker is put there."""
    points = problem.itinerary.points
    seen = [position for position, point in enumerate(points) if point.sight is not None]
    problem.position = next((position for position in seen if points[position].intersection), seen[0])
    return problem.point


def looks_part() -> Part:
    """The place that `id` shows, in the looks of `visual-ood`."""
    spec, problem = WALKS["visual-ood"], STREETS.problem("id", SEED, 0)
    point, rows = walk_to_landmark(problem), [spec.looks[k : k + 3] for k in range(0, len(spec.looks), 3)]

    def front(look: str) -> Pixels:
        seen = Streets(DesignCell(problem.route.city, look))
        return pixels_of(replace(problem.eyes, scenery=seen, size=FRONT, views="front").picture(point))

    caption = f"The view ahead at the place that `id` shows, {FRONT} pixels a side, in the looks of " + "; ".join(
        ", ".join(row) for row in rows
    )
    return Part(
        "virl-vl/visual-ood",
        lambda: np.vstack([np.hstack([front(look) for look in row]) for row in rows]),
        heading("visual-ood", spec.description),
        f"{caption}.",
    )


# ---------------------------------------------------------------- the page


def page(cards: Sequence[Part], streets: Sequence[Part]) -> str:
    shown = {part.name.split("/")[1] for part in streets}
    blocks = [
        "# Gallery",
        "What the tasks in pictures show, split by split: the pixels that a model sees, and captions out of the same "
        f"problems (seed {SEED}). `scripts/gallery.py` writes all of it, and says with `--check` what is out of date.",
        "## Cards: gp-vl",
        f"{IN_A_STRIP} hands a split, {CARDS.size} pixels a side. Below them, from left to right: the cards, an "
        "expert's formula, and the deck, card style, table and light of the picture. `ruleshift play gp-vl` deals "
        "more.",
        *map(str, cards),
        "## Streets: virl-vl",
        f"A place with a landmark on the first route of a split or city, {STREETS.size} pixels a side: front and right "
        "above, back and left below. Observation and action are an expert's. `ruleshift play virl-vl` walks on.",
        *map(str, streets),
        "### The other splits",
        "They show the streets and looks above, along other routes or under other words.",
        "\n".join(f"- `{split}`: {spec.description}" for split, spec in WALKS.items() if split not in shown),
    ]
    return "\n\n".join(blocks) + "\n"


def heading(split: str, description: str) -> str:
    return f"### {split}\n\n{description[0].upper()}{description[1:]}."


def write(text: str, parts: Sequence[Part]) -> None:
    (DOCS / "gallery").mkdir(exist_ok=True)
    for part in parts:
        pixels = part.draw()
        if not shows(DOCS / part.file, pixels):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=60, method=4)
            write_atomically(DOCS / part.file, buffer.getvalue())
    for file in not_shown(parts):
        file.unlink()
    write_atomically(DOCS / "gallery.md", text)


def outdated(text: str, parts: Sequence[Part], names: Sequence[str] = ()) -> list[str]:
    """What is not as it would be written: the page, pictures (those of the parts named, or all), files left over."""
    known = DOCS / "gallery.md"
    found = [] if known.is_file() and known.read_text(encoding="utf-8") == text else [known.name]
    checked = [part for part in parts if not names or part.name in names]
    found += [part.file for part in checked if not shows(DOCS / part.file, part.draw())]
    return found + [f"gallery/{file.name}, which is not shown" for file in not_shown(parts)]


def shows(file: Path, pixels: Pixels) -> bool:
    if not file.is_file():
        return False
    with Image.open(file) as image:
        return np.array_equal(np.asarray(image.convert("RGB")), pixels)


def not_shown(parts: Sequence[Part]) -> list[Path]:
    names = {Path(part.file).name for part in parts}
    return [file for file in sorted((DOCS / "gallery").glob("*")) if file.name not in names]


def main(arguments: Sequence[str]) -> int:
    cards, streets = list(card_parts()), list(street_parts())
    text, parts = page(cards, streets), [*cards, *streets]
    names = [argument for argument in arguments if argument != "--check"]
    unknown = set(names) - {part.name for part in parts}
    if unknown or (names and "--check" not in arguments):
        print(f"no part of the gallery: {', '.join(sorted(unknown or names))}", file=sys.stderr)
        return 2
    if "--check" not in arguments:
        write(text, parts)
        return 0
    found = outdated(text, parts, names)
    for name in found:
        print(f"out of date: docs/{name} (python scripts/gallery.py writes it anew)", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
