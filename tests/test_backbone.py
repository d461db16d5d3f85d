"""The bundled backbone: its pretraining data, its shipped files, and the loading of any model."""

import json
from pathlib import Path
from statistics import fmean

import pytest
import torch

from ruleshift.backbones.config import BUNDLED, BuildConfig
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.chat import Chat, Sequences
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.evaluation.evaluate import cell_of, evaluate
from ruleshift.pretraining import conversation as mixed
from ruleshift.pretraining import echo, walks
from ruleshift.pretraining.build import batch_of, loss_of, new_model, new_optimizers, pretrain, rate_scale
from ruleshift.pretraining.cards import FIRST_TRIES, WITH_RETRIES, Exercise, conversation
from ruleshift.pretraining.muon import Muon, orthogonalised
from ruleshift.tasks import get_task
from ruleshift.tasks.generalpoints.expression import parse
from ruleshift.tasks.generalpoints.rules import SPLITS, is_heldout
from ruleshift.tasks.generalpoints.targets import random_formula
from ruleshift.tasks.protocol import TaskProblem
from ruleshift.tasks.streams import stream

_STEPS = {"echo_steps": 2, "first_steps": 4, "retry_steps": 2, "warmup": 2}
TINY = BuildConfig(width=32, layers=1, heads=2, feedforward=32, batch=4, **_STEPS)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(build_tokenizer())


def learned_of(chat: Chat, sequence: Sequences) -> list[str]:
    """The replies that are learned."""
    text, parts = [], []
    for token, weight in zip(sequence.token_ids, sequence.reply_mask, strict=True):
        if weight:
            parts.append(token)
        elif parts:
            text.append(chat.decode(parts))
            parts = []
    return [*text, chat.decode(parts)]


def card_problem(exercise: Exercise, index: int) -> TaskProblem:
    """The problem of a pretraining conversation about cards."""
    usual = exercise.usual and stream("pretraining", 0, index).random() < exercise.usual
    return get_task("gp-l").problem("pretrain" if usual else "pretrain-targets", 0, index, "stepwise")


@pytest.mark.parametrize("exercise", [FIRST_TRIES, WITH_RETRIES])
def test_only_right_answers_with_sound_work_are_learned(chat: Chat, exercise: Exercise) -> None:
    tries = []
    for index in range(150):
        problem = card_problem(exercise, index)
        sequence = conversation(chat, exercise, 0, index)
        (reply,) = learned_of(chat, sequence)
        verdict = problem.submit(reply, last=False)
        assert verdict.solved
        assert verdict.valid
        assert verdict.work == "sound"
        tries.append(sequence.token_ids.count(chat.tokenizer.convert_tokens_to_ids("<bot>")))
    retried = sum(count > 1 for count in tries) / len(tries)
    assert retried == 0 if exercise is FIRST_TRIES else 0.15 < retried < 0.45  # 0.3 are to be, four standard errors


@pytest.mark.parametrize("exercise", [FIRST_TRIES, WITH_RETRIES])
def test_targets_vary_and_held_out_hands_never_make_24(exercise: Exercise) -> None:
    targets = []
    for index in range(400):
        hand = card_problem(exercise, index).hand
        targets.append(hand.scored.target)
        numbers = tuple(sorted(hand.numbers(hand.scored)))
        assert hand.scored.target != 24 or not is_heldout(numbers)
        assert hand.scored.faces not in SPLITS["pretrain"].excluded
    assert len(set(targets)) > 60
    assert targets.count(24) / 400 == pytest.approx(exercise.usual, abs=0.08)  # three standard errors, and chance


def test_pretraining_text_round_trips_without_unknown_tokens(chat: Chat) -> None:
    unknown = chat.tokenizer.unk_token_id
    for index in range(200):
        assert unknown not in conversation(chat, Exercise(failed=0.5), 1, index).token_ids


def test_random_formula_uses_every_number_once() -> None:
    for index in range(100):
        rng = stream("test", index)
        numbers = [rng.randint(1, 13) for _ in range(4)]
        assert sorted(parse(random_formula(list(numbers), rng)).numbers) == sorted(numbers)


def test_batches_are_a_function_of_the_step(chat: Chat) -> None:
    assert batch_of(chat, TINY, 1) == batch_of(chat, TINY, 1)
    assert batch_of(chat, TINY, 1) != batch_of(chat, TINY, 2)
    seen = [sequence for step in range(TINY.steps) for sequence in batch_of(chat, TINY, step)]
    assert len(set(seen)) == len(seen)


def test_failed_tries_come_before_some_right_ones_in_the_share_told(chat: Chat) -> None:
    reply = chat.tokenizer.convert_tokens_to_ids("<bot>")

    def retried(share: float, steps: range) -> float:
        config = BuildConfig(first_steps=100, walk_share=0.0, retry_share=share)
        tries = [s.token_ids.count(reply) for step in steps for s in batch_of(chat, config, step)]
        return sum(count > 1 for count in tries) / len(tries)

    assert retried(0.6, range(298, 300)) == 0
    assert retried(0.0, range(300, 302)) == 0
    last = retried(0.6, range(300, 306))  # 0.18 are to be, five standard errors and those that were right by chance
    assert 0.1 < last < 0.26


def test_optimisers_start_anew_with_the_failed_tries(chat: Chat) -> None:
    model, _ = new_model(TINY)
    optimizers = new_optimizers(TINY, model)
    steps: dict[int, float] = {}

    def after_step(done: int, loss: float) -> None:
        steps[done] = max(float(state["step"]) for state in optimizers["adamw"].state.values())

    pretrain(TINY, model, chat, optimizers, 0, after_step)
    assert steps == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 1, 8: 2}


def test_the_walks_of_a_mixed_batch_are_as_many_as_told(chat: Chat) -> None:
    facing = chat.tokenizer.convert_tokens_to_ids("facing")
    for share in (0.125, 0.25):
        batch = batch_of(chat, BuildConfig(walk_share=share), 500)
        assert sum(sequence.token_ids[1] == facing for sequence in batch) == 128 * share


def test_echoes_are_copies_and_lookups(chat: Chat) -> None:
    user, bot, end = chat.tokenizer.convert_tokens_to_ids(["<user>", "<bot>", "<end>"])
    for index in range(50):
        sequence = echo.conversation(chat, 0, index)
        ids = list(sequence.token_ids)
        words = ids[1 : ids.index(bot)]
        assert ids[: 2 * len(words) + 3] == [user, *words, bot, *words, end]
        (first, second) = (ids[2 * len(words) + 3 :][i : i + 5] for i in (0, 5))
        for lookup in (first, second):
            place = [i for i, word in enumerate(words[:-1]) if (word, words[i + 1]) == (lookup[1], lookup[3])]
            assert place
        assert sum(sequence.reply_mask) == len(words) + 1 + 2 * 2


def test_a_walk_has_wrong_replies_as_often_as_told_and_none_is_learned(chat: Chat) -> None:
    call = chat.tokenizer.convert_tokens_to_ids("<bot>")
    for walker in (walks.FIRST_TRIES, walks.WITH_RETRIES):
        wrong = 0
        for index in range(40):
            problem = get_task("virl-l").problem("pretrain", 0, index, "stepwise")
            sequence = walks.conversation(chat, walker, 0, index)
            learned = learned_of(chat, sequence)
            verdicts = [problem.submit(reply, last=False) for reply in learned]
            assert all(verdict.reward == 1 for verdict in verdicts)
            assert verdicts[-1].solved
            wrong += sequence.token_ids.count(call) - len(learned)
        assert wrong == 0 if walker == walks.FIRST_TRIES else 40 < wrong < 120  # about 4 turns at 0.3, and others


def test_the_words_of_turns_weigh_more(chat: Chat) -> None:
    sequence = walks.conversation(chat, walks.FIRST_TRIES, 0, 1)
    call = chat.tokenizer.convert_tokens_to_ids("turn_direction(")
    pairs = list(zip(sequence.token_ids, sequence.token_ids[1:], sequence.reply_mask[1:], strict=False))
    assert {weight for token, _, weight in pairs if token == call} == {walks.ARGUMENT_WEIGHT}
    assert {weight for token, _, weight in pairs if token != call} == {0, 1}


def test_mixed_conversations_share_no_index(chat: Chat) -> None:
    conversations = {mixed(chat, True, 0.25, 0, index) for index in range(200)}
    assert len(conversations) == 200


def test_learning_rate_warms_up_and_falls_to_two_percent() -> None:
    config = BuildConfig()
    scales = [rate_scale(config, step) for step in range(config.steps)]
    assert scales[0] == pytest.approx(1 / config.warmup)
    assert max(scales) == pytest.approx(1)
    assert scales[-1] == pytest.approx(0.02, rel=0.01)


def test_one_training_step_lowers_the_loss_on_its_batch() -> None:
    model, chat = new_model(TINY)
    optimizers = new_optimizers(TINY, model)
    trained = [p for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, trained)) == sorted(map(id, model.parameters()))
    batch = batch_of(chat, TINY, 0)
    first = loss_of(model, batch, chat)
    for _ in range(5):
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        last = loss_of(model, batch, chat)
    assert last < first - 0.1


def test_loss_does_not_depend_on_how_the_batch_is_parted() -> None:
    model, chat = new_model(TINY)
    batch = batch_of(chat, TINY, 5)
    whole, parted = (loss_of(model, batch, chat, max_tokens) for max_tokens in (10_000, 1))
    assert whole == pytest.approx(parted, abs=1e-5)


def test_bundled_backbone_is_small_reads_rules_and_is_imperfect() -> None:
    size = sum(path.stat().st_size for path in BUNDLED.parent.rglob("*") if path.is_file())
    assert size < 12e6
    bundled = load_backbone("bundled", device="cpu")
    assert bundled.style == "stepwise"
    engine = LocalEngine(bundled.model, bundled.chat, Sampling(0.0, 80))
    for split in ("id-val", "val-shift-a", "val-shift-heldout"):
        episodes = evaluate(engine, get_task("gp-l"), split, 60, 1, "stepwise", seed=3)
        read = sum(bool(e.turns[0].verdict.read_right) for e in episodes) / len(episodes)
        assert read > 0.95, f"{split}: the base must read a stated rule it has never seen"
        assert 0.1 < sum(e.solved for e in episodes) / len(episodes) < 0.9


def test_bundled_backbone_reads_words_for_turns_that_it_has_never_seen_and_is_imperfect() -> None:
    bundled = load_backbone("bundled", device="cpu")
    for temperature in (0.0, 1.0):
        engine = LocalEngine(bundled.model, bundled.chat, Sampling(temperature, 24, 3))
        episodes = evaluate(engine, get_task("virl-l"), "val-shift-a", 30, 1, "stepwise", seed=3)
        cell = cell_of("", "", episodes)
        assert fmean(cell.outcomes("decision_accuracy", 1)) > 0.7
        assert fmean(cell.outcomes("success", 1)) < 0.9


def save_tiny(folder: Path) -> Path:
    model, chat = new_model(TINY)
    model.save_pretrained(folder)
    chat.tokenizer.save_pretrained(folder)
    return folder


def test_a_local_folder_loads_with_its_style(tmp_path: Path) -> None:
    backbone = load_backbone(str(save_tiny(tmp_path / "model")), device="cpu")
    assert backbone.style == "stepwise"
    assert backbone.model.dtype == torch.float32
    assert not backbone.model.training


def test_missing_truncated_and_chatless_models_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RuleshiftError, match=r"config\.json"):
        load_backbone(str(tmp_path / "nowhere" / "at" / "all"))
    folder = save_tiny(tmp_path / "truncated")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(RuleshiftError, match="whole"):
        load_backbone(str(folder), device="cpu")
    chatless = save_tiny(tmp_path / "chatless")
    for template in chatless.glob("chat_template*"):
        template.unlink()
    settings = json.loads((chatless / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (chatless / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(RuleshiftError, match="chat template"):
        load_backbone(str(chatless), device="cpu")


def test_muon_steps_have_the_directions_of_the_gradient_and_one_size() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((24, 8), (8, 24), (8, 8)):
        matrix = torch.randn(shape, generator=generator)
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        found = left.T @ orthogonalised(matrix) @ right.T
        sizes = found.diagonal()
        torch.testing.assert_close(found, torch.diag(sizes), atol=1e-4, rtol=0)
        assert 0.6 < float(sizes.min()) <= float(sizes.max()) < 1.3
        assert float(torch.linalg.svdvals(matrix).max() / torch.linalg.svdvals(matrix).min()) > 2  # control


def test_muon_repeats_the_library_but_for_its_precision() -> None:
    generator = torch.Generator().manual_seed(1)
    start, gradients = torch.randn(12, 6, generator=generator), torch.randn(5, 12, 6, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    library = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for optimizer, parameter in ((Muon([ours], 0.1, weight_decay=0.1), ours), (library, theirs)):
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=0.005, rtol=0)
    assert float((ours - start).detach().abs().max()) > 0.1  # control
