"""docs/gallery.md shows what the tasks draw today."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from ruleshift.tasks.generalpoints.rules import SPLITS as HANDS
from ruleshift.tasks.virl.rules import SPLITS as WALKS
from ruleshift.tasks.virl.rules import TEST_CITIES, TRAIN_CITY

ROOT = Path(__file__).resolve().parent.parent
SOME_STREETS = (  # one of each kind: every map and look takes a while to build
    "virl-vl/id",
    "virl-vl/rule-ood",
    "virl-vl/new-names",
    "virl-vl/city-ood/hong-kong",
    "virl-vl/pretrain/pretrain-0",
)


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", ROOT / "scripts" / "gallery.py")
    assert spec
    assert spec.loader
    module = sys.modules["gallery"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_gallery_is_up_to_date(gallery: ModuleType) -> None:
    names = [part.name for part in gallery.card_parts()] + list(SOME_STREETS)
    assert gallery.main(["--check", *names]) == 0


def test_every_split_and_city_has_its_place(gallery: ModuleType) -> None:
    cards, streets = list(gallery.card_parts()), list(gallery.street_parts())
    text = gallery.page(cards, streets)
    assert [part.name for part in cards] == [f"gp-vl/{split}" for split in HANDS]
    for split in WALKS:
        assert f"### {split}\n" in text or f"- `{split}`: " in text
    for city in (TRAIN_CITY, *TEST_CITIES):
        assert f"**{city}.**" in text
    rule_ood = next(str(part) for part in streets if part.name == "virl-vl/rule-ood")
    assert "Words for turns: left, right, slightly left, slightly right." in rule_ood


def test_what_is_out_of_date_is_named(
    gallery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "DOCS", tmp_path)
    parts = list(gallery.card_parts())[:2]
    first = tmp_path / parts[0].file
    gallery.write("text\n", parts)
    before = first.read_bytes()
    gallery.write("text\n", parts)
    assert gallery.outdated("text\n", parts) == []
    assert first.read_bytes() == before
    pixels = np.array(parts[0].draw())
    pixels[5, 5, 0] ^= 1  # a bit of one pixel
    Image.fromarray(pixels).save(first, lossless=True)
    (tmp_path / parts[1].file).unlink()
    (tmp_path / "gallery" / "old.webp").touch()
    stale = "gallery/old.webp, which is not shown"
    assert gallery.outdated("other\n", parts) == ["gallery.md", parts[0].file, parts[1].file, stale]
    assert gallery.outdated("text\n", parts, [parts[1].name]) == [parts[1].file, stale]
    monkeypatch.setattr(gallery, "card_parts", lambda: iter(parts))
    monkeypatch.setattr(gallery, "street_parts", lambda: iter(()))
    assert gallery.main(["--check"]) == 1
    assert f"out of date: docs/{parts[0].file}" in capsys.readouterr().err
    assert gallery.main([]) == gallery.main(["--check"]) == 0
    assert not (tmp_path / "gallery" / "old.webp").exists()
    assert gallery.main(["--check", "gp-vl/nothing"]) == gallery.main([parts[0].name]) == 2
