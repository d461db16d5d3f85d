"""`--plan` of `ruleshift sft`, `rl` and `distil`: what the run would take, printed in the place of the run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ruleshift.backbones.config import AnyStyle, ModelOptions
from ruleshift.memory import memory_here
from ruleshift.settings import RLConfig, SFTConfig

if TYPE_CHECKING:
    from ruleshift.tasks.protocol import Task
    from ruleshift.training.plan import Forecast

Machine = Literal["cpu", "l4", "rtx-4090", "a100-40gb", "a100", "h100", "h200"]
GB = 1e9


@dataclass(frozen=True)
class Gpu:
    """A GPU: bytes of memory, and FLOP/s of dense products in TF32 and in bfloat16 at its best."""

    memory: float
    tf32: float
    bf16: float


# Source: NVIDIA's data sheets, without sparsity; of the A100 and later those with SXM.
GPUS = {
    "l4": Gpu(24 * GB, 60e12, 121e12),
    "rtx-4090": Gpu(24 * GB, 82.6e12, 165.2e12),
    "a100-40gb": Gpu(40 * GB, 156e12, 312e12),
    "a100": Gpu(80 * GB, 156e12, 312e12),
    "h100": Gpu(80 * GB, 494.7e12, 989.4e12),
    "h200": Gpu(141 * GB, 494.7e12, 989.4e12),
}


def show_plan(
    task: "Task",
    model: str,
    loading: ModelOptions,
    style: AnyStyle,
    config: SFTConfig | RLConfig,
    machine: Machine,
) -> None:
    """Raises RuleshiftError for what cannot be trained."""
    import psutil

    import ruleshift.training.train  # noqa: F401  (what a run loads is part of its memory)
    from ruleshift.backbones.load import load_backbone
    from ruleshift.quiet import quiet_libraries
    from ruleshift.training.heap import given_back
    from ruleshift.training.plan import forecast
    from ruleshift.training.teachers import load_teacher

    quiet_libraries()
    card = GPUS.get(machine)
    halves = config.lora_rank and card is not None
    teacher = None
    with given_back(frugal=True):  # what converts a named model once is no part of the program
        found = load_backbone(model, "meta", "bfloat16" if halves else "float32", task.pictures, loading, style=style)
        if isinstance(config, RLConfig):
            teacher = load_teacher(config, found.chat, task.pictures, "meta", "bfloat16" if card else "float32")
    program = 0 if card else psutil.Process().memory_info().rss
    plan = forecast(found.model, found.chat, task, found.style, config, "cuda" if card else "cpu", teacher)
    _print(plan, program, machine, card.memory if card else memory_here())
    _advise(plan, config)
    if card:
        hours = plan.flops / (card.bf16 if config.bf16 or halves else card.tf32) / 3600
        samples = any(phase.name == "sampling" for phase in plan.phases)
        more = "many times as long, since sampling waits for memory" if samples else "longer"
        print(f"time        more than {hours:.2g} h, which the FLOPs alone take at the card's peak rate;")
        print(f"            runs take {more}")


def _print(plan: "Forecast", program: int, machine: Machine, memory: float) -> None:
    trained, read = plan.tokens.trained, plan.tokens.forward
    print(f"parameters  {plan.parameters:,}, of which {plan.learning:,} learn")
    print(f"tokens      {trained:,} to learn from and {read:,} to sample and read, at the most")
    print(f"            ({plan.conversation:,} in the longest conversation, {plan.pass_tokens:,} in the largest pass)")
    if plan.outgrown:
        print(f"context     {plan.outgrown}")
    print(f"FLOPs       {plan.flops:.2e}")
    print("peak memory by part, in GB")
    names = [phase.name for phase in plan.phases]
    print(f"  {'':12}" + "".join(f"{name:>12}" for name in names))
    rows = {part: [phase.parts[part] for phase in plan.phases] for part in plan.phases[0].parts}
    if program:
        rows = {"program": [program] * len(names)} | rows
    for part, sizes in rows.items():
        if any(sizes):
            print(f"  {part:12}" + "".join(f"{size / GB:12.2f}" for size in sizes))
    totals = [phase.total + program for phase in plan.phases]
    print(f"  {'total':12}" + "".join(f"{size / GB:12.2f}" for size in totals))
    fits = "fits into" if max(totals) < memory else "does not fit into"
    beside = "" if program else ", beside what CUDA itself takes"
    print(f"{max(totals) / GB:.2f} GB {fits} the {memory / GB:.0f} GB of {machine}{beside}")


def _advise(plan: "Forecast", config: SFTConfig | RLConfig) -> None:
    """What makes the phase smaller that takes most."""
    from ruleshift.backbones.room import in_words
    from ruleshift.training.room import less_to_learn, less_to_sample

    most = max(plan.phases, key=lambda phase: phase.total)
    samples = most.name == "sampling"
    savings = less_to_sample(config) if samples else less_to_learn(config, plan.conversation, again=plan.again)
    if told := in_words(savings):
        print(f"{most.name}, which takes most, takes less with {told}")
