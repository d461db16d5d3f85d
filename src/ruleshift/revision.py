"""Sequential revision: the one loop of training, evaluation and inference-time verification.

Context, generate, submit, append feedback, until solved or the verification budget is spent; batched over problems.
Source: Chu et al. (arXiv 2501.17161), section 3: v_in(t) = concat(v_in(0), [v_out(k), v_ver(k)] for k < t).

A problem may have several steps (the positions of a route). A verdict that says `advanced` leads to the next step,
whose budget is full again.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ruleshift.engines.protocol import Engine, Reply
from ruleshift.records import Episode, Message, Turn
from ruleshift.tasks.protocol import Problem

# Waiting problems join once this share of the batch is free: reading the prompts of a few rows is slow.
JOIN_SHARE = 1 / 8


def revise(
    problems: Sequence[Problem],
    engine: Engine,
    turns: int,
    progress: Callable[[int], object] | None = None,
    pictured: int | None = None,
) -> list[Episode]:
    """One finished episode per problem, in order. At most `engine.batch_size` conversations are live at once.

    turns: the verification budget of each step, at least 1. progress: called with the number of episodes that ended
    since the last call. pictured: how many episodes, the first ones, keep their pictures (None: all); the others
    forget a picture once the engine has it, so that there are no more at once than live conversations (apart from what
    problems keep themselves).
    """
    if turns < 1:
        raise ValueError(f"the verification budget must be at least one turn, not {turns}")
    keeping = len(problems) if pictured is None else pictured
    conversations = [_Conversation(problem, place < keeping) for place, problem in enumerate(problems)]
    live, waiting = conversations[: engine.batch_size], conversations[engine.batch_size :]
    session = engine.open([conversation.problem for conversation in live])
    while live:
        for conversation in live:
            conversation.was_read()
        for conversation, reply in zip(live, session.generate(), strict=True):
            conversation.take(reply, turns)
        keep = [row for row, conversation in enumerate(live) if not conversation.ended]
        kept = [live[row] for row in keep]
        if progress is not None and len(kept) < len(live):
            progress(len(live) - len(kept))
        free = engine.batch_size - len(kept)
        joining = waiting[:free] if free >= JOIN_SHARE * engine.batch_size else []
        waiting = waiting[len(joining) :]
        live = kept + joining
        if live:
            session.append(keep, [c.messages[-1] for c in kept], [c.problem for c in joining])
    return [conversation.episode() for conversation in conversations]


class _Conversation:
    """A problem, what was said about it so far, and the tries that its current step has taken."""

    def __init__(self, problem: Problem, keeps_pictures: bool = True) -> None:
        self.problem, self.keeps_pictures = problem, keeps_pictures
        self.turns: list[Turn] = []
        self.messages: list[Message] = []
        self.tries = 0
        self.ended = False

    def take(self, reply: Reply, budget: int) -> None:
        """Submit a reply, with a budget of so many tries for each step."""
        text = reply.completion.text
        verdict = self.problem.submit(text, self.tries == budget - 1)
        self.messages += [Message("assistant", text), Message("user", verdict.feedback, verdict.pictures)]
        kept = verdict if self.keeps_pictures or not verdict.pictures else replace(verdict, pictures=())
        self.turns.append(Turn(reply.appended_ids, reply.completion, kept))
        self.tries = 0 if verdict.advanced else self.tries + 1
        self.ended = verdict.solved or verdict.ended or self.tries == budget

    def was_read(self) -> None:
        """The engine has all messages so far."""
        if not self.messages:
            self.messages = list(self.problem.context())
        if not self.keeps_pictures:
            self.messages = [replace(m, pictures=()) if m.pictures else m for m in self.messages]

    def episode(self) -> Episode:
        return Episode(self.problem.id, tuple(self.turns), tuple(self.messages))
