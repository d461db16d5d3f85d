"""The question on a real language model: SmolLM2-135M-Instruct, with adapters (LoRA), on a laptop.

As it comes it solves nothing, in any style, since it does not keep to the form of replies; reinforcement learning would
have nothing to reward. The paper begins with a short SFT for that reason. Here this warm start is SFT on the split
`pretrain`, where every problem states another rule, and none states that of training or of a test: it teaches the form,
and to follow the rule that is stated. SFT and PPO then begin from it, and see the training rule alone.
"""

from dataclasses import dataclass, replace

from ruleshift.bounds import Count, Natural, check_bounds
from ruleshift.settings import Measurement, SFTConfig
from ruleshift.studies.headline import of_the_rule
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Arm, Study, head_to_head
from ruleshift.studies.tables import ends, matched

SPLITS, MOST = ("id", "rule-ood"), 100  # of what is evaluated, and problems of each


@dataclass(frozen=True)
class WarmStart:
    """Options of the study."""

    warm_steps: Count = 100
    """Steps of the warm start, with as many conversations each as SFT has."""
    episodes: Natural = 0
    """Episodes that PPO collects for an update; 0 takes those of the preset."""

    def __post_init__(self) -> None:
        check_bounds(self)


def warm_up(recipe: StudyRecipe, options: WarmStart) -> SFTConfig:
    """SFT with the settings of the recipe, under many rules."""
    steps = options.warm_steps
    return replace(recipe.sft, split="pretrain", steps=steps, examples=steps * recipe.sft.batch, seed=10_000)


def arms(recipe: StudyRecipe, options: WarmStart) -> list[Arm]:
    rl = replace(recipe.rl, episodes=options.episodes or recipe.rl.episodes)
    return [
        Arm("sft", recipe.sft, "after supervised fine-tuning on expert answers under the training rule"),
        Arm("rl", rl, "after reinforcement learning from the verifier's rewards (PPO)"),
    ]


def measures(usual: Measurement) -> Measurement:
    """Of what a headline measures as much as a processor has time for: the training rule and the shifted one, sampled
    only, half of the problems and at most 100, and the KL on few."""
    splits = tuple(split for split in usual.splits if split in SPLITS) or usual.splits
    n = min(MOST, max(1, usual.n // 2))
    return replace(usual, splits=splits, n=n, decodings=("sampled",), kl_problems=16, kl_most=32)


SMOLLM2 = Study(
    name="smollm2",
    question="Does a real language model learn the rule, or the answers?",
    about="SmolLM2-135M: a warm start under many rules, then SFT and PPO on one, with adapters (LoRA).",
    paper="walks, shifted rule: 80.8% at the start, 1.3 after SFT, 91.8 after RL (an 11B model, arXiv 2501.17161)",
    cost="2:40 hours for one seed on two busy CPU cores, warm start and all, with 10 GB of memory for each of two "
    "workers; --preset gpu was run in part (docs/log.md, section 46)",
    tasks=("virl-l",),
    arms=arms,
    measures=measures,
    options=WarmStart(),
    quick=WarmStart(warm_steps=8, episodes=4),
    quick_part=8,
    pairs=head_to_head("rl", "sft"),
    primary=of_the_rule(
        "start, SFT, RL: walks 80.8, 1.3, 91.8%",
        "a model of 11B parameters there, of 135M here, whose warm start walks a fifth of whole routes; one learning "
        "rate of either way, which was not chosen by a sweep",
    ),
    tables=(ends, matched),
    start="warm",
    warm_up=warm_up,
    model="smollm2",
    style="terse",
    preset="small-llm",
    points=3,
    kept=4,
    further=0,
)
