"""Which rewards transfer? Outcomes alone, the verifier's table, partial credit, a cost of length, a potential.

All arms are the recipe's RL with other rewards. A potential cannot change which policy is best (see
`training.rewards.shaping`), partial credit can: where they differ, it is not shaping as such that makes the difference.
What a reply earns is not comparable between arms, so nothing is but what is measured of the models.

With the recipe's discount of 0 a potential takes from each reply what the one before was worth, which is a baseline
and nothing else; so all arms here have a discount of 0.9. The bundled model keeps the form and reads the cards nearly
always, and its replies are of one length: there partial credit and a cost of length differ little from outcomes alone.
"""

from dataclasses import replace

from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Study, head_to_head
from ruleshift.studies.tables import ends, gains, matched

DISCOUNT = 0.9  # a turn
LONG = 0.5  # the share of the longest reply from which on length costs

OTHERS = ("rl-partial", "rl-length", "rl-potential", "rl-verifier")


def arms(recipe: StudyRecipe, options: None) -> list[Arm]:
    """RL on each kind of reward, outcomes first."""
    rl = replace(recipe.rl, gamma=DISCOUNT)
    return [
        Arm("rl-outcome", replace(rl, reward="success"), "after RL: 1 for a solved problem, and nothing else"),
        Arm("rl-verifier", replace(rl, reward="verifier"), "after RL on the verifier's table, as in the paper"),
        Arm("rl-partial", replace(rl, reward="partial"), "after RL with a quarter each for form and for reading right"),
        Arm(
            "rl-length",
            replace(rl, reward="success", overlong=LONG),
            f"after RL on outcomes, less what replies beyond {1 - LONG:.0%} of the longest cost",
        ),
        Arm("rl-potential", replace(rl, reward="potential"), "after RL on outcomes, shaped by a potential"),
    ]


REWARDS = Study(
    name="rewards",
    question="Which rewards transfer?",
    about="PPO on outcomes alone, the verifier's table, partial credit, a cost of length, and a potential.",
    paper="one table of rewards, shaped by kind of fault (arXiv 2501.17161); no other was tried",
    cost="not timed yet; by parts timed on a busy machine 18 minutes a seed on two CPU cores, 4 with --quick",
    tasks=("gp-l",),
    arms=arms,
    pairs=tuple(pair for name in OTHERS for pair in head_to_head(name, "rl-outcome")),
    primary=(
        "rl-outcome",
        *OTHERS,
        Claimed(
            "outcome rewards are enough (arXiv 2501.17161): shaping by kind of fault adds nothing",
            "rl-verifier",
            "keeps",
            "rl-outcome",
            against="the verifier's table also punishes, on another scale: advantages are normalised, values are not",
        ),
    ),
    tables=(ends, gains, matched),
)
