"""`gym_cards/GeneralPoint-oneline-v0` and `gym_virl/Navigation-v0` with the conventions of the paper's repository, so
that loops written for it run: replace `import gym_cards, gym_virl` by `import ruleshift.integrations.gymnasium`.

The same: arguments, keys of `info`, observations, rewards, five and two judged replies, and one more that is not
judged, earns -1 and truncates. Its `info["Verify Info"]` is None where a prompt is to begin anew, and holds
`Correct action` after a right action. Not the same, on purpose: `reset(seed=)` fixes what is dealt; `terminated` is
never set with `truncated`; words are our own; routes are invented unless `route_info_path` names the paper's data.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ruleshift.errors import RuleshiftError
from ruleshift.integrations.places import needs
from ruleshift.pictures import pixels_of
from ruleshift.records import Picture, Verdict
from ruleshift.tasks.generalpoints.deal import Card, Deal
from ruleshift.tasks.generalpoints.pictures import look
from ruleshift.tasks.generalpoints.rules import RANKS, Rule
from ruleshift.tasks.generalpoints.solver import solvable
from ruleshift.tasks.generalpoints.task import GeneralPointsProblem
from ruleshift.tasks.generalpoints.visual import LARGEST, GeneralPointsVLProblem
from ruleshift.tasks.virl.prompt import observation, prompt
from ruleshift.tasks.virl.task import DROP_RATE, Virl, VirlProblem
from ruleshift.tasks.virl.visual import VirlVL

needs("gymnasium", "gymnasium")
import gymnasium  # noqa: E402
from gymnasium import spaces  # noqa: E402

from ruleshift.integrations.gymnasium import Words  # noqa: E402

SUITS = {"H": "hearts", "S": "spades", "D": "diamonds", "C": "clubs"}
COLOURS = {"mixed": "HSDC", "red": "HD", "black": "SC"}
SPENT = -1.0  # for the reply after the last that is judged
POINTS_PER_LEG = 5
_NUMBERED = re.compile(r"^\d+\. (.*)$", re.MULTILINE)  # the lines of the way in a prompt

Outcome = tuple[Any, float, bool, bool, dict[str, Any]]


def enlarged(picture: Picture, side: int) -> np.ndarray:
    """The pixels (side, side, 3) of a square picture that may have been drawn smaller."""
    from PIL import Image

    if picture.width == side:
        return pixels_of(picture).copy()
    return np.asarray(Image.fromarray(pixels_of(picture)).resize((side, side)))


class OfficialCards(gymnasium.Env[np.ndarray, str]):
    """GeneralPoints as the paper's repository has it.

    Description: four cards, dealt as there: ranks uniform over A..K, with `ood` one of them a J, Q or K. The caller
        writes the prompt, from `info["Plain Cards"]` or from the observation.
    Action: a reply, any text. Observation: (resolution, resolution, 3) uint8, in text as well.
    Rewards: those of `compat="official"`; where `language_only` is off -1.5 for misread cards, before anything else.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        treat_face_cards_as_10: bool = True,
        target_points: int = 24,
        resolution: int = 1200,
        show_eqn: bool = True,
        verify_iter: int = 5,
        ood: bool = False,
        language_only: bool = True,
        face_cards_color: str = "mixed",
    ) -> None:
        if face_cards_color not in COLOURS:
            raise RuleshiftError(f"unknown face_cards_color {face_cards_color!r}; choose from {', '.join(COLOURS)}")
        faces = (10, 10, 10) if treat_face_cards_as_10 else (11, 12, 13)
        self.rule, self.ood, self.suits = Rule(faces, target_points), ood, COLOURS[face_cards_color]
        self.resolution, self.verify_iter, self.language_only = resolution, verify_iter, language_only
        self.action_space = Words()
        self.observation_space = spaces.Box(0, 255, (resolution, resolution, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.hand = self._dealt()
        number = int(self.np_random.integers(2**31))
        seen = GeneralPointsVLProblem(
            f"gym-cards/{number}",
            self.hand,
            "full",
            "official",
            look=look("train", number, 0),
            size=min(self.resolution, LARGEST),
        )
        told = GeneralPointsProblem(seen.id, self.hand, "full", "official")
        self.problem = told if self.language_only else seen
        self.shown = enlarged(seen.picture, self.resolution)
        self.remaining = self.verify_iter
        return self.shown.copy(), self._info(None)

    def step(self, action: str) -> Outcome:
        self.remaining -= 1
        if self.remaining < 0:
            return self.shown.copy(), SPENT, False, True, self._info("step_limit_reached")
        verdict = self.problem.submit(action, last=False)
        return self.shown.copy(), verdict.reward, verdict.solved, False, self._info(verdict.feedback)

    def _dealt(self) -> Deal:
        while True:
            ranks = [RANKS[i] for i in self.np_random.integers(0, len(RANKS), 4)]
            if self.ood:
                ranks[-1] = RANKS[10 + int(self.np_random.integers(3))]
                ranks = [ranks[i] for i in self.np_random.permutation(4)]
            suits = [SUITS[self.suits[i]] for i in self.np_random.integers(0, len(self.suits), 4)]
            cards = tuple(Card(rank, suit) for rank, suit in zip(ranks, suits, strict=True))
            hand = Deal(cards, self.rule, self.rule)
            if solvable(tuple(sorted(hand.numbers(self.rule))), self.rule.target):
                return hand

    def _info(self, verified: str | None) -> dict[str, Any]:
        numbers = list(self.hand.numbers(self.rule))
        letters = {name: letter for letter, name in SUITS.items()}
        return {
            "Cards": [letters[card.suit] + card.rank.replace("10", "T") for card in self.hand.cards],
            "Plain Cards": list(self.hand.ranks),
            "Numbers": numbers,
            "Formula": [],
            "Solution": list(self.problem.solutions),
            "Remaining Numbers": list(numbers),
            "Remaining Step": self.remaining,
            "Verify Info": verified,
        }


class OfficialNavigation(gymnasium.Env[Any, str]):
    """V-IRL as the paper's repository has it.

    Description: a route of `route_info_path` (the paper's data), or without one of the invented city. The caller writes
        the prompt, from `info["global_instruction"]` and `info["obs_act_seq"]`.
    Action: a reply, any text. Observation: None in text (`language_only`), otherwise the four views,
        (2 * resolution + 5, the same, 3) uint8; the text still tells of intersections.
    Rewards: those of `compat="official"`. `reset(options={"route_idx": i})` chooses a route.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        route_info_path: str = "",
        relocation: bool = False,
        drop_rate: float = DROP_RATE,
        straight_line_length: int = POINTS_PER_LEG,
        resolution: int = 1200,
        verify_iter: int = 2,
        platform_cfg: Any = None,
        navigator_cfg: Any = None,
        platform_save_dir: str | None = None,
        language_only: bool = True,
        absolute_action: bool = True,
    ) -> None:
        if (drop_rate, straight_line_length) != (DROP_RATE, POINTS_PER_LEG):
            raise RuleshiftError(
                f"drop_rate is {DROP_RATE} and straight_line_length {POINTS_PER_LEG} here: leave them out"
            )
        self.side, self.verify_iter, self.language_only = 2 * resolution + 5, verify_iter, language_only
        self.split = "train" if absolute_action else "rule-ood"
        task = Virl(compat="official") if language_only else VirlVL(compat="official")
        options = {} if language_only else {"size": min(self.side, LARGEST), "leak": True}
        routes = {"routes": Path(route_info_path)} if route_info_path else {}
        self.task = task.with_options(task.options(**options, **routes))
        self.action_space = Words()
        self.observation_space = spaces.Box(0, 255, (self.side, self.side, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        chosen = (options or {}).get("route_idx")
        index = int(self.np_random.integers(2**31)) if chosen is None else chosen
        walk: VirlProblem = self.task.problem(self.split, 0, index)
        self.walk, self.remaining, self.failed = walk, self.verify_iter, False
        self.told = replace(walk.itinerary, pictured=None)
        self.lines = _NUMBERED.findall(prompt(self.told, "full", walk.id))
        self.seen = [self._stated()]
        self.done: list[str] = []
        self.shown = None if self.language_only else enlarged(walk.context()[0].pictures[0], self.side)
        return self._observation(), self._info(None)

    def step(self, action: str) -> Outcome:
        self.remaining -= 1
        if self.remaining < 0:
            self.failed = True
            return self._observation(), SPENT, False, True, self._info("Exceed maximum verify steps")
        right = self.walk.action
        verdict = self.walk.submit(action, last=False)
        if verdict.advanced:
            self._moved(right, verdict)
        said = f"Correct action. {verdict.feedback}" if verdict.outcome == "right" else verdict.feedback
        return self._observation(), verdict.reward, verdict.solved, False, self._info(said)

    def _moved(self, action: str, verdict: Verdict) -> None:
        self.remaining = self.verify_iter
        self.done.append(action)
        self.seen.append(self._stated())
        if verdict.pictures:
            self.shown = enlarged(verdict.pictures[0], self.side)

    def _observation(self) -> np.ndarray | None:
        return None if self.shown is None else self.shown.copy()

    def _stated(self) -> str:
        return observation(self.told, self.walk.point, "full")

    def _info(self, verified: str | None) -> dict[str, Any]:
        point, lines = self.walk.point, self.lines
        return {
            "global_instruction": "".join(f"{number}. {line}\n" for number, line in enumerate(lines, 1)),
            "current_instruction": lines[point.line],
            "instruction_idx": point.line + 1,
            "gt_action": self.walk.action,
            "current_obs": self.seen[-1],
            "obs_act_seq": self._sequence(),
            "Verify Info": verified,
            "is_success": not self.failed,
        }

    def _sequence(self) -> str:
        """What was seen and done so far; what is seen in a picture is not told."""
        seen = list(self.seen)
        if not self.language_only:
            hint = " You observe an intersection" if self.walk.point.intersection else ""
            seen[-1] = f"You observe the four views of the picture;{hint}"
        actions = [*self.done, ""]
        pairs = zip(seen, actions, strict=True)
        return "".join(f"O_{n}: {sight}\nA_{n}: {action}\n" for n, (sight, action) in enumerate(pairs, 1))
