"""Reinforcement learning with pictures: episodes per second of a whole PPO update, and where the time goes.

    python benchmarks/vision.py                  # gp-vl and virl-vl, the bundled model, presets `tiny`, two threads
    python benchmarks/vision.py --episodes 32

An update collects episodes (drawing pictures, reading them with the tower, decoding replies), estimates (values,
log-probs of the reference: every picture is read twice more), and learns. "Drawing" is making pictures; "encoding" is
the processor, the tower and its projector, while episodes are collected; "decoding" is the rest of collecting; the last
two read the pictures again as part of their work. The first update is not counted: it draws
what later ones are put together from.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import torch

from ruleshift.backbones import vision
from ruleshift.backbones.load import load_backbone
from ruleshift.quiet import quiet_libraries
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints import visual as cards
from ruleshift.tasks.virl import eyes
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine
from timing import print_json, print_table

PARTS = ("drawing", "encoding", "decoding", "estimates", "learning")


def timed(spent: Counter[str], part: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, its seconds added to `part`."""

    @wraps(work)
    def run(*args: object, **kwargs: object) -> object:
        began = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            spent[part] += time.perf_counter() - began

    return run


def measured(task: str, episodes: int | None, updates: int) -> list[object]:
    """A row: episodes/s, pictures of an update, and the share of each part in percent."""
    start = load_backbone("bundled", pictures=True)
    config = get_task(task).recipe.rl["tiny"]
    config = replace(config, episodes=episodes or config.episodes, value_only=0, warmup=0)
    rollout = Rollout(get_task(task), start.style, config, local_engine(start.model, start.chat, config))
    ppo = RL(start.model, start.chat, rollout)
    ppo.update()
    spent: Counter[str] = Counter()
    inner = cards.draw, eyes.Eyes.picture, vision.features
    cards.draw = timed(spent, "drawing", cards.draw)
    eyes.Eyes.picture = timed(spent, "drawing", eyes.Eyes.picture)  # type: ignore[method-assign]
    pictures = 0
    for _ in range(updates):
        vision.features = timed(spent, "encoding", inner[2])
        before, began = spent["drawing"] + spent["encoding"], time.perf_counter()
        collected = rollout.collect(ppo.done)
        spent["decoding"] += time.perf_counter() - began - (spent["drawing"] + spent["encoding"] - before)
        pictures += sum(len(episode.pictures) for episode in collected)
        vision.features = inner[2]
        batch, _ = timed(spent, "estimates", ppo.estimate)(collected)
        timed(spent, "learning", ppo.learn)(batch)
        ppo.done += 1
    cards.draw, eyes.Eyes.picture, vision.features = inner  # type: ignore[method-assign]
    total = sum(spent.values())
    return [
        task,
        updates * config.episodes / total,
        pictures // updates,
        *(100 * spent[part] / total for part in PARTS),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["gp-vl", "virl-vl"])
    parser.add_argument("--episodes", type=int, help="episodes of an update; by default the preset's")
    parser.add_argument("--updates", type=int, default=2, help="updates that count")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(options.threads)
    rows = [measured(task, options.episodes, options.updates) for task in options.tasks]
    header = ["task", "episodes/s", "pictures", *(f"{part} %" for part in PARTS)]
    print_table("A PPO update with pictures", header, rows)
    results = {str(row[0]): dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    print_json("vision", vars(options), results)


if __name__ == "__main__":
    main()
