"""SFT through TRL: which tokens are learned, what is counted, and resuming."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine_helpers import drawn, read_again
from helpers import EchoTask, expert_conversation, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.save import save_model
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.engines.llama import can_fuse
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.revision import revise
from ruleshift.runs import RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.tasks import TASKS, get_task
from ruleshift.training.accounting import TokenCount
from ruleshift.training.sft import train_sft
from ruleshift.training.sft_lessons import Lessons
from ruleshift.training.sft_pictures import Collator
from ruleshift.training.trainer import Trainer
from vision_helpers import BUILDERS, LookTask

TASK = EchoTask()
# Four conversations of different lengths in two passes: every step sees all of them.
FULL_BATCH = SFTConfig(
    steps=2, examples=4, batch=4, micro_batch=2, learning_rate=1e-2, schedule="constant", warmup_share=0.0, save_every=2
)
# Ten conversations, four a step: an epoch is two whole steps and a half, and a checkpoint falls inside the second.
EPOCHS = replace(FULL_BATCH, steps=6, examples=10, save_every=4, schedule="cosine")


pytestmark = pytest.mark.usefixtures("on_one_thread")


def conversations(count: int) -> list[tuple[list[int], list[int]]]:
    """Ids and reply masks of the expert's conversations."""
    rows = [expert_conversation(tiny_chat(), TASK, "terse", "train", 0, index) for index in range(count)]
    return [(list(row.token_ids), list(row.reply_mask)) for row in rows]


def train(
    path: Path,
    config: SFTConfig,
    at: tuple[int, ...] = (),
    evaluate: Callable[[int, TokenCount], None] | None = None,
    progress: Callable[[int, dict[str, float]], object] | None = None,
) -> torch.nn.Module:
    model = tiny_model(layers=1)
    with RunFolder.open(path, config) as run:
        train_sft(model, tiny_chat(), TASK, "terse", config, run, at, evaluate, progress)
    return model


def test_labels_are_the_tokens_of_replies_and_nothing_else():
    lessons = Lessons(tiny_chat(), TASK, "terse", replace(FULL_BATCH, examples=40))
    assert lessons.rows == list(range(40))
    rows = [Collator(tiny_chat(), lessons)([{"index": index}]) for index in lessons.rows]
    rows = [{name: row[name][0].tolist() for name in ("input_ids", "labels")} for row in rows]
    words = tiny_chat().tokenizer.convert_ids_to_tokens
    problem = TASK.problem("train", 0, 0)
    shown = [token for part in ["+"] * (problem.count - 1) for token in (problem.rank, part)] + [problem.rank]
    assert words(rows[0]["input_ids"]) == ["<user>", *shown, "<bot>", *shown, "<end>"]
    assert rows[0]["labels"][: len(shown) + 2] == [-100] * (len(shown) + 2)
    assert words(rows[0]["labels"][len(shown) + 2 :]) == [*shown, "<end>"]
    for row, (ids, mask) in zip(rows, conversations(40), strict=True):
        assert row["input_ids"] == ids
        assert row["labels"] == [token if learned else -100 for token, learned in zip(ids, mask, strict=True)]
    assert len({len(row["input_ids"]) for row in rows}) == 3


def test_the_first_loss_is_the_mean_cross_entropy_of_reply_tokens(tmp_path):
    """Over all reply tokens of the step alike, whatever pass they are in, and whatever padding stands beside them."""
    model = tiny_model(layers=1)
    losses, all_losses = [], []
    for ids, mask in conversations(4):
        with torch.no_grad():
            table = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        per_token = [-float(table[p - 1, ids[p]]) for p in range(1, len(ids))]
        all_losses += per_token
        losses += [loss for loss, learned in zip(per_token, mask[1:], strict=True) if learned]
    assert len({len(ids) for ids, _ in conversations(4)}) > 1
    with RunFolder.open(tmp_path, FULL_BATCH) as run:
        train_sft(model, tiny_chat(), TASK, "terse", FULL_BATCH, run)
        first, second = run.read_metrics()
    assert first["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert first["loss"] != pytest.approx(sum(all_losses) / len(all_losses), abs=1e-3)  # control: prompts count not
    assert second["loss"] < first["loss"] - 0.1
    assert not model.training


def test_a_padding_without_an_embedding(tmp_path: Path) -> None:
    """A tokenizer to which [PAD] was added, and a model that has no row for it: answers, learns and loads again."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    save_model(tiny_model(layers=1), tokenizer, tmp_path / "before")
    found = load_backbone(str(tmp_path / "before"), device="cpu")
    assert found.chat.tokenizer.pad_token_id == found.model.config.vocab_size
    problems = [TASK.problem("train", 0, index) for index in range(6)]
    episodes = revise(problems, LocalEngine(found.model, found.chat, Sampling(1.0, 8, 1)), 2)
    assert len({len(episode.turns[0].appended_ids) for episode in episodes}) > 1
    for episode in episodes:
        torch.testing.assert_close(drawn(episode), read_again(found.model, episode)[1], atol=1e-4, rtol=0)
    with RunFolder.open(tmp_path / "run", FULL_BATCH) as run:
        train_sft(found.model, found.chat, TASK, "terse", FULL_BATCH, run)
    save_model(found.model, found.chat.source, tmp_path / "after")
    assert same_weights(load_backbone(str(tmp_path / "after"), device="cpu").model, weights_of(found.model))


def test_what_steps_show_is_told_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step over an epoch and on, against what the passes of the training saw."""
    config, task = replace(EPOCHS, seed=3), get_task("gp-l")
    lessons = Lessons(tiny_chat(), task, "terse", config)
    number = {lessons[index].said.token_ids: index for index in lessons.rows}
    assert len(number) == config.examples
    seen: list[set[int]] = [set()]
    learned = Trainer.loss_of

    def watched(self: Trainer, model: object, inputs: dict[str, torch.Tensor], items: object) -> torch.Tensor:
        rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
        seen[-1] |= {number[tuple(ids[mask > 0].tolist())] for ids, mask in rows}
        return learned(self, model, inputs, items)

    monkeypatch.setattr(Trainer, "loss_of", watched)
    with RunFolder.open(tmp_path, config) as run:
        train_sft(
            *(tiny_model(layers=1), tiny_chat(), task, "terse", config, run),
            progress=lambda step, metrics: seen.append(set(seen[-1])),
        )
    assert [len(rows) for rows in seen[:-1]] == [4, 8, 10, 10, 10, 10]
    assert [sorted(lessons.shown(step)) for step in range(1, 7)] == [sorted(rows) for rows in seen[:-1]]
    other = Lessons(tiny_chat(), task, "terse", replace(config, seed=4))
    assert sorted(other.shown(1)) != sorted(seen[0])  # control: another seed deals another order


@pytest.mark.parametrize("family", [None, "idefics3"])
def test_dft_weighs_each_token_by_its_probability(tmp_path, family):
    """In text and pictures."""
    config = replace(FULL_BATCH, steps=1, micro_batch=4)
    found = {}
    for loss in ("nll", "dft"):
        model, chat = (tiny_model(layers=1, spread=0.3), tiny_chat()) if family is None else BUILDERS[family]()
        task, style = (TASK, "terse") if family is None else (LookTask(), "full")
        with RunFolder.open(tmp_path / loss, config) as run:
            train_sft(model, chat, task, style, replace(config, loss=loss), run)
            found[loss] = run.read_metrics()[0]
    assert 0 < found["dft"]["loss"] < 0.4 < found["nll"]["loss"]  # -p log p is at most 1/e
    assert 0 < found["dft"]["grad_norm"] < found["nll"]["grad_norm"]


def test_dft_is_the_mean_of_minus_p_log_p(tmp_path):
    model, terms = tiny_model(layers=1, spread=0.3), []
    for ids, mask in conversations(4):
        with torch.no_grad():
            table = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        chosen = [float(table[p - 1, ids[p]]) for p in range(1, len(ids)) if mask[p]]
        terms += [-math.exp(logprob) * logprob for logprob in chosen]
    config = replace(FULL_BATCH, steps=1, loss="dft")
    with RunFolder.open(tmp_path, config) as run:
        train_sft(model, tiny_chat(), TASK, "terse", config, run)
        (first,) = run.read_metrics()
    assert first["loss"] == pytest.approx(sum(terms) / len(terms), abs=1e-4)


def test_metrics_tokens_and_evaluation(tmp_path):
    per_step = sum(len(ids) for ids, _ in conversations(4))
    config = replace(FULL_BATCH, steps=3)
    seen: list[tuple[int, TokenCount]] = []
    reported: list[int] = []
    train(tmp_path, config, (1, 3), lambda *point: seen.append(point), lambda step, metrics: reported.append(step))
    metrics = RunFolder(tmp_path).read_metrics()
    assert [line["step"] for line in metrics] == reported == [1, 2, 3]
    assert all(line.keys() == {"step", "loss", "grad_norm", "learning_rate", "tokens"} for line in metrics)
    assert all(0 < line["loss"] < 6 and line["grad_norm"] > 0 for line in metrics)
    assert [line["learning_rate"] for line in metrics] == [1e-2] * 3
    # Real tokens, prompts and replies, once per step; padding and evaluation are not counted.
    assert [line["tokens"] for line in metrics] == [per_step, 2 * per_step, 3 * per_step]
    assert seen == [(1, TokenCount(trained=per_step)), (3, TokenCount(trained=3 * per_step))]


class StopHereError(Exception):
    pass


def test_a_model_is_measured_as_it_is_when_loaded_again(tmp_path):
    """Trainer's libraries put a forward of their own into the model, which the engine would not fuse."""
    model, seen = tiny_model(layers=1), []
    with RunFolder.open(tmp_path, FULL_BATCH) as run:
        where = (model, tiny_chat(), TASK, "terse", FULL_BATCH, run, (1, 2))
        train_sft(*where, lambda step, tokens: seen.append(can_fuse(model)))
    assert [*seen, can_fuse(model)] == [True, True, True]


def stop_at(step: int) -> Callable[[int, dict[str, float]], None]:
    def progress(done: int, metrics: dict[str, float]) -> None:
        if done == step:
            raise StopHereError

    return progress


def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path):
    unbroken = train(tmp_path / "unbroken", EPOCHS)
    expected = (tmp_path / "unbroken" / "metrics.jsonl").read_bytes()
    broken = tmp_path / "broken"
    with pytest.raises(StopHereError):
        train(broken, EPOCHS, progress=stop_at(5))  # after the checkpoint of step 4, within the second epoch
    assert [line["step"] for line in RunFolder(broken).read_metrics()] == [1, 2, 3, 4, 5]
    again: list[int] = []
    resumed = train(broken, EPOCHS, progress=lambda step, metrics: again.append(step))
    assert again == [5, 6]
    assert (broken / "metrics.jsonl").read_bytes() == expected
    before = weights_of(unbroken)
    assert all(torch.equal(tensor, before[name]) for name, tensor in resumed.state_dict().items())
    # Once more: a finished run is loaded and left alone.
    finished = train(broken, EPOCHS, progress=stop_at(6))
    assert (broken / "metrics.jsonl").read_bytes() == expected
    assert all(torch.equal(tensor, before[name]) for name, tensor in finished.state_dict().items())
    # Control: the start model is another one, and so are the numbers of another seed.
    assert not torch.equal(tiny_model(layers=1).lm_head.weight, unbroken.lm_head.weight)
    train(tmp_path / "other", replace(EPOCHS, seed=1, steps=1))
    assert RunFolder(tmp_path / "other").read_metrics()[0]["loss"] != RunFolder(broken).read_metrics()[0]["loss"]


def test_a_batch_smaller_than_a_pass_is_still_the_batch(tmp_path):
    config = replace(FULL_BATCH, examples=12, batch=2, micro_batch=128, steps=1)
    train(tmp_path, config)
    lengths = [len(ids) for ids, _ in conversations(12)]
    tokens = RunFolder(tmp_path).read_metrics()[0]["tokens"]
    assert tokens <= sum(sorted(lengths)[-2:])


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(RuleshiftError, match="--batch 4 is not a multiple of --micro-batch 3"):
        train(tmp_path, replace(FULL_BATCH, micro_batch=3))


def test_presets():
    paper = get_task("gp-l").recipe.sft["paper"]
    assert (paper.learning_rate, paper.schedule, paper.batch) == (1e-6, "cosine", 128)
    assert get_task("gp-l").recipe.sft["tiny"] == SFTConfig(steps=300, learning_rate=1e-3)
    assert all(
        preset.batch % preset.micro_batch == 0 for name in TASKS for preset in get_task(name).recipe.sft.values()
    )
