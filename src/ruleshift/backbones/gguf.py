"""GGUF files (of llama.cpp and its like) as model folders in Hugging Face format.

transformers reads the file, its tokenizer and its chat template; what is packed in few bits is unpacked into float32,
so that the model can be trained, saved and loaded again as any other.
"""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruleshift.backbones.given import check_gguf
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def import_gguf(file: Path, folder: Path) -> None:
    """Write the model in a GGUF file, of text, into a folder that is not there yet: float32, whole or not at all.

    A base model brings no chat template, and then the folder has none. Raises RuleshiftError for a file that is no
    GGUF, is cut short, or holds a model that transformers does not know, and where the package `gguf` is missing.
    """
    from ruleshift.backbones.save import save_model

    if find_spec("gguf") is None:
        raise RuleshiftError("reading GGUF files needs the package gguf: pip install gguf")
    check_gguf(file)
    try:
        _check_blocks(file)
        model, tokenizer = _read(file)
    except RuleshiftError:
        raise
    except ImportError as error:
        raise RuleshiftError(
            f"reading GGUF files needs a newer transformers ({reason_of(error)[:80]}): pip install 'transformers>=5.23'"
        ) from error
    except Exception as error:  # transformers and gguf raise whatever a damaged file leads them to
        raise RuleshiftError(
            f"cannot read {file} ({reason_of(error)[:200]}): check that it is whole and of a family that transformers "
            "reads from GGUF, or take the model's own folder"
        ) from error
    save_model(model, tokenizer, folder)


def _read(file: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from ruleshift.backbones.checkpoint import check_weights

    with tempfile.TemporaryDirectory() as alone:  # transformers would mix it with other files that lie beside it
        link = Path(alone, "model.gguf")
        link.symlink_to(file.resolve())
        where: dict[str, Any] = {"gguf_file": link.name}
        tokenizer = AutoTokenizer.from_pretrained(alone, **where)
        _split_digits(tokenizer, file)
        reader: Any = AutoModelForCausalLM
        model, loaded = reader.from_pretrained(
            alone,
            dtype="float32",
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            **where,
        )
    check_weights(str(file), loaded, model.all_tied_weights_keys)
    model.config.name_or_path = ""
    return model, tokenizer


def _check_blocks(file: Path) -> None:
    """Raise RuleshiftError for a file that says it has more blocks than tensors, of which a model would be made all the
    same."""
    from gguf import GGUFReader

    content = GGUFReader(file)
    for name, field in content.fields.items():
        if name.endswith(".block_count") and field.contents() > len(content.tensors):
            raise RuleshiftError(
                f"{file} says {name} {field.contents():,}, and holds {len(content.tensors):,} tensors: copy it again"
            )


def _split_digits(tokenizer: "PreTrainedTokenizerBase", file: Path) -> None:
    """Have a tokenizer of the kind `smollm` split numbers into digits before all else, which transformers leaves out.

    Source: llama.cpp, `LLAMA_VOCAB_PRE_TYPE_SMOLLM` in `llama-vocab.cpp`.
    """
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    kind = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    backend: Any = tokenizer.backend_tokenizer
    if kind is not None and kind.contents() == "smollm":
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), backend.pre_tokenizer])
