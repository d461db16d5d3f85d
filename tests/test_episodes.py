"""episodes.parquet: what was written comes back, or is refused in one line."""

import random
from pathlib import Path

import pytest

from ruleshift.engines.text import random_guesser
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.episodes import load_episodes, save_episodes
from ruleshift.records import Episode
from ruleshift.revision import revise
from ruleshift.tasks import get_task


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    task = get_task("gp-vl")
    problems = [task.problem("id", 0, index, "terse") for index in range(2)]
    return revise(problems, random_guesser(0), 2)


def read(file: Path) -> list[Episode] | str:
    """What is in a file, or the one line with which it is refused."""
    try:
        return load_episodes(file)
    except RuleshiftError as error:
        return str(error)


@pytest.mark.parametrize("where", ["pages", "footer", "end"])
def test_damaged_bytes(tmp_path: Path, episodes: list[Episode], where: str) -> None:
    """Pages have checksums: what is still read of them is what was written. The footer has none, and may say
    anything; but it ends in no other exception."""
    file, rng, refused = tmp_path / "episodes.parquet", random.Random(0), 0
    save_episodes(file, episodes)
    assert load_episodes(file) == episodes
    whole = file.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            place = rng.randrange(footer) if where == "pages" else rng.randrange(footer, len(whole))
            damaged[place] ^= rng.randrange(1, 256)
        file.write_bytes(whole[: rng.randrange(len(whole))] if where == "end" else damaged)
        found = read(file)
        if isinstance(found, str):
            refused += 1
            assert "\n" not in found
            assert "delete it and run the command that wrote it again" in found
        elif where != "footer":
            assert found == episodes
    assert refused > 20


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RuleshiftError, match="is missing: run the command that writes it again"):
        load_episodes(tmp_path / "episodes.parquet")
