"""`ruleshift backbone build`: train the bundled text backbone anew."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.backbones.config import BuildConfig
from ruleshift.commands.checks import at_least, check_folder
from ruleshift.commands.train import RESUMES

if TYPE_CHECKING:
    from ruleshift.runs import RunFolder

SAVE_EVERY = 100


@dataclass(frozen=True)
class Backbone:
    """Train the small text model that stands in for a foundation model anew: from scratch, a function of its seed.
    It sees many card rules, never one of a training, validation or test split. Writes `model` in Hugging Face format
    into --out. A killed build goes on where it was when the command is given again.

    Example: ruleshift backbone build --out runs/backbone
    """

    action: Annotated[tyro.conf.Positional[Literal["build"]], tyro.conf.arg(metavar="build")]
    """What to do."""
    out: Path
    """Run folder; made if need be."""
    config: Annotated[BuildConfig, tyro.conf.arg(name="")] = field(default_factory=BuildConfig)

    stopped: ClassVar[str] = RESUMES

    def run(self) -> None:
        for option in fields(self.config):
            if option.type is int:
                least = 0 if option.name in ("echo_steps", "clean_steps", "careless_steps", "warmup", "seed") else 1
                at_least("--" + option.name.replace("_", "-"), getattr(self.config, option.name), least)
        check_folder("--out", self.out)

        from ruleshift.quiet import quiet_libraries
        from ruleshift.runs import RunFolder

        quiet_libraries()
        final = self.out / "model"
        with RunFolder.open(self.out, self.config) as run:
            if not final.is_dir():
                _build(self.config, run, final)
        print(f"model: {final}   metrics: {run.metrics_path}")


def _build(config: BuildConfig, run: "RunFolder", final: Path) -> None:
    import torch

    from ruleshift.backbones.build import new_model, new_optimizers, pretrain
    from ruleshift.backbones.save import save_model
    from ruleshift.commands.bars import Bar
    from ruleshift.training.checkpoints import load_state, save_state

    model, chat = new_model(config)
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
                run.save_checkpoint(done, lambda folder: save_state(folder, {"model": model}, optimizers), keep_last=2)
            bar.reach(done, f"loss {loss:.3f}")

        pretrain(config, model, chat, optimizers, first, after_step)
    save_model(model, chat.tokenizer, final)
