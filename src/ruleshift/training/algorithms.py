"""The algorithms, as data over parts: who estimates, whether there is a critic, and what the settings then are.

All of them run through the one loop of `rl.py`, over several turns, in text and pictures, whole or with adapters. An
algorithm is one entry of `ALGORITHMS`, and a function in `estimators.py` or `objectives.py` where it needs a new one.
No heavy imports, so that `--help` is quick.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.settings import RLConfig


@dataclass(frozen=True)
class Algorithm:
    """`settings` are the values of RLConfig that make it what it is: a preset's are replaced by them, and each can be
    set to something else."""

    summary: str
    estimator: str  # a name in `estimators.ESTIMATORS`
    critic: bool
    settings: Mapping[str, Any]
    paper: str
    deviations: str


_WITHOUT_CRITIC = {"value_steps": 0, "value_only": 0, "normalise_advantages": False}
_ONE_STEP = {"clip": None, "target_kl": None, "epochs": 1, "minibatches": 1}

ALGORITHMS = {
    "ppo": Algorithm(
        "Clipped ratios, a critic on the state before each reply, and GAE over turns.",
        "gae",
        critic=True,
        settings={},
        paper="Schulman et al., arXiv 1707.06347; over turns as in Chu et al., arXiv 2501.17161",
        deviations="KL to the start model in the loss; the critic learns by itself, before the model (value_steps); "
        "an update ends at target_kl. docs/deviations.md lists what differs from the official settings.",
    ),
    "reinforce": Algorithm(
        "Every reply in proportion to the discounted rewards from it on: no baseline, no critic, no clip.",
        "reward_to_go",
        critic=False,
        settings={**_WITHOUT_CRITIC, **_ONE_STEP, "kl_coef": 0.0},
        paper="Williams (1992), Machine Learning 8",
        deviations="the mean over tokens, not the sum over an episode; Adam; with more than one step to an update, "
        "ratios correct for what has moved since the replies were drawn.",
    ),
    "grpo": Algorithm(
        "The return of an episode against those of its group, in units of their deviation: no critic.",
        "group_scaled",
        critic=False,
        settings={**_WITHOUT_CRITIC, "group": 8, "gamma": 1.0, "weigh": "episode", "kl_coef": 0.04},
        paper="Shao et al., arXiv 2402.03300",
        deviations="an episode may have several turns: its outcome is the sum of their rewards, and all of their "
        "tokens share its advantage and its weight; an update ends at target_kl.",
    ),
    "rloo": Algorithm(
        "The return of an episode less the mean of the others in its group: no critic, no clip.",
        "leave_one_out",
        critic=False,
        settings={
            **_WITHOUT_CRITIC,
            **_ONE_STEP,
            "group": 4,
            "gamma": 1.0,
            "ratio": "sequence",
            "kl_in": "reward",
            "kl_coef": 0.03,
        },
        paper="Kool et al. (2019), DeepRLStructPred workshop at ICLR; Ahmadian et al., arXiv 2402.14740",
        deviations="an episode may have several turns: the sum of their rewards is its return, and each of them an "
        "action with its advantage; Adam; with more than one step to an update, ratios correct for what has moved.",
    ),
}


def algorithm_of(config: RLConfig) -> Algorithm:
    """The algorithm of these settings. Raises RuleshiftError for an unknown one, and for settings that do not fit."""
    found = _named(config.algorithm)
    if config.value_only and not (found.critic and config.value_steps):
        needs = "--value-steps above 0" if found.critic else "an --algorithm with a critic, such as ppo"
        raise RuleshiftError(f"--value-only {config.value_only} trains a critic by itself: use {needs}, or set it to 0")
    if config.group == 1 and "group" in found.settings:
        raise RuleshiftError(
            f"--group 1 leaves {config.algorithm} nothing to compare an episode with: set it to 2 or more "
            f"(usually {found.settings['group']})"
        )
    return found


def configured(config: RLConfig, name: str, **changes: Any) -> RLConfig:
    """A preset with the values that make it this algorithm, and `changes` to both. Raises RuleshiftError for an unknown
    one, and for values that do not fit together."""
    return replace(config, algorithm=name, **{**_named(name).settings, **changes})


def _named(name: str) -> Algorithm:
    if name not in ALGORITHMS:
        raise RuleshiftError(f"unknown --algorithm {name!r}; choose from {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
