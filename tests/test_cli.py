"""The command line: every verb on tiny settings, resuming, and errors of one line."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ruleshift
from ruleshift.cli import main
from ruleshift.commands.bars import Bar
from ruleshift.commands.checks import printable
from ruleshift.results import load_results
from ruleshift.training.config import SFT_PRESETS

TINY_RL = ("--updates", "2", "--episodes", "8", "--turns", "2", "--max-new-tokens", "6", "--save-every", "1")
TINY_SFT = ("--steps", "2", "--examples", "16", "--batch", "8", "--save-every", "1")
VERBS = ("play", "data", "sft", "rl", "eval", "study headline", "study sweep", "report", "backbone")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of one layer, which reads the terse style."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ruleshift.backbones.tokenizer import build_tokenizer
    from ruleshift.quiet import quiet_libraries

    quiet_libraries()
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        ruleshift_style="terse",
    )
    folder = tmp_path_factory.mktemp("model")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which a command is refused."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    said = [line for line in lines if line.startswith("error: ")]
    assert len(said) == 1
    assert lines[-1] == said[0]
    return said[0]


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
    places = [text.index(f"ruleshift {verb}") for verb in ("play", "data", "sft", "rl", "eval", "study")]
    assert places == sorted(places)


def test_help_shows_the_values_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert SFT_PRESETS["tiny"].examples != SFT_PRESETS["paper"].examples
    for preset in SFT_PRESETS:
        with pytest.raises(SystemExit):
            main(["sft", "gp-l", f"--preset={preset}", "--help"])
        assert f"(default: {SFT_PRESETS[preset].examples})" in capsys.readouterr().out


def test_malformed_options_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["eval", "gp-l", "--n", "many"])
    assert end.value.code == 2
    assert "--n" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ruleshift {version('ruleshift')}\n"


def test_public_names() -> None:
    assert {name for name in ruleshift.__all__ if getattr(ruleshift, name) is None} == set()
    assert set(ruleshift.__all__) <= set(dir(ruleshift))
    assert ruleshift.get_task("gp-l") is ruleshift.TASKS["gp-l"]
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
    assert ("\nsolved, 1 turn(s), total reward +5" in out) == (who == "expert")


def test_watch_a_model_play(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "gp-l", "--model", str(model), "--turns", "2"]) == 0
    out = capsys.readouterr().out
    assert "target 24 cards" in out  # the style that the model reads
    assert "reply 2" in out


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
        values[who] = {(row.metric, row.turns): row.value for row in results.rows}
        assert {(r.arm, r.split, r.n, r.kl_to_start) for r in results.rows} == {("base", "rule-ood", 60, None)}
        assert results.meta["problem_seed"] == 1000
    assert set(values["expert"].values()) == {1.0}
    assert values["random"]["success", 3] < 0.3
    assert values["random"]["validity", 1] == 1.0


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


def test_report_of_what_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not there" in refusal(capsys, "report", tmp_path)
    assert main(f"eval gp-l --model expert --n 2 --json {tmp_path}/results.json".split()) == 0
    assert "choose from rule-ood" in refusal(capsys, "report", tmp_path, "--ood", "id")
    (tmp_path / "comparisons.json").write_text('[{"title": ')
    assert "comparisons.json" in refusal(capsys, "report", tmp_path)
    content = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**content, "version": 99}))
    assert "version '99'" in refusal(capsys, "report", tmp_path)


# ---------------------------------------------------------------- training


@pytest.fixture(scope="module")
def rl_run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("rl") / "run"
    assert main(["rl", "gp-l", "--model", str(model), "--out", str(run), *TINY_RL]) == 0
    return run


def test_rl(rl_run: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [record["step"] for record in metrics(rl_run)] == [1, 2]
    assert json.loads((rl_run / "config.json").read_text())["config"]["training"]["episodes"] == 8
    assert (rl_run / "model" / "model.safetensors").read_bytes() != (model / "model.safetensors").read_bytes()
    assert main(f"eval gp-l --model {rl_run}/model --n 2 --turns 1 --max-new-tokens 3".split()) == 0
    assert "success within 1" in capsys.readouterr().out


def test_rl_again_does_nothing(rl_run: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (rl_run / "metrics.jsonl").read_bytes()
    monkeypatch.setattr("ruleshift.training.ppo.PPO.update", lambda self: pytest.fail("trained again"))
    assert main(["rl", "gp-l", "--model", str(model), "--out", str(rl_run), *TINY_RL]) == 0
    assert (rl_run / "metrics.jsonl").read_bytes() == before


def test_rl_refuses_another_configuration(rl_run: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "rl", "gp-l", "--model", model, "--out", rl_run, *TINY_RL, "--gamma", "0.123")
    assert "training.gamma" in line
    assert "0.123 now" in line


def test_rl_resumes_with_the_same_numbers(
    rl_run: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ruleshift.training.ppo import PPO

    update, run = PPO.update, tmp_path / "run"

    def stopped_in_the_second(self: PPO) -> dict[str, float]:
        if self.done == 1:
            raise KeyboardInterrupt
        return update(self)

    command = ["rl", "gp-l", "--model", str(model), "--out", str(run), *TINY_RL]
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "update", stopped_in_the_second)
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped: the work up to the last checkpoint is kept")
    assert len(metrics(run)) == 1
    assert not (run / "model").exists()
    assert main(command) == 0
    assert metrics(run) == metrics(rl_run)
    final = "model/model.safetensors"
    assert (run / final).read_bytes() == (rl_run / final).read_bytes()


def test_sft_with_a_tracker(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import tracking

    logged: list[tuple[str, object]] = []

    class Notebook(tracking.GeneralTracker):
        name = "notebook"
        requires_logging_directory = True
        main_process_only = False

        def __init__(self, run_name: str, logging_dir: str) -> None:
            super().__init__()

        @property
        def tracker(self) -> None:
            return None

        def store_init_configuration(self, values: dict) -> None:
            logged.append(("config", values["steps"]))

        def log(self, values: dict, step: int | None = None, **kwargs: object) -> None:
            assert values["loss"] > 0
            logged.append(("step", step))

        def finish(self) -> None:
            logged.append(("finish", None))

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "notebook", Notebook)
    monkeypatch.setattr(tracking, "_available_trackers", ["notebook"])
    command = ["sft", "gp-l", "--model", str(model), "--out", str(tmp_path), *TINY_SFT, "--tracker", "notebook"]
    assert main(command) == 0
    assert logged == [("config", 2), ("step", 1), ("step", 2), ("finish", None)]
    assert [record["step"] for record in metrics(tmp_path)] == [1, 2]
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert (tmp_path / "model" / "tokenizer_config.json").is_file()


def test_missing_trackers(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    command = ("rl", "gp-l", "--model", model, "--out", tmp_path, "--tracker")
    assert "pip install tensorboard" in refusal(capsys, *command, "tensorboard")
    assert "choose from" in refusal(capsys, *command, "abacus")


def test_backbone_build_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ruleshift.commands import backbone
    from ruleshift.runs import RunFolder

    shape = "--width 16 --layers 1 --heads 2 --feedforward 16 --clean-steps 2 --careless-steps 2 --batch 4 --warmup 1"
    command = ["backbone", "build", *shape.split(), "--clean-pool", "8", "--careless-pool", "8", "--out"]
    monkeypatch.setattr(backbone, "SAVE_EVERY", 1)
    assert main([*command, str(tmp_path / "whole")]) == 0
    append = RunFolder.append_metrics

    def stopped_in_the_third(self: RunFolder, record: dict) -> None:
        if record["step"] == 3:
            raise KeyboardInterrupt
        append(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", stopped_in_the_third)
        assert main([*command, str(tmp_path / "broken")]) == 130
    assert main([*command, str(tmp_path / "broken")]) == 0
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")
    final = "model/model.safetensors"
    assert (tmp_path / "broken" / final).read_bytes() == (tmp_path / "whole" / final).read_bytes()
    assert ruleshift.load_backbone(str(tmp_path / "whole" / "model")).style == "terse"


# ---------------------------------------------------------------- studies


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms one after the other in this process, which has the libraries loaded."""
    from ruleshift.studies import headline, sweep
    from ruleshift.studies.arms import run_arm

    def run_arms(arms: list, model: str, measurement: object, root: Path, workers: int | None = None) -> None:
        for arm in arms:
            run_arm(arm, model, measurement, root, lambda *news: None)  # type: ignore[arg-type]

    monkeypatch.setattr(headline, "run_arms", run_arms)
    monkeypatch.setattr(sweep, "run_arms", run_arms)


TINY_STUDY = "--n 2 --sft.steps 1 --sft.examples 8 --sft.batch 8 --sft.micro-batch 8 --ppo.updates 1 --ppo.episodes 4"
TINY_STUDY += " --ppo.turns 2 --ppo.max-new-tokens 5 --ppo.value-only 0"


@pytest.mark.usefixtures("in_process")
def test_study_headline_and_its_report(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"--model {model} --points 1 --matched-rates none --out {tmp_path} {TINY_STUDY}"
    assert main(["study", "headline", *options.split()]) == 0
    arms = {row.arm for row in load_results(tmp_path / "results.json").rows}
    assert arms == {"base", "sft", "rl"}
    page = (tmp_path / "report.html").read_text()
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "again.html")]) == 0
    again = (tmp_path / "again.html").read_text()
    assert "rl against sft" in again
    assert [f"{arm}</" in page for arm in ("base", "sft", "rl")] == [
        f"{arm}</" in again for arm in ("base", "sft", "rl")
    ]


@pytest.mark.usefixtures("in_process")
def test_study_sweep(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"--model {model} --grid 1e-3 --out {tmp_path} {TINY_STUDY}"
    assert main(["study", "sweep", *options.split()]) == 0
    assert json.loads((tmp_path / "sweep.json").read_text())["chosen"] == {"sft": "sft-lr1e-3", "rl": "rl-lr1e-3"}


def test_defaults_of_the_studies_are_those_of_the_library() -> None:
    from ruleshift.commands.study import Headline, Sweep
    from ruleshift.studies.headline import HeadlineConfig
    from ruleshift.studies.sweep import SweepConfig

    assert Headline(Path("x")).config() == HeadlineConfig()
    assert Sweep(Path("x")).config() == SweepConfig()


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("play gp-x", "choose from gp-l"),
        ("play gp-l --split nowhere", "rule-ood"),
        ("play gp-l --turns 0", "--turns must be at least 1"),
        ("play gp-l --index -1", "--index must be at least 0"),
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
        ("eval gp-l --model TMP/nothing --json TMP/no/x.json", "create it first"),  # before the model is looked at
        ("eval gp-l --model TMP/nothing --episodes TMP/file/x", "create it first"),
        ("rl gp-l --out TMP/run --updates 0", "--updates must be at least 1"),
        ("rl gp-l --out TMP/run --seed -1", "--seed must be at least 0"),
        ("rl gp-l --out TMP/run --learning-rate 0", "--learning-rate must be a number above 0"),
        ("rl gp-l --out TMP/file", "it is a file"),
        ("rl gp-l --out TMP/file/run", "cannot be a folder"),
        ("rl gp-l --out TMP/run --model TMP/nothing", "no model at"),
        ("sft gp-l --out TMP/run --steps 0", "--steps must be at least 1"),
        ("sft gp-l --out TMP/run --split nowhere", "choose from"),
        ("sft gp-l --out TMP/run --schedule magic", "choose from linear"),
        ("sft gp-l --out TMP/run --batch 10 --micro-batch 4", "not a multiple"),
        ("study headline --out TMP/s --seeds 0", "--seeds must be at least 1"),
        ("study headline --out TMP/s --sft.steps 0", "--sft.steps must be at least 1"),
        ("study headline --out TMP/s --workers 0", "--workers must be at least 1"),
        ("study headline --out TMP/s --model TMP/nothing", "no model at"),
        ("study sweep --out TMP/s --grid 0", "--grid must be a number above 0"),
        ("study sweep --out TMP/file", "it is a file"),
        ("backbone build --out TMP/b --batch 0", "--batch must be at least 1"),
        ("report TMP/nothing.json", "is not there"),
    ],
)
def test_mistakes_get_one_line(command: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert said in refusal(capsys, *command.replace("TMP", str(tmp_path)).split())


def test_a_wrong_model_name_does_not_spoil_the_run_folder(model: Path, tmp_path: Path) -> None:
    command = ["sft", "gp-l", "--out", str(tmp_path / "run"), *TINY_SFT, "--model"]
    assert main([*command, str(tmp_path / "typo")]) == 2
    assert main([*command, str(model)]) == 0


def test_truncated_model(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = Path(shutil.copytree(model, tmp_path / "cut")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "check that" in refusal(capsys, "eval", "gp-l", "--model", tmp_path / "cut", "--n", 2)


def test_model_without_weights(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(shutil.copytree(model, tmp_path / "cut")) / "model.safetensors").unlink()
    assert "check that" in refusal(capsys, "eval", "gp-l", "--model", tmp_path / "cut", "--n", 2)


def test_model_without_chat_template(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(shutil.copytree(model, tmp_path / "mute")) / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(capsys, "rl", "gp-l", "--model", tmp_path / "mute", "--out", tmp_path / "run")


def test_truncated_checkpoint(rl_run: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(rl_run, run)
    shutil.rmtree(run / "model")
    weights = run / "checkpoints" / "step-000002" / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    command = ("rl", "gp-l", "--model", model, "--out", run, *TINY_RL)
    assert "delete the checkpoint folder" in refusal(capsys, *command)
    shutil.rmtree(weights.parent)
    assert main([str(argument) for argument in command]) == 0
    assert metrics(run) == metrics(rl_run)


def test_run_folder_in_use(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ruleshift.runs import RunFolder

    with RunFolder.open(tmp_path, {}):
        line = refusal(capsys, "rl", "gp-l", "--model", model, "--out", tmp_path)
    assert f"in use by process {os.getpid()}" in line


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail] PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
)
def test_full_disk(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> Iterator[dict]:
        raise error

    monkeypatch.setattr("ruleshift.commands.data.data_rows", full)
    assert "the disk is full" in refusal(capsys, "data", "gp-l", "--out", tmp_path / "x")


def test_other_errors_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ruleshift.commands.data.data_rows", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["data", "gp-l", "--out", str(tmp_path / "x")])


def test_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object) -> Iterator[dict]:
        raise KeyboardInterrupt

    monkeypatch.setattr("ruleshift.commands.data.data_rows", interrupted)
    assert main(["data", "gp-l", "--out", str(tmp_path / "x")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped: nothing was written; run the same command again"
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
