"""The report card: several subjects on the same problems, in numbers and in words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import fmean

import numpy as np

from ruleshift.engines.protocol import Responder
from ruleshift.engines.text import insider
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.asking import Episodes, Questions, ask
from ruleshift.evaluation.claims import Word, corrected, verdict
from ruleshift.evaluation.evaluate import WORDS, Cell, budgets, over_samples
from ruleshift.evaluation.finished import Finished
from ruleshift.evaluation.profile import points_of
from ruleshift.evaluation.record import Slot
from ruleshift.evaluation.revising import Price, TurnGain, gains, pays_until
from ruleshift.evaluation.statistics import (
    Difference,
    Estimate,
    Reading,
    crossed_estimate,
    mean_variance,
    share_interval,
)
from ruleshift.outcomes import is_nothing, shares_of
from ruleshift.records import Episode
from ruleshift.results import CEILING

TRAINED, SHIFTED, FAKE, UNSEEN = "id", "rule-ood", "fake", "heldout"


@dataclass(frozen=True)
class Subject:
    """A finished evaluation under the name that the card shows."""

    name: str
    finished: Finished
    price: Price = Price()


@dataclass(frozen=True)
class Score:
    """A metric on one split within some turns, with its interval over problems."""

    metric: str
    split: str
    turns: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Statement:
    """What the card says of a difference, in a word: `corrected` over all statements of a task. `about` is "shift"
    (shifted rule minus trained rule), "memory" (memorisation minus the floor, see `memory_of`) or "pair" (subject minus
    reference under the shifted rule). `metric` is what is compared, on `split`."""

    about: str
    subject: str
    reference: str
    metric: str
    split: str
    difference: float
    low: float
    high: float
    word: Word


@dataclass(frozen=True)
class SubjectCard:
    """One line of the card: scores, and of models the turns with their costs, and the turn until which they pay; and
    what the replies were to splits on which next to nothing is solved (`outcomes.shares_of`)."""

    name: str
    scores: tuple[Score, ...]
    turns: tuple[TurnGain, ...] = ()
    pays_until: int = 0
    replies: int = 0
    failures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def score(self, metric: str, split: str, turns: int) -> Score | None:
        return next((s for s in self.scores if (s.metric, s.split, s.turns) == (metric, split, turns)), None)


@dataclass(frozen=True)
class TaskCard:
    """All subjects on one task, floors and ceiling beside them. `pairs` are differences on every split, uncorrected."""

    task: str
    version: str
    metric: str
    n: Mapping[str, int]
    turns: int
    subjects: tuple[SubjectCard, ...]
    bounds: tuple[SubjectCard, ...]
    statements: tuple[Statement, ...]
    pairs: tuple[tuple[str, str, str, Difference], ...]
    notes: tuple[str, ...]


Outcomes = dict[tuple[str, str, int], list[float]]  # by split, metric, turns: a number for each problem


def task_card(subjects: Sequence[Subject]) -> TaskCard:
    """The card of one task. Raises RuleshiftError for evaluations that have no problems in common."""
    questions, notes = _common(subjects)
    task, upto = questions.task, tuple(range(1, questions.turns + 1))
    metrics = tuple(dict.fromkeys((task.metric, "success", *WORDS)))
    places = questions.places()
    outcomes: dict[str, Outcomes] = {}
    cards = []
    for subject in subjects:
        mine = [p for p in subject.finished.questions.places() if replace(p, sample=0) in set(places)]
        episodes = subject.finished.episodes()
        asked = replace(questions, samples=subject.finished.questions.samples)
        found = outcomes_of(asked, {place: episodes[place] for place in mine}, metrics, upto)
        outcomes[subject.name] = found
        by_split = {split: [episodes[place] for place in mine if place.split == split] for split in questions.splits}
        cards.append(_subject_card(subject, questions, found, mine, by_split))
    unseen = replace(questions, task=task.unseen())
    bounds = {name: outcomes_of(questions, ask(unseen, who), metrics, upto) for name, who in _bounds(questions)}
    floors = {name: found for name, found in bounds.items() if name != CEILING}
    return TaskCard(
        task.id,
        task.version,
        task.metric,
        {split: len({p.index for p in places if p.split == split}) for split in questions.splits},
        questions.turns,
        tuple(cards),
        tuple(SubjectCard(name, _scores(questions, found)) for name, found in bounds.items()),
        tuple(_statements(questions, outcomes, floors)),
        tuple(_pairs(questions, outcomes)),
        tuple(notes),
    )


def _common(subjects: Sequence[Subject]) -> tuple[Questions, list[str]]:
    """What all subjects were asked, and what else differs between them."""
    asked = [subject.finished.questions for subject in subjects]
    first = asked[0]
    for subject, other in zip(subjects[1:], asked[1:], strict=True):
        for what in ("name", "seed"):
            here, there = getattr(first, what), getattr(other, what)
            if here != there:
                both = f"{subjects[0].name} and {subject.name}"
                raise RuleshiftError(
                    f"{both} met different problems ({what} {here} and {there}): evaluate one again as the other was"
                )
        if (subjects[0].finished.version, first.task) != (subject.finished.version, other.task):
            raise RuleshiftError(
                f"{subjects[0].name} and {subject.name} met different versions or options of {first.task.id}: evaluate "
                "one again"
            )
    splits = tuple(split for split in first.splits if all(split in other.splits for other in asked))
    if not splits:
        raise RuleshiftError("the evaluations have no split in common: evaluate one again as the other was")
    n, turns = min(other.n for other in asked), min(other.turns for other in asked)
    notes = []
    for what, values in (
        ("prompts in different styles", [q.style for q in asked]),
        ("different decodings", [subject.finished.decoding for subject in subjects]),
        ("different budgets of turns", [str(q.turns) for q in asked]),
    ):
        if len(set(values)) > 1:
            said = ", ".join(f"{s.name} {value}" for s, value in zip(subjects, values, strict=True))
            notes.append(f"{what}: {said}")
    return replace(first, splits=splits, n=n, turns=turns, samples=1), notes


def _bounds(questions: Questions) -> list[tuple[str, Responder]]:
    """The policies that scores are read against: the task's floors, and the ceiling."""
    return [(name, insider(name, questions.seed)) for name in (*questions.task.recipe.floors, CEILING)]


def shown_budgets(metric: str, turns: int) -> list[int]:
    """The budgets of turns for which a card shows the task's metric: one, and all."""
    return list(budgets(metric, sorted({1, turns})))


def outcomes_of(questions: Questions, episodes: Episodes, metrics: Sequence[str], turns: Sequence[int]) -> Outcomes:
    """The outcomes of every problem, averaged over samples; words where the rule is shifted and told by words."""
    points = points_of(questions, episodes, "any")
    found: Outcomes = {}
    for split in questions.splits:
        cells: list[Cell] = [point.cell(split, "any") for point in points]
        for metric in metrics:
            if metric in WORDS and not any(cell.stated_words for cell in cells):
                continue
            for budget in budgets(metric, turns):
                found[split, metric, budget] = over_samples(cells, metric, budget)
    return found


def _subject_card(
    subject: Subject,
    questions: Questions,
    found: Outcomes,
    places: Sequence[Slot],
    episodes: Mapping[str, Sequence[Episode]],
) -> SubjectCard:
    split = SHIFTED if SHIFTED in questions.splits else questions.splits[0]
    solved = {turns: found[split, "success", turns] for turns in range(1, questions.turns + 1)}
    shown = [place for place in places if place.split == split]
    turns = gains(subject.finished.kept, solved, shown, subject.price)
    replies = sum(len(subject.finished.kept[place]) for place in places)
    scores, most = _scores(questions, found), shown_budgets(questions.task.metric, questions.turns)[-1]
    lost = [s.split for s in scores if (s.metric, s.turns) == (questions.task.metric, most) and is_nothing(s.value)]
    failures = {split: shares_of(episodes[split]) for split in lost}
    return SubjectCard(subject.name, scores, tuple(turns), pays_until(turns), replies, failures)


def _scores(questions: Questions, found: Outcomes) -> tuple[Score, ...]:
    scores = []
    for split in questions.splits:
        for metric in (questions.task.metric, *WORDS):
            for turns in shown_budgets(metric, questions.turns):
                if (values := found.get((split, metric, turns))) is not None:
                    scores.append(Score(metric, split, turns, fmean(values), *share_interval(values)))
    return tuple(scores)


def memory_of(metric: str, outcomes: Iterable[Outcomes]) -> tuple[str, str] | None:
    """What memorisation is read from, as metric and split, at the first try: where rules are told apart by words, how
    often those of the training rule are used under the shifted one; otherwise the score on `fake`, where one rule is
    stated and the trained one scored. None where neither was asked for."""
    for place in (("trained_words", SHIFTED), (metric, FAKE)):
        if all((place[1], place[0], 1) in found for found in outcomes):
            return place
    return None


def _statements(
    questions: Questions, outcomes: Mapping[str, Outcomes], floors: Mapping[str, Outcomes]
) -> list[Statement]:
    """What the card claims, corrected together (Holm)."""
    metric = questions.task.metric
    turns = shown_budgets(metric, questions.turns)[-1]
    memory = memory_of(metric, [*outcomes.values(), *floors.values()])
    about: list[tuple[str, str, str, str, str, Estimate]] = []
    for name, found in outcomes.items():
        if {TRAINED, SHIFTED} <= set(questions.splits):
            shift = unpaired(found[SHIFTED, metric, turns], found[TRAINED, metric, turns])
            about.append(("shift", name, TRAINED, metric, SHIFTED, shift))
        if memory is not None:
            measure, split = memory
            floor = max(floors, key=lambda who: fmean(floors[who][split, measure, 1]))
            above = crossed_estimate([found[split, measure, 1]], [floors[floor][split, measure, 1]])
            about.append(("memory", name, floor, measure, split, above))
    if SHIFTED in questions.splits:
        for reference, name in combinations(outcomes, 2):
            pair = crossed_estimate(
                [outcomes[name][SHIFTED, metric, turns]], [outcomes[reference][SHIFTED, metric, turns]]
            )
            about.append(("pair", name, reference, metric, SHIFTED, pair))
    intervals = corrected([estimate for *_, estimate in about]) if about else []
    return [
        Statement(kind, name, reference, measure, split, estimate.mean, *_possible(interval), verdict(interval))
        for (kind, name, reference, measure, split, estimate), interval in zip(about, intervals, strict=True)
    ]


def _possible(found: Difference) -> tuple[float, float]:
    """The ends of an interval that a difference of two shares can have."""
    return max(found.low, -1.0), min(found.high, 1.0)


def _pairs(questions: Questions, outcomes: Mapping[str, Outcomes]) -> list[tuple[str, str, str, Difference]]:
    metric = questions.task.metric
    turns = shown_budgets(metric, questions.turns)[-1]
    pairs = []
    for reference, name in combinations(outcomes, 2):
        for split in questions.splits:
            mine, theirs = outcomes[name][split, metric, turns], outcomes[reference][split, metric, turns]
            found = crossed_estimate([mine], [theirs]).interval()
            pairs.append((split, name, reference, Difference(found.mean, *_possible(found), found.n)))
    return pairs


def unpaired(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """The difference of two means of shares over different problems.

        mean(a) - mean(b)        Var = sd(a)^2 / n + sd(b)^2 / m        df as for unequal variances

    A second reading, which counts where it is wider, adds one success and one failure to either side, which makes the
    difference smaller by n / (n + 2), and by as much the error is made larger here, n the smaller side. Without it few
    problems that all went one way would leave no doubt: 0 of 3 against 3 of 3 has p = 0.07, 0 of 67 against 0 of 67 an
    interval of +- 4.2 points.

    a (n,), b (m,), within [0, 1]. Source: B. L. Welch, Biometrika 34 (1947); A. Agresti and B. Caffo, Simple and
    effective confidence intervals for proportions and differences of proportions, The American Statistician 54 (2000).
    """
    fewest, more = min(len(a), len(b)), _welch([*a, 0, 1], [*b, 0, 1])
    stretched = more._replace(error=more.error * (fewest + 2) / fewest)
    return Estimate(fmean(a) - fmean(b), (_welch(a, b), stretched), fewest, 1)


def _welch(a: Sequence[float], b: Sequence[float]) -> Reading:
    parts = [mean_variance(np.array(values, dtype=float)) for values in (a, b)]
    variance = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.df for part in parts)
    return Reading(math.sqrt(variance), variance**2 / spread if 0 < spread < math.inf else 1.0)
