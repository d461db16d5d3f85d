"""Speed of a whole training update: our single-turn PPO against TRL's GRPOTrainer.

    python benchmarks/grpo.py
    python benchmarks/grpo.py --model PATH --episodes 256

Both start from the same weights, see the same prompts (each `--group` times, as GRPO wants), sample as many replies at
temperature 1 up to the same length, score them with the same verifier, and take as many optimiser steps over them
(2 passes, 2 steps each) with the same clip and the same KL to the start model (0 in both with `--kl 0`; ours then still
reads the start model, to report the KL). Learning rates are so low that reply lengths stay what they are. Ours learns a
value head on top, which GRPO has none of.

The two take turns inside one run: after every update of TRL, from a callback of its trainer, ours makes one. An update
of TRL is timed from the end of ours to the end of its last optimiser step. The first update of each is not counted.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import GRPOConfig, GRPOTrainer

from engine import load
from ruleshift.backbones.load import Backbone
from ruleshift.errors import RuleshiftError
from ruleshift.quiet import quiet_libraries
from ruleshift.settings import RLConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task, TaskProblem
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine
from timing import print_json, print_table, seconds

LEARNING_RATE = 1e-6
EPOCHS = MINIBATCHES = 2


@dataclass
class TakingTurns(TrainerCallback):
    """Times the updates of the trainer, and of `ours` in between."""

    ours: RL
    steps: int  # optimiser steps in an update
    times: dict[str, list[float]] = field(default_factory=lambda: {"ruleshift": [], "trl": []})
    metrics: list[dict[str, float]] = field(default_factory=list)
    started: float = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self.started = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        if state.global_step % self.steps == 0:
            self.times["trl"].append(time.perf_counter() - self.started)
            self.times["ruleshift"].append(seconds(lambda: self.metrics.append(self.ours.update())))
            self.started = time.perf_counter()


def our_trainer(backbone: Backbone, task: Task, arguments: argparse.Namespace) -> RL:
    """Our side: one turn; everything not named here is the default."""
    config = RLConfig(
        episodes=arguments.episodes,
        group=arguments.group,
        turns=1,
        max_new_tokens=arguments.max_new_tokens,
        learning_rate=LEARNING_RATE,
        warmup=0,
        value_only=0,
        epochs=EPOCHS,
        minibatches=MINIBATCHES,
        kl_coef=arguments.kl,
        target_kl=None,
        split="train",
        seed=arguments.seed,
    )
    rollout = Rollout(task, backbone.style, config, local_engine(backbone.model, backbone.chat, config))
    return RL(backbone.model, backbone.chat, rollout)


def grpo(backbone: Backbone, task: Task, folder: Path, arguments: argparse.Namespace) -> GRPOTrainer:
    """Their side, from the same weights by way of a folder."""
    backbone.model.save_pretrained(folder / "model")
    backbone.chat.tokenizer.save_pretrained(folder / "model")
    updates = arguments.updates + 1

    def problem(index: int) -> TaskProblem:
        return task.problem("train", arguments.seed, index, backbone.style)

    def reward(completions: list[list[dict[str, str]]], index: list[int], **kwargs: object) -> list[float]:
        replies = [completion[0]["content"] for completion in completions]
        return [problem(i).submit(reply, True).reward for i, reply in zip(index, replies, strict=True)]

    prompts = range(updates * arguments.episodes // arguments.group)
    dialogues = [[{"role": m.role, "content": m.content} for m in problem(i).context()] for i in prompts]
    settings = GRPOConfig(
        output_dir=str(folder / "trainer"),
        max_steps=updates * EPOCHS * MINIBATCHES,
        per_device_train_batch_size=arguments.episodes // MINIBATCHES,
        gradient_accumulation_steps=1,
        steps_per_generation=MINIBATCHES,
        num_iterations=EPOCHS,
        num_generations=arguments.group,
        max_completion_length=arguments.max_new_tokens,
        temperature=1.0,
        beta=arguments.kl,
        epsilon=0.2,
        loss_type="grpo",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.5,
        shuffle_dataset=False,
        seed=arguments.seed,
        use_cpu=backbone.model.device.type == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    return GRPOTrainer(
        model=str(folder / "model"),
        reward_funcs=reward,
        args=settings,
        train_dataset=Dataset.from_dict({"prompt": dialogues, "index": list(prompts)}),
        processing_class=backbone.chat.tokenizer,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help='"bundled", a folder, a hub id, or "untrained"')
    parser.add_argument("--episodes", type=int, default=192, help="replies in an update (default: %(default)s)")
    parser.add_argument("--group", type=int, default=8, help="replies to a prompt (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=5, help="updates that count (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=36, help="longest reply (default: %(default)s)")
    parser.add_argument("--kl", type=float, default=0.05, help="weight of the KL in both (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of deals and samples (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.episodes % (MINIBATCHES * arguments.group):
        parser.error(f"--episodes must be a multiple of {MINIBATCHES} times --group")
    quiet_libraries()
    torch.set_num_threads(arguments.threads)
    try:
        backbone = load(arguments.model)
    except RuleshiftError as error:
        sys.exit(f"{error}\n(--model untrained measures the bundled shape with random weights)")
    task = get_task("gp-l")
    with tempfile.TemporaryDirectory() as folder:
        trainer = grpo(backbone, task, Path(folder), arguments)
        turns = TakingTurns(our_trainer(backbone, task, arguments), EPOCHS * MINIBATCHES)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(turns)
        trainer.train()
    rates = {name: [arguments.episodes / took for took in times[1:]] for name, times in turns.times.items()}
    ratios = [ours / theirs for ours, theirs in zip(rates["ruleshift"], rates["trl"], strict=True)]
    results = {name: statistics.median(rate) for name, rate in rates.items()} | {"ratio": statistics.median(ratios)}
    results["reply_tokens"] = statistics.median(metrics["reply_tokens"] for metrics in turns.metrics)
    header = ("episodes/s, rollout and update", "ruleshift PPO", "TRL GRPO", "times faster", "tokens a reply")
    print_table(f"{arguments.model}, {arguments.threads} threads", header, [["median", *results.values()]])
    print_json("grpo", vars(arguments), results)


if __name__ == "__main__":
    main()
