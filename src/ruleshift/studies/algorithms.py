"""Which algorithm of reinforcement learning transfers? Every entry of the loop, on matched episodes.

All arms see the same problems, as many episodes an update, with the settings of the task's recipe and those that make
each algorithm what it is. DAPO draws more episodes than it learns from, and groups share problems: both are shown, in
FLOPs and metrics. The rates are those of the recipe, which were chosen for PPO, unless `rates` names others:
`algorithms-sweep` chooses one for each on validation problems of the training rule alone.
"""

from dataclasses import replace

from ruleshift.studies import sweep
from ruleshift.studies.chosen import Choice, Swept, chosen, profiled, swept
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Study, head_to_head
from ruleshift.studies.tables import ends, gains, matched
from ruleshift.training.algorithms import ALGORITHMS, configured

REFERENCE = "ppo"
OTHERS = tuple(name for name in ALGORITHMS if name != REFERENCE)


def every(recipe: StudyRecipe) -> list[Arm]:
    """An arm for each algorithm."""
    return [Arm(name, configured(recipe.rl, name), entry.summary) for name, entry in ALGORITHMS.items()]


def arms(recipe: StudyRecipe, options: Choice) -> list[Arm]:
    return chosen(every(recipe), options)


def arms_of_sweep(recipe: StudyRecipe, options: Swept) -> list[Arm]:
    return swept(every(recipe), options)


ALGORITHMS_STUDY = Study(
    name="algorithms",
    question="Which algorithm of reinforcement learning transfers?",
    about="Every algorithm of the loop on matched episodes, evaluated on the training rule and on shifted ones.",
    cost="hours on two CPU cores; not timed at full size yet",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=profiled,
    options=Choice(),
    quick=Choice(names=("ppo", "reinforce", "rloo", "grpo"), dense=False),
    pairs=tuple(pair for name in OTHERS for pair in head_to_head(name, REFERENCE)),
    primary=tuple(ALGORITHMS),
    tables=(ends, gains, matched),
)

ALGORITHMS_SWEEP = replace(
    sweep.SWEEP,
    name="algorithms-sweep",
    question="Which learning rate for each algorithm?",
    about="Every algorithm on one grid, each rate chosen on validation problems of the training rule alone.",
    cost="hours on two CPU cores; not timed at full size yet",
    arms=arms_of_sweep,
    options=Swept(),
    quick=Swept(names=("ppo", "grpo"), grid=(1e-4, 3e-4)),
)
