"""Pictures of hands: the same pixels everywhere, every factor known, nothing of a test look in training, readable."""

import hashlib
import json
import math
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import one_thread
from ruleshift.tasks.generalpoints.deal import Card, deal
from ruleshift.tasks.generalpoints.pictures import LOOKS, Look, draw, drawing, look, look_of
from ruleshift.tasks.generalpoints.pictures.blur import blurred, steps_for
from ruleshift.tasks.generalpoints.pictures.kept import Kept
from ruleshift.tasks.generalpoints.pictures.layout import MOST_ANGLE, spots
from ruleshift.tasks.generalpoints.pictures.paths import Pen, ellipse, outline, rectangle, stroke
from ruleshift.tasks.generalpoints.pictures.raster import TURN, Viewport, coverage, turn
from ruleshift.tasks.generalpoints.pictures.styles import CARD_STYLES, DECKS, LIGHTS, TABLES, Colour
from ruleshift.tasks.generalpoints.rules import RANKS, SPLITS, SUITS
from ruleshift.tasks.streams import stream

CARDS = [Card(rank, suit) for rank, suit in product(RANKS, SUITS["all"])]
PLAIN = Look("two-colour", "classic", "green-felt", "overhead", (50, 50), 0, (0,), ((0, 0),), 0)


def picture(split: str, index: int, size: int = 224) -> np.ndarray:
    return draw(deal(split, 0, index).cards, look(split, 0, index), size)


def plain(cards: list[Card], size: int | tuple[int, int], **changes: object) -> np.ndarray:
    return draw(cards, replace(PLAIN, angles=(0,) * len(cards), shifts=((0, 0),) * len(cards), **changes), size)


def random_cards(seed: str, count: int) -> list[Card]:
    return stream(seed).choices(CARDS, k=count)


# ---------------------------------------------------------------- the same pixels everywhere

HASHES = {
    "train": "85a49b95b1f5cd86",
    "id-val": "716847d799ab2b5a",
    "id": "1f8d130afb3f131b",
    "rule-ood": "67c8ce798dad3b13",
    "heldout": "a9677b0db6d97703",
    "rule-ood-heldout": "bd7e85073a8b6dbc",
    "all-12": "927f774b67840a0e",
    "large": "66ca08a2737002b4",
    "target-36": "1f88f363324a2100",
    "five-cards": "fe6b3d20ca3e10c2",
    "five-cards-heldout": "fef8289242f55f1f",
    "fake": "353981b7171a04d2",
    "visual-ood": "2656c4edb0ebe8e0",
    "both-ood": "da6cea86b3750d66",
    "style-ood": "03f72c01dd088f77",
    "four-colour": "0649ff28d2a123d3",
    "val-shift-a": "50f4e432f8cd06f3",
    "val-shift-b": "ec4a3401be28b326",
    "val-visual": "42e5acc924f61923",
    "pretrain": "bd5f766de49d0dec",
    "targets": "54e22bf289e4f87c",
    "three-cards": "7e15d30ce264c4a1",
    "six-cards": "a3bec60afc8476e5",
    "train-30": "1db7320a8ba687e0",
    "train-300": "9d91bb72058d712a",
    "val-shift-heldout": "d34f0c4be18edb5c",
    "pretrain-targets": "1e155aa8e5a1e7fd",
    "train-2-rules": "4cd973a467e669fe",
    "train-4-rules": "7c7bed638a1ffc3a",
    "train-8-rules": "fea7c5eb0d0059cc",
}
"""Of three pictures at 96 and 224 pixels. A change of a drawing changes them, and must be looked at."""


@pytest.mark.parametrize("split", SPLITS)
def test_the_pixels_of_a_split(split: str) -> None:
    pictures = [picture(split, index, size) for index in range(3) for size in (96, 224)]
    assert hashlib.sha256(b"".join(pixels.tobytes() for pixels in pictures)).hexdigest()[:16] == HASHES[split]


def test_a_picture_does_not_depend_on_what_was_drawn_before(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [picture("id", index, 96) for index in range(4)]
    monkeypatch.setattr(drawing, "KEPT", Kept(0))
    again = [picture("id", index, 96) for index in reversed(range(4))]
    assert all(np.array_equal(one, other) for one, other in zip(first, again[::-1], strict=True))
    assert not np.array_equal(first[0], first[1])


def test_what_is_kept_stays_within_its_bytes() -> None:
    kept = Kept(1000)
    made = []
    for number in (1, 2, 3, 1, 4, 1, 2):
        kept.get(number, lambda number=number: made.append(number) or np.zeros(400, np.uint8))
    assert made == [1, 2, 3, 1, 4, 2]  # two at a time; what was used last stays


def test_no_angle_is_near_enough_to_a_half_to_be_rounded_two_ways() -> None:
    for angle in range(360):
        for value in (math.cos(math.radians(angle)), math.sin(math.radians(angle))):
            assert abs(abs(value * TURN % 1) - 0.5) > 1e-6
    assert turn(-90) == (0, -TURN)


# ---------------------------------------------------------------- drawing


def covered(shape: tuple[np.ndarray, ...], size: int = 40, angle: int = 0) -> np.ndarray:
    """The coverage of a shape whose point (0, 0) is in the middle, one unit to a pixel; 0..256."""
    mask, top, left = coverage(shape, Viewport(size, size, (1, 1), angle, (0, 0)))
    full = np.zeros((size, size), np.int64)
    full[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return full


def test_coverage_is_the_covered_area() -> None:
    mask = covered(outline(rectangle(-2, -1.5, 2.25, 1)))
    assert mask[18:22, 17:24].tolist() == [
        [0, 128, 128, 128, 128, 32, 0],
        [0, 256, 256, 256, 256, 64, 0],
        [0, 256, 256, 256, 256, 64, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert mask.sum() == 256 * 4.25 * 2.5


@pytest.mark.parametrize("angle", [0, 7, -45, 90])
def test_coverage_of_turned_and_overlapping_shapes(angle: int) -> None:
    square = outline(rectangle(-7, -7, 7, 7))
    disc = outline(ellipse(0, 0, 12, 12))
    assert covered(square, angle=angle).sum() == pytest.approx(256 * 196, rel=2e-3)
    assert covered(disc, angle=angle).sum() == pytest.approx(256 * math.pi * 144, rel=2e-3)
    assert np.array_equal(covered(square + disc, angle=angle), covered(disc, angle=angle))
    outside = outline(rectangle(-60, -60, 60, -30))
    assert covered(outside).sum() == 0
    assert covered(outline(rectangle(-60, -60, 60, 0))).sum() == 256 * 40 * 20  # cut off at the sides


def test_a_stroke_is_as_wide_as_its_pen() -> None:
    assert covered(stroke("M -10 0 L 10 0", Pen(3, 2))).sum() == 256 * 20 * 4
    assert covered(stroke("M 0 -10 L 0 10", Pen(3, 2))).sum() == 256 * 20 * 6
    ring = covered(stroke(ellipse(0, 0, 12, 12), Pen(2, 2)))
    assert ring[20, 20] == 0
    assert ring.sum() == pytest.approx(256 * math.pi * (14**2 - 10**2), rel=5e-3)
    corner = covered(stroke("M -10 10 L -10 -10 L 10 -10", Pen(2, 2)))
    assert corner.sum() == 256 * 4 * (22 + 18)  # the outside of the corner is filled, its inside counts once
    rounded = covered(stroke("M -10 0 L 10 0", Pen(4, 4, round_ends=True)))
    assert rounded.sum() == pytest.approx(256 * (20 * 8 + math.pi * 16), rel=2e-2)


def test_blur_keeps_the_light_and_widens_it() -> None:
    point = np.zeros((33, 99), np.uint16)
    point[16, 48:51] = (255, 128, 64)
    wide = blurred(point, 1, 3)
    assert wide[16, 48:51].tolist() == [64, 32, 16]  # a quarter in the middle, of [1 2 1] both ways
    assert np.array_equal(wide, wide[::-1])
    assert np.array_equal(blurred(np.full((9, 9), 255, np.uint16), 2, 3), np.full((9, 9), 255))
    assert [steps_for(9, side) for side in (96, 224, 448, 1200)] == [0, 1, 2, 3]


# ---------------------------------------------------------------- cards


@pytest.mark.parametrize("size", [48, 96, 224, 600])
def test_the_52_cards_are_52_pictures(size: int) -> None:
    pictures = {plain([card], size).tobytes() for card in CARDS}
    assert len(pictures) == 52


@pytest.mark.parametrize("style", CARD_STYLES)
def test_ranks_and_suits_differ_visibly_in_every_style(style: str) -> None:
    """At 32 pixels a card, any two of them differ by more than noise."""
    pictures = np.stack([plain([card], (56, 48), style=style).astype(float) for card in CARDS])
    apart = [np.abs(pictures[i] - pictures[:i]).mean(axis=(1, 2, 3)).min() for i in range(1, 52)]
    assert min(apart) > 0.4


def test_a_card_looks_the_same_upside_down() -> None:
    """Those whose pips or figures come in pairs: the others have a pip that stands upright in the middle."""
    for rank in ("2", "4", "10", "J", "Q", "K"):
        pixels = plain([Card(rank, "spades")], 400).astype(int)
        (spot,) = spots(1, PLAIN, (400, 400))
        height = spot.width * 880 // 630
        middle = pixels[spot.top + 1 : spot.top + 1 + height, spot.left + 1 : spot.left + 1 + spot.width]
        inside = middle[12:-12, 12:-12].sum(axis=2) < 400
        assert (inside != inside[::-1, ::-1]).mean() < 0.02
        assert inside.mean() > 0.03


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(sorted(LOOKS)),
    height=st.integers(96, 1200),
    width=st.integers(96, 1200),
    count=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_cards_of_any_hand_lie_on_a_table_of_any_size(
    name: str, height: int, width: int, count: int, seed: int
) -> None:
    rng = stream("test", seed)
    chosen = look_of(LOOKS[name], count, rng)
    for spot, angle in zip(spots(count, chosen, (height, width)), chosen.angles, strict=True):
        assert spot.top >= 0
        assert spot.left >= 0
        cosine, sine = math.cos(math.radians(angle)), abs(math.sin(math.radians(angle)))
        long = spot.width * 880 / 630
        assert spot.top + long * cosine + spot.width * sine <= height
        assert spot.left + spot.width * cosine + long * sine <= width
        assert spot.width >= min(height, width) // 6


@settings(max_examples=8, deadline=None, derandomize=True)
@given(height=st.integers(96, 400), width=st.integers(96, 400), seed=st.integers(0, 10**6))
def test_any_hand_is_drawn_at_any_size(height: int, width: int, seed: int) -> None:
    rng = stream("test", seed)
    count = rng.randint(1, 6)
    pixels = draw(rng.choices(CARDS, k=count), look_of(LOOKS["training"], count, rng), (height, width))
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
    white = (pixels.min(axis=2) > 130).mean()
    assert 0.05 < white < 0.9


def test_a_canvas_of_1200_pixels() -> None:
    assert draw(deal("id", 0, 0).cards, look("id", 0, 0), 1200).shape == (1200, 1200, 3)


def test_numbers_out_of_range_are_refused() -> None:
    two = [Card("A", "spades"), Card("10", "hearts")]
    with pytest.raises(ValueError, match="0 cards; a picture shows 1 to 6"):
        plain([], 96)
    with pytest.raises(ValueError, match="7 cards"):
        plain(two * 3 + two[:1], 96)
    with pytest.raises(ValueError, match="the look is made for 1 cards, not for 2"):
        draw(two, PLAIN, 96)
    with pytest.raises(ValueError, match="turned by 20 degrees at most"):
        draw(two[:1], replace(PLAIN, angles=(21,)), 96)
    with pytest.raises(ValueError, match="at least 32 pixels"):
        plain(two, (400, 31))


# ---------------------------------------------------------------- looks


def is_red(colour: Colour) -> bool:
    red, green, blue = colour
    return red > 90 and red > 2 * max(green, blue)


def red_share(pixels: np.ndarray) -> float:
    """The share of pixels that are clearly red (brown wood is not)."""
    red, green, blue = np.moveaxis(pixels.astype(int), 2, 0)
    return float(((red > 110) & (red > 2.2 * np.maximum(green, blue))).mean())


def test_every_factor_of_a_look_is_logged() -> None:
    for split in SPLITS:
        chosen = look(split, 1, 5)
        facts = chosen.facts()
        assert json.loads(json.dumps(facts)) == facts
        assert set(facts) == set(asdict(chosen))
        assert len(chosen.angles) == len(chosen.shifts) == SPLITS[split].cards


def test_a_look_is_a_function_of_split_seed_and_index() -> None:
    drawn = [look("id", 3, index) for index in range(40)]
    assert drawn == [look("id", 3, index) for index in reversed(range(40))][::-1]
    assert len(set(drawn)) == 40
    assert drawn != [look("id", 4, index) for index in range(40)]
    assert drawn != [look("train", 3, index) for index in range(40)]


@pytest.mark.parametrize("name", LOOKS)
def test_looks_are_drawn_from_all_of_their_ranges(name: str) -> None:
    rule = LOOKS[name]
    drawn = [look_of(rule, 4, stream("test", index)) for index in range(400)]
    assert {chosen.deck for chosen in drawn} == set(rule.decks) <= set(DECKS)
    assert {chosen.style for chosen in drawn} == set(rule.styles) <= set(CARD_STYLES)
    assert {chosen.table for chosen in drawn} == set(rule.tables) <= set(TABLES)
    assert {chosen.light for chosen in drawn} == set(rule.lights) <= set(LIGHTS)
    assert {chosen.overlap for chosen in drawn} == set(rule.overlaps)
    assert {chosen.blur for chosen in drawn} == set(rule.blurs)
    assert {angle for chosen in drawn for angle in chosen.angles} == set(rule.angles)
    assert {step for chosen in drawn for shift in chosen.shifts for step in shift} == set(
        range(-rule.shift, rule.shift + 1)
    )
    assert max(map(abs, rule.angles)) <= MOST_ANGLE


def test_the_shifts_of_the_splits() -> None:
    """One factor at a time: red suits, and nothing else; styles, and nothing else."""
    training = ("train", "id-val", "id", "rule-ood", "heldout", "rule-ood-heldout", "fake", "five-cards")
    assert {(SPLITS[split].look, SPLITS[split].colour) for split in training} == {("training", "black")}
    for split in ("visual-ood", "both-ood"):
        assert (SPLITS[split].look, SPLITS[split].colour) == ("training", "red")
    assert SPLITS["style-ood"].colour == "black"
    assert SPLITS["visual-ood"].faces == SPLITS["style-ood"].faces == SPLITS["id"].faces
    assert (SPLITS["both-ood"].faces, SPLITS["both-ood"].min_faces) == (SPLITS["rule-ood"].faces, 1)
    train, test = LOOKS["training"], LOOKS["style-ood"]
    assert train.decks == test.decks
    for factor in ("styles", "tables", "lights", "angles"):
        assert set(getattr(train, factor)).isdisjoint(getattr(test, factor)), factor


def test_no_training_shows_what_a_test_shows() -> None:
    train, pretrain, validation = LOOKS["training"], LOOKS["pretraining"], LOOKS["validation"]
    test = LOOKS["style-ood"]
    for factor in ("styles", "tables"):
        ranges = [set(getattr(rule, factor)) for rule in (train, pretrain, validation, test)]
        assert sum(map(len, ranges)) == len(set.union(*ranges)), factor
    assert set(pretrain.lights).isdisjoint(test.lights)
    assert set(pretrain.angles).isdisjoint(test.angles)

    def shown(rule: object, suits: tuple[str, ...]) -> set[tuple[str, Colour]]:
        decks = [DECKS[name] for name in rule.decks]  # type: ignore[attr-defined]
        return {(deck.emblems[suit], deck.inks[suit]) for deck in decks for suit in suits}

    tested = shown(train, SUITS["red"])
    assert tested == {("hearts", (198, 26, 40)), ("diamonds", (198, 26, 40))}
    for rule in (train, pretrain, validation):
        signs = shown(rule, SUITS["black"])
        assert {emblem for emblem, _ in signs}.isdisjoint({"hearts", "diamonds"})
        assert not any(is_red(ink) for _, ink in signs)
    assert shown(pretrain, SUITS["black"]).isdisjoint(shown(train, SUITS["black"]) | shown(validation, SUITS["black"]))
    assert {ink for _, ink in shown(pretrain, SUITS["black"])}.isdisjoint({ink for _, ink in tested})


@pytest.mark.parametrize("split", ["train", "id", "style-ood", "pretrain", "val-visual"])
def test_pictures_without_red_suits_hold_no_red(split: str) -> None:
    assert max(red_share(picture(split, index, 128)) for index in range(12)) < 1e-3
    assert all(red_share(picture("visual-ood", index, 128)) > 0.01 for index in range(12))  # control


# ---------------------------------------------------------------- recognisable


def corners(split: str, count: int, size: int = 224) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper left parts of cards, (N, 1, 40, 40), and their ranks, (N,), of this many hands."""
    crops, ranks = [], []
    for index in range(count):
        cards, chosen = deal(split, 7, index).cards, look(split, 7, index)
        pixels = np.pad(draw(cards, chosen, size).mean(axis=2), ((0, 40), (0, 40)))
        for card, spot in zip(cards, spots(len(cards), chosen, (size, size)), strict=True):
            crops.append(pixels[spot.top : spot.top + 40, spot.left : spot.left + 40])
            ranks.append(RANKS.index(card.rank))
    return torch.tensor(np.stack(crops), dtype=torch.float32)[:, None] / 128 - 1, torch.tensor(ranks)


def reader(images: torch.Tensor, ranks: torch.Tensor, epochs: int = 8) -> torch.nn.Module:
    """A small convolutional network, trained to read ranks."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 5, stride=2), torch.nn.ReLU(),
        torch.nn.Conv2d(12, 24, 3, stride=2), torch.nn.ReLU(),
        torch.nn.Conv2d(24, 32, 3), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(32 * 6 * 6, 64), torch.nn.ReLU(), torch.nn.Linear(64, 13),
    )  # fmt: skip
    steps = epochs * (len(ranks) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(ranks))
        for start in range(0, len(ranks) // 64 * 64, 64):
            batch = order[start : start + 64]
            loss = torch.nn.functional.cross_entropy(model(images[batch]), ranks[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def share_read(model: torch.nn.Module, images: torch.Tensor, ranks: torch.Tensor) -> float:
    return float((model(images).argmax(dim=1) == ranks).float().mean())


@pytest.mark.slow
def test_a_tiny_network_reads_the_ranks() -> None:
    with one_thread():
        model = reader(*corners("train", 500))
        images, ranks = corners("id", 150)
        assert share_read(model, images, ranks) > 0.99
        assert share_read(model, images, ranks.roll(1)) < 0.2  # control
        assert share_read(model, *corners("visual-ood", 40)) < 0.95  # to a reader of black suits, red ones are a shift
