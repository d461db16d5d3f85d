"""The Gymnasium environments: the library's own checker, the verdicts of our own loop, the official conventions."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

import ruleshift.integrations.gymnasium
from integration_helpers import PLACES, episode, replies, run_example
from ruleshift import RuleshiftError
from ruleshift.integrations.places import ProblemRef

gymnasium.register_envs(ruleshift.integrations.gymnasium)

IDS = {"gp-l": "GeneralPoints", "gp-vl": "GeneralPointsVL", "virl-l": "Navigation", "virl-vl": "NavigationVL"}
ROOT = Path(__file__).resolve().parent.parent
CARDS, WALKS = "gym_cards/GeneralPoint-oneline-v0", "gym_virl/Navigation-v0"


def typed(page: str) -> list[str]:
    """The environments that the tables of a page say how to make."""
    return re.findall(r"`(gymnasium\.make\(.*?\))`", (ROOT / page).read_text())


@pytest.mark.parametrize("name", ["GeneralPoints", "GeneralPointsVL", "Navigation"])
def test_the_checker_finds_nothing(name: str) -> None:
    check_env(gymnasium.make(f"ruleshift/{name}-v1", style="terse").unwrapped)


@pytest.mark.slow
def test_the_checker_finds_nothing_in_walks_in_pictures() -> None:
    check_env(gymnasium.make("ruleshift/NavigationVL-v1", style="terse", size=64).unwrapped)


@pytest.mark.parametrize("name", [CARDS, WALKS])
def test_the_checker_finds_nothing_in_official_environments(name: str) -> None:
    more = {} if name == CARDS else {"language_only": False}
    check_env(gymnasium.make(name, resolution=64, **more).unwrapped)


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_verdicts_are_those_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    talk = episode(place, pattern)
    env = gymnasium.make(
        f"ruleshift/{IDS[place.task]}-v1", split=place.split, style=place.style, turns=place.turns or None
    )
    observation, info = env.reset(seed=place.seed, options={"index": place.index})
    for turn, reply in zip(talk.turns, replies(talk), strict=True):
        observation, reward, terminated, truncated, info = env.step(reply)
        verdict = turn.verdict
        assert (reward, info["outcome"], info["feedback"]) == (verdict.reward, verdict.outcome, verdict.feedback)
        assert (observation["text"] if place.task == "gp-vl" else observation) == verdict.feedback
    assert terminated == talk.solved
    assert truncated == (not talk.solved)
    assert info["id"] == talk.problem_id
    assert [message["content"] for message in info["messages"]] == [message.content for message in talk.messages]
    with pytest.raises(RuleshiftError, match="call reset"):
        env.step("more")


TYPED = [(page, made) for page in ("README.md", "docs/integrations.md") for made in typed(page)]


@pytest.mark.parametrize("made", sorted({made for _, made in TYPED}))
def test_what_the_tables_say_to_type_is_all_that_is_needed(made: str) -> None:
    assert {page for page, _ in TYPED} == {"README.md", "docs/integrations.md"}
    subprocess.run([sys.executable, "-c", f"import gymnasium; {made}.reset(seed=1)"], check=True)


def test_resets_walk_through_the_problems_of_a_seed() -> None:
    env = gymnasium.make("ruleshift/GeneralPoints-v1", split="id")
    ids = [env.reset(seed=7)[1]["id"], env.reset()[1]["id"], env.reset()[1]["id"], env.reset(seed=7)[1]["id"]]
    assert ids == ["gp-l/id/7/0", "gp-l/id/7/1", "gp-l/id/7/2", "gp-l/id/7/0"]


def test_an_unseeded_reset_draws_a_seed() -> None:
    ids = {gymnasium.make("ruleshift/GeneralPoints-v1").reset()[1]["id"] for _ in range(3)}
    assert len(ids) == 3


def test_rules_name_splits() -> None:
    env = gymnasium.make("ruleshift/GeneralPoints-v1", rule="shifted")
    assert env.reset(seed=1)[1]["id"] == "gp-l/rule-ood/1/0"
    refused = (
        {"rule": "other"},
        {"rule": "shifted", "split": "id"},
        {"turns": 0},
        {"colour": "red"},
        {"style": "terze"},
    )
    for wrong in refused:
        with pytest.raises(RuleshiftError):
            gymnasium.make("ruleshift/GeneralPoints-v1", **wrong)


def test_what_is_in_sight_stays_in_sight() -> None:
    env = gymnasium.make("ruleshift/GeneralPointsVL-v1", size=64)
    first = env.reset(seed=1)[0]
    later = env.step("I do not know.")[0]
    assert first["picture"].shape == (64, 64, 3)
    assert np.array_equal(first["picture"], later["picture"])
    assert first["text"] != later["text"]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_environments(mode: str) -> None:
    more = {"vector_kwargs": {"shared_memory": False}} if mode == "async" else {}
    env = gymnasium.make_vec(
        "ruleshift/GeneralPoints-v1", num_envs=3, vectorization_mode=mode, style="terse", turns=1, **more
    )
    prompts, info = env.reset(seed=5)
    assert list(info["id"]) == ["gp-l/train/5/0", "gp-l/train/6/0", "gp-l/train/7/0"]
    golds = [ProblemRef("gp-l", "train", 5 + n, 0, "terse").problem().gold() for n in range(3)]
    told, rewards, terminated, truncated, _ = env.step([golds[0], "x", golds[2]])
    assert prompts[0].startswith("J 10 Q 10 K 10 target 24 cards ")
    assert (told[0], told[2]) == ("right", "right")
    assert (terminated.tolist(), truncated.tolist()) == ([True, False, True], [False, True, False])
    assert rewards.tolist() == [5.0, -4.0, 5.0]
    env.close()


def test_shared_memory_is_refused_rather_than_stale() -> None:
    with pytest.raises(ValueError, match="shared_memory=False"):
        gymnasium.make_vec("ruleshift/GeneralPoints-v1", num_envs=2, vectorization_mode="async")


def test_official_cards_judge_five_replies_and_truncate_at_the_sixth() -> None:
    env = gymnasium.make(CARDS, resolution=64, treat_face_cards_as_10=False, ood=True)
    observation, info = env.reset(seed=1)
    assert observation.shape == (64, 64, 3)
    assert info["Verify Info"] is None
    assert any(rank in "JQK" for rank in info["Plain Cards"])
    for left in range(4, -1, -1):
        _, reward, done, truncated, info = env.step('{"cards": [], "number": [], "formula": "1+=24"}')
        assert (reward, done, truncated, info["Remaining Step"]) == (
            env.unwrapped.problem.submit('{"formula": "1+=24"}', False).reward,
            False,
            False,
            left,
        )
    _, reward, done, truncated, info = env.step(f'{{"formula": "{info["Solution"][0]}"}}')
    assert (reward, done, truncated, info["Verify Info"]) == (-1.0, False, True, "step_limit_reached")


def test_official_cards_in_pictures_look_at_the_cards_before_the_formula() -> None:
    env = gymnasium.make(CARDS, resolution=64, language_only=False, face_cards_color="red")
    _, info = env.reset(seed=2)
    assert {card[0] for card in info["Cards"]} <= {"H", "D"}
    legal = "+".join(map(str, info["Numbers"]))
    rewards = {info["Solution"][0]: 5.0, legal: -1.0, "99+1": -4.0, legal.replace("+", "++", 1): -3.0}

    def earned(formula: str, cards: list[str]) -> float:
        env.reset(seed=2)
        return env.step(json.dumps({"cards": cards, "number": [1], "formula": f"{formula}=24"}))[1]

    for formula, reward in rewards.items():
        assert earned(formula, ["A", "A", "A", "A"]) == -1.5
        assert earned(formula, info["Plain Cards"][::-1]) == reward
    told = gymnasium.make(CARDS, resolution=64)
    told.reset(seed=2)
    assert told.step(json.dumps({"cards": ["A"], "formula": f"{info['Solution'][0]}=24"}))[1] == 5.0


def test_official_walks_take_a_right_observation_of_an_intersection_for_a_wrong_one() -> None:
    env = gymnasium.make(WALKS)
    _, info = env.reset(seed=1, options={"route_idx": 3})
    earned: dict[bool, set[float]] = {True: set(), False: set()}
    done = False
    while not done:
        intersection = "You observe an intersection" in info["current_obs"]
        wrong = "forward()" if info["gt_action"] == "stop()" else "stop()"
        reply = {"current observation": info["current_obs"], "action": wrong}
        earned[intersection].add(env.step(json.dumps(reply))[1])
        _, reward, done, _, info = env.step(json.dumps({"current observation": "x", "action": info["gt_action"]}))
        assert reward == 1.0
    assert earned == {True: {-1.5}, False: {-1.0}}


def test_official_walks_begin_anew_after_a_right_action() -> None:
    env = gymnasium.make(WALKS, absolute_action=False)
    observation, info = env.reset(seed=1, options={"route_idx": 3})
    done, steps = False, 0
    while not done:
        reply = {"current observation": info["current_obs"], "action": info["gt_action"]}
        observation, reward, done, truncated, info = env.step(json.dumps(reply))
        steps += 1
        assert (observation, reward, truncated) == (None, 1.0, False)
        assert "Correct action" in info["Verify Info"]
    assert info["is_success"]
    assert info["obs_act_seq"].count("A_") == steps


def test_official_walks_truncate_at_the_third_reply() -> None:
    env = gymnasium.make(WALKS, language_only=False, resolution=32)
    observation, _ = env.reset(seed=1)
    assert observation.shape == (69, 69, 3)
    steps = [env.step('{"action": "fly()"}')[1:4] for _ in range(3)]
    assert steps == [(-1.0, False, False), (-1.0, False, False), (-1.0, False, True)]


@pytest.mark.parametrize("name", ["gymnasium_random.py", "gymnasium_official.py"])
def test_examples(name: str) -> None:
    assert "solved:" in run_example(name)
