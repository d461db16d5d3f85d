"""What a study says of itself as it begins, goes on and ends: to readers, and in study.json for those elsewhere."""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ruleshift.errors import RuleshiftError
from ruleshift.memory import memory_here
from ruleshift.studies.board import Expected, duration
from ruleshift.studies.estimates import Basis, work_of_training
from ruleshift.studies.kept import Size
from ruleshift.studies.points import PointStore
from ruleshift.studies.pool import Job, side_by_side
from ruleshift.studies.progress import (
    JobEntry,
    StudyRecord,
    Totals,
    in_bytes,
    seconds_left,
    state_of,
    states_of,
    told,
    totals_in,
)
from ruleshift.studies.recipes import task_of
from ruleshift.studies.study import WARM, Plan


class StudyLog:
    """Of the study in a folder. bases: what the start models of its plans take, by the folders of these. store: the URL
    of its store, if it has one."""

    def __init__(self, folder: Path, bases: Mapping[str, Basis], store: str | None = None) -> None:
        self.folder, self.bases, self.store = folder, bases, store
        self.began = time.time()
        self.clock = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.clock

    def begin(self, plans: Sequence[Plan], jobs: Sequence[Job], episodes: Size) -> None:
        """Say what is to come, and write it down."""
        runs = tuple(map(self._entry, jobs))
        first = tuple(entry for plan in plans if (entry := self.warm_start(plan)))
        most = {plan.folder: plan.further for plan in plans}
        further = sum(self._further(job, most[job.plan_folder]) for job in jobs if job.run.training)
        disk = episodes.size + sum(self.bases[job.plan_folder].disk(job.run) for job in jobs)
        disk += sum(self.bases[plan.folder].disk(run) for plan in plans if (run := plan.warm_run()))
        memory = max(self.bases[job.plan_folder].memory(job.run, job.measurement) for job in jobs)
        work = sum(entry.course.whole for entry in (*first, *runs))
        estimated = Totals(0.0, work + further, disk, memory)
        command = "ruleshift " + shlex.join(sys.argv[1:])
        self.record = StudyRecord(command, self.began, (*first, *runs), further, estimated, store=self.store)
        states = states_of(self.record, self.folder)
        left = seconds_left(self.record, states, self.folder)
        known = totals_in(self.folder, self.record).memory
        self.record = replace(self.record, estimated=Totals(0.0, left, disk, known or memory))
        self.record.save(self.folder)
        done = sum(not state.is_left for state in states[len(first) :])
        before = " after a warm start" if any(state.is_left for state in states[: len(first)]) else ""
        print(
            f"{len(runs)} runs{before}, {done} of them done; at most about {duration(left)} of work for one worker, "
            f"{in_bytes(disk)} on disk ({episodes} among them), {in_bytes(known or memory)} of memory for each worker",
            flush=True,
        )

    def warms_up(self, plans: Sequence[Plan]) -> bool:
        """Whether a training before all arms has yet to be made."""
        return any(state_of(entry, self.folder).is_left for plan in plans if (entry := self.warm_start(plan)))

    def warm_start(self, plan: Plan) -> JobEntry | None:
        """The training before all arms, if there is one: it has no points."""
        run = plan.warm_run()
        if run is None:
            return None
        seconds = self.bases[plan.folder].seconds(work_of_training(run, task_of(plan.measurement)))
        name, folder = f"{plan.folder} warm start", f"{plan.folder}/{WARM}"
        return JobEntry(name, name, folder, run.length, (), False, Expected(seconds / run.length))

    def add(self, jobs: Sequence[Job]) -> None:
        """Write down a round that measures where arms match."""
        self.record = self.record.with_more(map(self._entry, jobs))
        self.record.save(self.folder)

    def end(self) -> None:
        """Say what the study took, and write it down."""
        took = replace(totals_in(self.folder, self.record), seconds=self.seconds)
        self.record = replace(self.record, took=took)
        self.record.save(self.folder)
        print(f"took {duration(took.seconds)}, {told(took)}")

    def _further(self, job: Job, most: int) -> float:
        """Seconds of the points that a run may yet be measured at where arms match."""
        there = len([*(job.root / job.run.folder / "points").glob("*.parquet")]) - len(job.run.points)
        return max(0, most - max(0, there)) * self.bases[job.plan_folder].expects_further(job.measurement).unit

    def _entry(self, job: Job) -> JobEntry:
        return JobEntry(
            job.name,
            job.kind,
            os.path.relpath(job.root / job.run.folder, self.folder),
            job.length,
            job.further or job.run.points,
            bool(job.further),
            job.expected,
            bool(job.measurement.insight_problems) and not job.further,
        )


def workers_here(plans: Sequence[Plan], bases: Sequence[Basis], roots: Sequence[Path], asked: int | None) -> int:
    """How many runs, those of each plan in a root of their own, go side by side on this machine: as many as were
    `asked` for, with a warning where those that are left have no room; else no more than have, and where these are
    fewer than there would be, that is said. Before anything is trained."""
    runs = [
        (basis.memory(run, plan.measurement), _is_left(PointStore(root, run, plan.measurement)), run.training is None)
        for plan, basis, root in zip(plans, bases, roots, strict=True)
        for run in plan.runs()
    ]
    left = [memory for memory, is_left, _ in runs if is_left]
    on_gpu = torch.cuda.is_available()
    here, room = ("the GPU", torch.cuda.mem_get_info()[1]) if on_gpu else ("this machine", memory_here())
    if asked is not None:
        told = crowded(side_by_side(len(left), asked), max(left, default=0), room, here)
        print(told, end="", file=sys.stderr)
        return asked
    # Where nothing is left, more may be measured of what was trained.
    memory = max(memory for memory, is_left, measures in runs if is_left or measures)
    fit, most = fitting(memory, room, side_by_side(len(runs), None)), side_by_side(len(left), None)
    if fit < most:
        print(f"{fit} of the runs at a time, not {most}: {_no_room(room, here)} for more", flush=True)
    return fit


def _is_left(store: PointStore) -> bool:
    """Whether a run has points to measure, or such as cannot be read, which is said where they are."""
    try:
        return bool(store.missing())
    except RuleshiftError:
        return True


def fitting(memory: float, room: float, most: int) -> int:
    """How many workers, of `most`, that take so many bytes each have room together; at least one."""
    return min(most, max(1, int(room // memory))) if memory else most


def crowded(workers: int, memory: float, room: float, here: str = "the GPU") -> str:
    """A line of warning where workers that take so many bytes each have no room together; none where they have."""
    fit = fitting(memory, room, workers)
    return "" if fit == workers else f"warning: {_no_room(room, here)} for {workers} workers: give --workers {fit}\n"


def _no_room(room: float, here: str) -> str:
    return f"the {in_bytes(room)} of {here} have no room"
