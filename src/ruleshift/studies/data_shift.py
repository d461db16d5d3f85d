"""Does training under more rules transfer? 1, 2, 4 and 8 training rules, and harsher tests.

Cards: what J, Q and K count as, of numbers up to 10 alone. Walks: the words for where a turn leads; how far it turns is
never trained. The further rules are among those of pretraining, the first one is not. All arms see as many problems;
only how many rules these are under differs. The bundled models are at the floor of `large` and `one-worded` before any
training, and near it on `target-36`: these are shown, and nothing is claimed of them. `sft-varied` learns from prompts
in varied words too, under rules of pretraining, where the start model reads such prompts.
"""

from dataclasses import dataclass, replace

from ruleshift.errors import RuleshiftError
from ruleshift.settings import Measurement
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Study, head_to_head
from ruleshift.studies.tables import ends, matched

HARSHER = ("large", "all-12", "target-36", "one-worded", "both-ood", "style-ood")  # those of them that a task has


@dataclass(frozen=True)
class Rules:
    """Options of the study."""

    rules: tuple[int, ...] = (2, 4, 8)
    """Numbers of training rules beside one."""

    def __post_init__(self) -> None:
        if not self.rules or not {*self.rules} <= {2, 4, 8}:
            raise RuleshiftError(f"--set rules: choose from 2, 4, 8, not {','.join(map(str, self.rules))}")


def arms(recipe: StudyRecipe, options: Rules) -> list[Arm]:
    """SFT and RL under one rule, and under more."""
    found = []
    for arm in (Arm("sft", recipe.sft, "after SFT under one rule"), Arm("rl", recipe.rl, "after RL under one rule")):
        way = arm.name.upper()
        for rules in options.rules:
            training = replace(arm.training, split=f"train-{rules}-rules")  # type: ignore[type-var]
            more = Arm(f"{arm.name}-rules{rules}", training, f"after {way} under {rules} rules", arm.name, dense=False)
            found.append(more)
        found.append(arm)
    varied = Arm("sft-varied", replace(recipe.sft, data="varied"), "after SFT on varied prompts", "sft", dense=False)
    return sorted((*found, varied), key=lambda arm: (arm.name.split("-")[0] != "sft", arm.variant_of is not None))


def measures(usual: Measurement) -> Measurement:
    """What is usually measured, and the harsher tests; looks where there are pictures, other cities in text too."""
    from ruleshift.tasks import get_task

    task = get_task(usual.task)
    seen = () if task.pictures else ("style-ood",) if "city-ood" in task.splits() else ("both-ood", "style-ood")
    harsher = [split for split in HARSHER if split in task.splits() and split not in seen]
    return replace(usual, splits=tuple(dict.fromkeys((*usual.splits, *harsher))))


MORE_RULES = Rules().rules
MOST = MORE_RULES[-1]

DATA_SHIFT = Study(
    name="data-shift",
    question="Does training under more rules transfer?",
    about="SFT and PPO under 1, 2, 4 and 8 training rules, on harsher tests than the shifted rule too.",
    paper="left open there; with varied prompts SFT transfers on cards, too (arXiv 2510.00237)",
    cost="with --quick 17 minutes a seed on two busy CPU cores (cards, 600 hands a split); by parts timed 47 without",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    options=Rules(),
    quick=Rules((8,)),
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
            "SFT transfers where other rules are mixed in (with varied prompts: Debunk the Myth of SFT Generalization, "
            "arXiv 2510.00237)",
            "sft-varied",
            "raises",
            "sft",
            against="half of its problems are of pretraining's rules, half as many of the training rule; on walks "
            "relative turns are among them, the kind that the shift asks for; wording does not vary with the bundled "
            "models, which read one",
        ),
        *(
            Claimed(
                f"more training rules help {way.upper()}: asked as an open question by arXiv 2501.17161",
                f"{way}-rules{MOST}",
                "raises",
                way,
                against="the further rules count 7 to 10 on cards and change words on walks; pretraining showed them",
            )
            for way in ("sft", "rl")
        ),
    ),
    tables=(ends, matched),
)
