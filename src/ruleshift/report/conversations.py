"""Episodes as the page shows them: bubbles of text, with a chip for every verdict."""

from dataclasses import dataclass
from typing import Literal

from ruleshift.records import Episode, Role, Verdict

Tone = Literal["good", "fair", "bad"]


@dataclass(frozen=True)
class Chip:
    """A verdict in a few words. `good` solved, `fair` followed the format, `bad` did not."""

    text: str
    tone: Tone
    found: str = ""


@dataclass(frozen=True)
class Bubble:
    """One message and who speaks; replies carry the verdict on them."""

    role: Role
    who: str
    text: str
    chip: Chip | None = None


@dataclass(frozen=True)
class Conversation:
    """One episode: its messages in order, and its verdicts again for the line that stands for it when folded."""

    problem_id: str
    summary: str
    chips: tuple[Chip, ...]
    bubbles: tuple[Bubble, ...]


def conversation(episode: Episode) -> Conversation:
    """An episode, ready to show. The last replies are the turns'; assistant messages before them are examples."""
    chips = [_chip(turn.verdict) for turn in episode.turns]
    examples = sum(message.role == "assistant" for message in episode.messages) - len(chips)
    bubbles, replies = [], 0
    for message in episode.messages:
        chip = None
        if message.role == "assistant":
            if replies >= examples:
                chip = chips[replies - examples]
            replies += 1
        bubbles.append(Bubble(message.role, _speaker(message.role, replies > examples), message.content, chip))
    count = len(episode.turns)
    ending = "solved" if episode.solved else "not solved"
    summary = f"{ending} in {count} {'turn' if count == 1 else 'turns'}, total reward {episode.total_reward:+g}"
    return Conversation(episode.problem_id, summary, tuple(chips), tuple(bubbles))


def _speaker(role: Role, judged: bool) -> str:
    """After a reply has been judged, what the model is told comes from the verifier."""
    if role == "user":
        return "verifier" if judged else "task"
    return "model" if role == "assistant" else "system"


def _chip(verdict: Verdict) -> Chip:
    tone: Tone = "good" if verdict.solved else "fair" if verdict.valid else "bad"
    outcome = verdict.outcome.replace("_", " ")
    return Chip(f"{outcome} {verdict.reward:+g}", tone, f"= {verdict.found}" if verdict.found else "")
