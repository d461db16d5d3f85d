"""What is kept of a task while another one is learned? Cards then walks, and walks then cards, on one model.

Each way to train is applied twice, with the settings that the recipe of each task has for it: settings that are given
with --set hold for both, and of their lengths the same share is trained. After either training all is measured on both
tasks, so that what the second one taught stands beside what it cost: who learns nothing forgets nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeVar

from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.claims import Word
from ruleshift.evaluation.forgetting import kept_share
from ruleshift.results import Results
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies.recipes import StudyRecipe, on_samples, recipe_of
from ruleshift.studies.study import Arm, Claimed, Findings, Pair, Start, Study, Training
from ruleshift.studies.tables import ends
from ruleshift.tasks.recipe import Endpoint
from ruleshift.training.algorithms import configured, guided_by_default

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from rich.table import Table

BOTH = "ruleshift.tasks.mixture:CardsAndWalks"
PARTS = ("gp-l", "virl-l")
ORDERS = (PARTS, PARTS[::-1])
WAYS = {
    "sft": "SFT on the expert's replies",
    "self-sft": "SFT on its own right replies",
    "rl": "PPO",
    "distil": "on-policy distillation from the expert",
}
Config = TypeVar("Config", SFTConfig, RLConfig)


@dataclass(frozen=True)
class Ways:
    """Options of the study."""

    ways: tuple[str, ...] = tuple(WAYS)
    """Ways to train."""

    def __post_init__(self) -> None:
        for way in self.ways:
            if way not in WAYS:
                raise RuleshiftError(f"--set ways: there is no {way!r}; choose from {', '.join(WAYS)}")


def arms(recipe: StudyRecipe, options: Ways) -> list[Arm]:
    """Every way, on one task, then from there on the other."""
    found = []
    for way in dict.fromkeys(options.ways):
        for first, second in ORDERS:
            before, after = f"{way}-{first}", f"{way}-{first}-then-{second}"
            trained = {part: _training(way, part, recipe) for part in (first, second)}
            about = f"after {WAYS[way]} on {first}"
            found.append(Arm(before, trained[first], about, dense=False))
            found.append(Arm(after, trained[second], f"{about}, then on {second}", dense=False, start=Start(before)))
    return found


def _training(way: str, part: str, given: StudyRecipe) -> Training:
    """A way to train on a part, with its recipe's settings, and what was set otherwise in the study's."""
    usual, own = recipe_of(BOTH), recipe_of(part)
    by_hand = {of: given.given.get(of, ()) for of in ("sft", "rl")}
    sft = _as_set(own.sft, given.sft, usual.sft, part, by_hand["sft"])
    rl = _as_set(own.rl, given.rl, usual.rl, part, by_hand["rl"])
    if way == "sft":
        return sft
    if way == "self-sft":
        return replace(on_samples(sft, rl, by_hand["sft"]), data="self-verified")
    if way == "rl":
        return rl
    set_last = {name: getattr(rl, name) for name in by_hand["rl"] if name != "algorithm"}
    return configured(guided_by_default(rl), "opd", **{"teacher": "expert", **set_last})


def _as_set(own: Config, given: Config, usual: Config, part: str, by_hand: Collection[str]) -> Config:
    """A part's own settings with those of the study that were set by hand, or are not the usual ones. Of a training
    made shorter or longer (--quick) the share is taken: one task may need a third of the steps that the other does."""
    every = [field.name for field in fields(usual)]
    names = [name for name in every if name in by_hand or getattr(given, name) != getattr(usual, name)]
    changes: dict[str, Any] = {"split": f"{part}-train", **{name: getattr(given, name) for name in names}}
    for name in {"steps", "updates"} & changes.keys():
        changes[name] = max(1, round(getattr(own, name) * changes[name] / getattr(usual, name)))
    return replace(own, **changes)


def retained(found: Findings, width: int) -> "list[Table]":
    """Of each way and order: the first task at the start, after its training, and after that of the second, what is
    kept of the gain; and the second task before and after its own."""
    from ruleshift.report.terminal import blocks

    m, meta = found.measurement, found.results.meta
    last = {(point.arm, point.seed): point for point in found.points}
    names = list(dict.fromkeys(arm for arm, _ in last))
    lines = []
    for way in WAYS:
        for first, second in ORDERS:
            arms = [meta["start"], f"{way}-{first}", f"{way}-{first}-then-{second}"]
            if not all(arm in names for arm in arms):
                continue
            for rule in ("id", "rule-ood"):
                cells = []
                for split in (f"{first}-{rule}", f"{second}-{rule}"):
                    what = (str(meta["metric"]), split, 1, m.decodings[-1])
                    cells.append([fmean(p.value(*what) for (a, _), p in last.items() if a == arm) for arm in arms])
                share = kept_share(*cells[0])
                numbers = [*cells[0], *cells[1][1:]]
                kept = "little learned" if share is None else f"{share:.0%}"
                lines.append([way, first, rule, *(f"{100 * number:.1f}" for number in numbers), kept])
    columns = ["start", "after it", "after both", "second, before", "second, after", "kept"]
    title = f"{meta['metric']}, {m.decodings[-1]}, %: a task, and what is kept of its gain after another"
    return blocks(title, ("way", "first", "rule"), columns, lines, width)


def _claimed() -> tuple[Claimed, ...]:
    """Whether SFT loses the first task while the second one is learned, and RL and on-policy ways keep it: each against
    what it had learned itself, since ways that end higher on the first task have more to lose."""
    found = []
    says: dict[str, tuple[str, Word]] = {
        "sft": ("SFT forgets {} while {} is learned (RL's Razor, arXiv 2509.04259)", "lowers"),
        "rl": ("RL keeps {} while {} is learned (RL's Razor, arXiv 2509.04259)", "keeps"),
        "self-sft": ("SFT on own replies keeps {} while {} is learned (Retaining by Doing, arXiv 2510.18874)", "keeps"),
        "distil": ("on-policy distillation keeps {} while {} is learned (arXiv 2601.19897)", "keeps"),
    }
    for first, second in ORDERS:
        end = Endpoint("decision_accuracy", f"{first}-id", 1, "sampled")
        against = (
            "the second task may be learned to another degree; of a gain below 5 points all may be lost and kept said"
        )
        for way, (claim, word) in says.items():
            after, before = f"{way}-{first}-then-{second}", f"{way}-{first}"
            found.append(Claimed(claim.format(first, second), after, word, before, end, (), against))
    return tuple(found)


def _kept(results: Results, folder: Path) -> "go.Figure | None":
    from ruleshift.report.retention import through_both

    return through_both(results, tuple(WAYS), ORDERS)


RETENTION = Study(
    name="retention",
    question="What is kept of a task while another one is learned?",
    about="Cards then walks, and walks then cards, under SFT, SFT on own replies, PPO and distillation.",
    paper="not asked there; RL forgets less at equal new-task score (arXiv 2509.04259), for its data is its own "
    "(2510.18874)",
    cost="with --quick, 200 problems and all four ways 13 minutes a seed on two CPU cores; by parts timed 32 without "
    "(SFT and PPO)",
    tasks=(BOTH,),
    arms=arms,
    options=Ways(),
    quick=Ways(("sft", "rl")),
    pairs=tuple(Pair(f"{way}-{a}-then-{b}", f"{way}-{a}") for way in WAYS for a, b in ORDERS),
    primary=_claimed(),
    tables=(ends, retained),
    pictures={"kept": _kept},
)
