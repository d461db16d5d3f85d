"""Conversations as long as they may become, for plans: nobody is asked anything."""

from collections.abc import Sequence
from dataclasses import replace

from ruleshift.chat import Chat
from ruleshift.engines.protocol import Reply, Request
from ruleshift.records import Completion, Episode, Message
from ruleshift.revision import revise
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.training.privileged import Asked
from ruleshift.training.sft_data import data_of
from ruleshift.training.sft_lessons import Lessons, demonstration, taught
from ruleshift.training.trajectories import Trajectory

LOOKED_AT = 64  # problems of the split whose conversations are told
PICTURED = 8  # the same where pictures have to be drawn


class LongReplies:
    """Answers everything with as many tokens as it may."""

    def __init__(self, chat: Chat, count: int, batch_size: int) -> None:
        self.chat, self.batch_size = chat, batch_size
        self.reply = (chat.encode_reply("a a")[0],) * count

    def open(self, requests: Sequence[Request]) -> "LongSession":
        return LongSession(self, requests)


class LongSession:
    def __init__(self, engine: LongReplies, requests: Sequence[Request]) -> None:
        self.engine = engine
        self.appended: list[tuple[int, ...]] = []
        self.append((), (), requests)

    def generate(self) -> list[Reply]:
        ids = self.engine.reply
        said = Completion(self.engine.chat.decode(ids), ids, (0.0,) * len(ids), "length")
        return [Reply(appended, said) for appended in self.appended]

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Request] = ()) -> None:
        chat = self.engine.chat
        self.appended = [chat.encode_feedback(message, self.engine.reply) for message in feedback]
        self.appended += [chat.encode_prompt(request.messages) for request in joining]


def longest(chat: Chat, task: Task, style: Style, config: SFTConfig | RLConfig) -> tuple[list[Trajectory], list[Asked]]:
    """The conversations of the first problems, and where a teacher is asked about them, what it is asked.

    What is learned from the expert where that is what SFT learns from; where a teacher guides, the longest wrong
    replies until the budget ends; and else the longer of these and the expert's way."""
    looked_at = PICTURED if task.pictures else LOOKED_AT
    if isinstance(config, SFTConfig) and not data_of(config).sampled:
        lessons = Lessons(chat, task, style, replace(config, pass_low=0.0, pass_high=1.0), None, None)
        return [taught(lessons[row]) for row in lessons.rows[:looked_at]], []
    indices = range(min(looked_at, config.episodes if isinstance(config, RLConfig) else config.examples))

    def problems() -> list[TaskProblem]:
        return [task.problem(config.split, config.seed, index, style) for index in indices]

    engine = LongReplies(chat, config.max_new_tokens, len(indices))
    episodes: list[Episode] = revise(problems(), engine, config.turns)
    wrong = [Trajectory.of(episode) for episode in episodes]
    if isinstance(config, DistilConfig):
        pairs = zip(episodes, problems(), strict=True)
        return wrong, [Asked(episode, len(episode.turns), problem, config.turns) for episode, problem in pairs]
    right = [demonstration(chat, problem, config.turns) for problem in problems()]
    return [max(pair, key=lambda t: len(t.ids)) for pair in zip(wrong, right, strict=True)], []
