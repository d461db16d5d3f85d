"""`ruleshift sft` and `ruleshift rl`: one training run in a folder of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.commands.checks import check_folder, check_training
from ruleshift.training.config import PPO_PRESETS, SFT_PRESETS, PPOConfig, SFTConfig

if TYPE_CHECKING:
    from ruleshift.backbones.load import Backbone
    from ruleshift.commands.bars import Bar
    from ruleshift.commands.trackers import Trackers
    from ruleshift.runs import RunFolder
    from ruleshift.tasks.protocol import Task

Follow = Callable[[int, Mapping[str, float]], None]
RESUMES = "the work up to the last checkpoint is kept; run the same command again to go on from there"


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning of a model on expert replies, with TRL; the loss is on replies only.
    --out becomes a run folder: config.json, metrics.jsonl, checkpoints, and in the end `model` in Hugging Face format.
    A killed run goes on where it was when the command is given again. Options left out take the values of --preset.

    Example: ruleshift sft gp-l --model bundled --out runs/sft --steps 300 --learning-rate 1e-4
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task id: gp-l or virl-l."""
    out: Path
    """Run folder; made if need be."""
    model: str = "bundled"
    """Start model: bundled, a model folder, or a hub id."""
    preset: Literal["tiny", "paper"] = "tiny"
    """Values of the options below for this task: tiny for the bundled model, paper as in arXiv 2501.17161."""
    tracker: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Also send the metrics to tensorboard, wandb, trackio ...; give it again for several."""
    training: Annotated[SFTConfig, tyro.conf.arg(name="")] = SFT_PRESETS["gp-l"]["tiny"]

    stopped: ClassVar[str] = RESUMES

    def run(self) -> None:
        def train(start: "Backbone", task: "Task", run: "RunFolder", follow: Follow) -> None:
            from ruleshift.training.sft import train_sft

            train_sft(start.model, start.chat, task, start.style, self.training, run, progress=follow)

        _train(self, "sft", self.training, self.training.steps, train)


@dataclass(frozen=True)
class Rl:
    """Multi-turn PPO: the model answers, the verifier's feedback joins the conversation, and the rewards of all turns
    train it. --out becomes a run folder: config.json, metrics.jsonl, checkpoints, and in the end `model` in Hugging
    Face format. A killed run goes on where it was when the command is given again, with the same numbers. Options left
    out take the values of --preset.

    Example: ruleshift rl gp-l --model bundled --out runs/rl --updates 40 --learning-rate 1e-4
    """

    task: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TASK")]
    """Task id: gp-l or virl-l."""
    out: Path
    """Run folder; made if need be."""
    model: str = "bundled"
    """Start model: bundled, a model folder, or a hub id."""
    preset: Literal["tiny", "paper"] = "tiny"
    """Values of the options below for this task: tiny for the bundled model, paper as in arXiv 2501.17161."""
    tracker: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Also send the metrics to tensorboard, wandb, trackio ...; give it again for several."""
    training: Annotated[PPOConfig, tyro.conf.arg(name="")] = PPO_PRESETS["gp-l"]["tiny"]

    stopped: ClassVar[str] = RESUMES

    def run(self) -> None:
        def train(start: "Backbone", task: "Task", run: "RunFolder", follow: Follow) -> None:
            from ruleshift.training.ppo import PPO, train_ppo

            train_ppo(PPO(start.model, start.chat, task, start.style, self.training), run, progress=follow)

        _train(self, "rl", self.training, self.training.updates, train)


def _train(
    command: Sft | Rl,
    verb: str,
    config: SFTConfig | PPOConfig,
    steps: int,
    train: "Callable[[Backbone, Task, RunFolder, Follow], None]",
) -> None:
    """Check, load, train in the run folder from where an earlier call stopped, and save the model there."""
    from ruleshift.commands.trackers import check_trackers, tracking
    from ruleshift.tasks import get_task

    task = get_task(command.task)
    check_training(config, task)
    check_folder("--out", command.out)
    check_trackers(command.tracker)

    from ruleshift.backbones.load import load_backbone
    from ruleshift.backbones.save import save_model
    from ruleshift.commands.bars import Bar
    from ruleshift.quiet import quiet_libraries
    from ruleshift.runs import RunFolder

    quiet_libraries()
    # Before the folder takes this configuration down: the name may be wrong.
    start = load_backbone(command.model, pictures=task.pictures)
    settings = {"verb": verb, "task": command.task, "model": command.model, "training": config}
    final = command.out / "model"
    with RunFolder.open(command.out, settings) as run:
        if not final.is_dir():
            with Bar(verb, steps) as bar, tracking(command.tracker, run.path, settings) as trackers:
                train(start, task, run, _follower(bar, trackers))
            save_model(start.model, start.chat.source, final)
    print(f"model: {final}   metrics: {run.metrics_path}")


def _follower(bar: "Bar", trackers: "Trackers") -> Follow:
    """Shows the metrics of a step on the bar, and sends them to the trackers."""

    def follow(step: int, metrics: Mapping[str, float]) -> None:
        if bar.done == 0:
            bar.start_at(step - 1)  # done by an earlier call
        note = f"success {metrics['success']:.0%}" if "success" in metrics else f"loss {metrics['loss']:.3f}"
        bar.reach(step, note)
        trackers.log(step, metrics)

    return follow
