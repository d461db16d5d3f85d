"""`ruleshift data --for`, read back by the library that reads it, and what all integrations share."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features
from PIL import Image

from cli_helpers import refusal
from integration_helpers import PLACES, episode, replies
from ruleshift import RuleshiftError
from ruleshift.cli import main
from ruleshift.integrations.exports import EXPORTS
from ruleshift.integrations.places import ProblemRef, needs, options_text, say
from ruleshift.integrations.verl import compute_score
from ruleshift.pictures import pixels_of

TINY = options_text({"size": 32})


def written(tool: str, task: str, path: Path, *more: str) -> list[dict]:
    """The rows of a file that the command wrote."""
    assert main(["data", task, "--for", tool, "--n", "2", "--style", "terse", "--out", str(path), *more]) == 0
    if path.suffix == ".parquet":
        return list(Dataset.from_parquet(str(path), cache_dir=str(path.parent / "cache")))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("tool", ["trl", "verl"])
def test_tables_hold_pictures_and_where_the_problem_is_found(tool: str, tmp_path: Path) -> None:
    rows = written(tool, "gp-vl", tmp_path / "data.parquet", "--size", "32", "--turns", "3")
    place = ProblemRef.of(rows[1] if tool == "trl" else rows[1]["extra_info"])
    assert place == ProblemRef("gp-vl", "train", 0, 1, "terse", 3, TINY)
    (shown,) = place.problem().context()[0].pictures
    assert np.array_equal(np.asarray(rows[1]["images"][0]), pixels_of(shown))
    if tool == "verl":
        assert rows[1]["prompt"][0]["content"].startswith("<image>J 10")
    else:
        assert rows[1]["prompt"][0]["content"][0]["type"] == "image"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"style": "terze"}, "unknown style 'terze'; choose from full, terse, varied, stepwise, full-stepwise"),
        ({"turns": -1}, "turns must be at least 1, or 0 for the task's own, not -1"),
        ({"turns": "3"}, "turns must be at least 1, or 0 for the task's own, not '3'"),
        ({"options": "{bad"}, "options '{bad' are no JSON (Expecting property name"),
        ({"options": "[1]"}, "options '[1]' are no JSON object: give one, as '{}'"),
        ({"options": '{"colour": 1}'}, "task virl-l has no option colour"),
        ({"options": '{"feedback": "loud"}'}, "choose from silent, outcome, full"),
        ({"split": "trian"}, "unknown split 'trian' of virl-l; choose from train, id-val"),
    ],
)
def test_a_place_that_there_is_not_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleshiftError, match=re.escape(message)):
        list(EXPORTS["trl"].rows(ProblemRef(**{"task": "virl-l", **wrong}), 1))


def test_what_a_row_leaves_empty_is_as_usual() -> None:
    row = ProblemRef("virl-l", index=3, options='{"routes": null}').row()
    place = ProblemRef.of({**row, "turns": None, "style": None})
    assert place == ProblemRef.of(row)
    assert place.problem().id == "virl-l/train/0/3"


@pytest.mark.parametrize("tool", ["trl", "verl"])
def test_tables_of_text(tool: str, tmp_path: Path) -> None:
    row = written(tool, "virl-l", tmp_path / "data.parquet")[1]
    place = ProblemRef.of(row if tool == "trl" else row["extra_info"])
    problem = place.problem()
    assert row["prompt"] == [{"role": "user", "content": problem.context()[0].content}]
    if tool == "trl":
        assert row["completion"][0] == {"role": "assistant", "content": problem.gold()}
        assert row["completion"][-1]["role"] == "assistant"
    else:
        assert row["reward_model"] == {"style": "rule", "ground_truth": problem.gold()}


@pytest.mark.parametrize("tool", ["openai", "verifiers"])
def test_lines_hold_pictures_as_data_urls(tool: str, tmp_path: Path) -> None:
    row = written(tool, "gp-vl", tmp_path / "data.jsonl", "--size", "32")[1]
    seen, told = row["messages" if tool == "openai" else "prompt"][0]["content"]
    head, data = seen["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    place = ProblemRef("gp-vl", "train", 0, 1, "terse", 0, TINY)
    (shown,) = place.problem().context()[0].pictures
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels_of(shown))
    assert told["text"] == place.problem().context()[0].content
    assert tool == "openai" or ProblemRef.of(row["place"]) == place


def test_formats_that_a_tool_does_not_read_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tool, task, name in (("openai", "gp-l", "a.parquet"), ("trl", "gp-vl", "a.jsonl")):
        said = refusal(capsys, "data", task, "--for", tool, "--n", "1", "--out", tmp_path / name)
        assert f"--for {tool}" in said
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tool", ["trl", "verl"])
def test_columns_are_those_of_the_rows(tool: str) -> None:
    place = ProblemRef("gp-vl", style="terse", options=TINY)
    (row,) = EXPORTS[tool].rows(place, 1)
    columns = EXPORTS[tool].features(place)
    assert isinstance(columns, Features)
    assert list(columns) == list(row)


def test_places_are_plain_data() -> None:
    place = ProblemRef("gp-vl", "id", 3, 4, "terse", 2, TINY)
    assert ProblemRef.of(json.loads(json.dumps({**place.row(), "other": 1}))) == place
    assert place.problem().id == "gp-vl/id/3/4"
    assert place.conversation().budget == 2
    assert ProblemRef("gp-l").conversation().budget == 5
    with pytest.raises(RuleshiftError, match="no option colour"):
        ProblemRef("gp-vl", options='{"colour": 1}').problem()
    with pytest.raises(RuleshiftError, match="names no task"):
        ProblemRef.of({"prompt": "x"})


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_a_conversation_from_outside_is_that_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    talk, conversation = episode(place, pattern), place.conversation()
    conversation.request()
    assert [say(conversation, reply) for reply in replies(talk)] == [turn.verdict for turn in talk.turns]
    assert conversation.episode() == talk


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_the_score_of_verl_is_the_verdict_on_a_first_reply(place: ProblemRef, pattern: str) -> None:
    first = episode(place, pattern).turns[0]
    found = compute_score("ruleshift", first.completion.text, "", place.row())
    assert found == {"score": first.verdict.reward, "solved": first.verdict.solved, "valid": first.verdict.valid}


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(RuleshiftError, match=r'surely_not_there is not installed: pip install "ruleshift\[verl\]"'):
        needs("surely_not_there.inside", "verl")


def test_what_a_package_itself_lacks_is_not_mistaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_there.py").write_text("import something_else_again")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_else_again"):
        needs("half_there", "verl")


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("gymnasium", "gymnasium", "gymnasium"),
        ("official_envs", "gymnasium", "gymnasium"),
        ("inspect_ai", "inspect_ai", "inspect"),
        ("verifiers", "verifiers", "verifiers"),
        ("openenv", "openenv", "openenv"),
        ("verl_loop", "verl", "verl"),
        ("reasoning_gym", "reasoning_gym", "reasoning-gym"),
    ],
)
def test_every_module_names_the_command_that_installs_its_package(module: str, package: str, extra: str) -> None:
    hidden = f"import sys; sys.modules[{package!r}] = None; import ruleshift.integrations.{module}"
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f'{package} is not installed: pip install "ruleshift[{extra}]"')
