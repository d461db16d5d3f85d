"""Does training under more rules transfer? 1, 2, 4 and 8 training rules, and harsher tests.

Cards: what J, Q and K count as, of numbers up to 10 alone. Walks: the words for where a turn leads; how far it turns is
never trained. All arms see as many problems; only how many rules these are under differs. `sft-varied` learns from
prompts in varied words too, under rules of pretraining, where the start model reads such prompts.
"""

from dataclasses import replace

from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Study, head_to_head
from ruleshift.studies.tables import ends, matched

MORE_RULES = (2, 4, 8)
HARSHER = ("large", "all-12", "target-36", "one-worded", "both-ood", "style-ood")  # those of them that a task has


def arms(recipe: StudyRecipe, options: None) -> list[Arm]:
    """SFT and RL under one rule, and under more."""
    found = []
    for arm in (Arm("sft", recipe.sft, "after SFT under one rule"), Arm("rl", recipe.rl, "after RL under one rule")):
        way = arm.name.upper()
        for rules in MORE_RULES:
            training = replace(arm.training, split=f"train-{rules}-rules")  # type: ignore[type-var]
            more = Arm(f"{arm.name}-rules{rules}", training, f"after {way} under {rules} rules", arm.name, dense=False)
            found.append(more)
        found.append(arm)
    varied = Arm("sft-varied", replace(recipe.sft, data="varied"), "after SFT on varied prompts", "sft", dense=False)
    return sorted((*found, varied), key=lambda arm: (arm.name.split("-")[0] != "sft", arm.variant_of is not None))


def measures(usual: Measurement) -> Measurement:
    """What is usually measured, and the harsher tests; looks where there are pictures."""
    from ruleshift.tasks import get_task

    task = get_task(usual.task)
    harsher = [s for s in HARSHER if s in task.splits() and (task.pictures or s not in ("both-ood", "style-ood"))]
    return replace(usual, splits=tuple(dict.fromkeys((*usual.splits, *harsher))))


MOST = MORE_RULES[-1]

DATA_SHIFT = Study(
    name="data-shift",
    question="Does training under more rules transfer?",
    about="SFT and PPO under 1, 2, 4 and 8 training rules, on harsher tests than the shifted rule too.",
    paper="left open there; with varied prompts SFT transfers on cards, too (arXiv 2510.00237)",
    cost="not timed yet",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=measures,
    pairs=(
        *(
            pair
            for rules in MORE_RULES
            for way in ("sft", "rl")
            for pair in head_to_head(f"{way}-rules{rules}", way)[:1]
        ),
        *head_to_head("sft-varied", "sft")[:1],
        *(pair for rules in MORE_RULES for pair in head_to_head(f"rl-rules{rules}", f"sft-rules{rules}")[:1]),
        *head_to_head("rl", "sft"),
    ),
    primary=(
        Claimed(
            "SFT under varied prompts transfers (Debunk the Myth of SFT Generalization, arXiv 2510.00237)",
            f"sft-rules{MOST}",
            "raises",
            "sft",
            against="rules are varied here and wording there, and these rules count 7 to 10, never more",
        ),
        Claimed(
            "more training rules help RL, too: asked by arXiv 2501.17161 as an open question",
            f"rl-rules{MOST}",
            "raises",
            "rl",
        ),
    ),
    tables=(ends, matched),
)
