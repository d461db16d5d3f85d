"""What SFT learns from: who says what in each kind of data, which tokens carry the loss, and what sampling costs."""

import hashlib
import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import RANKS, EchoProblem, EchoTask, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.cli import main
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.records import Message, Picture, Verdict
from ruleshift.revision import revise
from ruleshift.runs import RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style
from ruleshift.training.accounting import TokenCount
from ruleshift.training.rollout import local_engine
from ruleshift.training.sft import lessons_again, train_sft
from ruleshift.training.sft_data import DATA, ScriptLine, Step, plan
from ruleshift.training.sft_lessons import Lesson, Lessons, bare_answer, replies, tell
from ruleshift.training.sft_pictures import Collator
from ruleshift.training.sft_samples import Samples, sample, used
from vision_helpers import BUILDERS, LookTask


def is_right(reply: str) -> bool:
    """Of about a quarter of all replies."""
    return hashlib.sha256(reply.encode()).digest()[0] % 4 == 0


class Riddle(EchoProblem):
    """Solved by some replies, which are the same for all problems."""

    def submit(self, reply: str, last: bool) -> Verdict:
        solved = is_right(reply)
        return Verdict("", float(solved), solved, f"no{len(reply)}")

    def gold(self) -> str:
        texts = ("+".join(ranks) for count in (1, 2, 3) for ranks in itertools.product(RANKS, repeat=count))
        return next(filter(is_right, texts))


class Riddles(EchoTask):
    """An untrained model solves about half of them within three turns."""

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> Riddle:
        echo = super().problem(split, seed, index, style)
        return Riddle(echo.id, echo.rank, echo.count)


TASK = Riddles()
CONFIG = SFTConfig(
    data="self-verified",
    steps=4,
    examples=24,
    batch=6,
    micro_batch=3,
    learning_rate=1e-2,
    turns=3,
    max_new_tokens=4,
    batch_size=8,
    save_every=2,
)
SAMPLED = [name for name, kind in DATA.items() if kind.sampled]
A, B, C = (5,), (6,), (7,)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def start_model() -> torch.nn.Module:
    return tiny_model(layers=1, spread=0.3)


def samples_in(folder: Path, config: SFTConfig = CONFIG) -> Samples:
    return sample(start_model(), tiny_chat(), TASK, "terse", config, folder)


def lessons_in(folder: Path, config: SFTConfig = CONFIG) -> Lessons:
    return Lessons(tiny_chat(), TASK, "terse", config, samples_in(folder, config))


def words(ids: tuple[int, ...]) -> list[str]:
    return tiny_chat().tokenizer.convert_ids_to_tokens(list(ids))


# Scripts


def test_what_each_kind_makes_of_a_step() -> None:
    solved, failed = Step((A, B, C), right=True), Step((A, B), right=False)
    scripts = {name: kind.script for name, kind in DATA.items()}
    gold = ScriptLine(None, True)
    assert scripts["expert"](solved, 0.9) == [gold]
    revision = scripts["expert-revision"]
    assert [len(revision(solved, draw)) for draw in (0.0, 0.3, 0.34, 0.6, 0.7, 0.999)] == [1, 1, 2, 2, 3, 3]
    assert revision(solved, 0.999) == [ScriptLine(A, False), ScriptLine(B, False), gold]  # never after the right one
    assert revision(failed, 0.999) == [ScriptLine(A, False), gold]  # the last try is the expert's
    assert revision(None, 0.5) == [gold]
    assert scripts["self-verified"](solved, 0.5) == [ScriptLine(A, False), ScriptLine(B, False), ScriptLine(C, True)]
    assert not any(line.learned for line in scripts["self-verified"](failed, 0.5))
    assert scripts["self-unverified"](failed, 0.5) == [ScriptLine(A, True), ScriptLine(B, True)]
    assert scripts["self-verified"](None, 0.5) == scripts["self-unverified"](None, 0.5) == []


def texts_of(lessons: Lessons, index: int) -> list[str]:
    return [text for _, text in lessons.learned(index)]


@pytest.mark.parametrize("data", [name for name, kind in DATA.items() if not (kind.bare or kind.varied)])
def test_what_is_learned_is_told_as_texts(tmp_path: Path, data: str) -> None:
    """The same replies as the tokens that carry the loss, of every conversation."""
    config, chat = replace(CONFIG, data=data), tiny_chat()
    lessons = lessons_in(tmp_path, config) if DATA[data].sampled else Lessons(chat, TASK, "terse", config)
    for index in lessons.rows:
        tokens = [
            token for token, one in zip(lessons[index].said.token_ids, lessons[index].learned, strict=True) if one
        ]
        told = texts_of(lessons, index)
        assert "".join(chat.decode(tuple(tokens)).split()) == "".join("".join(told).split())
        if data.startswith("expert"):
            assert told == [TASK.problem("train", 0, index).gold()]
    if not data.startswith("expert"):
        assert {text for index in lessons.rows for text in texts_of(lessons, index)} != {Riddle("", "K", 1).gold()}


def test_wrong_and_bare_labels_are_told_as_they_are_learned() -> None:
    cards, clean = get_task("gp-l"), SFTConfig(examples=12)
    golds = [cards.problem("train", 0, index, "stepwise").gold() for index in range(12)]

    def told(**changes: object) -> list[str]:
        lessons = Lessons(tiny_chat(), cards, "stepwise", replace(clean, **changes))
        return [text for index in range(12) for text in texts_of(lessons, index)]

    assert told() == golds
    assert 0 < sum(map(str.__eq__, told(noise=0.5), golds)) < 12
    assert not {*told(noise=1.0)} & {*golds}
    assert told(data="bare") == list(map(bare_answer, golds))


def test_lessons_are_made_again_only_of_what_was_kept(tmp_path: Path) -> None:
    config = replace(CONFIG, pass_high=0.9)
    trained = (start_model(), tiny_chat(), TASK, "terse", config)
    with RunFolder.open(tmp_path, config) as run:
        assert lessons_again(*trained, run) is None
        train_sft(*trained, run)
        before = sorted(run.path.rglob("*"))
        lessons = lessons_again(*trained, run)
        assert lessons is not None
        kept = {text for index in lessons.shown(config.steps) for text in texts_of(lessons, index)}
        assert kept
        assert all(map(is_right, kept))
        assert sorted(run.path.rglob("*")) == before
        for name in ("000008.jsonl", "pass-000016.json"):
            (run.path / "samples" / name).rename(tmp_path / name)
            assert lessons_again(*trained, run) is None
            (tmp_path / name).rename(run.path / "samples" / name)
        assert lessons_again(*trained[:4], replace(config, data="expert", pass_high=1.0), RunFolder(tmp_path / "none"))


def test_steps_after_the_last_one_learned_are_left_out() -> None:
    script = DATA["self-verified"].script
    steps = (Step((A,), True), Step((A, B), False), Step((C,), True), Step((A, B), False))
    assert [len(lines) for lines in plan(script, steps, [0.5] * 4)] == [1, 2, 1]
    assert plan(script, steps[1:2], [0.5]) == []


# Conversations


@pytest.mark.parametrize("data", SAMPLED)
def test_loss_is_on_what_is_to_be_learned_and_on_nothing_else(tmp_path: Path, data: str) -> None:
    """Against the episodes themselves: which of their replies are there, and which of their tokens are labels."""
    config = replace(CONFIG, data=data)
    lessons = lessons_in(tmp_path, config)
    problems = [TASK.problem("train", 0, index) for index in range(24)]
    episodes = revise(problems, local_engine(start_model(), tiny_chat(), config), config.turns)
    assert 3 < sum(episode.solved for episode in episodes) < 21
    assert {len(episode.turns) for episode in episodes} == {1, 2, 3}
    failed_before_the_expert = 0
    for index, episode in enumerate(episodes):
        if data == "self-verified" and not episode.solved:
            assert index not in lessons.rows
            continue
        lesson = lessons[index]
        ids, learned = lesson.said.token_ids, lesson.learned
        taught = tuple(token for token, one in zip(ids, learned, strict=True) if one)
        if data == "expert-revision":
            gold = tiny_chat().encode_reply(problems[index].gold())
            assert taught == gold == ids[-len(gold) :]
            shared = ids[: -len(gold)]  # as the model saw it, up to the reply that the expert's replaces
            assert shared in [
                sum((t.appended_ids + t.completion.token_ids for t in episode.turns[:k]), ())
                + episode.turns[k].appended_ids
                for k in range(len(episode.turns))
            ]
            failed_before_the_expert += len(shared) > len(episode.turns[0].appended_ids)
        else:
            assert ids == episode.token_ids
            replies = [turn.completion.token_ids for turn in episode.turns]
            assert taught == (replies[-1] if data == "self-verified" else sum(replies, ()))
        assert lesson.labels == [token if one else -100 for token, one in zip(ids, learned, strict=True)]
    assert lessons.rows == [i for i, e in enumerate(episodes) if e.solved or data != "self-verified"]
    assert failed_before_the_expert > 5 or data != "expert-revision"


def test_the_expert_answers_every_try_as_often(tmp_path: Path) -> None:
    lessons = lessons_in(tmp_path, replace(CONFIG, data="expert-revision", steps=100, examples=200))
    steps = [lessons.samples[index].steps[0] for index in range(200)]
    never = [index for index, step in enumerate(steps) if not step.right]
    said = [sum(token == "<bot>" for token in words(lessons[index].said.token_ids)) for index in never]
    assert len(never) > 60
    assert all(said.count(place) / len(said) == pytest.approx(1 / 3, abs=0.16) for place in (1, 2, 3))


@pytest.mark.parametrize("task", ["gp-l", "virl-l"])
def test_nothing_of_a_shifted_rule_is_in_it(task: str, tmp_path: Path) -> None:
    """Whoever speaks, under the rule of training: an expert's word for every decision, no word of the shifted rule."""
    found = get_task(task)
    config = replace(found.recipe.sft["tiny"], data="expert-revision", examples=6, max_new_tokens=6)
    said = sample(start_model(), tiny_chat(), found, "terse", config, tmp_path)
    lessons = Lessons(tiny_chat(), found, "terse", config, said)
    for index in lessons.rows:
        lesson, problem = lessons[index], found.problem("train", 0, index, "terse")
        taught = [token for token, one in zip(lesson.said.token_ids, lesson.learned, strict=True) if one]
        plain = Lessons(tiny_chat(), found, "terse", replace(config, data="expert"))[index]
        assert taught == [token for token, one in zip(plain.said.token_ids, plain.learned, strict=True) if one]
        prompt = tiny_chat().encode_prompt(problem.context())
        assert lesson.said.token_ids[: len(prompt)] == prompt
        shifted = found.problem("rule-ood", 0, index, "terse").context()
        assert prompt != tiny_chat().encode_prompt(shifted)  # control


class TwoSteps:
    """An echo of K that goes on to a second step, after spent tries too."""

    id, place = "two", 0

    def context(self) -> tuple[Message, ...]:
        return (Message("user", "K"),)

    def gold(self) -> str:
        return "K"

    def submit(self, reply: str, last: bool) -> Verdict:
        right = reply.startswith("K")
        moves = (right or last) and not self.place
        self.place += moves
        return Verdict("", 1.0 if right else -1.0, right and not moves, "next" if moves else "no", advanced=moves)


def test_a_step_that_is_given_up_is_not_learned() -> None:
    """Where tries are spent and the walker is led on, what follows is learned, and not the last try."""
    chat = tiny_chat()
    k, q = (tuple(chat.encode_reply(rank)) for rank in "KQ")
    lines = plan(DATA["self-verified"].script, (Step((q, q), False), Step((k,), True)), [0.5, 0.5])
    problem = TwoSteps()
    said = replies(chat.decode, problem, lambda step: lines[step] if step < 2 else [], turns=2)
    lesson = tell(chat, problem, said)
    assert [word for word in words(lesson.said.token_ids) if word in ("Q", "K")] == ["K", "Q", "Q", "K"]
    assert sum(lesson.learned) == len(k)
    assert lesson.learned[-len(k) :] == (1,) * len(k)


def test_placeholders_in_a_failed_reply_are_no_pictures() -> None:
    """A model may sample the token that stands for pictures, and such a reply stays in the conversation."""
    chat = BUILDERS["idefics3"]()[1]
    problem = LookTask().problem("train", 0, 0)
    failed = (chat.eye.token_id, *chat.encode_reply("x"))
    lines = [ScriptLine(failed, False), ScriptLine(None, True)]
    lesson = tell(chat, problem, replies(chat.decode, problem, lambda step: lines * (not step), 3))
    lessons: dict[int, Lesson] = {0: lesson}
    batch = Collator(chat, lessons)([{"index": 0}])  # type: ignore[arg-type]
    there = batch["input_ids"][0] == chat.eye.token_id
    assert int(there.sum()) == int((there & batch["given"][0]).sum()) + 1
    assert batch["pictures"] == [lesson.said.pictures]
    assert all(isinstance(picture, Picture) for picture in lesson.said.pictures)


# Sampling


def test_samples_are_those_of_the_seed_whatever_the_batch(tmp_path: Path) -> None:
    def said(name: str, config: SFTConfig) -> list[tuple[Step, ...]]:
        (tmp_path / name).mkdir()
        samples = samples_in(tmp_path / name, config)
        return [samples[index].steps for index in range(len(samples.at))]

    whole = said("whole", CONFIG)
    assert len(whole) == used(CONFIG) == 24
    assert said("batches", replace(CONFIG, batch_size=5)) == whole
    assert said("fewer", replace(CONFIG, steps=2)) == whole[:12]  # no more than are used
    assert said("other", replace(CONFIG, seed=1)) != whole
    assert said("cold", replace(CONFIG, temperature=0.1)) != whole


def test_sampling_is_counted_as_rl_counts_it_and_as_far_as_it_is_used(tmp_path: Path) -> None:
    lessons = lessons_in(tmp_path)
    assert lessons.samples is not None
    problems = [TASK.problem("train", 0, index) for index in range(24)]
    episodes = revise(problems, local_engine(start_model(), tiny_chat(), CONFIG), CONFIG.turns)
    read = sum(len(episode.token_ids) for episode in episodes)
    assert lessons.samples.taken == TokenCount(forward=read)
    written = sum(len(turn.completion.token_ids) for episode in episodes for turn in episode.turns)
    assert lessons.samples.metrics["generated_tokens"] == written
    assert lessons.sampling(0) == TokenCount()
    assert lessons.sampling(1) == TokenCount(forward=round(read * 6 / len(lessons.rows)))
    assert lessons.sampling(4) == lessons.sampling(100) == TokenCount(forward=read)  # no problem twice
    assert Lessons(tiny_chat(), TASK, "terse", replace(CONFIG, data="expert")).sampling(4) == TokenCount()


def test_a_start_model_that_is_never_right_has_nothing_to_learn_from(tmp_path: Path) -> None:
    found = get_task("gp-l")
    config = replace(CONFIG, examples=4)
    said = sample(start_model(), tiny_chat(), found, "terse", config, tmp_path)
    with pytest.raises(Diverged, match=r"no reply of the start model to 4 problems.*--data expert"):
        Lessons(tiny_chat(), found, "terse", config, said)
    assert Lessons(tiny_chat(), found, "terse", replace(config, data="self-unverified"), said).rows == [0, 1, 2, 3]


@pytest.mark.parametrize("damage", ["cut", "other", "bytes", "negative"])
def test_damaged_samples_are_named_and_the_remedy_helps(tmp_path: Path, damage: str) -> None:
    whole = samples_in(tmp_path).metrics
    file = tmp_path / "000008.jsonl"
    lines = file.read_text().splitlines(True)
    text = {
        "cut": "".join(lines[:3]),
        "other": json.dumps([1]) + "\n",
        "bytes": "\0" * 9,
        "negative": lines[0].replace("[[[", "[[[-", 1).replace('"tries": [[', '"tries": [[-') + "".join(lines[1:]),
    }[damage]
    file.write_text(text)
    with pytest.raises(RuleshiftError, match=r"000008.jsonl cannot be read .*: delete it and run the same command"):
        samples_in(tmp_path)
    file.unlink()
    assert samples_in(tmp_path).metrics == whole


# Training


class StopHereError(Exception):
    pass


def train(path: Path, config: SFTConfig = CONFIG, stop: tuple[int, float] | None = None) -> torch.nn.Module:
    """Train, and stop at a step, or at step 0 once so many problems were sampled."""

    def progress(step: int, metrics: dict[str, float]) -> None:
        if stop == (step, metrics.get("sampled", stop[1] if stop else 0)):
            raise StopHereError

    model = start_model()
    with RunFolder.open(path, config) as run:
        train_sft(model, tiny_chat(), TASK, "terse", config, run, progress=progress)
    return model


def run_bytes(path: Path) -> tuple[bytes, ...]:
    return ((path / "metrics.jsonl").read_bytes(), *(f.read_bytes() for f in sorted((path / "samples").iterdir())))


@pytest.mark.parametrize(("data", "lora_rank"), [("self-verified", 0), ("expert-revision", 2)])
def test_killed_anywhere_it_goes_on_to_the_same_bytes(tmp_path: Path, data: str, lora_rank: int) -> None:
    config = replace(CONFIG, data=data, lora_rank=lora_rank)
    whole = weights_of(train(tmp_path / "whole", config))
    expected = run_bytes(tmp_path / "whole")
    first = RunFolder(tmp_path / "whole").read_metrics()[0]
    assert (first["step"], first["problems"]) == (0, 24)
    for number, stop in enumerate([(0, 8), (0, 24), (1, 0), (3, 0)]):
        path = tmp_path / str(number)
        with pytest.raises(StopHereError):
            train(path, config, stop)
        model = train(path, config)
        assert same_weights(model, whole)
        assert run_bytes(path) == expected
    shutil.rmtree(path / "samples")  # and what was deleted is sampled again, by the start model
    assert same_weights(train(path, config), whole)
    assert run_bytes(path) == expected
    other = weights_of(train(tmp_path / "other", replace(config, seed=1)))  # control
    assert any(not torch.equal(other[name], whole[name]) for name in whole)


def test_own_right_answers_are_learned(tmp_path: Path) -> None:
    """In seconds, and from wrong ones nothing of the kind."""

    def success(model: torch.nn.Module) -> float:
        problems = [TASK.problem("train", 9, index) for index in range(100)]
        engine = local_engine(model, tiny_chat(), replace(CONFIG, seed=5, max_new_tokens=1))
        return sum(episode.solved for episode in revise(problems, engine, 1)) / 100

    long = replace(CONFIG, steps=30, examples=200, batch=16, micro_batch=16, batch_size=200, max_new_tokens=1)
    before = success(start_model())
    after = {
        data: success(train(tmp_path / data, replace(long, data=data))) for data in ("self-verified", "self-unverified")
    }
    assert after["self-verified"] > before + 0.3
    assert after["self-unverified"] < before + 0.15  # control


@pytest.mark.parametrize("family", ["idefics3", "qwen3_vl"])
def test_pictures(family: str, tmp_path: Path) -> None:
    """What was sampled of them is learned from, counted, and the same again."""
    config = replace(CONFIG, data="expert-revision", steps=2, examples=6, batch=3, batch_size=4)
    seen: list[TokenCount] = []
    for name in ("one", "two"):
        model, chat = BUILDERS[family]()
        with RunFolder.open(tmp_path / name, config) as run:
            where = (model, chat, LookTask(), "full", config, run, (2,))
            train_sft(*where, lambda step, tokens: seen.append(tokens))
    assert run_bytes(tmp_path / "one") == run_bytes(tmp_path / "two")
    first = RunFolder(tmp_path / "one").read_metrics()[0]
    assert seen[0] == seen[1]
    assert (seen[0].forward, seen[0].patches_forward) == (first["sampling_tokens"], first["sampling_patches"])
    assert first["sampling_patches"] > 0


def test_an_unknown_kind_is_refused_with_the_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sft", "gp-l", "--data", "nope", "--out", str(tmp_path)]) == 2
    assert "choose from expert, varied, expert-revision, self-verified" in capsys.readouterr().err
