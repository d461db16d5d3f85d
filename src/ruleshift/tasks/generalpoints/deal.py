"""Dealing hands: a pure function of (split, seed, index)."""

import random
from dataclasses import dataclass

from ruleshift.tasks.generalpoints.rules import LARGE, RANKS, SPLITS, SUITS, USUAL_TARGET, Rule, Split, is_heldout
from ruleshift.tasks.generalpoints.solver import solvable
from ruleshift.tasks.generalpoints.targets import drawn_target, taken_apart
from ruleshift.tasks.streams import stream


@dataclass(frozen=True)
class Card:
    rank: str
    suit: str


@dataclass(frozen=True)
class Deal:
    """A hand with the rule its prompt states and the rule its verifier scores (the same but for `fake`)."""

    cards: tuple[Card, ...]
    stated: Rule
    scored: Rule

    @property
    def ranks(self) -> tuple[str, ...]:
        return tuple(card.rank for card in self.cards)

    def numbers(self, rule: Rule) -> tuple[int, ...]:
        """What the cards count under a rule, in the order dealt."""
        return tuple(rule.value(card.rank) for card in self.cards)


def deal(split: str, seed: int, index: int) -> Deal:
    """The hand at `index` of the stream (split, seed): drawn with replacement, redrawn until it belongs.

    Cards are uniform over A..K as in the paper. A hand belongs when it can be solved under the rule that is scored
    and under the rule that is stated, holds enough face cards, and its numbers are (not) among the held-out ones.
    """
    spec = SPLITS[split]
    if spec.apart:
        return deal_apart(split, seed, index)[0]
    rng = stream("gp-deal", split, seed, index if spec.size is None else index % spec.size)
    faces = _draw_faces(spec, rng)
    suits = SUITS[spec.colour]
    while True:
        cards = tuple(Card(rng.choice(RANKS), rng.choice(suits)) for _ in range(spec.cards))
        target = spec.target or drawn_target([Rule(faces).value(card.rank) for card in cards], rng)
        stated = Rule(faces, target)
        hand = Deal(cards, stated, Rule(spec.scored_faces, target) if spec.scored_faces else stated)
        if sum(rank in "JQK" for rank in hand.ranks) >= spec.min_faces and _belongs(hand, spec):
            return hand


def deal_apart(split: str, seed: int, index: int) -> tuple[Deal, str]:
    """The hand at `index` of a split whose targets are taken apart, with a formula for it."""
    spec = SPLITS[split]
    assert spec.apart
    assert spec.target
    rng = stream("gp-deal", split, seed, index)
    while True:
        numbers, formula = taken_apart(spec.target, spec.cards, spec.apart, rng)
        large = sorted({number for number in numbers if number > 10})
        if len(large) > 3 or any(number in LARGE for number in large) or is_heldout(tuple(sorted(numbers))):
            continue
        faces = [*large, *_draw_faces(spec, rng)][:3]
        rng.shuffle(faces)
        rng.shuffle(numbers)
        rule = Rule((faces[0], faces[1], faces[2]), spec.target)
        ranks = [RANKS[number - 1] if number <= 10 else "JQK"[faces.index(number)] for number in numbers]
        cards = tuple(Card(rank, rng.choice(SUITS[spec.colour])) for rank in ranks)
        if rule.faces not in spec.excluded:
            return Deal(cards, rule, rule), formula


def _draw_faces(spec: Split, rng: random.Random) -> tuple[int, int, int]:
    while True:
        j, q, k = (rng.choice(pool) for pool in spec.faces)
        if (j, q, k) not in spec.excluded:
            return (j, q, k)


def _belongs(hand: Deal, spec: Split) -> bool:
    for rule in {hand.scored, hand.stated}:
        numbers = tuple(sorted(hand.numbers(rule)))
        if spec.target is None:  # has a solution: the target is what a formula comes to
            return rule.target != USUAL_TARGET or not is_heldout(numbers)
        if is_heldout(numbers) != (spec.multisets == "heldout") or not solvable(numbers, rule.target):
            return False
    return True
