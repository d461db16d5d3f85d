"""The studies of algorithms and arms: what they hold, and that they run, small."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ruleshift.commands.study import StudyCommand
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.studies import STUDIES
from ruleshift.studies.algorithms import ALGORITHMS_STUDY
from ruleshift.studies.arms_study import ARMS, every
from ruleshift.studies.chosen import LONGEST, Choice, Swept, rates_in
from ruleshift.studies.recipes import recipe_of
from ruleshift.studies.retention import BOTH, WAYS
from ruleshift.studies.run import _conversations, run_study
from ruleshift.studies.study import Arm, Run
from ruleshift.training.algorithms import ALGORITHMS, check_algorithm
from study_helpers import MEASUREMENT, in_process, plan_of, rows_in, tiny_start

__all__ = ["in_process"]

ROOT = Path(__file__).parent.parent


pytestmark = pytest.mark.usefixtures("on_one_thread")


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
            elif arm.training is not None:
                assert arm.training.examples <= recipe.rl.updates * recipe.rl.episodes
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


def given(study: str, *settings: str, task: str = "gp-l", quick: bool = False):
    """The arms of a study with these settings, by name."""
    (plan,) = StudyCommand(study, tasks=(task,), set=settings, quick=quick).plans(STUDIES[study])
    return {arm.name: arm.training for arm in plan.arms()}


def values(arms, *fields):
    return {tuple(getattr(training, field) for field in fields) for training in arms.values()}


def test_what_is_set_holds_for_every_algorithm():
    arms = given("algorithms", "rl.group=16", "rl.clip=0.05", "rl.kl_coef=0.5", "rl.kl_estimator=k3")
    assert values(arms, "group", "clip", "kl_coef", "kl_estimator") == {(16, 0.05, 0.5, "k3")}
    assert set(arms) == {*ALGORITHMS, "gspo-wide"}
    usual = recipe_of("gp-l").rl.kl_coef  # what is set to the recipe's own value holds, too
    assert values(given("algorithms", f"rl.kl_coef={usual}"), "kl_coef") == {(usual,)}
    assert values(given("algorithms", "rl.turns=3", "rl.episodes=48"), "turns", "episodes") == {(3, 48)}
    assert values(given("algorithms", "rl.group=32"), "group") == {(32,)}  # and episodes are whole groups of it
    assert given("algorithms", "rl.epochs=2")["rloo"].epochs == 2
    for study, names in (("algorithms", "ppo, reinforce"), ("arms", "sft, sft-dft")):
        with pytest.raises(RuleshiftError, match=rf"--set rl.algorithm: .*--set names=\.\.\., of {names}"):
            given(study, "rl.algorithm=grpo")


def test_what_is_set_holds_for_arms_of_its_kind_and_what_tells_them_apart_cannot_be():
    settings = ("rl.kl_coef=0.3", "rl.gamma=0.5", "distil.kl_coef=0.1", "gp-l.distil.teacher_update_rate=0.2")
    arms = given("arms", *settings, "distil.teacher=runs/large", "sft.turns=2", "sft.weight_decay=0.1")
    distilled = {name: one for name, one in arms.items() if isinstance(one, DistilConfig)}
    rewarded = {name: one for name, one in arms.items() if isinstance(one, RLConfig) and name not in distilled}
    taught = {name: one for name, one in arms.items() if isinstance(one, SFTConfig)}
    assert values(distilled, "kl_coef", "gamma", "teacher_update_rate") == {(0.1, 0.5, 0.2)}
    assert values(rewarded, "kl_coef", "gamma") == {(0.3, 0.5)}
    assert values(taught, "turns", "weight_decay") == {(2, 0.1)}
    assert {name for name, one in distilled.items() if one.teacher != "self"} == {"expert-reverse", "expert-forward"}
    (plan,) = StudyCommand("arms", tasks=("gp-l",), set=("distil.teacher=runs/large",)).plans(ARMS)
    about = {arm.name: arm.about for arm in plan.arms()}
    assert about["expert-forward"] == "distilled from runs/large, forward KL"
    apart = (
        "sft.loss=dft",
        "sft.examples=9",
        "rl.sft_coef=1",
        "distil.privileged_context=rule",
        "distil.distillation_alpha=0.5",
        "distil.algorithm=gkd",
    )
    for setting in apart:
        with pytest.raises(RuleshiftError, match=f"--set {setting.split('=')[0]}: that is what arms differ in"):
            given("arms", setting)
    with pytest.raises(RuleshiftError, match=r"--set gp-l\.distil\.pop: there is no such setting"):
        given("arms", "distil.pop=1")
    for study in ("headline", "algorithms"):
        with pytest.raises(RuleshiftError, match=r"--set gp-l.distil.teacher: none of the arms takes it \("):
            given(study, "distil.teacher=expert")
    with pytest.raises(RuleshiftError, match="none of the arms takes it"):
        given("retention", "distil.distillation_coef=2", task=BOTH)
    with pytest.raises(RuleshiftError, match=r"--set distil\.seed=1: that comes from --seeds"):
        given("arms", "distil.seed=1")


def test_who_is_shown_the_rule_is_claimed_to_beat_who_is_shown_one_problem():
    (claim,) = [one for one in ARMS.primary if one.arm == "self-rule"]
    assert (claim.word, claim.reference, claim.endpoint) == ("raises", "self-demonstration", None)
    assert claim.against
    assert ("self-rule", "self-demonstration") in {(a, b) for a, b, _ in ARMS.endpoints("gp-l")}


def test_rl_after_sft_starts_from_its_end():
    (plan,) = StudyCommand("arms", tasks=("gp-l",), set=("names=sft,sft-then-rl",)).plans(ARMS)
    last = plan.runs()[-1]
    assert (last.name, last.start.run.name, last.start.step) == ("sft-then-rl", "sft", plan.recipe.sft.steps)
    with pytest.raises(RuleshiftError, match="sft-then-rl starts from sft, which no arm before it is trained as"):
        given("arms", "names=sft-then-rl")
    assert "sft-then-rl" not in " ".join(given("arms-sweep"))  # it has the rate of rl
    for names in ("names=sft-then-rl", "names=rl,sft-then-rl"):
        with pytest.raises(RuleshiftError, match=r"sft-then-rl starts from sft, .*: leave it out, and name rl, whose"):
            given("arms-sweep", names)


def test_what_is_set_holds_for_every_way_of_retention():
    arms = given("retention", "sft.turns=2", "rl.clip=0.3", "rl.turns=4", "rl.updates=3", task=BOTH)
    by_way = {way: values({n: one for n, one in arms.items() if n.startswith(way)}, "turns") for way in WAYS}
    assert by_way == {"sft": {(2,)}, "self-sft": {(2,)}, "rl": {(4,)}, "distil": {(4,)}}
    on_policy = {name: one for name, one in arms.items() if isinstance(one, RLConfig)}
    assert values(on_policy, "clip", "updates") == {(0.3, 3)}
    usual = given("retention", "rl.updates=3", task=BOTH)  # what is not set is each way's own
    assert {name: usual[name].clip for name in ("rl-gp-l", "distil-gp-l")} == {"rl-gp-l": 0.2, "distil-gp-l": None}
    assert usual["self-sft-gp-l"].turns == usual["rl-gp-l"].turns


MISFITS = {
    "arms rl.value_only=2": "expert-reverse: rl.value_only=2 trains .*: give --set rl.value_only=0, or "
    "--set rl.critic=true --set rl.value_steps=50$",
    "arms distil.value_only=2": "expert-reverse: distil.value_only=2 .*: give --set distil.value_only=0, or",
    "arms distil.teacher=self": "expert-reverse: distil.teacher=self .*: give --set distil.teacher=expert$",
    "arms distil.distillation_mode=sampled_token": r"expert-forward: .*: give --set distil.\w+_mode=full_logits$",
    "arms rl.train_parts=tower": "expert-reverse: .* decoder can learn: give --set rl.train_parts=decoder$",
    "arms sft.train_parts=tower": "sft: .* decoder can learn: give --set sft.train_parts=decoder$",
    "algorithms rl.buffer=9": "reinforce: rl.buffer=9 cuts .*: give --set rl.buffer=0, or --set rl.critic=true "
    "--set rl.baseline_decay=none --set rl.estimator=gae$",  # the last for arms of groups
    "algorithms rl.buffer=9 rl.value_only=2": "reinforce: rl.value_only=2 .*: give --set rl.value_only=0 "
    "--set rl.buffer=0, or",
    "algorithms rl.group=48": "rl.episodes=128 .* of rl.group=48: give --set rl.episodes=144, or --set rl.group=32$",
    "headline sft.micro_batch=48": ".* give --set sft.batch=96, or --set sft.micro_batch=32$",
    "headline sft.noise=0.2": "self-sft: sft.noise=0.2 spoils .*: give --set sft.noise=0.0$",
    "headline rl.lora_rank=4 rl.train_parts=decoder": ".*: give --set rl.train_parts=.*, or --set rl.lora_rank=0$",
    "algorithms rl.baseline_decay=0.5": "ppo: a critic is a baseline already: give --set rl.baseline_decay=none$",
}


@pytest.mark.parametrize(("words", "message"), MISFITS.items(), ids=MISFITS)
def test_misfits_are_told_with_their_arm_and_with_what_to_set_that_suits_all(words, message):
    study, *settings = words.split()
    with pytest.raises(RuleshiftError, match=f"^gp-l:? {message}") as caught:
        given(study, *settings)
    for remedy in str(caught.value).partition(": give ")[2].split(", or "):
        assert given(study, *settings, *remedy.replace("--set ", "").split())


def test_where_no_other_value_suits_all_arms_what_was_set_is_to_be_left_out():
    """As where a study has settings of its own, whatever is set."""
    one = replace(recipe_of("gp-l").rl, estimator="group_scaled", critic=False, value_only=0)
    stubborn = replace(ALGORITHMS_STUDY, arms=lambda recipe, options: [Arm("arm", one)], pairs=(), primary=())
    command = StudyCommand("algorithms", tasks=("gp-l",))
    with pytest.raises(
        RuleshiftError, match=r"arm: rl\.group=1 .*: leave out what was set of it, or choose other arms"
    ):
        command.plans(stubborn)


def test_what_an_arm_cannot_be_trained_with_is_told_with_its_name():
    with pytest.raises(RuleshiftError, match=r"^gp-l sft: unknown split 'pop' of gp-l; choose from train"):
        given("arms", "sft.split=pop")


def sweep_of(folder, task="gp-l", **rates):
    content = {"task": task, "chosen": {name: f"{name}-lr{rate}" for name, rate in rates.items()}}
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps(content))
    return folder / "sweep.json"


def test_rates_are_read_from_the_sweep_of_the_task(tmp_path):
    def rates(study, *settings, task="gp-l"):
        return {name: training.learning_rate for name, training in given(study, *settings, task=task).items()}

    cards = sweep_of(tmp_path / "cards", ppo="3e-4", grpo="2e-5", more="1e-4")
    walks = sweep_of(tmp_path / "walks", "virl-l", ppo="7e-5")
    usual = recipe_of("gp-l").rl.learning_rate
    assert rates("algorithms", "names=ppo,grpo", f"rates={cards}") == {"ppo": 3e-4, "grpo": 2e-5}
    assert rates("algorithms", "names=ppo,grpo", f"rates={cards},ppo:1e-6") == {"ppo": 1e-6, "grpo": 2e-5}
    assert rates("algorithms", "names=ppo,rloo", f"rates={cards},recipe") == {"ppo": 3e-4, "rloo": usual}
    assert rates("algorithms", "names=ppo", f"rates={cards},{walks}", task="virl-l") == {"ppo": 7e-5}
    of_arms = sweep_of(tmp_path / "arms", sft="2e-4", rl="3e-4")
    found = rates("arms", "names=sft,rl,sft-then-rl", f"rates={of_arms}")
    assert found == {"sft": 2e-4, "rl": 3e-4, "sft-then-rl": 3e-4}
    found = rates("arms", "names=sft,rl,sft-then-rl", f"rates={of_arms},rl:1e-3")  # by hand for that arm alone
    assert found == {"sft": 2e-4, "rl": 1e-3, "sft-then-rl": 3e-4}
    found = rates("arms", "names=sft,rl,sft-then-rl", "rates=rl:1e-3")
    assert found == {"sft": recipe_of("gp-l").sft.learning_rate, "rl": 1e-3, "sft-then-rl": usual}
    of_walks = recipe_of("virl-l").rl.learning_rate
    assert rates("algorithms", "names=ppo", f"rates={cards},recipe", task="virl-l") == {"ppo": of_walks}
    published = ROOT / "docs" / "results" / "sweep-algorithms-gp-l.json"
    assert rates("algorithms", "names=ppo,reinforce,gspo-wide", f"rates={published}") == {
        "ppo": 3e-4,
        "reinforce": 1e-3,
        "gspo-wide": 1e-4,
    }

    def refused(message, *settings, task="gp-l"):
        with pytest.raises(RuleshiftError, match=message):
            given("algorithms", *settings, task=task)

    refused("has no rate for rloo, dapo: sweep it too", "names=ppo,rloo,dapo", f"rates={cards}")
    refused(
        rf"is of gp-l, and not of virl-l: .*or add recipe \(--set rates={cards},recipe\)",
        "names=ppo",
        f"rates={cards}",
        task="virl-l",
    )
    refused("there is no file", f"rates={tmp_path}/none.json")
    for number, damage in enumerate(
        (
            *("", "[]", "{}", "[" * 100_000, "\xff", " " * (LONGEST + 1), '{"task": "gp-l", "chosen": {"ppo": 3}}'),
            *(json.dumps({"task": "gp-l", "chosen": {"ppo": name}}) for name in ("ppo", "ppo-lr0", "ppo-lrnan")),
        )
    ):
        path = tmp_path / f"damaged{number}.json"
        path.write_text(damage, encoding="latin-1")
        refused("is no sweep of learning rates", f"rates={path}")
    assert set(rates_in.__wrapped__(str(cards))[1]) == {"ppo", "grpo", "more"}
    cards.unlink()  # a study goes on, and is concluded, with what it began with
    assert rates("algorithms", "names=ppo", f"rates={cards}") == {"ppo": 3e-4}


def test_what_is_out_of_bounds_is_told_as_it_was_set():
    for study, setting in (("verification", "turns=0"), ("sweep", "grid=0"), ("algorithms", "gp-l.rl.group=0")):
        name = setting.split("=")[0]
        with pytest.raises(RuleshiftError, match=f"^--set {name} must be"):
            given(study, setting)


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
        ("arms", (*LEARNING, "rl-sft", "sft-then-rl"), (*LEARNING, "rl-sft", "sft-then-rl")),
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
