"""RLOO of TRL on eight hands of GeneralPoints, with the bundled model, on a CPU: the reward rises within a minute."""

import sys
import tempfile
from pathlib import Path

from trl import RLOOConfig, RLOOTrainer

import ruleshift
from ruleshift.integrations.places import ProblemRef
from ruleshift.integrations.trl import dataset, reward, solved

model = str(Path(ruleshift.__file__).parent / "backbones/bundled/text")  # or a folder, or a hub id with style="full"
data = dataset(ProblemRef("gp-l", "train", style="stepwise", turns=1), 8, completions=False)
config = RLOOConfig(
    output_dir=tempfile.mkdtemp(),
    per_device_train_batch_size=64,
    num_generations=8,
    max_completion_length=80,
    max_steps=int(sys.argv[1]) if len(sys.argv) > 1 else 20,
    learning_rate=3e-4,
    lr_scheduler_type="constant",
    reward_weights=[1.0, 0.0],  # the share solved is logged only
    gradient_checkpointing=False,
    use_cpu=True,
    bf16=False,
    logging_steps=1,
    report_to=[],
    save_strategy="no",
)
trainer = RLOOTrainer(model, reward_funcs=[reward, solved], args=config, train_dataset=data)
trainer.train()
means = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
print("mean reward of a step:", *(f"{mean:.2f}" for mean in means))
