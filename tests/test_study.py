"""The headline study and the sweep from end to end, on a tiny untrained model."""

import json
from pathlib import Path

import pytest

from ruleshift.backbones.config import BuildConfig
from ruleshift.backbones.save import save_model
from ruleshift.commands.study import Sweep, Vision
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.comparison import load_comparisons
from ruleshift.evaluation.evaluate import Cell, Point
from ruleshift.pretraining.build import new_model
from ruleshift.results import load_results
from ruleshift.settings import Measurement, RLConfig, SFTConfig
from ruleshift.studies.headline import HeadlineConfig, headline_arms, metrics_of, run_headline
from ruleshift.studies.sweep import CRITERION, SweepConfig, choose, run_sweep, sweep_arms
from ruleshift.tasks import get_task

SFT = SFTConfig(steps=3, examples=8, batch=4, micro_batch=4, learning_rate=1e-3, save_every=2)
PPO = RLConfig(updates=2, episodes=4, minibatches=1, turns=2, max_new_tokens=6, value_steps=2, learning_rate=1e-4)
MEASUREMENT = Measurement(n=5, turns=(1, 2), max_new_tokens=6, kl_problems=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    tiny, chat = new_model(BuildConfig(width=32, layers=1, heads=2, feedforward=32))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny, chat.tokenizer, folder)
    return str(folder)


def test_headline_writes_everything_and_goes_on_where_it_was(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = HeadlineConfig(model=model, points=2, init_steps=1, sft=SFT, ppo=PPO, measurement=MEASUREMENT)
    run_headline([config], tmp_path, workers=1)
    assert "report" in capsys.readouterr().out
    results = load_results(tmp_path / "gp-l" / "results.json")
    assert {row.arm for row in results.rows} == {"base", "sft", "rl", "sft-lr1e-4"}
    cells = {(row.split, row.turns, row.decoding) for row in results.rows if row.metric == "success"}
    assert len(cells) == 4 * 2 * 2
    assert all(row.n == 5 for row in results.rows)
    trained = [row for row in results.rows if row.arm == "rl" and row.step == 2]
    assert trained
    assert all(row.train_flops and row.kl_to_start is not None for row in trained)
    titles = {comparison.matched_on for comparison in load_comparisons(tmp_path / "gp-l" / "comparisons.json")}
    assert titles == {None, "id", "kl"}
    assert "plotly" in (tmp_path / "gp-l" / "report.html").read_text()

    # Again: the arms are all there, so nothing is trained; a lost point is measured anew with the same outcome.
    metrics = {path: path.read_bytes() for path in tmp_path.rglob("metrics.jsonl")}
    before = (tmp_path / "gp-l" / "results.json").read_text()
    run_headline([config], tmp_path, workers=1)
    assert {path: path.read_bytes() for path in tmp_path.rglob("metrics.jsonl")} == metrics
    assert json.loads((tmp_path / "gp-l" / "results.json").read_text())["rows"] == json.loads(before)["rows"]

    other = HeadlineConfig(model=model, points=2, init_steps=1, sft=SFT, ppo=PPO, measurement=Measurement(n=6))
    with pytest.raises(RuleshiftError, match="seed0"):
        run_headline([other], tmp_path, workers=1)


def test_matched_rates_and_seeds_decide_the_arms() -> None:
    names = [arm.name for arm in headline_arms(HeadlineConfig(seeds=2, sft=SFT, ppo=PPO, matched_rates="both"))]
    assert sorted(names) == sorted(["base", *2 * ["sft", "rl", "sft-lr1e-4", "rl-lr1e-3"]])
    alone = [arm.name for arm in headline_arms(HeadlineConfig(sft=SFT, ppo=PPO, matched_rates="none"))]
    assert sorted(alone) == ["base", "rl", "sft"]


def test_vision_compares_the_tasks_in_pictures_and_quick_is_smaller(tmp_path: Path) -> None:
    whole = {config.task: config for config in Vision(tmp_path).configs()}
    quick = {config.task: config for config in Vision(tmp_path, quick=True).configs()}
    assert list(whole) == list(quick) == ["gp-vl", "virl-vl"]
    for task, config in whole.items():
        small = quick[task]
        assert {"id", "rule-ood", "visual-ood"} <= set(config.measurement.splits)
        assert (3 * small.sft.steps, 3 * small.ppo.updates) == pytest.approx(
            (config.sft.steps, config.ppo.updates), abs=2
        )
        assert small.measurement.n < config.measurement.n
        assert "recognition" in metrics_of(get_task(task))
    assert {"city-ood", "mini"} <= set(whole["virl-vl"].measurement.splits)
    assert "recognition" not in metrics_of(get_task("gp-l"))
    swept = Sweep(tmp_path, task="gp-vl").config().measurement.splits
    assert swept == ("id-val", "val-shift-a", "val-shift-b", "val-visual")


def test_sweep_writes_its_choice(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measurement = Measurement(
        splits=("id-val",), n=5, turns=(1, 2), decodings=("sampled",), max_new_tokens=6, kl_problems=4
    )
    config = SweepConfig(model=model, grid=(1e-3,), sft=SFT, ppo=PPO, measurement=measurement)
    run_sweep(config, tmp_path, workers=1)
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert record["chosen"] == {"sft": "sft-lr1e-3", "rl": "rl-lr1e-3"}
    assert {row["arm"] for row in record["rows"]} == {"base", "sft-lr1e-3", "rl-lr1e-3"}
    assert [arm.name for arm in sweep_arms(SweepConfig(grid=(3e-4, 1e-4)))] == [
        *("rl-lr1e-4", "rl-lr3e-4", "sft-lr1e-4", "sft-lr3e-4"),
        "base",
    ]


def point(name: str, solved: int, n: int = 400) -> Point:
    split, turns, decoding = CRITERION
    cell = Cell(split, decoding, ((turns,),) * solved + ((-turns,),) * (n - solved), (1,) * n, (1,) * n)
    return Point("gp-l", name, 0, 1, 0.0, 0.0, (cell,))


def test_the_smallest_rate_within_one_standard_error_is_chosen() -> None:
    # best 350 of 400: the standard error is sqrt(0.875 * 0.125 / 400) = 0.0165, or 6.6 problems
    assert choose([point("a", 340), point("b", 344), point("c", 350)]).arm == "b"
    assert choose([point("a", 343), point("b", 342), point("c", 350)]).arm == "c"
