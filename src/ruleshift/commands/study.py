"""`ruleshift study`: the experiments, by name."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import tyro

from ruleshift.bounds import at_least
from ruleshift.commands.assignments import Assignments, changed
from ruleshift.commands.checks import check_apart, check_training
from ruleshift.commands.machines import MachineArguments, Machines
from ruleshift.commands.policies import AnyStyle, ModelArguments, ModelOptions
from ruleshift.commands.remedies import remedied
from ruleshift.errors import RuleshiftError
from ruleshift.misfits import MisfitError
from ruleshift.records import Feedback
from ruleshift.tasks.protocol import check_split

if TYPE_CHECKING:
    from ruleshift.settings import Measurement
    from ruleshift.studies.recipes import StudyRecipe
    from ruleshift.studies.study import Plan, Study


@dataclass(frozen=True)
class StudyCommand:
    """One of the experiments. `headline` compares SFT and RL in text, `vision` in pictures, `smollm2` on a real
    language model; `algorithms` those of RL, `arms` SFT, distillation and hybrids, and `sweep` chooses learning rates;
    `ruleshift study --list` says more, and `ruleshift study NAME --help` of one.

    Each task gets a folder with results.json and report.html, and the tables are printed. A killed study resumes when
    the same command is given again; `ruleshift study status FOLDER` says meanwhile how far it is.

    Settings of training and measurement: --set TASK.sft.FIELD=VALUE, TASK.rl.FIELD=VALUE, TASK.measurement.FIELD=VALUE
    (without TASK for all tasks; fields as in the options of `ruleshift sft` and `rl`). In `arms` those of rl are for
    distillation too, and TASK.distil.FIELD=VALUE for it alone. Options of the study itself: --set OPTION=VALUE.

    Example: ruleshift study headline --out runs/headline --seeds 3 --set virl-l.rl.updates=12
    """

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = ""
    """Study to run."""
    out: Path | None = None
    """Folder of the study; made if need be."""
    tasks: tuple[str, ...] = ()
    """Tasks to study; by default the study's."""
    model: str = ""
    """Start model: bundled, smollm2, a model folder or hub id; by default that of the study."""
    starts: tuple[str, ...] = ()
    """Several of them, with a folder each."""
    loading: ModelArguments = ModelOptions()
    style: AnyStyle | None = None
    """Wording of prompts, else the study's."""
    preset: str = ""
    """Preset of the task, else the study's."""
    seeds: int = 1
    """Training seeds of each arm."""
    points: int | None = None
    """Evaluations along each training; by default as many as suit the study."""
    kept: int | None = None
    """Models kept along each training."""
    further: int | None = None
    """Most further evaluations, where arms match; by default as many as suit the study."""
    matched_on: tuple[Literal["id", "kl", "flops"], ...] = ("id", "kl", "flops")
    """What arms are matched on."""
    splits: tuple[str, ...] = ()
    """Splits to evaluate on; by default the study's."""
    n: int | None = None
    """Problems of each split; by default as many as suit the task."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """A small version, a third or less."""
    feedback: Feedback = "full"
    """What the verifier says of a wrong reply."""
    init_steps: int = 0
    """Steps of SFT before all arms."""
    set: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A setting, as NAME=VALUE; give it again for several."""
    workers: int | None = None
    """Arms side by side; by default one more than there are cores, or as many as have room in memory."""
    machines: MachineArguments = Machines()
    reuse: tuple[Path, ...] = ()
    """Folders of studies made with this version, whose trainings are taken over where they are the same."""
    keep_episodes: Literal["all", "some", "none"] = "all"
    """Episodes kept for the page: all of evaluations and some of each update, of 20 problems a split, or none."""
    list: tyro.conf.FlagCreatePairsOff[bool] = False
    """List the studies with their questions, options and times."""

    stopped: ClassVar[str] = "finished points and checkpoints are kept; run the same command again, which resumes"

    def run(self) -> None:
        if self.list:
            print_studies()
            return
        study = _study(self.name)
        if self.out is None:
            raise RuleshiftError(f"--out names the folder of the study: --out runs/{study.name}")
        plans = self.plans(study)
        cluster = self.machines.cluster(self.workers)
        check_apart("--out", self.out)

        from ruleshift.quiet import quiet_libraries

        quiet_libraries()

        from ruleshift.studies.run import run_study

        run_study(plans, self.out, self.workers, self.keep_episodes, cluster, self.reuse)

    def plans(self, study: "Study") -> "Sequence[Plan]":
        """The study of each task with all settings. Raises RuleshiftError for what cannot be run."""
        from ruleshift.tasks import get_task

        at_least("--seeds", self.seeds, 1)
        for option, value in (("--init-steps", self.init_steps), ("--further", self.further or 0)):
            at_least(option, value, 0)
        counts = ("--n", self.n), ("--workers", self.workers), ("--points", self.points), ("--kept", self.kept)
        for option, number in counts:
            if number is not None:
                at_least(option, number, 1)
        tasks = {get_task(name).id: name for name in self.tasks or study.tasks}
        assignments = Assignments.read(self.set, list(tasks))
        options = (self.quick and study.quick) or study.options
        if options is None and assignments.options:
            raise RuleshiftError(f"--set {next(iter(assignments.options))}: {study.name} has no options of its own")
        options = options and changed(options, assignments.options, "--set ")
        named = label_starts(self.starts)
        plans = [self._plan(study, task, assignments, options) for task in tasks.values()]
        if not named:
            return plans
        return [replace(plan, model=model, label=label) for plan in plans for label, model in named.items()]

    def _plan(self, study: "Study", task: str, assignments: "Assignments", options: object) -> "Plan":
        from ruleshift.tasks import get_task

        def check(assignments: Assignments) -> "Plan":
            return self._checked(study, task, assignments, options)

        try:
            return check(assignments)
        except MisfitError as error:
            where = f"{task} {error.where}".rstrip()
            raise RuleshiftError(f"{where}: {remedied(error, get_task(task).id, assignments, check)}") from error

    def _checked(self, study: "Study", task: str, assignments: "Assignments", options: object) -> "Plan":
        from ruleshift.studies.recipes import recipe_of, task_of
        from ruleshift.studies.study import Plan
        from ruleshift.tasks import get_task

        found = get_task(task)
        recipe = assignments.apply(
            found.id, self._sized(recipe_of(task, self.preset or study.preset), study.quick_part)
        )
        by_hand = assignments.of(found.id, "measurement")

        def asked(measurement: "Measurement") -> "Measurement":
            told = replace(
                measurement, splits=self.splits or measurement.splits, n=self.n or measurement.n, feedback=self.feedback
            )
            return changed(told, by_hand, f"--set {found.id}.measurement.")

        # Before the study says what it measures, which may follow from that, and after it, since that is the last word.
        measurement = asked(study.measures(asked(replace(recipe.measurement, max_new_tokens=recipe.rl.max_new_tokens))))
        task_of(measurement)  # one without levels of feedback is refused before the long work begins
        for split, why in ((study.trained, "arms are matched"), ("id-val", "the KL to the start is measured")):
            if split not in found.splits():
                raise RuleshiftError(f"{task} has no split {split}, on which {why}: no study without it; give it one")
        for split in measurement.splits:
            check_split(found, split)
        if study.trained not in measurement.splits:
            raise RuleshiftError(f"--splits must hold {study.trained}, on which arms are matched")
        points = self.points or (study.quick_points if self.quick else study.points)
        further = study.further if self.further is None else self.further
        plan = Plan(
            study,
            recipe,
            measurement,
            options,
            model=self.model or study.model,
            loading=self.loading,
            style=self.style or study.style,
            seeds=self.seeds,
            points=points,
            kept=self.kept or study.kept,
            further=min(further, 1) if self.quick else further,
            matched_on=self.matched_on,
            init_steps=self.init_steps,
        )
        plan.pairs()  # a study that names arms which it does not have is wrong in any case
        plan.runs()  # and so is one with an arm that starts from what there is not
        assignments.check_taken(found.id, recipe, plan.arms())
        for name, training in (*((arm.name, arm.training) for arm in plan.arms()), ("warm start", plan.warm_up())):
            try:
                if training is not None:
                    check_training(training, found)
            except MisfitError as error:
                error.where = name
                raise
            except RuleshiftError as error:
                raise RuleshiftError(f"{task} {name}: {error}") from error
        return plan

    def _sized(self, recipe: "StudyRecipe", parts: int) -> "StudyRecipe":
        """The recipe, or a part of it if that is asked for."""
        if not self.quick:
            return recipe
        updates = -(-recipe.rl.updates // parts)
        return replace(
            recipe,
            sft=replace(recipe.sft, steps=-(-recipe.sft.steps // parts)),
            rl=replace(recipe.rl, updates=updates, value_only=min(recipe.rl.value_only, updates - 1)),
            measurement=replace(recipe.measurement, n=-(-recipe.measurement.n // parts)),
        )


def label_starts(starts: Sequence[str]) -> dict[str, str]:
    """What folders call start models: the last parts of their names, as many as it takes to tell them apart. Raises
    RuleshiftError for one that is named twice."""
    parts = [name.rstrip("/").split("/") for name in starts]
    for count in range(1, max(map(len, parts), default=0) + 1):
        labels = ["-".join(one[-count:]).lstrip("-") for one in parts]
        if len(set(labels)) == len(starts):
            return dict(zip(labels, starts, strict=True))
    if starts:
        raise RuleshiftError(f"--starts names a model twice: {' '.join(starts)}")
    return {}


def _study(name: str) -> "Study":
    from ruleshift.studies import STUDIES

    if name not in STUDIES:
        problem = f"unknown study {name!r}" if name else "no study is named"
        raise RuleshiftError(f"{problem}; choose from {', '.join(STUDIES)} (ruleshift study --list says more)")
    return STUDIES[name]


def print_studies() -> None:
    """Every study, as `_told` has it."""
    from rich.console import Console

    from ruleshift.studies import STUDIES

    console = Console(highlight=False)
    for study in STUDIES.values():
        console.print(f"{study.name}: {study.question}", style="bold", markup=False)
        for line in _told(study):
            console.print(f"  {line}", markup=False)


def description_of(words: Sequence[str]) -> str:
    """What the help says: of the study that is named among the words of a command line, with an example of it, or
    where none is, of all."""
    whole = inspect.getdoc(StudyCommand) or ""
    if all(word.startswith("-") for word in words):
        return whole

    from ruleshift.studies import STUDIES

    study = next((STUDIES[word] for word in words if word in STUDIES), None)
    if study is None:
        return whole
    _, what_comes, settings, _ = whole.split("\n\n")
    own = _options(study)
    example = f"Example: ruleshift study {study.name} --out runs/{study.name}"
    example += "".join(f" --set {name}={value}" for name, value in [*own.items()][:1])
    told = "\n".join([study.question, *(f"  {line}" for line in _told(study))])
    return "\n\n".join([told, what_comes, settings, example])


def _told(study: "Study") -> list[str]:
    """What a study compares, what the paper found, its tasks, time and options."""
    return [
        study.about,
        *([f"the paper: {study.paper}"] if study.paper else []),
        f"tasks: {', '.join(study.tasks)}; {study.cost}",
        *(f"--set {name}=..., now {value}" for name, value in _options(study).items()),
    ]


def _options(study: "Study") -> dict[str, str]:
    """A study's own options, with their values as --set takes them."""
    own = [] if study.options is None else fields(study.options)
    return {option.name: _written(getattr(study.options, option.name)) for option in own}


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
    return str(value)
