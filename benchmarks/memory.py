"""Memory of PPO's updates on a CPU, phase by phase: as `--plan` foretells it, and as the last of them is measured.

    python benchmarks/memory.py --model smollm2 --rl.lora-rank 16 --rl.episodes 13
    python benchmarks/memory.py --model FOLDER --chat-template plain --rl.lora-rank 16 --rl.episodes 16

On Linux. Measured is the largest resident memory of the process beyond what it held before it read the model; what
`--plan` calls the program is left out of both. Two updates by default, since Adam's moments are there when
replies are sampled from the second on. Nothing is saved.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import tyro

from resident import forget_peak, memory
from ruleshift.backbones.config import AnyStyle, ModelOptions
from ruleshift.backbones.load import load_backbone
from ruleshift.commands.policies import ModelArguments
from ruleshift.quiet import quiet_libraries
from ruleshift.records import Episode
from ruleshift.settings import RLConfig
from ruleshift.tasks import get_task
from ruleshift.training.learner import Batch
from ruleshift.training.plan import Forecast, forecast
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine

SMALL = RLConfig(
    updates=2, episodes=12, minibatches=1, turns=5, max_new_tokens=24, value_only=0, gradient_checkpointing=True
)


@dataclass(frozen=True)
class Options:
    model: str = "smollm2"
    """A named model, or a folder."""
    task: str = "gp-l"
    style: AnyStyle = "terse"
    loading: ModelArguments = ModelOptions()
    rl: RLConfig = SMALL


class Measured(RL):
    """Notes the peak of sampling before it learns."""

    sampling = 0

    def estimate(self, episodes: Sequence[Episode]) -> tuple[Batch, dict[str, float]]:
        self.sampling = peak()
        return super().estimate(episodes)


def peak() -> int:
    """The largest resident memory since this was last asked for."""
    most = memory("VmHWM")
    forget_peak()
    return most


def planned(options: Options) -> Forecast:
    backbone = load_backbone(options.model, device="meta", options=options.loading, style=options.style)
    task = get_task(options.task)
    return forecast(backbone.model, backbone.chat, task, backbone.style, options.rl)


def main(options: Options) -> None:
    quiet_libraries()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plan = planned(options)
    peak()
    before, began = memory("VmRSS"), time.monotonic()
    backbone, config = load_backbone(options.model, options=options.loading, style=options.style), options.rl
    engine = local_engine(backbone.model, backbone.chat, config)
    rollout = Rollout(get_task(options.task), backbone.style, config, engine)
    rl = Measured(backbone.model, backbone.chat, rollout)
    for _ in range(config.updates):
        peak()
        rl.update()
    found = {"sampling": rl.sampling - before, "learning": peak() - before}
    foretold = {"sampling": plan.phases[0].total, "learning": max(phase.total for phase in plan.phases[1:])}
    print(
        f"{plan.parameters / 1e6:.0f}M parameters, {plan.learning / 1e6:.1f}M learn; {plan.pass_tokens:,} tokens a pass"
    )
    for phase, measured in found.items():
        ratio = measured / foretold[phase]
        print(f"{phase}: {foretold[phase] / 1e9:.2f} GB foretold, {measured / 1e9:.2f} GB measured ({ratio:.2f})")
    print(json.dumps({"foretold": foretold, "measured": found, "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main(tyro.cli(Options))
