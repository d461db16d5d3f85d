"""What plans foretell of tasks in pictures and of teachers; memory that goes back to the system."""

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import psutil
import pytest
import torch
from transformers import PreTrainedModel

import ruleshift.training.plan_pictures as plan_pictures
from helpers import EchoTask, one_thread, tiny_chat, tiny_model
from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, Part, RLConfig
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import configured
from ruleshift.training.footprint import Footprint
from ruleshift.training.heap import given_back
from ruleshift.training.parts import choose
from ruleshift.training.plan import Forecast, forecast
from ruleshift.training.sft_lessons import demonstration
from ruleshift.training.trajectories import Thrift, Trajectory, forward

RL = RLConfig(updates=2, episodes=8, minibatches=1, max_new_tokens=8, turns=1, value_only=0)
PARTS: list[tuple[Part, ...]] = [("tower", "projector", "decoder"), ("decoder",)]


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@cache
def seeing() -> Backbone:
    return load_backbone("bundled", "cpu", pictures=True)


def demonstrations(count: int) -> list[Trajectory]:
    task, found = get_task("gp-vl"), seeing()
    return [demonstration(found.chat, task.problem("train", 0, i, found.style), 1) for i in range(count)]


def measured(group: list[Trajectory], parts: tuple[Part, ...]) -> dict[str, int]:
    """The peak of a pass that learns, on real tensors, where passes before it have left their gradients."""
    found = load_backbone("bundled", "cpu", pictures=True)
    choose(found.model, parts, 0, 0)
    learning = [p for p in found.model.parameters() if p.requires_grad]
    footprint = Footprint(found.model.get_output_embeddings().weight.shape)
    for tensor in (*found.model.parameters(), *found.model.buffers()):
        footprint.hold(tensor, "weights")
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
        footprint.hold(parameter.grad, "gradients")
    with footprint:
        forward(found.model, group, found.chat.eye, thrift=Thrift(recompute=True)).logprobs.sum().backward()
    return dict(footprint.peak)


def planned(config: RLConfig, task: str = "gp-vl") -> Forecast:
    found = load_backbone("bundled", "meta", pictures=True)
    return forecast(found.model, found.chat, get_task(task), found.style, config)


@pytest.mark.parametrize("parts", PARTS)
def test_planned_passes_over_pictures_take_what_real_ones_take(parts, monkeypatch):
    group = demonstrations(8)
    monkeypatch.setattr("ruleshift.training.plan.longest", lambda *_: (group, []))
    learning = planned(replace(RL, train_parts=parts, gradient_checkpointing=True)).phases[1].parts
    real = measured(group, parts)
    if parts == ("decoder",):  # the tower has looked before, and its features are kept
        assert learning["pictures"] > sum(3 * p.height * p.width for t in group for p in t.pictures)
        assert learning["activations"] < real["activations"]
    else:
        assert learning["activations"] == pytest.approx(real["activations"], rel=0.05)


def test_a_plan_counts_the_patches_of_pictures():
    whole, frozen = (planned(replace(RL, train_parts=parts)) for parts in PARTS)
    each = 144  # patches of a picture of 192 pixels a side
    assert whole.tokens.patches_trained == RL.updates * RL.episodes * each
    assert whole.tokens.patches_forward == 3 * RL.updates * RL.episodes * each
    assert frozen.tokens.patches_trained == 0
    assert frozen.tokens.patches_forward == 2 * RL.updates * RL.episodes * each  # to sample, and once for all passes


def test_families_that_cannot_be_planned_are_named(monkeypatch):
    monkeypatch.setattr(plan_pictures, "PLANNED", ("smolvlm",))
    with pytest.raises(RuleshiftError, match="this model is of idefics3: leave it out"):
        planned(RL)


def on_meta(width: int = 32) -> PreTrainedModel:
    with torch.device("meta"):
        return tiny_model(width=width)


def taught(**changes: object) -> Forecast:
    config = configured(DistilConfig(**vars(RL)), "opd", episodes=8, group=1)
    config = replace(config, **{"privileged_context": "demonstration", **changes})
    other = on_meta(64) if config.teacher not in ("self", "expert") else None
    return forecast(on_meta(), tiny_chat(), EchoTask(), "terse", config, teacher=other)


def test_a_plan_tells_what_each_teacher_takes():
    size = sum(p.nbytes for p in tiny_model().parameters())
    plans = {
        "base": taught(),
        "ema": taught(teacher_model_kind="ema"),
        "other": taught(teacher="other", privileged_context="none"),
        "expert": taught(teacher="expert", privileged_context="none"),
        "divergence": taught(distillation_mode="full_logits"),
    }
    teacher = {name: plan.phases[-1].parts["teacher"] for name, plan in plans.items()}
    assert teacher["base"] == teacher["expert"] == teacher["divergence"] == 0
    assert teacher["ema"] == size
    assert teacher["other"] == sum(p.nbytes for p in tiny_model(width=64).parameters())
    names = {name: [phase.name for phase in plan.phases] for name, plan in plans.items()}
    assert names["divergence"] == ["sampling", "learning", "step"]
    assert names["base"] == names["expert"] == ["sampling", "teaching", "learning", "step"]
    learning = {name: plan.phases[-2].parts for name, plan in plans.items()}
    assert learning["divergence"]["logits"] > 1.5 * learning["base"]["logits"]
    assert plans["other"].tokens.forward > plans["base"].tokens.forward > plans["expert"].tokens.forward


def test_distil_plans_as_the_others_do(tmp_path: Path, capsys):
    out = tmp_path / "run"
    command = ["distil", "gp-l", "--teacher", "expert", "--episodes", "4", "--out", str(out), "--plan", "h100"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "teaching" in said
    assert not out.exists()
    assert "pictures" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_frugal_passes_leave_no_holes():
    def left(frugal: bool) -> int:
        """Bytes that stay with the process when every other tensor of 40 is freed."""
        with given_back(frugal):
            before = psutil.Process().memory_info().rss
            tensors = [torch.ones(2**19) for _ in range(40)]
            del tensors[::2]
            return psutil.Process().memory_info().rss - before

    left(True)
    assert left(True) < 0.8 * left(False)
