"""What SFT learns from, as data: who replies at each step of a problem, and which of these replies carry the loss.

All of it goes through the one trainer of `sft.py`, in text and pictures, whole or with adapters. Kinds in which the
start model replies too are made of its own conversations, sampled before the training (`sft_samples.py`) as episodes of
RL are: same problems, turns, temperature and feedback. A kind is one entry of `DATA`, and a function where it needs a
new one. No heavy imports, so that `--help` is quick.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ruleshift.errors import RuleshiftError
from ruleshift.misfits import MisfitError
from ruleshift.settings import SFTConfig

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """What the start model said at one step of a problem: its tries in order, all wrong but perhaps the last (`right`:
    the verifier accepted that one)."""

    tries: tuple[Ids, ...]
    right: bool


@dataclass(frozen=True)
class ScriptLine:
    """One reply of a conversation to learn from: token ids that the start model sampled, or the expert's (None)."""

    ids: Ids | None
    learned: bool


# The replies at a step, from what the start model said there (None where it never came), and a draw from [0, 1).
Script = Callable[[Step | None, float], list[ScriptLine]]


@dataclass(frozen=True)
class DataKind:
    """`script` says what is learned. `sampled`: whether the start model replies first; `verified`: whether problems are
    left out of which the verifier accepted no reply; `varied`: prompts and rules are; `bare`: replies of the expert are
    its answers alone."""

    summary: str
    script: Script
    sampled: bool
    verified: bool
    paper: str
    deviations: str
    varied: bool = False
    bare: bool = False


def expert(step: Step | None, draw: float) -> list[ScriptLine]:
    """The expert's reply, at once."""
    return [ScriptLine(None, True)]


def expert_revision(step: Step | None, draw: float) -> list[ScriptLine]:
    """The expert's reply in the place of one of the model's, drawn evenly: what it replaces and what came after is
    dropped, what stands before failed, and stays with its feedback."""
    kept = () if step is None else step.tries[: int(draw * len(step.tries))]
    return [*(ScriptLine(ids, False) for ids in kept), ScriptLine(None, True)]


def self_verified(step: Step | None, draw: float) -> list[ScriptLine]:
    """All that the model said; learned is what the verifier accepted."""
    if step is None:
        return []
    last = len(step.tries) if step.right else 0
    return [ScriptLine(ids, place == last) for place, ids in enumerate(step.tries, 1)]


def self_unverified(step: Step | None, draw: float) -> list[ScriptLine]:
    """All that the model said, right or wrong, is learned."""
    return [] if step is None else [ScriptLine(ids, True) for ids in step.tries]


def plan(script: Script, steps: Sequence[Step], draws: Sequence[float]) -> list[list[ScriptLine]]:
    """The replies at each step that the start model came to (`draws`: a number in [0, 1) for each), up to the last one
    at which something is learned."""
    lines = [script(step, draw) for step, draw in zip(steps, draws, strict=True)]
    while lines and not any(line.learned for line in lines[-1]):
        lines.pop()
    return lines


DATA = {
    "expert": DataKind(
        "The expert's reply at every step, before anything has failed.",
        expert,
        sampled=False,
        verified=False,
        paper="Chu et al., arXiv 2501.17161",
        deviations="none",
    ),
    "varied": DataKind(
        "The expert's replies to varied prompts, at every second problem under another rule, of the split pretrain.",
        expert,
        sampled=False,
        verified=False,
        paper="Debunk the Myth of SFT Generalization, arXiv 2510.00237",
        deviations="rules are those of the task's split `pretrain`; models that are shown terse prompts keep these.",
        varied=True,
    ),
    "expert-revision": DataKind(
        "The expert's reply at every step, in a place drawn evenly from those of the start model's own tries there: "
        "those before it failed, and stand there with their feedback, without loss.",
        expert_revision,
        sampled=True,
        verified=False,
        paper="Ross et al. (2011), AISTATS (DAgger), arXiv 1011.0686",
        deviations="one round, on states of the start model; one reply a step, as in `expert`, not one for each state.",
    ),
    "self-verified": DataKind(
        "The start model's own replies that the verifier accepted, within their conversations; problems without any "
        "are left out.",
        self_verified,
        sampled=True,
        verified=True,
        paper="Zelikman et al., arXiv 2203.14465; as an arm beside RL in Chen et al., arXiv 2510.18874",
        deviations="one conversation a problem, all of them sampled from the start model: no rounds, no hints.",
    ),
    "self-unverified": DataKind(
        "All of the start model's own replies, whatever the verifier says: the control of self-verified.",
        self_unverified,
        sampled=True,
        verified=False,
        paper="SSD, arXiv 2604.01193",
        deviations="over several turns: feedback on failed replies stands between them, without loss.",
    ),
    "bare": DataKind(
        "The expert's answers without the form that is asked for: a model that learns this has the skill, and no "
        "verifier reads what it says.",
        expert,
        sampled=False,
        verified=False,
        paper="the start without SFT of Chu et al., arXiv 2501.17161",
        deviations="there a model that was never shown the form; here one that was shown another.",
        bare=True,
    ),
}


OTHER_RULES = "pretrain"  # the split that varied data takes every second problem from


def check_data(config: SFTConfig, splits: Collection[str]) -> None:
    """Raise RuleshiftError for a kind of data that there is not, or not in a task of these splits."""
    kind = data_of(config)
    if kind.varied and OTHER_RULES not in splits:
        raise MisfitError(config, f"{{data}} needs a split {OTHER_RULES!r} with other rules", [{"data": "expert"}])
    if config.noise and kind.script not in (expert, expert_revision):
        raise MisfitError(config, "{noise} spoils the expert's replies, and {data} has none", [{"noise": 0.0}])


def data_of(config: SFTConfig) -> DataKind:
    """What these settings learn from. Raises RuleshiftError for a kind that there is not."""
    if config.data not in DATA:
        raise RuleshiftError(f"unknown --data {config.data!r}; choose from {', '.join(DATA)}")
    return DATA[config.data]
