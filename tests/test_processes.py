"""Several processes: the numbers of one, shares of the work, one writer, and runs that go on in any number of them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cli_helpers import refusal, save_tiny_model
from helpers import one_thread, tiny_model
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.runs import FollowedFolder, RunFolder
from ruleshift.training.processes import ALONE, Processes, buckets, start
from ruleshift.training.sharding import Shards, clip_gradients
from ruleshift.training.trajectories import forward, groups_of
from several import CONFIGS, PPO, in_processes, refuse, run

NUMBER = 1e-4  # of a metric, relatively
WEIGHT = 2e-5  # of a weight, where steps are of 1e-2
ROUNDING = "self_attn.k_proj.bias"  # to which attention is blind: gradients are rounding, of which Adam makes steps
RESUMED = {"ppo, lora": 1, "ppo": 1, "sft": 3, "sft on pictures": 3}  # stopped once so many steps are told of
IN_PIECES = (  # and those of the next line, which are resumed
    "ppo, one by one",
    "ppo, values learned with the model",
    "distillation from the expert",
    "ppo on pictures",
    "sft, lora",
    "sft in passes of few tokens",
    "sft on pictures",
)
RESUMED_IN_PIECES = ("ppo, lora", "ppo", "sft")


pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list]]:
    """What two processes come to in every case, and where; and in runs that one process began."""
    out = tmp_path_factory.mktemp("two")
    jobs: dict = {name: (run, (name, out / name)) for name in CONFIGS}
    jobs |= {f"{name}, in pieces": (run, (name, out / f"{name}, in pieces", None, True)) for name in IN_PIECES}
    jobs["an error"] = (refuse, (out,))
    with one_thread():
        for name, steps in RESUMED.items():
            for by in ("", " in pieces") if name in RESUMED_IN_PIECES else ("",):
                one, two = f"{name}, begun by one{by}", f"{name}, begun by two{by}"
                run(name, out / one, steps=steps)
                jobs[one] = (run, (name, out / one, None, bool(by)))
                jobs[two] = (run, (name, out / two, steps, bool(by)))
    return out, in_processes(jobs, out)


def check_same(there: dict, here: dict) -> None:
    assert "error" not in there, there["error"]
    lines = here["metrics"][-len(there["metrics"]) :]
    for one, two in zip(lines, there["metrics"], strict=True):
        rounding = {key for key in one if key.startswith("mismatch")}  # nothing but that: largest differences of sums
        assert {key: two[key] for key in rounding} == pytest.approx({key: one[key] for key in rounding}, abs=1e-4)
        one, two = ({key: line[key] for key in line if key not in rounding} for line in (one, two))
        assert two == pytest.approx(one, rel=NUMBER, abs=1e-6)
    for name, value in here["weights"].items():
        if not name.endswith(ROUNDING):
            assert torch.allclose(there["weights"][name], value, rtol=0, atol=WEIGHT), name


@pytest.mark.slow  # with the others, of what two processes do
@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_come_to_the_numbers_of_one(name, found, tmp_path):
    here = run(name, tmp_path / "one")
    for way in (name, f"{name}, in pieces") if name in IN_PIECES else (name,):
        first, second = found[1][way]
        check_same(first, here)
        assert len(first["metrics"]) == len(here["metrics"])
        assert all(torch.equal(weight, second["weights"][key]) for key, weight in first["weights"].items())
        alone, together = (RunFolder(path).read_metrics() for path in (tmp_path / "one", found[0] / way))
        assert [line["step"] for line in together] == [line["step"] for line in alone]
        held = [one["held"] / here["held"] for one in (first, second)]
        assert held == [1, 1] if way == name else sum(held) == 1 and held == pytest.approx([0.5, 0.5], abs=0.05)


def test_the_tolerance_tells_apart_trainings_that_differ(tmp_path):
    one, other = (run(name, tmp_path / name)["weights"] for name in ("ppo", "ppo, one by one"))
    assert max(float((one[name] - other[name]).abs().max()) for name in one) > 100 * WEIGHT


@pytest.mark.slow
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_goes_on_in_another_number_of_processes(name, found, tmp_path):
    unbroken = run(name, tmp_path / "unbroken")
    for by in ("", " in pieces") if name in RESUMED_IN_PIECES else ("",):
        for resumed in (found[1][f"{name}, begun by one{by}"][0], run(name, found[0] / f"{name}, begun by two{by}")):
            check_same(resumed, unbroken)
            assert len(resumed["metrics"]) == 1  # the last step


@pytest.mark.slow
def test_all_raise_the_error_of_one(found):
    assert found[1]["an error"] == ["the second one cannot go on: give it another place"] * 2


def test_what_follows_a_run_writes_nothing_and_raises_as_the_writer_does(tmp_path):
    followed = FollowedFolder(tmp_path)
    followed.append_metrics({"step": 1, "loss": 0.5})
    followed.truncate_metrics(0)
    followed.save_checkpoint(1, lambda folder: folder.touch())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Diverged, match="loss is nan at step 2"):
        followed.append_metrics({"step": 2, "loss": float("nan")})


def test_shares_hold_every_item_once():
    items = list(range(7))
    shares = [Processes(rank, 3).share(items) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert ALONE.share(items) is items


def test_buckets_hold_all_weights_in_order_within_their_room():
    weights = [torch.zeros(size) for size in (3, 4, 9, 1, 5, 1)]
    filled = buckets(weights, 8)
    assert [weight.numel() for bucket in filled for weight in bucket] == [3, 4, 9, 1, 5, 1]
    assert [len(bucket) for bucket in filled] == [2, 1, 3]
    assert buckets([], 8) == []


def test_weights_in_pieces_are_not_taken_from_the_launcher(monkeypatch, capsys):
    for key, value in {"RANK": "0", "WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(RuleshiftError, match=r"FSDP.* launch with --multi_gpu, and give --shard"):
        start()
    assert "only sft, rl and distil run in several processes" in refusal(capsys, "play", "gp-l")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (replace(PPO, adam_8bit=True), "--adam-8bit is not for weights in pieces: leave it out, or leave --shard out"),
        (CONFIGS["the expert mixed in by noise"], "--sft-mix noise is not for weights in pieces: leave it out, or"),
        (CONFIGS["distillation of all logits"], "--teacher self is not for weights in pieces: name another --teacher"),
        (
            CONFIGS["sft, a loss of our own"],
            "--loss psft is not for weights in pieces: leave it out, or leave --shard out",
        ),
        (
            replace(CONFIGS["sft, a loss of our own"], train_parts=("tower",)),
            "--loss psft is not for weights in pieces: leave it out, or leave --shard out",
        ),
        (replace(PPO, train_parts=("projector",)), "--train-parts projector is not .*: add decoder to it, or leave"),
    ],
)
def test_what_needs_whole_weights_is_refused_where_they_would_be_in_pieces(config, said):
    with pytest.raises(RuleshiftError, match=said):
        Shards.of(tiny_model(layers=1), config, Processes(0, 2, shard=True))
    model = tiny_model(layers=1)
    assert Shards.of(model, config, ALONE).whole() is model


def test_one_process_has_nobody_to_divide_with(tmp_path, capsys):
    model = save_tiny_model(tmp_path / "model")
    said = refusal(capsys, "rl", "gp-l", "--model", model, "--out", tmp_path / "run", "--shard")
    assert "--shard divides a model among several processes" in said
    assert "leave --shard out" in refusal(capsys, "sft", "gp-l", "--plan", "cpu", "--shard")


def test_a_pass_over_nothing_has_a_gradient_of_0_for_all_that_learns():
    model = tiny_model(layers=1)
    forward(model, []).logprobs.sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())
    assert groups_of([], 100, 10, least=2) == [[], []]


def test_gradients_are_clipped_together():
    weights = [torch.zeros(3, requires_grad=True), torch.zeros(2, requires_grad=True)]
    weights[0].grad = torch.tensor([2.0, 1.0, 2.0])
    assert clip_gradients(weights, 1.5) == 3.0
    assert torch.allclose(weights[0].grad, torch.tensor([1.0, 0.5, 1.0]))
    assert clip_gradients([weights[1]], 1.0) == 0.0


def launch(out: Path, world: int, *more: object) -> subprocess.Popen[bytes]:
    """`ruleshift rl` as a launcher starts it."""
    options = ("--updates", 4, "--episodes", 4, "--minibatches", 2, "--max-new-tokens", 6, "--save-every", 1, *more)
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}", "-m", "ruleshift", "rl"]
    words = [sys.executable, *command, "gp-l", "--out", out, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(list(map(str, words)), env=environment)


def children(parent: int) -> list[int]:
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(word) for word in text.split()]


@pytest.mark.slow
def test_a_kill_of_one_process_ends_all_within_seconds_and_the_run_resumes(tmp_path):
    killed = launch(tmp_path / "run", 2, "--shard")
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000001"
    while not checkpoint.exists():
        assert killed.poll() is None
        time.sleep(0.05)
    workers = children(killed.pid)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    began = time.monotonic()
    assert killed.wait(60) != 0
    assert time.monotonic() - began < 45
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert not (tmp_path / "run" / "model").exists()
    assert launch(tmp_path / "run", 1).wait(200) == 0
    assert [line["step"] for line in RunFolder(tmp_path / "run").read_metrics()] == [1, 2, 3, 4]
    assert (tmp_path / "run" / "model" / "config.json").is_file()
