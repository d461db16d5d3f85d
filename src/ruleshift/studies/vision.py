"""The headline in pictures: does post-training also teach to see?

Trained on black suits and on one city, evaluated on red suits and other cities too; recognition (the share of first
replies that state rightly what is shown) stands beside success.
"""

from dataclasses import replace

from ruleshift.studies.headline import HEADLINE, SMALL, Rates, of_the_rule

FIGURES = "start, SFT, RL: cards 11.2, 5.6, 14.2%, walks 35.7, 2.5, 45.0%"

VISION = replace(
    HEADLINE,
    name="vision",
    about="The headline in pictures: does it also teach to see? Recognition stands beside success.",
    paper=f"shifted rule, {FIGURES} (arXiv 2501.17161)",
    cost="10 to 15 minutes a task and seed on two CPU cores; 7 in all with --quick",
    tasks=("gp-vl", "virl-vl"),
    primary=of_the_rule(FIGURES, SMALL),
    quick=Rates("none", "none"),
)
