"""What runs are estimated to take: a reply's time, not that of what is made once or of a whole walk."""

from collections.abc import Sized
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ruleshift.backbones.load import load_backbone
from ruleshift.studies import estimates
from ruleshift.studies.board import Course
from ruleshift.studies.log import crowded
from ruleshift.studies.recipes import recipe_of, task_of


@pytest.mark.parametrize("name", ["gp-l", "virl-l"])
def test_a_reply_is_timed_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where making a city takes 100 s, a reply 1 s, and reading one 0.1 s, in however long a walk."""
    clock = SimpleNamespace(now=0.0, made=False)
    of_expert = 12 if name == "virl-l" else 1

    def evaluate(*args: Any) -> Any:
        episodes = real(*args)
        clock.now += sum(len(episode.turns) for episode in episodes) + (0.0 if clock.made else 100.0)
        clock.made = True
        return episodes

    def read(model: object, trajectories: Sized, *_: object) -> None:
        clock.now += 0.1 * of_expert * len(trajectories)

    real = estimates.evaluate
    monkeypatch.setattr(estimates, "evaluate", evaluate)
    monkeypatch.setattr(estimates, "evaluate_tokens", read)
    monkeypatch.setattr(estimates.time, "monotonic", lambda: clock.now)
    recipe = recipe_of(name)
    task = task_of(recipe.measurement)
    basis = estimates.Basis.of(load_backbone("bundled"), recipe.measurement)

    assert basis.drawing == pytest.approx(1.0)
    assert basis.reading == pytest.approx(0.1)
    steps = recipe.sft.steps * recipe.sft.batch * of_expert
    run: Any = SimpleNamespace(training=recipe.sft)
    assert basis.seconds(estimates.work_of_training(run, task)) == pytest.approx(0.3 * steps)


def test_a_run_is_expected_to_take_its_training_and_its_points() -> None:
    recipe = recipe_of("gp-l")
    task, m = task_of(recipe.measurement), recipe.measurement
    basis = estimates.Basis(1, 1, 1, 1, 1, 1.0, drawing=1.0, reading=0.1, process=0)
    trained: Any = SimpleNamespace(training=recipe.sft, length=recipe.sft.steps, points=(5, 10, recipe.sft.steps))
    alone: Any = SimpleNamespace(training=None, length=1, points=(0,))
    along, end = (basis.seconds(estimates.work_of_point(m, task, end)) for end in (False, True))
    training = basis.seconds(estimates.work_of_training(trained, task))
    assert min(along, training) > 0
    assert basis.expects_further(m).unit == along
    course = Course("a", "k", trained.length, trained.points, basis.expects(trained, m))
    assert course.whole == pytest.approx(training + 2 * along + end)
    seen = replace(m, insight_problems=2, insight_samples=3, flow_problems=4)  # the model has one layer: two levels
    more = Course("a", "k", trained.length, trained.points, basis.expects(trained, seen))
    assert more.whole - course.whole == pytest.approx(3 * (12 + 4 + 0.1 * (12 / 2 + 4 * 9)))
    assert basis.expects_further(seen).unit == along
    assert course.left(10) == pytest.approx(
        1 - (training * 10 / trained.length + (4 * along + 2 * end) / 3) / course.whole
    )
    assert Course("b", "k", 1, (0,), basis.expects(alone, m)).whole == pytest.approx(end)


def test_adapters_take_less_than_a_whole_model_that_learns() -> None:
    """30 layers of width 576 under 49,152 tokens, 135 million weights: SmolLM2's sizes."""
    basis = estimates.Basis(135_000_000, 49_152, 30, 576, 11_520, 300.0, 1.0, 0.1, process=0)
    m, rl = (
        recipe_of("virl-l").measurement,
        replace(recipe_of("virl-l").rl, max_tokens=3000, episodes=16, batch_size=16),
    )
    m = replace(m, n=4, kl_problems=4)

    def memory(**changes: Any) -> float:
        run: Any = SimpleNamespace(training=replace(rl, **changes), points=(30,), kept=range(10))
        return basis.memory(run, m) / 1e9

    assert memory(lora_rank=8) == pytest.approx(memory() - 3 * 135e6 * 4 / 1e9)
    assert memory(lora_rank=8, gradient_checkpointing=True) == pytest.approx(2 * 0.54 + 0.1 + 4 * 69 * 576 * 3e-6, 0.01)
    assert memory(episodes=512, batch_size=512, gradient_checkpointing=True) > 10


def test_what_is_evaluated_at_once_counts_also_where_nothing_is_trained() -> None:
    recipe = recipe_of("virl-l")
    basis = estimates.Basis(135_000_000, 49_152, 30, 576, 11_520, 600.0, 1.0, 0.1, process=0)
    start: Any = SimpleNamespace(training=None)

    def memory(problems: int, at_once: int = 256, **changes: int) -> float:
        m = replace(recipe.measurement, n=problems, kl_problems=8, **changes)
        return replace(basis, at_once=at_once).memory(start, m) / 1e9

    walk = 2 * 4 * 11_520 * 600 / 1e9
    assert memory(100) == pytest.approx(0.54 + 100 * walk)
    assert memory(100, at_once=22) == pytest.approx(0.54 + 22 * walk)
    assert memory(10, at_once=22, insight_problems=1) == memory(100, at_once=22)
    assert basis.memory(SimpleNamespace(training=recipe.sft), replace(recipe.measurement, n=100)) / 1e9 > memory(100)  # type: ignore[arg-type]


def test_checkpoints_and_models_are_what_takes_the_disk() -> None:
    """In units of the model: one of RL has it beside what learns, which is there with two moments."""
    basis = estimates.Basis(1000, 1, 1, 1, 1, 1.0, 1.0, 0.1, process=0, adapter=10)

    def models(training: Any, steps: int) -> float:
        run: Any = SimpleNamespace(training=training, points=(30,), kept=range(10), length=steps)
        return basis.disk(run) / 4000

    recipe = recipe_of("virl-l")
    for training, checkpoint in ((replace(recipe.rl, save_every=10), 4), (replace(recipe.sft, save_every=10), 3)):
        assert models(training, 30) == 11 + 2 * checkpoint
        assert models(training, 10) == 11 + checkpoint
        assert models(replace(training, lora_rank=5), 11) == pytest.approx(11 + 2 * 1.15)
    assert models(replace(recipe.sft, save_every=10, checkpoints=1), 30) == 14
    assert models(None, 1) == 0


def test_workers_that_have_no_room_on_a_gpu_are_told_how_many_have() -> None:
    said = crowded(6, 25e9, 140e9)
    assert said.endswith("have no room for 6 workers: give --workers 5\n")
    assert not crowded(5, 25e9, 140e9)
    assert crowded(2, 200e9, 140e9).endswith("give --workers 1\n")
    assert not crowded(1, 200e9, 140e9)
    assert crowded(9, 3e9, 8e9, "this machine") == (
        "warning: the 8,000 MB of this machine have no room for 9 workers: give --workers 2\n"
    )
