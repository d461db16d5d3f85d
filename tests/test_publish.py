"""From a study's folder to docs: numbers with paths that tell nothing, and pictures that say what they show."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace

import plotly.graph_objects as go
import pytest
from PIL import Image
from rich.table import Table

import synthetic
from ruleshift.evaluation.training_profile import Answers, TrainingProfile
from ruleshift.report.terminal import WHOLE, PlainTable, plain
from ruleshift.results import save_results
from ruleshift.studies.tables import profiles

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, writing elsewhere, with a pen that draws white paper."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("publish")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "docs" / "results")
    monkeypatch.setattr(module, "results_in", module.results_in.__wrapped__)

    def paper(figure: go.Figure, path: Path, width: int, height: int) -> None:
        Image.new("RGB", (width // 100, height // 100), "white").save(path)

    monkeypatch.setattr(module, "save_picture", paper)
    return module


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of a study that took trainings over from another one beside it."""
    folder = tmp_path / "far away" / "mine" / "gp-l"
    folder.mkdir(parents=True)
    found, command = (
        synthetic.results(),
        f"ruleshift study headline --reuse {tmp_path}/far away/old --out {folder.parent}",
    )
    taken = {"rl-seed0": f"{tmp_path}/far away/old/gp-l/arms/rl-seed0"}
    save_results(
        folder / "results.json", found.rows, {**found.meta, "study": "headline", "command": command, "taken": taken}
    )
    (folder / "comparisons.json").write_text("[]")
    (folder / "insights.json").write_text(
        json.dumps({"rows": [], "levels": [{"arm": "sft", "seed": 1, "carried": [1.0, 0.2]}], "coverage": []})
    )
    (folder / "tables.json").write_text(json.dumps([asdict(PlainTable("t", ("a",), (("1",),), ""))]))
    return folder.parent


def test_numbers_are_copied_without_the_place_where_they_were_made(
    publish: ModuleType, study: Path, tmp_path: Path
) -> None:
    publish.publish(study / "gp-l")
    target = tmp_path / "docs" / "results" / "headline" / "gp-l"
    assert {path.name for path in target.iterdir()} == {
        f"{n}.json" for n in ("results", "comparisons", "tables", "insights")
    }
    assert not any(str(tmp_path) in path.read_text() for path in target.iterdir())
    meta = json.loads((target / "results.json").read_text())["meta"]
    assert meta["command"] == "ruleshift study headline --reuse runs/old --out runs/mine"
    assert meta["taken"] == {"rl-seed0": "runs/old/gp-l/arms/rl-seed0"}


def test_pictures_are_out_of_date_where_numbers_have_changed(publish: ModuleType, study: Path, tmp_path: Path) -> None:
    publish.publish(study / "gp-l")
    picture = tmp_path / "docs" / "headline-gp-l.png"
    assert picture.is_file()
    assert (tmp_path / "docs" / "headline-gp-l-layers.png").is_file()  # of its insights
    assert publish.stale_pictures() == {}
    numbers = tmp_path / "docs" / "results" / "headline" / "gp-l" / "results.json"
    content = json.loads(numbers.read_text())
    for row in content["rows"]:
        row["value"] *= 0.5
    numbers.write_text(json.dumps(content))
    assert [*publish.stale_pictures()] == [picture]
    publish.main(["--draw"])
    assert publish.stale_pictures() == {}


def test_a_folder_without_numbers_is_refused(
    publish: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (([], "name the folder"), ([str(tmp_path)], "holds no TASK/results.json")):
        with pytest.raises(SystemExit):
            publish.main(arguments)
        assert says in capsys.readouterr().err


def profile(arm: str, seed: int, **changes: float) -> TrainingProfile:
    answers = (Answers("id", 8, (0, 0), (8, 0), (2, 0), (0, 4)),)
    numbers = {"kl_to_start": 1.0, "kl_from_start": 2.0, "entropy": 0.1, "moved": 0.5, "generated_tokens": 1000.0}
    numbers |= {"trained_tokens": 2000.0, "train_flops": 3e12, "seconds": 10.0, **changes}
    return TrainingProfile("gp-l", arm, seed, 9, answers, **numbers)  # type: ignore[arg-type]


def test_profiles_are_shown_as_means_over_seeds() -> None:
    known = [profile("sft", 0), profile("sft", 1, seconds=30.0, moved=0.7), profile("opd", 0, teacher_margin=1.5)]
    known += [profile("sft-then-rl", 0, kl_to_origin=0.5, kl_from_origin=0.25)]
    (table,) = profiles(SimpleNamespace(profiles=known), WHOLE)  # type: ignore[arg-type]
    assert isinstance(table, Table)
    found = plain(table)
    lines = {row[0]: dict(zip(found.columns, row, strict=True)) for row in found.rows}
    assert (lines["sft"]["seconds"], lines["sft"]["moved"], lines["sft"]["teacher margin"]) == ("20", "60.0%", "")
    assert (lines["sft"]["KL(start, it)"], lines["sft"]["KL(it, start)"]) == ("1.00", "2.00")
    assert (lines["opd"]["teacher margin"], lines["opd"]["KL(phase before, it)"]) == ("1.50", "")
    assert lines["sft-then-rl"]["KL(phase before, it)"] == "0.50"
    assert lines["sft-then-rl"]["KL(it, phase before)"] == "0.25"
    assert "moved far" not in found.columns  # which nobody measured
    assert (lines["sft"]["pass@1, id"], lines["sft"]["pass@8, id"]) == ("50.0%", "50.0%")
    assert lines["sft"]["distinct wrong, id"] == "2.0"
    assert "8 replies to each of 2 problems" in found.title
    assert profiles(SimpleNamespace(profiles=[]), WHOLE) == []  # type: ignore[arg-type]
