"""Settings refuse what is out of bounds, wherever they are made, and name the option."""

import dataclasses
from math import inf, nan
from typing import get_type_hints

import pytest

from ruleshift.backbones.config import BuildConfig, VisionBuildConfig
from ruleshift.bounds import above_zero, at_least
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.settings import DistilConfig, Measurement, RLConfig, SFTConfig
from ruleshift.studies.sweep import Grid
from ruleshift.tasks import TASKS, get_task

ALL = (SFTConfig, RLConfig, Measurement, Sampling, BuildConfig, VisionBuildConfig)
NUMBERS = [
    (kind, field.name)
    for kind in ALL
    for field in dataclasses.fields(kind)
    if isinstance(field.default, int | float) and not isinstance(field.default, bool)
]
MAY_BE_NONE = [
    (kind, name)
    for kind in (*ALL, DistilConfig)
    for name, of_type in get_type_hints(kind).items()
    if of_type in (int | None, float | None)
]
WRONG = [
    (RLConfig, {"clip": -1.0}, "--clip must be above 0 and at most 1, not -1.0"),
    (RLConfig, {"gamma": 7.0}, "--gamma must be from 0 to 1, not 7.0"),
    (RLConfig, {"lam": -2.0}, "--lam must be from 0 to 1"),
    (RLConfig, {"kl_coef": -1e9}, "--kl-coef must be at least 0"),
    (RLConfig, {"target_kl": -1.0}, "--target-kl must be a number above 0"),
    (RLConfig, {"final_rate": 50.0}, "--final-rate must be from 0 to 1"),
    (RLConfig, {"schedule": "magic"}, "unknown --schedule 'magic'; choose from constant, linear, cosine"),
    (RLConfig, {"train_parts": ()}, "--train-parts must name at least one"),
    (RLConfig, {"train_parts": ("nose",)}, "unknown --train-parts 'nose'; choose from tower"),
    (RLConfig, {"train_parts": ("decoder",), "lora_rank": 4}, "--lora-rank 4 trains adapters"),
    (RLConfig, {"seed": 2**32}, "--seed must be from 0 to 4294967295"),
    (SFTConfig, {"warmup_share": 5.0}, "--warmup-share must be from 0 to 1"),
    (SFTConfig, {"weight_decay": -5.0}, "--weight-decay must be at least 0"),
    (SFTConfig, {"steps": 0}, "--steps must be at least 1, not 0"),
    (SFTConfig, {"batch": 10, "micro_batch": 4}, "--batch 10 is not a multiple of --micro-batch 4"),
    (Measurement, {"n": 0}, "--n must be at least 1"),
    (Measurement, {"turns": (1, 0)}, "--turns must be at least 1, not 0"),
    (Measurement, {"splits": ()}, "--splits must name at least one"),
    (Measurement, {"decodings": ("warm",)}, "unknown --decodings 'warm'; choose from greedy, sampled"),
    (DistilConfig, {"fixed_advantage": nan}, "--fixed-advantage must be a finite number, not nan"),
    (BuildConfig, {"heads": 3}, "--width 128 is not a multiple of twice --heads (6)"),
    (BuildConfig, {"heads": 8, "key_value_heads": 3}, "--heads 8 is not a multiple of --key-value-heads (3)"),
    (BuildConfig, {"walk_share": 7.0}, "--walk-share must be from 0 to 1"),
    (VisionBuildConfig, {"picture": 100}, "--picture 100 is not a multiple of --patch times --merged (48)"),
    (Grid, {"grid": (1e-4, nan)}, "--grid must be a number above 0, not nan"),
    (Grid, {"grid": ()}, "--grid must name at least one"),
    (Sampling, {"temperature": -0.1}, "--temperature must be at least 0"),
    (Sampling, {"max_new_tokens": 0}, "--max-new-tokens must be at least 1"),
]


@pytest.mark.parametrize(("kind", "changes", "said"), WRONG)
def test_what_is_out_of_bounds_is_refused(kind, changes, said):
    with pytest.raises(RuleshiftError, match="--") as refused:
        kind(**changes)
    assert str(refused.value).startswith(said)
    with pytest.raises(RuleshiftError):
        dataclasses.replace(kind(), **changes)


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_every_number_has_a_bound(kind, name):
    option = "--" + name.replace("_", "-")
    for value in (nan, inf, -inf, -1):
        with pytest.raises(RuleshiftError, match=f"^{option} must be"):
            kind(**{name: value})


@pytest.mark.parametrize(("kind", "name"), MAY_BE_NONE)
def test_every_number_that_may_be_none_is_finite(kind, name):
    option = "--" + name.replace("_", "-")
    for value in (nan, inf, -inf):
        with pytest.raises(RuleshiftError, match=f"^{option} must be"):
            kind(**{name: value})


def test_what_is_at_its_bound_is_taken():
    DistilConfig(fixed_advantage=-1e9)
    RLConfig(gamma=0.0, lam=1.0, clip=1.0, kl_coef=0.0, target_kl=None, warmup=0, final_rate=0.0, value_steps=0)
    SFTConfig(warmup_share=0.0, weight_decay=0.0, seed=2**32 - 1, batch=8, micro_batch=64)
    Sampling(temperature=0.0, max_new_tokens=1)


def test_presets_of_all_tasks_are_within_bounds():
    for recipe in (get_task(name).recipe for name in TASKS):
        assert set(recipe.sft) == set(recipe.rl) >= {"tiny", "paper"}


@pytest.mark.parametrize("schedule", SFTConfig.__annotations__["schedule"].__args__)
def test_schedules_need_nothing_but_steps(schedule):
    import torch
    from transformers import get_scheduler

    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = get_scheduler(schedule, optimiser, num_warmup_steps=2, num_training_steps=8)
    optimiser.step()
    rates.step()
    assert 0 < rates.get_last_lr()[0] <= 1


def test_single_numbers():
    at_least("--n", 1, 1)
    above_zero("--rate", 1e-9)
    for value in (0.0, nan, inf):
        with pytest.raises(RuleshiftError, match="--rate must be a number above 0"):
            above_zero("--rate", value)
    with pytest.raises(RuleshiftError, match="--n must be at least 1, not 0"):
        at_least("--n", 0, 1)
