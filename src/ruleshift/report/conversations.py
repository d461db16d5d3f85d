"""Episodes as the page shows them: bubbles of text and pictures, with a chip for every verdict."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ruleshift.pictures import png
from ruleshift.records import Episode, Picture, Role, Verdict

Tone = Literal["good", "fair", "bad"]

MOST_PICTURES = 40  # of a page, in even shares for its arms
MOST_BYTES = 16_000_000  # of their URLs


@dataclass(frozen=True)
class Chip:
    """A verdict in a few words. `good` solved, `fair` followed the format, `bad` did not."""

    text: str
    tone: Tone
    found: str = ""


@dataclass(frozen=True)
class Shown:
    """A picture as a data URL, empty where it is left out."""

    url: str
    width: int
    height: int


@dataclass(frozen=True)
class Bubble:
    """One message and who speaks; replies carry the verdict on them."""

    role: Role
    who: str
    text: str
    chip: Chip | None = None
    pictures: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class ShownConversation:
    """One episode: its messages in order, and its verdicts again for the line that stands for it when folded."""

    problem_id: str
    summary: str
    chips: tuple[Chip, ...]
    bubbles: tuple[Bubble, ...]


class Album:
    """Takes the pictures of a page in their order, until one would exceed their number or their bytes."""

    def __init__(self, pictures: int = MOST_PICTURES, size: int = MOST_BYTES) -> None:
        self.pictures, self.size = pictures, size

    def take(self, picture: Picture) -> Shown:
        url = f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}" if self.pictures else ""
        if len(url) > self.size:
            url, self.pictures = "", 0
        if url:
            self.pictures, self.size = self.pictures - 1, self.size - len(url)
        return Shown(url, picture.width, picture.height)


def conversations(episodes: Mapping[str, Sequence[Episode]]) -> dict[str, list[ShownConversation]]:
    """The conversations of a page, by arm."""
    arms = max(1, len(episodes))
    albums = {arm: Album(MOST_PICTURES // arms, MOST_BYTES // arms) for arm in episodes}
    return {arm: [conversation(episode, albums[arm]) for episode in shown] for arm, shown in episodes.items()}


def conversation(episode: Episode, album: Album) -> ShownConversation:
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
        who = _speaker(message.role, replies > examples)
        bubbles.append(Bubble(message.role, who, message.content, chip, tuple(map(album.take, message.pictures))))
    count = len(episode.turns)
    ending = "solved" if episode.solved else "not solved"
    summary = f"{ending} in {count} {'turn' if count == 1 else 'turns'}, total reward {episode.total_reward:+g}"
    return ShownConversation(episode.problem_id, summary, tuple(chips), tuple(bubbles))


def _speaker(role: Role, judged: bool) -> str:
    """After a reply has been judged, what the model is told comes from the verifier."""
    if role == "user":
        return "verifier" if judged else "task"
    return "model" if role == "assistant" else "system"


def _chip(verdict: Verdict) -> Chip:
    right = verdict.solved or (verdict.advanced and verdict.reward > 0)
    tone: Tone = "good" if right else "fair" if verdict.valid else "bad"
    outcome = verdict.outcome.replace("_", " ")
    return Chip(f"{outcome} {verdict.reward:+g}", tone, f"= {verdict.found}" if verdict.found else "")
