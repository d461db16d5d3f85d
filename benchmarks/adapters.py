"""Processor time of a decoding step with adapters (LoRA) beside a model.

    python benchmarks/adapters.py                                       # the bundled backbone, 32 rows, one thread
    python benchmarks/adapters.py --model smollm2-shape --steps 8       # random weights of the shape of SmolLM2-135M

apart: through transformers, adapters beside their layers. merged: the same, merged into a copy. used: what rollouts
take, fused where the model is a plain Llama. The ways take their steps in turn. One line says what is done once in a
rollout.
"""

import statistics
import time
from dataclasses import dataclass

import torch
import tyro
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.lora import add_lora
from ruleshift.backbones.sampler import sampler_of
from ruleshift.engines.forward import Forward, ModelForward, forward_of
from ruleshift.engines.window import Window

SMOLLM2 = {
    "vocab_size": 49_152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Options:
    model: str = "bundled"
    """Model folder or hub id, or smollm2-shape: random weights of the shape of SmolLM2-135M."""
    rank: int = 16
    """Rank of the adapters."""
    rows: int = 32
    """Conversations at once."""
    prompt: int = 40
    """Tokens of each before the first step."""
    steps: int = 20
    """Steps that are timed of each way, in turn."""


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: PreTrainedModel = (
        LlamaForCausalLM(LlamaConfig(**SMOLLM2)).eval()
        if options.model == "smollm2-shape"
        else load_backbone(options.model, device="cpu").model
    )
    add_lora(model, options.rank, seed=0)
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(weight, std=1e-3)
    with torch.inference_mode():
        began = time.process_time()
        merged = sampler_of(model)
        between = time.process_time()
        quickest = forward_of(merged)
        print(f"once: merge {between - began:.3f} s, {type(quickest).__name__} {time.process_time() - between:.3f} s")
        ways: dict[str, Forward] = {"apart": ModelForward(model), "merged": ModelForward(merged), "used": quickest}
        times = measure(ways, options)
    for name, of_steps in times.items():
        middle = statistics.median(of_steps)
        print(
            f"{name:7}{1000 * middle:8.1f} ms a step, {statistics.median(times['apart']) / middle:.2f} times as quick"
        )


def measure(ways: dict[str, Forward], options: Options) -> dict[str, list[float]]:
    """Seconds of each step of each way, after one that is not timed."""
    rows, one = options.rows, torch.ones(options.rows, 1, dtype=torch.bool)
    windows = {
        name: Window.empty(forward.new_cache(rows), rows, torch.float32, torch.device("cpu"))
        for name, forward in ways.items()
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for step in range(-2, options.steps):
        new = one.expand(rows, options.prompt) if step == -2 else one
        ids = torch.randint(5, 100, new.shape)
        for name, forward in ways.items():
            position, mask = windows[name].extend(new)
            began = time.process_time()
            forward(ids, position, mask, windows[name].cache)
            if step >= 0:
                times[name].append(time.process_time() - began)
    return times


if __name__ == "__main__":
    main(tyro.cli(Options))
