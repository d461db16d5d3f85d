"""Evaluations that resume: conversations on any splits, kept in a record as they go."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ruleshift.engines.protocol import Answerer, Reply, Responder
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.record import Answered, Record, Slot, without_pictures
from ruleshift.records import Episode, Message
from ruleshift.revision import Conversation, drive
from ruleshift.tasks.protocol import Style, Task, how_many


class Follower(Protocol):
    """Who is told how far it is."""

    def start_at(self, done: int) -> None:
        """So many conversations had ended in earlier calls."""
        ...

    def __call__(self, ended: int) -> None:
        """There is a verdict, with which so many conversations ended."""
        ...


@dataclass(frozen=True)
class Questions:
    """What is asked of a model: `n` problems of each split (as many as there are), `samples` conversations about each,
    `turns` tries at each step. `name` is the one that the task was asked for by."""

    task: Task
    splits: tuple[str, ...]
    n: int
    turns: int
    style: Style = "full"
    seed: int = 0
    samples: int = 1
    name: str = ""
    options: Any = None

    def asked(self) -> dict[str, Any]:
        """All of it, for the record."""
        options = {} if self.options is None else dataclasses.asdict(self.options)
        return {
            "task": {"name": self.name or self.task.id, "version": self.task.version, "options": options},
            "splits": list(self.splits),
            "n": self.n,
            "turns": self.turns,
            "samples": self.samples,
            "style": self.style,
            "seed": self.seed,
        }

    def places(self) -> list[Slot]:
        """All conversations, in the order of their results: by split, problem and sample."""
        return [
            Slot(split, index, sample)
            for split in self.splits
            for index in range(how_many(self.task, split, self.n))
            for sample in range(self.samples)
        ]

    def conversation(self, place: Slot, keeps_pictures: bool = False) -> Conversation:
        """A conversation at its beginning."""
        problem = self.task.problem(place.split, self.seed, place.index, self.style)
        return Conversation(problem, self.turns, place.sample, keeps_pictures)


Episodes = Mapping[Slot, Episode]


def ask(
    questions: Questions,
    responder: Responder,
    record: Record | None = None,
    follower: Follower | None = None,
    keeps_pictures: bool = False,
) -> Episodes:
    """The episodes of all conversations, those of the record continued from where they are.

    An Answerer has all splits at once; engines that hold batches take one split after the other, so that their batches
    are those of an evaluation of one split. Raises RuleshiftError for a record whose words or verdicts are not those of
    today's task, and whatever the responder raises; what was answered until then is in the record.
    """
    conversations = {place: questions.conversation(place, keeps_pictures) for place in questions.places()}
    for place, conversation in conversations.items():
        if record is not None:
            replay(conversation, record.kept.get(place, ()))
        conversation.heard = _listener(place, record, follower)
    if follower is not None:
        follower.start_at(sum(conversation.ended for conversation in conversations.values()))
    groups = [list(conversations)]
    if not isinstance(responder, Answerer):
        groups = [[place for place in conversations if place.split == split] for split in questions.splits]
    for group in groups:
        drive([conversations[place] for place in group], responder)
    return {place: conversation.episode() for place, conversation in conversations.items()}


def replay(conversation: Conversation, kept: Sequence[Answered]) -> None:
    """Bring a conversation to where it was. Raises RuleshiftError where the task now says something else."""
    for answered in kept:
        asked = digest(conversation.request().messages)
        if conversation.ended or asked != answered.asked:
            raise _changed(answered, "asks something else than")
        conversation.take(answered.reply)
        if without_pictures(conversation.turns[-1].verdict) != answered.verdict:
            raise _changed(answered, "judges otherwise than")


def digest(messages: Sequence[Message]) -> str:
    """A digest of the words that were shown."""
    said = hashlib.blake2b(digest_size=8)
    for message in messages:
        said.update(f"{message.role}\0{message.content}\0".encode("utf-8", "surrogatepass"))
    return said.hexdigest()


def _listener(place: Slot, record: Record | None, follower: Follower | None) -> Callable[[Conversation], None]:
    def heard(conversation: Conversation) -> None:
        turn = conversation.turns[-1]
        if record is not None:
            asked = digest(conversation.messages[:-2])
            reply = Reply(turn.appended_ids, turn.completion)
            verdict = without_pictures(turn.verdict)
            record.add(Answered(place, len(conversation.turns), asked, reply, verdict, conversation.seconds))
        if follower is not None:
            follower(int(conversation.ended))

    return heard


def _changed(answered: Answered, how: str) -> RuleshiftError:
    place = answered.place
    return RuleshiftError(
        f"the task {how} at reply {answered.turn} of problem {place.index} of {place.split}, which is kept: "
        "`ruleshift rescore` judges kept replies anew, and another --out asks for new ones"
    )
