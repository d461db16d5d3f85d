"""The algorithms, as data: the settings that make each what it is, its paper, and how it deviates from it.

All of them run through the one loop of `rl.py`, over several turns, in text and pictures, whole or with adapters, and
none of them is known to it by name: what it does is what the settings say, and each can be set to something else. An
algorithm is one entry of `ALGORITHMS` or, where a teacher guides, of `DISTILLATIONS`, and a function in `estimators.py`
or `objectives.py` where it needs a new one.
No heavy imports, so that `--help` is quick.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast, get_args

from ruleshift.errors import RuleshiftError
from ruleshift.misfits import MisfitError
from ruleshift.settings import DistilConfig, Privileged, RLConfig


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
        deviations="all next tokens, not the likeliest 100; feedback stands before the reply that it is about; the "
        "average follows every optimiser step.",
    ),
    "fixed": Algorithm(
        "The control of opd: every sampled token has one negative advantage, whatever a teacher would say.",
        settings={**_GUIDED, "fixed_advantage": -1.0},
        paper="arXiv 2604.13016; arXiv 2608.31046",
        deviations="none",
    ),
}


def check_algorithm(config: RLConfig) -> None:
    """Raise RuleshiftError for settings of an unknown algorithm, and MisfitError for those that do not fit together,
    with remedies of which each makes them fit."""
    _named(config, config.algorithm)
    misfit = next(_misfits(config), None)
    if misfit is not None:
        whole = filter(None, (_completed(config, remedy) for remedy in misfit.remedies))
        raise MisfitError(config, misfit.why, [*whole])


@dataclass(frozen=True)
class Misfit:
    """Why settings do not fit together, with their names in braces, and `remedies`: each is other values for some of
    them, and may ask for more (`_completed`)."""

    why: str
    remedies: Sequence[Mapping[str, Any]]


def _completed(config: RLConfig, remedy: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A remedy with the values that must come with it; None where what must would undo it."""
    misfit = next(_misfits(replace(config, **remedy)), None)
    if misfit is None:
        return remedy
    further = (_completed(config, {**remedy, **more}) for more in misfit.remedies if not more.keys() & remedy.keys())
    return next(filter(None, further), None)


def _misfits(config: RLConfig) -> Iterator[Misfit]:
    """What does not fit together. In the place of a value that the algorithm or a preset has set, another must be
    given, which is why remedies name one even where an option could be left out."""
    if isinstance(config, DistilConfig):
        yield from _misfits_of_teacher(config)
    if config.value_only and not config.critic:
        yield Misfit(
            "{value_only} trains a critic by itself, and there is none",
            [{"value_only": 0}, {"critic": True}],
        )
    elif config.value_only and not config.value_steps:
        yield Misfit(
            "{value_only} trains a critic by itself, and takes no steps",
            [{"value_steps": RLConfig.value_steps}, {"value_only": 0}],
        )
    elif config.value_only >= config.updates:
        yield Misfit(
            "{value_only} trains the critic alone, and of {updates} none is left for the model",
            [{"value_only": 0}, {"updates": config.value_only + 1}],
        )
    if config.buffer and not config.critic:
        yield Misfit(
            "{buffer} cuts an episode whose rest only a critic can estimate",
            [{"buffer": 0}, {"critic": True}],
        )
    if config.critic and config.baseline_decay is not None:
        yield Misfit("a critic is a baseline already", [{"baseline_decay": None}, {"critic": False}])
    if config.clip is None and config.clip_high is not None:
        usual = _named(config, config.algorithm).settings.get("clip") or RLConfig.clip
        yield Misfit(
            "{clip_high} is the upper end of a clip, and there is none",
            [{"clip_high": None}, {"clip": usual}],
        )
    if config.kl_in == "reward" and config.kl_coef and not config.reward_coef:
        yield Misfit(
            "{kl_in} takes the KL off rewards, which {reward_coef} leaves out",
            [{"kl_in": "loss"}, {"kl_coef": 0.0}, {"reward_coef": RLConfig.reward_coef}],
        )
    if config.sft_mix == "noise" and config.sft_coef:
        yield Misfit(
            "{sft_mix} weighs SFT at every step, in the place of {sft_coef}",
            [{"sft_coef": 0.0}, {"sft_mix": "fixed"}],
        )
    yield from _misfits_of_groups(config)


def _misfits_of_groups(config: RLConfig) -> Iterator[Misfit]:
    """Of episodes that are compared with those of their group."""
    compares, alone = config.estimator != "gae", {"estimator": "gae"}
    if config.critic and compares:
        yield Misfit(
            "{estimator} compares within groups, where a critic has no use",
            [{"critic": False}, alone],
        )
    if config.baseline_decay is not None and compares:
        yield Misfit("a group is a baseline already", [{"baseline_decay": None}, alone])
    if config.group == 1 and compares:
        yield Misfit("{group} leaves nothing to compare an episode with", [_larger_groups(config), alone])
    elif config.group == 1 and config.resample:
        yield Misfit(
            "{resample} replaces groups that earn the same, as any of {group} does",
            [_larger_groups(config), {"resample": 0}],
        )
    below = _below_zero(config)
    if config.estimator == "group_over_mean" and below:
        given = " ".join(f"{{{name}}}" for name in below)
        yield Misfit(
            f"{{estimator}} divides by the mean return of a group, which {given} can take below 0",
            [below, {"estimator": "group_scaled"}],
        )


def _below_zero(config: RLConfig) -> dict[str, Any]:
    """What returns below 0 come from, with values that give none: a success is 1 or 0, as is what is right in part."""
    below: dict[str, Any] = {} if config.reward in ("success", "partial") else {"reward": "success"}
    if config.overlong:
        below["overlong"] = 0.0
    if config.kl_in == "reward" and config.kl_coef:
        below["kl_in"] = "loss"
    return below


def _larger_groups(config: RLConfig) -> dict[str, Any]:
    """The size that groups have as a rule, or the next smaller one that divides the episodes, or more episodes."""
    usual = _named(config, config.algorithm).settings.get("group", 8)
    size = next((size for size in range(usual, 1, -1) if config.episodes % size == 0), None)
    return {"group": size} if size else {"group": usual, "episodes": -(-config.episodes // usual) * usual}


def _misfits_of_teacher(config: DistilConfig) -> Iterator[Misfit]:
    """Of a teacher that has nothing to say, or cannot be heard."""
    fixed = config.fixed_advantage is not None
    if fixed or config.distillation_mode == "sampled_token":
        # One advantage for every token is nothing that a teacher says of all next ones.
        of_all: list[dict[str, Any]] = [] if fixed else [{"distillation_mode": "full_logits"}]
        if config.ratio != "token":
            why = "{ratio} is one for a whole reply, and here each token has an advantage of its own"
            yield Misfit(why, [{"ratio": "token"}, *of_all])
        if config.distillation_alpha != 1:
            why = "{distillation_alpha} weighs divergences over all next tokens: of sampled ones there is the reverse "
            yield Misfit(f"{why}KL, 1", [{"distillation_alpha": 1.0}, *of_all])
        if config.distillation_is_clip is not None:
            why = "{distillation_is_clip} corrects divergences over all next tokens, and not of sampled ones"
            yield Misfit(why, [{"distillation_is_clip": None}, *of_all])
    if fixed:
        said = {"teacher": DistilConfig.teacher, "privileged_context": DistilConfig.privileged_context}
        if any(getattr(config, name) != value for name, value in said.items()):
            yield Misfit(
                "{fixed_advantage} is in the place of what {teacher} says, shown {privileged_context}",
                [{"fixed_advantage": None}, said],
            )
        return
    if config.teacher == "expert" and config.privileged_context != "none":
        yield Misfit("the expert needs nothing shown", [{"privileged_context": "none"}, {"teacher": "self"}])
    if config.teacher == "self" and config.privileged_context == "none":
        kinds = ", ".join(get_args(Privileged)[1:])
        yield Misfit(
            f"{{teacher}} that is shown nothing more ({kinds}) teaches nothing",
            [{"privileged_context": "demonstration"}, {"teacher": "expert"}],
        )
    if config.teacher != "self" and config.teacher_model_kind != "base":
        yield Misfit(
            "{teacher_model_kind} says which weights the student has as its own teacher, and {teacher} has others",
            [{"teacher_model_kind": "base"}, {"teacher": "self"}],
        )
    if config.privileged_context == "success" and config.group == 1:
        yield Misfit(
            "{privileged_context} shows replies of others in the group, and {group} has none",
            [_larger_groups(config), {"privileged_context": "feedback"}],
        )


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
    distils = isinstance(config, DistilConfig)
    entries, others = (DISTILLATIONS, ALGORITHMS) if distils else (ALGORITHMS, DISTILLATIONS)
    if name in others:
        verb = "rl" if distils else "distil"
        raise RuleshiftError(f"--algorithm {name} is of `ruleshift {verb}`: use that, or one of {', '.join(entries)}")
    if name not in entries:
        raise RuleshiftError(f"unknown --algorithm {name!r}; choose from {', '.join(entries)}")
    return entries[name]
