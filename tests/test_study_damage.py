"""Studies whose files are damaged or missing, that are killed between two files, or whose arms diverge."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import ruleshift.studies.arms as arms
import ruleshift.studies.points as points
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.evaluation.comparison import load_comparisons
from ruleshift.evaluation.evaluate import rows_of
from ruleshift.records import Episode
from ruleshift.results import load_results
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.points import conversations_at, shown_conversations
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Plan
from study_helpers import RL, SFT, in_process, in_this_process, plan_of, rows_in, tiny_start

__all__ = ["in_process"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_start(tmp_path_factory.mktemp("models"))


def replies(episodes: list[Episode]) -> list[list[str]]:
    return [[turn.completion.text for turn in episode.turns] for episode in episodes]


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def finished(model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """A finished study of two points a training."""
    plan = plan_of(HEADLINE, model, options=Rates("none", "none"))
    longer = replace(plan.recipe, sft=replace(SFT, steps=5), rl=replace(RL, updates=3))
    plan, out = replace(plan, recipe=longer), tmp_path_factory.mktemp("finished") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ruleshift.studies.run.run_jobs", in_this_process)
        run_study([plan], out)
    assert {path.name for path in (out / "gp-l" / "arms" / "rl-seed0" / "points").glob("*.json")} == {
        "000002.json",
        "000003.json",
    }
    return plan, out


def a_copy(finished: tuple[Plan, Path], tmp_path: Path) -> tuple[Plan, Path, list[dict]]:
    plan, out = finished
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    return plan, copy, rows_in(out)


DAMAGE = {
    "cut": lambda text: text[:-40],
    "brackets": lambda text: "[" * 100_000,
    "other": lambda text: "[1, 2]",
    "digits": lambda text: text.replace('"kl_to_start": ', '"kl_to_start": 1' + 400 * "0" + ", "),
    "nan": lambda text: text.replace('"kl_to_start": ', '"kl_to_start": NaN, "x": '),
    "arm": lambda text: text.replace('"rl"', '"sft"'),
    "split": lambda text: text.replace('"rule-ood"', '"fake"'),
    "tries": lambda text: text.replace('"tries": [[', '"tries": [[0, '),
}


@pytest.mark.parametrize("damage", list(DAMAGE))
def test_damaged_points_are_refused(finished: tuple[Plan, Path], tmp_path: Path, damage: str) -> None:
    plan, out = finished
    run = next(run for run in plan.runs() if run.name == "rl")
    shutil.copytree(out / "gp-l" / "arms" / run.folder / "points", tmp_path / run.folder / "points")
    store, file = points.PointStore(tmp_path, run, plan.measurement), tmp_path / run.folder / "points" / "000002.json"
    assert store.missing() == []
    file.write_text(DAMAGE[damage](file.read_text()))
    with pytest.raises(RuleshiftError, match=rf"{file} cannot be read .*: delete it and run the same command again"):
        store.missing()
    file.unlink()
    assert store.missing() == [2]


def test_points_that_do_not_tell_decisions_still_load(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, out = finished
    run = next(run for run in plan.runs() if run.name == "rl")
    shutil.copytree(out / "gp-l" / "arms" / run.folder / "points", tmp_path / run.folder / "points")
    store, file = points.PointStore(tmp_path, run, plan.measurement), tmp_path / run.folder / "points" / "000002.json"
    new, content = store.load(2), json.loads(file.read_text())
    for cell in content["cells"]:
        assert len(cell.pop("decided")) == len(cell.pop("decided_right")) == len(cell["tries"])
    file.write_text(json.dumps(content))
    old = store.load(2)
    assert all(cell.decided == () for cell in old.cells)
    assert rows_of(old, (1, 2)) == rows_of(new, (1, 2))  # cards have one step


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("step", [2, 3])
def test_the_remedy_for_a_damaged_point_gives_the_same_numbers(
    finished: tuple[Plan, Path], tmp_path: Path, step: int
) -> None:
    plan, copy, before = a_copy(finished, tmp_path)
    file = copy / "gp-l" / "arms" / "rl-seed0" / "points" / f"{step:06d}.json"
    text = file.read_text()
    file.write_text(text[:-40])
    with pytest.raises(RuleshiftError, match="delete it and run the same command again"):
        run_study([plan], copy)
    file.unlink()
    run_study([plan], copy)
    assert rows_in(copy) == before
    assert file.read_text() == text


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(("arm", "end"), [("base", 0), ("sft", 5), ("rl", 3)])
def test_missing_points_are_measured_again_without_training(
    finished: tuple[Plan, Path], tmp_path: Path, arm: str, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, copy, before = a_copy(finished, tmp_path)
    folder = copy / "gp-l" / "arms" / f"{arm}-seed0"
    files = {path: path.read_bytes() for path in (folder / "points").glob("*.json")}
    said = replies(conversations_at(folder, end))
    shutil.rmtree(folder / "points")
    monkeypatch.setattr("ruleshift.studies.arms.train", lambda *arguments: pytest.fail("trained again"))
    run_study([plan], copy)
    assert rows_in(copy) == before
    assert {path: path.read_bytes() for path in files} == files
    assert replies(conversations_at(folder, end)) == said


@pytest.mark.usefixtures("in_process")
def test_conversations_that_are_lost_or_damaged_come_back(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, copy, before = a_copy(finished, tmp_path)
    file = copy / "gp-l" / "arms" / "sft-seed0" / "points" / "000005.parquet"
    said, content = replies(conversations_at(file.parent.parent, 5)), file.read_bytes()
    file.write_bytes(content[:200])
    with pytest.raises(RuleshiftError, match="delete it and run"):
        run_study([plan], copy)
    file.unlink()  # as if killed between a point and its conversations, too
    results = load_results(copy / "gp-l" / "results.json")
    with pytest.raises(RuleshiftError, match=rf"{file} is missing"):  # those of step 3 are there
        shown_conversations(copy / "gp-l", results)
    assert shown_conversations(tmp_path, results) == {}
    run_study([plan], copy)
    assert rows_in(copy) == before
    assert replies(conversations_at(file.parent.parent, 5)) == said


@pytest.mark.usefixtures("in_process")
def test_a_point_without_its_model_is_refused_and_the_remedy_helps(finished: tuple[Plan, Path], tmp_path: Path) -> None:
    plan, copy, before = a_copy(finished, tmp_path)
    arm = copy / "gp-l" / "arms" / "rl-seed0"
    (arm / "points" / "000002.json").unlink()
    shutil.rmtree(arm / "models" / "step-000002")
    with pytest.raises(RuleshiftError, match=rf"step 2 has neither a point nor a model .*delete the folder {arm}"):
        run_study([plan], copy)
    (arm / "models" / "step-000002").mkdir()
    with pytest.raises(RuleshiftError, match=rf"step-000002 is damaged, and .*delete the folder {arm}"):
        run_study([plan], copy)
    shutil.rmtree(arm / "models" / "step-000002")
    (arm / "models" / "step-000002.json").unlink()
    shutil.copytree(arm / "models" / "step-000003", arm / "models" / "step-000002")
    with pytest.raises(RuleshiftError, match=rf"step-000002.json cannot be read.*delete the folder {arm}"):
        run_study([plan], copy)
    shutil.rmtree(arm)
    run_study([plan], copy)
    assert rows_in(copy) == before


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("last", ["save_model", "save_episodes", "write_atomically"])
def test_a_kill_between_the_files_of_a_point_leaves_nothing_stale(
    finished: tuple[Plan, Path], tmp_path: Path, last: str
) -> None:
    """Killed after the tokens, the model or the conversations of a point: the same numbers and conversations."""
    plan, out = finished
    where = "arms" if last == "save_model" else "points"
    module = {"arms": arms, "points": points}[where]
    original = getattr(module, last)

    def killed(*arguments: object) -> None:
        if any("000002" in str(argument) for argument in arguments if isinstance(argument, Path)):
            if last == "save_episodes":
                original(*arguments)
            raise KeyboardInterrupt
        original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, last, killed)
        with pytest.raises(KeyboardInterrupt):
            run_study([plan], tmp_path)
    run_study([plan], tmp_path)
    assert rows_in(tmp_path) == rows_in(out)
    arm = Path("gp-l") / "arms" / "rl-seed0" / "points"
    assert {path.name: path.read_bytes() for path in (tmp_path / arm).iterdir()} == {
        path.name: path.read_bytes() for path in (out / arm).iterdir()
    }


# ---------------------------------------------------------------- divergence


@pytest.mark.usefixtures("in_process")
def test_a_diverged_arm_is_shown_and_the_others_are_reported(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, trained = plan_of(HEADLINE, model, options=Rates("none", "none"), seeds=2), []
    original = arms.train

    def train(config: SFTConfig | RLConfig, *rest: object, **named: object) -> None:
        trained.append(config)
        if isinstance(config, SFTConfig) or config.seed == 1:
            raise Diverged("step 2: the loss is not finite")
        original(config, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(arms, "train", train)
    run_study([plan], tmp_path)
    results = load_results(tmp_path / "gp-l" / "results.json")
    own = {(row.arm, row.seed) for row in results.rows if row.arm not in ("random", "expert")}
    assert own == {("base", 0), ("rl", 0)}
    assert [(entry["arm"], entry["seed"]) for entry in results.meta["diverged"]] == [("sft", 0), ("sft", 1), ("rl", 1)]
    assert {c.arm for c in load_comparisons(tmp_path / "gp-l" / "comparisons.json")} == {"rl"}
    assert "diverged" in capsys.readouterr().out
    page = (tmp_path / "gp-l" / "report.html").read_text()
    assert "sft, seed 0: step 2: the loss is not finite" in page
    count = len(trained)
    run_study([plan], tmp_path)  # what diverged once is not trained again
    assert len(trained) == count
    (tmp_path / "gp-l" / "arms" / "sft-seed0" / "diverged.json").write_text("{")
    with pytest.raises(RuleshiftError, match="delete it and run the same command again"):
        run_study([plan], tmp_path)


@pytest.mark.usefixtures("in_process")
def test_weights_that_are_not_finite_are_no_point(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config, start, chat, task, style, run, at, evaluate, progress, **named) -> None:  # type: ignore[no-untyped-def]
        next(start.parameters()).data.fill_(float("nan"))
        evaluate(at[-1], None)

    monkeypatch.setattr(arms, "train", train)
    run_study([plan_of(HEADLINE, model, options=Rates("none", "none"))], tmp_path)
    results = load_results(tmp_path / "gp-l" / "results.json")
    assert {row.arm for row in results.rows} == {"base", "random", "expert"}
    assert all("weights are not finite" in entry["why"] for entry in results.meta["diverged"])
    assert not list(tmp_path.rglob("models/step-*"))
