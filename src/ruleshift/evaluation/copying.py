"""Replies that repeat one of the training: word by word, or in what they answer."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ruleshift.evaluation.once import led
from ruleshift.tasks.protocol import Answering, Style, Task, TaskProblem, how_many


@dataclass(frozen=True)
class TrainingReplies:
    """The replies that a training shows: as texts without spaces, which tokenizers differ in, and what they answer (see
    `answer_of`)."""

    texts: frozenset[str]
    answers: frozenset[str]

    @classmethod
    def of(cls, shown: Iterable[tuple[TaskProblem, str]]) -> "TrainingReplies":
        """Of replies, each with its problem."""
        texts, answers = set(), set()
        for problem, text in shown:
            texts.add(_written(text))
            answers.add(answer_of(problem, text))
        return cls(frozenset(texts), frozenset(answer for answer in answers if answer is not None))

    def has_reply(self, text: str) -> bool:
        """Whether this is one of the replies, to the letter, spaces apart."""
        return _written(text) in self.texts

    def has_answer(self, answer: str | None) -> bool:
        """Whether one of the replies answers this, which was read."""
        return answer is not None and answer in self.answers


def _written(text: str) -> str:
    return "".join(text.split())


def answer_of(problem: TaskProblem, text: str) -> str | None:
    """What a reply answers, up to what does not matter where the problem tells that (the order of operands of a
    formula), and else the reply itself with its spaces made even."""
    return problem.answer(text) if isinstance(problem, Answering) else " ".join(text.split())


def expert_replies(task: Task, style: Style, split: str, seed: int, n: int) -> Iterator[tuple[TaskProblem, str]]:
    """The expert's replies to the problems 0..n-1 of (split, seed), at each of their steps."""
    for index in range(how_many(task, split, n)):
        problem = task.unseen().problem(split, seed, index, style)
        yield from ((problem, text) for text, _ in led(problem))
