"""Runs of arms: one post-training each, evaluated along the way, in a run folder of its own.

Runs do not depend on each other, so they go side by side in processes of one thread each: on small models two
single-threaded processes finish sooner than one with two threads, and one thread makes the numbers the same on any
number of cores.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.backbones.room import room_for
from ruleshift.backbones.save import save_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.evaluation.evaluate import Cell, Point, cell_of, evaluate
from ruleshift.evaluation.failures import explained
from ruleshift.evaluation.kl import SEED as KL_SEED
from ruleshift.evaluation.kl import StartReplies
from ruleshift.evaluation.sharpness import sharpness
from ruleshift.evaluation.tries import Tally
from ruleshift.records import Episode
from ruleshift.rollouts import KeptEpisode, point_file, save
from ruleshift.runs import RunFolder
from ruleshift.settings import Measurement
from ruleshift.studies import insights
from ruleshift.studies.kept import Keep, Keeper
from ruleshift.studies.points import PointStore
from ruleshift.studies.profiles import Clock, behind_of, is_missing, measure
from ruleshift.studies.recipes import task_of
from ruleshift.studies.study import Run, StartModel
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Task
from ruleshift.training.accounting import Sizes, TokenCount
from ruleshift.training.parts import choose
from ruleshift.training.train import train

Progress = Callable[[int], object]  # units of work done
SHOWN = 2  # conversations of each split that readers are shown


class Meter:
    """Evaluates a model the way a Measurement says, and keeps the points on disk."""

    def __init__(
        self, measurement: Measurement, run: Run, start: Backbone, store: PointStore, keep: Keep = "none"
    ) -> None:
        self.measurement, self.run, self.store = measurement, run, store
        self.task: Task = task_of(measurement)
        self.style, self.chat, self.trained = start.style, start.chat, start.model
        self.flops = 0.0
        engine = LocalEngine(
            copy.deepcopy(start.model), start.chat, Sampling(1.0, measurement.max_new_tokens, seed=KL_SEED)
        )
        self.keeper = Keeper(engine, start.chat, "none" if measurement.feedback == "none" else keep)
        try:
            self.start = StartReplies(engine, self.task, self.style, measurement.kl_problems, measurement.kl_most)
        except Diverged as error:  # before any training
            raise RuleshiftError(f"the start model cannot be used: {error}") from error

    def begin_from(self, model: PreTrainedModel, flops: float) -> None:
        """What is trained is not the start model, to which the KL is measured, but this one, with so many FLOPs behind
        it."""
        self.trained, self.flops = model, flops

    def at_step(self, model: PreTrainedModel, step: int, tokens: TokenCount) -> None:
        """Keep the model of a step of training, and measure it if that is asked for. Nothing is done twice. Raises
        Diverged."""
        wanted = step in self.run.points
        if self.store.has(step) or (not wanted and self.store.model(step).is_dir()):
            return
        _check_finite(model, step)
        if not self.store.model(step).is_dir():
            self.store.keep_tokens(step, tokens)
            save_model(model, self.chat.source, self.store.model(step))
        if wanted:
            with room_for("while it was measured"):  # within the room of what learns
                self.measure(model, step, tokens)

    def measure(self, model: PreTrainedModel, step: int, tokens: TokenCount) -> None:
        """Evaluate and save the point of this step, with a few conversations of each split for readers."""
        m, sizes = self.measurement, Sizes.of(self.trained)
        turns = max(m.turns) if step == self.run.points[-1] else m.turns_along or max(m.turns)
        cells: list[Cell] = []
        seconds: dict[str, Sequence[float]] = {}
        shown: list[Episode] = []
        kept: list[KeptEpisode] = []
        for decoding in m.decodings:
            sampling = Sampling(0.0 if decoding == "greedy" else 1.0, m.max_new_tokens, m.seed)
            engine = LocalEngine(model, self.chat, sampling)
            for split in m.splits:
                tally = Tally(lambda tokens: TokenCount(forward=tokens).flops(sizes))
                episodes = evaluate(
                    engine,
                    self.task,
                    split,
                    m.n,
                    turns,
                    self.style,
                    m.seed,
                    pictured=SHOWN,
                    forgets=m.feedback == "none",
                    heard=tally.hear,
                )
                cell = replace(cell_of(split, decoding, episodes), spent=tally.spent(), most=turns)
                cells.append(explained(cell, self.task.metric, episodes))
                seconds[f"{split}/{decoding}"] = tally.seconds()
                kept += self.keeper.of(episodes, split, decoding)
                if decoding == m.decodings[-1]:
                    shown += episodes[:SHOWN]
        flops = self.flops + tokens.flops(sizes)
        kls = tuple(self.start.kl_of(model))
        kl = fmean(kls)
        if not math.isfinite(kl):
            raise Diverged(f"the KL to the start is not finite at step {step}")
        if kept:
            save(point_file(self.store.folder, step), kept)
        sharp = self._sharpness(model) if m.sharpness_problems else None
        where = (self.task.id, self.run.name, self.run.seed, step)
        self.store.keep_seconds(step, seconds)
        self.store.save(Point(*where, flops, kl, tuple(cells), kls, sharp), shown)

    def _sharpness(self, model: PreTrainedModel) -> float:
        """Of the loss on the expert's replies to problems of `id-val`."""
        m = self.measurement
        problems = [self.task.problem("id-val", m.seed, index, self.style) for index in range(m.sharpness_problems)]
        return sharpness(model, self.chat, problems)


def _check_finite(model: PreTrainedModel, step: int) -> None:
    wrong = next((name for name, weight in model.named_parameters() if not weight.isfinite().all()), None)
    if wrong is not None:
        raise Diverged(f"the weights are not finite at step {step} ({wrong})")


def load_start(start: StartModel, pictures: bool) -> Backbone:
    """The start model, in numbers that can learn."""
    return load_backbone(start.name, dtype="float32", pictures=pictures, options=start.options, style=start.style)


def settings_of(run: Run, start: StartModel, measurement: Measurement) -> dict[str, object]:
    """The configuration of the folder of a run, to which its results belong."""
    told = replace(measurement, feedback=run.feedback or measurement.feedback)
    return {"arm": run, "measurement": told, **start.settings}


def run_arm(
    run: Run,
    start: StartModel,
    measurement: Measurement,
    root: Path,
    progress: Progress,
    further: Sequence[int] = (),
    threads: int = 1,
    keep: Keep = "none",
) -> None:
    """Train and evaluate in `root/run.folder`, from where an earlier call stopped. A point that is missing is measured
    from the model that was kept of its step, and so are those of `further` steps, which count as the work of a run that
    has been trained.

    keep: which episodes are kept beside the points and from the training, to be looked at; no number depends on it.

    Raises Diverged, then and whenever it is called again, once a training is not finite.
    """
    torch.set_num_threads(threads)
    measurement = replace(measurement, feedback=run.feedback or measurement.feedback)
    store = PointStore(root, run, measurement)
    with RunFolder.open(store.folder, settings_of(run, start, measurement)) as folder:
        why = store.diverged()
        if why is not None:
            raise Diverged(why)
        whole = len(further) or run.length
        more = is_missing(store.folder, run, measurement) or insights.missing(store.folder, run, measurement)
        if not store.missing(further) and not more:
            progress(whole)
            return
        pictures = get_task(measurement.task).pictures
        try:
            origin, flops = _origin(run, start, measurement, root)
            backbone = load_start(start, pictures)
            meter = Meter(measurement, run, backbone, store, keep)
            if origin is not start:
                backbone = replace(backbone, model=load_start(origin, pictures).model)
                meter.begin_from(backbone.model, flops)
            if run.training is None:
                meter.measure(backbone.model, 0, TokenCount())
            else:
                _train(run, backbone, meter, folder, progress)
                _measure_kept(meter, start, pictures, further, progress)
            if is_missing(store.folder, run, measurement):
                _profile(meter, start, pictures, folder, origin)
            _insights(meter, start, pictures)
        except Diverged as error:
            store.diverge(str(error))
            raise
        progress(whole)


def _origin(run: Run, start: StartModel, measurement: Measurement, root: Path) -> tuple[StartModel, float]:
    """The model that a run begins with, and the FLOPs that it has behind it. Raises Diverged where another run, from
    which it starts, diverged before it came to that step."""
    if run.start is None:
        return start, 0.0
    before, step = PointStore(root, run.start.run, measurement), run.start.step
    if before.model(step).is_dir() and before.has(step):
        return replace(start, name=str(before.model(step))), before.load(step).train_flops
    why = before.diverged()
    if why is None:
        raise RuleshiftError(
            f"{run.folder} starts from step {step} of {before.folder}, which lacks it: {before.start_again}"
        )
    raise Diverged(f"it starts from step {step} of {run.start.run.folder}, which diverged before it came there ({why})")


def _train(run: Run, start: Backbone, meter: Meter, folder: RunFolder, progress: Progress) -> None:
    """Train, unless all that is missing can be measured on models that were kept."""
    training = run.training
    assert training is not None
    if all(meter.store.model(step).is_dir() for step in meter.store.missing()):
        # Its parameters are counted as in training.
        choose(start.model, training.train_parts, training.lora_rank, training.seed)
        return
    clock = Clock(meter.store.folder)

    def at_step(step: int, tokens: TokenCount) -> None:
        with clock.stopped():
            meter.at_step(start.model, step, tokens)

    def follow(step: int, metrics: object) -> None:
        progress(step)
        if step and step % training.save_every == 0:  # with the checkpoint
            clock.keep()

    train(
        training,
        start.model,
        start.chat,
        meter.task,
        start.style,
        folder,
        sorted({*run.points, *run.kept}),
        at_step,
        follow,
        watched=meter.keeper.keep != "none",
    )


def _measure_kept(meter: Meter, start: StartModel, pictures: bool, further: Sequence[int], progress: Progress) -> None:
    """The points that a training did not measure, `further` ones or since it was past them: from the models that were
    kept."""
    for done, step in enumerate(meter.store.missing(further)):
        if further:
            progress(done)
        kept = meter.store.model(step)
        if not kept.is_dir():
            raise RuleshiftError(f"step {step} has neither a point nor a model in {kept}: {meter.store.start_again}")
        tokens = meter.store.tokens(step)
        try:
            model = load_start(replace(start, name=str(kept)), pictures).model
        except RuleshiftError as error:
            raise RuleshiftError(
                f"{kept} is damaged, and the point of step {step} is missing: {meter.store.start_again}"
            ) from error
        meter.measure(model, step, tokens)


def _profile(meter: Meter, start: StartModel, pictures: bool, folder: RunFolder, origin: StartModel) -> None:
    """The profile of the model at the end, as it was kept; the start's is its own. origin: what was trained."""
    run, store, base = meter.run, meter.store, meter.start.engine.model
    step = run.points[-1]
    model = meter.trained
    if run.training is not None:
        model = load_start(replace(start, name=str(store.model(step))), pictures).model
    behind = behind_of(store.root, run, step, meter.measurement)

    def engine_of(one: PreTrainedModel, sampling: Sampling) -> LocalEngine:
        return LocalEngine(one, meter.chat, sampling)

    where = (meter.task, meter.style)
    began = None if origin is start else load_start(origin, pictures).model
    measure(run, meter.measurement, folder, (base, model), engine_of, where, store.load(step), behind, began)


def _insights(meter: Meter, start: StartModel, pictures: bool) -> None:
    """The insights that are missing, from the models that were kept; the start's is its own."""
    run, store, m = meter.run, meter.store, meter.measurement
    steps, where, began = insights.missing(store.folder, run, m), (meter.task, meter.style), meter.start.engine.model
    if not steps:
        return
    how = insights.sampling_of(m)
    shown = insights.shown_to(run, m, where, LocalEngine(began, meter.chat, how), store.root)
    for step in steps:
        model = meter.trained
        if run.training is not None:
            model = load_start(replace(start, name=str(store.model(step))), pictures).model
        insights.measure(LocalEngine(model, meter.chat, how), began, m, where, shown, store.load(step), store.folder)


def load_points(root: Path, run: Run, measurement: Measurement, further: Sequence[int] = ()) -> list[Point]:
    """The points of a run, by step, with `further` ones: none of one that diverged. Raises RuleshiftError while one is
    missing."""
    store = PointStore(root, run, measurement)
    return [] if store.diverged() is not None else [store.load(step) for step in sorted({*run.points, *further})]
