"""Engines that need no tokens: a function from a problem and its conversation to a reply."""

from collections.abc import Callable, Sequence
from typing import cast

from ruleshift.engines.protocol import Reply
from ruleshift.engines.streams import stream_key
from ruleshift.records import Completion, Message
from ruleshift.tasks.protocol import Problem, TaskProblem

Answer = Callable[[Problem, Sequence[Message]], str]


class TextEngine:
    """Answers by calling `answer(problem, messages)`: wrap an expert, a person, or any model with this."""

    def __init__(self, answer: Answer, batch_size: int = 256) -> None:
        self.answer, self.batch_size = answer, batch_size

    def open(self, problems: Sequence[Problem]) -> "TextSession":
        return TextSession(self.answer, problems)


class TextSession:
    def __init__(self, answer: Answer, problems: Sequence[Problem]) -> None:
        self.answer = answer
        self.problems: list[Problem] = []
        self.messages: list[list[Message]] = []
        self.append((), (), problems)

    def generate(self) -> list[Reply]:
        replies = []
        for problem, messages in zip(self.problems, self.messages, strict=True):
            text = self.answer(problem, messages)
            messages.append(Message("assistant", text))
            replies.append(Reply((), Completion(text)))
        return replies

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Problem] = ()) -> None:
        kept = [self.messages[row] for row in keep]
        for messages, message in zip(kept, feedback, strict=True):
            messages.append(message)
        self.problems = [self.problems[row] for row in keep] + list(joining)
        self.messages = kept + [list(problem.context()) for problem in joining]


def expert() -> TextEngine:
    """Always gives the gold reply: the ceiling of every split."""
    return TextEngine(lambda problem, messages: cast(TaskProblem, problem).gold())


def expert_messages(problem: TaskProblem) -> list[Message]:
    """The conversation of an expert who gives the gold reply at every step, up to the last reply."""
    messages = list(problem.context())
    while True:
        reply = problem.gold()
        verdict = problem.submit(reply, last=False)
        messages.append(Message("assistant", reply))
        if not verdict.advanced:
            return messages
        messages.append(Message("user", verdict.feedback, verdict.pictures))


def random_guesser(seed: int = 0) -> TextEngine:
    """Gives a reply in the right form with chance content: the floor of every split."""

    def answer(problem: Problem, messages: Sequence[Message]) -> str:
        return cast(TaskProblem, problem).guess(stream_key(seed, f"{problem.id}/{len(messages)}"))

    return TextEngine(answer)
