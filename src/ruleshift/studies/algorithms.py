"""Which algorithm of reinforcement learning transfers? Every entry of the loop, on as many episodes.

Arms have the settings of the task's recipe and those that make each algorithm what it is. Groups share problems: of 128
episodes an update PPO sees 128 problems, an algorithm with groups of eight 16. DAPO draws more episodes than it learns
from; tables count all.

Cards are trained with one try: then discount and credit are the same for all, and what differs is the algorithm. Over
several turns PPO's recipe rewards each by itself (discount 0), and groups whole episodes. So it is on walks, where
packages are compared, and not single parts.

Two settings are not those of the papers, which are for large models at small rates. GRPO's KL is by k2 here, whose
gradient does not blow up far from the start, as that of k3 does. `gspo-wide` is GSPO with a clip a hundred times as
wide: the paper's leaves half of the replies out of every step but the first at the rates of a small model.

What is set (--set rl.FIELD=VALUE) holds for every arm, in the place of what its algorithm has, as in `ruleshift rl
--algorithm`.

The rates are those of the recipe, which were chosen for PPO, unless `rates` names others: `algorithms-sweep` chooses
one for each on validation problems of the training rule alone, and `--set rates=FOLDER/gp-l/sweep.json` takes these.
Algorithms that take one step an update, and not eight, are given a grid ten times as high.
"""

from dataclasses import replace
from math import lcm
from typing import Any

from ruleshift.settings import RLConfig
from ruleshift.studies import sweep
from ruleshift.studies.chosen import Choice, Swept, as_set, chosen, profiled, swept
from ruleshift.studies.recipes import StudyRecipe, of_turns
from ruleshift.studies.study import Arm, Claimed, Study, head_to_head
from ruleshift.studies.tables import ends, gains, matched, profiles
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import ALGORITHMS, configured

REFERENCE = "ppo"
WIDE = "gspo-wide"
HERE = {"grpo": {"kl_estimator": "k2"}}
OTHERS = (*(name for name in ALGORITHMS if name != REFERENCE), WIDE)
GROUPS = 8  # episodes are so many, or a multiple


def every(recipe: StudyRecipe) -> list[Arm]:
    """An arm for each algorithm."""
    rl, given = recipe.rl, as_set(recipe, "rl", (REFERENCE, *OTHERS))
    if get_task(recipe.measurement.task).metric == "success":
        rl = of_turns(rl, given.get("turns", 1), whole=True, multiple=lcm(GROUPS, rl.group))

    def made(algorithm: str, **changes: Any) -> RLConfig:
        return configured(rl, algorithm, **{**changes, **given})

    named = [Arm(name, made(name, **HERE.get(name, {})), told.summary) for name, told in ALGORITHMS.items()]
    wide = made("gspo", clip=0.03, clip_high=0.04)
    return [*named, Arm(WIDE, wide, "GSPO with a clip a hundred times as wide", variant_of="gspo")]


def arms(recipe: StudyRecipe, options: Choice) -> list[Arm]:
    return chosen(every(recipe), options, recipe.measurement.task)


def arms_of_sweep(recipe: StudyRecipe, options: Swept) -> list[Arm]:
    return swept(every(recipe), options, recipe.measurement.task)


ALGORITHMS_STUDY = Study(
    name="algorithms",
    question="Which algorithm of reinforcement learning transfers?",
    about="Every algorithm of the loop on matched episodes, evaluated on the training rule and on shifted ones.",
    paper="PPO alone was tried (arXiv 2501.17161)",
    cost="9 minutes with --quick on two CPU cores; nine algorithms on 600 hands 13 minutes a seed, on 200 walks 12",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=profiled,
    options=Choice(),
    quick=Choice(names=("ppo", "reinforce", "rloo", "grpo"), dense=False),
    pairs=tuple(pair for name in OTHERS for pair in head_to_head(name, REFERENCE)),
    primary=(
        Claimed("RL generalises (arXiv 2501.17161): PPO", "ppo", "raises"),
        Claimed("RL generalises (arXiv 2501.17161), without critic and clip: REINFORCE", "reinforce", "raises"),
        Claimed("RL generalises (arXiv 2501.17161), without critic: GRPO", "grpo", "raises"),
        Claimed(
            "the critic is not what transfers: GRPO ends where PPO does (an open question of arXiv 2501.17161)",
            "grpo",
            "keeps",
            "ppo",
            against="other problems an update, and on walks another credit; 5 points that count as "
            "none are most of what PPO gains",
        ),
    ),
    tables=(ends, gains, profiles, matched),
)

ALGORITHMS_SWEEP = replace(
    sweep.SWEEP,
    name="algorithms-sweep",
    question="Which learning rate for each algorithm?",
    about="Every algorithm on one grid, each rate chosen on validation problems of the training rule alone.",
    paper="PPO alone, in text at 1e-6 (arXiv 2501.17161)",
    cost="nine algorithms with --quick on two CPU cores: cards at two rates 15 minutes, walks at three 42",
    arms=arms_of_sweep,
    options=Swept(),
    quick=Swept(names=("ppo", "grpo"), grid=(1e-4, 3e-4)),
)
