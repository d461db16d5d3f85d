"""Arms: one post-training run each, evaluated densely along the way, in a run folder of its own.

Arms do not depend on each other, so they run side by side in processes of one thread each: on small models two
single-threaded processes finish sooner than one with two threads, and one thread makes the numbers the same on any
number of cores.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.backbones.save import save_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.episodes import save_episodes
from ruleshift.evaluation.evaluate import Cell, Point, cell_of, evaluate, load_point, save_point
from ruleshift.records import Episode
from ruleshift.runs import RunFolder
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task
from ruleshift.training.accounting import TokenCount, count_parameters, count_tower
from ruleshift.training.train import train
from ruleshift.training.trajectories import Trajectory, evaluate_tokens

Report = Callable[[str, int, int], object]  # (arm, units of work done, units in all)
SHOWN = 2  # conversations of each split that readers are shown


@dataclass(frozen=True)
class Arm:
    """A training run: `name` is base, sft or rl, with a suffix for a variant; `points` are the steps to evaluate."""

    name: str
    seed: int
    training: SFTConfig | RLConfig | None
    points: tuple[int, ...]

    @property
    def folder(self) -> str:
        return f"{self.name}-seed{self.seed}"


def log_spaced(last: int, count: int, first: int = 1) -> tuple[int, ...]:
    """At most `count` steps from `first` to `last`, evenly spaced on a logarithmic scale, whole and distinct."""
    if count == 1 or last <= first:
        return (last,)
    ratio = (last / first) ** (1 / (count - 1))
    return tuple(sorted({min(last, max(first, round(first * ratio**i))) for i in range(count)} | {last}))


class Meter:
    """Evaluates a model the way a Measurement says, and keeps the points on disk."""

    def __init__(self, measurement: Measurement, arm: Arm, start: Backbone, folder: Path) -> None:
        self.measurement, self.arm, self.folder = measurement, arm, folder
        self.task: Task = get_task(measurement.task)
        self.style, self.chat = start.style, start.chat
        self.start_replies, self.start_logprobs = self._sample_start(start)

    def _sample_start(self, start: Backbone) -> tuple[list[Trajectory], list[torch.Tensor]]:
        sampling = Sampling(1.0, self.measurement.max_new_tokens, seed=7)
        engine = LocalEngine(start.model, start.chat, sampling)
        episodes = evaluate(engine, self.task, "id-val", self.measurement.kl_problems, 1, self.style, seed=7)
        replies = [Trajectory.of(episode) for episode in episodes]
        logprobs, _ = evaluate_tokens(start.model, replies, 3_000, start.chat.eye)
        return replies, logprobs

    def kl_to_start(self, model: PreTrainedModel) -> float:
        """Forward KL(start || model) per reply in nats, on the training rule: mean over replies y of the start model
        of log start(y) - log model(y). Source: "RL's Razor" (arXiv 2509.04259), section 4."""
        logprobs, _ = evaluate_tokens(model, self.start_replies, 3_000, self.chat.eye)
        total = sum(float((a - b).sum()) for a, b in zip(self.start_logprobs, logprobs, strict=True))
        return total / sum(len(trajectory.rewards) for trajectory in self.start_replies)

    def path(self, step: int) -> Path:
        return self.folder / "points" / f"{step:06d}.json"

    def measure(self, model: PreTrainedModel, step: int, tokens: TokenCount) -> None:
        """Evaluate and save the point of this step, and a few conversations of each split for readers."""
        m = self.measurement
        cells: list[Cell] = []
        sample: list[Episode] = []
        for decoding in m.decodings:
            sampling = Sampling(0.0 if decoding == "greedy" else 1.0, m.max_new_tokens, m.seed)
            engine = LocalEngine(model, self.chat, sampling)
            for split in m.splits:
                episodes = evaluate(engine, self.task, split, m.n, max(m.turns), self.style, m.seed, pictured=SHOWN)
                cells.append(cell_of(split, decoding, episodes))
                if decoding == m.decodings[-1]:
                    sample += episodes[:SHOWN]
        flops = tokens.flops(count_parameters(model), count_tower(model))
        where = (m.task, self.arm.name, self.arm.seed, step)
        self._keep_model(model, step)
        self.path(step).parent.mkdir(parents=True, exist_ok=True)
        save_point(self.path(step), Point(*where, flops, self.kl_to_start(model), tuple(cells)))
        save_episodes(self.folder / "episodes.parquet", sample)

    def _keep_model(self, model: PreTrainedModel, step: int) -> None:
        """The model of every point of a trained arm stays in `models/step-...`, in Hugging Face format."""
        folder = self.folder / "models" / f"step-{step:06d}"
        if self.arm.training is not None and not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            save_model(model, self.chat.source, folder)


def run_arm(arm: Arm, model: str, measurement: Measurement, root: Path, report: Report, threads: int = 1) -> None:
    """Train and evaluate an arm in `root/arm.folder`, from where an earlier call stopped."""
    torch.set_num_threads(threads)
    folder = root / arm.folder
    config = {"arm": arm, "model": model, "measurement": measurement}
    with RunFolder.open(folder, config) as run:
        if all((folder / "points" / f"{step:06d}.json").is_file() for step in arm.points):
            report(arm.name, 1, 1)
            return
        start = load_backbone(model, dtype="float32", pictures=get_task(measurement.task).pictures)
        meter = Meter(measurement, arm, start, folder)
        if arm.training is None:
            meter.measure(start.model, 0, TokenCount())
            report(arm.name, 1, 1)
            return
        steps = arm.training.steps if isinstance(arm.training, SFTConfig) else arm.training.updates

        def at_point(step: int, tokens: TokenCount) -> None:
            if not meter.path(step).is_file():
                meter.measure(start.model, step, tokens)

        def progress(step: int, metrics: dict[str, float]) -> None:
            report(arm.name, step, steps)

        where = (start.model, start.chat, meter.task, start.style)
        train(arm.training, *where, run, arm.points, at_point, progress)


def load_points(root: Path, arm: Arm) -> list[Point]:
    """The points of an arm that are on disk, by step."""
    return [load_point(path) for path in sorted((root / arm.folder / "points").glob("*.json"))]


def with_learning_rate(arm: Arm, learning_rate: float) -> Arm:
    """A variant of an arm, named after its learning rate and evaluated at its end only."""
    assert arm.training is not None
    training = replace(arm.training, learning_rate=learning_rate)
    mantissa, exponent = f"{learning_rate:.2e}".split("e")
    name = f"{arm.name}-lr{float(mantissa):g}e{int(exponent)}"
    return replace(arm, name=name, training=training, points=arm.points[-1:])
