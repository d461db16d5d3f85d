"""verl: its agent loop with a stand-in for the server gives the verdicts of our own loop, and masks the feedback."""

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("verl", reason="verl is not installed")

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import DictConfigWrap, _agent_loop_registry
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

import ruleshift
from integration_helpers import PLACES, episode, replies, run_example
from ruleshift.integrations import verl
from ruleshift.integrations.places import ProblemRef
from ruleshift.integrations.verl_loop import RevisionLoop

pytestmark = pytest.mark.filterwarnings("ignore")  # of the library, and of what it imports
FOLDER = Path(ruleshift.__file__).parent / "backbones" / "bundled" / "text"
HYDRA = ("defaults", "hydra")  # not the library's
CONFIGS = Path(__file__).parent.parent / "examples"


def played(place: ProblemRef, said: list[str], room: int = 4096):
    """The output of the loop for these replies, and the tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(str(FOLDER))
    left = iter(said)

    class Server:
        async def generate(self, request_id, prompt_ids, sampling_params, image_data=None) -> TokenOutput:
            ids = tokenizer(next(left), add_special_tokens=False)["input_ids"]
            return TokenOutput(token_ids=[*ids, tokenizer.eos_token_id], log_probs=[-0.5] * (len(ids) + 1))

    rollout = {"prompt_length": 4096, "response_length": room}
    config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}, "data": {}})
    wraps = {"trainer_config": DictConfigWrap(config), "data_config": DictConfigWrap(config.data)}
    (row,) = list(verl.rows(place, place.index + 1))[-1:]

    async def main():
        loop = RevisionLoop(
            server_manager=Server(), tokenizer=tokenizer, processor=None, dataset_cls=RLHFDataset, **wraps
        )
        return await loop.run({}, raw_prompt=row["prompt"], **row)

    return asyncio.run(main()), tokenizer


@pytest.mark.parametrize(("place", "pattern"), [(ProblemRef("gp-l", "rule-ood", 3, 1, "terse"), "cn"), PLACES[4]])
def test_verdicts_are_those_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    # Of terse replies in the vocabulary of the bundled tokenizer; what else is said becomes unknown words.
    talk = episode(place, pattern.replace("n", "c"))
    output, tokenizer = played(place, replies(talk))
    assert output.extra_fields["turn_scores"] == [turn.verdict.reward for turn in talk.turns]
    assert output.reward_score == talk.total_reward
    sampled = [i for i, mask in zip(output.response_ids, output.response_mask, strict=True) if mask]
    said = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in replies(talk)]
    assert sampled == [token for ids in said for token in [*ids, tokenizer.eos_token_id]]
    assert len(output.response_logprobs) == len(output.response_ids)


def test_a_conversation_that_finds_no_room_ends() -> None:
    place = ProblemRef("gp-l", "rule-ood", 3, 1, "terse")
    output, _ = played(place, replies(episode(place, "c")), room=40)
    assert len(output.response_ids) <= 40
    assert len(output.extra_fields["turn_scores"]) < 5


def test_the_loop_is_registered() -> None:
    assert _agent_loop_registry["ruleshift"]["_target_"] == "ruleshift.integrations.verl_loop.RevisionLoop"


def library_config():
    """The library's own configuration, which refuses fields that it does not have."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        known = compose("ppo_trainer")
    OmegaConf.set_struct(known, True)
    return known


@pytest.mark.parametrize("name", ["verl_ppo", "verl_grpo"])
def test_configurations_are_read_and_have_known_fields(name: str) -> None:
    from hydra import compose, initialize_config_dir

    told = OmegaConf.load(CONFIGS / f"{name}.yaml")
    OmegaConf.merge(library_config(), OmegaConf.masked_copy(told, [key for key in told if key not in HYDRA]))
    with initialize_config_dir(str(CONFIGS), version_base=None):
        read = compose(name)
    assert read.algorithm.adv_estimator == ("gae" if "ppo" in name else "grpo")
    assert read.actor_rollout_ref.rollout.agent.default_agent_loop == "ruleshift"
    assert read.actor_rollout_ref.actor.strategy  # of the library
    (agent,) = OmegaConf.load(CONFIGS.parent / read.actor_rollout_ref.rollout.agent.agent_loop_config_path)
    assert agent == {"name": "ruleshift", "_target_": "ruleshift.integrations.verl_loop.RevisionLoop"}


def test_unknown_fields_are_found() -> None:
    with pytest.raises(ConfigKeyError):
        OmegaConf.merge(library_config(), OmegaConf.create({"trainer": {"no_such_field": 1}}))


def test_the_example() -> None:
    assert "rewards: [-2.0, -2.0, -2.0, -2.0, -3.0] sum: -11.0" in run_example("verl_loop.py")
