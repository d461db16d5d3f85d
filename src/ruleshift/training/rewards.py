"""What a reply earns in training. Pure functions of lists, one entry for each turn of an episode."""

from collections.abc import Sequence
from typing import Literal

from ruleshift.records import Turn


def earned(turns: Sequence[Turn], kind: Literal["verifier", "success"]) -> list[float]:
    """The verifier's reward of each turn; or 1 for the reply that solves the problem and 0 for all others."""
    return [turn.verdict.reward if kind == "verifier" else float(turn.verdict.solved) for turn in turns]


def overlong(lengths: Sequence[int], longest: int, share: float) -> list[float]:
    """What replies of these lengths cost for their length: nothing up to (1 - share) * longest tokens, and from there
    on in proportion up to 1 for the longest.

    Source: soft overlong punishment of DAPO, Yu et al., arXiv 2503.14476, equation 13 (there a share of 0.2).
    """
    room = share * longest
    return [max(0.0, (length - (longest - room)) / room) if room else 0.0 for length in lengths]


def kl_cost(turn: Sequence[int], logprobs: Sequence[float], reference: Sequence[float], turns: int) -> list[float]:
    """The log-ratio of each turn's reply to the start model: the sum over its tokens of log policy - log start.

    turn, logprobs, reference: of each reply token its turn and its log-probs, (T,).
    """
    costs = [0.0] * turns
    for k, drawn, start in zip(turn, logprobs, reference, strict=True):
        costs[k] += drawn - start
    return costs
