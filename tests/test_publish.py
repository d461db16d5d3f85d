"""From a study's folder to docs: numbers with paths that tell nothing, and pictures that say what they show."""

import importlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import plotly.graph_objects as go
import pytest
from PIL import Image
from rich.table import Table

import synthetic
from ruleshift.evaluation.claims import Claim
from ruleshift.evaluation.phases import PhaseCell
from ruleshift.evaluation.training_profile import Answers, TrainingProfile
from ruleshift.report.terminal import WHOLE, PlainTable, plain
from ruleshift.results import Results, Row, load_results, save_results
from ruleshift.studies import STUDIES
from ruleshift.studies.foretell import trainings_in
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
    (folder / "tables.json").write_text(json.dumps([asdict(PlainTable("t", ("a",), (("1",),), ""))]))
    return folder.parent


def test_numbers_are_copied_without_the_place_where_they_were_made(
    publish: ModuleType, study: Path, tmp_path: Path
) -> None:
    publish.publish(study / "gp-l")
    target = tmp_path / "docs" / "results" / "headline" / "gp-l"
    assert {path.name for path in target.iterdir()} == {"results.json", "comparisons.json", "tables.json"}
    assert not any(str(tmp_path) in path.read_text() for path in target.iterdir())
    meta = json.loads((target / "results.json").read_text())["meta"]
    assert meta["command"] == "ruleshift study headline --reuse runs/old --out runs/mine"
    assert meta["taken"] == {"rl-seed0": "runs/old/gp-l/arms/rl-seed0"}


def test_pictures_are_out_of_date_where_numbers_have_changed(publish: ModuleType, study: Path, tmp_path: Path) -> None:
    publish.publish(study / "gp-l")
    picture = tmp_path / "docs" / "headline-gp-l.png"
    assert picture.is_file()
    assert publish.stale_pictures(publish.drawn()) == {}
    numbers = tmp_path / "docs" / "results" / "headline" / "gp-l" / "results.json"
    content = json.loads(numbers.read_text())
    for row in content["rows"]:
        row["value"] *= 0.5
    numbers.write_text(json.dumps(content))
    assert [*publish.stale_pictures(publish.drawn())] == [picture]
    publish.main(["--draw"])
    assert publish.stale_pictures(publish.drawn()) == {}
    picture.unlink()
    assert [*publish.stale_pictures(publish.drawn())] == [picture]


def test_a_study_brings_files_and_figures_of_its_own(
    publish: ModuleType, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is named in its own file, and nothing else that lies in its folder."""

    def own(results: Results, folder: Path) -> go.Figure | None:
        return go.Figure(go.Scatter(y=json.loads((folder / "own.json").read_text())))

    mine = replace(STUDIES["headline"], files={"own.json": lambda found: [1]}, pictures={"own": own})
    monkeypatch.setitem(STUDIES, "headline", mine)
    for name in ("own.json", "other.json"):
        (study / "gp-l" / name).write_text("[1, 2]")
    publish.publish(study / "gp-l")
    folder = tmp_path / "docs" / "results" / "headline" / "gp-l"
    assert (folder / "own.json").read_text() == "[1, 2]"
    assert not (folder / "other.json").exists()
    assert (tmp_path / "docs" / "headline-gp-l-own.png").is_file()
    (folder / "own.json").write_text("[1, 3]")
    assert [path.name for path in publish.stale_pictures(publish.drawn())] == ["headline-gp-l-own.png"]


@pytest.fixture
def insights(study: Path) -> Path:
    """The same study, with what a study of insights writes beside its results."""
    results = load_results(study / "gp-l" / "results.json")
    save_results(study / "gp-l" / "results.json", results.rows, {**results.meta, "study": "memorisation"})
    moved = {(row.arm, row.seed, row.step): row.seed / 10 + row.step / 1000 for row in results.rows}
    places = {key: {"arm": key[0], "seed": key[1], "step": key[2]} for key in moved}
    content = {
        "version": 2,
        "task": "gp-l",
        "points": [
            {
                **places[key],
                "kl_to_start": 0.1,
                "train_flops": 1.0,
                "measures": {"id-val": {name: [value, 1, value, value] for name in ("moved", "rotation")}},
            }
            for key, value in moved.items()
        ],
        "levels": [{**place, "carried": [1.0, 0.5, 0.0]} for place in places.values()],
        "coverage": [{**place, "split": "id", "curve": [[0.5, 0.0], [1.0, 0.2]]} for place in places.values()],
    }
    (study / "gp-l" / "insights.json").write_text(json.dumps(content))
    (study / "gp-l" / "changes.json").write_text("[]")
    return study


def test_insights_are_published_and_drawn_of_what_is(publish: ModuleType, insights: Path, tmp_path: Path) -> None:
    publish.publish(insights / "gp-l")
    docs, folder = tmp_path / "docs", tmp_path / "docs" / "results" / "memorisation" / "gp-l"
    assert {"insights.json", "changes.json"} <= {path.name for path in folder.iterdir()}
    names = [f"memorisation-gp-l{kind}.png" for kind in ("", "-layers", "-risk")]
    assert sorted(path.name for path in docs.glob("*.png")) == sorted([*names, "memorisation-gp-l-along.png"])
    assert publish.stale_pictures(publish.drawn()) == {}
    assert publish.faults(publish.drawn()) == []
    content = json.loads((folder / "insights.json").read_text())
    for entry in content["levels"]:
        entry["carried"][1] = 0.25
    (folder / "insights.json").write_text(json.dumps(content))
    assert [path.name for path in publish.stale_pictures(publish.drawn())] == ["memorisation-gp-l-layers.png"]
    told, wanted = (
        trainings_in([folder])[0],
        trainings_in([insights / "gp-l"])[0],
    )  # early signs, too, are told by what is published
    assert [(one.arm, one.seed, one.signs, one.loss) for one in told] == [
        (one.arm, one.seed, one.signs, one.loss) for one in wanted
    ]
    assert all("moved, id-val" in one.signs for one in told)
    (folder / "insights.json").unlink()
    assert not any("moved, id-val" in one.signs for one in trainings_in([folder])[0])


def test_a_map_of_several_start_models_is_drawn_of_all(publish: ModuleType, study: Path, tmp_path: Path) -> None:
    results = load_results(study / "gp-l" / "results.json")
    for name, strength in (("weak", 0.1), ("strong", 0.9)):
        cell = PhaseCell(name, strength, "sft", 1e-3, 3, 0.1, -0.2, -0.3, -0.1, "problems", 0.5, 1.0, 1)
        folder = study / f"gp-l@{name}"
        folder.mkdir()
        save_results(folder / "results.json", results.rows, {**results.meta, "study": "phase"})
        (folder / "phase.json").write_text(json.dumps({"cells": [asdict(cell)]}))
    shutil.rmtree(study / "gp-l")
    publish.main([str(study)])
    drawn = publish.drawn()
    assert [folder.name for folder in drawn] == ["gp-l@strong", "gp-l@weak"]
    assert all(len(figures["map"].data) == 2 for figures in drawn.values())
    assert publish.stale_pictures(drawn) == {}


def test_a_page_without_a_figure_is_told_or_says_why(publish: ModuleType, insights: Path, tmp_path: Path) -> None:
    publish.publish(insights / "gp-l")
    folder = tmp_path / "docs" / "results" / "memorisation" / "gp-l"

    def faults() -> list[tuple[str, str]]:
        return [(said.split()[0], said.split(": ")[1].split()[0]) for said in publish.faults(publish.drawn())]

    pictures = [f"docs/memorisation-gp-l-{kind}.png" for kind in ("along", "layers", "risk")]
    (folder / "insights.json").rename(tmp_path / "kept.json")
    assert set(faults()) == {(name, what) for name in pictures for what in ("delete", "publish")}
    for name in pictures:
        (tmp_path / name).unlink()
    assert faults() == [(name, "publish") for name in pictures]
    (folder / "note.md").write_text("Not drawn: `along`, `risk`, for a reason.")
    assert faults() == [(pictures[1], "publish")]
    (folder / "note.md").write_text("Not drawn: `along`, `layers`, `risk`, for a reason.")
    assert faults() == []
    (tmp_path / "kept.json").rename(folder / "insights.json")
    assert faults() == [("docs/results/memorisation/gp-l/note.md", "it")] * 3


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


def test_a_gain_that_ends_at_chance_is_none(publish: ModuleType) -> None:
    expected = importlib.import_module("expected")
    where = {"split": "rule-ood", "metric": "success", "turns": 5, "decoding": "sampled", "n": 200}

    def found(end: float, chance: float) -> str | None:
        ends = {"base": 0.0, "sft": end, "random": chance, "blind": 0.0, "expert": 1.0}
        rows = [
            Row("gp-l", arm, 0, step, value=value, ci_low=max(0.0, value - 0.02), ci_high=value + 0.03, **where)
            for arm, last in ends.items()
            for step, value in ((0, 0.0), (9, last))
        ]
        claim = Claim("gp-l", "sft", "base", "success", "rule-ood", 5, "sampled", end, 0.004, 0.04, "x", "raises", 1)
        said: str | None = expected.chance_of(Results(tuple(rows), {}), claim)
        return said

    assert found(0.022, 0.02) == "it comes to 2.2%, which is no more than chance (random policy 2.0 [0.0, 5.0])"
    assert found(0.06, 0.02) is None
    assert found(0.06, 0.04) is not None
