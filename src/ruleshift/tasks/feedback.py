"""How much a verifier says of a wrong reply. At test time, what is said of a fault can tell a shifted rule.

silent    that the reply is not right
outcome   which kind of fault it has: no number and no word that the rule gives or that the reply lacks
full      with its details: which numbers are missing, what a formula comes to
"""

from typing import get_args

from ruleshift.errors import RuleshiftError
from ruleshift.records import Feedback

SILENT = ("This is wrong. Try again.", "wrong")
"""What `silent` says of any fault: in words, and in the terse style."""


def check_feedback(level: str, compat: str) -> None:
    """Raise RuleshiftError for an unknown level, and for one beside the official code, whose feedback is its own."""
    if level not in get_args(Feedback):
        raise RuleshiftError(f"unknown feedback {level!r}; choose from {', '.join(get_args(Feedback))}")
    if level != "full" and compat == "official":
        raise RuleshiftError(f"feedback {level} is of compat 'fixed': leave it out beside compat 'official'")
