"""What a reply earns in training. Pure functions of lists, one entry for each turn of an episode."""

from collections.abc import Sequence
from itertools import pairwise

from ruleshift.records import Turn, Verdict
from ruleshift.settings import Reward


def earned(turns: Sequence[Turn], kind: Reward, gamma: float, ended: bool = True) -> list[float]:
    """What each turn of an episode earns (see `RLConfig.reward`), under a discount of `gamma` a turn. ended: whether
    nothing follows the last turn, whose state then has the potential 0."""
    verdicts = [turn.verdict for turn in turns]
    if kind == "verifier":
        return [verdict.reward for verdict in verdicts]
    credits = [credit(verdict) for verdict in verdicts]
    if kind == "partial":
        return credits
    success = [float(verdict.solved) for verdict in verdicts]
    if kind == "success":
        return success
    return [reward + more for reward, more in zip(success, shaping(credits, gamma, ended), strict=True)]


def credit(verdict: Verdict) -> float:
    """1 for a right reply; else a quarter for one in the form that was asked for, to the letter, and a quarter for one
    that reads right what is shown (where nothing is to be read, too)."""
    return 1.0 if verdict.right else (verdict.valid + (verdict.read_right is not False)) / 4


def shaping(potentials: Sequence[float], gamma: float, ended: bool) -> list[float]:
    """gamma Phi(s') - Phi(s) for each turn, which leads from the state s to s', with Phi(s') in `potentials` (N,), 0
    before the first turn, and 0 at the end of an episode.

    Added to rewards, it takes Phi(s) off the return from s, whatever is done there: the advantages of all replies stay
    as they are, and so does what is best. From the first state on the return is the same.
    Source: Ng, Harada and Russell, "Policy invariance under reward transformations" (ICML 1999), theorem 1.
    """
    states = [0.0, *potentials[:-1], *([0.0] if ended else potentials[-1:])][: len(potentials) + 1]
    return [gamma * after - before for before, after in pairwise(states)]


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
