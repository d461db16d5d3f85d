"""Which part of post-training transfers: the data, the loss, the teacher, or the rewards?

Variants of SFT (losses; whose replies, and which), distillation on the student's own replies, and hybrids stand beside
SFT and PPO of the task's recipe. What is matched is the conversations that an arm is given: no SFT has more of them
than PPO collects (`sft-small` has 500), and `sft-then-rl` has those of both, one after the other, as the RL of arXiv
2501.17161 (studies `no-sft` and `overfit` start it from other steps of SFT). How often they are gone through is the
recipe's: SFT takes its steps in epochs, PPO several passes an update, distillation one. `fixed` is the control of all
distillation.

The prediction of arXiv 2605.11182 is that what a teacher is shown transfers where it is a rule that all problems share
(`self-rule`), and does not where it is about one problem (`self-demonstration`, `self-feedback`). It needs prompts that
keep the rule back, and those of the built-in tasks state it; and a model that reads what it is shown. The bundled ones
do not: what stands beside a prompt lets them fail (docs/log.md, section 40). So these arms are no test of it there; on
another task, and with another model, how much more such a teacher speaks for right replies than for wrong ones
(`teacher_margin` of profiles) tells whether they are.

What is set holds for every arm: --set sft.FIELD=VALUE for those of SFT, --set rl.FIELD=VALUE for those of RL and of
distillation, and --set distil.FIELD=VALUE for the latter alone (`distil.teacher` in the place of the expert). What
tells the arms apart cannot be set.

`arms-sweep` chooses a rate for each on validation problems of the training rule alone; that of `sft-then-rl` is that of
`rl`.
"""

from dataclasses import replace
from typing import Any

from ruleshift.settings import DistilConfig
from ruleshift.studies import sweep
from ruleshift.studies.chosen import Choice, Swept, as_set, chosen, profiled, swept
from ruleshift.studies.recipes import StudyRecipe, on_samples
from ruleshift.studies.study import Arm, Claimed, Start, Study, head_to_head
from ruleshift.studies.tables import ends, gains, matched, profiles
from ruleshift.training.algorithms import configured, guided_by_default

# Arms of SFT by what they differ in from the recipe's, and what readers are told of them.
OF_SFT: dict[str, tuple[dict[str, Any], str]] = {
    "sft": ({}, "on the expert's replies"),
    "sft-dft": ({"loss": "dft"}, "on the expert's replies, each token weighed by its probability"),
    "sft-talr": ({"loss": "talr", "loss_tau": 2.0}, "on the expert's replies, unlikely tokens weighing less"),
    "sft-psft": ({"loss": "psft", "loss_lag": 5}, "on the expert's replies, with PPO's clipped ratio"),
    "sft-varied": ({"data": "varied"}, "on the expert's replies, half of them under rules of pretraining"),
    "sft-noise": ({"noise": 0.2}, "on the expert's replies, a fifth of them wrong"),
    "sft-easy": ({"pass_low": 0.5}, "on problems that the start model solves without a mistake half of the time"),
    "sft-hard": ({"pass_high": 0.49}, "on problems that it solves less often"),
    "sft-small": ({"examples": 500}, "on 500 of the expert's replies"),
}
ITSELF = {"teacher": "self"}
OF_SAMPLES = {
    "sft-revision": ("expert-revision", "on the expert's replies after the start model's own failed ones"),
    "self-sft": ("self-verified", "on the start model's own replies that the verifier accepted"),
    "self-unverified": ("self-unverified", "on the start model's own replies, right or wrong"),
}
# The algorithm, and what makes an arm of it; who is no teacher to itself has the expert, or the one that is set.
OF_TEACHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "expert-reverse": ("opd", {}, "distilled from {teacher}, reverse KL as advantage"),
    "expert-forward": ("gkd", {"distillation_alpha": 0.0}, "distilled from {teacher}, forward KL"),
    "self-rule": ("sdft", {**ITSELF, "privileged_context": "rule"}, "distilled from itself shown the rule"),
    "self-demonstration": ("sdft", ITSELF, "distilled from itself shown the expert's reply"),
    "self-feedback": ("sdpo", ITSELF, "distilled from itself shown right replies of others, or feedback"),
    "fixed": ("fixed", ITSELF, "with one fixed negative advantage"),
}
OF_REWARDS: dict[str, tuple[dict[str, Any], str]] = {
    "rl": ({}, "after reinforcement learning from the verifier's rewards (PPO)"),
    "rl-sft": ({"sft_coef": 0.1}, "after PPO with a tenth of SFT in its loss"),
    "rl-sft-noise-aware": ({"sft_mix": "noise"}, "after PPO with SFT, weighed by the noise of both"),
}
AFTER_SFT = "sft-then-rl"
NAMES = (*OF_SFT, *OF_SAMPLES, *OF_TEACHERS, *OF_REWARDS, AFTER_SFT)
# What tells the arms apart, by part of the recipe.
APART = {
    "sft": ("data", "examples", "loss", "noise", "pass_low", "pass_high"),
    "rl": ("sft_coef", "sft_mix"),
    "distil": ("privileged_context", "distillation_alpha", "fixed_advantage", "sft_coef", "sft_mix"),
}


def every(recipe: StudyRecipe) -> list[Arm]:
    """All arms of a task."""
    given = {part: as_set(recipe, part, NAMES, apart) for part, apart in APART.items()}
    rl, matching = recipe.rl, on_samples(recipe.sft, recipe.rl, given["sft"])
    supervised = [
        Arm(name, replace(matching, **{"save_every": 100, **changes, **given["sft"]}), f"after SFT {about}")
        for name, (changes, about) in OF_SFT.items()
    ]
    sampled = [
        Arm(name, replace(matching, data=data), f"after SFT {about}") for name, (data, about) in OF_SAMPLES.items()
    ]
    of_teachers = {**given["rl"], "teacher": "expert", **given["distil"]}
    told = {"teacher": "the expert" if of_teachers["teacher"] == "expert" else of_teachers["teacher"]}
    return [
        *supervised,
        *sampled,
        *(
            Arm(name, _guided(recipe, how, {**of_teachers, **changes}), about.format(**told))
            for name, (how, changes, about) in OF_TEACHERS.items()
        ),
        *(Arm(name, replace(rl, **changes), about) for name, (changes, about) in OF_REWARDS.items()),
        Arm(AFTER_SFT, rl, "after SFT on the expert's replies, then PPO", start=Start("sft")),
    ]


def _guided(recipe: StudyRecipe, name: str, changes: dict[str, Any]) -> DistilConfig:
    """Distillation on as many episodes as PPO has."""
    return configured(guided_by_default(recipe.rl), name, **changes)  # type: ignore[return-value]


def arms(recipe: StudyRecipe, options: Choice) -> list[Arm]:
    return chosen(every(recipe), options, recipe.measurement.task)


def arms_of_sweep(recipe: StudyRecipe, options: Swept) -> list[Arm]:
    return swept(every(recipe), options, recipe.measurement.task)


SMALL = ("sft", "sft-dft", "expert-reverse", "rl")  # one for loss, teacher and rewards each, in under ten minutes

ARMS = Study(
    name="arms",
    question="Which part of post-training transfers: data, loss, teacher, or rewards?",
    about="Variants of SFT, on-policy distillation and hybrids beside SFT and PPO, of as many conversations.",
    cost="8 minutes with --quick on two CPU cores, 17 a seed with all arms (200 walks); not timed at full size",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=profiled,
    options=Choice(),
    quick=Choice(names=SMALL, dense=False),
    pairs=(
        *(pair for name in NAMES if name != "sft" for pair in head_to_head(name, "sft")),
        *head_to_head("self-rule", "self-demonstration"),
        *head_to_head(AFTER_SFT, "rl"),
    ),
    primary=(
        Claimed("RL transfers and SFT does not (arXiv 2501.17161)", "rl", "raises", "sft"),
        Claimed(
            "on-policy data is what transfers, not rewards (arXiv 2510.18874): SFT on own right replies",
            "self-sft",
            "raises",
            "sft",
            against="as many conversations are drawn, and the right ones among them learned from",
        ),
        Claimed(
            "SFT weighed by probabilities generalises better (DFT, arXiv 2508.05629)",
            "sft-dft",
            "raises",
            "sft",
        ),
        Claimed(
            "what is learned on one's own states transfers better (arXiv 2605.22731): distillation from SFT's expert",
            "expert-reverse",
            "raises",
            "sft",
            against="the expert has probabilities by its replies' counts alone",
        ),
        Claimed(
            "privileged information that is a shared rule transfers, and information about one problem does not "
            "(arXiv 2605.11182)",
            "self-rule",
            "raises",
            "self-demonstration",
            against="prompts state the rule already, so that it is no privilege, and the bundled models do not read "
            "what they are shown beside (teacher_margin of profiles tells)",
        ),
    ),
    paper="SFT on the expert's replies and PPO alone were compared (arXiv 2501.17161)",
    tables=(ends, gains, profiles, matched),
)

ARMS_SWEEP = replace(
    sweep.SWEEP,
    name="arms-sweep",
    question="Which learning rate for each arm?",
    about="SFT variants, distillation and hybrids on one grid, each rate chosen on validation problems.",
    paper="SFT and PPO alone, in text at 1e-6 (arXiv 2501.17161)",
    cost="all arms at two rates with --quick on two CPU cores 36 minutes a task",
    arms=arms_of_sweep,
    options=Swept(),
    quick=Swept(names=("sft", "expert-reverse"), grid=(1e-4, 3e-4)),
)
