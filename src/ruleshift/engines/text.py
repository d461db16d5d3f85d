"""Policies that need no tokens: a function from a conversation to a reply, and those that know the problem."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ruleshift.engines.protocol import Insider, Reply, Request
from ruleshift.engines.streams import stream_key
from ruleshift.errors import RuleshiftError
from ruleshift.records import Completion, Message
from ruleshift.tasks.protocol import Blind, TaskProblem

Answer = Callable[[Request], str]


class TextEngine:
    """Answers by calling `answer(request)`, where `request.messages` is the conversation so far: wraps any model."""

    def __init__(self, answer: Answer, batch_size: int = 256) -> None:
        self.answer, self.batch_size = answer, batch_size

    def open(self, requests: Sequence[Request]) -> "TextSession":
        return TextSession(self.answer, requests)


class TextSession:
    def __init__(self, answer: Answer, requests: Sequence[Request]) -> None:
        self.answer, self.live = answer, list(requests)

    def generate(self) -> list[Reply]:
        texts = [self.answer(request) for request in self.live]
        self.live = [_longer(r, Message("assistant", text)) for r, text in zip(self.live, texts, strict=True)]
        return [Reply((), Completion(text)) for text in texts]

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Request] = ()) -> None:
        kept = [_longer(self.live[row], message) for row, message in zip(keep, feedback, strict=True)]
        self.live = [*kept, *joining]


def _longer(request: Request, message: Message) -> Request:
    return replace(request, messages=(*request.messages, message))


def expert() -> Insider:
    """Always gives the gold reply: the ceiling of every split."""
    return Insider(lambda problem, request: problem.gold())


def random_guesser(seed: int = 0) -> Insider:
    """Gives a reply in the right form with chance content: the floor of every split."""

    def answer(problem: TaskProblem, request: Request) -> str:
        return problem.guess(stream_key(seed, f"{request.id}/{len(request.messages)}", request.sample))

    return Insider(answer)


def blind_guesser(seed: int = 0) -> Insider:
    """Gives a reply without looking: what can be had without the skill that a task asks for.

    Raises RuleshiftError, when it is asked, for a problem that tells all that there is to know in words.
    """

    def answer(problem: TaskProblem, request: Request) -> str:
        if not isinstance(problem, Blind):
            raise RuleshiftError(f"{request.id} shows nothing that one could fail to look at: take the model random")
        return problem.blind(stream_key(seed, f"{request.id}/{len(request.messages)}", request.sample))

    return Insider(answer)


def insider(name: str, seed: int = 0) -> Insider:
    """One of `backbones.config.INSIDERS`, by name."""
    return expert() if name == "expert" else {"random": random_guesser, "blind": blind_guesser}[name](seed)


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
