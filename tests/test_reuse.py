"""Studies that take over what others trained: only where it is the same training, and with the same numbers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ruleshift.backbones.load import load_backbone
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import Point
from ruleshift.evaluation.insight import load_insight
from ruleshift.results import load_results
from ruleshift.studies import arms
from ruleshift.studies.headline import HEADLINE, Rates
from ruleshift.studies.points import points_in
from ruleshift.studies.run import run_study
from ruleshift.studies.study import Arm, Plan
from study_helpers import MEASUREMENT, in_process, plan_of, tiny_start

__all__ = ["in_process"]

pytestmark = pytest.mark.usefixtures("in_process")
MORE = replace(MEASUREMENT, n=6)  # other problems
RENAMED = replace(
    HEADLINE,
    name="renamed",
    pairs=(),
    primary=(),
    arms=lambda recipe, options: [Arm("imitate", recipe.sft), Arm("practise", replace(recipe.rl, updates=3))],
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_start(tmp_path_factory.mktemp("models"))


def headline(model: str, **settings: object) -> Plan:
    return plan_of(HEADLINE, model, options=Rates("none", "none"), **settings)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the name of each arm that is trained."""
    names: list[str] = []
    train = arms._train

    def watched(run: object, start: object, meter: arms.Meter, *rest: object) -> None:
        if not all(meter.store.model(step).is_dir() for step in meter.store.missing()):
            names.append(meter.run.name)
        train(run, start, meter, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(arms, "_train", watched)
    return names


def points_of(out: Path, run: str) -> list[Point]:
    return points_in(out / "gp-l" / "arms" / run)


def test_trainings_and_points_are_taken_over(model: str, tmp_path: Path, trained: list[str]) -> None:
    first, again, more = tmp_path / "first", tmp_path / "again", tmp_path / "more"
    run_study([headline(model)], first)
    assert trained == ["rl", "sft"]

    run_study([headline(model)], again, reuse=[tmp_path])  # found below it
    assert trained == ["rl", "sft"]
    for run in ("sft-seed0", "rl-seed0"):
        assert points_of(again, run) == points_of(first, run) != []
    taken = load_results(again / "gp-l" / "results.json").meta["taken"]
    assert taken == {run: str(first / "gp-l" / "arms" / run) for run in ("sft-seed0", "rl-seed0")}
    assert "taken" not in load_results(first / "gp-l" / "results.json").meta

    # Measured in another way: the models are taken, and what is measured is what it would have been.
    run_study([headline(model, measurement=MORE)], more, reuse=[again])
    assert trained == ["rl", "sft"]
    run_study([headline(model, measurement=MORE)], tmp_path / "anew")
    assert trained == ["rl", "sft", "rl", "sft"]
    for run in ("sft-seed0", "rl-seed0"):
        assert points_of(more, run) == points_of(tmp_path / "anew", run) != points_of(first, run)


def test_insights_of_other_problems_are_measured_anew(model: str, tmp_path: Path, trained: list[str]) -> None:
    few = replace(MEASUREMENT, insight_problems=2, insight_samples=2)
    for name, measurement in (("two", few), ("again", few), ("three", replace(few, insight_problems=3))):
        run_study(
            [headline(model, measurement=measurement)],
            tmp_path / name,
            reuse=[] if name == "two" else [tmp_path / "two"],
        )
    assert trained == ["rl", "sft"]
    made, linked, measured = (
        max((tmp_path / name / "gp-l" / "arms" / "sft-seed0").glob("points/*.insight.json"))
        for name in ("two", "again", "three")
    )
    assert made.samefile(linked)
    assert [len(load_insight(path).replies[0].right) for path in (made, measured)] == [2, 3]
    assert points_of(tmp_path / "three", "sft-seed0") == points_of(tmp_path / "two", "sft-seed0")


def test_only_the_same_training_is_taken_over(model: str, tmp_path: Path, trained: list[str]) -> None:
    run_study([headline(model)], tmp_path / "first")
    trained.clear()
    study = tmp_path / "other"
    run_study([plan_of(RENAMED, model)], study, reuse=[tmp_path / "first"])
    assert trained == ["practise"]  # of other length; the other one has another name, and is the same
    assert {point.arm for point in points_of(study, "imitate-seed0")} == {"imitate"}
    assert (study / "gp-l" / "arms" / "imitate-seed0" / "taken.json").is_file()
    assert not (study / "gp-l" / "arms" / "practise-seed0" / "taken.json").exists()

    trained.clear()
    run_study([headline(model, seeds=2)], tmp_path / "seeds", reuse=[tmp_path / "first"])
    assert trained == ["rl", "sft"]  # the second seed
    trained.clear()
    config = tmp_path / "first" / "gp-l" / "arms" / "sft-seed0" / "config.json"
    content = json.loads(config.read_text())
    content["config"]["model"] = "another"
    config.write_text(json.dumps(content))
    run_study([headline(model)], tmp_path / "start", reuse=[tmp_path / "first"])
    assert trained == ["sft"]


def test_what_was_begun_is_left_alone_and_a_wrong_folder_refused(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study([headline(model)], tmp_path / "first")
    run_study([headline(model)], tmp_path / "second")
    capsys.readouterr()
    run_study([headline(model)], tmp_path / "second", reuse=[tmp_path / "first"])
    assert f"0 runs take over what was trained in {tmp_path / 'first'}" in capsys.readouterr().out
    with pytest.raises(RuleshiftError, match="holds no runs of this version: name the folder of a study"):
        run_study([headline(model)], tmp_path / "third", reuse=[tmp_path / "nothing"])
    (tmp_path / "second" / "gp-l" / "arms" / "sft-seed0" / "taken.json").write_text("[")
    with pytest.raises(RuleshiftError, match=r"taken\.json cannot be read: delete the folder"):
        run_study([headline(model)], tmp_path / "second")


def test_trainings_from_other_weights_are_not_taken_over(
    model: str, tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a start model under the same name, which is not resumed from either."""
    start = tmp_path / "start"
    shutil.copytree(model, start)
    run_study([headline(str(start))], tmp_path / "first")
    other = load_backbone(str(start))
    with torch.no_grad():
        next(iter(other.model.parameters())).add_(0.01)
    other.model.save_pretrained(start)
    capsys.readouterr()

    run_study([headline(str(start))], tmp_path / "again", reuse=[tmp_path / "first"])
    assert capsys.readouterr().out.startswith("0 runs take over")
    assert trained == ["rl", "sft"] * 2
    with pytest.raises(RuleshiftError, match=r'weights: "\w{16}" there, "\w{16}" now.*choose another'):
        run_study([headline(str(start))], tmp_path / "first")
