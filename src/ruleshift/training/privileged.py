"""What a teacher is shown of an episode that the student is not: the same replies after richer prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ruleshift.chat import Chat
from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode
from ruleshift.tasks.protocol import Plural, Ruled, TaskProblem
from ruleshift.training.trajectories import Trajectory, reply_places

Found = TypeVar("Found")
BESIDE = "\n\n"  # between a prompt and what is shown with it, as in TRL's trainers of SDFT and SDPO


@dataclass(frozen=True)
class Asked:
    """An episode that a teacher is asked about, its first `turns` turns: with its problem as it was at the beginning,
    the `budget` of tries at each step, and the other episodes of its group."""

    episode: Episode
    turns: int
    problem: TaskProblem
    budget: int
    siblings: Sequence[Episode] = ()


def shown(kind: str, asked: Asked) -> list[str]:
    """What stands beside the prompt or the feedback before each turn; nothing where it is empty.

    `rule` stands in the first prompt. `demonstration` (the expert's reply) and `success` (that of a sibling which was
    right) stand where a step begins, and `feedback` before the very reply that it is about, where that was not right.
    Raises RuleshiftError for a task that states no rule.
    """
    turns = asked.episode.turns[: asked.turns]
    feedback = ["" if turn.verdict.right else turn.verdict.feedback for turn in turns]
    if kind == "feedback":
        return feedback
    if kind == "rule":
        return [rule_of(asked.problem), *[""] * (len(turns) - 1)]
    if kind == "demonstration":
        golds = replayed(asked, lambda problem: problem.gold())
        return [gold if first else "" for gold, first in zip(golds, _begins(asked), strict=True)]
    if kind in ("success", "success-or-feedback"):
        found = _successes(asked)
        return found if kind == "success" else [a or b for a, b in zip(found, feedback, strict=True)]
    return [""] * len(turns)


def rule_of(problem: TaskProblem) -> str:
    """The rule that is scored, in words. Raises RuleshiftError for a task that gives none."""
    if not isinstance(problem, Ruled):
        raise RuleshiftError(
            f"problems of {problem.id.split('/')[0]} have no `rule()` to show a teacher: choose --privileged-context "
            "demonstration or feedback, or write one"
        )
    return problem.rule()


def answers_of(problem: TaskProblem) -> Sequence[str]:
    """The replies of which the expert gives each as often, here."""
    return problem.golds() if isinstance(problem, Plural) else [problem.gold()]


def replayed(asked: Asked, look: Callable[[TaskProblem], Found]) -> list[Found]:
    """What is found in the problem before each turn of the episode. It is used up by that."""
    found: list[Found] = []
    tries = 0
    for turn in asked.episode.turns[: asked.turns]:
        found.append(look(asked.problem))
        verdict = asked.problem.submit(turn.completion.text, tries == asked.budget - 1)
        tries = 0 if verdict.advanced else tries + 1
    return found


def _begins(asked: Asked) -> list[bool]:
    """Of each turn, whether it is the first one of a step."""
    return [True, *(turn.verdict.advanced for turn in asked.episode.turns[: asked.turns])][: asked.turns]


def _successes(asked: Asked) -> list[str]:
    """Where a step begins, the first right reply there of another episode of the group."""
    texts: list[str] = []
    begins = _begins(asked)
    for place, first in enumerate(begins):
        step = sum(begins[: place + 1]) - 1
        right = (
            other.steps[step][-1].completion.text
            for other in asked.siblings
            if step < len(other.steps) and other.steps[step][-1].verdict.right
        )
        texts.append(next(right, "") if first else "")
    return texts


def retold(chat: Chat, asked: Asked, trajectory: Trajectory, texts: Sequence[str]) -> Trajectory:
    """The trajectory of an episode with these texts beside its prompt and feedback: the ids of all replies as they were
    sampled, in other places."""
    if not any(texts):
        return trajectory
    episode, turns = asked.episode, asked.episode.turns[: asked.turns]
    first = len(episode.messages) - 2 * len(episode.turns)  # messages before the first reply
    pieces: list[Sequence[int]] = []
    for k, (turn, text) in enumerate(zip(turns, texts, strict=True)):
        before = episode.messages[first - 1 + 2 * k]
        told = replace(before, content=f"{before.content}{BESIDE}{text}")
        if not text:
            pieces.append(turn.appended_ids)
        elif k == 0:
            pieces.append(chat.encode_prompt((*episode.messages[: first - 1], told)))
        else:
            pieces.append(chat.encode_feedback(told, turns[k - 1].completion.token_ids))
    ids, positions, states = reply_places(turns, pieces)
    told_again = {"ids": tuple(ids), "positions": tuple(positions), "states": tuple(states)}
    return replace(trajectory, **told_again, pictures=episode.begun(len(turns)).pictures, after=None)
