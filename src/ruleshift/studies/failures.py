"""Confident and wrong under shift: how sure replies are, and what keeps wrong ones from being given.

At the end of each arm, under the training rule and the shifted one: calibration (ECE, Brier) by the probability of
the reply, that of a token of it, and the agreement of several replies; risk against coverage, and the area under it
(AURC); whether shown steps are true and lead to the answer (`sound_work`, beside success). What mitigates:
verification (success within more turns), a majority of samples, a verifier that also reads form and steps (`strict`),
a constraint (`constrained`: drawn anew, up to 8 times, until a reply can be read and uses the numbers of the hand, or
the listed words, by the rule that is stated), and abstaining below the confidence at which the model gives 80% of its
replies under the training rule (`answered`, `answered_wrong`). The constraint rejects whole replies, which is another
distribution than that of decoding with masked tokens, and takes `constrained_draws` of them; it knows the stated rule,
and not the answer.

Primary, named before the run: the change of `sure_wrong` (replies that are wrong, and given by a model that abstains
so) on `rule-ood`, of each arm at its end against the start model, with Holm's correction within each task. Expected:
SFT raises it. The paper has no figure of it.
"""

from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from ruleshift.evaluation.statistics import crossed_estimate
from ruleshift.settings import Measurement
from ruleshift.studies import headline
from ruleshift.studies.changes import MeasureChange, change_records, change_tables, changes, ends_of, finite
from ruleshift.studies.pictures import of_insights
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, ClaimedChange, Findings, Study
from ruleshift.studies.tables import ends

if TYPE_CHECKING:
    from rich.table import Table

SHIFTED = "rule-ood"
PRIMARY = ((SHIFTED, "sure_wrong"),)
MEASURES = (
    "sure_wrong",
    "pass@1",
    "strict",
    "majority",
    "constrained",
    "constrained_draws",
    "agreement",
    "answered",
    "answered_wrong",
    "brier",
    "brier_per_token",
    "brier_agreement",
)
SURE = ("", "_per_token", "_agreement")  # what a model may be sure by
MITIGATIONS = {"majority": "majority", "constrained": "constrained", "sure_wrong": "abstaining"}
"""What keeps wrong replies from being given, by the measure that tells how many are."""


@dataclass(frozen=True)
class Mitigation:
    """How many replies are wrong and given, of all, at the end of an arm: of one sampled reply (`alone`), and with a
    mitigation (`wrong`); and the difference with its 95% interval over what `over` says (exploratory)."""

    arm: str
    split: str
    by: str
    alone: float
    wrong: float
    difference: float
    ci_low: float | None
    ci_high: float | None
    over: str


@dataclass(frozen=True)
class Along:
    """Options of the study."""

    dense: bool = False
    """Measure along the training too, and not at its end alone."""


def arms(recipe: StudyRecipe, options: Along) -> list[Arm]:
    """SFT, its control on the start model's own right replies, and PPO."""
    kept = ("sft", "self-sft", "rl")
    found = headline.arms(recipe, headline.Rates("none", "ends"))
    return [replace(arm, dense=options.dense) for arm in found if arm.name in kept]


def measures(usual: Measurement) -> Measurement:
    """What is usually measured, with several replies to some problems, fewer in a small study."""
    return replace(usual, insight_problems=max(2, min(100, usual.n // 4)))


def found_changes(found: Findings) -> list[MeasureChange]:
    splits = found.measurement.splits[:2]
    return changes(found, [(split, metric) for metric in MEASURES for split in splits], PRIMARY)


def failures(found: Findings, width: int) -> "list[Table]":
    """What each arm did to the measures of this study."""
    return change_tables("Confident and wrong, and what mitigates", found_changes(found), width)


def mitigations(found: Findings) -> list[Mitigation]:
    """What each mitigation does within an arm, to the problems that one reply answers."""
    from ruleshift.evaluation.insight import values_of

    made = []
    for arm in dict.fromkeys(one.arm for one in found.insights):
        ends = [values_of(one) for one in ends_of(found.insights, arm)]
        for split in found.measurement.splits[:2]:
            alone = [[1 - right for right in values[split, "pass@1"]] for values in ends]
            for metric, by in MITIGATIONS.items():
                if not all((split, metric) in values for values in ends):
                    continue
                own = [values[split, metric] for values in ends]
                wrong = own if metric == "sure_wrong" else [[1 - right for right in seed] for seed in own]
                found_ = crossed_estimate(wrong, alone)
                low, high = map(finite, found_.interval()[1:3])
                means = fmean(map(fmean, alone)), fmean(map(fmean, wrong))
                made.append(Mitigation(arm, split, by, *means, found_.mean, low, high, found_.over))
    return made


def mitigated(found: Findings, width: int) -> "list[Table]":
    """A line for each arm and split: wrong replies that are given, alone and with each mitigation."""
    from ruleshift.report.tables import signed
    from ruleshift.report.terminal import blocks

    known = {(one.arm, one.split, one.by): one for one in mitigations(found)}
    lines = []
    for arm, split in dict.fromkeys((arm, split) for arm, split, _ in known):
        mine = [known.get((arm, split, by)) for by in MITIGATIONS.values()]
        alone = next(f"{100 * one.alone:.1f}" for one in mine if one)
        cells = []
        for one in mine:
            ends = [signed(end) for end in (one.ci_low, one.ci_high) if end is not None] if one else []
            cells.append(f"{100 * one.wrong:.1f}\n{signed(one.difference)} [{','.join(ends)}]" if one else "")
        lines.append([arm, split, alone, *cells])
    title = "Wrong replies that are given, % of all problems, and the difference to one reply, 95% intervals"
    return blocks(title, ("arm", "split", "one reply"), [*MITIGATIONS.values()], lines, width)


def sureness(found: Findings, width: int) -> "list[Table]":
    """Calibration error and area under risk against coverage of each arm, by what it may be sure by."""
    from ruleshift.evaluation.insight import rows_of_insight
    from ruleshift.report.terminal import blocks

    lines = []
    for arm in dict.fromkeys(one.arm for one in found.insights):
        for one in ends_of(found.insights, arm):
            known = {(row.split, row.metric): row.value for row in rows_of_insight(one)}
            for replies in one.replies:
                split = replies.split
                cells = [f"{known[split, f'{measure}{name}']:.3f}" for measure in ("ece", "aurc") for name in SURE]
                lines.append([arm, str(one.seed), split, f"{1 - known[split, 'pass@1']:.3f}", *cells])
    said = ("reply", "token", "agreement")
    headings = ["wrong", *(f"{measure}\n{by}" for measure in ("ECE", "AURC") for by in said)]
    title = "Is it right as often as it is sure? By the probability of a reply, of a token of it, and by agreement"
    return blocks(title, ("arm", "seed", "split"), headings, lines, width)


def record(found: Findings) -> list[dict[str, object]]:
    """The content of changes.json."""
    return change_records(found_changes(found))


def mitigation_records(found: Findings) -> list[dict[str, object]]:
    """The content of mitigations.json."""
    return [asdict(one) for one in mitigations(found)]


FAILURES = Study(
    name="failures",
    question="Confident and wrong under shift: how often, and what mitigates?",
    about="Calibration, agreement, risk against coverage; verification, a constraint, abstaining: at each arm's end.",
    paper="left open there (arXiv 2501.17161)",
    cost="13 minutes a seed on two busy CPU cores beside trainings of the headline, which --reuse takes over",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    options=Along(),
    measures=measures,
    measured=(
        ClaimedChange(
            "SFT is confident and wrong under the shift: more of its replies are wrong and surely given (expected "
            "by us: the paper has no figure of it)",
            "sft",
            "raises",
            *PRIMARY[0],
            against="sure is what gives 80% of its replies under the training rule, each model by its own measure",
        ),
    ),
    tables=(ends, failures, mitigated, sureness),
    figures=(),
    files={"changes.json": record, "mitigations.json": mitigation_records},
    pictures={"risk": of_insights("risk")},
)
