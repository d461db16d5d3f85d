"""What is the least start that RL needs? RL from a model that does not know the form of replies, and after some SFT.

The start model knows the form, so `bare` is made first: SFT on the expert's answers without it, after which the skill
is there and the verifier reads nothing of what is said. RL goes from there, and from steps of an SFT that gives the
form back, each beside the same model without RL. `rl` is RL from the start model as it is.
"""

from dataclasses import dataclass, replace

from ruleshift.bounds import Count, check_bounds
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Start, Study
from ruleshift.studies.tables import ends, gains
from ruleshift.tasks.recipe import Endpoint


@dataclass(frozen=True)
class Starts:
    """Options of the study."""

    steps: tuple[Count, ...] = (5, 15, 50)
    """Steps of SFT from which RL starts, in rising order."""
    unlearned: Count = 50
    """Steps of SFT on bare answers before."""

    def __post_init__(self) -> None:
        check_bounds(self)


def arms(recipe: StudyRecipe, options: Starts) -> list[Arm]:
    """The form is unlearned, a little of it is taught again, and RL starts from all of these."""
    steps = sorted(set(options.steps))
    bare = replace(recipe.sft, data="bare", steps=options.unlearned)
    sft = replace(recipe.sft, steps=steps[-1])
    return [
        Arm("bare", bare, "after SFT on answers without the form of replies", dense=False),
        Arm("sft", sft, "that one after SFT on whole replies", start=Start("bare")),
        Arm("rl-bare", recipe.rl, "that one after RL", start=Start("bare")),
        *(
            Arm(f"sft{step}", None, f"that one after {step} steps of SFT", "sft", start=Start("sft", step))
            for step in steps[:-1]
        ),
        *(
            Arm(f"rl-sft{step}", recipe.rl, f"that one after {step} steps of SFT, then RL", start=Start("sft", step))
            for step in steps
        ),
        Arm("rl", recipe.rl, "the start model after RL"),
    ]


def _claimed() -> tuple[Claimed, ...]:
    ends_of = {
        "gp-l": Endpoint("success", "id", 5, "sampled"),
        "virl-l": Endpoint("success", "id", 1, "sampled"),  # decisions are counted where a walk comes to
    }
    says = "RL without SFT fails, since the start does not follow the form (arXiv 2501.17161)"
    against = "there the start never knew the form; here it was unlearned, and the skill is known to be there"
    found = []
    for task, end in ends_of.items():
        found.append(Claimed(f"{says}; {task}", "rl-bare", "keeps", "bare", end, (task,), against))
        first = Starts().steps[0]
        says_first = f"RL after a short SFT learns, beyond what that SFT did; {task}"
        found.append(Claimed(says_first, f"rl-sft{first}", "raises", f"sft{first}", end, (task,), against))
    return tuple(found)


NO_SFT = Study(
    name="no-sft",
    question="What is the least start that RL needs?",
    about="PPO from a model that does not know the form of replies, and after 5, 15 and 50 steps of SFT.",
    paper="end-to-end RL without SFT failed (arXiv 2501.17161); RL there starts from 25 to 400 steps",
    cost="cards 16 minutes a seed on two busy CPU cores, walks by parts timed 20; with --quick 9 for both tasks",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    options=Starts(),
    quick=Starts(steps=(5, 15)),
    quick_part=4,
    primary=_claimed(),
    tables=(ends, gains),
)
