"""`ruleshift backbone export`: models of checkpoints, and training in a style that its models keep."""

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from cli_helpers import refusal, save_tiny_model
from helpers import EchoTask, new_rl, one_thread, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.backbones.config import INSIDERS
from ruleshift.backbones.load import dtype_of, load_backbone
from ruleshift.backbones.lora import add_lora, merged_weights
from ruleshift.backbones.save import save_model
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.training.export import export
from ruleshift.training.rl import train_rl
from ruleshift.training.sft import train_sft
from vision_helpers import BUILDERS, LookTask

SFT = SFTConfig(steps=4, examples=8, batch=4, micro_batch=2, learning_rate=1e-2, schedule="constant", save_every=1)
RL = RLConfig(
    updates=2,
    episodes=4,
    turns=1,
    max_new_tokens=4,
    learning_rate=1e-2,
    warmup=0,
    value_only=0,
    value_steps=2,
    entropy_coef=0.01,  # by which the model moves where all episodes earn the same
    save_every=1,
)


class StopHereError(Exception):
    pass


def stopped_sft(path: Path, config: SFTConfig, family: str | None = None) -> dict[str, torch.Tensor]:
    """A run that is stopped after its second step; the weights of that, adapters among them."""
    model, chat = (tiny_model(layers=1), tiny_chat()) if family is None else BUILDERS[family]()
    task, style = (EchoTask(), "terse") if family is None else (LookTask(), "full")

    def stop(step: int, metrics: dict[str, float]) -> None:
        if step == 3:
            raise StopHereError

    with one_thread(), RunFolder.open(path, config) as run, pytest.raises(StopHereError):
        train_sft(model, chat, task, style, replace(config, checkpoints=9), run, progress=stop)
    at_2 = replace(config, steps=2)
    model = tiny_model(layers=1) if family is None else BUILDERS[family]()[0]
    with one_thread(), RunFolder.open(path.with_name("again"), at_2) as run:
        train_sft(model, chat, task, style, at_2, run)
    return merged_weights(model) if config.lora_rank else weights_of(model)


@pytest.mark.parametrize("family", [None, "llava"])
@pytest.mark.parametrize("lora_rank", [0, 2])
def test_a_stopped_sft_is_exported(tmp_path, lora_rank, family) -> None:
    then = stopped_sft(tmp_path / "run", replace(SFT, lora_rank=lora_rank), family)
    assert not (tmp_path / "run" / "model").exists()
    assert export(tmp_path / "run", 2, tmp_path / "model") == 2
    found = load_backbone(str(tmp_path / "model"), pictures=family is not None)
    assert same_weights(found.model, then)


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_updates_of_rl_are_exported(tmp_path, lora_rank) -> None:
    config = replace(RL, lora_rank=lora_rank)
    ppo = new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", config)
    with one_thread(), RunFolder.open(tmp_path / "run", config) as run:
        train_rl(ppo, run)
    model = ppo.learner.model
    assert export(tmp_path / "run", None, tmp_path / "model") == 2
    now = merged_weights(model) if lora_rank else weights_of(model)
    assert same_weights(load_backbone(str(tmp_path / "model")).model, now)
    assert export(tmp_path / "run", 1, tmp_path / "first") == 1
    assert not same_weights(load_backbone(str(tmp_path / "first")).model, now)


def words(model: torch.nn.Module) -> torch.Tensor:
    """Log-probabilities of next tokens after some random ones, (T, V)."""
    ids = torch.randint(1, 90, (4, 60), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(input_ids=ids).logits.double().log_softmax(-1).flatten(0, 1)


def kl(of: torch.Tensor, to: torch.Tensor) -> float:
    return float((of.exp() * (of - to)).sum(-1).mean())


@pytest.mark.parametrize("exported", [False, True])
def test_small_adapters_beside_half_precision_are_not_rounded_away(tmp_path, exported) -> None:
    save_model(tiny_model(spread=0.3), tiny_chat().source, tmp_path / "start")
    model = load_backbone(str(tmp_path / "start"), dtype="bfloat16").model
    start = words(deepcopy(model).float())
    add_lora(model, 2, 0)
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=1e-4, generator=generator)
    trained = words(deepcopy(model).float())
    if exported:  # from a checkpoint of SFT, in which adapters stand apart
        with RunFolder.open(tmp_path / "run", SFT) as run:
            run.save_checkpoint(1, lambda folder: writes(model, folder), keep_last=1)
        export(tmp_path / "run", 1, tmp_path / "model")
    else:
        save_model(model, tiny_chat().source, tmp_path / "model")
    found = load_backbone(str(tmp_path / "model")).model
    assert kl(trained, words(found)) < 0.01 * kl(trained, start)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["dtype"] == "float32"
    gpu, unmerged = torch.device("cuda"), json.loads((tmp_path / "start" / "config.json").read_text())
    assert (dtype_of("auto", gpu, config), dtype_of("auto", gpu, unmerged)) == (torch.float32, torch.bfloat16)
    assert dtype_of("bfloat16", gpu, config) == torch.bfloat16
    rounded = {name: weight.bfloat16().float() for name, weight in found.state_dict().items()}
    found.load_state_dict(rounded)
    assert kl(trained, words(found)) > 0.1 * kl(trained, start)  # control


def writes(model: PreTrainedModel, folder: Path) -> None:
    model.save_pretrained(folder, save_original_format=False)
    tiny_chat().source.save_pretrained(folder)


@pytest.mark.parametrize("verb", ["sft", "rl"])
def test_what_is_told_of_a_checkpoint_given_as_a_model_works_when_it_is_typed(
    tmp_path, capsys, monkeypatch, verb
) -> None:
    monkeypatch.chdir(tmp_path)
    start = save_tiny_model(tmp_path / "start")
    small = {
        "sft": "--steps 2 --examples 4 --batch 4",
        "rl": "--updates 2 --episodes 4 --turns 1 --max-new-tokens 4 --entropy-coef 0.1 --value-only 0",
    }
    command = f"{verb} gp-l --model start --out a/run --lora-rank 2 --save-every 1 {small[verb]}"
    assert main(command.split()) == 0
    told = "ruleshift backbone export a/run --step 2 --out a/run-step-2"
    at = "a/run/checkpoints/step-000002"
    for given in (
        ["eval", "gp-l", "--model", at],
        ["play", "gp-l", "--model", at],
        ["rl", "gp-l", "--model", at, "--out", "other"],
        ["rl", "gp-l", "--model", at, "--plan", "cpu"],
        ["distil", "gp-l", "--teacher", at if verb == "sft" else "a/run/checkpoints", "--out", "other"],
        ["study", "headline", "--model", at, "--out", "study"],
        ["eval", "gp-l", "--model", "a/run"],
        ["backbone", "export", at, "--out", "x"],
    ):
        assert told in refusal(capsys, *given), given
    assert main(told.split()[1:]) == 0
    found = load_backbone("a/run-step-2")
    assert same_weights(found.model, weights_of(load_backbone("a/run/model").model))
    assert not same_weights(found.model, weights_of(load_backbone(str(start)).model))


def test_what_is_told_of_runs_and_of_what_is_none(tmp_path, capsys) -> None:
    """A run that ended has a model, one that was stopped a checkpoint, and one that has just begun neither."""
    stopped_sft(tmp_path / "run", replace(SFT, lora_rank=2))
    ended = tmp_path / "again"
    save_model(tiny_model(layers=1), tiny_chat().source, ended / "model")

    def told(*words: object) -> str:
        return refusal(capsys, "eval", "gp-l", "--n", "1", "--model", *words)

    assert f"that has not ended: ruleshift backbone export {tmp_path}/run --step 2" in told(tmp_path / "run")
    assert f"give its model, {ended}/model, or ruleshift backbone export {ended} --step 2" in told(ended)
    assert f"export {tmp_path}/run --step 2" in told(tmp_path / "run" / "checkpoints")
    (tmp_path / "run" / "checkpoints" / "step-000001").rename(tmp_path / "away")
    assert "away from its run: ruleshift backbone export RUN" in told(tmp_path / "away")
    with RunFolder.open(tmp_path / "new", SFT):
        pass
    assert "has kept no model" in told(tmp_path / "new")
    (tmp_path / "nothing").mkdir()
    assert "model.safetensors is expected" in told(tmp_path / "nothing")


def test_an_evaluation_is_told_from_a_run(tmp_path, capsys) -> None:
    done = tmp_path / "done"
    assert main(["eval", "gp-l", "--model", "random", "--n", "1", "--split", "id", "--out", str(done)]) == 0
    for given in (
        ["eval", "gp-l", "--model", done],
        ["rl", "gp-l", "--model", done, "--out", tmp_path / "other"],
        ["distil", "gp-l", "--teacher", done, "--out", tmp_path / "other"],
        ["backbone", "export", done, "--out", tmp_path / "model"],
    ):
        said = refusal(capsys, *given)
        assert f"{done} is the folder of an evaluation, which keeps no model (it asked random): name a model" in said


def test_who_answers_without_weights_is_not_looked_for_on_the_hub(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("ruleshift.backbones.load.only_cached", pytest.fail)
    out = ["--out", tmp_path / "run"]
    for given in (
        *(["sft", "gp-l", "--model", name, *out] for name in (*INSIDERS, "api:foo", "api:a@http://localhost:8000/v1")),
        ["rl", "gp-l", "--model", "expert", "--plan", "cpu"],
        ["distil", "gp-l", "--teacher", "random", *out],
        ["study", "headline", "--model", "blind", *out],
    ):
        said = refusal(capsys, *given)
        assert "has no weights here, and answers in eval, compare and play alone: name bundled, smollm2, a" in said


def test_nobody_is_advised_to_delete_a_model(tmp_path, capsys) -> None:
    model = save_tiny_model(tmp_path / "model")
    assert "holds a model already" in refusal(capsys, "backbone", "export", model, "--out", tmp_path / "x")
    for verb in ("sft", "rl", "eval"):
        said = refusal(capsys, verb, "gp-l", "--model", model, "--out", model)
        assert f"{model} holds a model: name another folder" in said
    said = refusal(capsys, "rl", "gp-l", "--model", model, "--out", tmp_path)  # with a folder called model in it
    assert "holds model, as a run does" in said
    assert "delete" not in said


def test_what_a_run_does_not_have_is_told(tmp_path, capsys) -> None:
    assert "no run folder" in refusal(capsys, "backbone", "export", tmp_path / "no", "--out", tmp_path / "model")
    with RunFolder.open(tmp_path / "run", SFT):
        pass
    with pytest.raises(RuleshiftError, match="no checkpoint yet"):
        export(tmp_path / "run", None, tmp_path / "model")
    stopped_sft(tmp_path / "sft", SFT)
    line = refusal(capsys, "backbone", "export", tmp_path / "sft", "--step", 7, "--out", tmp_path / "model")
    assert "--step 1, 2" in line
    file = tmp_path / "sft" / "checkpoints" / "step-000002" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert str(file) in refusal(capsys, "backbone", "export", tmp_path / "sft", "--out", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_models_keep_the_style_they_were_trained_in(tmp_path, capsys) -> None:
    start, run = save_tiny_model(tmp_path / "start"), tmp_path / "run"
    assert load_backbone(str(start)).style == "terse"
    training = ["--steps", "1", "--examples", "4", "--batch", "4"]
    assert main(["sft", "gp-l", "--model", str(start), "--out", str(run), "--style", "stepwise", *training]) == 0
    assert json.loads((run / "config.json").read_text())["config"]["style"] == "stepwise"
    assert load_backbone(str(run / "model")).style == "stepwise"
    again = refusal(capsys, "sft", "gp-l", "--model", start, "--out", run, *training)
    assert "style" in again
    assert main(["backbone", "export", str(run), "--out", str(tmp_path / "model")]) == 0
    assert load_backbone(str(tmp_path / "model")).style == "stepwise"
