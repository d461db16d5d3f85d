"""Verification turns in pictures: RL with more of them at equal compute, and 1 to 20 at inference, on cards.

A study of its own, as the headline's is: its claims are corrected among themselves. A failed try may be one of misread
cards, of which feedback says that numbers were not all used; whether more turns teach to see is read beside success.
"""

from dataclasses import replace

from ruleshift.studies.verification import TURNS, VERIFICATION, feedback_helps, more_turns

CARDS = "gp-vl"

VERIFICATION_VISION = replace(
    VERIFICATION,
    name="verification-vision",
    about="The same in pictures of cards: PPO with 1, 3, 5 and 10 turns at equal compute, 1 to 20 turns at inference, "
    "less feedback.",
    paper="in text alone: +0.48 points with 1 turn, +5.99 with 10 (arXiv 2501.17161)",
    cost="with --quick 10 minutes a seed on one busy CPU core (200 hands); full size not timed",
    tasks=(CARDS,),
    quick_part=4,
    primary=(
        *(
            more_turns(f"RL with more turns generalises better, in pictures too: {count} against 1", count, CARDS)
            for count in TURNS[1:]
        ),
        feedback_helps(CARDS, 5),
    ),
)
