"""Sample efficiency: episodes and seconds to a gain of the training rule, per algorithm, beside TRL's GRPOTrainer.

    python benchmarks/efficiency.py
    python benchmarks/efficiency.py --names ppo rloo trl --rates 3e-4 1e-3 --seeds 3

Everyone starts from the same model, sees one turn of the same hands of `gp-l`, samples as many replies an update at
temperature 1 up to the same length, and is scored by the same verifier. Ours have the settings of the task's recipe and
of their entry; `trl` has the defaults of `GRPOConfig` but for what is named here: size of the batch, length of replies,
learning rate. After every few updates the sampled success on `id-val` is measured; that time is not counted. For each
name the rate counts whose seeds come to the gain in the fewest episodes on average; a run that never does counts as one
that would need twice the budget.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments
from trl import GRPOConfig, GRPOTrainer

from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.integrations.places import ProblemRef
from ruleshift.integrations.trl import dataset, reward
from ruleshift.quiet import quiet_libraries
from ruleshift.settings import RLConfig
from ruleshift.studies.recipes import recipe_of
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import ALGORITHMS, configured
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine
from timing import print_json, print_table

TASK, SPLIT = "gp-l", "id-val"


@dataclass
class Clock:
    """Measures the success of a model while its training stands still, until it has gained enough."""

    backbone: Backbone
    arguments: argparse.Namespace
    start: float
    seconds: float = 0.0
    reached: tuple[int, float] | None = None  # episodes, seconds
    last: float = 0.0
    running: float = field(default_factory=time.perf_counter)

    def look(self, updates: int) -> bool:
        """After this many updates; whether enough was gained, or all were made."""
        if updates % self.arguments.every and updates < self.arguments.updates:
            return False
        self.seconds += time.perf_counter() - self.running
        self.last = success(self.backbone, self.arguments)
        if self.last - self.start >= self.arguments.gain:
            self.reached = updates * self.arguments.episodes, self.seconds
        self.running = time.perf_counter()
        return self.reached is not None or updates >= self.arguments.updates


def success(backbone: Backbone, arguments: argparse.Namespace) -> float:
    """The share of hands of ID validation that one sampled reply solves."""
    was_training = backbone.model.training
    backbone.model.eval()
    sampling = Sampling(1.0, arguments.max_new_tokens, seed=0)
    engine = LocalEngine(backbone.model, backbone.chat, sampling, 256)
    episodes = evaluate(engine, get_task(TASK), SPLIT, arguments.n, 1, backbone.style, seed=5_000)
    backbone.model.train(was_training)
    return statistics.fmean(episode.solved for episode in episodes)


def train_ours(backbone: Backbone, config: RLConfig, clock: Clock) -> None:
    engine = local_engine(backbone.model, backbone.chat, config)
    rl = RL(backbone.model, backbone.chat, Rollout(get_task(TASK), backbone.style, config, engine))
    updates = 0
    clock.running = time.perf_counter()
    while updates == 0 or not clock.look(updates):
        rl.update()
        updates += 1


@dataclass
class Looking(TrainerCallback):
    """Looks after each of TRL's updates, which are `steps` optimiser steps."""

    clock: Clock
    steps: int

    def on_train_begin(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        self.clock.running = time.perf_counter()

    def on_step_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        if state.global_step % self.steps == 0:
            control.should_training_stop = self.clock.look(state.global_step // self.steps)


def train_trl(backbone: Backbone, rate: float, seed: int, clock: Clock) -> None:
    arguments = clock.arguments
    place = ProblemRef(TASK, "train", seed=seed, style=backbone.style, turns=1)
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            max_steps=arguments.updates,
            per_device_train_batch_size=arguments.episodes,
            max_completion_length=arguments.max_new_tokens,
            learning_rate=rate,
            seed=seed,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,  # as ours
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        hands = arguments.updates * arguments.episodes // settings.num_generations
        trainer = GRPOTrainer(
            model=backbone.model,
            reward_funcs=[reward],  # type: ignore[list-item]
            args=settings,
            train_dataset=dataset(place, hands, completions=False),
            processing_class=backbone.chat.tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        steps = settings.gradient_accumulation_steps * settings.num_iterations
        trainer.add_callback(Looking(clock, max(1, steps)))
        trainer.train()


def training(name: str, rate: float, seed: int, arguments: argparse.Namespace) -> Callable[[Backbone, Clock], None]:
    """How the one of this name is trained."""
    if name == "trl":
        return lambda backbone, clock: train_trl(backbone, rate, seed, clock)
    usual = replace(recipe_of(TASK).rl, turns=1, max_new_tokens=arguments.max_new_tokens, seed=seed)
    config = replace(
        configured(usual, name), learning_rate=rate, episodes=arguments.episodes, updates=arguments.updates
    )
    return lambda backbone, clock: train_ours(backbone, config, clock)


def run(name: str, rate: float, seed: int, start: float, arguments: argparse.Namespace) -> Clock:
    """One training."""
    backbone = load_backbone(arguments.model, device="cpu", dtype="float32")
    clock = Clock(backbone, arguments, start)
    training(name, rate, seed, arguments)(backbone, clock)
    return clock


def row_of(name: str, start: float, arguments: argparse.Namespace) -> list[object]:
    """The row of one name, at its best rate."""
    budget = arguments.updates * arguments.episodes
    tried = {
        rate: [run(name, rate, seed, start, arguments) for seed in range(arguments.seeds)] for rate in arguments.rates
    }

    def cost(rate: float) -> float:
        return statistics.fmean(clock.reached[0] if clock.reached else 2 * budget for clock in tried[rate])

    best = min(tried, key=cost)
    reached = [clock.reached for clock in tried[best] if clock.reached]
    took = [statistics.fmean(values) for values in zip(*reached, strict=True)] if reached else ["never", "never"]
    last = 100 * statistics.fmean(clock.last for clock in tried[best])
    return [name, f"{best:g}", *took, f"{len(reached)} of {arguments.seeds}", last]


def main() -> None:
    names = [*ALGORITHMS, "trl"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help='"bundled", a folder or a hub id')
    parser.add_argument("--names", nargs="+", choices=names, default=names, help="whom to train (default: all)")
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4, 3e-4, 1e-3], help="learning rates to try")
    parser.add_argument("--seeds", type=int, default=1, help="trainings at every rate (default: %(default)s)")
    parser.add_argument("--gain", type=float, default=0.1, help="what is to be gained (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=40, help="most updates (default: %(default)s)")
    parser.add_argument("--every", type=int, default=2, help="updates between two looks (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=512, help="replies in an update (default: %(default)s)")
    parser.add_argument("--n", type=int, default=400, help="hands that are measured (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=80, help="longest reply (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    arguments = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(arguments.threads)
    try:
        start = success(load_backbone(arguments.model, device="cpu"), arguments)
        rows = [row_of(name, start, arguments) for name in arguments.names]
    except RuleshiftError as error:
        sys.exit(str(error))
    header = ("trained by", "rate", "episodes", "seconds", "runs that came there", "success at the end, %")
    goal = f"{100 * arguments.gain:.0f} points on {SPLIT}, from {100 * start:.1f}"
    print_table(f"{arguments.model}: episodes and seconds to a gain of {goal}", header, rows)
    print_json("efficiency", vars(arguments), {str(row[0]): row[1:] for row in rows})


if __name__ == "__main__":
    main()
