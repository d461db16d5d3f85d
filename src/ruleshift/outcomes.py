"""What replies were: how the verifier judged them, and how many of them were cut at the token limit.

A model that was never taught the form of replies is at 0% on everything, and so is one that reads the wrong rule; only
the verdicts tell which.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ruleshift.records import Episode

NEARLY_NOTHING = 0.02
OF_REPLIES = "replies:"  # begins the names of these shares
CUT = f"{OF_REPLIES}cut"
LEAST_SHOWN = 0.005  # of a share that is told in words
Counts = dict[str, list[int]]  # by the name of a share, of each episode


def is_nothing(value: float) -> bool:
    """Whether what is measured is so near to 0 that it calls for an explanation."""
    return value <= NEARLY_NOTHING


def counts_of(episodes: Sequence[Episode]) -> Counts:
    """Of each episode, how many replies were judged so, the most frequent verdict first; last, how many were cut."""
    verdicts = [Counter(turn.verdict.outcome or "unnamed" for turn in episode.turns) for episode in episodes]
    names = [name for name, _ in sum(verdicts, Counter()).most_common()]
    counts = {f"{OF_REPLIES}{name}": [counter[name] for counter in verdicts] for name in names}
    return {**counts, CUT: [sum(t.completion.stop_reason == "length" for t in e.turns) for e in episodes]}


def replies_in(counts: Mapping[str, Sequence[int]]) -> list[int]:
    """How many replies each episode has: each is judged once."""
    return [sum(judged) for judged in zip(*(part for name, part in counts.items() if name != CUT), strict=True)]


def shares_of(episodes: Sequence[Episode]) -> dict[str, float]:
    """The share of each of all replies."""
    return shares({name: sum(part) for name, part in counts_of(episodes).items()})


def shares(counts: Mapping[str, int]) -> dict[str, float]:
    """The same of what was counted of all episodes; nothing where nothing was."""
    replies = sum(count for name, count in counts.items() if name != CUT)
    return {name: count / replies for name, count in counts.items()} if replies else {}


def name_of(share: str) -> str:
    """What a share is of, in words."""
    return "cut at the token limit" if share == CUT else share.removeprefix(OF_REPLIES).replace("_", " ")


def in_words(shares: Mapping[str, float], most: int = 4) -> str:
    """The `most` frequent verdicts among shares, and what was cut: 97% unreadable, 3% illegal; 85% cut at the token
    limit."""
    judged = [(share, name) for name, share in shares.items() if name.startswith(OF_REPLIES) and name != CUT]
    frequent = sorted((one for one in judged if one[0] >= LEAST_SHOWN), key=lambda one: -one[0])[:most]
    said = ", ".join(f"{share:.0%} {name_of(name)}" for share, name in frequent)
    return f"{said}; {shares.get(CUT, 0.0):.0%} {name_of(CUT)}"
