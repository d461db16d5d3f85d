"""Folders of strangers: what is checked before memory is asked for, and what must have been found in the weights."""

import json
import math
import stat
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from ruleshift.errors import RuleshiftError

MOST_LAYERS = 10_000
MOST_BUFFERED = 2**30  # numbers; masks of 2,048 places in 100 layers have less than half as many
MOST_BYTES = 2**28  # of a file beside the weights, such as a tokenizer
MOST_CONFIGURED = 2**22  # bytes of a configuration
SHOWN = 3  # names in a message
OBJECTS = (
    "adapter_config.json",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "depth", "encoder_layers", "decoder_layers")
# What a configuration says that takes no weights.
FREE = ("token_id", "position", "window", "length", "theta", "index", "image_size", "size_per_head")


def check_files(folder: Path) -> None:
    """Raise RuleshiftError for a file that cannot be read, or not in bounded time and memory."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.suffix:
            continue
        try:
            kind = path.stat()
        except OSError as error:
            raise _wrong(path, error.strerror or type(error).__name__) from error
        if stat.S_ISDIR(kind.st_mode):
            if path.suffix in (".json", ".jinja", ".safetensors", ".model"):
                raise _wrong(path, "it is a folder")
        elif not stat.S_ISREG(kind.st_mode):
            raise _wrong(path, "it is no file")
        elif path.suffix in (".json", ".jinja", ".model", ".txt") and kind.st_size > _most_bytes(path):
            raise _wrong(path, f"it has {kind.st_size:,} bytes")
        elif path.name in OBJECTS and not _is_object(path):
            raise _wrong(path, "it is no JSON object")


def _most_bytes(path: Path) -> int:
    is_configuration = path.name.endswith("config.json") and path.name != "tokenizer_config.json"  # has all tokens
    return MOST_CONFIGURED if is_configuration else MOST_BYTES


def _is_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (ValueError, RecursionError):
        return False


def _wrong(path: Path, reason: str) -> RuleshiftError:
    return RuleshiftError(f"cannot load {path} ({reason}): save or download the model again")


def check_sizes(name: str, config: Mapping[str, Any], folder: Path | None) -> None:
    """Raise RuleshiftError for a configuration that asks for more than the weights in `folder` can fill; for one whose
    weights are not here yet (None), if it has more layers than any model."""
    tensors, numbers = (MOST_LAYERS, None) if folder is None else stored(folder)
    for key, value in _sizes(config):
        most = tensors if key in LAYERS else numbers
        if most is not None and value > most and not any(part in key for part in FREE):
            held = f"its weights are {tensors:,} tensors of {numbers:,} numbers" if numbers else "no model has so many"
            raise RuleshiftError(
                f"the config.json of {name!r} says {key} {value:,}, and {held}: download or save it again"
            )


def check_room(name: str, empty: nn.Module, folder: Path) -> None:
    """Raise RuleshiftError for a model, `empty` on the meta device, of many more weights than `folder` holds (packed
    ones, of 4 bits say, are eight in one), or whose buffers, which no file fills, are larger than those of models."""
    asked, (_, held) = sum(parameter.numel() for parameter in empty.parameters()), stored(folder)
    buffers = sum(buffer.numel() for buffer in empty.buffers())
    if asked > 8 * held:
        described = f"a model of {asked:,} weights, and its files hold {held:,}"
    elif buffers > MOST_BUFFERED:
        described = f"buffers of {buffers:,} numbers, and no model has so many"
    else:
        return
    raise RuleshiftError(f"the config.json of {name!r} describes {described}: download or save it again")


def stored(folder: Path) -> tuple[int, int]:
    """How many tensors the safetensors files of a folder hold, and how many numbers."""
    count = numbers = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                count, numbers = count + 1, numbers + math.prod(tensors.get_slice(key).get_shape())
    if not count:
        raise RuleshiftError(
            f"{folder} holds no weights in safetensors: check that it is whole, or save it in that format"
        )
    return count, numbers


def _sizes(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The whole numbers of a configuration that sizes depend on, of its parts too."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _sizes(value)
        elif isinstance(value, int) and not isinstance(value, bool) and _is_size(key):
            yield key, value


def _is_size(key: str) -> bool:
    return key in LAYERS or key.endswith(("_size", "_dim", "size", "width")) or key.startswith(("num_", "n_", "d_"))


def check_weights(name: str, loaded: Mapping[str, Any], tied: Collection[str]) -> None:
    """Raise RuleshiftError, with names, for weights that the model lacks, that are not its own, or of other shapes.

    `loaded` is what transformers tells of loading (harmless buffers and what a family is known to leave over apart),
    `tied` the weights that are copies of others.
    """
    wrong = {
        "lacks": sorted(set(loaded["missing_keys"]) - set(tied)),
        "has beside the model's own": sorted(loaded["unexpected_keys"]),
        "has in other shapes": sorted(f"{key} {tuple(there)}" for key, there, _ in loaded["mismatched_keys"]),
    }
    found = [f"{what} {len(keys)} weights: {_some(keys)}" for what, keys in wrong.items() if keys]
    if found:
        raise RuleshiftError(
            f"the folder of {name!r} does not hold the model that its config.json describes: it {'; it '.join(found)}: "
            "download or save it again"
        )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:SHOWN]) + (" ..." if len(keys) > SHOWN else "")
