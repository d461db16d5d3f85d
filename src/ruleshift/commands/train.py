"""`ruleshift sft`, `ruleshift rl` and `ruleshift distil`: one training run in a folder of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ruleshift.commands.checks import check_folder, check_threads, check_training
from ruleshift.commands.opening import OnTask, Options
from ruleshift.commands.planning import Machine, show_plan
from ruleshift.commands.policies import AnyStyle, ModelArguments, ModelOptions
from ruleshift.errors import RuleshiftError
from ruleshift.launched import launched
from ruleshift.outcomes import in_words, is_nothing
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig

if TYPE_CHECKING:
    from ruleshift.commands.bars import Bar
    from ruleshift.commands.trackers import Trackers

Follow = Callable[[int, Mapping[str, float]], None]


def remains(out: Path | None) -> str:
    """In words, what a run folder keeps of a run that was stopped."""
    from ruleshift.runs import SAMPLES, RunFolder

    kept = ""
    if out is not None and RunFolder(out).latest_checkpoint() is not None:
        kept = "the work up to the last checkpoint"
    elif out is not None and any((out / SAMPLES).glob("[!.]*")):
        kept = "what the start model said"
    again = "run the same command again, which"
    return f"{kept} is kept; {again} resumes from there" if kept else f"there is no checkpoint yet; {again} begins anew"


@dataclass(frozen=True)
class Training(OnTask[Options]):
    """The options that all kinds of training share."""

    out: Path | None = None
    """Run folder; made if need be. All but --plan need it."""
    model: str = "bundled"
    """Start model: bundled, smollm2, a model folder, or a hub id."""
    preset: str = "tiny"
    """Values that the options below have for this task: tiny for the bundled model; small-llm for one of 0.1 to 1
    billion weights in the terse style, in hours of a CPU, and gpu for it in minutes of a GPU; paper as in arXiv
    2501.17161; or another name that the task gives."""
    threads: int | None = None
    """Cores to compute on; by default those that are free, or as many as the run began with."""
    shard: bool = False
    """Divide weights, gradients and moments over the processes of a launcher (FSDP2); to sample, each puts together a
    whole copy."""
    tracker: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Also send the metrics to tensorboard, wandb, trackio ...; give it again for several."""
    loading: ModelArguments = ModelOptions()
    style: AnyStyle = "auto"
    """Wording of the prompts, which the trained model then keeps; auto is what the model reads best."""
    plan: Machine | None = None
    """Print parameters, tokens, FLOPs and peak memory by part on this machine (cpu: this one), and train nothing."""

    @property
    def stopped(self) -> str:
        return remains(self.out)


@dataclass(frozen=True)
class Sft(Training[Options]):
    """Supervised fine-tuning of a model with TRL: on an expert's replies or, as --data says, on these after the model's
    own failed ones, or on its own right ones; the loss is on what is learned only. --out becomes a run folder:
    config.json, metrics.jsonl, checkpoints, `samples` of what the start model said, and in the end `model` in Hugging
    Face format. A killed run resumes when the command is given again. Options left out take the values of --preset.

    Example: ruleshift sft gp-l --model bundled --out runs/sft --steps 300 --learning-rate 1e-4
    """

    training: Annotated[SFTConfig, tyro.conf.arg(name="")] = SFTConfig()

    def run(self) -> None:
        _plan_or_train(self, "sft", self.training, self.training.steps)


@dataclass(frozen=True)
class Rl(Training[Options]):
    """Multi-turn reinforcement learning: the model answers, the verifier's feedback joins the conversation, and the
    rewards of all turns train it. --out becomes a run folder: config.json, metrics.jsonl, checkpoints, and in the end
    `model` in Hugging Face format. A killed run resumes when the command is given again, with the same numbers. Options
    left out take the values of --preset, and those that make it the --algorithm that is named.

    Example: ruleshift rl gp-l --model bundled --out runs/rl --updates 40 --learning-rate 1e-4
    On several GPUs, as sft and distil: accelerate launch --multi_gpu -m ruleshift rl gp-l --out runs/rl [--shard]
    """

    training: Annotated[RLConfig, tyro.conf.arg(name="")] = RLConfig()

    def run(self) -> None:
        _plan_or_train(self, "rl", self.training, self.training.updates)


@dataclass(frozen=True)
class Distil(Training[Options]):
    """On-policy distillation: the model answers as in `ruleshift rl`, and a teacher scores what it says, token by
    token: another model, the end of a run, the expert, or the model itself shown more (--privileged-context
    demonstration). --out becomes a run folder as that of `ruleshift rl`, and a killed run resumes with the same
    numbers. Options left out take the values of --preset, and those that make it the --algorithm that is named.

    Example: ruleshift distil gp-l --teacher runs/rl --out runs/distil --updates 20 --learning-rate 1e-4
    """

    training: Annotated[DistilConfig, tyro.conf.arg(name="")] = DistilConfig()

    def run(self) -> None:
        _plan_or_train(self, "distil", self.training, self.training.updates)


def _plan_or_train(command: Training[Options], verb: str, config: SFTConfig | RLConfig, steps: int) -> None:
    if command.plan is None:
        _train(command, verb, config, steps)
    elif command.shard:
        raise RuleshiftError("--plan tells of processes that hold the whole model: leave --shard out of it")
    else:
        task = command.open()
        check_training(config, task)
        show_plan(task, command.model, command.loading, command.style, config, command.plan)


def _train(command: Training[Options], verb: str, config: SFTConfig | RLConfig, steps: int) -> None:
    """Check, load, train in the run folder from where an earlier call stopped, and save the model there."""
    from ruleshift.commands.trackers import check_trackers, tracking

    task = command.open()
    check_training(config, task)
    if command.out is None:
        raise RuleshiftError("a run needs a folder: give --out FOLDER")
    check_folder("--out", command.out)
    check_trackers(command.tracker)
    check_threads(command.threads)
    if isinstance(config, SFTConfig):
        config.micro_batch_in(launched())

    from ruleshift.backbones.fingerprint import fingerprint
    from ruleshift.backbones.load import load_backbone
    from ruleshift.backbones.save import is_saved, save_model
    from ruleshift.commands.bars import Bar
    from ruleshift.quiet import quiet_libraries
    from ruleshift.runs import RunFolder
    from ruleshift.threads import set_threads
    from ruleshift.training.optimizers import check_8bit
    from ruleshift.training.parts import check_recompute
    from ruleshift.training.processes import start as find_each_other
    from ruleshift.training.sharding import check_divisible, check_sharding
    from ruleshift.training.teachers import load_teacher
    from ruleshift.training.train import train
    from ruleshift.training.zero import check_zero

    check_8bit(config.adam_8bit)
    if command.shard:
        check_sharding(config)
    quiet_libraries()
    processes = find_each_other(command.shard)
    set_threads(command.threads, RunFolder(command.out).threads())
    # All that may be wrong comes before the folder takes this configuration down: it then refuses another one.
    dtype = "auto" if config.lora_rank else "float32"
    start = load_backbone(
        command.model, dtype=dtype, pictures=task.pictures, options=command.loading, style=command.style
    )
    check_recompute(start.model, config.gradient_checkpointing)
    if command.shard:
        check_divisible(start.model)
    if processes.zero is not None:
        check_zero(config, processes.zero, start.model)
    teacher = load_teacher(config, start.chat, task.pictures) if isinstance(config, RLConfig) else None
    settings: dict[str, object] = {"verb": verb, "task": command.task, "model": command.model, "training": config}
    settings |= {"weights": fingerprint(start.model)} | command.options_given()
    settings |= {"chat": start.chat.facts} if start.chat.facts else {}
    settings |= {"style": command.style} if command.style != "auto" else {}
    final = command.out / "model"
    with processes.folder(command.out, settings) as run:
        if not is_saved(final):
            bar = Bar(verb, steps, quiet=not processes.main)
            with tracking(command.tracker, run.path, settings) as trackers:
                with bar:
                    trained = train(
                        config,
                        start.model,
                        start.chat,
                        task,
                        start.style,
                        run,
                        progress=_follower(bar, trackers),
                        teacher=teacher,
                        processes=processes,
                    )
                processes.once(lambda: save_model(trained, start.chat.source, final))
    if processes.main:
        print(f"model: {final}   metrics: {run.metrics_path}")


def _note(metrics: Mapping[str, float]) -> str:
    """What the bar says of a step: of one that solves next to nothing, why."""
    if "success" not in metrics:
        return f"loss {metrics['loss']:.3f}"
    why = f" ({in_words(metrics, 2)})" if is_nothing(metrics["success"]) else ""
    return f"success {metrics['success']:.0%}{why}, {metrics['tokens_per_s']:,.0f} tokens/s"


def _follower(bar: "Bar", trackers: "Trackers") -> Follow:
    """Shows the metrics of a step on the bar, and sends them to the trackers."""

    title, steps = bar.title, bar.total

    def follow(step: int, metrics: Mapping[str, float]) -> None:
        if step == 0:  # the start model replies, before the first step
            if bar.title == title:
                bar.begin("sampling", round(metrics["problems"]))
            bar.reach(round(metrics["sampled"]))
            return
        if bar.title != title:
            bar.begin(title, steps)
        if bar.done == 0:
            bar.start_at(step - 1)  # done by an earlier call
        bar.reach(step, _note(metrics))
        trackers.log(step, metrics)

    return follow
