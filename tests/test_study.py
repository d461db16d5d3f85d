"""Studies as data, and from end to end on a tiny untrained model: what they write, resume and refuse."""

import importlib
import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ruleshift.commands.assignments import Assignments
from ruleshift.commands.study import StudyCommand as Command
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.comparison import load_comparisons
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.report.tables import claims_of
from ruleshift.results import load_results
from ruleshift.settings import Measurement
from ruleshift.studies import STUDIES
from ruleshift.studies.compare import metrics_of
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.recipes import StudyRecipe, main_metric, recipe_of
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Arm, Claimed, Pair, Plan, Study, length, variant
from ruleshift.studies.sweep import CRITERION, SWEEP, Grid, _budgets, choose
from ruleshift.studies.tables import ends
from ruleshift.studies.vision import VISION
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import ALGORITHMS, check_algorithm, configured
from study_helpers import (
    MEASUREMENT,
    RECIPE,
    RL,
    SFT,
    in_process,
    in_this_process,
    plan_of,
    rows_in,
    tiny_start,
)

__all__ = ["in_process"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_start(tmp_path_factory.mktemp("models"))


# ---------------------------------------------------------------- data


def test_variants_are_named_after_what_changed() -> None:
    sft, rl = Arm("sft", SFT), Arm("rl", RL)
    names = {
        variant(sft, learning_rate=3e-4).name: "sft-lr3e-4",
        variant(sft, learning_rate=1e-3).name: "sft-lr1e-3",
        variant(sft, learning_rate=2.5e-5).name: "sft-lr2.5e-5",
        variant(sft, learning_rate=1.2345e-4).name: "sft-lr1.2345e-4",
        variant(sft, batch=16, weight_decay=0.1).name: "sft-batch16-weight-decay0.1",
        variant(sft, weight_decay=1e-5).name: "sft-weight-decay1e-5",
        variant(rl, kl_coef=0.0).name: "rl-kl-coef0",
        variant(rl, kl_in="reward").name: "rl-kl-in-reward",
        variant(rl, normalise_advantages=False, target_kl=None).name: "rl-no-normalise-advantages-no-target-kl",
        variant(sft, train_parts=("decoder", "tower")).name: "sft-train-parts-decoder+tower",
        variant(rl, algorithm="grpo", group=2).name: "rl-grpo-group2",
    }
    assert list(names) == list(names.values())
    slow = variant(sft, learning_rate=3e-4)
    assert (slow.training, slow.variant_of, slow.dense) == (replace(SFT, learning_rate=3e-4), "sft", False)
    assert variant(slow, batch=2, dense=True).variant_of == "sft"
    assert variant(slow, batch=2, dense=True).dense
    with pytest.raises(TypeError):
        variant(sft, no_such_field=3)


def test_another_algorithm_comes_with_what_makes_it_so() -> None:
    rl = Arm("rl", replace(RL, learning_rate=2e-4, episodes=8))
    for name in ALGORITHMS:
        assert variant(rl, algorithm=name).training == configured(rl.training, name)
        check_algorithm(variant(rl, algorithm=name).training)
    assert variant(Arm("rl", replace(RL, episodes=4)), algorithm="grpo", group=2).training.group == 2
    with pytest.raises(RuleshiftError, match="unknown --algorithm 'pop'"):
        variant(rl, algorithm="pop")
    set_so = plans("headline", "gp-l", set=("rl.algorithm=grpo", "rl.gamma=0.5"))["gp-l"].recipe.rl
    assert set_so == replace(configured(recipe_of("gp-l").rl, "grpo"), gamma=0.5)
    with pytest.raises(RuleshiftError, match="unknown --algorithm 'pop'"):
        plans("headline", "gp-l", set=("rl.algorithm=pop",))
    with pytest.raises(
        RuleshiftError, match=r"give --set rl\.value_only=0, or --set rl\.critic=true"
    ):  # before any run
        plans("headline", "gp-l", set=("rl.algorithm=grpo", "rl.value_only=1"))


def test_an_algorithm_is_set_together_with_what_makes_it_fit() -> None:
    """Four episodes are no whole groups of eight; as many as are set are."""
    few = StudyRecipe("", SFT, replace(RL, episodes=4), Measurement())
    for given in (("rl.algorithm=grpo", "rl.episodes=16"), ("rl.group=2", "rl.algorithm=grpo")):
        made = Assignments.read(given, ["gp-l"]).apply("gp-l", few).rl
        assert made.algorithm == "grpo"
        assert made.episodes % made.group == 0
    with pytest.raises(RuleshiftError, match="--episodes 4 is not a multiple of --group 8"):
        Assignments.read(["rl.algorithm=grpo"], ["gp-l"]).apply("gp-l", few)


def test_every_study_is_whole() -> None:
    for name, study in STUDIES.items():
        assert study.name == name
        assert study.question.endswith("?")
        assert study.about
        assert study.cost
        for task in study.tasks:
            recipe = recipe_of(task)
            plan = Plan(study, recipe, study.measures(recipe.measurement), study.options)
            names = [arm.name for arm in plan.arms()]
            assert len(set(names)) == len(names)
            assert study.trained in plan.measurement.splits
            assert {run.name for run in plan.runs()} == {study.start, *names}
            assert plan.pairs()[: len(names)] == [Pair(name, study.start) for name in names]


def test_a_task_is_decided_by_the_metric_of_its_primary_endpoint() -> None:
    for name, metric in (("gp-vl", "success"), ("virl-l", "decision_accuracy"), ("virl-vl", "success")):
        task = get_task(name)
        assert main_metric(task) == metrics_of(task)[0] == metric
        assert task.metric in metrics_of(task)
    without = SimpleNamespace(recipe=replace(task.recipe, primary=None), metric="steps")
    assert main_metric(without) == "steps"  # type: ignore[arg-type]


def test_matched_rates_and_seeds_decide_the_arms() -> None:
    def names(options: Rates, seeds: int = 1) -> list[str]:
        return [run.name for run in Plan(HEADLINE, RECIPE, RECIPE.measurement, options, seeds=seeds).runs()]

    assert names(Rates("both", "none"), 2) == ["base", *2 * ["sft", "sft-lr1e-4", "rl", "rl-lr1e-3"]]
    assert names(Rates("none", "none")) == ["base", "sft", "rl"]
    assert names(Rates(other_data="none")) == ["base", "sft", "sft-lr1e-4", "rl"]
    assert names(Rates("none")) == ["base", "sft", "sft-revision", "self-sft", "rl"]
    alike = replace(RECIPE, rl=replace(RL, learning_rate=SFT.learning_rate))
    assert [arm.name for arm in Plan(HEADLINE, alike, RECIPE.measurement, Rates("both", "none")).arms()] == [
        "sft",
        "rl",
    ]


def test_sft_on_other_data_differs_in_its_data_and_is_asked_as_ppo_asks() -> None:
    for task in HEADLINE.tasks + VISION.tasks:
        recipe = recipe_of(task)
        for study, options in ((HEADLINE, Rates()), (HEADLINE, Rates(other_data="dense"))):
            arms = {arm.name: arm for arm in Plan(study, recipe, recipe.measurement, options).arms()}
            sft, rl = arms["sft"].training, arms["rl"].training
            for name, data in (("sft-revision", "expert-revision"), ("self-sft", "self-verified")):
                changes = {
                    field.name: (getattr(sft, field.name), getattr(arms[name].training, field.name))
                    for field in fields(sft)
                    if getattr(sft, field.name) != getattr(arms[name].training, field.name)
                }
                assert changes.pop("data") == ("expert", data)
                assert changes.pop("examples", None) in (None, (sft.examples, rl.updates * rl.episodes))
                assert changes.pop("temperature", (0, rl.temperature))[1] == rl.temperature
                assert not changes, "the recipe's SFT asks as its PPO does, but for the temperature"
                assert arms[name].dense == (options.other_data == "dense")
    other = replace(RECIPE, rl=replace(RL, turns=3, temperature=0.5))
    revision = next(a for a in Plan(HEADLINE, other, RECIPE.measurement, Rates()).arms() if a.name == "sft-revision")
    assert (revision.training.turns, revision.training.temperature) == (3, 0.5)
    by_hand = {"sft": {"turns": 2}}  # stays, also where it is what the recipe has
    other = replace(other, sft=replace(SFT, turns=2), given=by_hand)
    revision = next(a for a in Plan(HEADLINE, other, RECIPE.measurement, Rates()).arms() if a.name == "sft-revision")
    assert (revision.training.turns, revision.training.temperature) == (2, 0.5)


def test_runs_are_evaluated_where_it_is_worth_the_while() -> None:
    recipe = replace(RECIPE, sft=replace(SFT, steps=100), rl=replace(RL, updates=30, value_only=2))
    options = Rates(other_data="none")
    runs = {run.folder: run for run in Plan(HEADLINE, recipe, RECIPE.measurement, options, seeds=2, points=3).runs()}
    assert runs["base-seed0"].points == (0,)
    assert runs["sft-seed1"].points == (3, 17, 100)
    assert runs["rl-seed0"].points == (3, 9, 30)
    assert runs["sft-lr1e-4-seed0"].points == (100,)
    assert [run.training.seed for run in runs.values() if run.training] == [0, 0, 0, 1, 1, 1]
    swept = Plan(SWEEP, recipe, RECIPE.measurement, Grid((3e-4, 1e-4)), seeds=1).runs()
    assert [run.folder for run in swept[1:]] == [
        *("sft-lr1e-4-seed100", "sft-lr3e-4-seed100", "rl-lr1e-4-seed100", "rl-lr3e-4-seed100")
    ]


def test_recognition_counts_where_there_are_pictures() -> None:
    assert "recognition" in metrics_of(get_task("gp-vl"))
    assert "recognition" not in metrics_of(get_task("gp-l"))


# ---------------------------------------------------------------- the command's settings


def plans(name: str, *tasks: str, **options: object) -> dict[str, Plan]:
    command = Command(name, Path("x"), tasks=tasks, **options)  # type: ignore[arg-type]
    return {plan.task: plan for plan in command.plans(STUDIES[name])}


def test_defaults_are_the_recipes_of_the_tasks() -> None:
    for name, study in STUDIES.items():
        for task, plan in plans(name).items():
            recipe = recipe_of(task, study.preset)
            assert plan.recipe == recipe
            assert plan.options == study.options
            usual = replace(recipe.measurement, max_new_tokens=recipe.rl.max_new_tokens)
            assert plan.measurement == study.measures(usual)
            if name in ("headline", "vision"):
                assert plan.measurement == recipe_of(task).measurement
    assert list(plans("headline")) == ["gp-l", "virl-l"]
    assert list(plans("vision")) == ["gp-vl", "virl-vl"]
    assert plans("sweep")["gp-l"].measurement.splits == ("id-val", "val-shift-a", "val-shift-b")
    assert plans("sweep", "gp-vl")["gp-vl"].measurement.splits[-1] == "val-visual"
    assert plans("sweep")["gp-l"].measurement.seed != recipe_of("gp-l").measurement.seed


def test_settings_of_training_and_measurement() -> None:
    given = ("virl-l.rl.updates=12", "sft.batch=8", "sft.micro-batch=4", "gp-l.measurement.turns=1,3")
    given += ("rl.target_kl=none", "rl.normalise_advantages=false", "rl.gamma=1", "virl-l.sft.train_parts=decoder")
    found = plans("headline", set=(*given, "matched_rates=both"))
    gp, virl = found["gp-l"], found["virl-l"]
    assert (gp.recipe.rl.updates, virl.recipe.rl.updates) == (recipe_of("gp-l").rl.updates, 12)
    assert (gp.recipe.sft.batch, virl.recipe.sft.micro_batch) == (8, 4)
    assert (gp.measurement.turns, virl.measurement.turns) == ((1, 3), recipe_of("virl-l").measurement.turns)
    assert (gp.recipe.rl.target_kl, gp.recipe.rl.normalise_advantages, gp.recipe.rl.gamma) == (None, False, 1.0)
    assert isinstance(gp.recipe.rl.gamma, float)
    assert virl.recipe.sft.train_parts == ("decoder",)
    assert gp.options == Rates("both")
    assert plans("sweep", set=("grid=1e-4,1e-3",))["gp-l"].options == Grid((1e-4, 1e-3))
    longer = plans("headline", "gp-l", set=("rl.max_new_tokens=50",))["gp-l"]
    assert longer.measurement.max_new_tokens == 50  # replies are as long where they are measured
    assert plans("headline", "gp-l", splits=("id", "fake"), n=7)["gp-l"].measurement.n == 7


def test_what_the_makefile_trains() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    recipe = makefile.replace("\\\n", " ").split("study headline", 1)[1].splitlines()[0].split()
    given = tuple(recipe[i + 1] for i, word in enumerate(recipe) if word == "--set")
    found = plans("headline", points=int(recipe[recipe.index("--points") + 1]), set=given)
    for task, steps, updates in (("gp-l", 120, 12), ("virl-l", 50, 12)):
        usual = recipe_of(task)
        small = replace(usual, sft=replace(usual.sft, steps=steps), rl=replace(usual.rl, updates=updates))
        assert found[task].recipe == small
    assert found["gp-l"].points == 2
    assert [arm.name for arm in found["gp-l"].arms()] == ["sft", "rl"]


def test_quick_is_smaller_and_what_is_set_stays() -> None:
    for name, study in STUDIES.items():
        small, parts = plans(name, quick=True), study.quick_part
        for task, plan in plans(name).items():
            for quick, whole in ((small[task].recipe.sft, plan.recipe.sft), (small[task].recipe.rl, plan.recipe.rl)):
                assert parts * length(quick) == pytest.approx(length(whole), abs=parts - 1)
            assert small[task].measurement.n < plan.measurement.n <= parts * small[task].measurement.n + parts - 1
            assert small[task].points == study.quick_points
    assert [arm.name for arm in plans("vision", quick=True)["gp-vl"].arms()] == ["sft", "rl"]
    set_by_hand = plans("vision", quick=True, n=50, set=("rl.updates=9", "matched_rates=sft"))["gp-vl"]
    assert (set_by_hand.recipe.rl.updates, set_by_hand.measurement.n) == (9, 50)
    assert len(set_by_hand.arms()) == 3
    assert plans("arms", quick=True)["gp-l"].measurement.profile_problems < 16
    for given in ({"n": 200}, {"set": ("measurement.n=200",)}):  # profiles are of a share of the problems asked for
        assert plans("arms", quick=True, **given)["gp-l"].measurement.profile_problems == 200 // 12
    few = plans("arms", n=200, set=("measurement.profile_problems=3",))["gp-l"].measurement
    assert (few.n, few.profile_problems) == (200, 3)


def test_a_quick_study_leaves_an_update_for_the_model() -> None:
    """Where a part of the recipe's updates is no more than those that the critic takes alone."""
    for updates, left in ((20, (5, 2)), (5, (2, 1)), (1, (1, 0))):
        sized = Command(quick=True)._sized(replace(RECIPE, rl=replace(RL, updates=updates, value_only=2)), 4).rl
        assert (sized.updates, sized.value_only) == left


# ---------------------------------------------------------------- from end to end


@pytest.mark.slow
def test_headline_writes_everything_and_resumes(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(HEADLINE, model, init_steps=1, options=Rates(other_data="none"))
    run_study([plan], tmp_path, workers=1)  # in a process of its own
    said = capsys.readouterr()
    assert "report" in said.out
    assert "left in all" in said.err
    results = load_results(tmp_path / "gp-l" / "results.json")
    assert [arm["name"] for arm in results.meta["arms"]] == ["base", "sft", "sft-lr1e-4", "rl"]
    assert {row.arm for row in results.rows} == {"base", "sft", "rl", "sft-lr1e-4", "random", "expert"}
    cells = {(row.split, row.turns, row.decoding) for row in results.rows if row.metric == "success"}
    assert len(cells) == 2 * 2
    assert all(row.n == 5 for row in results.rows)
    trained = [row for row in results.rows if row.arm == "rl" and row.step == 2]
    assert trained
    assert all(row.train_flops and row.kl_to_start is not None for row in trained)
    matches = {comparison.matched_on for comparison in load_comparisons(tmp_path / "gp-l" / "comparisons.json")}
    assert matches == {None, "id", "kl", "flops"}
    assert "plotly" in (tmp_path / "gp-l" / "report.html").read_text()

    # Again: the runs are all there, so nothing is trained.
    monkeypatch.setattr("ruleshift.studies.run.run_jobs", in_this_process)
    metrics = {path: path.read_bytes() for path in tmp_path.rglob("metrics.jsonl")}
    before = rows_in(tmp_path)
    run_study([plan], tmp_path, workers=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("metrics.jsonl")} == metrics
    assert rows_in(tmp_path) == before

    with pytest.raises(RuleshiftError, match=r"measurement\.n: 5 there, 6 now"):
        run_study([replace(plan, measurement=replace(plan.measurement, n=6))], tmp_path, workers=1)
    with pytest.raises(RuleshiftError, match=r"training\.steps: 1 there, 2 now"):
        run_study([replace(plan, init_steps=2)], tmp_path, workers=1)


@pytest.mark.usefixtures("in_process")
def test_a_study_of_three_arms_is_one_record(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def arms(recipe: StudyRecipe, options: None) -> list[Arm]:
        small = Arm("imitate", recipe.sft, "imitates")
        return [small, variant(small, batch=2, dense=True), Arm("practise", recipe.rl, "practises")]

    study = Study(
        name="batches",
        question="Does the batch matter?",
        about="Two batches, and practice.",
        cost="a minute",
        tasks=("gp-l", "virl-l"),  # of which one is run: what is claimed is corrected for both
        arms=arms,
        tables=(ends,),
        pairs=(Pair("imitate-batch2", "imitate"), Pair("practise", "imitate-batch2", "kl")),
        primary=(Claimed("", "imitate", "raises"), Claimed("", "practise", "raises")),
        figures=("kl",),
        files={"count.json": lambda found: len(found.points)},
        start="untrained",
    )
    for wrong in (
        replace(study, pairs=(Pair("lost", "imitate"),)),
        replace(study, arms=lambda *given: 2 * arms(*given)),
    ):
        with pytest.raises(ValueError, match="imitate-batch2"):
            plan_of(wrong, model).pairs()
    run_study([plan_of(study, model, replace(MEASUREMENT, turns=(1, 5)))], tmp_path)
    said = capsys.readouterr().out
    for name in ("untrained", "imitate", "imitate-batch2", "practise"):
        assert name in said
    assert said.count("Primary endpoints, named before") == 1
    assert "over problems only: other seeds may differ" in " ".join(said.split())
    found = load_results(tmp_path / "gp-l" / "results.json")
    assert [(c.arm, c.split, c.over, c.of) for c in claims_of(found)] == [
        ("imitate", "rule-ood", "problems", 4),
        ("practise", "rule-ood", "problems", 4),
    ]
    comparisons = load_comparisons(tmp_path / "gp-l" / "comparisons.json")
    assert {c.title for c in comparisons} == {
        "imitate at its end against untrained",
        "imitate-batch2 at its end against untrained",
        "practise at its end against untrained",
        "imitate-batch2 against imitate, both at their end",
        "practise against imitate-batch2 at matched KL to the start",
    }
    assert json.loads((tmp_path / "gp-l" / "count.json").read_text()) == 1 + 1 + 1 + 1
    page = (tmp_path / "gp-l" / "report.html").read_text()
    assert "Does the batch matter? a title" in page
    assert "practises" in page
    assert "corrected its intervals for 4 such endpoints" in page
    assert "Every split over training" not in page


@pytest.mark.usefixtures("in_process")
def test_the_study_in_the_docs_runs_as_it_stands_there(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parent.parent / "docs" / "design.md").read_text()
    (tmp_path / "kl_study.py").write_text(text.split("### A study")[1].split("```python\n")[1].split("```")[0])
    monkeypatch.syspath_prepend(tmp_path)
    study = importlib.import_module("kl_study").KL
    run_study([plan_of(study, model)], tmp_path)
    titles = {c.title for c in load_comparisons(tmp_path / "gp-l" / "comparisons.json")}
    assert "rl-kl-in-reward against rl, both at their end" in titles
    assert "rl-kl-coef0 against rl at matched KL to the start" in titles
    arms = {"base", "rl", "rl-kl-in-reward", "rl-kl-coef0"}
    assert {row["arm"] for row in rows_in(tmp_path)} == arms | {"random", "expert"}
    assert "rl-kl-coef0" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_sweep_writes_its_choice(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_study([plan_of(SWEEP, model, options=Grid((1e-3,)))], tmp_path)
    record = json.loads((tmp_path / "gp-l" / "sweep.json").read_text())
    assert record["budget"] == {"sft": SFT.steps, "rl": RL.updates}
    assert record["chosen"] == {"sft": "sft-lr1e-3", "rl": "rl-lr1e-3"}
    assert {row["arm"] for row in record["rows"]} == {"base", "sft-lr1e-3", "rl-lr1e-3"}
    said = capsys.readouterr().out
    assert "learning-rate sweep of gp-l" in said
    references = {tuple(line.split()[:2]) for line in said.splitlines() if "floor" in line or "ceiling" in line}
    assert references == {("random", "floor"), ("expert", "ceiling")}
    assert "…" not in said


def point(name: str, solved: int, n: int = 400, seed: int = 0) -> Point:
    split, turns, decoding = CRITERION
    cell = Cell(split, decoding, ((turns,),) * solved + ((-turns,),) * (n - solved), (1,) * n, (1,) * n)
    return Point("gp-l", name, seed, 1, 0.0, 0.0, (cell,))


def test_the_smallest_rate_that_is_not_worse_than_the_best_is_chosen() -> None:
    # The same problems are solved by all, so best minus arm is k ones among 400: mean p = k / 400, and its interval
    # reaches 0 where p <= 1.966 sqrt(p (1 - p) / 399), k <= 3.8.
    assert choose([point("a", 346), point("b", 347), point("c", 350)], "success") == "b"
    assert choose([point("a", 346), point("b", 345), point("c", 350)], "success") == "c"
    assert choose([point("a", 350), point("b", 345), point("c", 350)], "success") == "a"
    seeds = [point("a", 344), point("b", 344), point("c", 350), point("a", 344, seed=1), point("b", 350, seed=1)]
    assert choose([*seeds, point("c", 350, seed=1)], "success") == "c"  # b: six halves among 400 on average
    assert choose([*seeds, point("c", 347, seed=1)], "success") == "b"  # c is the best with 348.5, b has 347


def walks(name: str, steps: int, decided: int, right: int, n: int = 100) -> Point:
    """Walks that all pass so many steps before one fails, with so many first replies that decide something."""
    split, turns, decoding = CRITERION
    ways = ((turns,) * steps + (-turns,),) * n
    cell = Cell(split, decoding, ways, (1,) * n, (1,) * n, (decided,) * n, (right,) * n)
    return Point("virl-l", name, 0, 1, 0.0, 0.0, (cell,))


def test_a_rate_that_is_judged_by_how_walks_begin_is_passed_over() -> None:
    # A model that is right at the start and fails at the next step makes all decisions that it comes to.
    start, lost, good = walks("base", 8, 4, 3), walks("b", 1, 1, 1), walks("a", 7, 4, 3)
    assert lost.value("decision_accuracy", *CRITERION) == 1 > good.value("decision_accuracy", *CRITERION)
    assert choose([good, lost], "decision_accuracy", start) == "a"
    assert choose([good, lost], "decision_accuracy") == "b"
    assert choose([good, lost], "success", start) == "a"  # nobody walks to the end
    assert choose([walks("a", 1, 4, 1), lost], "decision_accuracy", start) == "a"  # none comes far: the smallest
    assert choose([walks("a", 7, 4, 3), walks("b", 4, 4, 4)], "decision_accuracy", start) == "b"  # half is enough


def test_rates_with_other_budgets_are_no_sweep() -> None:
    with pytest.raises(ValueError, match="same budget"):
        _budgets({"rl": [point("a", 3), replace(point("b", 3), step=2)]})
