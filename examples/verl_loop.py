"""verl's agent loop on a CPU: its own classes, and a stand-in for the server that always says the same."""

import asyncio
from pathlib import Path

from omegaconf import OmegaConf
from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

import ruleshift
from ruleshift.integrations.places import ProblemRef
from ruleshift.integrations.verl import rows
from ruleshift.integrations.verl_loop import RevisionLoop

tokenizer = AutoTokenizer.from_pretrained(str(Path(ruleshift.__file__).parent / "backbones/bundled/text"))


class Server:
    async def generate(self, request_id, prompt_ids, sampling_params, **media) -> TokenOutput:
        ids = tokenizer('{"cards":["6"],"number":[6],"formula":"6+6=24"}', add_special_tokens=False)["input_ids"]
        return TokenOutput(token_ids=[*ids, tokenizer.eos_token_id], log_probs=[-1.0] * (len(ids) + 1))


rollout = {"prompt_length": 256, "response_length": 512}
config = OmegaConf.create({"actor_rollout_ref": {"rollout": rollout}, "data": {}})
row = next(rows(ProblemRef("gp-l", "rule-ood", style="stepwise"), 1))
wraps = {"trainer_config": DictConfigWrap(config), "data_config": DictConfigWrap(config.data)}


async def main():
    loop = RevisionLoop(server_manager=Server(), tokenizer=tokenizer, processor=None, dataset_cls=RLHFDataset, **wraps)
    return await loop.run({}, raw_prompt=row["prompt"], **row)


output = asyncio.run(main())
print(tokenizer.decode(output.prompt_ids + output.response_ids))
print("trained on:", sum(output.response_mask), "of", len(output.response_mask), "tokens")
print("rewards:", output.extra_fields["turn_scores"], "sum:", output.reward_score)
