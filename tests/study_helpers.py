"""What the tests of studies share: a tiny untrained model, tiny recipes, and runs in this process."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ruleshift.backbones.config import BuildConfig
from ruleshift.backbones.save import save_model
from ruleshift.pretraining.build import new_model
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.studies.arms import run_arm
from ruleshift.studies.pool import Agenda, Job, outcome
from ruleshift.studies.recipes import StudyRecipe
from ruleshift.studies.study import Plan, Study

SFT = SFTConfig(steps=3, examples=8, batch=4, micro_batch=4, learning_rate=1e-3, save_every=2)
RL = RLConfig(updates=2, episodes=4, minibatches=1, turns=2, max_new_tokens=6, value_steps=2, learning_rate=1e-4)
MEASUREMENT = Measurement("gp-l", n=5, turns=(1, 2), max_new_tokens=6, kl_problems=4, kl_most=8)
RECIPE = StudyRecipe("a title", SFT, RL, MEASUREMENT)


def tiny_start(folder: Path) -> str:
    """A model of one layer in Hugging Face format."""
    tiny, chat = new_model(BuildConfig(width=32, layers=1, heads=2, feedforward=32))
    save_model(tiny, chat.tokenizer, folder / "tiny")
    return str(folder / "tiny")


def plan_of(study: Study, model: str, measurement: Measurement = MEASUREMENT, **settings: object) -> Plan:
    """A study of a few steps, on problems of two splits."""
    options = settings.pop("options", study.options)
    small = replace(measurement, splits=("id", "rule-ood"), decodings=("sampled",))
    return Plan(study, RECIPE, study.measures(small), options, model, points=2, **settings)  # type: ignore[arg-type]


def rows_in(folder: Path) -> list[dict]:
    """The rows of a study's results on gp-l, as they stand in the file."""
    rows: list[dict] = json.loads((folder / "gp-l" / "results.json").read_text())["rows"]
    return rows


def in_this_process(jobs: list[Job], workers: int | None = None) -> None:
    """`run_jobs` for tests: one after the other in this process, which has the libraries loaded."""
    agenda = Agenda(jobs, 0)
    while job := agenda.next(0.0):
        news = outcome(job, lambda done: None)
        if news.ended == "refused":
            run_arm(job.run, job.start, job.measurement, job.root, lambda done: None)  # raises again what it raised
        assert news.ended in ("well", "diverged"), news.said
        agenda.hear(job, news, 0.0)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arms run in this process."""
    monkeypatch.setattr("ruleshift.studies.run.run_jobs", in_this_process)
