"""Experiment trackers (TensorBoard, Weights & Biases, trackio ...), through accelerate."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruleshift.errors import RuleshiftError

if TYPE_CHECKING:
    from accelerate import Accelerator

PIP_NAMES = {"comet_ml": "comet-ml"}  # where it differs from accelerate's name of the tracker


def check_trackers(names: Sequence[str]) -> None:
    """Raise RuleshiftError for a tracker that accelerate does not know, or whose package is not installed."""
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise RuleshiftError(f"unknown tracker {name!r}; choose from {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if name not in available:
            raise RuleshiftError(f"the tracker {name} is not installed: pip install {PIP_NAMES.get(name, name)}")


class Trackers:
    """Sends metrics to trackers. They open with the first metrics, once the training has set its devices up."""

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> None:
        self.names, self.folder, self.config = list(names), folder, config
        self.accelerator: Accelerator | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if not self.names:
            return
        if self.accelerator is None:
            from accelerate import Accelerator

            self.accelerator = Accelerator(log_with=self.names, project_dir=str(self.folder))
            self.accelerator.init_trackers("ruleshift", config=_flat(self.config))
        self.accelerator.log(dict(metrics), step=step)

    def close(self) -> None:
        if self.accelerator is not None:
            self.accelerator.end_training()


@contextmanager
def tracking(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> Iterator[Trackers]:
    """Trackers that are closed in the end, however that comes."""
    trackers = Trackers(names, folder, config)
    try:
        yield trackers
    finally:
        trackers.close()


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """One level of plain values, which every tracker takes."""
    plain: dict[str, Any] = {}
    for name, value in config.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            plain.update(_flat(dataclasses.asdict(value)))
        else:
            plain[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return plain
