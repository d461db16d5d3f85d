"""SFT that was killed, whose files were damaged, whose disk is full, or whose numbers are not finite any more."""

import json
import os
import pickle
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import EchoTask, one_thread, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.runs import METRICS, RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.training.accounting import TokenCount
from ruleshift.training.sft import train_sft
from ruleshift.training.trainer import Trainer

# An epoch is three steps; checkpoints after steps 2, 4 and 5.
CONFIG = SFTConfig(
    steps=5, examples=12, batch=4, micro_batch=2, learning_rate=1e-2, schedule="cosine", warmup_share=0.0, save_every=2
)
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


pytestmark = pytest.mark.usefixtures("on_one_thread")


def train(
    path: Path,
    config: SFTConfig = CONFIG,
    model: Any = None,
    progress: Callable[[int, dict[str, float]], object] | None = None,
    at: tuple[int, ...] = (),
    evaluate: Callable[[int, TokenCount], None] | None = None,
) -> torch.nn.Module:
    """The model after training in a run folder, from where an earlier call stopped."""
    model = tiny_model(layers=1) if model is None else model
    with RunFolder.open(path, config) as run:
        train_sft(model, tiny_chat(), EchoTask(), "terse", config, run, at, evaluate, progress)
    return model


class KilledError(Exception):
    pass


def killed_at(step: int) -> Callable[[int, dict[str, float]], None]:
    def progress(done: int, metrics: dict[str, float]) -> None:
        if done == step:
            raise KilledError

    return progress


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    path = tmp_path_factory.mktemp("unbroken") / "run"
    with one_thread():
        return path, weights_of(train(path))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that was killed before the checkpoint of its last step: it has those of steps 2 and 4."""
    with pytest.raises(KilledError):
        train(tmp_path / "run", progress=killed_at(5))
    assert [step for step, _ in RunFolder(tmp_path / "run").checkpoints()] == [2, 4]
    return tmp_path / "run"


def same(path: Path, model: torch.nn.Module, unbroken: tuple[Path, dict[str, torch.Tensor]]) -> bool:
    """Whether a run has the metrics and the weights of the one that was never broken."""
    lines = [(folder / "metrics.jsonl").read_bytes() for folder in (path, unbroken[0])]
    return lines[0] == lines[1] and same_weights(model, unbroken[1])


# Killed


@pytest.mark.parametrize("lines_lost", [0, 1, 3])
def test_killed_after_the_last_checkpoint_makes_no_step_more(tmp_path, unbroken, lines_lost):
    path = tmp_path / "run"
    train(path)
    metrics = path / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(True)[: CONFIG.steps - lines_lost]))
    steps: list[int] = []
    model = train(path, progress=lambda step, _: steps.append(step))
    assert steps == []
    assert same(path, model, unbroken)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_killed_at_any_step_goes_on_to_the_same_numbers(tmp_path, unbroken, step):
    path = tmp_path / "run"
    with pytest.raises(KilledError):
        train(path, progress=killed_at(step))
    assert same(path, train(path), unbroken)


def test_killed_within_a_checkpoint(stopped, unbroken):
    """What is half written does not count, however much of it there is."""
    torn = stopped / "checkpoints" / ".tmp-step-000005"
    shutil.copytree(stopped / "checkpoints" / "step-000004", torn / "checkpoint-5")
    assert same(stopped, train(stopped), unbroken)
    assert not torn.exists()


def test_a_clock_that_is_set_back(stopped, unbroken, monkeypatch):
    """The checkpoints that stay are the last ones by their steps, whatever the time of their files."""
    for path in (stopped / "checkpoints").rglob("*"):
        os.utime(path, (time.time() + 1e6,) * 2)
    past = time.time() - 1e8
    monkeypatch.setattr(time, "time", lambda: past)
    assert same(stopped, train(stopped), unbroken)
    assert [step for step, _ in RunFolder(stopped).checkpoints()] == [4, 5]


@pytest.mark.parametrize("lost", [0, 1, 3, "all"])
def test_lines_of_metrics_come_back_from_the_checkpoint(stopped, unbroken, lost):
    metrics = stopped / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(True)
    metrics.write_bytes(
        b"" if lost == "all" else b"".join(lines[:lost] + [b"{damaged\n"] * (lost == 3) + lines[lost + 1 :])
    )
    assert same(stopped, train(stopped), unbroken)


# Damaged


def damage(file: Path, kind: str) -> None:
    match kind:
        case "missing":
            file.unlink()
        case "cut":
            file.write_bytes(file.read_bytes()[: min(100, file.stat().st_size // 2)])
        case "empty":
            file.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in FILES for kind in ("missing", "cut", "empty")] + [(METRICS, "missing")]
)
def test_a_damaged_checkpoint_is_named_and_the_remedy_helps(stopped, unbroken, name, kind):
    last = stopped / "checkpoints" / "step-000004"
    damage(last / name, kind)
    with pytest.raises(RuleshiftError, match=r"step-000004.*: delete .* and run the same command again") as caught:
        train(stopped)
    assert "\n" not in str(caught.value)
    shutil.rmtree(last)
    assert same(stopped, train(stopped), unbroken)


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"global_step": 3}', '{"what": 1}', "[" * 100_000, "\xff"])
def test_a_trainer_state_of_another_form_is_refused(stopped, text):
    (stopped / "checkpoints" / "step-000004" / "trainer_state.json").write_text(text, encoding="latin-1")
    with pytest.raises(RuleshiftError, match=r"step-000004 is damaged .*: delete its folder"):
        train(stopped)


@pytest.mark.parametrize("name", ["checkpoint-abc", "step-abc", "step-00001", "checkpoint-9"])
def test_folders_that_are_no_checkpoints_are_left_alone(stopped, unbroken, name):
    (stopped / "checkpoints" / name).mkdir()
    assert same(stopped, train(stopped), unbroken)
    assert (stopped / "checkpoints" / name).is_dir()


class Malice:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_pickles_are_not_opened_and_no_advice_is_given_to_do_so(stopped, tmp_path, name, form):
    file, proof = stopped / "checkpoints" / "step-000004" / name, tmp_path / "opened"
    if form == "torch":
        torch.save({"state": Malice(proof)}, file)
    else:
        file.write_bytes(pickle.dumps(Malice(proof)))
    with pytest.raises(
        RuleshiftError, match=r"holds more than numbers and is not opened.*: delete its folder"
    ) as caught:
        train(stopped)
    assert "weights_only" not in str(caught.value)
    assert not proof.exists()


def test_the_optimiser_of_another_model_is_refused(stopped, tmp_path):
    train(tmp_path / "wide", model=tiny_model(layers=1, width=16))
    name = Path("checkpoints", "step-000004", "optimizer.pt")
    shutil.copy(tmp_path / "wide" / name, stopped / name)
    with pytest.raises(RuleshiftError, match="of another model"):
        train(stopped)


# Full disks


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_is_full_at_every_file_of_a_checkpoint(tmp_path, unbroken):
    """Whichever file of a checkpoint the disk has no room for, one line says so, and nothing is half there."""
    whole = unbroken[0] / "checkpoints" / "step-000004"
    sizes = sorted({(whole / name).stat().st_size for name in (*FILES, "tokenizer.json")})
    refused = 0
    for number, size in enumerate(sizes):
        path = tmp_path / str(number)
        with files_of_at_most(max(1_000, size - 1)), pytest.raises(RuleshiftError, match="cannot write") as caught:
            train(path)
        assert "\n" not in str(caught.value)
        assert not any(path.glob("checkpoints/.tmp*"))
        refused += 1
    assert refused == 6
    assert same(path, train(path), unbroken)


@pytest.mark.parametrize("saver", ["_save_optimizer_and_scheduler", "_save_rng_state"])
def test_what_torch_says_of_a_full_disk(stopped, unbroken, monkeypatch, saver):
    from trl import SFTTrainer

    def fail(*arguments: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr(SFTTrainer, saver, fail)
    with pytest.raises(RuleshiftError, match=r"cannot write .*step-000005 .basic_ios.*the disk has room"):
        train(stopped)
    monkeypatch.undo()
    assert [step for step, _ in RunFolder(stopped).checkpoints()] == [2, 4]
    assert same(stopped, train(stopped), unbroken)


# Diverged


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics, read by the letter of JSON, which knows no NaN."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return [json.loads(line, parse_constant=refuse) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("save_every", [1, 2])
def test_a_training_that_diverges_stops_before_anything_of_it_is_kept(tmp_path, save_every):
    config = replace(CONFIG, learning_rate=1e30, save_every=save_every)
    seen: list[int] = []
    for _ in range(2):  # run again, it stops in the same way
        with pytest.raises(Diverged, match=r"diverged: .*at step [12]\. .*smaller learning rate"):
            train(tmp_path, config, at=(1, 2, 5), evaluate=lambda step, _: seen.append(step))
    assert seen == []
    assert RunFolder(tmp_path).checkpoints() == []
    assert [line["step"] for line in json_lines(tmp_path)] in ([], [1])


def test_a_start_model_that_has_diverged(tmp_path):
    model = tiny_model(layers=1)
    with torch.no_grad():
        model.lm_head.weight[3, 3] = float("nan")
    with pytest.raises(Diverged, match=r"loss is nan at step 1\. .*start model"):
        train(tmp_path, model=model)
    assert RunFolder(tmp_path).checkpoints() == []
    assert RunFolder(tmp_path).read_metrics() == []


def test_the_last_good_checkpoint_stays(tmp_path, unbroken):
    path = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        usual = Trainer.compute_loss

        def spoilt(self: Trainer, *arguments: Any, **more: Any) -> Any:
            loss = usual(self, *arguments, **more)
            return loss * float("inf") if self.state.global_step == 3 else loss

        patch.setattr(Trainer, "compute_loss", spoilt)
        with pytest.raises(Diverged, match="at step 4"):
            train(path)
    assert [line["step"] for line in json_lines(path)] == [1, 2, 3]
    assert [step for step, _ in RunFolder(path).checkpoints()] == [2]
    assert same(path, train(path), unbroken)
