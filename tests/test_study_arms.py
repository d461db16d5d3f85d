"""The studies of algorithms and arms: what they hold, and that they run, small."""

import json
from dataclasses import replace

import pytest

from helpers import one_thread
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.studies import STUDIES
from ruleshift.studies.algorithms import ALGORITHMS_STUDY
from ruleshift.studies.arms_study import ARMS, every
from ruleshift.studies.chosen import Choice, Swept
from ruleshift.studies.recipes import recipe_of
from ruleshift.studies.run import _conversations, run_study
from ruleshift.studies.study import Run
from ruleshift.training.algorithms import ALGORITHMS, check_algorithm
from study_helpers import MEASUREMENT, in_process, plan_of, rows_in, tiny_start

__all__ = ["in_process"]


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("task", ["gp-l", "virl-l"])
def test_all_arms_of_the_recipes_can_be_trained_and_see_as_many_conversations(task):
    recipe = recipe_of(task)
    algorithms, others = ALGORITHMS_STUDY.arms(recipe, Choice()), ARMS.arms(recipe, Choice())
    cards = task == "gp-l"
    for arms, turns, episodes in (
        (algorithms, 1 if cards else recipe.rl.turns, 336 if cards else recipe.rl.episodes),  # groups of eight
        (others, recipe.rl.turns, recipe.rl.episodes),
    ):
        for arm in arms:
            if isinstance(arm.training, RLConfig):
                check_algorithm(arm.training)
                assert arm.training.updates == recipe.rl.updates
                assert (arm.training.turns, arm.training.episodes) == (turns, episodes)
            assert arm.about
    guided = {arm.name: arm.training for arm in every(recipe) if isinstance(arm.training, DistilConfig)}
    assert guided["self-rule"] == replace(guided["self-demonstration"], privileged_context="rule")


def test_arms_and_rates_are_chosen_by_name():
    recipe = recipe_of("gp-l")
    some = ALGORITHMS_STUDY.arms(recipe, Choice(names=("grpo", "ppo"), rates=("grpo:2e-5",)))
    assert [(arm.name, arm.training.learning_rate) for arm in some] == [
        ("ppo", recipe.rl.learning_rate),
        ("grpo", 2e-5),
    ]
    sweep = STUDIES["algorithms-sweep"].arms(recipe, Swept(names=("grpo",), grid=(1e-4, 3e-5)))
    assert [arm.name for arm in sweep] == ["grpo-lr3e-5", "grpo-lr1e-4"]
    assert {arm.variant_of for arm in sweep} == {"grpo"}
    sweep = STUDIES["algorithms-sweep"].arms(recipe, Swept(names=("rloo",), grid=(1e-4, 3e-5)))
    assert [arm.name for arm in sweep] == ["rloo-lr3e-4", "rloo-lr1e-3"]  # one step an update, and not eight
    sweep = STUDIES["algorithms-sweep"].arms(recipe, Swept(names=("gspo", "gspo-wide"), grid=(1e-4,)))
    assert [arm.variant_of for arm in sweep] == ["gspo", "gspo-wide"]  # a rate is chosen for either
    for wrong in ({"names": ("pop",)}, {"rates": ("pop:1",)}):
        with pytest.raises(RuleshiftError, match="no arm 'pop'; choose from ppo"):
            ALGORITHMS_STUDY.arms(recipe, Choice(**wrong))
    for rates in (("grpo",), ("grpo:0",), ("grpo:x",)):
        with pytest.raises(RuleshiftError, match="--set rates"):
            Choice(rates=rates)


def test_conversations_that_were_drawn_and_not_learned_from_count(tmp_path):
    def counted(training, *lines):
        run = Run("x", 0, training, (2,))
        (tmp_path / run.folder).mkdir(exist_ok=True)
        (tmp_path / run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return _conversations(run, tmp_path)

    drawn = {"step": 1, "drawn_episodes": 40.0}, {"step": 2, "drawn_episodes": 24.0}
    assert counted(RLConfig(episodes=8), *drawn) == {1: 40, 2: 64}
    assert counted(RLConfig(episodes=8), {"step": 1}, {"step": 2}) == {1: 8, 2: 16}
    sampled = {"step": 0, "drawn_episodes": 100.0}, {"step": 1}, {"step": 3}
    assert counted(SFTConfig(batch=4), *sampled) == {0: 100, 1: 104, 3: 112}
    assert _conversations(Run("base", 0, None, (0,)), tmp_path) == {}


LEARNING = ("sft", "sft-psft", "sft-hard", "expert-reverse", "self-rule")


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("study", "names", "moving"),
    [
        ("algorithms", ("ppo", "grpo"), ()),  # an untrained model earns the same whatever it says
        ("arms", (*LEARNING, "rl-sft"), (*LEARNING, "rl-sft")),
    ],
)
def test_they_run_and_tell_of_every_arm(study, names, moving, tmp_path, capsys):
    found = STUDIES[study]
    measurement = replace(found.measures(MEASUREMENT), profile_problems=2, profile_samples=4)
    options = Choice(names=names)
    plan = plan_of(replace(found, measures=lambda m: m), tiny_start(tmp_path), measurement, options=options)
    recipe = replace(plan.recipe, sft=replace(plan.recipe.sft, steps=5), rl=replace(plan.recipe.rl, episodes=8))
    run_study([replace(plan, recipe=recipe)], tmp_path / "out")
    assert {row["arm"] for row in rows_in(tmp_path / "out")} >= {"base", *names}
    profiles = json.loads((tmp_path / "out" / "gp-l" / "profiles.json").read_text())
    assert [one["arm"] for one in profiles] == ["base", *names]
    by_arm = {one["arm"]: one for one in profiles}
    assert by_arm["base"]["moved"] == 0.0
    assert all(by_arm[name]["moved"] > 0 for name in moving)
    assert all(by_arm[name]["trained_tokens"] > 0 and by_arm[name]["seconds"] > 0 for name in names)
    said = capsys.readouterr().out
    assert "training to a gain of 10 points" in said
    assert all(name in ALGORITHMS or name in said for name in names)
