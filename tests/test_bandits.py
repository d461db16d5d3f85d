"""What every algorithm must learn in seconds: which of two arms pays, and which one pays a turn later."""

from dataclasses import dataclass, field, replace

import pytest

from helpers import EchoTask, Pull, arm_of, new_rl, tiny_chat, tiny_model
from ruleshift.records import Verdict
from ruleshift.settings import RLConfig
from ruleshift.tasks.protocol import Style
from ruleshift.training.algorithms import ALGORITHMS, configured
from test_algorithms import BASE

pytestmark = pytest.mark.usefixtures("on_one_thread")


@dataclass(frozen=True)
class Lever(Pull):
    """Its last reply is paid for what the first one pulled: the right arm, the wrong one, or (`chance`) either, another
    one of every problem."""

    pays: str
    said: list[str]

    def submit(self, reply: str, last: bool) -> Verdict:
        self.said.append(reply)
        first = self.said[0]
        paid = {"right": arm_of(first), "wrong": not arm_of(first), "chance": arm_of(self.id + first)}[self.pays]
        return Verdict("", float(paid), paid, "") if last else Verdict("", 0.0, False, "again")


@dataclass(frozen=True)
class Levers(EchoTask):
    """One for each episode; `drawn` are all of them."""

    id: str = "levers"
    pays: str = "right"
    drawn: list[Lever] = field(default_factory=list)

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> Lever:
        self.drawn.append(Lever(f"{self.id}/{split}/{seed}/{index}", False, self.pays, []))
        return self.drawn[-1]


def right_arms(config: RLConfig, pays: str, updates: int = BASE.updates) -> list[float]:
    """The share of episodes that begin with the right arm, update by update."""
    task = Levers(pays=pays)
    rl = new_rl(tiny_model(layers=1), tiny_chat(), task, "terse", replace(config, resample=0))
    for _ in range(updates):
        rl.update()
    firsts = [arm_of(lever.said[0]) for lever in task.drawn]
    return [sum(firsts[i : i + config.episodes]) / config.episodes for i in range(0, len(firsts), config.episodes)]


def at_the_end(shares: list[float]) -> float:
    return sum(shares[-3:]) / 3


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_two_armed_bandit_is_learned_and_not_what_chance_pays(name):
    config = configured(BASE, name, kl_coef=0.0)
    shares = right_arms(config, "right")
    assert len(shares) == BASE.updates
    assert 0.3 < shares[0] < 0.7
    assert at_the_end(shares) > 0.95
    assert 0.3 < at_the_end(right_arms(config, "chance")) < 0.7
    assert at_the_end(right_arms(config, "wrong", updates=15)) < 0.3


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_a_first_reply_that_pays_a_turn_later_is_learned_where_credit_crosses_turns(name):
    """By the critic and GAE over turns, or by what the whole episode earned."""
    config = configured(replace(BASE, turns=2), name, kl_coef=0.0)
    shares = right_arms(config, "right")
    assert 0.3 < shares[0] < 0.7
    assert at_the_end(shares) > 0.95
    # Control: each turn with credit for what it earns itself.
    assert 0.3 < at_the_end(right_arms(replace(config, gamma=0.0, credit="turn"), "right")) < 0.7
