"""Dealing hands: a pure function of (split, seed, index)."""

import random
from dataclasses import dataclass

from ruleshift.tasks.generalpoints.rules import RANKS, SPLITS, SUITS, USUAL_TARGET, Rule, Split, is_heldout
from ruleshift.tasks.generalpoints.solver import solvable
from ruleshift.tasks.generalpoints.targets import drawn_target
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
    return deal_with_formula(split, seed, index)[0]


def deal_with_formula(split: str, seed: int, index: int) -> tuple[Deal, str | None]:
    """As `deal`, with the formula by which the target was drawn, if it was."""
    spec = SPLITS[split]
    rng = stream("gp-deal", split, seed, index if spec.size is None else index % spec.size)
    faces = draw_faces(spec, rng)
    suits = SUITS[spec.colour]
    while True:
        cards = tuple(Card(rng.choice(RANKS), rng.choice(suits)) for _ in range(spec.cards))
        target, formula = spec.target, None
        if target is None:
            target, formula = drawn_target([Rule(faces).value(card.rank) for card in cards], rng)
        stated = Rule(faces, target)
        hand = Deal(cards, stated, Rule(spec.scored_faces, target) if spec.scored_faces else stated)
        if sum(rank in "JQK" for rank in hand.ranks) >= spec.min_faces and _belongs(hand, spec):
            return hand, formula


def draw_faces(spec: Split, rng: random.Random) -> tuple[int, int, int]:
    """What J, Q and K count as in one hand of a split."""
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
