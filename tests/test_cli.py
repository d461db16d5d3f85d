"""The command line: help, playing, evaluation, and errors of one line."""

import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import ruleshift
from cli_helpers import refusal, save_tiny_model
from ruleshift.backbones.config import BUNDLED, BUNDLED_VISION
from ruleshift.cli import ON_TASKS, main, parse
from ruleshift.commands.bars import Bar
from ruleshift.commands.checks import printable
from ruleshift.commands.study import StudyCommand
from ruleshift.results import load_results
from ruleshift.studies import STUDIES
from ruleshift.tasks import TASKS, get_task

VERBS = ("play", "data", "sft", "rl", "distil", "eval", "study", "report", "backbone")


COMPARISON = {"title": "t", "split": "rule-ood", "turns": 1, "decoding": "greedy", "arm": "a", "reference": "b"}
COMPARISON |= {"point_arm": "a", "value": 0.5, "reference_value": 0.5, "difference": 0.0, "ci_low": 0.0, "ci_high": 0.0}
WRONG_CHANGES = [{"title": 3}, {"value": "high"}, {"value": None}, {"turns": [1]}, {"ci_low": float("nan")}]
WRONG_CHANGES += [{"matched_on": "magic"}, {"matched_value": True}, {"unknown": 1}, {"value": 10**400}]
WRONG_CHANGES += [{"over": "seeds"}, {"over": [1]}, {"by_seed": 1}, {"by_seed": ["a"]}, {"spread": None}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


# ---------------------------------------------------------------- help


def test_help_of_every_verb_is_light_and_has_an_example() -> None:
    script = f"""
import contextlib, io, sys
from ruleshift.cli import main
for verb in {VERBS!r}:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*verb.split(), "--help"])
    assert f"Example: ruleshift {{verb}}" in said.getvalue(), (verb, said.getvalue())
heavy = {{"torch", "transformers", "trl", "datasets", "pyarrow", "numpy", "plotly"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=120)


def test_help_teaches_the_order(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    places = [text.index(f"ruleshift {verb}") for verb in ("play", "data", "sft", "rl", "distil", "eval", "study")]
    assert places == sorted(places)


def test_help_shows_the_values_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    presets = get_task("gp-l").recipe.sft
    assert presets["tiny"].examples != presets["paper"].examples
    for preset, config in presets.items():
        assert f"(default: {config.examples})" in help_of(capsys, f"sft gp-l --preset={preset}")
        assert f"(default: {config.examples})" in help_of(capsys, f"sft gp-l --preset {preset}")


def test_help_breaks_lines_where_the_terminal_ends_and_not_where_the_code_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    said = help_of(capsys, "rl gp-l")
    for over_lines in (
        "the last one in its middle, where the critic's value stands for the rest. 0 learns from whole episodes.",
        "paper as in arXiv 2501.17161; or another name",  # a line of the code begins with the number
    ):
        assert over_lines in said


def help_of(capsys: pytest.CaptureFixture[str], command: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ON_TASKS)
def test_help_lists_the_splits_of_a_task(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in TASKS:
        said = " ".join(help_of(capsys, f"{verb} {name}").split())
        assert [split for split, words in get_task(name).splits().items() if f" {split}: {words}" not in said] == []
    said = help_of(capsys, verb)
    assert f"The splits of a task, and options of its own: ruleshift {verb} TASK --help" in said
    assert "rule-ood: " not in said


def test_help_with_the_splits_is_light() -> None:
    script = """
import contextlib, sys
from ruleshift.cli import main
with contextlib.suppress(SystemExit):
    main(["rl", "virl-vl", "--help"])
heavy = {"torch", "transformers", "trl", "datasets", "pyarrow", "plotly"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, stdout=subprocess.DEVNULL)


def test_help_of_a_study_is_short_and_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    said = help_of(capsys, "study headline")
    assert len(said.splitlines()) < 80
    assert main(["study", "--list"]) == 0
    listed = capsys.readouterr().out
    for name, study in STUDIES.items():
        assert f"{name}: {study.question}" in listed
        assert study.cost.split(";")[0][:20] in listed
    assert "--set grid=..., now 3e-05,0.0001,0.0003,0.001" in listed


@pytest.mark.parametrize("name", STUDIES)
def test_help_of_a_study_is_about_that_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    study, said = STUDIES[name], " ".join(help_of(capsys, f"study {name}").split())
    for told in (study.question, study.about, study.paper, study.cost):
        assert " ".join(told.split()) in said
    own = [] if study.options is None else [option.name for option in fields(study.options)]
    for option in own:
        assert f"--set {option}=..., now " in said
    assert "of the experiments" not in said
    example = re.search(rf"Example: ruleshift (study {name} --out runs/{name}(?: --set \S+)?) ", said)
    assert example is not None
    command = parse(example[1].split())
    assert isinstance(command, StudyCommand)
    assert command.name == name
    assert len(command.set) == bool(own)
    assert [plan.options for plan in command.plans(study)] == [study.options] * len(study.tasks)


def test_help_of_a_build_describes_every_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for verb, folder, cost in (
        ("build", BUNDLED, "155 minutes on one CPU core"),
        ("build-vision", BUNDLED_VISION, "72 minutes on one CPU core"),
    ):
        said = help_of(capsys, f"backbone {verb}")
        assert said.count("(default: ") >= 16
        assert re.findall(r".*(?:INT|FLOAT|│) +\(default.*", said) == []
        assert cost in said
        assert cost in (folder / "README.md").read_text()


def malformed(capsys: pytest.CaptureFixture[str], command: str) -> str:
    """What is said of a command whose options cannot be understood."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(command.split())
    assert end.value.code == 2
    return capsys.readouterr().err


def test_malformed_options_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--n" in malformed(capsys, "eval gp-l --n many")
    assert "linear" in malformed(capsys, "sft gp-l --out x --schedule magic")


def test_only_options_of_the_command_at_hand_are_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    said = malformed(capsys, "eval gp-l --oud x")  # `report` has --ood
    assert "--oud" in said
    assert "--ood" not in said
    assert "--temperature" in malformed(capsys, "eval gp-l --temprature 1")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ruleshift {version('ruleshift')}\n"


def test_public_names() -> None:
    assert {name for name in ruleshift.__all__ if getattr(ruleshift, name) is None} == set()
    assert set(ruleshift.__all__) <= set(dir(ruleshift))
    assert [ruleshift.get_task(name).id for name in ruleshift.TASKS] == list(ruleshift.TASKS)
    with pytest.raises(AttributeError, match="nothing"):
        _ = ruleshift.nothing


# ---------------------------------------------------------------- play


def test_play_by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gold = ruleshift.get_task("gp-l").problem("id", 0, 4)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"1+1\n\n{gold.solutions[0]}\n"))  # type: ignore[attr-defined]
    assert main(["play", "gp-l", "--split", "id", "--index", "4"]) == 0
    out = capsys.readouterr().out
    assert "wrong numbers, reward -2" in out
    assert "solved, reward +5" in out
    assert "turn 3" not in out


def test_play_ends_politely(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"formula": "nonsense"}\n'))
    assert main(["play", "gp-l"]) == 0
    out = capsys.readouterr().out
    assert "illegal, reward -3" in out
    assert "A right answer:" in out


def test_play_spends_the_budget(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n2\n"))
    assert main(["play", "gp-l", "--turns", "2"]) == 0
    out = capsys.readouterr().out
    assert "wrong numbers, reward -3" in out  # the last failure costs one more
    assert "A right answer:" in out


@pytest.mark.parametrize("who", ["expert", "random"])
def test_watch_a_policy_play(who: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "gp-l", "--model", who, "--turns", "2"]) == 0
    out = capsys.readouterr().out
    assert ("\nsolved, 1 reply, total reward +5" in out) == (who == "expert")


def test_watch_a_model_play(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "gp-l", "--model", str(model), "--turns", "2"]) == 0
    out = capsys.readouterr().out
    assert "target 24 cards" in out  # the style that the model reads
    assert "reply 2" in out


def test_a_folder_called_bundled_hides_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundled").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["play", "gp-l", "--model", "bundled", "--turns", "1"]) == 0


def test_control_characters_of_a_model_never_reach_the_terminal() -> None:
    assert printable("a\x1b[31m\r\x07\nb\t1 é 卡") == "a�[31m��\nb\t1 é 卡"


# ---------------------------------------------------------------- eval, report


def test_eval_of_expert_and_random(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {}
    for who in ("expert", "random"):
        file = tmp_path / f"{who}.json"
        assert main(f"eval gp-l --model {who} --n 60 --turns 3 --json {file}".split()) == 0
        assert "success within 3" in capsys.readouterr().out
        results = load_results(file)
        own = [row for row in results.rows if row.arm == "base"]
        values[who] = {(row.metric, row.turns): row.value for row in own if row.split == "rule-ood"}
        assert {(r.split, r.n, r.kl_to_start) for r in own} == {(s, 60, None) for s in ("rule-ood", "rule-ood-heldout")}
        assert results.meta["problem_seed"] == 1000
    assert set(values["expert"].values()) == {1.0}
    assert values["random"]["success", 3] < 0.3
    assert values["random"]["validity", 1] == 1.0


@pytest.mark.parametrize("arguments", ["study headline", "compare expert random"])
def test_the_folder_of_a_run_is_taken_for_nothing_else(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "is the folder of a run or a model" in refusal(capsys, *arguments.split(), "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_eval_of_who_never_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {}
    for task in ("virl-l", "gp-vl"):
        assert main(f"eval {task} --model blind --n 60 --turns 2 --json {tmp_path}/{task}.json".split()) == 0
        results = load_results(tmp_path / f"{task}.json")
        values[task] = {(row.metric, row.turns): row.value for row in results.rows if row.arm == "base"}
    walks = values["virl-l"]
    assert (walks["success", 1], walks["success", 2]) == (0.0, 1.0)  # the next turn of the way is the second try
    assert walks["first_try_accuracy", 2] == pytest.approx(0.73, abs=0.02)
    assert walks["recognition", 1] == 0.0  # who says nothing of what is seen has recognised nothing
    assert walks["decision_accuracy", 1] == pytest.approx(0.29, abs=0.02)  # the start, and no other turn
    assert not any(metric == "decision_accuracy" for metric, _ in values["gp-vl"])
    assert values["gp-vl"]["success", 2] < 0.05
    assert "shows nothing that one could fail to look at" in refusal(capsys, "eval", "gp-l", "--model", "blind")


def test_eval_of_a_model_and_its_report(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"eval gp-l --model {model} --split id --split rule-ood --n 4 --turns 2 --decoding sampled"
    command += (
        f" --max-new-tokens 5 --batch-size 3 --json {tmp_path}/results.json --episodes {tmp_path}/episodes.parquet"
    )
    assert main(command.split()) == 0
    err = capsys.readouterr().err
    assert "eval: 8/8" in err
    results = load_results(tmp_path / "results.json")
    assert {(row.split, row.decoding) for row in results.rows} == {("id", "sampled"), ("rule-ood", "sampled")}
    assert results.meta["style"] == "terse"
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "gp-l/id/1000/0" in page  # the conversations are there
    assert main(["report", str(tmp_path / "results.json"), "--out", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_text() == page


def test_eval_counts_what_was_answered(capsys: pytest.CaptureFixture[str]) -> None:
    command = "eval virl-l --model random --n 20 --split mini"
    assert main(command.split()) == 0
    assert "random on virl-l, greedy, 18 problems" in capsys.readouterr().out
    assert main([*command.split(), "--split", "id"]) == 0
    assert "random on virl-l, greedy, 18 to 20 problems" in capsys.readouterr().out


def test_eval_shows_shares_in_percent_and_steps_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "virl-l", "--model", "random", "--split", "mini"]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if "steps passed within" in line]
    shares = [line for line in lines if " within " in line and line not in steps]
    assert [len(steps), len(shares)] == [2, 6]
    assert all(re.search(r" [\d.]+ +[\d.]+ to [\d.]+ +[\d.]+ +[\d.]+ +$", line) for line in steps), steps
    assert all(re.search(r" [\d.]+% +[\d.]+% to [\d.]+% +[\d.]+% +[\d.]+% +$", line) for line in shares), shares


def test_report_without_a_shifted_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("id", "mini"):
        assert main(f"eval virl-l --model expert --n 2 --split {split} --json {tmp_path}/results.json".split()) == 0
        assert main(["report", str(tmp_path)]) == 0
        said = refusal(capsys, "report", tmp_path, "--ood", "rule-ood")
        assert said == f"error: the results hold nothing of --ood 'rule-ood'; choose from {split}"


@pytest.mark.slow
def test_report_of_a_study_in_pictures_shows_its_shift(tmp_path: Path) -> None:
    study = Path(__file__).parent.parent / "docs" / "results" / "vision" / "gp-vl"
    for name, ood in (("usual", []), ("visual", ["--ood", "visual-ood"]), ("rule", ["--ood", "rule-ood"])):
        assert main(["report", str(study), "--out", str(tmp_path / name), *ood]) == 0
    assert (tmp_path / "usual").read_text() == (tmp_path / "visual").read_text() != (tmp_path / "rule").read_text()


def test_a_missing_model_is_noticed_before_libraries_load() -> None:
    script = """
import sys
from ruleshift.cli import main
assert main(["eval", "gp-l", "--model", "/nope/folder"]) == main(["play", "gp-l", "--model", "/nope/folder"]) == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, timeout=120, stderr=subprocess.PIPE, text=True)
    assert done.stderr.count("error: no model at /nope/folder") == 2


def test_what_asks_no_model_in_this_process_loads_no_library_of_models(tmp_path: Path) -> None:
    script = """
import sys
from ruleshift.cli import main
for command in (
    "eval gp-l --model expert --n 1 --out run",
    "eval virl-l --model blind --n 1",
    "eval gp-l --model api:nobody --base-url http://localhost:9 --n 1 --retries 0",
    "eval gp-l --model random --n 1 --out other",
    "rescore run",
    "compare run other --out card",
    "data gp-l --n 1 --out problems.jsonl",
):
    assert main(command.split()) == 2 * ("nobody" in command), command
    heavy = {"torch", "transformers", "trl", "datasets"} & set(sys.modules)
    assert not heavy, (command, heavy)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120, cwd=tmp_path, capture_output=True)


def test_report_of_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not there" in refusal(capsys, "report", tmp_path)
    assert main(f"eval gp-l --model expert --n 2 --json {tmp_path}/results.json".split()) == 0
    assert "choose from rule-ood" in refusal(capsys, "report", tmp_path, "--ood", "id")
    wrong = ['[{"title": ', "[" * 100_000, "{}", "[1]", '[{"title": "x"}]', "null", '[{"arm": []}]']
    wrong += [json.dumps([COMPARISON | change]) for change in WRONG_CHANGES]
    for text in wrong:
        (tmp_path / "comparisons.json").write_text(text)
        assert "comparisons.json" in refusal(capsys, "report", tmp_path)
    (tmp_path / "comparisons.json").write_text(json.dumps([COMPARISON]))  # the control
    assert main(["report", str(tmp_path)]) == 0
    (tmp_path / "comparisons.json").unlink()
    content = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**content, "version": 99}))
    assert "version '99'" in refusal(capsys, "report", tmp_path)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("play gp-x", "choose from gp-l"),
        ("play gp-l --split nowhere", "rule-ood"),
        ("play gp-l --turns 0", "--turns must be at least 1"),
        ("play gp-l --index -1", "--index must be at least 0"),
        ("play virl-l --split mini --index 18", "mini has problems 0 to 17"),
        ("data gp-l --n 0 --out TMP/x", "--n must be at least 1"),
        ("data gp-l --out TMP", "is not a file"),
        ("data gp-l --out TMP/no/x", "create it first"),
        ("data gp-l --split nowhere --out TMP/x", "choose from"),
        ("eval gp-l --n -3", "--n must be at least 1"),
        ("eval gp-l --turns 0", "--turns must be at least 1"),
        ("eval gp-l --split nowhere", "choose from"),
        ("eval gp-l --batch-size 0", "--batch-size must be at least 1"),
        ("eval gp-l --max-new-tokens 0", "--max-new-tokens must be at least 1"),
        ("eval gp-l --decoding sampled --temperature 0", "--temperature must be a number above 0"),
        ("eval gp-l --decoding sampled --temperature nan", "--temperature must be a number above 0"),
        ("eval gp-l --model none", "--model none"),
        ("eval gp-l --model TMP/nothing", "no model at"),
        ("eval gp-l --model Expert", "no model 'Expert': it is no folder here; perhaps expert is meant"),
        ("compare bundled SmolLM2 --out TMP/c", "perhaps smollm2 is meant"),
        ("rl gp-l --out TMP/run --model smolm2", "perhaps smollm2 is meant"),
        ("study smollm2 --out TMP/s --model SmolLM2", "perhaps smollm2 is meant"),
        ("eval gp-l --model TMP/nothing --json TMP/no/x.json", "create it first"),  # before the model is looked at
        ("eval gp-l --model TMP/nothing --episodes TMP/file/x", "create it first"),
        ("eval gp-l --json TMP/x --episodes TMP/./x", "--json and --episodes are both"),
        ("rl gp-l --out TMP/run --updates 0", "--updates must be at least 1"),
        ("rl gp-l --out TMP/run --seed -1", "--seed must be from 0"),
        ("rl gp-l --out TMP/run --learning-rate 0", "--learning-rate must be a number above 0"),
        ("rl gp-l --out TMP/file", "it is a file"),
        ("rl gp-l --out TMP/file/run", "cannot be a folder"),
        ("rl gp-l --out TMP/run --model TMP/nothing", "no model at"),
        ("sft gp-l --out TMP/run --steps 0", "--steps must be at least 1"),
        ("sft gp-l --out TMP/run --split nowhere", "choose from"),
        ("sft gp-l --out TMP/run --preset huge", "unknown --preset 'huge'; choose from tiny, paper"),
        ("rl gp-l --out TMP/run --clip -1", "--clip must be above 0 and at most 1, not -1"),
        ("sft gp-l --out TMP/run --batch 10 --micro-batch 4", "not a multiple"),
        ("study headline --out TMP/s --seeds 0", "--seeds must be at least 1"),
        ("study headline --out TMP/s --set sft.steps=0", "steps must be at least 1"),
        ("study headline --out TMP/s --workers 0", "--workers must be at least 1"),
        ("study headline --out TMP/s --model TMP/nothing", "no model at"),
        ("study sweep --out TMP/s --set grid=0", "--set grid must be a number above 0"),
        ("study sweep --out TMP/file", "it is a file"),
        ("study", "choose from headline, vision, table"),
        ("study magic --out TMP/s", "choose from headline, vision, table"),
        ("study headline", "--out runs/headline"),
        ("study headline --out TMP/s --tasks gp-x", "choose from gp-l"),
        ("study headline --out TMP/s --splits rule-ood", "--splits must hold id"),
        ("study sweep --out TMP/s --splits id", "--splits must hold id-val"),
        ("study headline --out TMP/s --splits id nowhere", "choose from"),
        ("study headline --out TMP/s --set updates", "give it as NAME=VALUE"),
        ("study headline --out TMP/s --set a.b.c.d=1", "give it as NAME=VALUE"),
        ("study headline --out TMP/s --set gp-vl.rl.updates=1", "'gp-vl' is not studied; choose from gp-l, virl-l"),
        (
            "study headline --out TMP/s --set gp-l.dpo.updates=1",
            "there is no 'dpo'; choose from sft, rl, distil, measurement",
        ),
        (
            "study headline --out TMP/s --set rl.steps=1",
            "--set gp-l.rl.steps: there is no such setting; choose from al",
        ),
        ("study headline --out TMP/s --set rl.updates=x", "--set gp-l.rl.updates must be a whole number, not 'x'"),
        ("study headline --out TMP/s --set rl.updates=1.5", "must be a whole number, not '1.5'"),
        ("study headline --out TMP/s --set rl.kl_in=nowhere", "must be one of loss, reward, not 'nowhere'"),
        ("study headline --out TMP/s --set rl.seed=3", "that comes from --seeds"),
        ("study headline --out TMP/s --set measurement.task=gp-vl", "that comes from --tasks"),
        ("study headline --out TMP/s --set rates=both", "--set rates: there is no such setting; choose from matched_r"),
        ("study headline --out TMP/s --set matched_rates=all", "must be one of none, sft, both, not 'all'"),
        ("study sweep --out TMP/s --set grid=1e-4,fast", "must be a number, or several with commas between"),
        ("backbone build --out TMP/b --batch 0", "--batch must be at least 1"),
        ("report TMP/nothing.json", "is not there"),
    ],
)
def test_mistakes_get_one_line(command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert said in refusal(capsys, *command.replace("TMP", str(tmp_path)).split())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: failed"), "the disk is full"),
        (MemoryError("all of it is taken"), "no memory is left (all of it is taken)"),
    ],
)
def test_full_disk_or_memory(
    error: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> Iterator[dict]:
        raise error

    monkeypatch.setattr("ruleshift.commands.data.data_rows", full)
    assert said in refusal(capsys, "data", "gp-l", "--out", tmp_path / "x")


def test_other_errors_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ruleshift.commands.data.data_rows", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["data", "gp-l", "--out", str(tmp_path / "x")])


def test_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object) -> Iterator[dict]:
        raise KeyboardInterrupt

    monkeypatch.setattr("ruleshift.commands.data.data_rows", interrupted)
    assert main(["data", "gp-l", "--out", str(tmp_path / "x")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped: the file was not written; run the same command again"
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "ruleshift", "play", "gp-l", "--model", "expert"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=120, check=False)
    os.close(write)
    assert done.stderr == b""


# ---------------------------------------------------------------- progress


def test_plain_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("work", 1000) as bar:
        bar.start_at(500)
        for _ in range(500):
            bar.advance(note="well")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("work: 600/1000, well, 0:0")
    assert lines[-1] == "work: 1000/1000, well, done"
    assert len(lines) == 5
