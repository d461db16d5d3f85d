"""`ruleshift study`: the experiments, one command each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.bounds import above_zero, at_least
from ruleshift.commands.checks import check_folder, check_split, check_training
from ruleshift.errors import RuleshiftError
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints import recipe as generalpoints
from ruleshift.tasks.virl import recipe as virl

if TYPE_CHECKING:
    from ruleshift.studies.headline import HeadlineConfig
    from ruleshift.studies.sweep import SweepConfig

RESUMES = "finished points and checkpoints are kept; run the same command again to go on from there"


TaskId = Literal["gp-l", "virl-l", "gp-vl", "virl-vl"]
TextTask = Literal["gp-l", "virl-l"]
PictureTask = Literal["gp-vl", "virl-vl"]


@dataclass(frozen=True)
class Recipe:
    """How both arms are trained on one task."""

    sft: SFTConfig
    ppo: RLConfig


GP, VIRL, GP_VL, VIRL_VL = (
    Recipe(recipe.sft["tiny"], recipe.rl["tiny"])
    for recipe in (generalpoints.TEXT, virl.TEXT, generalpoints.PICTURES, virl.PICTURES)
)


@dataclass(frozen=True)
class Compared:
    """The options of a study that compares SFT and PPO."""

    out: Path
    """Folder of the study; made if need be."""
    tasks: tuple[TaskId, ...] = ()
    """Tasks to study."""
    model: str = "bundled"
    """Start model: bundled, a model folder, or a hub id."""
    seeds: int = 1
    """Training seeds of each arm."""
    splits: tuple[str, ...] = ()
    """Splits to evaluate on; `id` must be among them. By default id, rule-ood and others that fit the task."""
    n: int | None = None
    """Problems of each split, the same for every arm; by default 400 hands or 200 routes, in pictures 300 or 100."""
    points: int = 4
    """Evaluations along each training."""
    matched_rates: Literal["none", "sft", "both"] = "sft"
    """Also train SFT at the learning rate of PPO (sft), and PPO at that of SFT (both), where they differ."""
    init_steps: int = 0
    """Steps of SFT that the start model gets before both arms."""
    workers: int | None = None
    """Arms that run side by side; by default one more than there are cores."""

    stopped: ClassVar[str] = RESUMES

    def configs(self) -> "list[HeadlineConfig]":
        """The settings of the study, task by task."""
        return [self._config(task) for task in dict.fromkeys(self.tasks)]

    def _config(self, task: str) -> "HeadlineConfig":
        from ruleshift.studies.headline import HeadlineConfig

        recipe, usual = _recipe(self, task), get_task(task).recipe.measurement
        measurement = replace(
            usual,
            splits=self.splits or usual.splits,
            n=self.n or usual.n,
            max_new_tokens=recipe.ppo.max_new_tokens,
        )
        return HeadlineConfig(
            model=self.model,
            seeds=self.seeds,
            points=self.points,
            matched_rates=self.matched_rates,
            init_steps=self.init_steps,
            sft=recipe.sft,
            ppo=recipe.ppo,
            measurement=measurement,
        )

    def run(self) -> None:
        for option, value in (("--seeds", self.seeds), ("--points", self.points)):
            at_least(option, value, 1)
        at_least("--init-steps", self.init_steps, 0)
        if not self.tasks:
            raise RuleshiftError("--tasks needs at least one task")
        for task in self.tasks:
            for split in self.splits:
                check_split(get_task(task), split)
        if self.splits and "id" not in self.splits:
            raise RuleshiftError("--splits must hold id, on which arms are matched")
        _prepare(self, self.tasks)

        from ruleshift.studies.headline import run_headline

        configs = self.configs()
        _supervised(lambda: run_headline(configs, self.out, self.workers))


@dataclass(frozen=True)
class Headline(Compared):
    """Does post-training teach the rule, or the answers? SFT and multi-turn PPO from one start model, trained on one
    rule and evaluated all along on that rule and on shifted ones, for each task. Writes results.json and report.html
    into a folder per task, prints the tables. A killed study goes on where it was when the command is given again.

    Example: ruleshift study headline --out runs/headline --seeds 3
    """

    tasks: tuple[TextTask, ...] = ("gp-l", "virl-l")
    """Tasks to study."""
    gp: Recipe = GP
    virl: Recipe = VIRL


@dataclass(frozen=True)
class Vision(Compared):
    """The same comparison in pictures: does post-training also teach to see? Trained on black suits and on one city,
    evaluated on red suits and other cities too; recognition stands beside success. Writes and prints what
    `headline` does, and goes on in the same way.

    Example: ruleshift study vision --out runs/vision --seeds 3
    """

    tasks: tuple[PictureTask, ...] = ("gp-vl", "virl-vl")
    """Tasks to study."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """A small version: a third of the training, two evaluations of fewer problems."""
    gp_vl: Recipe = GP_VL
    virl_vl: Recipe = VIRL_VL

    def configs(self) -> "list[HeadlineConfig]":
        found = super().configs()
        return [_quick(config) for config in found] if self.quick else found


def _quick(config: "HeadlineConfig") -> "HeadlineConfig":
    """A third of the training, evaluated twice, on a third of the problems, without rows at other learning rates."""
    return replace(
        config,
        points=min(config.points, 2),
        matched_rates="none",
        sft=replace(config.sft, steps=-(-config.sft.steps // 3)),
        ppo=replace(config.ppo, updates=-(-config.ppo.updates // 3)),
        measurement=replace(config.measurement, n=-(-config.measurement.n // 3)),
    )


@dataclass(frozen=True)
class Sweep:
    """The learning-rate sweep: SFT and PPO on one grid, each chosen by success on validation problems of the training
    rule alone. Writes sweep.json, prints the table. A killed sweep goes on where it was when the command is given
    again.

    Example: ruleshift study sweep --task virl-l --out runs/sweep --grid 1e-4 3e-4 1e-3
    """

    out: Path
    """Folder of the study; made if need be."""
    task: TaskId = "gp-l"
    """Task to study."""
    model: str = "bundled"
    """Start model: bundled, a model folder, or a hub id."""
    grid: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    """Learning rates to try."""
    seed: int = 100
    """Training seed."""
    n: int | None = None
    """Problems of each split; by default 400 hands or 200 routes, in pictures 300 or 100."""
    workers: int | None = None
    """Arms that run side by side; by default one more than there are cores."""
    gp: Recipe = GP
    virl: Recipe = VIRL
    gp_vl: Recipe = GP_VL
    virl_vl: Recipe = VIRL_VL

    stopped: ClassVar[str] = RESUMES

    def config(self) -> "SweepConfig":
        """The settings of the study."""
        from ruleshift.studies.sweep import SEEN_SPLITS, SPLITS, SweepConfig

        recipe, usual = _recipe(self, self.task), get_task(self.task).recipe.measurement
        measurement = replace(
            usual,
            splits=SEEN_SPLITS if get_task(self.task).pictures else SPLITS,
            decodings=("sampled",),
            n=self.n or usual.n,
            seed=2_000,
            max_new_tokens=recipe.ppo.max_new_tokens,
        )
        return SweepConfig(self.model, self.grid, self.seed, recipe.sft, recipe.ppo, measurement)

    def run(self) -> None:
        if not self.grid:
            raise RuleshiftError("--grid needs at least one learning rate")
        for rate in self.grid:
            above_zero("--grid", rate)
        _prepare(self, (self.task,))

        from ruleshift.studies.sweep import run_sweep

        config = self.config()
        _supervised(lambda: run_sweep(config, self.out, self.workers))


def _option(task: str) -> str:
    """The name of the options with a task's recipe."""
    return task.removesuffix("-l").replace("-", "_")


def _recipe(study: Compared | Sweep, task: str) -> Recipe:
    recipe: Recipe = getattr(study, _option(task))
    return recipe


@dataclass(frozen=True)
class Study:
    """The experiments, one command each: `headline` compares SFT and RL in text, `vision` in pictures, `sweep` chooses
    their learning rates.

    Example: ruleshift study headline --out runs/headline
    """

    which: Annotated[
        Annotated[Headline, tyro.conf.subcommand("headline")]
        | Annotated[Vision, tyro.conf.subcommand("vision")]
        | Annotated[Sweep, tyro.conf.subcommand("sweep")],
        tyro.conf.arg(name=""),
    ]

    stopped: ClassVar[str] = RESUMES

    def run(self) -> None:
        self.which.run()


def _prepare(study: Compared | Sweep, tasks: Sequence[str]) -> None:
    """Find out before the long work begins what would stop it."""
    if study.n is not None:
        at_least("--n", study.n, 1)
    if study.workers is not None:
        at_least("--workers", study.workers, 1)
    for task in tasks:
        recipe, prefix = _recipe(study, task), f"--{_option(task).replace('_', '-')}."
        check_training(recipe.sft, get_task(task), prefix + "sft.")
        check_training(recipe.ppo, get_task(task), prefix + "ppo.")
    check_folder("--out", study.out)

    from ruleshift.backbones.load import load_backbone
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    for pictures in {get_task(task).pictures for task in tasks}:
        load_backbone(study.model, pictures=pictures)  # the arms load it in processes of their own


def _supervised(work: Callable[[], None]) -> None:
    from concurrent.futures.process import BrokenProcessPool

    try:
        work()
    except BrokenProcessPool as error:
        raise RuleshiftError(
            "an arm's process was killed, perhaps for want of memory: run the same command again, with --workers 1"
        ) from error
