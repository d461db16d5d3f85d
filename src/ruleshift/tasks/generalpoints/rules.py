"""GeneralPoints rules and splits, as data.

A rule says what J, Q and K count as, which target is to be reached, and with how many cards.
A split says which rule the prompt states, which rule the verifier scores, and which hands may be dealt.
"""

import hashlib
import itertools
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

RANKS = ("A", "2", "3", "4", "5", "6", "7", "8", "9", "10", "J", "Q", "K")
SUITS = {
    "black": ("clubs", "spades"),
    "red": ("hearts", "diamonds"),
    "all": ("clubs", "spades", "hearts", "diamonds"),
}
HELDOUT_SHARE = 0.15
USUAL_TARGET = 24

Faces = tuple[int, int, int]
Multisets = Literal["seen", "heldout"]


@dataclass(frozen=True)
class Rule:
    """What J, Q, K count as (`faces`), and the `target` to reach."""

    faces: Faces = (10, 10, 10)
    target: int = USUAL_TARGET

    def value(self, rank: str) -> int:
        """The number that a card of this rank counts as (an ace counts 1)."""
        index = RANKS.index(rank)
        return self.faces[index - 10] if index >= 10 else index + 1


@dataclass(frozen=True)
class Split:
    """Which deals belong to a split.

    `faces` holds, for J, Q and K in turn, the values to draw from (one value each for a fixed rule); draws in
    `excluded` are redrawn. `scored_faces` is set only where the verifier wants another rule than the prompt states.
    Only hands with `min_faces` face cards or more are dealt, and only multisets of numbers that are (`heldout`)
    or are not (`seen`) among the fixed share that no training ever sees. `target` None is drawn for each hand (see
    `targets`), so that no held-out multiset is dealt with the usual one. `size` is the number of hands, after which
    they repeat (None: no end). The suits are those of a `colour` in `SUITS`;
    `look` names the ranges that a picture's look is drawn from (`pictures.looks.LOOKS`). Neither shows in text.
    """

    description: str
    faces: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((10,), (10,), (10,))
    excluded: frozenset[Faces] = field(default=frozenset(), repr=False)
    scored_faces: Faces | None = None
    target: int | None = USUAL_TARGET
    cards: int = 4
    size: int | None = None
    min_faces: int = 0
    multisets: Multisets = "seen"
    colour: str = "black"
    look: str = "training"


def _fixed(j: int, q: int, k: int) -> tuple[tuple[int], tuple[int], tuple[int]]:
    return ((j,), (q,), (k,))


_POOL = tuple(range(1, 11)) + 7 * (11, 12, 13)  # makes 11, 12, 13 about as frequent in hands as 1 to 10
_LARGE = tuple(range(14, 20))
VALIDATION_FACES: tuple[Faces, ...] = ((9, 11, 13), (13, 8, 12))
_TEST_ORDERS: tuple[Faces, ...] = tuple((j, q, k) for j, q, k in itertools.permutations((11, 12, 13)))
_NOT_PRETRAINED: frozenset[Faces] = frozenset({(10, 10, 10), (12, 12, 12), *VALIDATION_FACES, *_TEST_ORDERS})

SPLITS: dict[str, Split] = {
    "train": Split("training deals: J, Q, K count 10"),
    "id-val": Split("validation deals of the training rule"),
    "id": Split("test deals of the training rule: J, Q, K count 10"),
    "rule-ood": Split("J, Q, K count 11, 12, 13; at least one face card", _fixed(11, 12, 13), min_faces=1),
    "heldout": Split("training rule, number multisets that no training sees", multisets="heldout"),
    "rule-ood-heldout": Split(
        "J, Q, K count 11, 12, 13; number multisets that no training sees",
        _fixed(11, 12, 13),
        min_faces=1,
        multisets="heldout",
    ),
    "all-12": Split("J, Q, K all count 12; at least one face card", _fixed(12, 12, 12), min_faces=1),
    "large": Split("J, Q, K count 14 to 19, drawn for each deal; at least one face card", (_LARGE,) * 3, min_faces=1),
    "target-36": Split("training rule, target 36", target=36),
    "targets": Split("training rule, a target drawn for each hand", target=None),
    "three-cards": Split("training rule, three cards", cards=3),
    "five-cards": Split("training rule, five cards", cards=5),
    "five-cards-heldout": Split(
        "training rule, five cards; number multisets that no training sees", cards=5, multisets="heldout"
    ),
    "six-cards": Split("training rule, six cards", cards=6),
    "fake": Split(
        "the prompt states J, Q, K = 11, 12, 13 and the verifier scores 10: measures memorisation",
        _fixed(11, 12, 13),
        scored_faces=(10, 10, 10),
        min_faces=1,
    ),
    "visual-ood": Split("training rule, red suits (pictures; in text, more deals like those of id)", colour="red"),
    "both-ood": Split(
        "J, Q, K count 11, 12, 13, red suits; at least one face card", _fixed(11, 12, 13), min_faces=1, colour="red"
    ),
    "style-ood": Split("training rule, card styles, tables, lights and angles unlike training's", look="style-ood"),
    "four-colour": Split("training rule, all suits, in black, red, green and blue", colour="all", look="four-colour"),
    "train-30": Split("30 training deals, again and again", size=30),
    "train-300": Split("300 training deals, again and again", size=300),
    "train-2-rules": Split("training deals under 2 rules: J counts 9 or 10, Q and K 10", ((9, 10), (10,), (10,))),
    "train-4-rules": Split(
        "training deals under 4 rules: J counts 9 or 10, Q 8 or 10, K 10", ((9, 10), (8, 10), (10,))
    ),
    "train-8-rules": Split(
        "training deals under 8 rules: J counts 9 or 10, Q 8 or 10, K 7 or 10", ((9, 10), (8, 10), (7, 10))
    ),
    "val-shift-a": Split("validation shift: J, Q, K count 9, 11, 13", _fixed(9, 11, 13), min_faces=1),
    "val-shift-b": Split("validation shift: J, Q, K count 13, 8, 12", _fixed(13, 8, 12), min_faces=1),
    "val-shift-heldout": Split(
        "validation shift: J, Q, K count 9, 11, 13; number multisets that no training sees",
        _fixed(9, 11, 13),
        min_faces=1,
        multisets="heldout",
    ),
    "val-visual": Split("validation shift of the look: green leaves and acorns", look="validation"),
    "pretrain": Split(
        "pretraining deals: J, Q, K drawn from 1..13, without any rule of a training, validation or test split",
        (_POOL,) * 3,
        excluded=_NOT_PRETRAINED,
        look="pretraining",
    ),
    "pretrain-targets": Split(
        "pretraining deals of any target: one that a random formula over the hand comes to",
        (_POOL,) * 3,
        excluded=_NOT_PRETRAINED,
        target=None,
        look="pretraining",
    ),
}


@lru_cache(maxsize=200_000)
def is_heldout(numbers: tuple[int, ...]) -> bool:
    """Whether this multiset of numbers (sorted ascending) belongs to the fixed share that no training ever sees."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8, person=b"gp-heldout").digest()
    return int.from_bytes(digest, "big") < HELDOUT_SHARE * 2**64
