"""What plans foretell of runs and of teachers; memory that goes back to the system."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, XLNetConfig, XLNetLMHeadModel

from helpers import EchoTask, new_rl, tiny_chat, tiny_model
from ruleshift.cli import main
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.tasks import get_task
from ruleshift.training.algorithms import configured
from ruleshift.training.footprint import Footprint
from ruleshift.training.longest import longest
from ruleshift.training.parts import check_recompute
from ruleshift.training.plan import Forecast, forecast
from ruleshift.training.sft import train_sft
from ruleshift.training.sft_lessons import demonstration
from ruleshift.training.trajectories import Thrift

RL = RLConfig(updates=2, episodes=8, minibatches=1, max_new_tokens=8, turns=1, value_only=0)


pytestmark = pytest.mark.usefixtures("on_one_thread")


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
    assert re.search(r"time +more than \S+ h, which the FLOPs alone take at the card's peak rate", said)
    assert not out.exists()
    assert "pictures" not in said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_what_a_first_call_converts_is_no_part_of_the_program():
    """A model that stands for one that is converted: 400 MB are made and freed while it is loaded."""
    script = """
import torch
import ruleshift.backbones.load as load
from ruleshift.cli import main

located, kept = load.located, []

def converted(*names):
    made = [torch.ones(2**18) for _ in range(400)]
    kept.append(made[-1])
    return located(*names)

for load.located in (located, converted):
    main(["sft", "gp-l", "--style", "terse", "--steps", "1", "--plan", "cpu"])
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    usual, first = map(float, re.findall(r"program +(\S+)", said))
    assert first == pytest.approx(usual, abs=0.1)


# What runs take that their plans foretell


def worded(device: str = "cpu") -> PreTrainedModel:
    """A Llama of few weights and many words, whose logits are what fills the memory."""
    config = {**tiny_model().config.to_dict(), "vocab_size": 16_384}
    with torch.device(device):
        return LlamaForCausalLM(LlamaConfig(**config)).eval()


def held(footprint: Footprint, model: PreTrainedModel) -> Footprint:
    for tensor in (*model.parameters(), *model.buffers()):
        footprint.hold(tensor, "weights")
    return footprint


def foretold(config: RLConfig | SFTConfig, model: PreTrainedModel, *names: str) -> int:
    plan = forecast(model, tiny_chat(), EchoTask(), "terse", config)
    return max(phase.total for phase in plan.phases if not names or phase.name in names)


@pytest.mark.parametrize("loss", ["nll", "dft", "psft"])
def test_sft_takes_what_its_plan_foretells(loss, tmp_path):
    """Over passes of which a part is learned: logits of all tokens would take more than the whole plan."""
    config = SFTConfig(loss=loss, steps=3, examples=128, batch=128, micro_batch=128, max_tokens=1_000, save_every=4)
    model = worded()
    footprint = held(Footprint(model.get_output_embeddings().weight.shape), model)
    with RunFolder.open(tmp_path, config) as run, footprint:
        train_sft(model, tiny_chat(), EchoTask(), "terse", config, run)
    plan = foretold(config, worded("meta"))
    assert sum(footprint.peak.values()) == pytest.approx(plan, rel=0.1)
    assert plan < 4 * 16_384 * 1_000 * 3  # logits, their log-softmax and its gradient


def test_gradients_of_halves_are_foretold():
    config = replace(RL, sft_mix="noise", updates=1, episodes=16, max_new_tokens=2, value_only=0)
    model = tiny_model(width=256)
    rl = new_rl(model, tiny_chat(), EchoTask(), "terse", config)
    batch, _ = rl.estimate(rl.collect()[0])
    with held(Footprint(model.get_output_embeddings().weight.shape), model) as footprint:
        rl.learn(batch)
        rl.learn(batch)  # there are moments now
    with torch.device("meta"):
        fresh = tiny_model(width=256)
    plan = forecast(fresh, tiny_chat(), EchoTask(), "terse", config)
    assert [phase.name for phase in plan.phases] == ["sampling", "learning", "showing", "mixing", "step"]
    size = sum(p.nbytes for p in model.parameters())
    gradients = {phase.name: phase.parts["gradients"] for phase in plan.phases}
    assert gradients == {"sampling": 0, "learning": 2 * size, "showing": 4 * size, "mixing": 5 * size, "step": 3 * size}
    reference = size  # made before
    assert sum(footprint.peak.values()) + reference == pytest.approx(max(p.total for p in plan.phases), rel=0.1)


def test_a_plan_of_what_the_expert_says_beside_rl_counts_it():
    plans = [
        forecast(on_meta(), tiny_chat(), EchoTask(), "terse", replace(RL, sft_coef=coef, resample=rounds, group=4))
        for coef, rounds in ((0.0, 0), (0.1, 0), (0.0, 3))
    ]
    plain, shown, again = (plan.tokens for plan in plans)
    assert [phase.name for phase in plans[1].phases] == ["sampling", "learning", "showing", "step"]
    assert shown.trained > plain.trained
    assert shown.forward == plain.forward
    assert again.forward == pytest.approx(2 * plain.forward, abs=3)  # three rounds more beside three passes


def test_a_sampler_of_half_the_precision_is_a_copy_with_half_the_cache():
    whole, half = (
        forecast(on_meta(), tiny_chat(), EchoTask(), "terse", replace(RL, rollout_dtype=dtype)).phases[0].parts
        for dtype in ("float32", "bfloat16")
    )
    assert half["cache"] == whole["cache"] / 2
    assert half["weights"] == whole["weights"]
    assert half["sampler"] > sum(p.numel() for p in tiny_model().parameters()) * 2


@pytest.mark.parametrize("changes", [{"data": "self-verified"}, {"data": "expert-revision"}, {"pass_low": 0.5}])
def test_sft_that_samples_plans_it(changes):
    config = SFTConfig(examples=40, steps=3, batch=20, micro_batch=10, max_new_tokens=16, pass_samples=3, turns=2)
    plain, plan = (
        forecast(on_meta(), tiny_chat(), EchoTask(), "terse", replace(config, lora_rank=2, **more))
        for more in ({}, changes)
    )
    assert [phase.name for phase in plain.phases] == ["learning", "step"]
    assert [phase.name for phase in plan.phases] == ["sampling", "learning", "step"]
    sampling = plan.phases[0].parts
    assert sampling["cache"] > 0 == sampling["optimiser"] == sampling["gradients"]
    assert sampling["weights"] < plan.phases[1].parts["weights"]  # no adapters yet
    assert (plan.conversation > plain.conversation) == ("data" in changes)
    asked = 40 * (1 if "data" in changes else 3)
    assert plain.tokens.forward == 0
    assert plan.tokens.forward >= asked * 16


def test_walks_are_drawn_out_by_wrong_tries_at_every_step():
    """Each try but the last is wrong, and the last leads on."""
    walks, chat, config = get_task("virl-l"), tiny_chat(), replace(RL, turns=3, episodes=4, max_new_tokens=10)
    found = longest(chat, walks, "terse", config, 10**6).sampled
    for index, trajectory in enumerate(found):
        route = demonstration(chat, walks.problem("train", 0, index, "terse"), 3)
        steps = 1 + sum(b - a > 1 for a, b in zip(route.positions, route.positions[1:], strict=False))
        assert len(trajectory.states) == 3 * steps
        assert len(trajectory.positions) == 3 * steps * 10
    most = max(len(t.ids) for t in found)
    cut = longest(chat, walks, "terse", config, most // 2).sampled
    assert most // 2 - 30 < max(len(t.ids) for t in cut) <= most // 2


def test_the_longest_conversation_is_in_some_pass_whatever_a_pass_is_dealt():
    task, one = get_task("virl-l"), replace(RL, episodes=8, group=1, max_tokens=1)  # a conversation in each pass
    plans = [forecast(on_meta(), tiny_chat(), task, "terse", replace(one, minibatches=parts)) for parts in (1, 8)]
    assert [plan.pass_tokens for plan in plans] == [plan.conversation for plan in plans]


def test_models_whose_layers_are_not_computed_again_are_refused():
    with torch.device("meta"):
        model = XLNetLMHeadModel(XLNetConfig(vocab_size=96, d_model=16, n_layer=1, n_head=2, d_inner=16))
    check_recompute(model, wanted=False)
    check_recompute(on_meta(), wanted=True)
    with pytest.raises(RuleshiftError, match=r"--gradient-checkpointing does nothing for XLNetLMHeadModel.*leave it"):
        check_recompute(model, wanted=True)


HOLES = """
import psutil, torch
from ruleshift.training.heap import given_back, mapped

def left(frugal, apart=False):
    with given_back(frugal):
        before = psutil.Process().memory_info().rss
        with mapped(apart):
            tensors = [torch.ones(2**19) for _ in range(40)]
        del tensors[::2]
        return psutil.Process().memory_info().rss - before

left(True)
print(left(True), left(False, apart=True), left(False))
"""  # bytes that stay with the process when every other tensor of 40 is freed


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_frugal_passes_and_what_is_kept_for_gradients_leave_no_holes():
    """In a process of its own: other tests leave holes, too."""
    said = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True).stdout
    frugal, apart, usual = map(int, said.split())
    assert frugal < 0.8 * usual
    assert apart < 0.8 * usual


@pytest.mark.parametrize("recompute", [False, True])
def test_only_passes_whose_gradients_are_wanted_keep_apart_what_they_make(recompute, monkeypatch):
    """Where layers are computed again, the whole phase does."""
    asked = []

    @contextmanager
    def mapped(wanted: bool) -> Iterator[None]:
        asked.append(wanted)
        yield

    monkeypatch.setattr("ruleshift.training.trajectories.mapped", mapped)
    thrift = Thrift(recompute=recompute)
    with thrift.around(tiny_model()):
        pass
    with torch.no_grad(), thrift.around(tiny_model()):
        pass
    assert asked == [not recompute, False]
