"""The paper's main table and figures: four tasks, the start model, SFT and PPO, under shifted rules and shifted looks.

The headline with the splits of the paper's figures: recognition over training FLOPs is a figure of the page, routes
of the mini set are shown city by city. Five seeds in text and three in pictures are the least that decides anything.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

from ruleshift.settings import Measurement
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.pictures import over_compute
from ruleshift.studies.study import Claimed, Findings
from ruleshift.studies.tables import ends, matched
from ruleshift.tasks.recipe import Endpoint

if TYPE_CHECKING:
    from rich.table import Table

MINI = "mini"
SCALE = "a model of 11B parameters there, of about 1M here, whose start knows the tasks from pretraining on them"

RATES = "SFT's learning rate is the larger one, and at PPO's it changes the shifted rule less ({})"
AT_THE_RATE = {"gp-l": "headline-controls", "virl-l": "headline-controls", "gp-vl": "vision"}  # where that was measured
SAME_CITY = "routes of the shifted rule lie in the training city, which training teaches to read"


def measures(usual: Measurement) -> Measurement:
    """What is usually measured, and the mini set of walks."""
    from ruleshift.tasks import get_task

    more = [MINI] if MINI in get_task(usual.task).splits() else []
    return replace(usual, splits=tuple(dict.fromkeys((*usual.splits, *more))))


def cities(found: Findings, width: int) -> "list[Table]":
    """The share of routes of the mini set that are walked to their ends, city by city, at the end of each arm."""
    from ruleshift.report.terminal import blocks
    from ruleshift.tasks import get_task

    m = found.measurement
    if MINI not in m.splits:
        return []
    task, decoding = get_task(m.task).unseen(), m.decodings[-1]
    last = {(point.arm, point.seed): point for point in found.points}
    arms: dict[str, list[list[float]]] = {}
    for (arm, _), point in last.items():
        arms.setdefault(arm, []).append(point.cell(MINI, decoding).outcomes("success", max(m.turns)))
    count = min(len(routes) for seeds in arms.values() for routes in seeds)
    where = [str(task.problem(MINI, m.seed, index).describe()["city"]) for index in range(count)]
    names = sorted(set(where))
    lines = [[arm, *(_share(seeds, where, name) for name in names)] for arm, seeds in arms.items()]
    title = f"routes of the mini set, {max(m.turns)} tries a position, {decoding}: %, mean over seeds"
    return blocks(title, ("arm",), names, lines, width)


def _share(seeds: Sequence[Sequence[float]], where: Sequence[str], name: str) -> str:
    values = [value for routes in seeds for value, city in zip(routes, where, strict=True) if city == name]
    return f"{100 * fmean(values):.0f}"


def _expected() -> tuple[Claimed, ...]:
    """The paper's cells, each with the two figures that it goes from and to."""
    source = "Chu et al., arXiv 2501.17161"
    rule = {
        "gp-l": (11.5, 15.0, 3.4),
        "virl-l": (80.8, 91.8, 1.3),
        "gp-vl": (11.2, 14.2, 5.6),
        "virl-vl": (35.7, 45.0, 2.5),
    }
    look = {"gp-vl": (23.6, 41.2, 13.7), "virl-vl": (16.7, 77.8, 11.1)}
    of_looks = {
        "gp-vl": Endpoint("success", "visual-ood", 5, "sampled"),
        "virl-vl": Endpoint("success", MINI, 2, "sampled"),
    }
    found = []
    for task, (start, rl, sft) in rule.items():
        says = f"rule shift, {task}, {source}: {start} to {{}}"
        against = f"{SCALE}; {SAME_CITY}" if task == "virl-vl" else SCALE
        of_sft = f"{against}; {RATES.format(AT_THE_RATE[task])}" if task in AT_THE_RATE else against
        found += [
            Claimed(f"RL raises it: {says.format(rl)}", "rl", "raises", tasks=(task,), against=against),
            Claimed(f"SFT lowers it: {says.format(sft)}", "sft", "lowers", tasks=(task,), against=of_sft),
        ]
    for task, (start, rl, sft) in look.items():
        says, there = f"visual shift, {task}, {source}: {start} to {{}}", (task,)
        found += [
            Claimed(f"RL raises it: {says.format(rl)}", "rl", "raises", None, of_looks[task], there, SCALE),
            Claimed(f"SFT lowers it: {says.format(sft)}", "sft", "lowers", None, of_looks[task], there, SCALE),
        ]
    seen, there = Endpoint("recognition", "visual-ood", 1, "sampled"), ("gp-vl",)
    return (
        *found,
        Claimed(f"RL raises recognition of cards ({source})", "rl", "raises", None, seen, there, SCALE),
        Claimed(f"SFT lowers recognition of cards ({source})", "sft", "lowers", None, seen, there, SCALE),
    )


TABLE = replace(
    HEADLINE,
    name="table",
    question="Does the paper's main table hold?",
    about="SFT and PPO on all four tasks: shifted rules and looks, recognition over FLOPs, the mini set city by city.",
    paper="RL raises what is out of distribution in all cells, SFT lowers it in all (arXiv 2501.17161)",
    cost="as the headline and vision: 27 minutes a seed in text, 24 in pictures; 5 and less where these are taken over",
    tasks=("gp-l", "virl-l", "gp-vl", "virl-vl"),
    options=Rates("none", "none"),
    quick=Rates("none", "none"),
    measures=measures,
    primary=_expected(),
    tables=(ends, matched, cities),
    pictures={"compute": over_compute(), "recognition": over_compute("recognition")},
)
