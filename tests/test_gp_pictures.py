"""Pictures of hands: the same pixels everywhere, every factor known, nothing of a test look in training, readable."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruleshift.tasks.generalpoints.deal import Card, deal
from ruleshift.tasks.generalpoints.pictures import LOOKS, Look, draw, look, look_of
from ruleshift.tasks.generalpoints.pictures.layout import spots
from ruleshift.tasks.generalpoints.pictures.styles import CARD_STYLES, DECKS, LIGHTS, TABLES
from ruleshift.tasks.generalpoints.rules import RANKS, SPLITS, SUITS
from ruleshift.tasks.streams import stream


def picture(split: str, index: int, size: int = 224) -> np.ndarray:
    return draw(deal(split, 0, index).cards, look(split, 0, index), size)


HASHES = {
    "id": "",
}


@pytest.mark.parametrize("split", SPLITS)
def test_pixels_are_those_that_were_looked_at(split: str) -> None:
    pictures = [picture(split, index, size) for index in range(3) for size in (96, 224)]
    assert hashlib.sha256(b"".join(map(np.ndarray.tobytes, pictures))).hexdigest()[:16] == HASHES[split]
