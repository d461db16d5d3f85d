"""What is memorised, beyond curves: copies, the flow from the stated rule to the answer, and what foretells a loss.

At every point of every arm: how often replies repeat one that its training shows (and how often those of the start
model and of the expert would; of RL the expert's replies to the problems that it draws), the score on `fake`, unseen
hands, pass@k with distinct answers; what changes when only the words of the rule in the prompt are exchanged (KL,
whose rule the answer follows), how much of that change the rule's own words still carry after each layer (activation
patching), attention to them, a weaker sign; how far the weights moved and turned. The rules are exchanged on
validation problems alone.

Primary, named before the run: the change of `rule_follows` (greedy answers that follow the exchanged rule) and of
`rule_moved` (how far the answer's log-odds move with it, in nats) of each arm at its end against the start model,
with Holm's correction within each task. Expected: SFT on one rule lowers both, PPO less so. All else is exploratory.
The paper shows success alone; which early sign foretells the loss under shift is a question of `ruleshift foretell`
over many runs.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from ruleshift.settings import Measurement
from ruleshift.studies import headline
from ruleshift.studies.changes import MeasureChange, change_records, change_tables, changes
from ruleshift.studies.pictures import of_insights
from ruleshift.studies.study import ClaimedChange, Findings, Study
from ruleshift.studies.tables import ends

if TYPE_CHECKING:
    from rich.table import Table

FLOW = "id-val"  # the split on which the flow is measured
PRIMARY = ((FLOW, "rule_follows"), (FLOW, "rule_moved"))
OF_FLOW = ("rule_clings", "rule_kl", "rule_read", "rule_attention")
OF_REPLIES = ("copied", "expert_copied", "copied_answer", "expert_copied_answer", "pass@1", "pass@8")
OF_ANSWERS = ("distinct_right", "distinct_wrong")


def measures(usual: Measurement) -> Measurement:
    """What is usually measured, with insights, on fewer problems in a small study."""
    problems = max(2, min(32, usual.n // 8))
    return replace(usual, insight_problems=problems, flow_problems=problems)


def found_changes(found: Findings) -> list[MeasureChange]:
    """What each arm did to the measures of this study."""
    of_replies = [(s, metric) for s in found.measurement.splits[:2] for metric in (*OF_REPLIES, *OF_ANSWERS)]
    return changes(found, [*PRIMARY, *((FLOW, metric) for metric in OF_FLOW), *of_replies], PRIMARY)


def memory(found: Findings, width: int) -> "list[Table]":
    """What each arm did to them, in the terminal."""
    return change_tables("What is memorised at the end of training", found_changes(found), width)


def layers(found: Findings, width: int) -> "list[Table]":
    """The share of the exchange that the rule's words still carry after each layer, at the end of each run."""
    from ruleshift.report.terminal import blocks

    last = {(one.arm, one.seed): one for one in sorted(found.insights, key=lambda one: one.step) if one.flow}
    lines = []
    for (arm, seed), one in last.items():
        assert one.flow is not None
        shares = [sum(level) / len(level) for level in one.flow.shares()]
        lines.append([arm, str(seed), *(f"{100 * share:.0f}" for share in shares)])
    if not lines:
        return []
    headings = ["embedding", *(f"layer {level}" for level in range(1, len(lines[0]) - 2))]
    title = "share (%) of the exchange of rules that the rule's own words carry on after each layer"
    return blocks(title, ("arm", "seed"), headings, lines, width)


def record(found: Findings) -> list[dict[str, object]]:
    """The content of changes.json."""
    return change_records(found_changes(found))


MEMORISATION = Study(
    name="memorisation",
    question="What does post-training memorise, and what foretells it?",
    about="Copies, the flow from the stated rule to the answer, distinct answers, weights: at every point of each arm.",
    paper="left open there (arXiv 2501.17161)",
    cost="that of the headline and, for its insights, 6 seconds a point and 15 a run on one CPU core",
    tasks=("gp-l", "virl-l"),
    points=6,
    arms=headline.arms,
    options=headline.Rates("sft", "none"),
    quick=headline.Rates("none", "none"),
    measures=measures,
    pairs=headline.HEADLINE.pairs,
    measured=(
        ClaimedChange(
            "SFT memorises (arXiv 2501.17161): fewer answers follow the rule that is stated, when another one is",
            "sft",
            "lowers",
            *PRIMARY[0],
            against="of greedy answers, few problems; on walks nearly all follow it, before and after",
        ),
        ClaimedChange(
            "SFT memorises (arXiv 2501.17161): its answers' log-odds move less with the rule that is stated",
            "sft",
            "lowers",
            *PRIMARY[1],
            against="a model that is surer of everything has larger log-odds, whatever it heeds",
        ),
    ),
    tables=(ends, memory, layers),
    files={"changes.json": record},
    pictures={"along": of_insights("along"), "layers": of_insights("layers"), "risk": of_insights("risk")},
)
