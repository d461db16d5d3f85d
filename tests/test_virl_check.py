"""Checking a download of the paper's V-IRL data, complete, partial and broken."""

import json
import pickle
from itertools import pairwise
from pathlib import Path

import pytest

from cli_helpers import refusal
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.tasks.virl.inspection import Inspection, check_folder
from virl_fixtures import Hostile, jpeg, raw_route, write_download


def test_a_complete_download_has_no_faults(tmp_path: Path) -> None:
    folder = write_download(tmp_path, [raw_route(), raw_route()])
    for top in (tmp_path, folder):
        report = check_folder(top)
        assert report.ok
        assert report.faults == ()
        assert report.counts == {
            "routes": 2,
            "broken routes": 0,
            "milestones": 6,
            "landmarks": 2,
            "panoramas": 5,
            "pictures": 5,
            "metadata": 5,
        }
    # of each route's 15 way points, the last of every leg is its end, and one more is in the mapping
    assert [note.partition(": ")[2] for note in report.notes] == ["22 of 30 way points have no panorama and fall out"]


def test_routes_alone_are_enough(tmp_path: Path) -> None:
    (tmp_path / "route_infos.json").write_text(json.dumps([raw_route()]))
    report = check_folder(tmp_path)
    assert report.ok
    assert "the text task needs none" in report.notes[0]


def break_everything(folder: Path) -> None:
    bad = raw_route()
    bad["init_heading"] = "north"
    far = raw_route()
    far["route_results"]["geocode_list"][1] = [10.5, 20.5]
    (folder / "route_infos.json").write_text(json.dumps([bad, raw_route(), 7, far]))
    pictures = folder / "street_views"
    (pictures / "pano-start.jpg").unlink()
    (pictures / "pano-cafe.jpg").write_bytes(b"GIF89a")
    (pictures / "pano_corner.metadata.json").unlink()
    (pictures / "pano_way.metadata.json").write_text('{"rotation": ')
    (pictures / "pano_library.metadata.json").write_text('{"rotation": "north"}')
    (pictures / "unused.jpg").touch()


def assert_faults(report: Inspection, wanted: list[str]) -> None:
    """Every fault is wanted, in one line; every wanted one is there."""
    assert not report.ok
    assert len(report.faults) == len(wanted), report.faults
    for fault, start in zip(sorted(report.faults), sorted(wanted), strict=True):
        assert fault.startswith(start)
        assert "\n" not in fault
        assert ": " in fault.removeprefix(start) or ": " in start


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    break_everything(write_download(tmp_path))
    report = check_folder(tmp_path)
    routes, pictures = "nyc_1k_routes/route_infos.json: route", "nyc_1k_routes/street_views"
    assert_faults(
        report,
        [
            f"{routes} 0: init_heading must be a number, not text: ",
            f"{routes} 2 must be an object in braces, not a number: ",
            f"{routes} 3: no panorama within 20 m of milestone 2 at",
            f"{pictures}/pano-start.jpg is missing: ",
            f"{pictures}/pano-cafe.jpg is not a JPEG picture: ",
            f"{pictures}/pano_corner.metadata.json is missing: ",
            f"{pictures}/pano_way.metadata.json is not JSON from line 1, column 14 on, perhaps cut off: ",
            f"{pictures}/pano_library.metadata.json: rotation must be a number, not text: ",
        ],
    )
    assert (report.counts["routes"], report.counts["broken routes"]) == (2, 2)
    assert any("1 panoramas that the mapping does not name" in note for note in report.notes)


def test_partial_downloads(tmp_path: Path) -> None:
    folder = write_download(tmp_path / "one")
    (folder / "gps_pano_mapping.pkl").write_bytes(pickle.dumps({(1.0, 2.0): Hostile(f"touch {tmp_path / 'trace'}")}))
    (folder / "street_views" / "pano-cafe.jpg").write_bytes(b"")
    assert_faults(
        check_folder(folder),
        ["gps_pano_mapping.pkl is not read as a pickle", "street_views/pano-cafe.jpg is not a JPEG picture"],
    )
    assert not (tmp_path / "trace").exists()
    (folder / "gps_pano_mapping.pkl").unlink()
    (folder / "route_infos.json").write_text("[[")
    assert_faults(
        check_folder(folder),
        [
            "gps_pano_mapping.pkl is missing",
            "route_infos.json is not JSON",
            "street_views/pano-cafe.jpg is not a JPEG picture",
        ],
    )
    other = write_download(tmp_path / "two")
    for file in (other / "street_views").iterdir():
        file.unlink()
    (other / "street_views").rmdir()
    (other / "route_infos.json").unlink()
    assert_faults(check_folder(other), ["street_views is missing", f"{other} holds no route_infos.json"])
    assert_faults(check_folder(tmp_path / "two" / "nyc_1k_routes" / ".."), ["nyc_1k_routes"] * 2)
    with pytest.raises(RuleshiftError, match="is not a folder"):
        check_folder(tmp_path / "nowhere")


def faults_of(folder: Path, content: bytes) -> tuple[str, ...]:
    """The faults of a download that has `content` for one of its pictures."""
    (folder / "street_views" / "pano-cafe.jpg").write_bytes(content)
    return check_folder(folder).faults


def test_pictures_cut_short_are_named(tmp_path: Path) -> None:
    folder, whole = write_download(tmp_path), jpeg()
    said = ("street_views/pano-cafe.jpg is cut short: download it again",)
    for end in (3, 4, 20, len(whole) // 4, len(whole) // 2, len(whole) - 2, len(whole) - 1):
        assert faults_of(folder, whole[:end]) == said
    assert faults_of(folder, whole + 60 * b"\0") == ()
    assert faults_of(folder, whole + 1000 * b"\0") == said
    assert faults_of(folder, whole) == ()


def test_what_only_looks_like_a_picture_is_named(tmp_path: Path) -> None:
    folder = write_download(tmp_path)
    for start in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0 not much of a picture", jpeg()[:200]):
        (fault,) = faults_of(folder, start + b"\xff\xd9")
        assert fault.startswith("street_views/pano-cafe.jpg is not read as a JPEG picture (")
        assert fault.endswith("): download it again")


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 1), (62, 31), (512, 512), (256, 512), (512, 200)])
def test_pictures_of_another_size_are_named(columns: int, rows: int, tmp_path: Path) -> None:
    (fault,) = faults_of(write_download(tmp_path), jpeg(columns, rows))
    assert fault == (
        f"street_views/pano-cafe.jpg has {columns} x {rows} pixels, "
        "but a panorama is about twice as wide as high and at least 64 wide: download it again"
    )


def test_pictures_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, whole = write_download(tmp_path), jpeg()
    assert faults_of(folder, whole[: len(whole) // 2 + 300] + whole[-2:]) == ()  # only decoding would tell
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 512 * 256 // 2 - 1)
    faults = faults_of(folder, whole)
    assert len(faults) == 5
    assert all("decompression bomb" in fault for fault in faults)


# ---------------------------------------------------------------- the command


def test_check_virl_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_download(tmp_path)
    assert main(["data", "check-virl", str(tmp_path)]) == 0
    pairs = list(pairwise(capsys.readouterr().out.split()))
    for what, count in (("routes", "1"), ("milestones", "3"), ("metadata", "5"), ("problems", "0")):
        assert (what, count) in pairs


def test_check_virl_names_problems_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_everything(write_download(tmp_path))
    assert main(["data", "check-virl", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "pano-cafe.jpg is not a JPEG picture" in said.out
    assert said.err == f"error: {tmp_path} has 8 problems: do as the lines above say\n"
    assert main(["data", "check-virl", str(tmp_path), "--show", "1"]) == 2
    assert "... and 7 more (--show 8 prints them all)" in capsys.readouterr().out
    assert "is not a folder" in refusal(capsys, "data", "check-virl", tmp_path / "nowhere")
    assert "--show must be at least 0" in refusal(capsys, "data", "check-virl", tmp_path, "--show", -1)


def test_check_virl_fails_for_a_picture_cut_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_download(tmp_path)
    (folder / "street_views" / "pano-cafe.jpg").write_bytes(jpeg()[:-100])
    assert main(["data", "check-virl", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "street_views/pano-cafe.jpg is cut short: download it again" in said.out
    assert said.err == f"error: {tmp_path} has 1 problem: do as the lines above say\n"


def test_check_virl_has_help_and_leaves_data_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in ((["check-virl"], "Example: ruleshift data check-virl"), ([], "check-virl DIR")):
        with pytest.raises(SystemExit) as end:
            main(["data", *arguments, "--help"])
        assert end.value.code == 0
        assert said in capsys.readouterr().out
    assert main(["data", "gp-l", "--n", "2", "--out", str(tmp_path / "x.jsonl")]) == 0
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 2
