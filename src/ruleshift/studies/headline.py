"""Does post-training teach the rule, or the answers? SFT against multi-turn PPO, in text.

For each task, from one start model, both see the training rule only; both are evaluated densely on the training rule
and on shifted ones. The learning rates of both arms were chosen on `id-val` alone (study `sweep`); arms that share the
other's learning rate stand beside them.

SFT and PPO differ in more than the method: PPO sees failed turns with their feedback, and learns from its own replies.
Two arms between them take one of these each: `sft-revision` learns the expert's replies after the start model's failed
ones, `self-sft` the start model's own replies that the verifier accepted. Both are SFT with its settings, on what the
start model says under those of PPO, in as many conversations as PPO has at most.
"""

from dataclasses import dataclass, replace
from typing import Literal

from ruleshift.studies.recipes import StudyRecipe, on_samples
from ruleshift.studies.study import Arm, Claimed, Study, head_to_head, variant
from ruleshift.studies.tables import ends, matched


@dataclass(frozen=True)
class Rates:
    """Options of the headline."""

    matched_rates: Literal["none", "sft", "both"] = "sft"
    """Also train SFT at the learning rate of PPO (sft), and PPO at that of SFT (both), where they differ."""
    other_data: Literal["none", "ends", "dense"] = "ends"
    """Also train SFT after failed replies (sft-revision) and on the start model's right ones (self-sft); evaluate these
    as often as SFT (dense), or at their ends alone (ends)."""


def arms(recipe: StudyRecipe, options: Rates) -> list[Arm]:
    """SFT, on other data too, and PPO, each beside its variant at the other's learning rate."""
    sft = Arm("sft", recipe.sft, "the same model after supervised fine-tuning on expert answers")
    rl = Arm("rl", recipe.rl, "after reinforcement learning from the verifier's rewards")
    others = [] if options.other_data == "none" else _on_other_data(recipe, options.other_data == "dense")
    if recipe.sft.learning_rate == recipe.rl.learning_rate or options.matched_rates == "none":
        return [sft, *others, rl]
    at_rate_of_rl = variant(sft, learning_rate=recipe.rl.learning_rate)
    if options.matched_rates == "sft":
        return [sft, at_rate_of_rl, *others, rl]
    return [sft, at_rate_of_rl, *others, rl, variant(rl, learning_rate=recipe.sft.learning_rate)]


def _on_other_data(recipe: StudyRecipe, dense: bool) -> list[Arm]:
    """SFT on what the start model says when it is asked as PPO asks, and no more often, unless that is set."""
    training = on_samples(recipe.sft, recipe.rl, recipe.given.get("sft", ()))
    return [
        Arm(
            "sft-revision",
            replace(training, data="expert-revision"),
            "after supervised fine-tuning on expert answers that follow the start model's own failed ones",
            dense=dense,
        ),
        Arm(
            "self-sft",
            replace(training, data="self-verified"),
            "after supervised fine-tuning on the start model's own answers that the verifier accepted",
            dense=dense,
        ),
    ]


def of_the_rule(figures: str, against: str) -> tuple[Claimed, ...]:
    """The paper's two claims of the shifted rule. figures: what it has for them."""
    says = f"what the shifted rule scores (arXiv 2501.17161: {figures})"
    return (
        Claimed(f"SFT lowers {says}", "sft", "lowers", against=against),
        Claimed(f"RL raises {says}", "rl", "raises", against=against),
    )


FIGURES = "start, SFT, RL: cards 11.5, 3.4, 15.0%, walks 80.8, 1.3, 91.8%"
SMALL = "a model of 11B parameters there, of about 1M here; the trainings of `table`, corrected for fewer claims"

HEADLINE = Study(
    name="headline",
    question="Does post-training teach the rule, or the answers?",
    about="SFT and multi-turn PPO from one start model, trained on one rule, evaluated on it and on shifted ones.",
    paper=f"shifted rule, {FIGURES} (arXiv 2501.17161)",
    cost="5 to 30 minutes a task and seed on two CPU cores",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    options=Rates(),
    quick=Rates("none", "ends"),
    pairs=head_to_head("rl", "sft"),
    primary=of_the_rule(FIGURES, SMALL),
    tables=(ends, matched),
)
