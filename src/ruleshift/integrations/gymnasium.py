"""Gymnasium: `import ruleshift.integrations.gymnasium` registers the environments.

ruleshift/GeneralPoints-v1, ruleshift/GeneralPointsVL-v1, ruleshift/Navigation-v1, ruleshift/NavigationVL-v1
gym_cards/GeneralPoint-oneline-v0, gym_virl/Navigation-v0   (see `ruleshift.integrations.official_envs`)
"""

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.integrations.places import ProblemRef, facts, needs, options_text, say
from ruleshift.pictures import pixels_of
from ruleshift.revision import Conversation
from ruleshift.tasks.protocol import Style

needs("gymnasium", "gymnasium")
import gymnasium  # noqa: E402
from gymnasium import spaces  # noqa: E402

if TYPE_CHECKING:
    from gymnasium.core import RenderFrame

SPLIT_OF: Mapping[str, str] = {"training": "train", "shifted": "rule-ood"}


class Words(spaces.Space[str]):
    """Any text of any letters; what is sampled is short and in ASCII.

    Not `gymnasium.spaces.Text`, which is for given letters, and which AsyncVectorEnv with shared memory reads once and
    never again (Gymnasium 1.4): with this one it asks for `shared_memory=False`.
    """

    def __init__(self, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(None, str, seed)

    def sample(self, mask: None = None, probability: None = None) -> str:
        length = int(self.np_random.integers(0, 80))
        return "".join(string.printable[i] for i in self.np_random.integers(0, len(string.printable), length))

    def contains(self, x: object) -> bool:
        return isinstance(x, str)

    @property
    def is_np_flattenable(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words)

    def __hash__(self) -> int:
        return hash(Words)

    def __repr__(self) -> str:
        return "Words()"


class Revision(gymnasium.Env[Any, str]):
    """Sequential revision with a verifier, as an environment.

    Description: `task` is the name of any task of ruleshift, `split` one of its splits. `rule` names a split by what it
        asks for: `training` is `train`, `shifted` is `rule-ood`. Further arguments are the options of the task.
    Action: a reply, any text. What is sampled is chance text.
    Observation: the newest message for the policy (the prompt, then the verifier's feedback); for tasks in pictures a
        dict of `text` and `picture`, (height, width, 3) uint8: what is in sight. The whole conversation is
        `info["messages"]`; `info` also holds the verdict (outcome, reward, solved, feedback, valid, read_right ...).
    Start: `reset(seed=s)` is the problem (split, s, 0), and every `reset()` after it the next index: the problems of
        `ruleshift eval --seed s`. `reset(options={"index": i})` is the one at an index.
    Reward: the verifier's.
    End: `terminated` when the problem is solved or ends by itself; `truncated` when the verification budget (`turns`
        replies to each step; by default the task's) is spent.
    Versions: v1 first release.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        split: str | None = None,
        rule: Literal["training", "shifted"] | None = None,
        turns: int | None = None,
        style: Style = "full",
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        if split is not None and rule is not None:
            raise RuleshiftError(f"split {split!r} has a rule already: leave rule={rule!r} out")
        if rule is not None and rule not in SPLIT_OF:
            raise RuleshiftError(f"unknown rule {rule!r}; choose from {', '.join(SPLIT_OF)}, or name a split")
        if turns is not None and turns < 1:
            raise RuleshiftError(f"turns must be at least 1, not {turns}")
        where = split or SPLIT_OF[rule or "training"]
        self.place = ProblemRef(task, where, style=style, turns=turns or 0, options=options_text(options))
        self.render_mode = render_mode
        self.conversation: Conversation | None = None
        self._began = False
        self.action_space = Words()
        problem = self.place.problem()
        if not self.place.open_task().pictures:
            self.observation_space = Words()
        else:
            shown = problem.context()[0].pictures[0]
            seen = spaces.Box(0, 255, (shown.height, shown.width, 3), np.uint8)
            self.observation_space = spaces.Dict({"text": Words(), "picture": seen})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        index = self.place.index + 1
        if seed is not None or not self._began:
            chosen = seed if seed is not None else int(self.np_random.integers(2**31))
            self.place, index = ProblemRef(**{**self.place.row(), "seed": chosen}), 0
        self._began = True
        self.place = self.place.at((options or {}).get("index", index))
        self.conversation = self.place.conversation()
        self.conversation.request()
        return self._observation(), self._info()

    def step(self, action: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        conversation = self._current()
        if conversation.ended:
            raise RuleshiftError("this episode has ended: call reset()")
        verdict = say(conversation, action)
        terminated = verdict.solved or verdict.ended
        return self._observation(), verdict.reward, terminated, conversation.ended and not terminated, self._info()

    def render(self) -> "RenderFrame | list[RenderFrame] | None":
        """The conversation as text."""
        if self.render_mode is None:
            return None
        return "\n\n".join(f"{message.role}: {message.content}" for message in self._current().messages)

    def _current(self) -> Conversation:
        if self.conversation is None:
            raise RuleshiftError("no episode has begun: call reset()")
        return self.conversation

    def _observation(self) -> Any:
        messages = self._current().messages
        if isinstance(self.observation_space, Words):
            return messages[-1].content
        seen = next(message.pictures[-1] for message in reversed(messages) if message.pictures)
        return {"text": messages[-1].content, "picture": pixels_of(seen).copy()}

    def _info(self) -> dict[str, Any]:
        conversation = self._current()
        said = facts(conversation.turns[-1].verdict) if conversation.turns else {}
        messages = [{"role": message.role, "content": message.content} for message in conversation.messages]
        left = 0 if conversation.ended else conversation.budget - conversation.tries
        return {"id": conversation.problem.id, "tries_left": left, "messages": messages, **said}


_HERE = "ruleshift.integrations"
for _name, _task in {
    "GeneralPoints": "gp-l",
    "GeneralPointsVL": "gp-vl",
    "Navigation": "virl-l",
    "NavigationVL": "virl-vl",
}.items():
    gymnasium.register(f"ruleshift/{_name}-v1", f"{_HERE}.gymnasium:Revision", kwargs={"task": _task})
gymnasium.register("gym_cards/GeneralPoint-oneline-v0", f"{_HERE}.official_envs:OfficialCards")
# In text it shows None, as there, which the checker would warn of at every step.
gymnasium.register("gym_virl/Navigation-v0", f"{_HERE}.official_envs:OfficialNavigation", disable_env_checker=True)
