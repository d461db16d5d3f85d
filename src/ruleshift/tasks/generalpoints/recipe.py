"""How GeneralPoints is trained on and measured. The values of `tiny` were chosen on validation splits alone."""

from dataclasses import replace

from ruleshift.settings import Measurement
from ruleshift.tasks import recipe
from ruleshift.tasks.recipe import Endpoint, Recipe

# Most hands of `id` and `rule-ood` repeat numbers that training shows; those of the other two never do.
SPLITS = ("id", "rule-ood", "heldout", "rule-ood-heldout")

TEXT = Recipe(
    "GeneralPoints in text",
    sft={**recipe.SFT, "tiny": replace(recipe.SFT["tiny"], steps=300, learning_rate=1e-3)},
    rl={**recipe.RL, "tiny": replace(recipe.RL["tiny"], learning_rate=1e-4)},
    measurement=Measurement("gp-l", (*SPLITS, "fake"), n=400, turns=(1, 5), turns_along=1),
    published="11.5% at the start, 3.4% after SFT, 15.0% after RL (an 11B model, arXiv 2501.17161)",
    # The first turn: later ones may have read which numbers were left out, and so the shifted rule, in the feedback.
    primary=Endpoint("success", "rule-ood", 1, "sampled"),
)
PICTURES = Recipe(
    "GeneralPoints in pictures",
    sft={
        "tiny": replace(recipe.SFT["tiny"], steps=200, micro_batch=32, learning_rate=1e-3),
        "paper": replace(recipe.SFT["paper"], learning_rate=5e-7),
    },
    rl={"tiny": replace(TEXT.rl["tiny"], updates=20), "paper": recipe.RL["paper"]},
    measurement=Measurement("gp-vl", (*SPLITS, "visual-ood"), n=300, turns=(1, 5), turns_along=1, kl_problems=128),
    floors=("random", "blind"),
    published="11.2% at the start, 5.6% after SFT, 14.2% after RL (an 11B model, arXiv 2501.17161)",
    primary=TEXT.primary,
)
