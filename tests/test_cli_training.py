"""The command line: training on tiny settings, resuming, and damaged models and folders."""

import json
import os
import shutil
from pathlib import Path

import pytest

import ruleshift
from cli_helpers import metrics, refusal, save_tiny_model
from ruleshift.cli import main, parse
from ruleshift.runs import RunFolder
from ruleshift.settings import SFTConfig

TINY_RL = ("--updates", "2", "--episodes", "8", "--turns", "2", "--max-new-tokens", "6", "--save-every", "1")
TINY_RL += ("--entropy-coef", "0.01")  # by which the model moves where all episodes earn the same
TINY_SFT = ("--steps", "2", "--examples", "16", "--batch", "8", "--save-every", "1")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


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
    monkeypatch.setattr("ruleshift.training.rl.RL.update", lambda self: pytest.fail("trained again"))
    assert main(["rl", "gp-l", "--model", str(model), "--out", str(rl_run), *TINY_RL]) == 0
    assert (rl_run / "metrics.jsonl").read_bytes() == before


def test_rl_refuses_another_configuration(rl_run: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "rl", "gp-l", "--model", model, "--out", rl_run, *TINY_RL, "--gamma", "0.123")
    assert "training.gamma" in line
    assert "0.123 now" in line


def test_rl_refuses_other_weights_under_the_same_name(
    rl_run: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = tmp_path / "run", tmp_path / "model"
    shutil.copytree(rl_run, run)
    shutil.copytree(rl_run / "model", other)
    settings = json.loads((run / "config.json").read_text())
    settings["config"]["model"] = str(other)
    (run / "config.json").write_text(json.dumps(settings))
    line = refusal(capsys, "rl", "gp-l", "--model", other, "--out", run, *TINY_RL)
    assert f'weights: "{settings["config"]["weights"]}" there' in line
    assert "choose another --out" in line


def test_rl_resumes_with_the_same_numbers(
    rl_run: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from ruleshift.training.rl import RL

    update, run = RL.update, tmp_path / "run"

    def stopped_in_the_second(self: RL) -> dict[str, float]:
        if self.done == 1:
            raise KeyboardInterrupt
        return update(self)

    command = ["rl", "gp-l", "--model", str(model), "--out", str(run), *TINY_RL]
    with monkeypatch.context() as patch:
        patch.setattr(RL, "update", stopped_in_the_second)
        assert main(command) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("stopped: the work up to the last checkpoint is kept")
    assert len(metrics(run)) == 1
    assert not (run / "model").exists()
    assert main(command) == 0
    assert metrics(run) == metrics(rl_run)
    final = "model/model.safetensors"
    assert (run / final).read_bytes() == (rl_run / final).read_bytes()


def test_what_is_said_to_be_kept_is(tmp_path: Path) -> None:
    """Of a run that is stopped before anything is, once its start model has spoken, and after a checkpoint."""
    words = (
        ["sft", "gp-l", "--out", tmp_path],
        ["backbone", "build", "--out", tmp_path],
        ["rl", "gp-l", "--plan", "cpu"],
    )
    commands = [parse([str(word) for word in one]) for one in words]
    nothing = "there is no checkpoint yet; run the same command again, which begins anew"
    assert [command.stopped for command in commands] == [nothing] * 3
    (tmp_path / "samples").mkdir()
    (tmp_path / "checkpoints" / ".tmp-step-000001").mkdir(parents=True)
    (tmp_path / "samples" / ".tmp-000000.jsonl").touch()
    assert commands[0].stopped == nothing
    (tmp_path / "samples" / "000000.jsonl").touch()
    assert (
        commands[0].stopped == "what the start model said is kept; run the same command again, which resumes from there"
    )
    (tmp_path / "checkpoints" / "step-000001").mkdir()
    kept = "the work up to the last checkpoint is kept; run the same command again, which resumes from there"
    assert [command.stopped for command in commands] == [kept, kept, nothing]


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

    shape = "--width 16 --layers 1 --heads 2 --feedforward 16 --first-steps 2 --retry-steps 2 --batch 4 --warmup 1"
    command = ["backbone", "build", *shape.split(), "--echo-steps", "1", "--out"]
    monkeypatch.setattr(backbone, "SAVE_EVERY", 1)
    assert main([*command, str(tmp_path / "whole"), "--models-every", "2"]) == 0
    assert sorted(path.name for path in (tmp_path / "whole" / "models").iterdir()) == ["step-000002", "step-000004"]
    assert ruleshift.load_backbone(str(tmp_path / "whole" / "models" / "step-000002")).style == "stepwise"
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
    assert ruleshift.load_backbone(str(tmp_path / "whole" / "model")).style == "stepwise"


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "command",
    [
        "rl gp-l --out OUT --shard",
        "rl gp-l --out OUT --model ./typo",
        "sft gp-l --out OUT --model ./typo",
        "sft gp-l --out OUT --adam-8bit",
        "rl gp-l --out OUT --adam-8bit",
        "distil gp-l --out OUT --teacher ./typo",
        "study headline --out OUT --model ./typo",
        "compare expert ./typo --out OUT",
        "eval gp-l --out OUT --model ./typo",
        "backbone import ./typo --out OUT/model",
        "backbone export ./typo --out OUT/model",
        "play gp-vl --pictures OUT --model ./typo",
    ],
)
def test_what_is_refused_leaves_no_folder(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ruleshift.training.optimizers.find_spec", lambda name: None)
    refusal(capsys, *command.replace("OUT", "a/b").split())
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_processes_cannot_share_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)

    def told(batch: int, micro_batch: int) -> str:
        sizes = ("--batch", batch, "--micro-batch", micro_batch)
        return refusal(capsys, "sft", "gp-l", "--out", tmp_path / "run", *sizes).removeprefix("error: ")

    assert told(3, 3) == "--batch 3 is not a multiple of the 2 processes: give --batch 6"
    remedies = "give --batch 16, or --micro-batch 3"
    assert told(12, 4) == f"--batch 12 is not a multiple of --micro-batch 4 times the 2 processes: {remedies}"
    assert not (tmp_path / "run").exists()
    for batch, micro_batch, share in ((6, 3, 3), (16, 4, 4), (12, 3, 3), (4, 64, 2)):
        assert SFTConfig(batch=batch, micro_batch=micro_batch).micro_batch_in(2) == share
    assert SFTConfig(batch=3, micro_batch=3).micro_batch_in(1) == 3


def test_a_launcher_that_started_less_than_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variables are those of the launcher itself, for one process and for two."""
    from accelerate.commands.launch import launch_command_parser
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    from ruleshift.launched import launched

    here = set(os.environ)
    for count in (1, 2):
        words = ["--cpu", "--num_processes", str(count), "--num_machines", "1", "--mixed_precision", "no"]
        arguments = launch_command_parser().parse_args([*words, "--dynamo_backend", "no", "-m", "ruleshift"])
        told = prepare_simple_launcher_cmd_env(arguments)[1]
        for name in set(told) - here:
            monkeypatch.setenv(name, told[name])
        if count == 1:
            assert launched() == 1
    said = refusal(capsys, "sft", "gp-l", "--out", tmp_path / "run")
    assert "asked for several processes and started one" in said
    assert "torchrun --nproc-per-node" in said
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == 2


def test_a_wrong_model_name_does_not_spoil_the_run_folder(model: Path, tmp_path: Path) -> None:
    command = ["sft", "gp-l", "--out", str(tmp_path / "run"), *TINY_SFT, "--model"]
    assert main([*command, str(tmp_path / "typo")]) == 2
    assert main([*command, str(model)]) == 0


def test_parts_that_cannot_learn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def told(task: str, *options: str) -> str:
        return refusal(capsys, "rl", task, "--out", tmp_path / "run", *options)

    assert "only the decoder can learn" in told("gp-l", "--train-parts", "tower")
    assert "tower projector decoder, or --lora-rank 0" in told("gp-vl", "--train-parts", "tower", "--lora-rank", "4")
    assert "--train-parts must name at least one" in told("gp-vl", "--train-parts")
    assert not (tmp_path / "run").exists()


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


@pytest.mark.parametrize("verb", ["sft", "rl"])
def test_a_base_model_with_the_plain_template(model: Path, tmp_path: Path, verb: str) -> None:
    """What was said of template and system message stands in the run, and the trained model keeps the template."""
    mute, run = Path(shutil.copytree(model, tmp_path / "mute")), tmp_path / "run"
    (mute / "chat_template.jinja").unlink()
    said = ["--chat-template", "plain", "--system", "target"]
    tiny = TINY_SFT if verb == "sft" else TINY_RL
    assert main([verb, "gp-l", "--model", str(mute), "--out", str(run), *said, *tiny]) == 0
    chat = json.loads((run / "config.json").read_text())["config"]["chat"]
    assert chat == {"chat_template": "plain", "system": "target"}
    numbers = tmp_path / "numbers.json"
    again = ["eval", "gp-l", "--n", "2", "--turns", "2", "--max-new-tokens", "6", "--json", str(numbers)]
    assert main([*again, "--model", str(run / "model"), "--system", "target"]) == 0
    assert json.loads(numbers.read_text())["meta"]["chat"] == {"system": "target"}


def test_options_of_models_that_do_not_fit(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = lambda *more: refusal(capsys, "eval", "gp-l", "--n", 2, "--model", model, *more)  # noqa: E731
    assert "knows of no thinking" in told("--thinking", "on")
    assert "--thinking-tokens must be at least 1" in told("--thinking", "on", "--thinking-tokens", 0)
    assert "give a text file, or the word plain" in told("--chat-template", tmp_path / "nowhere")
    (tmp_path / "empty").write_text(" ")
    assert "is empty" in told("--chat-template", tmp_path / "empty")
    (tmp_path / "wrong").write_text("{{ 1 / 0 }}")
    assert "division by zero" in told("--chat-template", tmp_path / "wrong")
    assert "leave --system out" in told("--chat-template", _without_system(tmp_path), "--system", "target")
    line = told("--model", "expert", "--system", "target", "--thinking", "on")
    assert "is no language model: leave --system and --thinking out" in line
    assert "leave --trust-remote-code out" in told("--model", "random", "--trust-remote-code")


def _without_system(folder: Path) -> Path:
    file = folder / "mute.jinja"
    file.write_text("{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}<end>{% endif %}{% endfor %}")
    return file


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

    with RunFolder.open(tmp_path, {}):
        line = refusal(capsys, "rl", "gp-l", "--model", model, "--out", tmp_path)
    assert f"in use by process {os.getpid()}" in line


# ---------------------------------------------------------------- damage, divergence


SFT = ["--steps", "3", "--examples", "8", "--batch", "4", "--micro-batch", "4", "--save-every", "2"]


def test_an_empty_model_folder_is_not_a_finished_run(model: Path, tmp_path: Path, capsys) -> None:
    command = ["sft", "gp-l", "--model", str(model), "--out", str(tmp_path / "run"), *SFT]
    assert main(command) == 0
    final = tmp_path / "run" / "model"
    whole = {file.name: file.read_bytes() for file in final.iterdir()}
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    def found() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in final.iterdir()}

    for file in final.iterdir():
        file.unlink()
    assert main(command) == 0  # empty: written again
    assert found() == whole
    for cut in (whole["model.safetensors"][:1_000], b""):
        (final / "model.safetensors").write_bytes(cut)
        assert "lacks config.json or whole weights: delete it" in refusal(capsys, *command)
    (final / "model.safetensors").unlink()
    assert "whole weights: delete it and run the same command again" in refusal(capsys, *command)
    shutil.rmtree(final)  # the remedy
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"".join(lines.splitlines(True)[1:]))
    assert main(command) == 0
    assert found() == whole
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == lines
    assert "sft: " not in capsys.readouterr().err.replace("sft: 3/3", "")  # no step was made again


def test_a_run_of_the_other_verb_is_named(model: Path, tmp_path: Path, capsys) -> None:
    assert main(["sft", "gp-l", "--model", str(model), "--out", str(tmp_path), *SFT]) == 0
    said = refusal(capsys, "rl", "gp-l", "--model", model, "--out", tmp_path)
    assert said == f"error: {tmp_path} holds a run of sft, not of rl: choose another --out, or delete {tmp_path}."


def test_sft_that_diverges_says_so(model: Path, tmp_path: Path, capsys) -> None:
    said = refusal(
        capsys,
        "sft",
        "gp-l",
        "--model",
        model,
        "--out",
        tmp_path,
        *SFT,
        "--learning-rate",
        "1e30",
        "--schedule",
        "constant",
    )
    assert "the training diverged: " in said
    assert "at step " in said
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob("checkpoints/*"))


@pytest.mark.parametrize("verb", ["sft gp-l --out", "rl gp-l --out", "eval gp-l --json"])
def test_threads_of_a_user_overrule(verb: str, tmp_path: Path, capsys) -> None:
    assert "--threads must be from 1 to" in refusal(capsys, *verb.split(), tmp_path / "x", "--threads", "0")
