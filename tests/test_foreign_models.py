"""Folders of strangers: each ends in one line that names the remedy, within seconds, and runs no code of its own."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny_chat, tiny_model
from ruleshift.backbones.checkpoint import check_room
from ruleshift.backbones.config import BUNDLED, ModelOptions
from ruleshift.backbones.given import check_model
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.save import save_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import evaluate
from ruleshift.records import Message
from ruleshift.tasks import get_task

SECONDS = 15.0
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "whole"
    save_model(tiny_model(), tiny_chat().tokenizer, folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refused(folder: Path) -> str:
    began = time.monotonic()
    with pytest.raises(RuleshiftError) as raised:
        load_backbone(str(folder), device="cpu")
    assert time.monotonic() - began < SECONDS
    message = str(raised.value)
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) < 600
    return message


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_whole_folder_loads(folder: Path) -> None:
    assert load_backbone(str(folder), device="cpu").style == "full"


WEIGHTS: list[tuple[str, Callable[[dict[str, torch.Tensor]], object], str]] = [
    ("nine missing", lambda w: [w.pop(key) for key in list(w)[:9]], r"lacks 9 weights: \S+, \S+, \S+ \.\.\."),
    ("the head missing", lambda w: w.pop("lm_head.weight"), r"lacks 1 weights: lm_head\.weight"),
    ("a value head", lambda w: w.update({"v_head.summary.weight": torch.ones(1, 32)}), "beside .* v_head.summary"),
    ("another layer", lambda w: w.update({k.replace(".1.", ".2."): t for k, t in w.items() if ".1." in k}), "beside"),
    ("a wider norm", lambda w: w.update({"model.norm.weight": torch.ones(33)}), r"shapes 1 weights: model\.norm.*33"),
    ("all of them", lambda w: w.clear() or w.update({"x": torch.ones(10**6)}), "its weights are 1 tensors"),
]


@pytest.mark.parametrize(("damage", "match"), [pytest.param(*row[1:], id=row[0]) for row in WEIGHTS])
def test_weights_that_are_not_the_models_are_named(folder: Path, damage: Callable, match: str) -> None:
    weights = load_file(folder / "model.safetensors")
    damage(weights)
    save_file({key: tensor.clone() for key, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert re.search(match, refused(folder))


def test_tied_weights_and_old_buffers_are_no_damage(folder: Path) -> None:
    change(folder / "config.json", tie_word_embeddings=True)
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = load_backbone(str(folder), device="cpu").model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("num_hidden_layers", value) for value in (3, 10**9, -1, "many", None, 1.5, [])],
        *[("vocab_size", value) for value in (10**6, 10**12, 0, -5, "x")],
        *[("hidden_size", value) for value in (64, 10**6, 10**12, 0, "x", None)],
        *[("intermediate_size", value) for value in (65, 10**9)],
        *[("num_attention_heads", value) for value in (0, 10**9, 7)],
        ("head_dim", 10**9),
        ("num_key_value_heads", 0),
        ("model_type", "nothing-known"),
        ("model_type", 5),
        ("hidden_act", "nothing-known"),
        ("rope_parameters", "x"),
        ("rope_parameters", {"rope_type": "nothing-known"}),
        ("ruleshift_style", "loud"),
        ("ruleshift_style", 3),
        ("ruleshift_style", ["terse"]),
        ("ruleshift_style", {"terse": "full"}),
        ("ruleshift_style", None),
    ],
)
def test_a_config_with_a_wrong_value(folder: Path, field: str, value: object) -> None:
    change(folder / "config.json", **{field: value})
    refused(folder)


@pytest.mark.parametrize("kind", ["qwen2", "gemma3_text"])
def test_sizes_are_looked_at_before_lists_are_made_of_them(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These families have an entry for each layer in their configuration."""
    monkeypatch.setattr("ruleshift.backbones.load.AutoConfig", None)
    change(folder / "config.json", model_type=kind, num_hidden_layers=20_000_000)
    assert "says num_hidden_layers 20,000,000, and its weights are" in refused(folder)


def test_a_config_of_too_many_labels(folder: Path) -> None:
    change(folder / "config.json", id2label={str(i): "label" for i in range(300_000)})
    assert "bytes" in refused(folder)


def test_buffers_larger_than_any_models(folder: Path) -> None:
    """They are in no file: GPT-Neo's masks, say, have as many numbers as the square of its positions."""
    empty = torch.nn.Module()
    empty.register_buffer("mask", torch.empty(2**15, 2**15, device="meta"))
    check_room("a model", empty, folder)
    empty.register_buffer("more", torch.empty(1, device="meta"))
    with pytest.raises(RuleshiftError, match="describes buffers of 1,073,741,825 numbers"):
        check_room("a model", empty, folder)


FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "3", '"x"', "NaN", DEEP, "\0" * 100, '{"a": ' * 5_000])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    refused(folder)


@pytest.mark.parametrize("file", [*FILES, "chat_template.jinja"])
@pytest.mark.parametrize("kind", ["bytes", "pipe", "folder", "dangling"])
def test_what_is_no_file_of_text(folder: Path, file: str, kind: str) -> None:
    path = folder / file
    path.unlink()
    if kind == "bytes":
        path.write_bytes(b"\xff\xfe\x00\xd8" * 50)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(folder / "nowhere")
    refused(folder)


CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path(__file__ + ".ran").touch()
Path(r"{here}").touch()


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig


class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
CONFIG_MAP = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
OPEN = "import sys; from ruleshift.cli import main; sys.exit(main(sys.argv[1:]))"


def with_code(folder: Path, place: str) -> Path:
    """Puts code of its own into a folder; returns the file that it makes when it runs."""
    ran = folder.parent / "ran"
    (folder / "own.py").write_text(CODE.replace("{here}", str(ran)))
    if place == "config":
        change(folder / "config.json", model_type="own", auto_map=CONFIG_MAP)
    elif place == "known config":
        change(folder / "config.json", auto_map=CONFIG_MAP)
    elif place == "tokenizer":
        maps = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
        change(folder / "tokenizer_config.json", auto_map=maps, tokenizer_class="OwnTokenizer")
    else:
        change(folder / "config.json", model_type="idefics3", auto_map={"AutoProcessor": "own.OwnProcessor"})
        (folder / "processor_config.json").write_text(json.dumps({"auto_map": {"AutoProcessor": "own.OwnProcessor"}}))
    return ran


def on_a_terminal(arguments: list[str]) -> tuple[int, str]:
    """Exit status and output of a command on a pseudo-terminal at which somebody says yes to everything."""
    ours, theirs = pty.openpty()
    os.write(ours, b"y\n" * 5)
    process = subprocess.Popen([sys.executable, "-c", OPEN, *arguments], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(ours, 65536):
            output += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(60), output.decode()


@pytest.mark.parametrize("place", ["config", "known config", "tokenizer", "processor"])
def test_code_that_comes_with_a_model_does_not_run(folder: Path, place: str) -> None:
    ran = with_code(folder, place)
    if place == "known config":  # which transformers' own classes read
        load_backbone(str(folder), device="cpu")
    elif place == "processor":
        refused(folder)
    else:
        assert "--trust-remote-code" in refused(folder)
    assert not ran.exists()


def test_code_does_not_run_where_somebody_could_say_yes(folder: Path) -> None:
    ran = with_code(folder, "config")
    status, output = on_a_terminal(["eval", "gp-l", "--n", "1", "--model", str(folder)])
    assert status == 2
    assert "--trust-remote-code" in output
    assert "[y/N]" not in output
    assert not ran.exists()


def test_code_runs_when_it_is_trusted_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder.parent / "modules"))
    ran = with_code(folder, "config")
    backbone = load_backbone(str(folder), device="cpu", options=ModelOptions(trust_remote_code=True))
    assert type(backbone.model).__name__ == "OwnModel"
    assert ran.exists()


@pytest.mark.parametrize("value", ["x", -3, 1.5, True, [2, "x"], {"a": 1}, [[4]], 10**12])
def test_ends_of_a_wrong_type(folder: Path, value: object) -> None:
    change(folder / "generation_config.json", eos_token_id=value)
    if value in (10**12, -3):  # no token of this vocabulary: it ends nothing
        load_backbone(str(folder), device="cpu")
    else:
        refused(folder)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 / 0 }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{{ 'a' * 10**10 }}",
        "{{ 'a'.center(10**10) }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% set k = j %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ messages }}{% endfor %}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ nobody.knows.this }}",
        "{{ messages[0].content.nothing.here }}",
        "{{ raise_exception('no\nand\x1b[31m no') }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages | attr('__class__') | string }}{{ ''.__class__.__mro__ }}",
        "{{ lipsum(n=10**7) }}",
        "{% for message in messages %}",
        "{{ " + "(" * 50_000 + " }}",
        "{{ messages.append(1) }}",
        "{{ '%s' }}",
        "",
    ],
    ids=range(21),
)
def test_a_template_that_fails_or_takes_too_much(folder: Path, template: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    assert "chat" in refused(folder)


def test_templates_are_shown_no_contents(folder: Path) -> None:
    """What a task says cannot make a template that works at the start fail later, nor take long."""
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}{% if 'K' in message.content %}{{ 1 / 0 }}{% endif %}"
        "{{ message.content }}<end>{% endfor %}"
    )
    chat = load_backbone(str(folder), device="cpu").chat
    assert chat.decode(chat.encode_prompt([Message("user", "K")])) == "K"


def test_a_model_that_is_nowhere_is_said_quickly(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    for name in ("nobody/nothing", "nothing", "a b/c", "x" * 300):
        began = time.monotonic()
        with pytest.raises(RuleshiftError, match=rf"no model '{name}': it .* no folder.*check the name"):
            load_backbone(name)
        assert time.monotonic() - began < SECONDS
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("smolm2", "smollm2"),
        ("SmolLM2", "smollm2"),
        ("smollm2-135m", "smollm2"),
        ("Bundled", "bundled"),
        ("bundle", "bundled"),
    ],
)
def test_what_is_nearly_a_name_is_said_without_a_hub(name: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> bool:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("ruleshift.backbones.load.only_cached", ask)
    with pytest.raises(RuleshiftError, match=f"no model '{name}': it is no folder here; perhaps {meant} is meant"):
        load_backbone(name)


@pytest.mark.parametrize("name", ["gpt2", "distilgpt2", "bert-base-uncased", "nobody/smolm2", "experts", "t5-small"])
def test_other_names_are_those_of_the_hub(name: str) -> None:
    check_model(name)


def test_folders_are_what_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(BUNDLED, tmp_path / "smolm2")
    monkeypatch.chdir(tmp_path)
    assert load_backbone("smolm2").name == "smolm2"


def test_the_bundled_model_ends_its_replies_whatever_its_tokenizer_calls_the_end(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(BUNDLED, tmp_path / "model"))
    change(folder / "tokenizer_config.json", eos_token="<pad>")
    backbone = load_backbone(str(folder), device="cpu")
    engine = LocalEngine(backbone.model, backbone.chat, Sampling(0.0, 80))
    episodes = evaluate(engine, get_task("gp-l"), "id", 40, 1, "stepwise", seed=1000)
    assert all(episode.turns[0].verdict.valid for episode in episodes)
    assert all(episode.turns[0].completion.stop_reason == "stop" for episode in episodes)


def test_an_adapter_alone_is_no_model(folder: Path) -> None:
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "nobody/nothing"}')
    assert "merge_and_unload" in refused(folder)


def test_weights_in_another_format_are_not_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "holds no weights in safetensors" in refused(folder)
