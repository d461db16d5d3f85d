"""Do more verification turns generalise better? In training at equal compute, and at inference.

RL is trained with 1, 3, 5 and 10 turns, on fewer episodes the more replies these take (`recipes.of_turns`), so that
updates are of about as many replies; comparisons at matched FLOPs take care of the rest. Every arm is then given 1 to
20 turns at inference, as many of them as the model's context holds (up to 5 a position of a walk). Start model and RL
are measured again where less is said of a failed try, down to nothing at all: there the next try is only drawn anew,
which is the control of all verification.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, get_args

from ruleshift.bounds import Count, check_bounds
from ruleshift.evaluation.evaluate import Cell
from ruleshift.evaluation.revising import LEAST_GAIN, TurnGain, gain_of, pays_until
from ruleshift.records import Told
from ruleshift.settings import Measurement
from ruleshift.studies.pictures import tries
from ruleshift.studies.recipes import StudyRecipe, of_turns
from ruleshift.studies.study import Arm, Claimed, Findings, Pair, Start, Study
from ruleshift.studies.tables import ends, matched
from ruleshift.tasks.recipe import Endpoint

if TYPE_CHECKING:
    from rich.table import Table

INFERENCE = (1, 2, 3, 5, 10, 20)
MOST_TOKENS = 1_900  # of replies and feedback in a conversation: small models read 2,048
FEEDBACK = 24  # tokens of a feedback, about
USUAL = 0.8  # of the longest reply: 57 to 74 tokens of 80 on cards; 20 tries take fewer than 1,400 in all, feedback too
STEPS = 13  # positions of a walk, about
LESS = tuple(level for level in get_args(Told) if level != "full")


@dataclass(frozen=True)
class Budgets:
    """Options of the study."""

    turns: tuple[Count, ...] = (1, 3, 5, 10)
    """Verification turns to train with, in rising order."""

    def __post_init__(self) -> None:
        check_bounds(self)


def arms(recipe: StudyRecipe, options: Budgets) -> list[Arm]:
    """RL with each number of turns, SFT, and the start and RL again at lower levels of feedback."""
    from ruleshift.tasks import get_task

    rl, whole = recipe.rl, get_task(recipe.measurement.task).metric == "success"
    trained = []
    for turns in sorted(set(options.turns)):
        about = f"after RL with {turns} {'turn' if turns == 1 else 'turns'}"
        trained.append(Arm(f"rl-turns{turns}", of_turns(rl, turns, whole, rl.group), about))
    best = trained[-1].name
    again = [
        Arm(f"{name}-{level}", None, f"{told}, told less ({level})", of, start=start, feedback=level)
        for name, told, of, start in (
            ("base", "the start model", None, None),
            (best, trained[-1].about, best, Start(best)),
        )
        for level in LESS
    ]
    return [Arm("sft", recipe.sft, "after SFT", dense=False), *trained, *again]


def measures(usual: Measurement) -> Measurement:
    """The rules alone, with as many turns as a small model's context has room for."""
    from ruleshift.tasks import get_task

    whole = get_task(usual.task).metric == "success"
    each = USUAL * usual.max_new_tokens + FEEDBACK if whole else FEEDBACK * STEPS
    room = int(MOST_TOKENS / each)
    turns = tuple(budget for budget in INFERENCE if budget <= max(room, *usual.turns))
    splits = tuple(split for split in usual.splits if split in ("id", "rule-ood"))
    return replace(usual, splits=splits, turns=tuple(sorted({*turns, *usual.turns})), decodings=("sampled",))


def turn_gains(cell: Cell, seconds: Sequence[float] = ()) -> list[TurnGain]:
    """What each further turn solves, and takes: tokens and seconds (NaN where these are not known) are means over
    problems."""
    count, found = len(cell.tries), []
    before: Sequence[float] = [0.0] * count
    for turn, spent in enumerate(cell.spent, 1):
        solved = cell.outcomes("success", turn)
        took = seconds[turn - 1] / count if len(seconds) >= turn else math.nan
        found.append(TurnGain(turn, gain_of(solved, before), spent.replies, spent.tokens / count, took, 0.0))
        before = solved
    return found


def costs(found: Findings, width: int) -> "list[Table]":
    """Of every arm at its end, on each split: what is solved within 1, 2 ... turns, what these take a problem in
    tokens, seconds and FLOPs, and after which turn another no longer pays. Seeds are averaged."""
    from ruleshift.report.terminal import blocks

    m, last = found.measurement, {(point.arm, point.seed): point for point in found.points}
    arms = list(dict.fromkeys(arm for arm, _ in last))
    lines = []
    for split in m.splits:
        for arm in arms:
            mine = [(key, point.cell(split, m.decodings[-1])) for key, point in last.items() if key[0] == arm]
            cells = [cell for _, cell in mine]
            gained = [
                turn_gains(cell, found.seconds.get(key, {}).get(f"{split}/{cell.decoding}", ())) for key, cell in mine
            ]
            paid = [pays_until(gains) for gains in gained]
            for budget in m.turns:
                solved = fmean(fmean(cell.outcomes("success", budget)) for cell in cells)
                tokens = fmean(sum(gain.tokens for gain in gains[:budget]) for gains in gained)
                seconds = fmean(sum(gain.seconds for gain in gains[:budget]) for gains in gained)
                flops = fmean(sum(spent.flops for spent in cell.spent[:budget]) / len(cell.tries) for cell in cells)
                what = [f"{100 * solved:.1f}", f"{tokens:.0f}", f"{1000 * seconds:.1f}", f"{flops:.2g}"]
                lines.append([split, arm, str(budget), *what, f"{fmean(paid):.1f}" if budget == m.turns[-1] else ""])
    title = f"turns at inference, success; a turn pays while it solves {LEAST_GAIN:.0%} of all problems, surely"
    headings = ["%", "tokens", "ms", "FLOPs", "pays until"]
    return blocks(title, ("split", "arm", "turns"), headings, lines, width)


TURNS = Budgets().turns


def more_turns(says: str, count: int, task: str) -> Claimed:
    """RL with more turns generalises better than RL with the fewest."""
    against = (
        "updates of about as many replies, not problems; rates are those of the usual turns; no change is "
        "what lies within 5 points, as most of the gains claimed do"
    )
    return Claimed(says, f"rl-turns{count}", "raises", f"rl-turns{TURNS[0]}", tasks=(task,), against=against)


def feedback_helps(task: str, budget: int) -> Claimed:
    """Verification is better than drawing again."""
    return Claimed(
        f"feedback is worth more than another draw: asked by UFO (arXiv 2507.14295); {task}",
        "base-none",
        "lowers",
        endpoint=Endpoint("success", "rule-ood", budget, "sampled"),
        tasks=(task,),
        against="the arm is told nothing and draws anew: above 0 speaks against the claim; the start model "
        "learned in pretraining to read feedback, of four failed tries at most",
    )


def _claimed() -> Iterator[Claimed]:
    for count, gained in zip(TURNS[1:], ("+2.15", "+2.99", "+5.99"), strict=True):
        cards = f"RL with more turns generalises better: on cards {gained} points with {count}, +0.48 with 1"
        yield more_turns(f"{cards} (arXiv 2501.17161)", count, "gp-l")
        yield more_turns(f"RL with more turns generalises better, on walks too: {count} against 1", count, "virl-l")
    yield feedback_helps("gp-l", 5)
    yield feedback_helps("virl-l", 2)


VERIFICATION = Study(
    name="verification",
    question="Do more verification turns generalise better?",
    about="PPO with 1, 3, 5 and 10 turns at equal compute; 1 to 20 turns at inference (a position of a walk: to 5, "
    "what the bundled model can read); less feedback, down to none.",
    paper="cards, shifted rule: +0.48 with 1 turn, +2.15 with 3, +2.99 with 5, +5.99 with 10 (arXiv 2501.17161)",
    cost="a seed on two busy CPU cores: cards, turns 1 and 3 13 minutes, 1, 5 and 10 21; walks with --quick and all 6",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=measures,
    options=Budgets(),
    quick=Budgets((1, 5)),
    pairs=(
        *(Pair(f"rl-turns{turns}", f"rl-turns{TURNS[0]}", on) for turns in TURNS[1:] for on in (None, "flops")),
        *(Pair(f"rl-turns{turns}-none", f"rl-turns{turns}") for turns in TURNS[-1:]),
    ),
    primary=tuple(_claimed()),
    tables=(ends, costs, matched),
    pictures={"tries": tries},
)
