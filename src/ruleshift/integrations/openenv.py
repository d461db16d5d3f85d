"""OpenEnv: any task behind an OpenEnv server.

uvicorn --factory ruleshift.integrations.openenv:app      # the task: RULESHIFT_TASK, RULESHIFT_SPLIT, RULESHIFT_STYLE
"""

import os
from typing import TYPE_CHECKING, Any

from ruleshift.errors import RuleshiftError
from ruleshift.integrations.places import ProblemRef, data_url, facts, needs, say
from ruleshift.revision import Conversation

needs("openenv.core", "openenv")
from openenv.core.env_server import Action, Environment, Observation, State, create_app  # noqa: E402
from pydantic import Field  # noqa: E402

if TYPE_CHECKING:
    from fastapi import FastAPI


class ReplyAction(Action):
    """A reply to the problem, any text."""

    reply: str


class SeenObservation(Observation):
    """The newest message for the policy, its pictures as data URLs, and what the verifier said (`outcome`, `solved` ...
    in `verdict`). `done`: solved, or the budget is spent; `truncated`: the latter."""

    text: str
    pictures: list[str] = Field(default_factory=list)
    problem: str = ""
    verdict: dict[str, Any] = Field(default_factory=dict)
    truncated: bool = False


class ServedRevision(Environment[ReplyAction, SeenObservation, State]):
    """Sequential revision with a verifier. `reset(seed=s)` is the problem (split, s, 0), every `reset()` after it the
    next index; `reset(split=..., index=...)` chooses."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, place: ProblemRef) -> None:
        super().__init__()
        self.place, self.conversation = place.at(-1), Conversation(place.problem(), 1)
        self.began = False

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> SeenObservation:
        index = 0 if seed is not None else self.place.index + 1
        chosen = {"seed": self.place.seed if seed is None else seed, "index": index}
        chosen.update({name: options[name] for name in ("split", "index") if options.get(name) is not None})
        self.place = ProblemRef(**{**self.place.row(), **chosen})
        self.conversation, self.began = self.place.conversation(), True
        self.conversation.request()
        self.episode_id = episode_id or self.conversation.problem.id
        return self._seen(None)

    def step(self, action: ReplyAction, timeout_s: float | None = None, **options: Any) -> SeenObservation:
        if not self.began or self.conversation.ended:
            raise RuleshiftError("no problem is open: call reset()")
        verdict = say(self.conversation, action.reply)
        return self._seen(verdict.reward, facts(verdict), not (verdict.solved or verdict.ended))

    @property
    def state(self) -> State:
        return State(episode_id=self.episode_id if self.began else None, step_count=len(self.conversation.turns))

    def list_splits(self) -> list[str]:
        """The splits of the task."""
        return list(self.place.open_task().splits())

    def _seen(
        self, reward: float | None, verdict: dict[str, Any] | None = None, unsolved: bool = False
    ) -> SeenObservation:
        message, ended = self.conversation.messages[-1], self.conversation.ended
        return SeenObservation(
            text=message.content,
            pictures=[data_url(picture) for picture in message.pictures],
            problem=self.conversation.problem.id,
            verdict=verdict or {},
            reward=reward,
            done=ended,
            truncated=ended and unsolved,
        )


def served(place: ProblemRef, sessions: int = 16) -> "FastAPI":
    """A server of these problems, for as many sessions at once."""
    return create_app(
        lambda: ServedRevision(place), ReplyAction, SeenObservation, env_name="ruleshift", max_concurrent_envs=sessions
    )


def app() -> "FastAPI":
    """The server of the task that the environment names, for `uvicorn --factory`."""
    named = {name: os.environ.get(f"RULESHIFT_{name.upper()}", usual) for name, usual in _USUAL.items()}
    return served(ProblemRef(**named))  # type: ignore[arg-type]


_USUAL = {"task": "gp-l", "split": "train", "style": "full"}
