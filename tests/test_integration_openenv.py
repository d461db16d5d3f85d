"""OpenEnv: the verdicts of our own loop, in process and through a server."""

import pytest

pytest.importorskip("openenv.core", reason="openenv is not installed")

from integration_helpers import PLACES, episode, replies, run_example
from ruleshift import RuleshiftError
from ruleshift.integrations.openenv import ReplyAction, ServedRevision
from ruleshift.integrations.places import ProblemRef, facts

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library, and of what it imports


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_verdicts_are_those_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    talk, env = episode(place, pattern), ServedRevision(place)
    seen = env.reset(seed=place.seed, index=place.index)
    assert (seen.problem, seen.text) == (talk.problem_id, talk.messages[0].content)
    assert len(seen.pictures) == len(talk.messages[0].pictures)
    for turn, reply in zip(talk.turns, replies(talk), strict=True):
        seen = env.step(ReplyAction(reply=reply))
        assert (seen.reward, seen.verdict, seen.text) == (
            turn.verdict.reward,
            facts(turn.verdict),
            turn.verdict.feedback,
        )
    assert (seen.done, seen.truncated) == (True, not talk.solved)
    assert env.state.step_count == len(talk.turns)
    with pytest.raises(RuleshiftError, match="reset"):
        env.step(ReplyAction(reply="more"))


def test_resets_walk_through_the_problems_of_a_seed() -> None:
    env = ServedRevision(ProblemRef("gp-l", "id"))
    ids = [env.reset(seed=7).problem, env.reset().problem, env.reset(split="rule-ood").problem]
    assert ids == ["gp-l/id/7/0", "gp-l/id/7/1", "gp-l/rule-ood/7/2"]
    assert "rule-ood" in env.list_splits()


def test_the_example_goes_through_a_server() -> None:
    told = run_example("openenv_server.py").splitlines()
    assert told[-2].startswith("-3.0 False No formula was found.")
    assert told[-1].startswith("5.0 True Correct")
