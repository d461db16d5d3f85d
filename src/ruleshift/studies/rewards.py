"""Which rewards transfer? Outcomes alone, the verifier's table, partial credit, a cost of length, a potential.

All arms are the recipe's RL with other rewards. Where every reply keeps the form and reads the cards, partial credit is
that of outcomes on another scale, and a cost of length has little to tell apart where all replies are about as long:
the bundled model's are (57 to 74 tokens). The verifier's table also tells faults apart.

With the recipe's discount of 0 no reply answers for later ones. Beyond that, what a wrong reply earns would be paid for
going on: with partial credit and a discount of 0.9 four failed tries and a solved one earn more than solving at once.
A potential is worth nothing of that kind (see `training.rewards.shaping`), so that it cannot change which policy is
best; it stands beside outcomes of the same discount, since with one of 0 it is a baseline and nothing else. What a
reply earns is not comparable between arms, so nothing is but what is measured of the models.
"""

from dataclasses import replace

from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Pair, Study, head_to_head
from ruleshift.studies.tables import ends, gains, matched

DISCOUNT = 0.9  # a turn
LONG = 0.5  # the share of the longest reply from which on length costs


def arms(recipe: StudyRecipe, options: None) -> list[Arm]:
    """RL on each kind of reward, outcomes first."""
    rl = recipe.rl
    later = replace(rl, gamma=DISCOUNT)
    return [
        Arm("rl-outcome", replace(rl, reward="success"), "after RL: 1 for a solved problem, and nothing else"),
        Arm("rl-verifier", replace(rl, reward="verifier"), "after RL on the verifier's table, as in the paper"),
        Arm("rl-partial", replace(rl, reward="partial"), "after RL with a quarter each for form and for reading right"),
        Arm(
            "rl-length",
            replace(rl, reward="success", overlong=LONG),
            f"after RL on outcomes, less what replies beyond {1 - LONG:.0%} of the longest cost",
        ),
        Arm("rl-discounted", replace(later, reward="success"), f"after RL on outcomes, discount {DISCOUNT} a turn"),
        Arm("rl-potential", replace(later, reward="potential"), "that, shaped by a potential"),
    ]


REWARDS = Study(
    name="rewards",
    question="Which rewards transfer?",
    about="PPO on outcomes alone, the verifier's table, partial credit, a cost of length, and a potential.",
    paper="one table of rewards, shaped by kind of fault (arXiv 2501.17161); no other was tried",
    cost="with --quick and all problems 14 minutes a seed on two busy CPU cores, 5 as it is; not timed at full size",
    tasks=("gp-l",),
    arms=arms,
    pairs=(
        *(pair for name in ("rl-verifier", "rl-partial", "rl-length") for pair in head_to_head(name, "rl-outcome")),
        *head_to_head("rl-potential", "rl-discounted"),
        Pair("rl-discounted", "rl-outcome"),
    ),
    primary=(
        Claimed("RL on outcomes raises what is out of distribution (arXiv 2501.17161)", "rl-outcome", "raises"),
        Claimed(
            "outcome rewards are enough (arXiv 2501.17161): shaping by kind of fault adds nothing",
            "rl-verifier",
            "keeps",
            "rl-outcome",
            against="the verifier's table is on another scale: advantages are normalised, values are not; 5 points "
            "that count as none are as much as either gains",
        ),
        Claimed(
            "shaping by a potential leaves the best policy as it is (Ng, Harada and Russell, 1999), and so what is "
            "learned",
            "rl-potential",
            "keeps",
            "rl-discounted",
            against="the theorem is about what is best, not about what is learned on the way there; nor does much "
            "happen if the arm that it is compared with gains little itself (`rl-discounted`)",
        ),
    ),
    tables=(ends, gains, matched),
)
