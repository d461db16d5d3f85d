"""results.json: what is saved loads again, and nothing else does."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ruleshift.errors import RuleshiftError
from ruleshift.results import RESULTS_VERSION, Results, load_results, save_results
from synthetic import row

ROWS = (row("base", 0, "id"), row("sft", 10, "rule-ood", kl_to_start=None, train_flops=None))
META = {"command": "ruleshift study headline", "seeds": [1, 2], "commit": None}


def content(**changes: object) -> dict[str, object]:
    """A valid file as JSON, with one row, whose fields can be set (or removed with `...`)."""
    fields = {**vars(ROWS[0]), **changes}
    rows = [{name: value for name, value in fields.items() if value is not ...}]
    return {"version": RESULTS_VERSION, "meta": {}, "rows": rows}


def refusal(path: Path) -> str:
    with pytest.raises(RuleshiftError) as caught:
        load_results(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save_results(path, ROWS, META)
    assert load_results(path) == Results(ROWS, META)
    assert json.loads(path.read_text()).keys() == {"version", "meta", "rows"}
    save_results(path, [], {"out": tmp_path})
    assert load_results(path) == Results((), {"out": str(tmp_path)})


def test_whole_numbers_load_as_floats(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content(value=1, ci_high=1, train_flops=0)))
    loaded = load_results(path).rows[0]
    assert (loaded.value, loaded.train_flops) == (1.0, 0.0)
    assert all(isinstance(value, float) for value in (loaded.value, loaded.ci_high, loaded.train_flops))


def test_a_full_disk_leaves_the_old_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    save_results(path, ROWS, META)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RuleshiftError, match="free some space"):
        save_results(path, ROWS[:1], META)
    assert load_results(path).rows == ROWS
    assert os.listdir(tmp_path) == ["results.json"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_refused_before_writing(tmp_path: Path, value: float) -> None:
    with pytest.raises(RuleshiftError, match=r"row 1 has '-?(nan|inf)' as `kl_to_start`"):
        save_results(tmp_path / "results.json", [ROWS[0], replace(ROWS[1], kl_to_start=value)], META)
    assert os.listdir(tmp_path) == []


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    save_results(path, ROWS, META)
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert "cut short" in refusal(path)
    path.write_bytes(whole)
    assert load_results(path).rows == ROWS  # the control


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arm": ...}, "lacks `arm`"),
        ({"kl_to_start": ...}, "lacks `kl_to_start`"),
        ({"arm": 3}, "'3' as `arm`"),
        ({"seed": "1"}, "'1' as `seed`"),
        ({"seed": 1.5}, "'1.5' as `seed`"),
        ({"turns": True}, "'True' as `turns`"),
        ({"value": None}, "'None' as `value`"),
        ({"value": "0.5"}, "'0.5' as `value`"),
        ({"value": float("nan")}, "'nan' as `value`"),
        ({"value": 10**400}, "as `value`"),
        ({"kl_to_start": "small"}, "'small' as `kl_to_start`"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_damaged_rows_are_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content(**changes)))
    message = refusal(path)
    assert words in message
    assert "row 0" in message
    assert "run the study again" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"version": 2, "meta": {}, "rows": []}', "has version '2', and this program reads version 1"),
        ('{"version": "1", "meta": {}, "rows": []}', "has version '1'"),
        ('{"meta": {}, "rows": []}', "no version"),
        ("[]", "not a results file"),
        ('{"version": 1, "rows": []}', "lacks the object `meta`"),
        ('{"version": 1, "meta": {}}', "lacks the list `rows`"),
        ('{"version": 1, "meta": {}, "rows": [[]]}', "row 0 is not an object"),
        ("[" * 100_000, "no valid JSON"),
        ("\x00", "no valid JSON"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    assert words in refusal(path)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "run the study first" in refusal(tmp_path / "missing.json")
    assert "cannot read" in refusal(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'{"version": "\xff"}')
    assert "no valid JSON" in refusal(tmp_path / "latin.json")
