"""Several replies to each problem of a split, and what can be said of them: how sure, how varied, whether copied.

A problem of several steps is asked at one of those where something is decided (`at_decision`). P problems, K replies to
each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ruleshift.engines.local import LocalEngine
from ruleshift.evaluation.copying import TrainingReplies, answer_of
from ruleshift.evaluation.once import at_decision
from ruleshift.revision import revise
from ruleshift.tasks.protocol import Constrained, Style, Task, TaskProblem, how_many

Table = tuple[tuple[int, ...], ...]  # (P, K)


@dataclass(frozen=True)
class Sampled:
    """What is kept of the replies to a split. `steps` (P) are those at which problems were asked. `answers` are
    numbers, the same for replies to a problem that answer the same (`Answering`). `strict`: right, in the requested
    form to the letter, and without false or idle steps where any are shown. `copied` and `copied_answer`: which repeat
    what the training of the model shows (`TrainingReplies`); `start_copied`, `start_copied_answer` say the same of the
    start model's replies, `expert_copied`, `expert_copied_answer` (P) of the expert's: who knows the rule copies as
    often. All are empty where it is not known what that shows. Log-probs (P, K) are those of whole replies, in nats.
    `admitted` says which keep to what can be checked without the answer (`Constrained`); it is empty where problems
    cannot tell."""

    split: str
    steps: tuple[int, ...]
    logprobs: tuple[tuple[float, ...], ...]
    tokens: Table
    answers: Table
    right: Table
    strict: Table
    copied: Table = ()
    copied_answer: Table = ()
    start_copied: Table = ()
    start_copied_answer: Table = ()
    expert_copied: tuple[int, ...] = ()
    expert_copied_answer: tuple[int, ...] = ()
    admitted: Table = ()

    def probabilities(self) -> list[list[float]]:
        """The probability of each reply (P, K)."""
        return [[min(1.0, math.exp(value)) for value in row] for row in self.logprobs]

    def per_token(self) -> list[list[float]]:
        """The geometric mean of the probabilities of each reply's tokens (P, K)."""
        return [
            [min(1.0, math.exp(value / max(1, count))) for value, count in zip(row, counts, strict=True)]
            for row, counts in zip(self.logprobs, self.tokens, strict=True)
        ]

    def first_admitted(self) -> list[int | None]:
        """Of each problem, the place of the first reply that is admitted: what drawing anew until one is comes to."""
        return [next((place for place, admitted in enumerate(row) if admitted), None) for row in self.admitted]


def sampled_replies(
    engine: LocalEngine,
    task: Task,
    split: str,
    n: int,
    samples: int,
    style: Style,
    seed: int,
    shown: TrainingReplies | None = None,
    start: Sampled | None = None,
) -> Sampled:
    """Replies to the problems 0..n-1 of (split, seed), each from a random stream of its own. shown: what a training
    shows; start: the start model's replies to the same problems, looked at in the same way."""
    asked = [at_decision(task, split, seed, index, style) for index in range(how_many(task, split, n))]
    problems = [one.problem for one in asked]
    many = [one for one in asked for _ in range(samples)]
    episodes = revise(many, engine, 1, pictured=0, samples=[*range(samples)] * len(asked))
    turns = [episode.turns[0] for episode in episodes]
    texts = [turn.completion.text for turn in turns]
    answers = [answer_of(problems[place // samples], text) for place, text in enumerate(texts)]

    def rows(values: Sequence[int]) -> Table:
        return tuple(tuple(values[i : i + samples]) for i in range(0, len(values), samples))

    by_problem = [answers[i : i + samples] for i in range(0, len(answers), samples)]
    gold = [problem.gold() for problem in problems]
    right_answers = [answer_of(problem, text) for problem, text in zip(problems, gold, strict=True)]
    tells = all(isinstance(problem, Constrained) for problem in problems)
    admitted = [int(_admits(problems[place // samples], text)) for place, text in enumerate(texts)]
    logprobs = [math.fsum(turn.completion.logprobs) for turn in turns]
    return Sampled(
        split,
        tuple(one.step for one in asked),
        tuple(tuple(logprobs[i : i + samples]) for i in range(0, len(logprobs), samples)),
        tokens=rows([len(turn.completion.logprobs) for turn in turns]),
        answers=tuple(tuple(map(row.index, row)) for row in by_problem),
        right=rows([int(turn.verdict.right) for turn in turns]),
        strict=rows([int(t.verdict.right and t.verdict.valid and t.verdict.work in (None, "sound")) for t in turns]),
        copied=rows([int(shown.has_reply(text)) for text in texts]) if shown else (),
        copied_answer=rows([int(shown.has_answer(answer)) for answer in answers]) if shown else (),
        start_copied=start.copied if start else (),
        start_copied_answer=start.copied_answer if start else (),
        expert_copied=tuple(int(shown.has_reply(text)) for text in gold) if shown else (),
        expert_copied_answer=tuple(int(shown.has_answer(answer)) for answer in right_answers) if shown else (),
        admitted=rows(admitted) if tells else (),
    )


def _admits(problem: TaskProblem, text: str) -> bool:
    return isinstance(problem, Constrained) and problem.admits(text)
