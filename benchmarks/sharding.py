"""Memory of each of several processes that train one model by PPO: whole in each of them, in pieces (--shard), or with
DeepSpeed's ZeRO.

    MALLOC_MMAP_THRESHOLD_=65536 torchrun --nproc-per-node 2 benchmarks/sharding.py
    MALLOC_MMAP_THRESHOLD_=65536 torchrun --nproc-per-node 2 benchmarks/sharding.py --shard
    ACCELERATE_USE_DEEPSPEED=true ACCELERATE_DEEPSPEED_ZERO_STAGE=2 MALLOC_... as in the first line

On a CPU under Linux; random float32 weights of a plain Llama, few tokens. Resident memory beyond that before the model,
in bytes for each parameter: what is held after an update, and the most of that update, the second one. The variable has
large blocks given back to the kernel once they are free.
"""

from dataclasses import dataclass
from importlib import import_module

import torch
import torch.distributed as dist
import tyro
from transformers import LlamaConfig, LlamaForCausalLM

from resident import forget_peak, memory
from ruleshift.backbones.load import load_backbone
from ruleshift.settings import RLConfig
from ruleshift.tasks import get_task
from ruleshift.training.processes import start
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine

SMALL = RLConfig(updates=3, episodes=4, turns=1, max_new_tokens=8, minibatches=1, value_only=0)


@dataclass(frozen=True)
class Options:
    shard: bool = False
    """In pieces."""
    width: int = 512
    """Of the hidden states; a layer has 16 of its squares."""
    layers: int = 8


def main(options: Options) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    processes = start(options.shard)
    if processes.zero is not None:
        import_module("deepspeed")  # is none of a parameter's bytes
    bundled = load_backbone(device="cpu")
    before = memory("VmRSS")
    shape = {"hidden_size": options.width, "intermediate_size": 4 * options.width, "num_hidden_layers": options.layers}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": bundled.model.config.vocab_size}
    model = LlamaForCausalLM(LlamaConfig(**shape, **heads)).eval()
    count = model.num_parameters()
    engine = local_engine(model, bundled.chat, SMALL)
    rl = RL(model, bundled.chat, Rollout(get_task("gp-l"), bundled.style, SMALL, engine, processes))
    rl.update()
    forget_peak()
    rl.update()
    held, most = ((memory(key) - before) / count for key in ("VmRSS", "VmHWM"))
    found = processes.gather((held, most))
    if processes.main:
        way = "in pieces" if options.shard else f"ZeRO {processes.zero}" if processes.zero else "whole"
        print(f"{count / 1e6:.1f}M parameters, {processes.world} processes, {way}")
        print(
            "\n".join(f"process {i}: {a:.1f} bytes a parameter held, {b:.1f} at most" for i, (a, b) in enumerate(found))
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main(tyro.cli(Options))
