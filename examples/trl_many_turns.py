"""GRPO of TRL over whole conversations, feedback included; what is trained on is what the model wrote."""

import os
import sys
import tempfile
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"  # rollout_func is experimental

from trl import GRPOConfig, GRPOTrainer

import ruleshift
from ruleshift.integrations.places import ProblemRef
from ruleshift.integrations.trl import Rollouts, dataset, episode_reward

model = str(Path(ruleshift.__file__).parent / "backbones/bundled/text")
data = dataset(ProblemRef("gp-l", "train", style="stepwise", turns=3), 8, completions=False)
config = GRPOConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=64,
    num_generations=8,
    max_completion_length=80,
    max_steps=int(sys.argv[1]) if len(sys.argv) > 1 else 20,
    learning_rate=3e-4,
    lr_scheduler_type="constant",
    gradient_checkpointing=False,
    use_cpu=True,
    bf16=False,
    logging_steps=1,
    report_to=[],
    save_strategy="no",
)
trainer = GRPOTrainer(
    model, reward_funcs=[episode_reward], args=config, train_dataset=data, rollout_func=Rollouts(data)
)
trainer.train()
means = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
print("mean reward of a step:", *(f"{mean:.2f}" for mean in means))
