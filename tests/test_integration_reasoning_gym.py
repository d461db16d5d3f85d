"""reasoning-gym: its own factory makes the dataset, and its score is the verdict of our own verifier."""

import pytest

pytest.importorskip("reasoning_gym", reason="reasoning_gym is not installed")

import reasoning_gym

import ruleshift.integrations.reasoning_gym as ours
from integration_helpers import PLACES, episode, run_example
from ruleshift import RuleshiftError
from ruleshift.integrations.places import ProblemRef

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library, and of what it imports


@pytest.mark.parametrize(("place", "pattern"), PLACES[:6])
def test_scores_are_the_verdicts_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    made = reasoning_gym.create_dataset(
        "ruleshift", task=place.task, split=place.split, style=place.style, seed=place.seed, size=5
    )
    assert isinstance(made, ours.Problems)
    entry = made[place.index]
    talk = episode(place, pattern)
    verdict = talk.turns[0].verdict
    assert entry["question"] == talk.messages[0].content
    assert made.score_answer(talk.turns[0].completion.text, entry) == float(verdict.solved or verdict.advanced)
    assert made.score_answer(entry["answer"], entry) == 1.0
    assert made.score_answer(None, entry) == 0.0
    assert len(list(made)) == 5


def test_pictures_are_refused() -> None:
    with pytest.raises(RuleshiftError, match="gp-l or virl-l"):
        reasoning_gym.create_dataset("ruleshift", task="gp-vl")


def test_the_example() -> None:
    assert "expert 1.0, nonsense 0.0" in run_example("reasoning_gym_score.py")
