"""What runs are estimated to take: a reply's time, not that of what is made once or of a whole walk."""

from types import SimpleNamespace
from typing import Any

import pytest

from ruleshift.backbones.load import load_backbone
from ruleshift.studies import estimates
from ruleshift.studies.recipes import recipe_of, task_of


@pytest.mark.parametrize("name", ["gp-l", "virl-l"])
def test_a_reply_is_timed_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where making a city takes 100 s, a reply 1 s, and reading one 0.1 s, in however long a walk."""
    clock = SimpleNamespace(now=0.0, replies=0, made=False)

    def evaluate(*args: Any) -> Any:
        episodes = real(*args)
        clock.replies = sum(len(episode.turns) for episode in episodes)
        clock.now += clock.replies + (0.0 if clock.made else 100.0)
        clock.made = True
        return episodes

    def read(*_: object) -> None:
        clock.now += 0.1 * clock.replies

    real = estimates.evaluate
    monkeypatch.setattr(estimates, "evaluate", evaluate)
    monkeypatch.setattr(estimates, "evaluate_tokens", read)
    monkeypatch.setattr(estimates.time, "monotonic", lambda: clock.now)
    recipe = recipe_of(name)
    task = task_of(recipe.measurement)
    basis = estimates.Basis.of(load_backbone("bundled"), recipe.measurement)

    assert basis.drawing == pytest.approx(1.0)
    assert basis.reading == pytest.approx(0.1)
    steps = recipe.sft.steps * recipe.sft.batch * (12 if name == "virl-l" else 1)
    run: Any = SimpleNamespace(training=recipe.sft)
    assert basis.seconds(estimates.work_of_training(run, task)) == pytest.approx(0.3 * steps)
