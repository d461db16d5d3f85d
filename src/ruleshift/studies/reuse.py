"""Trainings that other studies made, taken over by runs that ask for the same ones.

    RUN/taken.json     where they were taken from

Two trainings are the same where all that decides them is: settings, seed, start model, task, feedback, and what they
begin with. Names of arms and the steps that are evaluated do not. Points, and profiles and insights beside them, are
taken as well where they were measured in the same way; otherwise they are measured anew, on the models that were kept.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ruleshift.errors import RuleshiftError
from ruleshift.files import write_atomically
from ruleshift.runs import METRICS, RunFolder, plain
from ruleshift.studies import profiles
from ruleshift.studies.arms import settings_of
from ruleshift.studies.points import SECONDS
from ruleshift.studies.pool import Job

TAKEN = "taken.json"
TEMPORARY = ".tmp-taken-"
TRAINING = ("models", METRICS, profiles.SECONDS, "episodes")  # in the folder of a run: what its training left behind
POINTS = ("points", SECONDS)
FREE = ("name", "points", "kept")  # of a run: what does not decide its training
BESIDE = {"*.profile.json": ("profile_",), "*.insight.json": ("insight_", "flow_")}  # beside points: files, settings
APART = tuple(chain.from_iterable(BESIDE.values()))  # of a measurement: what does not decide the points


def take_over(jobs: Sequence[Job], folders: Sequence[Path]) -> int:
    """Take what jobs that have not begun ask for from the runs below these folders, and say of how many. Files are
    linked where that can be done, so they take no room. Raises RuleshiftError for a folder without a run."""
    made = {training_of(config): path for folder in folders for path, config in _runs_below(folder)}
    taken = 0
    for job in jobs:
        target, settings = job.root / job.run.folder, plain(settings_of(job.run, job.start, job.measurement))
        source = made.get(training_of(settings))
        if job.run.training is None or source is None or target.exists():
            continue
        if all((source / "models" / f"step-{step:06d}").is_dir() for step in job.run.points):
            _take(source, target, settings)
            taken += 1
    return taken


def taken_from(run: Path) -> str | None:
    """The folder that a run's training was taken from; None for one that was trained where it is."""
    try:
        return str(json.loads((run / TAKEN).read_bytes())["from"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RuleshiftError(f"{run / TAKEN} cannot be read: delete the folder {run}, and run it again") from error


def training_of(config: Mapping[str, Any]) -> str:
    """All that decides a training, of the configuration of a run, as text to compare."""
    arm, measurement = config["arm"], config["measurement"]
    decides = {name: value for name, value in arm.items() if name not in FREE}
    begun = [config["model"], config.get("weights"), config.get("chat")]
    where = [*begun, measurement["task"], measurement["feedback"]]
    return json.dumps([decides, where], sort_keys=True)


def _runs_below(folder: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The runs of studies in a folder, itself and below, that this version can read."""
    found = False
    for path in sorted(folder.rglob("arms/*/config.json")):
        stored = RunFolder(path.parent).current_config()
        if stored is not None and {"arm", "measurement", "model"} <= stored.keys():
            found = True
            yield path.parent, stored
    if not found:
        raise RuleshiftError(f"--reuse {folder} holds no runs of this version: name the folder of a study (its --out)")


def _take(source: Path, target: Path, settings: Mapping[str, Any]) -> None:
    """All of a run, in a folder that appears whole or not at all."""
    there = RunFolder(source).read_config()
    assert there is not None
    same = _measured(there["config"]) == _measured(settings)
    other = [
        files for files, names in BESIDE.items() if _settings(there["config"], names) != _settings(settings, names)
    ]
    temporary = target.with_name(f"{TEMPORARY}{target.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for name in (*TRAINING, *(POINTS if same else ())):
        if (source / name).is_dir():
            leave = shutil.ignore_patterns(*other)
            shutil.copytree(source / name, temporary / name, ignore=leave, copy_function=_link)
        elif (source / name).is_file():
            shutil.copy2(source / name, temporary / name)  # is written to
    write_atomically(temporary / TAKEN, json.dumps({"from": str(source)}) + "\n")
    write_atomically(temporary / "config.json", json.dumps(there | {"config": settings}, indent=2) + "\n")
    temporary.rename(target)


def _measured(config: Mapping[str, Any]) -> list[object]:
    """What decides the points of a run: they say of which arm they are."""
    apart = _settings(config, APART)
    return [config["arm"]["name"], {k: v for k, v in config["measurement"].items() if k not in apart}]


def _settings(config: Mapping[str, Any], beginnings: tuple[str, ...]) -> dict[str, Any]:
    """Those of a run's measurement whose names begin with one of these."""
    return {name: value for name, value in config["measurement"].items() if name.startswith(beginnings)}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
