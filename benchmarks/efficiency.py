"""Sample efficiency: episodes and seconds to a gain of the training rule, per algorithm, beside TRL's GRPOTrainer.

    python benchmarks/efficiency.py
    python benchmarks/efficiency.py --names ppo rloo trl --rates 3e-4 1e-3 --seeds 3 --json efficiency.json

Everyone starts from the same model, sees one turn of the same hands of `gp-l`, samples as many replies an update at
temperature 1 up to the same length, and is scored by the same verifier. Ours have the settings of the task's recipe and
of their entry; `trl` has the defaults of `GRPOConfig` but for what is named here: size of the batch, length of replies,
learning rate. Who takes one step an update, as `trl` does, is tried at ten times the rates, as in the studies. After
every few updates the sampled success on `id-val` is measured; that time is not counted. For each name the rate counts
whose seeds come to the gain in the fewest episodes on average, those that were drawn and not learned from among them; a
run that never does counts as one that would need twice the budget. `--json` writes down all runs, anew after each one,
and makes none again that the file has.
"""

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments
from trl import GRPOConfig, GRPOTrainer

from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.files import write_atomically
from ruleshift.integrations.places import ProblemRef
from ruleshift.integrations.trl import dataset, reward
from ruleshift.quiet import quiet_libraries
from ruleshift.runs import environment
from ruleshift.settings import RLConfig
from ruleshift.studies.chosen import grid_of, higher
from ruleshift.studies.recipes import recipe_of
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import ALGORITHMS, configured
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine
from timing import machine, print_json, print_table

TASK, SPLIT = "gp-l", "id-val"
NAMES = (*ALGORITHMS, "trl")
HEADER = ("trained by", "rate", "episodes", "seconds", "runs that came there", "success at the end, %")


@dataclass(frozen=True)
class Trained:
    """One training: the episodes and seconds to the gain (None where it never came there), and the success at its
    end."""

    name: str
    rate: float
    seed: int
    episodes: int | None
    seconds: float | None
    success: float


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

    def look(self, updates: int, episodes: int) -> bool:
        """After this many updates, for which so many episodes were drawn; whether enough was gained, or all were
        made."""
        if updates % self.arguments.every and updates < self.arguments.updates:
            return False
        self.seconds += time.perf_counter() - self.running
        self.last = success(self.backbone, self.arguments)
        if self.last - self.start >= self.arguments.gain:
            self.reached = episodes, self.seconds
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
    updates, drawn = 0, 0
    clock.running = time.perf_counter()
    while updates == 0 or not clock.look(updates, drawn):
        drawn += int(rl.update()["drawn_episodes"])
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
            updates = state.global_step // self.steps
            control.should_training_stop = self.clock.look(updates, updates * self.clock.arguments.episodes)


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


def config_of(name: str, arguments: argparse.Namespace) -> RLConfig:
    """The settings of one of ours."""
    usual = replace(recipe_of(TASK).rl, turns=1, max_new_tokens=arguments.max_new_tokens)
    return replace(configured(usual, name), episodes=arguments.episodes, updates=arguments.updates)


def rates_of(name: str, arguments: argparse.Namespace) -> list[float]:
    """The rates at which the one of this name is tried. TRL's trainer takes one step an update."""
    if name == "trl":
        return [higher(rate) for rate in sorted(set(arguments.rates))]
    return grid_of(config_of(name, arguments), arguments.rates)


def training(name: str, rate: float, seed: int, arguments: argparse.Namespace) -> Callable[[Backbone, Clock], None]:
    """How the one of this name is trained."""
    if name == "trl":
        return lambda backbone, clock: train_trl(backbone, rate, seed, clock)
    config = replace(config_of(name, arguments), learning_rate=rate, seed=seed)
    return lambda backbone, clock: train_ours(backbone, config, clock)


def run(name: str, rate: float, seed: int, start: float, arguments: argparse.Namespace) -> Trained:
    """One training."""
    backbone = load_backbone(arguments.model, device="cpu", dtype="float32")
    clock = Clock(backbone, arguments, start)
    training(name, rate, seed, arguments)(backbone, clock)
    episodes, seconds = clock.reached or (None, None)
    return Trained(name, rate, seed, episodes, seconds, clock.last)


def best_rate(runs: Sequence[Trained], budget: int) -> float:
    """The rate whose runs come to the gain in the fewest episodes on average, the smallest of such rates."""

    def cost(rate: float) -> float:
        return statistics.fmean(run.episodes or 2 * budget for run in runs if run.rate == rate)

    return min(sorted({run.rate for run in runs}), key=cost)


def row_of(runs: Sequence[Trained], budget: int) -> list[object]:
    """The row of one name, at its best rate."""
    best = best_rate(runs, budget)
    counted = [run for run in runs if run.rate == best]
    reached = [(run.episodes, run.seconds) for run in counted if run.episodes and run.seconds]
    took = [statistics.fmean(values) for values in zip(*reached, strict=True)] if reached else ["never", "never"]
    last = 100 * statistics.fmean(run.success for run in counted)
    return [runs[0].name, f"{best:g}", *took, f"{len(reached)} of {len(counted)}", last]


def settings_of(arguments: argparse.Namespace) -> dict[str, object]:
    """All options but where to write."""
    return {name: value for name, value in vars(arguments).items() if name != "json"}


def kept_runs(arguments: argparse.Namespace) -> list[Trained]:
    """Those in the file for all runs. Raises RuleshiftError for another file, and where they are of other settings than
    those that tell runs of a file apart."""
    path: Path | None = arguments.json
    if path is None or not path.is_file():
        return []
    apart = {"names": 0, "rates": 0, "seeds": 0}
    try:
        content = json.loads(path.read_bytes())
        settings, runs = content["settings"] | apart, [Trained(**run) for run in content["runs"]]
    except (ValueError, LookupError, TypeError) as error:
        raise RuleshiftError(f"{path} is no file of this benchmark: name another one") from error
    if settings != settings_of(arguments) | apart:
        raise RuleshiftError(f"{path} has runs of other settings: name another file, or delete it")
    return runs


def record(start: float, runs: Sequence[Trained], arguments: argparse.Namespace) -> dict[str, object]:
    """What was measured, as JSON holds it: the table, every run, and on what."""
    budget = arguments.updates * arguments.episodes
    by_name = {name: mine for name in NAMES if (mine := [run for run in runs if run.name == name])}
    here = environment()
    return {
        "task": TASK,
        "split": SPLIT,
        "start": start,
        "budget": budget,
        "columns": HEADER,
        "rows": [row_of(mine, budget) for mine in by_name.values()],
        "runs": [asdict(run) for run in runs],
        "settings": settings_of(arguments),
        "command": shlex.join(["python", *sys.argv]),
        "commit": here["git_commit"],
        "versions": here["packages"],
        "machine": machine(),
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help='"bundled", a folder or a hub id')
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES, help="whom to train (default: all)")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[1e-4, 3e-4, 1e-3], help="learning rates to try, or ten times these"
    )
    parser.add_argument("--seeds", type=int, default=1, help="trainings at every rate (default: %(default)s)")
    parser.add_argument("--gain", type=float, default=0.1, help="what is to be gained (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=40, help="most updates (default: %(default)s)")
    parser.add_argument("--every", type=int, default=2, help="updates between two looks (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=512, help="replies in an update (default: %(default)s)")
    parser.add_argument("--n", type=int, default=400, help="hands that are measured (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=80, help="longest reply (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for all runs")
    arguments = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(arguments.threads)
    try:
        runs = kept_runs(arguments)
        made = {(run.name, run.rate, run.seed) for run in runs}
        start = success(load_backbone(arguments.model, device="cpu"), arguments)
        asked = [(n, r, s) for n in arguments.names for r in rates_of(n, arguments) for s in range(arguments.seeds)]
        for name, rate, seed in (one for one in asked if one not in made):
            runs.append(run(name, rate, seed, start, arguments))
            if arguments.json is not None:
                write_atomically(arguments.json, json.dumps(record(start, runs, arguments), indent=1) + "\n")
    except RuleshiftError as error:
        sys.exit(str(error))
    budget = arguments.updates * arguments.episodes
    rows = [row_of([one for one in runs if one.name == name], budget) for name in dict.fromkeys(arguments.names)]
    goal = f"{100 * arguments.gain:.0f} points on {SPLIT}, from {100 * start:.1f}"
    print_table(f"{arguments.model}: episodes and seconds to a gain of {goal}", HEADER, rows)
    print_json("efficiency", settings_of(arguments), {str(row[0]): row[1:] for row in rows})


if __name__ == "__main__":
    main()
