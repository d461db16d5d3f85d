"""Where memory runs out: each message names what is there to be given, and what it names is accepted."""

import re
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cli_helpers import refusal, save_tiny_model
from helpers import EchoTask, new_rl, tiny_chat, tiny_model
from ruleshift.backbones.room import OF_FIXED, OF_STUDY, OutOfRoom, ran_out, room_for, said_to
from ruleshift.cli import parse
from ruleshift.commands.answering import shorter_thoughts
from ruleshift.commands.checks import check_training
from ruleshift.commands.compare import Compare
from ruleshift.commands.evaluate import Eval
from ruleshift.commands.play import Play
from ruleshift.commands.policies import Thinking
from ruleshift.commands.study import StudyCommand
from ruleshift.commands.train import Distil, Rl, Sft
from ruleshift.engines.local import LocalEngine
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.studies.headline import HEADLINE
from ruleshift.studies.pool import Job, outcome
from ruleshift.studies.run import run_study
from ruleshift.studies.smollm2 import SMOLLM2, WarmStart
from ruleshift.studies.study import StartModel
from ruleshift.training import room
from ruleshift.training.parts import StartCopy
from ruleshift.training.rl import RL
from ruleshift.training.room import room_to_begin, room_to_learn, room_to_sample
from ruleshift.training.trajectories import Trajectory
from study_helpers import plan_of, tiny_start

ERRORS = [
    MemoryError("no"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    OSError(12, "Cannot allocate memory"),
]
PHASES: dict[str, Callable[[Any], AbstractContextManager[None]]] = {
    "begin": room_to_begin,
    "sample": room_to_sample,
    "learn": room_to_learn,
    "learn of long ones": lambda config: room_to_learn(config, [conversation(5_000)]),
}


def no_memory(*_: object, **__: object) -> None:
    raise ERRORS[2]


def conversation(tokens: int) -> Trajectory:
    return Trajectory((1,) * tokens, (), (), (), (), ())


def said(phase: AbstractContextManager[None], error: Exception = ERRORS[1]) -> str:
    with pytest.raises(OutOfRoom) as found, phase:
        raise error
    return str(found.value)


def ways_in(message: str) -> list[list[str]]:
    """What a message says to give, one or the other, as words of a command line."""
    plain = re.sub(r" \([^)]*\)", "", message)
    assert ": give " in plain, message
    return [shlex.split(one) for one in plain.partition(": give ")[2].partition(";")[0].split(", or ")]


def accepted(*words: str) -> Rl | Sft | Distil:
    """A command of training that takes these, as it begins."""
    command = parse(list(words))
    assert isinstance(command, Rl | Sft | Distil)
    check_training(command.training, command.open())
    return command


@pytest.mark.parametrize("error", ERRORS, ids=["host", "cuda", "cpu", "system"])
def test_all_ways_to_have_no_memory_are_known(error: Exception) -> None:
    assert (
        said(room_for("here"), error)
        == "memory ran out here: choose a smaller model, or a machine with more free memory"
    )
    assert ran_out(error)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes"), room_to_learn(RLConfig()):
        raise RuntimeError("shapes do not match")
    with pytest.raises(RuleshiftError, match=r"^Cannot allocate memory$"), room_for("here"):
        raise RuleshiftError("Cannot allocate memory")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "given",
    [
        ("rl",),
        ("rl", "--reference", "cpu", "--batch-size", "1", "--max-tokens", "1"),
        ("rl", "--algorithm", "grpo", "--group", "4", "--gradient-checkpointing"),
        ("distil", "--teacher", "expert"),
        ("distil", "--teacher", "self", "--privileged-context", "rule", "--teacher-model-kind", "ema"),
        ("sft",),
        ("sft", "--loss", "psft", "--loss-lag", "50"),
    ],
)
def test_what_a_command_is_told_it_takes(given: tuple[str, ...], phase: str) -> None:
    verb, *options = given
    command = accepted(verb, "gp-l", *options)
    if phase == "begin" and verb == "sft":
        return
    config = command.training
    message = said(PHASES[phase](config))
    for words in ways_in(message):
        assert accepted(verb, "gp-l", *options, *words).training != config
    plan = re.search(r"--plan (\w+) says beforehand", message)
    assert plan
    assert accepted(verb, "gp-l", *options, "--plan", plan[1]).plan == "cpu"


def test_ways_that_are_exhausted_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = RLConfig(episodes=8, batch_size=256)
    assert "--batch-size 4 (now 256)" in said(room_to_sample(whole))
    assert "--batch-size" not in said(room_to_sample(replace(whole, batch_size=1)))
    assert "--max-tokens 1500 (now 3000; a pass has one conversation at least)" in said(room_to_learn(whole))
    assert "--max-tokens 2000 (now 3000)" in said(room_to_learn(whole, [conversation(n) for n in (2_000, 10)]))
    assert "--gradient-checkpointing" in said(room_to_learn(whole))
    assert "--gradient-checkpointing" not in said(room_to_learn(whole, again=False))  # no layers of a known kind
    at_least = said(room_to_learn(replace(whole, max_tokens=2_000), [conversation(2_000)]))
    assert "--max-tokens" not in at_least
    assert "--max-new-tokens 40 (now 80; which cuts longer replies)" in at_least
    assert "--reference disk (now device)" in at_least
    assert "--reference" not in said(room_to_begin(replace(whole, reference="disk")))
    assert "--lora-rank" not in said(room_to_begin(replace(whole, train_parts=("decoder",))))
    spare = replace(whole, lora_rank=2, gradient_checkpointing=True, max_new_tokens=1)
    told = said(room_to_learn(spare, [conversation(5_000)]))
    assert told.startswith("memory ran out while it learned: choose a smaller model")
    assert "--" not in told
    seen = replace(conversation(10), pictures=(torch.zeros(1),) * 20)  # type: ignore[arg-type]
    assert "--max-pictures 32 (now 64)" in said(room_to_learn(whole, [seen]))
    assert "--max-pictures 20 (now 30)" in said(room_to_learn(replace(whole, max_pictures=30), [seen]))
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    assert "--adam-8bit" not in said(room_to_learn(whole))
    monkeypatch.setattr(room, "find_spec", lambda name: "there")
    assert "--adam-8bit" in said(room_to_learn(whole))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert "--adam-8bit" not in said(room_to_learn(whole))  # no --shard takes it
    assert "--plan" not in said(room_to_learn(whole))


def test_on_a_gpu_the_start_goes_to_the_memory_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "--reference cpu (now device)" in said(room_to_begin(RLConfig()))
    assert "--reference disk (now cpu)" in said(room_to_begin(RLConfig(reference="cpu")))
    assert "--reference" not in said(room_to_learn(RLConfig(reference="cpu")))  # it is not on the GPU
    assert said(room_to_begin(RLConfig())).endswith(
        "; in another --out; --plan and the name of the card (--help lists them) say beforehand what takes how much"
    )


def test_where_no_memory_is_left_for_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StartCopy, "__init__", no_memory)
    with pytest.raises(OutOfRoom, match="before the first update: give --lora-rank 16"):
        new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", RLConfig(episodes=4))


@pytest.mark.parametrize("again", [True, False])
def test_layers_are_computed_again_where_a_model_has_such(again: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ruleshift.training.rl.recomputes", lambda model: again)
    monkeypatch.setattr(RL, "estimate", no_memory)
    rl = new_rl(tiny_model(layers=1), tiny_chat(), EchoTask(), "terse", RLConfig(episodes=4, max_new_tokens=2))
    with pytest.raises(OutOfRoom, match="while it learned") as told:
        rl.update()
    assert ("--gradient-checkpointing" in str(told.value)) == again


def test_a_model_without_room_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(tmp_path / "model")
    monkeypatch.setattr("ruleshift.backbones.load.AutoModelForCausalLM.from_pretrained", no_memory)
    told = refusal(capsys, "eval", "gp-l", "--model", model)
    assert told.endswith("was loaded: choose a smaller model, or a machine with more free memory")
    assert "save or download" not in told


# Who asks a model


@pytest.fixture
def speechless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that finds no memory to answer with."""
    monkeypatch.setattr(LocalEngine, "open", no_memory)
    return save_tiny_model(tmp_path / "model")


def test_an_evaluation_says_what_takes_less(
    speechless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", "gp-l", "--model", str(speechless), "--n", "20", "--split", "id", "--split", "rule-ood"]
    told = refusal(capsys, *asked)
    assert "--batch-size 10 (now 256)" in told  # of a split at a time
    assert "--max-new-tokens 24 (now 48; which cuts longer replies)" in told
    for words in ways_in(told):
        command = parse([*asked, *words])
        assert isinstance(command, Eval)
        command.drawing.check()
    assert "--batch-size" not in refusal(capsys, *asked, "--batch-size", "1")
    recorded = [*asked, "--out", str(tmp_path / "run")]
    told = refusal(capsys, *recorded)
    assert "(now 48; which cuts longer replies, in another --out)" in told
    again = refusal(capsys, *recorded, *ways_in(told)[0])  # in the same folder
    assert "--batch-size 5 (now 10)" in again
    again = refusal(capsys, *recorded, *ways_in(told)[1])  # and that, as long as nothing was answered there
    assert "--max-new-tokens 12 (now 24" in again
    with RunFolder.open(tmp_path / "run", {}) as run:
        (run.path / "answers.jsonl").write_text("{}\n")
    assert "holds a run" in refusal(capsys, *recorded, *ways_in(told)[1])


def test_thoughts_take_memory_too() -> None:
    assert shorter_thoughts(Thinking()) == []
    (saving,) = shorter_thoughts(Thinking("on"))
    assert (saving.setting, saving.give) == ("thinking_tokens", 512)


def test_a_comparison_says_what_takes_less(
    speechless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["compare", "expert", str(speechless), "--task", "gp-l", "--out", str(tmp_path / "card")]
    for words in ways_in(refusal(capsys, *asked)):
        command = parse([*asked, *words])
        assert isinstance(command, Compare)
        command.drawing.check()


def test_who_watches_a_model_play_is_told_what_play_has(speechless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["play", "gp-l", "--model", str(speechless)]
    for words in ways_in(refusal(capsys, *asked)):
        assert isinstance(parse([*asked, *words]), Play)
    told = refusal(capsys, *asked, "--turns", "1", "--max-new-tokens", "1")
    assert told.endswith("played: choose a smaller model, or a machine with more free memory")


# Studies


@pytest.mark.parametrize("config", [SFTConfig(), RLConfig(gradient_checkpointing=True)])
def test_a_study_is_told_what_to_set(config: SFTConfig | RLConfig) -> None:
    with said_to(OF_STUDY):
        message = said(room_to_learn(config))
    assert message.endswith("; in another --out")
    assert "--plan" not in message
    for words in ways_in(message):
        assert words[0] == "--set"
        (plan,) = StudyCommand("smollm2", Path("out"), ("gp-l",), set=(words[1],)).plans(SMOLLM2)
        part, setting, value = re.split(r"[.=]", words[1])
        assert str(getattr(getattr(plan.recipe, part), setting)).lower() == value
    with said_to(OF_FIXED):
        assert "--" not in said(room_to_learn(config))


@pytest.fixture
def cramped(monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(config: SFTConfig, *_: object, **__: object) -> None:
        with room_to_learn(config):
            no_memory()

    monkeypatch.setattr("ruleshift.studies.run.train", learn)


@pytest.mark.usefixtures("cramped")
def test_a_warm_start_without_room_says_what_to_set(tmp_path: Path) -> None:
    model = tiny_start(tmp_path)
    plan = plan_of(SMOLLM2, model, options=WarmStart(warm_steps=1), style="terse")
    with pytest.raises(OutOfRoom, match=r"give --set sft\.max_tokens=1500 \(now 3000"):
        run_study([plan], tmp_path / "one")
    with pytest.raises(OutOfRoom, match="learned: choose a smaller model"):  # its settings are nowhere to be set
        run_study([replace(plan, init_steps=1)], tmp_path / "other")


@pytest.mark.parametrize("where", ["learns", "measures"])
def test_an_arm_of_a_study_without_room_says_what_to_set(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    places = {
        "learns": "ruleshift.training.trainer.Trainer.compute_loss",
        "measures": "ruleshift.studies.arms.evaluate",
    }
    plan = plan_of(HEADLINE, tiny_start(tmp_path))
    run = next(run for run in plan.runs() if run.name == "sft")
    monkeypatch.setattr(places[where], full)
    news = outcome(Job(run, StartModel(plan.model), plan.measurement, tmp_path / "arms"), lambda done: None)
    assert news.ended == "refused"
    assert ("--set sft.max_tokens=" in news.said) == (where == "learns")
    assert ("while it was measured" in news.said) == (where == "measures")
