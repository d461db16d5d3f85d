"""`ruleshift study`: the experiments, one command each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.commands.checks import above_zero, at_least, check_folder, check_split, check_training
from ruleshift.errors import RuleshiftError
from ruleshift.training.config import PPO_PRESETS, SFT_PRESETS, PPOConfig, SFTConfig

if TYPE_CHECKING:
    from ruleshift.studies.headline import HeadlineConfig
    from ruleshift.studies.sweep import SweepConfig

RESUMES = "finished points and checkpoints are kept; run the same command again to go on from there"


@dataclass(frozen=True)
class Headline:
    """Does post-training teach the rule, or the answers? SFT and multi-turn PPO from one start model, trained on one
    rule and evaluated all along on that rule and on shifted ones. Writes results.json and report.html, prints the
    table. A killed study goes on where it was when the command is given again.

    Example: ruleshift study headline --out runs/headline --seeds 3
    """

    out: Path
    """Folder of the study; made if need be."""
    model: str = "bundled"
    """Start model: bundled, a model folder, or a hub id."""
    seeds: int = 1
    """Training seeds of each arm."""
    splits: tuple[str, ...] = ("id", "rule-ood", "heldout", "fake")
    """Splits to evaluate on; `id` must be among them."""
    n: int = 400
    """Problems of each split, the same for every arm."""
    points: int = 4
    """Evaluations along each training."""
    matched_rates: Literal["none", "sft", "both"] = "sft"
    """Also train SFT at the learning rate of PPO (sft), and PPO at that of SFT (both), where they differ."""
    init_steps: int = 0
    """Steps of SFT that the start model gets before both arms."""
    workers: int | None = None
    """Arms that run side by side; by default one more than there are cores."""
    sft: SFTConfig = SFT_PRESETS["tiny"]
    ppo: PPOConfig = PPO_PRESETS["tiny"]

    stopped: ClassVar[str] = RESUMES

    def config(self) -> "HeadlineConfig":
        """The settings of the study."""
        from ruleshift.studies.arms import Measurement
        from ruleshift.studies.headline import HeadlineConfig

        return HeadlineConfig(
            model=self.model,
            seeds=self.seeds,
            points=self.points,
            matched_rates=self.matched_rates,
            init_steps=self.init_steps,
            sft=self.sft,
            ppo=self.ppo,
            measurement=replace(Measurement(), splits=self.splits, n=self.n, max_new_tokens=self.ppo.max_new_tokens),
        )

    def run(self) -> None:

        for option, value in (("--seeds", self.seeds), ("--points", self.points)):
            at_least(option, value, 1)
        at_least("--init-steps", self.init_steps, 0)
        from ruleshift.tasks import get_task

        for split in self.splits:
            check_split(get_task("gp-l"), split)
        if "id" not in self.splits:
            raise RuleshiftError("--splits must hold id, on which arms are matched")
        _prepare(self)

        from ruleshift.studies.headline import run_headline

        config = self.config()
        _supervised(lambda: run_headline(config, self.out, self.workers))


@dataclass(frozen=True)
class Sweep:
    """The learning-rate sweep: SFT and PPO on one grid, each chosen by success on validation problems of the training
    rule alone. Writes sweep.json, prints the table. A killed sweep goes on where it was when the command is given
    again.

    Example: ruleshift study sweep --out runs/sweep --grid 1e-4 3e-4 1e-3
    """

    out: Path
    """Folder of the study; made if need be."""
    model: str = "bundled"
    """Start model: bundled, a model folder, or a hub id."""
    grid: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Learning rates to try."""
    seed: int = 100
    """Training seed."""
    n: int = 400
    """Problems of each split."""
    workers: int | None = None
    """Arms that run side by side; by default one more than there are cores."""
    sft: SFTConfig = SFT_PRESETS["tiny"]
    ppo: PPOConfig = PPO_PRESETS["tiny"]

    stopped: ClassVar[str] = RESUMES

    def config(self) -> "SweepConfig":
        """The settings of the study."""
        from ruleshift.studies.sweep import SweepConfig

        measurement = replace(SweepConfig().measurement, n=self.n, max_new_tokens=self.ppo.max_new_tokens)
        return SweepConfig(self.model, self.grid, self.seed, self.sft, self.ppo, measurement)

    def run(self) -> None:
        if not self.grid:
            raise RuleshiftError("--grid needs at least one learning rate")
        for rate in self.grid:
            above_zero("--grid", rate)
        _prepare(self)

        from ruleshift.studies.sweep import run_sweep

        config = self.config()
        _supervised(lambda: run_sweep(config, self.out, self.workers))


@dataclass(frozen=True)
class Study:
    """The experiments, one command each: `headline` compares SFT and RL, `sweep` chooses their learning rates.

    Example: ruleshift study headline --out runs/headline
    """

    which: Annotated[
        Annotated[Headline, tyro.conf.subcommand("headline")] | Annotated[Sweep, tyro.conf.subcommand("sweep")],
        tyro.conf.arg(name=""),
    ]

    stopped: ClassVar[str] = RESUMES

    def run(self) -> None:
        self.which.run()


def _prepare(study: Headline | Sweep) -> None:
    """Find out before the long work begins what would stop it."""
    from ruleshift.tasks import get_task

    at_least("--n", study.n, 1)
    if study.workers is not None:
        at_least("--workers", study.workers, 1)
    check_training(study.sft, get_task("gp-l"), "--sft.")
    check_training(study.ppo, get_task("gp-l"), "--ppo.")
    check_folder("--out", study.out)

    from ruleshift.backbones.load import load_backbone
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    load_backbone(study.model)  # the arms load it in processes of their own


def _supervised(work: Callable[[], None]) -> None:
    from concurrent.futures.process import BrokenProcessPool

    try:
        work()
    except BrokenProcessPool as error:
        raise RuleshiftError(
            "an arm's process was killed, perhaps for want of memory: run the same command again, with --workers 1"
        ) from error
