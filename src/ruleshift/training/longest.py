"""Conversations as long as they may become, for plans: nobody is asked anything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ruleshift.chat import Chat
from ruleshift.engines.protocol import Reply
from ruleshift.records import Completion, Episode
from ruleshift.revision import Conversation
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.training.privileged import Asked
from ruleshift.training.sft_data import data_of
from ruleshift.training.sft_lessons import Lessons, demonstration, taught
from ruleshift.training.trajectories import Trajectory

LOOKED_AT = 64  # problems of the split whose conversations are told
PICTURED = 8  # the same where pictures have to be drawn
WRONG: tuple[Callable[[TaskProblem, int], str], ...] = (  # replies whose feedback may be long; the second may be right
    lambda problem, turn: "a a",
    lambda problem, turn: problem.guess(turn),
)


@dataclass(frozen=True)
class Longest:
    """Of the first problems: what is learned from, what the model says (`sampled`, `each` of them so often; nothing
    where SFT learns from the expert), the expert's conversations where RL learns from these too (`shown`), and what a
    teacher may be asked."""

    learned: Sequence[Trajectory]
    sampled: Sequence[Trajectory] = ()
    each: int = 1
    shown: Sequence[Trajectory] = ()
    asked: Sequence[Asked] = ()


def longest(chat: Chat, task: Task, style: Style, config: SFTConfig | RLConfig, most: int) -> Longest:
    """most: tokens that the model's context has room for. A run ends where a conversation would outgrow it."""
    looked_at = PICTURED if task.pictures else LOOKED_AT
    indices = range(min(looked_at, config.episodes if isinstance(config, RLConfig) else config.examples))

    def problem(index: int) -> TaskProblem:
        return task.problem(config.split, config.seed, index, style)

    def said(turns: int) -> list[Episode]:
        reply = (chat.encode_reply("a a")[0],) * config.max_new_tokens
        each = [[drawn_out(chat, problem(i), turns, reply, most, wrong) for wrong in WRONG] for i in indices]
        return [max(some, key=lambda episode: len(episode.token_ids)) for some in each]

    def shown() -> list[Trajectory]:
        return [demonstration(chat, problem(i), config.turns) for i in indices]

    if isinstance(config, RLConfig):
        episodes = said(config.turns)
        own = [Trajectory.of(episode) for episode in episodes]
        asked = [Asked(episode, len(episode.turns), problem(i), config.turns) for i, episode in enumerate(episodes)]
        return Longest(own, own, 1, shown() if config.sft_coef or config.sft_mix == "noise" else (), asked)
    unsliced = replace(config, pass_low=0.0, pass_high=1.0)
    rated = 0 if config == unsliced else config.pass_samples
    if data_of(config).sampled:
        own = [Trajectory.of(episode) for episode in said(config.turns)]
        pairs = zip(own, shown(), strict=True)
        return Longest([max(pair, key=lambda t: len(t.ids)) for pair in pairs], own, 1 + rated)
    lessons = Lessons(chat, task, style, unsliced, None, None)
    of_expert = [taught(lessons[row]) for row in lessons.rows[:looked_at]]
    return Longest(of_expert, [Trajectory.of(episode) for episode in said(1)] if rated else (), rated)


def drawn_out(
    chat: Chat,
    problem: TaskProblem,
    turns: int,
    reply: tuple[int, ...],
    most: int,
    wrong: Callable[[TaskProblem, int], str],
) -> Episode:
    """A conversation in which every reply has the tokens of `reply`, whatever it says: at each step a `wrong` one until
    a single try is left, and then the right one, which leads to the next step and a new budget. It breaks off where
    another reply would make it longer than `most` tokens."""
    conversation = Conversation(problem, turns)
    appended = chat.encode_prompt(conversation.request().messages)
    room = most - len(appended) - len(reply)
    while not conversation.ended:
        text = problem.gold() if conversation.tries == turns - 1 else wrong(problem, len(conversation.turns))
        conversation.take(Reply(appended, Completion(text, reply, (0.0,) * len(reply), "length")))
        appended = chat.encode_feedback(conversation.messages[-1], reply)
        room -= len(appended) + len(reply)
        if room < 0:
            break
    return conversation.episode()
