"""Which part of post-training transfers: the data, the loss, the teacher, or the rewards?

Variants of SFT (losses; whose replies, and which), distillation on the student's own replies, and hybrids stand beside
SFT and PPO of the task's recipe, each with as many conversations as these. `fixed` is the control of all distillation.

The prediction of arXiv 2605.11182 is that what a teacher is shown transfers where it is a rule that all problems share
(`self-rule`), and does not where it is about one problem (`self-demonstration`, `self-feedback`). It needs a model that
reads what it is shown. The bundled ones do not: what stands beside a prompt lets them fail (docs/log.md, section 40).
How much more such a teacher speaks for right replies than for wrong ones (`teacher_margin` of profiles) tells whether
these arms are a test of the prediction; nothing is claimed of them.

`arms-sweep` chooses a rate for each on validation problems of the training rule alone.
"""

from dataclasses import replace
from typing import Any

from ruleshift.settings import DistilConfig
from ruleshift.studies import sweep
from ruleshift.studies.chosen import Choice, Swept, chosen, profiled, swept
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Claimed, Study, head_to_head
from ruleshift.studies.tables import ends, gains, matched
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
OF_SAMPLES = {
    "sft-revision": ("expert-revision", "on the expert's replies after the start model's own failed ones"),
    "self-sft": ("self-verified", "on the start model's own replies that the verifier accepted"),
    "self-unverified": ("self-unverified", "on the start model's own replies, right or wrong"),
}
OF_TEACHERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "expert-reverse": ("opd", {"teacher": "expert"}, "distilled from the expert, reverse KL as advantage"),
    "expert-forward": (
        "gkd",
        {"teacher": "expert", "distillation_alpha": 0.0},
        "distilled from the expert, forward KL",
    ),
    "self-rule": ("sdft", {"privileged_context": "rule"}, "distilled from itself shown the rule"),
    "self-demonstration": ("sdft", {}, "distilled from itself shown the expert's reply"),
    "self-feedback": ("sdpo", {}, "distilled from itself shown right replies of others, or feedback"),
    "fixed": ("fixed", {}, "with one fixed negative advantage"),
}


def every(recipe: StudyRecipe) -> list[Arm]:
    """All arms of a task."""
    sft, rl = recipe.sft, recipe.rl
    asked = {name: getattr(rl, name) for name in ("turns", "temperature", "max_new_tokens", "batch_size")}
    matching = replace(sft, **asked, examples=min(sft.examples, rl.updates * rl.episodes))
    supervised = [
        Arm(name, replace(matching, save_every=100, **changes), f"after SFT {about}")
        for name, (changes, about) in OF_SFT.items()
    ]
    sampled = [
        Arm(name, replace(matching, data=data), f"after SFT {about}") for name, (data, about) in OF_SAMPLES.items()
    ]
    return [
        *supervised,
        *sampled,
        *(Arm(name, _guided(recipe, how, changes), about) for name, (how, changes, about) in OF_TEACHERS.items()),
        Arm("rl", rl, "after reinforcement learning from the verifier's rewards (PPO)"),
        Arm("rl-sft", replace(rl, sft_coef=0.1), "after PPO with a tenth of SFT in its loss"),
        Arm("rl-sft-noise-aware", replace(rl, sft_mix="noise"), "after PPO with SFT, weighed by the noise of both"),
    ]


def _guided(recipe: StudyRecipe, name: str, changes: dict[str, Any]) -> DistilConfig:
    """Distillation on as many episodes as PPO has."""
    return configured(guided_by_default(recipe.rl), name, **changes)  # type: ignore[return-value]


def arms(recipe: StudyRecipe, options: Choice) -> list[Arm]:
    return chosen(every(recipe), options)


def arms_of_sweep(recipe: StudyRecipe, options: Swept) -> list[Arm]:
    return swept(every(recipe), options)


TRAINED = (*OF_SFT, *OF_SAMPLES, *OF_TEACHERS, "rl-sft", "rl-sft-noise-aware")
SMALL = ("sft", "sft-dft", "expert-reverse", "self-rule", "self-demonstration", "fixed", "rl")

ARMS = Study(
    name="arms",
    question="Which part of post-training transfers: data, loss, teacher, or rewards?",
    about="Variants of SFT, on-policy distillation and hybrids beside SFT and PPO, on matched conversations.",
    cost="hours on two CPU cores; not timed at full size yet",
    tasks=("gp-l", "virl-l"),
    arms=arms,
    measures=profiled,
    options=Choice(),
    quick=Choice(names=SMALL, dense=False),
    pairs=(
        *(pair for name in TRAINED[1:] for pair in head_to_head(name, "sft")),
        *head_to_head("rl", "sft"),
        *head_to_head("self-rule", "self-demonstration"),
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
    ),
    paper="SFT on the expert's replies and PPO alone were compared (arXiv 2501.17161)",
    tables=(ends, gains, matched),
)

ARMS_SWEEP = replace(
    sweep.SWEEP,
    name="arms-sweep",
    question="Which learning rate for each arm?",
    about="SFT variants, distillation and hybrids on one grid, each rate chosen on validation problems.",
    cost="hours on two CPU cores; not timed at full size yet",
    arms=arms_of_sweep,
    options=Swept(),
    quick=Swept(names=("sft", "expert-reverse"), grid=(1e-4, 3e-4)),
)
