"""Sequential revision: the one loop of training, evaluation and inference-time verification.

Context, generate, submit, append feedback, until solved or the verification budget is spent; batched over problems.
Source: Chu et al. (arXiv 2501.17161), section 3: v_in(t) = concat(v_in(0), [v_out(k), v_ver(k)] for k < t).
"""

from collections.abc import Callable, Sequence

from ruleshift.engines.protocol import Engine
from ruleshift.records import Episode, Message, Turn
from ruleshift.tasks.protocol import Problem


def revise(
    problems: Sequence[Problem],
    engine: Engine,
    turns: int,
    progress: Callable[[int], object] | None = None,
) -> list[Episode]:
    """One finished episode per problem, in order.

    turns: the verification budget, at least 1. progress: called with the number of episodes each batch finished.
    """
    if turns < 1:
        raise ValueError(f"the verification budget must be at least one turn, not {turns}")
    episodes: list[Episode] = []
    for first in range(0, len(problems), engine.batch_size):
        batch = problems[first : first + engine.batch_size]
        episodes += _revise_batch(batch, engine, turns)
        if progress is not None:
            progress(len(batch))
    return episodes


def _revise_batch(problems: Sequence[Problem], engine: Engine, turns: int) -> list[Episode]:
    session = engine.open(problems)
    history: list[list[Turn]] = [[] for _ in problems]
    messages = [list(problem.context()) for problem in problems]
    live = list(range(len(problems)))
    for turn in range(turns):
        last = turn == turns - 1
        for index, reply in zip(live, session.generate(), strict=True):
            verdict = problems[index].submit(reply.completion.text, last)
            history[index].append(Turn(reply.appended_ids, reply.completion, verdict))
            messages[index] += [Message("assistant", reply.completion.text), Message("user", verdict.feedback)]
        keep = [row for row, index in enumerate(live) if not history[index][-1].verdict.solved]
        if last or not keep:
            break
        live = [live[row] for row in keep]
        session.append(keep, [history[index][-1].verdict.feedback for index in live])
    return [
        Episode(problem.id, tuple(turns_of), tuple(said))
        for problem, turns_of, said in zip(problems, history, messages, strict=True)
    ]
