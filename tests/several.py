"""Trainings that run in one process or in two, to be compared. Each is a case by name, and returns what it came to."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

from helpers import EchoProblem, EchoTask, arm_of, tiny_chat, tiny_model
from ruleshift.errors import RuleshiftError
from ruleshift.records import Verdict
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style
from ruleshift.training.algorithms import configured
from ruleshift.training.processes import ALONE, Processes, start
from ruleshift.training.sharding import full, here
from ruleshift.training.train import train
from vision_helpers import BUILDERS, LookTask

PPO = RLConfig(
    entropy_coef=0.01,
    updates=2,
    episodes=6,
    turns=2,
    max_new_tokens=4,
    learning_rate=1e-2,
    schedule="constant",
    warmup=0,
    value_only=0,
    value_steps=2,
    minibatches=2,
    max_tokens=120,
    kl_coef=0.1,
    target_kl=None,
    adam_epsilon=1e-4,  # steps that are in proportion to gradients, however small: not all of 1e-2 for one of 1e-9
    save_every=1,
)
OF_EACH = replace(PPO, minibatches=6)  # conversations one by one: one of two processes has none
SFT = SFTConfig(
    steps=3, examples=8, batch=4, micro_batch=2, learning_rate=1e-2, schedule="constant", warmup_share=0.0, save_every=2
)
DISTIL = DistilConfig(**{name: getattr(PPO, name) for name in PPO.__dataclass_fields__})
CONFIGS: dict[str, RLConfig | SFTConfig] = {
    "ppo": PPO,
    "ppo, one by one": OF_EACH,
    "ppo, values learned with the model": replace(PPO, value_steps=0),
    "ppo, lora": replace(PPO, lora_rank=2),
    "groups drawn anew": replace(configured(PPO, "grpo", episodes=6, group=3), resample=2),
    "the expert mixed in by noise": replace(PPO, value_steps=0, sft_mix="noise"),
    "distillation from the expert": replace(configured(DISTIL, "opd"), teacher="expert"),
    "distillation of all logits": configured(DISTIL, "sdpo", group=3),
    "ppo on pictures": replace(PPO, turns=1),
    "ppo on pictures, lora": replace(PPO, turns=1, lora_rank=2),
    "ppo on pictures, the projector one by one": replace(OF_EACH, turns=1, train_parts=("projector",)),
    "sft": SFT,
    "sft, lora": replace(SFT, lora_rank=2, schedule="linear"),
    "sft in passes of few tokens": replace(SFT, max_tokens=20),
    "sft, a loss of our own": replace(SFT, loss="psft", loss_lag=2),
    "sft on what the model said": replace(SFT, data="self-unverified", batch_size=2, max_new_tokens=4),
    "sft on pictures": SFT,
    "sft on pictures, lora": replace(SFT, lora_rank=2),
}


@dataclass(frozen=True)
class PaidEcho(EchoProblem):
    """Half of all replies are paid, so that there is always something to learn from."""

    def submit(self, reply: str, last: bool) -> Verdict:
        return Verdict("", float(arm_of(reply)), reply.startswith(self.rank), "wrong")


@dataclass(frozen=True)
class PaidEchoTask(EchoTask):
    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> PaidEcho:
        shown = super().problem(split, seed, index, style)
        return PaidEcho(shown.id, shown.rank, shown.count)


def run(
    name: str,
    folder: Path,
    steps: int | None = None,
    shard: bool = False,
    zero: dict[str, Any] | None = None,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Train as the case says, from where the folder is (to `steps` only), and return metrics, weights, and how many of
    these this process holds."""
    config, processes = CONFIGS[name], replace(processes, shard=shard, zero=zero)
    sees = "pictures" in name
    model, chat = BUILDERS["idefics3"]() if sees else (tiny_model(layers=1, spread=0.3), tiny_chat())
    task, style = (LookTask(), "full") if sees else (PaidEchoTask(), "terse")
    kept: list[dict[str, Any]] = []

    def stop(step: int, metrics: dict[str, float]) -> None:
        if step:  # not while the start model replies
            kept.append({"step": step, **metrics})
            kept[-1].pop("tokens_per_s", None)  # no two runs share it
        if step == steps:
            raise RuleshiftError("stopped")

    with processes.folder(folder, config) as opened:
        try:
            train(config, model, chat, task, style, opened, progress=stop, processes=processes)
        except RuleshiftError as error:
            if "stopped" not in str(error):
                raise
    weights = {n: full(p.detach()).clone() for n, p in model.named_parameters()}
    return {"metrics": kept, "weights": weights, "held": sum(here(p).numel() for p in model.parameters())}


def refuse(folder: Path, processes: Processes) -> str:
    """What a process raises where another one, which does the work, meets an error."""
    try:
        processes.spread(_refused, range(processes.world))
    except RuleshiftError as error:
        return str(error)
    return ""


def _refused(places: Sequence[int]) -> list[int]:
    if 1 in places:
        raise RuleshiftError("the second one cannot go on: give it another place")
    return list(places)


def _work(rank: int, world: int, port: int, jobs: dict[str, tuple[Callable[..., Any], tuple]], out: Path) -> None:
    """One of several processes: does all jobs, and leaves behind what each returned, or its traceback."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    torch.set_num_threads(1)
    processes = start()
    for name, (work, arguments) in jobs.items():
        try:
            found = work(*arguments, processes=processes)
        except Exception:
            found = {"error": traceback.format_exc()}
        torch.save(found, out / f"{name}-{rank}.pt")
        dist.barrier()
    dist.destroy_process_group()


def in_processes(
    jobs: dict[str, tuple[Callable[..., Any], tuple]], out: Path, world: int = 2, patience: float = 600
) -> dict[str, list[Any]]:
    """What jobs return that are done one after the other by all processes: of each, a result for each process."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=10))
    port = store.port
    del store
    context = get_context("forkserver")  # imports once, for all workers
    context.set_forkserver_preload(["several"])
    workers = [context.Process(target=_work, args=(rank, world, port, jobs, out)) for rank in range(world)]
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}):
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join(patience)
        if worker.exitcode is None:
            worker.kill()
    return {name: [torch.load(out / f"{name}-{rank}.pt") for rank in range(world)] for name in jobs}
