"""Does post-training teach the rule, or the answers? SFT against multi-turn PPO, in text.

For each task, from one start model, both see the training rule only; both are evaluated densely on the training rule
and on shifted ones. The learning rates of both arms were chosen on `id-val` alone (study `sweep`); arms that share the
other's learning rate stand beside them.
"""

from dataclasses import dataclass
from typing import Literal

from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Study, head_to_head, variant
from ruleshift.studies.tables import ends, matched


@dataclass(frozen=True)
class Rates:
    """Options of the headline."""

    matched_rates: Literal["none", "sft", "both"] = "sft"
    """Also train SFT at the learning rate of PPO (sft), and PPO at that of SFT (both), where they differ."""


def arms(recipe: StudyRecipe, options: Rates) -> list[Arm]:
    """SFT and PPO, each beside its variant at the other's learning rate."""
    sft = Arm("sft", recipe.sft, "the same model after supervised fine-tuning on expert answers")
    rl = Arm("rl", recipe.rl, "after reinforcement learning from the verifier's rewards")
    if recipe.sft.learning_rate == recipe.rl.learning_rate or options.matched_rates == "none":
        return [sft, rl]
    at_rate_of_rl = variant(sft, learning_rate=recipe.rl.learning_rate)
    if options.matched_rates == "sft":
        return [sft, at_rate_of_rl, rl]
    return [sft, at_rate_of_rl, rl, variant(rl, learning_rate=recipe.sft.learning_rate)]


HEADLINE = Study(
    name="headline",
    question="Does post-training teach the rule, or the answers?",
    about="SFT and multi-turn PPO from one start model, trained on one rule, evaluated on it and on shifted ones.",
    cost="5 to 30 minutes a task and seed on two CPU cores",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    options=Rates(),
    quick=Rates("none"),
    pairs=head_to_head("rl", "sft"),
    primary=("sft", "rl"),
    tables=(ends, matched),
)
