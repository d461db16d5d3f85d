"""Cards and walks as one task."""

from dataclasses import replace

import pytest

from ruleshift.engines.text import expert, random_guesser
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import cell_of, evaluate
from ruleshift.tasks import get_task
from ruleshift.tasks.mixture import CardsAndWalks

TASK = CardsAndWalks()


def test_problems_are_those_of_the_parts() -> None:
    for name in TASK.names:
        for split in ("train", "id", "rule-ood"):
            mine, own = TASK.problem(f"{name}-{split}", 3, 5, "terse"), get_task(name).problem(split, 3, 5, "terse")
            assert (mine.id, mine.context(), mine.gold()) == (own.id, own.context(), own.gold())
    assert [TASK.problem("train", 1, index).id for index in range(4)] == [
        *("gp-l/train/1/0", "virl-l/train/1/0", "gp-l/train/1/1", "virl-l/train/1/1")
    ]
    assert TASK.count("train") is None
    assert (TASK.count("virl-l-train"), TASK.count("virl-l-mini"), TASK.count("gp-l-train-30")) == (1_000, 18, 30)
    assert "mini" not in TASK.splits()
    with pytest.raises(RuleshiftError, match="unknown split 'virl-l-five-cards'"):
        TASK.problem("virl-l-five-cards", 0, 0)


def test_decisions_of_cards_are_first_replies() -> None:
    found = get_task("ruleshift.tasks.mixture:CardsAndWalks")
    for player in (expert(), random_guesser()):
        mixed = cell_of("id", "greedy", evaluate(player, found, "id", 40, 2))
        cards = cell_of("id", "greedy", evaluate(player, get_task("gp-l"), "id", 20, 2))
        firsts = [float(steps[0] == 1) for steps in cards.tries]
        assert cards.outcomes("decision_accuracy", 1) == firsts
        assert mixed.decided[::2] == (1,) * 20
    silent = found.with_options(replace(found.options(), feedback="silent"))
    assert [part.feedback for part in silent.parts] == ["silent", "silent"]  # type: ignore[attr-defined]
