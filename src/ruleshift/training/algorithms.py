"""The algorithms, as data: the settings that make each what it is, its paper, and how it deviates from it.

All of them run through the one loop of `rl.py`, over several turns, in text and pictures, whole or with adapters, and
none of them is known to it by name: what it does is what the settings say, and each can be set to something else. An
algorithm is one entry of `ALGORITHMS` or, where a teacher guides, of `DISTILLATIONS`, and a function in `estimators.py`
or `objectives.py` where it needs a new one.
No heavy imports, so that `--help` is quick.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig


@dataclass(frozen=True)
class Algorithm:
    """`settings` are the values of RLConfig that make it what it is: a preset's are replaced by them, and each can be
    set to something else."""

    summary: str
    settings: Mapping[str, Any]
    paper: str
    deviations: str


_UNLIKE_PPO = {"buffer": 0, "clip": 0.2, "clip_high": None, "ratio": "token", "skip_tokens": 0, "thought_coef": 1.0}
_NO_CRITIC = {"critic": False, "value_steps": 0, "value_only": 0, "normalise_advantages": False, "kl_coef": 0.0}
_WITHOUT_CRITIC = {**_UNLIKE_PPO, **_NO_CRITIC}  # a preset's are PPO's
_ONE_STEP = {"clip": None, "target_kl": None, "epochs": 1, "minibatches": 1}
_OF_GROUPS = {**_WITHOUT_CRITIC, "estimator": "group_scaled", "group": 8, "credit": "episode", "gamma": 1.0}
_SEVERAL_TURNS = (
    "an episode may have several turns: its outcome is the sum of their rewards, and all of their tokens share its "
    "advantage (--credit turn compares turn by turn)"
)

ALGORITHMS = {
    "ppo": Algorithm(
        "Clipped ratios, a critic on the state before each reply, and GAE over turns.",
        settings={},
        paper="Schulman et al., arXiv 1707.06347; over turns as in Chu et al., arXiv 2501.17161",
        deviations="KL to the start model in the loss; the critic learns by itself, before the model (value_steps); "
        "an update ends at target_kl. docs/deviations.md lists what differs from the official settings.",
    ),
    "reinforce": Algorithm(
        "Every reply in proportion to the rewards from it on, less their running mean: no critic, no clip.",
        settings={**_WITHOUT_CRITIC, **_ONE_STEP, "lam": 1.0, "gamma": 0.9, "baseline_decay": 0.9},
        paper="Williams (1992), Machine Learning 8",
        deviations="the mean over tokens, not the sum over an episode; Adam; the baseline is a mean over all turns, "
        "and 0 in the first update; with more than one step to an update, ratios correct for what has moved since the "
        "replies were drawn.",
    ),
    "reinforce++": Algorithm(
        "Rewards from each reply on, scaled over the whole update, with PPO's clip: no critic, the KL in the reward.",
        settings={
            **_WITHOUT_CRITIC,
            "lam": 1.0,
            "gamma": 1.0,
            "normalise_advantages": True,
            "kl_in": "reward",
            "kl_coef": 0.01,
        },
        paper="Hu et al., arXiv 2501.03262",
        deviations="the KL of a reply is taken off the reward of its turn, and not off that of each token; an update "
        "ends at target_kl.",
    ),
    "rloo": Algorithm(
        "The return of an episode less the mean of the others in its group: no critic, no clip.",
        settings={
            **_OF_GROUPS,
            **_ONE_STEP,
            "estimator": "leave_one_out",
            "group": 4,
            "ratio": "sequence",
            "kl_in": "reward",
            "kl_coef": 0.03,
        },
        paper="Kool et al. (2019), DeepRLStructPred workshop at ICLR; Ahmadian et al., arXiv 2402.14740",
        deviations="an episode may have several turns: the sum of their rewards is its return, and each of them an "
        "action with its advantage; Adam; with more than one step to an update, ratios correct for what has moved.",
    ),
    "grpo": Algorithm(
        "The return of an episode against those of its group, in units of their deviation: no critic.",
        settings={**_OF_GROUPS, "weigh": "episode", "kl_coef": 0.04, "kl_estimator": "k3"},
        paper="Shao et al., arXiv 2402.03300",
        deviations=f"{_SEVERAL_TURNS}, and each episode weighs the same; the KL is a mean over all tokens, "
        "however many an episode has; an update ends at target_kl.",
    ),
    "dr-grpo": Algorithm(
        "GRPO without its two biases: not divided by the deviation of the group, nor by the length of a reply.",
        settings={**_OF_GROUPS, "estimator": "group_centred", "weigh": "constant"},
        paper="Liu et al., arXiv 2503.20783",
        deviations=f"{_SEVERAL_TURNS}; the constant divisor is --max-new-tokens for each episode; an update ends at "
        "target_kl.",
    ),
    "dapo": Algorithm(
        "GRPO with a higher upper clip, the mean over tokens, no flat groups, and a price on overlong replies.",
        settings={**_OF_GROUPS, "clip": 0.2, "clip_high": 0.28, "weigh": "ratio", "resample": 9, "overlong": 0.2},
        paper="Yu et al., arXiv 2503.14476",
        deviations=f"{_SEVERAL_TURNS}; after 10 rounds of collecting, groups without variance stay, and teach nothing; "
        "an update ends at target_kl.",
    ),
    "gspo": Algorithm(
        "GRPO with one ratio for each reply, the geometric mean over its tokens, and a narrow clip.",
        settings={**_OF_GROUPS, "ratio": "geometric", "clip": 3e-4, "clip_high": 4e-4},
        paper="Zheng et al., arXiv 2507.18071",
        deviations=f"{_SEVERAL_TURNS}, and every reply weighs the same; an update ends at target_kl.",
    ),
    "maxrl": Algorithm(
        "Success of an episode less the group's rate of success, divided by that rate: ascends log p, not p.",
        settings={**_OF_GROUPS, **_ONE_STEP, "estimator": "group_over_mean", "reward": "success"},
        paper="Maximum Likelihood Reinforcement Learning, arXiv 2602.02710",
        deviations="success within the tries of an episode counts, whichever turn it comes in; the mean over tokens; "
        "with more than one step to an update, ratios correct for what has moved.",
    ),
}


_GUIDED = {**_WITHOUT_CRITIC, "reward_coef": 0.0, "clip": None, "target_kl": None, "epochs": 1}

DISTILLATIONS = {
    "opd": Algorithm(
        "On-policy distillation: what the student says is scored by a teacher, token by token, as its advantage.",
        settings={**_GUIDED},
        paper="Gu et al., arXiv 2306.08543; Thinking Machines Lab, On-Policy Distillation (2025)",
        deviations="several mini-batches an update, with ratios for what has moved; gradients are clipped.",
    ),
    "gkd": Algorithm(
        "The Jensen-Shannon divergence to a teacher over all next tokens, after prefixes that the student samples.",
        settings={**_GUIDED, "distillation_mode": "full_logits", "distillation_alpha": 0.5},
        paper="GKD, Agarwal et al., arXiv 2306.13649",
        deviations="on-policy data alone; no gradient through sampling, as there.",
    ),
    "sdft": Algorithm(
        "The student shown the expert's reply teaches the one that is not: reverse KL to its moving average.",
        settings={
            **_GUIDED,
            "distillation_mode": "full_logits",
            "privileged_context": "demonstration",
            "teacher_model_kind": "ema",
            "teacher_update_rate": 0.01,
        },
        paper="SDFT, Shenfeld et al., arXiv 2601.19897",
        deviations="over several turns, the reply of each step is shown where it begins. Sources disagree about the "
        "teacher (base, live) and the divergence (alpha 0, 0.5): both are options.",
    ),
    "sdpo": Algorithm(
        "The student shown another's right reply, or the verifier's feedback on its own, teaches the one that is not.",
        settings={
            **_GUIDED,
            "distillation_mode": "full_logits",
            "distillation_alpha": 0.5,
            "distillation_is_clip": 2.0,
            "privileged_context": "success-or-feedback",
            "teacher_model_kind": "ema",
            "teacher_update_rate": 0.05,
            "group": 8,
        },
        paper="SDPO, arXiv 2601.20802",
        deviations="all next tokens, not the likeliest 100; feedback stands before the reply that it is about.",
    ),
    "fixed": Algorithm(
        "The control of opd: every sampled token has one negative advantage, whatever a teacher would say.",
        settings={**_GUIDED, "fixed_advantage": -1.0},
        paper="arXiv 2604.13016; arXiv 2608.31046",
        deviations="none",
    ),
}


def check_algorithm(config: RLConfig) -> None:
    """Raise RuleshiftError for settings of an unknown algorithm, and for those that do not fit together."""
    _named(config, config.algorithm)
    if isinstance(config, DistilConfig):
        _check_teacher(config)
    group = config.estimator != "gae"
    if config.value_only and not (config.critic and config.value_steps):
        needs = "--value-steps above 0" if config.critic else "--critic (ppo has one)"
        raise RuleshiftError(f"--value-only {config.value_only} trains a critic by itself: use {needs}, or set it to 0")
    if config.critic and group:
        raise RuleshiftError(
            f"--estimator {config.estimator} compares within groups, so that a critic has no use: set --no-critic, "
            "--value-only 0 and --value-steps 0, or --estimator gae"
        )
    if config.critic and config.baseline_decay is not None:
        raise RuleshiftError("a critic is a baseline already: leave --baseline-decay out, or set --no-critic")
    if config.baseline_decay is not None and group:
        raise RuleshiftError("a group is a baseline already: leave --baseline-decay out, or set --estimator gae")
    if config.buffer and not config.critic:
        raise RuleshiftError("--buffer cuts an episode whose rest only a critic can estimate: set it to 0, or --critic")
    if config.clip is None and config.clip_high is not None:
        raise RuleshiftError(
            f"--clip-high {config.clip_high} is the upper end of a clip: give --clip too, or leave it out"
        )
    if config.group == 1 and (group or config.resample):
        usual = _named(config, config.algorithm).settings.get("group", 8)
        raise RuleshiftError(
            f"--group 1 leaves {config.algorithm} nothing to compare an episode with: set it to 2 or more "
            f"(usually {usual})"
        )


def _check_teacher(config: DistilConfig) -> None:
    """Raise RuleshiftError for a teacher that has nothing to say, or cannot be heard."""
    by_tokens = config.distillation_mode == "sampled_token" or config.fixed_advantage is not None
    if by_tokens and config.ratio != "token":
        raise RuleshiftError(
            f"--ratio {config.ratio} is one for a whole reply, and here each token has an advantage of its own: use "
            "--ratio token, or --distillation-mode full_logits"
        )
    if by_tokens and config.distillation_alpha != 1:
        raise RuleshiftError(
            f"--distillation-alpha {config.distillation_alpha} weighs divergences over all next tokens: with sampled "
            "ones it is the reverse KL, 1; leave it out, or give --distillation-mode full_logits"
        )
    if by_tokens and config.distillation_is_clip is not None:
        raise RuleshiftError(
            "--distillation-is-clip corrects divergences over all next tokens: leave it out, or give "
            "--distillation-mode full_logits"
        )
    if config.fixed_advantage is not None:
        return
    if config.teacher == "expert" and config.privileged_context != "none":
        raise RuleshiftError("the expert needs nothing shown: leave --privileged-context out, or take --teacher self")
    still = config.teacher == "self" and config.privileged_context == "none"
    if still:
        raise RuleshiftError(
            "--teacher self that is shown nothing more teaches nothing: give --privileged-context (rule, "
            "demonstration, feedback, success), or another --teacher"
        )
    if config.privileged_context == "success" and config.group == 1:
        raise RuleshiftError("--privileged-context success shows replies of others in the group: set --group 2 or more")


def guided_by_default(config: RLConfig) -> DistilConfig:
    """A preset of RL as one of distillation, by the default algorithm."""
    plain = {field.name: getattr(config, field.name) for field in fields(RLConfig) if field.name != "algorithm"}
    return cast(DistilConfig, configured(DistilConfig(**plain), DistilConfig.algorithm))


def configured(config: RLConfig, name: str, **changes: Any) -> RLConfig:
    """A preset with the values that make it this algorithm, and `changes` to both. Raises RuleshiftError for an unknown
    one, and for values that do not fit together."""
    return replace(config, algorithm=name, **{**_named(config, name).settings, **changes})


def _named(config: RLConfig, name: str) -> Algorithm:
    """The entry of this name, of those that guide a student where the settings are of that kind."""
    entries = DISTILLATIONS if isinstance(config, DistilConfig) else ALGORITHMS
    if name not in entries:
        raise RuleshiftError(f"unknown --algorithm {name!r}; choose from {', '.join(entries)}")
    return entries[name]
