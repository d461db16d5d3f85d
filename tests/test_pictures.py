"""Pictures as records, arrays and files, and in conversations on disk."""

import numpy as np
import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.episodes import load_episodes, save_episodes
from ruleshift.pictures import picture_of, pixels_of, png, read_picture
from ruleshift.records import Completion, Episode, Message, Turn, Verdict


def noise(seed: int, height: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_arrays_and_files_keep_every_pixel():
    array = noise(0)
    picture = picture_of(array)
    assert (picture.height, picture.width) == (5, 7)
    assert np.array_equal(pixels_of(picture), array)
    assert read_picture(png(picture)) == picture
    assert picture_of(array) == picture
    assert hash(picture_of(array)) == hash(picture)
    assert picture_of(noise(1)) != picture


@pytest.mark.parametrize("array", [np.zeros((5, 7), np.uint8), np.zeros((5, 7, 4), np.uint8), np.zeros((5, 7, 3))])
def test_other_arrays_are_no_pictures(array):
    with pytest.raises(ValueError, match="height, width, 3"):
        picture_of(array)


@pytest.mark.parametrize("cut", [0, 8, 40, -400])
def test_broken_files_have_a_clear_error(cut):
    with pytest.raises(RuleshiftError, match=r"^photo is not read as a PNG or JPEG"):
        read_picture(png(picture_of(noise(0, 40, 40)))[:cut], "photo")


def test_episodes_keep_their_pictures_and_those_before_the_last_reply_are_the_policys(tmp_path):
    first, second, third = (picture_of(noise(seed)) for seed in range(3))
    verdicts = [
        Verdict("right", 1.0, False, "go on", advanced=True, pictures=(second,)),
        Verdict("right", 1.0, True, ""),
    ]
    turns = tuple(Turn((1,), Completion("x", (2,), (-0.5,)), verdict) for verdict in verdicts)
    messages = (
        Message("user", "start", (first, third)),
        Message("assistant", "x"),
        Message("user", "go on", (second,)),
        Message("assistant", "x"),
        Message("user", "", ()),
    )
    episode = Episode("p", turns, messages)
    assert episode.pictures == (first, third, second)
    save_episodes(tmp_path / "episodes.parquet", [episode])
    assert load_episodes(tmp_path / "episodes.parquet") == [episode]
