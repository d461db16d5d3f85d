"""`ruleshift backbone`: train the bundled models anew; make model folders of GGUF files and of checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import tyro

from ruleshift.backbones.config import BuildConfig, VisionBuildConfig
from ruleshift.bounds import Natural, at_least
from ruleshift.commands.checks import check_folder, check_new
from ruleshift.commands.train import remains

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ruleshift.chat import Chat
    from ruleshift.runs import RunFolder

SAVE_EVERY = 100
NOTHING = "no model was written; run the same command again"
New = Callable[[], "tuple[PreTrainedModel, Chat]"]


@dataclass(frozen=True)
class Build:
    """Train the small text model that stands in for a foundation model anew: from scratch, a function of its seed.
    It sees many card rules, never one of a training, validation or test split. Writes `model` in Hugging Face format
    into --out. A killed build resumes when the command is given again. The bundled weights took
    155 minutes on one CPU core, with other work on the one beside it.

    Example: ruleshift backbone build --out runs/backbone
    """

    out: Path
    """Run folder; made if need be."""
    config: Annotated[BuildConfig, tyro.conf.arg(name="")] = field(default_factory=BuildConfig)
    models_every: Natural = 0
    """Steps between models that stay in OUT/models, from which studies can start (--starts): 0 keeps the last alone."""

    @property
    def stopped(self) -> str:
        return remains(self.out)

    def run(self) -> None:
        at_least("--models-every", self.models_every, 0)

        def new() -> "tuple[PreTrainedModel, Chat]":
            from ruleshift.pretraining.build import new_model

            return new_model(self.config)

        _run(self.out, self.config, new, self.models_every)


@dataclass(frozen=True)
class BuildVision:
    """Train the small vision-language model anew: a vision tower before a copy of the bundled text model. It sees many
    rules, suits, card styles and cities, never red suits nor the styles of a training or test city. Writes `model` in
    Hugging Face format into --out. A killed build resumes when the command is given again. The bundled
    model took 72 minutes on one CPU core, with other work on the one beside it.

    Example: ruleshift backbone build-vision --out runs/vision
    """

    out: Path
    """Run folder; made if need be."""
    config: Annotated[VisionBuildConfig, tyro.conf.arg(name="")] = field(default_factory=VisionBuildConfig)

    @property
    def stopped(self) -> str:
        return remains(self.out)

    def run(self) -> None:
        def new() -> "tuple[PreTrainedModel, Chat]":
            from ruleshift.backbones.seeing import new_vision_model

            return new_vision_model(self.config)

        _run(self.out, self.config, new)


@dataclass(frozen=True)
class ImportModel:
    """Make a model folder of a GGUF file: float32, with its tokenizer and, if it has one, its chat template. Base
    models have none: --chat-template plain speaks with them.

    Example: ruleshift backbone import gemma-3-270m.gguf --out models/gemma
    """

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """GGUF file of a model of text."""
    out: Path
    """Folder for the model, which is not there yet."""

    stopped: ClassVar[str] = NOTHING

    def run(self) -> None:
        check_new("--out", self.out)

        from ruleshift.backbones.gguf import import_gguf
        from ruleshift.quiet import quiet_libraries

        quiet_libraries()
        import_gguf(self.file, self.out)
        print(f"model: {self.out}")


@dataclass(frozen=True)
class ExportModel:
    """Make a model folder of what a run of `ruleshift sft`, `rl` or `distil`, or an arm of a study, has kept: its end,
    or any checkpoint, also of a run that was stopped. Adapters (LoRA) become part of the weights.

    Example: ruleshift backbone export runs/sft --step 100 --out models/sft-100
    """

    from_run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""
    out: Path
    """Folder for the model, which is not there yet."""
    step: int | None = None
    """Step (or update) that was kept; by default the end of the run, or its last checkpoint."""

    stopped: ClassVar[str] = NOTHING

    def run(self) -> None:
        check_new("--out", self.out)

        from ruleshift.backbones.given import check_no_evaluation
        from ruleshift.quiet import quiet_libraries
        from ruleshift.training.export import export

        check_no_evaluation(self.from_run)

        quiet_libraries()
        step = export(self.from_run, self.step, self.out)
        print(f"model: {self.out}   of {self.from_run}, {'its end' if step is None else f'step {step}'}")


@dataclass(frozen=True)
class BackboneCommand:
    """Models: `import` makes a model folder of a GGUF file, `export` of a run's checkpoint; `build` trains the bundled
    text model anew, `build-vision` the one that also sees and starts from it.

    Example: ruleshift backbone export runs/sft --step 100 --out models/sft-100
    """

    which: Annotated[
        Annotated[ImportModel, tyro.conf.subcommand("import")]
        | Annotated[ExportModel, tyro.conf.subcommand("export")]
        | Annotated[Build, tyro.conf.subcommand("build")]
        | Annotated[BuildVision, tyro.conf.subcommand("build-vision")],
        tyro.conf.arg(name=""),
    ]

    @property
    def stopped(self) -> str:
        return self.which.stopped

    def run(self) -> None:
        self.which.run()


def _run(out: Path, config: BuildConfig | VisionBuildConfig, new: New, models_every: int = 0) -> None:
    check_folder("--out", out)

    from ruleshift.backbones.save import is_saved
    from ruleshift.quiet import quiet_libraries
    from ruleshift.runs import RunFolder

    quiet_libraries()
    final = out / "model"
    with RunFolder.open(out, config) as run:
        if not is_saved(final):
            _build(config, new, run, final, models_every)
    print(f"model: {final}   metrics: {run.metrics_path}")


def _build(config: BuildConfig | VisionBuildConfig, new: New, run: "RunFolder", final: Path, models_every: int) -> None:
    import torch

    from ruleshift.backbones.save import save_model
    from ruleshift.commands.bars import Bar
    from ruleshift.pretraining.build import new_optimizers, pretrain
    from ruleshift.training.checkpoints import load_state, save_state
    from ruleshift.training.optimizers import moments

    model, chat = new()
    model.to("cuda" if torch.cuda.is_available() else "cpu")  # type: ignore[arg-type]
    optimizers = new_optimizers(config, model)
    last = run.latest_checkpoint()
    first = 0 if last is None else last.step
    if last is not None:
        load_state(last.path, {"model": model}, optimizers)
    run.truncate_metrics(first)
    with Bar("backbone", config.steps) as bar:
        bar.start_at(first)

        def after_step(done: int, loss: float) -> None:
            run.append_metrics({"step": done, "loss": loss})
            if done % SAVE_EVERY == 0 or done == config.steps:
                states = {name: moments(optimizer) for name, optimizer in optimizers.items()}
                run.save_checkpoint(done, lambda folder: save_state(folder, {"model": model}, states), keep_last=2)
            kept = final.parent / "models" / f"step-{done:06d}"
            if models_every and done % models_every == 0 and not kept.is_dir():
                kept.parent.mkdir(exist_ok=True)
                save_model(model, chat.source, kept)
            bar.reach(done, f"loss {loss:.3f}")

        pretrain(config, model, chat, optimizers, first, after_step)
    save_model(model, chat.source, final)
