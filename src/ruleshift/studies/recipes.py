"""Where studies get the recipe of a task: how it is trained in either way, and what is measured."""

from dataclasses import dataclass

from ruleshift.settings import MEASUREMENTS, PPO_PRESETS, SFT_PRESETS, Measurement, RLConfig, SFTConfig

TITLES = {
    "gp-l": "GeneralPoints in text",
    "virl-l": "V-IRL in text",
    "gp-vl": "GeneralPoints in pictures",
    "virl-vl": "V-IRL in pictures",
}


@dataclass(frozen=True)
class Recipe:
    """What the arms of a study are made of on one task."""

    title: str
    sft: SFTConfig
    rl: RLConfig
    measurement: Measurement


def recipe_of(task: str) -> Recipe:
    """The recipe for small models. Raises RuleshiftError for an unknown task."""
    return Recipe(TITLES[task], SFT_PRESETS[task]["tiny"], PPO_PRESETS[task]["tiny"], MEASUREMENTS[task])
