"""Where studies get the recipe of a task: how it is trained in either way, and what is measured."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task

PRESET = "tiny"  # the one for small models
UNMEASURED = ("train", "id-val")  # splits that training and the choice of settings use


@dataclass(frozen=True)
class StudyRecipe:
    """What the arms of a study are made of on one task. `given` are the values that were set by hand, by part (sft, rl,
    distil) and field. `sft` and `rl` hold theirs; an arm with an algorithm of its own is to be given them after it."""

    title: str
    sft: SFTConfig
    rl: RLConfig
    measurement: Measurement
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, compare=False)


def recipe_of(task: str, preset: str = PRESET) -> StudyRecipe:
    """The recipe of the task with this name, by its preset. Raises RuleshiftError for an unknown one, and for one
    whose recipe has no preset of that name."""
    found = get_task(task)
    recipe = found.recipe
    splits = tuple(split for split in found.splits() if split not in UNMEASURED)
    measurement = recipe.measurement or (Measurement(splits=splits) if splits else Measurement())
    for way, presets in (("SFT", recipe.sft), ("RL", recipe.rl)):
        if preset not in presets:
            raise RuleshiftError(
                f"the recipe of {task} has no preset {preset!r} of {way}, which this study takes: add it, or choose "
                f"{', '.join(presets)} (--preset)"
            )
    return StudyRecipe(recipe.title, recipe.sft[preset], recipe.rl[preset], replace(measurement, task=task))


def on_samples(sft: SFTConfig, rl: RLConfig, by_hand: Collection[str] = ()) -> SFTConfig:
    """SFT on what the start model says when it is asked as RL asks, in as many conversations as RL has at most; what
    was set `by_hand` of SFT stays."""
    asked = {name: getattr(rl, name) for name in ("turns", "temperature", "max_new_tokens", "batch_size")}
    asked["examples"] = min(sft.examples, rl.updates * rl.episodes)
    return replace(sft, **{name: value for name, value in asked.items() if name not in by_hand})


def of_turns(rl: RLConfig, turns: int, whole: bool, multiple: int = 1) -> RLConfig:
    """The settings with another budget of turns, and as many episodes as make an update of about as many replies, in a
    multiple of so many. whole: whether a problem is one step (cards), and not many (walks)."""
    episodes = rl.episodes * replies_of(rl.turns, whole) / replies_of(turns, whole)
    return replace(rl, turns=turns, episodes=max(1, round(episodes / multiple)) * multiple)


def replies_of(turns: int, whole: bool) -> float:
    """How many replies a problem (`whole`), or a position of a walk, takes with so many turns at most, about: on the
    way through a training a third of the replies to a problem are right, and nine in ten to a position."""
    right = 1 / 3 if whole else 0.9
    return (1 - (1 - right) ** turns) / right


def main_metric(task: Task) -> str:
    """What a task is decided by: the metric of its primary endpoint, or that of the task where it names none."""
    return task.recipe.primary.metric if task.recipe.primary else task.metric


def task_of(measurement: Measurement) -> Task:
    """The task that is trained on and measured, at its level of feedback. Raises RuleshiftError where it has none."""
    task = get_task(measurement.task)
    options = task.options()
    if "feedback" in [field.name for field in fields(options)]:
        level = "silent" if measurement.feedback == "none" else measurement.feedback  # it is not shown
        return task.with_options(replace(options, feedback=level))
    if measurement.feedback != "full":
        raise RuleshiftError(f"{measurement.task} has no levels of feedback: leave --feedback out")
    return task
