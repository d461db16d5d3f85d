"""What a study is: arms made of a task's recipe, what is measured, which pairs are compared, and what is shown.

A study is a record in a file of its own, with an entry in `ruleshift.studies.STUDIES`. This module and those files
import nothing heavy, so that the command line can list them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ruleshift.backbones.config import AnyStyle, ModelOptions
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.claims import Answer, Word
from ruleshift.evaluation.comparison import Comparison, MatchedOn
from ruleshift.records import Told
from ruleshift.results import Results
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.studies.recipes import PRESET, StudyRecipe, recipe_of
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style
from ruleshift.tasks.recipe import Endpoint
from ruleshift.training.algorithms import configured

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from rich.table import Table

    from ruleshift.evaluation.evaluate import Point
    from ruleshift.evaluation.insight import Insight
    from ruleshift.evaluation.training_profile import TrainingProfile

Training = SFTConfig | RLConfig
SHORT = {"learning_rate": "lr", "algorithm": ""}  # of fields, in names of variants
WARM = "init"  # folder of what comes before all arms, in that of a task
ALL_FIGURES = ("plane", "kl", "tries", "compute", "seen", "recognition")


@dataclass(frozen=True)
class Start:
    """What another arm of the same seed was after a step of its training (None: at its end)."""

    arm: str
    step: int | None = None


@dataclass(frozen=True)
class Arm:
    """One way to train the start model, or what another arm made of it (`start`, an arm that stands before this one).
    `about` tells readers of the report what it is.

    `variant_of` names the arm whose variant it is, if any. An arm that is not `dense` is evaluated at its end only. One
    without training is the model that it starts from, measured again. `feedback` is how much the verifier tells this
    arm, in training and evaluation, where that is another level than the study's.
    """

    name: str
    training: Training | None
    about: str = ""
    variant_of: str | None = None
    dense: bool = True
    start: Start | None = None
    feedback: Told | None = None


def variant(arm: Arm, /, *, dense: bool = False, **changes: Any) -> Arm:
    """The arm with other values of some fields of its training, and named after them.

    variant(sft, learning_rate=3e-4) is `sft-lr3e-4`; variant(rl, kl_in="reward", epochs=2) is
    `rl-kl-in-reward-epochs2`. With another algorithm come the values that make it what it is, as in `ruleshift rl
    --algorithm`: variant(rl, algorithm="grpo") is `rl-grpo`. Raises RuleshiftError for an unknown one.
    """
    assert arm.training is not None, f"{arm.name} is not trained"
    name = "-".join([arm.name, *(_in_name(field, value) for field, value in changes.items())])
    if isinstance(arm.training, RLConfig) and "algorithm" in changes:
        training: Training = configured(arm.training, changes.pop("algorithm"), **changes)
    else:
        training = replace(arm.training, **changes)
    return replace(arm, name=name, training=training, about="", variant_of=arm.variant_of or arm.name, dense=dense)


def _in_name(field: str, value: object) -> str:
    short = SHORT.get(field, field.replace("_", "-"))
    if value is None or isinstance(value, bool):
        return short if value else f"no-{short}"
    if isinstance(value, float):
        plain = value == 0 or (field not in SHORT and 1e-3 <= abs(value) < 1e4)
        return short + (f"{value:g}" if plain else _scientific(value))
    return f"{short}{value}" if isinstance(value, int) else f"{short}-{_words(value)}".lstrip("-")


def _scientific(value: float) -> str:
    """All digits of a number, as 3e-4."""
    mantissa, exponent = f"{Decimal(repr(value)).normalize():e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _words(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Pair:
    """Two arms to compare: at their ends, or where they match in the training rule (`id`), in KL to the start (`kl`),
    or in the computing of their training (`flops`)."""

    arm: str
    reference: str
    matched_on: MatchedOn | None = None


def head_to_head(arm: str, reference: str) -> tuple[Pair, ...]:
    """Two arms compared in every way."""
    return Pair(arm, reference), *(Pair(arm, reference, on) for on in get_args(MatchedOn))


@dataclass(frozen=True)
class Claimed:
    """A difference of two arms at their ends that a study is decided by, named before it is run, and what is expected
    of it: that the arm `raises`, `lowers` or `keeps` what it is compared in.

    reference: the start model where none is named. endpoint: the primary one of a task where none is named. tasks: all
    of the study where none are named. says: the paper's claim, with its figures and their source. against: what
    speaks against reading our figure as an answer to it, whatever it is.
    """

    says: str
    arm: str
    word: Word
    reference: str | None = None
    endpoint: Endpoint | None = None
    tasks: tuple[str, ...] = ()
    against: str = ""


@dataclass(frozen=True)
class ClaimedChange:
    """A change of a measure beside the scores (`studies.changes`) that a study is decided by: that an arm at its end
    `raises`, `lowers` or `keeps` what the start model has. Else as `Claimed`."""

    says: str
    arm: str
    word: Word
    split: str
    metric: str
    against: str = ""


@dataclass(frozen=True)
class Expectation:
    """What is expected of a study that its numbers answer in a way of their own, task by task: `found` reads the folder
    in which these are published, and returns our figure in words and what follows from it; None where there are none.
    Else as `Claimed`."""

    says: str
    found: Callable[[Path], tuple[str, Answer] | None]
    against: str = ""


@dataclass(frozen=True)
class Findings:
    """What a study found on one task. `seconds` are those of first, second ... tries at the end of each arm and seed,
    by `split/decoding`, where they are known; `drawn` are the steps of each arm and seed, and the conversations that
    were sampled or shown until then."""

    results: Results
    comparisons: Sequence[Comparison]
    points: "Sequence[Point]"
    measurement: Measurement
    seconds: Mapping[tuple[str, int], Mapping[str, Sequence[float]]] = field(default_factory=dict)
    insights: "Sequence[Insight]" = ()
    drawn: Mapping[tuple[str, int], Mapping[int, float]] = field(default_factory=dict)
    profiles: "Sequence[TrainingProfile]" = ()


Arms = Callable[[StudyRecipe, Any], Sequence[Arm]]
Tables = Callable[[Findings, int], "list[Table]"]  # what was found, columns of the terminal
Picture = Callable[[Results, Path], "go.Figure | None"]  # published results, and the folder that holds them


@dataclass(frozen=True)
class Study:
    """A question, and everything that answers it on a task.

    arms: the arms, in the order in which they are shown, made of the recipe of a task and the study's own `options` (a
    frozen record whose fields the command line can set). The start model is an arm by itself, named `start`, and
    every arm is compared with it at its end.
    measures: from what is usually measured on a task to what this study measures; `trained` is the split of the
    training rule, on which arms are matched. `pairs` are compared as well.
    primary: what is claimed, with Holm's correction over all of it. `measured`: the same of measures beside the scores,
    corrected within each task. `expected`: what is asked of its numbers in another way. All else is exploratory.
    paper: what the paper found, with the source. points: evaluations along a training, and further: most of those that
    are made where arms match, unless others are asked for.
    tables: shown in the terminal. figures: of the page. files: further JSON files, by name. pictures: of what is
    published of it, beside the first, which every study has, by name.
    options, quick: values of the study's own options, and those under --quick where they are others; `quick_part`: a
    quick study trains and measures one part in so many, and evaluates `quick_points` models along a training.
    warm_up: the SFT, if any, that makes the start model of `model`, once for all arms and seeds. `style`, `preset` (of
    the task's recipe) and `kept` are what a plan has unless it is given others.
    """

    name: str
    question: str
    about: str
    cost: str
    tasks: tuple[str, ...]
    arms: Arms
    tables: tuple[Tables, ...]
    pairs: tuple[Pair, ...] = ()
    primary: tuple[Claimed, ...] = ()
    measured: tuple[ClaimedChange, ...] = ()
    expected: tuple[Expectation, ...] = ()
    paper: str = ""
    points: int = 4
    further: int = 4
    measures: Callable[[Measurement], Measurement] = lambda usual: usual
    options: Any = None
    quick: Any = None
    figures: tuple[str, ...] = ALL_FIGURES
    files: Mapping[str, Callable[[Findings], object]] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    start: str = "base"
    trained: str = "id"
    first_seed: int = 0
    warm_up: Callable[[StudyRecipe, Any], SFTConfig] | None = None
    model: str = "bundled"
    style: AnyStyle = "auto"
    preset: str = PRESET
    kept: int = 24
    quick_part: int = 3
    quick_points: int = 2

    def endpoints(self, task: str) -> tuple[tuple[str, str, Endpoint], ...]:
        """What is claimed on a task: of which arm, against what, and at which endpoint. Each once, however many
        expectations there are of it."""
        usual, found = get_task(task).recipe.primary, []
        for claim in self.primary:
            end = claim.endpoint or usual
            if end is not None and (not claim.tasks or task in claim.tasks):
                found.append((claim.arm, claim.reference or self.start, end))
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class StartModel:
    """The model that all arms begin with, how it is loaded and spoken to, and what its prompts depend on for that
    (`Chat.facts`), which goes on record with a digest of its weights."""

    name: str
    options: ModelOptions = ModelOptions()
    style: Style = "full"
    facts: Mapping[str, str] = field(default_factory=dict)
    weights: str = ""

    @property
    def settings(self) -> dict[str, object]:
        """What decides it, for the configuration of a run."""
        return {"model": self.name, "weights": self.weights, **({"chat": self.facts} if self.facts else {})}


@dataclass(frozen=True)
class Run:
    """One training of an arm: a seed, the steps to evaluate, and those of which the model is kept (these among them),
    to be evaluated where a matched comparison needs it. Without training it is what it starts from, at step 0: the
    start model, or where `start` is given, what that run was after one of its steps. `feedback` as of an arm."""

    name: str
    seed: int
    training: Training | None
    points: tuple[int, ...]
    kept: tuple[int, ...] = ()
    start: "Origin | None" = None
    feedback: Told | None = None

    @property
    def folder(self) -> str:
        return f"{self.name}-seed{self.seed}"

    @property
    def length(self) -> int:
        """Units of work."""
        return length(self.training) if self.training else 1


@dataclass(frozen=True)
class Origin:
    """What a run starts from: the model of another one, which evaluates and keeps it, after a step."""

    run: Run
    step: int


@dataclass(frozen=True)
class Plan:
    """A study of one task, with all its settings.

    Along each training `points` models are evaluated and about `kept` are kept, of which at most `further` more are
    evaluated where pairs are matched, by what is in `matched_on`. `label` is what folders call the start model, where
    there are several.
    """

    study: Study
    recipe: StudyRecipe
    measurement: Measurement
    options: Any = None
    model: str = "bundled"
    loading: ModelOptions = ModelOptions()
    style: AnyStyle = "auto"
    seeds: int = 1
    points: int = 4
    kept: int = 24
    further: int = 4
    matched_on: tuple[MatchedOn, ...] = get_args(MatchedOn)
    init_steps: int = 0
    label: str = ""

    @property
    def task(self) -> str:
        return self.measurement.task

    @property
    def folder(self) -> str:
        """The name of its folder in that of the study."""
        from ruleshift.tasks import get_task

        name = get_task(self.task).id
        return f"{name}@{self.label}" if self.label else name

    def arms(self) -> list[Arm]:
        """The trained arms, in the order in which they are shown."""
        return list(self.study.arms(self.recipe, self.options))

    def warm_up(self) -> SFTConfig | None:
        """The SFT that comes before all arms, if any: `init_steps` under the training rule, or that of the study."""
        if self.init_steps:
            return SFTConfig(steps=self.init_steps, batch=128, micro_batch=128, learning_rate=1e-4, seed=10_000)
        return self.study.warm_up and self.study.warm_up(self.recipe, self.options)

    def warm_run(self) -> Run | None:
        """The same as a run, of which the model at the end is kept."""
        training = self.warm_up()
        return None if training is None else Run(WARM, 0, training, (training.steps,))

    def runs(self) -> list[Run]:
        """All runs: the start model, then every arm, seed by seed, each after the one that it starts from. Raises
        RuleshiftError for an arm that starts from what there is not."""
        seeds = range(self.study.first_seed, self.study.first_seed + self.seeds)
        trained = [run for seed in seeds for run in self._runs(self.arms(), seed)]
        return [Run(self.study.start, 0, None, (0,)), *trained]

    def _runs(self, arms: Sequence[Arm], seed: int) -> list[Run]:
        made: dict[str, Run] = {}
        for arm in arms:
            made[arm.name] = self._run(arm, seed, _origin(arm, made), _started_from(arm, arms))
        return list(made.values())

    def _run(self, arm: Arm, seed: int, origin: Origin | None, started: Collection[int]) -> Run:
        """started: steps from which other arms start, which are evaluated too."""
        if arm.training is None:
            return Run(arm.name, seed, None, (0,), (), origin, arm.feedback)
        if arm.feedback == "none":
            raise ValueError(f"arm {arm.name} is trained, and one that forgets its failed tries can only be measured")
        steps = length(arm.training)
        points = log_spaced(steps, self.points, first_point(arm.training)) if arm.dense else (steps,)
        points = tuple(sorted({*points, *started}))
        more = log_spaced(steps, self.kept, first_change(arm.training)) if arm.dense else ()
        training = replace(arm.training, seed=seed)
        return Run(arm.name, seed, training, points, tuple(sorted({*points, *more})), origin, arm.feedback)

    def origins(self) -> dict[str, tuple[str, int]]:
        """Of arms that go on from others: from which, and after which step."""
        return {run.name: (run.start.run.name, run.start.step) for run in self.runs() if run.start is not None}

    def pairs(self) -> list[Pair]:
        """Every arm with the start, then the pairs of the study of which the task and the options left both arms in. An
        arm is compared with what it goes on from at their ends alone: they match where it begins. Raises ValueError for
        arms that there never are."""
        names = [arm.name for arm in self.arms()]
        there = (self.study.start, *names)
        paired = [name for pair in self.study.pairs for name in (pair.arm, pair.reference)]
        recipes = [self.recipe, *(recipe_of(task, self.study.preset) for task in self.study.tasks)]
        usual = [arm.name for recipe in recipes for arm in self.study.arms(recipe, self.study.options)]
        unknown = [name for name in paired if name not in (*there, *usual)]
        if unknown or len(set(names)) < len(names):
            raise ValueError(
                f"study {self.study.name} has the arms {', '.join(names)}: each once, and none of {unknown}"
            )
        left = [pair for pair in self.study.pairs if pair.arm in there and pair.reference in there]
        before = {name: _before(name, self.arms()) for name in there}
        apart = [p for p in left if p.arm not in before[p.reference] and p.reference not in before[p.arm]]
        chosen = [p for p in left if p.matched_on is None or (p.matched_on in self.matched_on and p in apart)]
        return [*(Pair(name, self.study.start) for name in names), *chosen]


def _origin(arm: Arm, made: Mapping[str, Run]) -> Origin | None:
    """What an arm starts from, among runs that are made before it."""
    if arm.start is None:
        return None
    run = made.get(arm.start.arm)
    if run is None or run.training is None:
        raise RuleshiftError(
            f"arm {arm.name} starts from {arm.start.arm}, which no arm before it is trained as: add that one"
        )
    step, last = arm.start.step, length(run.training)
    if step is not None and not 0 < step <= last:
        raise RuleshiftError(
            f"arm {arm.name} starts from step {step} of {arm.start.arm}, which is trained for {last}: train it longer"
        )
    return Origin(run, last if step is None else step)


def _before(name: str, arms: Sequence[Arm]) -> set[str]:
    """The arms from which this one goes on, one after the other."""
    starts = {arm.name: arm.start.arm for arm in arms if arm.start is not None}
    found: set[str] = set()
    while name in starts and starts[name] not in found:
        name = starts[name]
        found.add(name)
    return found


def _started_from(arm: Arm, arms: Sequence[Arm]) -> set[int]:
    """The steps of an arm from which others start."""
    starts = [other.start for other in arms if other.start is not None and other.start.arm == arm.name]
    last = length(arm.training) if arm.training else 0
    return {last if start.step is None else start.step for start in starts}


def length(training: Training) -> int:
    """Steps or updates of a training."""
    return training.steps if isinstance(training, SFTConfig) else training.updates


def first_change(training: Training) -> int:
    """The first step that changes the model: a training of rewards begins with the value head alone."""
    return 1 if isinstance(training, SFTConfig) else training.value_only + 1


def first_point(training: Training) -> int:
    """The first step at which evaluating is worth the while in any case."""
    return 3 if isinstance(training, SFTConfig) else first_change(training)


def log_spaced(last: int, count: int, first: int = 1) -> tuple[int, ...]:
    """`count` steps from `first` to `last`, or all where there are fewer: whole and distinct, as evenly spaced on a
    logarithmic scale as that allows."""
    if count == 1 or last <= first:
        return (last,)
    steps = [first]
    for left in range(min(count, last - first + 1) - 1, 0, -1):
        steps.append(max(steps[-1] + 1, round(steps[-1] * (last / steps[-1]) ** (1 / left))))
    return tuple(steps)
