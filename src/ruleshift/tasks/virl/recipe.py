"""How V-IRL is trained on and measured. The values of `tiny` were chosen on validation splits alone."""

from dataclasses import replace

from ruleshift.settings import Measurement, SFTConfig
from ruleshift.tasks import recipe
from ruleshift.tasks.recipe import Endpoint, Recipe

# A walk is some 13 replies and 500 tokens.
_SMALL_SFT = replace(
    recipe.SFT["small-llm"], steps=60, examples=240, batch=4, micro_batch=4, turns=2, max_new_tokens=48
)
_SMALL_RL = replace(recipe.RL["small-llm"], episodes=16, batch_size=16, turns=2, max_new_tokens=48)

TEXT = Recipe(
    "V-IRL in text",
    sft={
        "tiny": SFTConfig(
            steps=100, examples=1_000, batch=32, micro_batch=8, learning_rate=1e-3, turns=2, max_new_tokens=24
        ),
        "paper": replace(recipe.SFT["paper"], steps=25, examples=1_000, turns=2, save_every=5),
        "small-llm": _SMALL_SFT,
        "gpu": replace(_SMALL_SFT, steps=100, examples=1_000, batch=32, micro_batch=32, max_tokens=8_000),
    },
    rl={
        # The start model is sure of what it says, right or wrong: at temperature 1 hardly a reply is another's rival.
        "tiny": replace(recipe.RL["tiny"], episodes=96, turns=2, max_new_tokens=24, value_only=2, temperature=1.5),
        # The official code never finds the key `action`. About 13 turns a route.
        "paper": replace(recipe.RL["paper"], turns=2, updates=15, episodes=256, schedule_updates=20, answer_key=""),
        "small-llm": _SMALL_RL,
        "gpu": replace(_SMALL_RL, epochs=2, updates=30, episodes=96, batch_size=256, max_tokens=8_000),
    },
    measurement=Measurement(
        "virl-l", ("id", "rule-ood", "city-ood", "fake"), n=200, turns=(1, 2), max_new_tokens=24, kl_problems=48
    ),
    floors=("random", "blind"),
    beside=("step_accuracy", "success"),
    published="80.8% at the start, 1.3% after SFT, 91.8% after RL (an 11B model, arXiv 2501.17161)",
    primary=Endpoint("decision_accuracy", "rule-ood", 1, "sampled"),
)
PICTURES = Recipe(
    "V-IRL in pictures",
    sft={
        "tiny": replace(TEXT.sft["tiny"], steps=60, batch=16, learning_rate=1e-4),  # a walk holds a dozen pictures
        "paper": replace(TEXT.sft["paper"], learning_rate=5e-7),
    },
    rl={
        "tiny": replace(TEXT.rl["tiny"], updates=36, episodes=64, warmup=3, save_every=6),
        "paper": replace(TEXT.rl["paper"], learning_rate=1e-7, value_learning_rate=1e-7, final_rate=1e-2),
    },
    measurement=Measurement(
        "virl-vl",
        ("id", "rule-ood", "visual-ood", "city-ood", "mini"),
        n=100,
        turns=(1, 2),
        max_new_tokens=24,
        kl_problems=24,
    ),
    floors=TEXT.floors,
    beside=TEXT.beside,
    published="35.7% at the start, 2.5% after SFT, 45.0% after RL (an 11B model, arXiv 2501.17161)",
    # Decisions are counted where a walk comes to. The start model turns where there is nothing to be decided, and so
    # meets few, of which it makes as many rightly as models that come to the end. A way without a mistake needs both.
    primary=Endpoint("success", "rule-ood", 1, "sampled"),
)
