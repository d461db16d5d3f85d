"""The benchmark of sample efficiency: at which rates, which of them counts, and what it writes down."""

import importlib
import json
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def efficiency() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("efficiency")


ARGUMENTS = Namespace(rates=[1e-3, 1e-4], updates=4, episodes=8, max_new_tokens=20, names=["ppo"], json=None)


def test_who_takes_one_step_an_update_is_tried_at_ten_times_the_rates(efficiency: ModuleType) -> None:
    for names, rates in {
        ("ppo", "grpo", "gspo"): [1e-4, 1e-3],
        ("reinforce", "rloo", "maxrl", "trl"): [1e-3, 1e-2],
    }.items():
        assert [efficiency.rates_of(name, ARGUMENTS) for name in names] == [rates] * len(names)


def test_the_rate_counts_that_gets_there_in_the_fewest_episodes_and_all_is_written_down(efficiency: ModuleType) -> None:
    def run(rate: float, seed: int, episodes: int | None) -> object:
        return efficiency.Trained("ppo", rate, seed, episodes, episodes and episodes / 4, 0.5)

    runs = [run(1e-4, 0, 32), run(1e-4, 1, 24), run(1e-3, 0, 8), run(1e-3, 1, None)]  # 28, and 8 and 2 * 32: 36
    assert efficiency.row_of(runs, 32) == ["ppo", "0.0001", 28, 7, "2 of 2", 50]
    assert efficiency.row_of(runs[2:], 32) == ["ppo", "0.001", 8, 2, "1 of 2", 50]
    assert efficiency.row_of(runs[3:], 32) == ["ppo", "0.001", "never", "never", "0 of 1", 50]
    written = json.loads(json.dumps(efficiency.record(0.25, runs, ARGUMENTS)))
    assert written["rows"] == [["ppo", "0.0001", 28, 7, "2 of 2", 50]]
    assert (written["start"], written["budget"], written["task"]) == (0.25, 32, "gp-l")
    assert written["runs"][3] == {
        "name": "ppo",
        "rate": 1e-3,
        "seed": 1,
        "episodes": None,
        "seconds": None,
        "success": 0.5,
    }
    assert written["command"].startswith("python ")
    assert {"commit", "machine", "versions", "settings", "time"} <= set(written)


def test_runs_are_kept_and_not_made_again_of_the_same_settings(efficiency: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "efficiency.json"
    arguments = Namespace(**vars(ARGUMENTS) | {"json": file})
    assert efficiency.kept_runs(arguments) == []
    runs = [efficiency.Trained("ppo", 1e-4, 0, 32, 8.0, 0.5)]
    file.write_text(json.dumps(efficiency.record(0.25, runs, arguments)))
    others = Namespace(**vars(arguments) | {"names": ["ppo", "trl"], "rates": [1e-5]})
    assert efficiency.kept_runs(others) == runs
    with pytest.raises(efficiency.RuleshiftError, match="other settings"):
        efficiency.kept_runs(Namespace(**vars(arguments) | {"episodes": 16}))
    for other in ("[]", "{}", "no json"):
        file.write_text(other)
        with pytest.raises(efficiency.RuleshiftError, match="no file of this benchmark"):
            efficiency.kept_runs(arguments)


def test_episodes_that_were_drawn_count(efficiency: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "success", lambda backbone, arguments: 0.5)
    clock = efficiency.Clock(None, Namespace(every=2, updates=4, episodes=8, gain=0.1), 0.25)
    assert not clock.look(1, 16)
    assert clock.look(2, 32)
    assert clock.reached[0] == 32
