"""TRL: rewards, the environment and the rollouts give the verdicts of our own loop; GRPO and RLOO learn."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from integration_helpers import PLACES, episode, replies, run_example
from ruleshift import RuleshiftError, load_backbone, revise
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.integrations import trl
from ruleshift.integrations.places import ProblemRef, options_text
from ruleshift.pictures import pixels_of

SMALL = ProblemRef("gp-l", "train", style="terse", turns=3)


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_the_reward_of_a_first_reply_is_the_verdict_on_it(place: ProblemRef, pattern: str) -> None:
    first = episode(place, pattern).turns[0]
    row = {name: [value, value] for name, value in place.row().items()}
    said = [first.completion.text, [{"role": "assistant", "content": first.completion.text}]]
    assert trl.reward(completions=said, prompts=None, trainer_state=None, **row) == [first.verdict.reward] * 2
    assert trl.solved(completions=said, **row) == [float(first.verdict.solved or first.verdict.advanced)] * 2


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_the_environment_gives_the_verdicts_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    talk, env = episode(place, pattern), trl.ToolEnvironment()
    shown = env.reset(**place.row())
    assert shown == talk.messages[0].content or shown[-1]["text"] == talk.messages[0].content
    for turn, reply in zip(talk.turns, replies(talk), strict=True):
        assert env.submit_reply(reply) == turn.verdict.feedback
    assert env.get_reward() == talk.total_reward
    with pytest.raises(ValueError, match="has ended"):
        env.submit_reply("more")
    assert env.reset(prompt=[{"role": "user", "content": "as above"}], **place.row()) is None


@pytest.mark.slow
def test_tools_return_what_is_seen_next() -> None:
    place, env = ProblemRef("virl-vl", style="terse", options=options_text({"size": 32})), trl.ToolEnvironment()
    first, told = env.reset(**place.row())
    assert (first["type"], first["image"].size, told["type"]) == ("image", (32, 32), "text")
    problem = place.problem()
    verdict = problem.submit(problem.gold(), last=False)
    seen, told = env.submit_reply(place.problem().gold())
    assert np.array_equal(np.asarray(seen["image"]), pixels_of(verdict.pictures[0]))
    assert told["text"] == verdict.feedback


def test_who_never_answers_earns_what_an_empty_reply_earns() -> None:
    env = trl.ToolEnvironment()
    env.reset(**SMALL.row())
    assert env.get_reward() == SMALL.problem().submit("", last=True).reward < 0
    with pytest.raises(RuleshiftError, match="reset"):
        trl.ToolEnvironment().get_reward()


def test_the_tool_has_a_schema() -> None:
    from transformers.utils import get_json_schema

    schema = get_json_schema(trl.ToolEnvironment().submit_reply)["function"]
    assert schema["name"] == "submit_reply"
    assert schema["parameters"]["required"] == ["reply"]


def test_rollouts_are_our_own_conversations_token_for_token() -> None:
    backbone = load_backbone("bundled")
    tokenizer = backbone.chat.tokenizer
    data = trl.dataset(SMALL, 2, completions=False)
    prompts = [data[0]["prompt"], data[0]["prompt"], data[1]["prompt"]]
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, num_processes=1, process_index=0)
    trainer = SimpleNamespace(
        model=backbone.model, processing_class=tokenizer, accelerator=accelerator, state=SimpleNamespace(global_step=4)
    )
    made = trl.Rollouts(data)(prompts, trainer)
    engine = LocalEngine(backbone.model, backbone.chat, Sampling(1.0, 48, 4), 3)
    problems = [SMALL.at(index).problem() for index in (0, 0, 1)]
    talks = revise(problems, engine, 3, samples=[0, 1, 0])
    assert made["episode_reward"] == [talk.total_reward for talk in talks]
    assert trl.episode_reward(**made) == made["episode_reward"]
    for number, talk in enumerate(talks):
        ids = made["prompt_ids"][number] + made["completion_ids"][number]
        assert ids == list(talk.token_ids)
        sampled = [token for turn in talk.turns for token in turn.completion.token_ids]
        kept = zip(made["completion_ids"][number], made["env_mask"][number], strict=True)
        assert [token for token, mask in kept if mask] == sampled
        assert len(made["logprobs"][number]) == len(made["completion_ids"][number])
    assert made["completion_ids"][0] != made["completion_ids"][1]


def test_rollouts_refuse_pictures() -> None:
    data = trl.dataset(ProblemRef("gp-vl", style="terse", options=options_text({"size": 32})), 1, completions=False)
    assert data[0]["images"][0].size == (32, 32)
    with pytest.raises(RuleshiftError, match="ToolEnvironment"):
        trl.Rollouts(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trl_grpo.py", "trl_rloo.py", "trl_many_turns.py"])
def test_examples_learn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        means = [float(mean) for mean in run_example(name, 12).rpartition("step: ")[2].split()]
    assert len(means) == 12
    assert sum(means[-3:]) / 3 > sum(means[:2]) / 2 + 1.0
