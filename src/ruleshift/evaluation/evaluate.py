"""Evaluating a policy: episodes on a split, boiled down to what every later number is computed from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from statistics import fmean

from ruleshift.engines.protocol import Responder
from ruleshift.evaluation.statistics import mean_interval, pooled_share, share_interval, standard_error
from ruleshift.evaluation.tries import Spent
from ruleshift.records import Episode
from ruleshift.results import Row
from ruleshift.revision import Conversation, revise
from ruleshift.tasks.protocol import Style, Task, how_many

WORDS = ("stated_words", "trained_words", "other_words")
PER_BUDGET = ("success", "step_accuracy", "first_try_accuracy", "steps_passed")
OF_FIRST_REPLIES = ("validity", "recognition", "decision_accuracy", *WORDS, "sound_work")
METRICS = (*PER_BUDGET, *OF_FIRST_REPLIES)
FEW = 0.5  # of the steps that the start model passes: who passes less is judged by how problems begin


def budgets(metric: str, turns: Sequence[int]) -> Sequence[int]:
    """The verification budgets under which a metric is measured: one try for those of first replies."""
    return (1,) if metric in OF_FIRST_REPLIES else turns


@dataclass(frozen=True)
class Cell:
    """Outcomes of one model on one split with one decoding, problem by problem.

    `tries` holds for each problem the replies that each of its steps took, in order, negative where none of them was
    right: a card problem is one step, a route has one for each position that was reached. `valid` and `read_right`
    count the steps whose first reply was right in form to the letter, and that was read right. `decided` counts those
    at which something was to be decided, `decided_right` those of them whose first reply was right, and `stated_words`
    and `trained_words` those whose first reply used words of the stated rule, and of the training rule. The latter two
    are empty where the rule is that of training, all four in points of earlier versions, which did not tell. `shown`
    counts the steps whose first reply showed its work, `sound` those of them in which it was true and led to the
    answer; empty where none did. `confidence` holds for each problem the mean probability of the first replies to steps
    at which something was to be decided, where whoever answered tells it, and `spent` what the first, second ... tries
    took (see `tries.Spent`); empty in points of earlier versions. `most` is how many tries a step was given; 0 in
    points of earlier versions, whose steps were all given as many as any table asks for. `replies` holds for each
    problem how many replies were what (see `outcomes.counts_of`), where next to nothing is solved; empty elsewhere.
    """

    split: str
    decoding: str
    tries: tuple[tuple[int, ...], ...]
    valid: tuple[int, ...]
    read_right: tuple[int, ...]
    decided: tuple[int, ...] = ()
    decided_right: tuple[int, ...] = ()
    stated_words: tuple[int, ...] = ()
    trained_words: tuple[int, ...] = ()
    shown: tuple[int, ...] = ()
    sound: tuple[int, ...] = ()
    confidence: tuple[float, ...] = ()
    spent: tuple[Spent, ...] = ()
    most: int = 0
    replies: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def covers(self, turns: int) -> bool:
        """Whether this tells what comes of a budget of `turns`."""
        return not self.most or turns <= self.most

    @property
    def has_steps(self) -> bool:
        """Whether any problem has more than one step."""
        return any(len(steps) > 1 for steps in self.tries)

    @property
    def goes_on(self) -> bool:
        """Whether a problem goes on after a step that was given up (`advanced` without a right reply)."""
        return any(t < 0 for steps in self.tries for t in steps[:-1])

    def outcomes(self, metric: str, turns: int) -> list[float]:
        """One number per problem, whose mean is the metric under a verification budget of `turns` for each step.

        success: every step is solved. step_accuracy: the share of right replies, retries counted, as in the paper.
        first_try_accuracy: the share of steps whose first reply is right. Both pool the steps of all problems (see
        `pooled_share`). steps_passed: how many steps are solved before one fails. validity, recognition: the shares of
        first replies, whatever the budget. decision_accuracy: the share of right ones among the first replies to steps
        at which something is decided (on walks the start, turns and the destination; turns alone where their words are
        shifted). stated_words, trained_words, other_words: of the same replies, the shares that use words of the rule
        that the prompt states, of the training rule, and others or none. sound_work: of the first replies that show
        their work, the share in which it is true and leads to the answer. Raises ValueError for a budget of more tries
        than steps were given.
        """
        if not self.covers(turns):
            raise ValueError(f"steps were given {self.most} tries, which says nothing of {turns}")
        if metric == "success":
            return [float(all(0 < t <= turns for t in steps)) for steps in self.tries]
        if metric in OF_FIRST_REPLIES:
            return pooled_share(*self.firsts(metric))
        if metric == "steps_passed":
            return [float(len(list(takewhile(lambda t: 0 < t <= turns, steps)))) for steps in self.tries]
        reached = self.tries if self.goes_on else [_reached(steps, turns) for steps in self.tries]
        passed = [sum(0 < t <= turns for t in steps) for steps in reached]
        if metric == "first_try_accuracy":
            return pooled_share([sum(t == 1 for t in steps) for steps in reached], [len(steps) for steps in reached])
        assert metric == "step_accuracy", metric
        return pooled_share(passed, [sum(min(abs(t), turns) for t in steps) for steps in reached])

    def firsts(self, metric: str) -> tuple[Sequence[int], Sequence[int]]:
        """Of each problem, what a metric of `OF_FIRST_REPLIES` counts: the replies that have what it asks for, and of
        how many. Zeros where nothing is counted."""
        replies, none = [len(steps) for steps in self.tries], [0] * len(self.tries)
        if metric in ("validity", "recognition"):
            return self.valid if metric == "validity" else self.read_right, replies
        if metric == "sound_work":
            return self.sound or none, self.shown or none
        decided, stated, trained = (self.decided or none, self.stated_words or none, self.trained_words or none)
        if metric == "decision_accuracy":
            return self.decided_right or none, decided
        if metric == "other_words":
            return [d - s - t for d, s, t in zip(decided, stated, trained, strict=True)], decided
        return stated if metric == "stated_words" else trained, decided


def over_samples(cells: Sequence[Cell], metric: str, turns: int) -> list[float]:
    """One number per problem, as `Cell.outcomes`, of several samples of each, a cell for each sample: the mean of
    theirs; of metrics of first replies, all of these together."""
    if metric not in OF_FIRST_REPLIES:
        return [fmean(problem) for problem in zip(*(cell.outcomes(metric, turns) for cell in cells), strict=True)]
    counted = zip(*(cell.firsts(metric) for cell in cells), strict=True)
    hits, replies = ([sum(problem) for problem in zip(*samples, strict=True)] for samples in counted)
    return pooled_share(hits, replies)


def _reached(steps: Sequence[int], turns: int) -> Sequence[int]:
    """The steps that a budget of `turns` lets one reach: up to the first that needs more."""
    end = next((i for i, t in enumerate(steps, 1) if t > turns), len(steps))
    return steps[:end]


@dataclass(frozen=True)
class Point:
    """One model at one moment of its training, evaluated. `kls` are what single problems say of the KL, which is their
    mean; empty where it was not measured on problems. `sharpness`: see `evaluation.sharpness`."""

    task: str
    arm: str
    seed: int
    step: int
    train_flops: float
    kl_to_start: float
    cells: tuple[Cell, ...]
    kls: tuple[float, ...] = ()
    sharpness: float | None = None

    def cell(self, split: str, decoding: str) -> Cell:
        return next(cell for cell in self.cells if (cell.split, cell.decoding) == (split, decoding))

    @property
    def kl_error(self) -> float | None:
        """The standard error of the KL to the start."""
        return standard_error(self.kls) if len(self.kls) > 1 else None

    def value(self, metric: str, split: str, turns: int, decoding: str) -> float:
        return fmean(self.cell(split, decoding).outcomes(metric, turns))


def evaluate(
    responder: Responder,
    task: Task,
    split: str,
    n: int,
    turns: int,
    style: Style = "full",
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
    pictured: int | None = None,
    forgets: bool = False,
    heard: Callable[[Conversation], object] | None = None,
) -> list[Episode]:
    """Episodes of the problems 0..n-1 of (split, seed), as many as there are: the same hands for every model.

    pictured: how many of them keep their pictures; see `revise`, of `forgets` and `heard` too.
    """
    problems = [task.problem(split, seed, index, style) for index in range(how_many(task, split, n))]
    return revise(problems, responder, turns, progress, pictured, forgets=forgets, heard=heard)


def cell_of(split: str, decoding: str, episodes: Sequence[Episode]) -> Cell:
    """The outcomes of episodes."""
    tries, valid, read_right, decided, decided_right = [], [], [], [], []
    words: list[list[str]] = []
    work: list[list[str]] = []
    for episode in episodes:
        steps = [[turn.verdict for turn in step] for step in episode.steps]
        tries.append(tuple(len(step) if step[-1].right else -len(step) for step in steps))
        valid.append(sum(step[0].valid for step in steps))
        read_right.append(sum(step[0].read_right is not False for step in steps))
        at_stake = [step[0] for step in steps if step[0].decides]
        decided.append(len(at_stake))
        decided_right.append(sum(verdict.right for verdict in at_stake))
        work.append([step[0].work for step in steps if step[0].work is not None])
        words.append([verdict.words for verdict in at_stake if verdict.words is not None])
    counts = tuple(valid), tuple(read_right), tuple(decided), tuple(decided_right)
    shifted = [tuple(said.count(kind) for said in words) for kind in ("stated", "trained") if any(words)]
    cell = Cell(split, decoding, tuple(tries), *counts, confidence=_confidence(episodes))
    if shifted:
        cell = replace(cell, stated_words=shifted[0], trained_words=shifted[1])
    if not any(work):
        return cell
    return replace(cell, shown=tuple(map(len, work)), sound=tuple(said.count("sound") for said in work))


def _confidence(episodes: Sequence[Episode]) -> tuple[float, ...]:
    """See Cell."""
    firsts = [[step[0] for step in episode.steps if step[0].verdict.decides] for episode in episodes]
    if not all(turns and all(turn.completion.logprobs for turn in turns) for turns in firsts):
        return ()
    return tuple(fmean(math.exp(math.fsum(turn.completion.logprobs)) for turn in turns) for turns in firsts)


def rows_of(point: Point, turns: Sequence[int], stepwise: bool = False) -> list[Row]:
    """Result rows of a point: success (and for problems with steps, what is measured of them) within each of `turns`,
    and `validity`, `recognition` and (with steps) `decision_accuracy` of first replies, with the words that these use
    where the rule is shifted, and `sound_work` where work is shown. What is decided comes first. stepwise: whether
    problems have steps, also where none got beyond the first."""
    rows = []
    stepwise = stepwise or any(cell.has_steps for cell in point.cells)
    for cell in point.cells:
        measured = [("decision_accuracy", 1)] if stepwise and cell.decided else []
        measured += [(metric, 1) for metric in WORDS if stepwise and cell.stated_words]
        covered = [budget for budget in turns if cell.covers(budget)]
        per_budget = [m for m in PER_BUDGET if m != "steps_passed" or len(cell.tries) > 1]  # one mean has no interval
        measured += [(metric, budget) for budget in covered for metric in (per_budget if stepwise else PER_BUDGET[:1])]
        measured += [("validity", 1), ("recognition", 1), *([("sound_work", 1)] if any(cell.shown) else [])]
        for metric, budget in measured:
            values = cell.outcomes(metric, budget)
            low, high = _steps_interval(values) if metric == "steps_passed" else share_interval(values)
            where = (point.task, point.arm, point.seed, point.step, cell.split, metric, budget, cell.decoding)
            moved = (point.kl_to_start, point.train_flops, point.kl_error)
            rows.append(Row(*where, fmean(values), len(values), low, high, *moved))
    return rows


def _steps_interval(values: Sequence[float]) -> tuple[float, float]:
    """The interval of a mean number of steps, which is never below 0."""
    low, high = mean_interval(values)
    return max(low, 0.0), high
