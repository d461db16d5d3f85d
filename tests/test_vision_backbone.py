"""The vision-language backbone: how it starts, what it is shown, and the bundled one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ruleshift.backbones.config import BUNDLED, VisionBuildConfig
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.seeing import new_vision_model
from ruleshift.cli import main
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.evaluation.evaluate import cell_of, evaluate
from ruleshift.pictures import pixels_of
from ruleshift.pretraining import cards
from ruleshift.pretraining.build import batch_of, loss_of, new_optimizers
from ruleshift.records import Message
from ruleshift.tasks import get_task

TINY = VisionBuildConfig(width=12, layers=1, heads=2, feedforward=16, picture=48, patch=8, batch=3, walk_share=0.0)


def test_it_starts_as_the_text_backbone_behind_an_untrained_tower() -> None:
    text = load_backbone("bundled")
    model, chat = new_vision_model(TINY)
    again, _ = new_vision_model(TINY)
    for (name, weight), (_, other) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(weight, other), name
    prompt = [Message("user", "J 8 Q 9 K 13 target 24 cards 5 4 K 3")]
    ids, told = (torch.tensor([c.encode_prompt(prompt)]) for c in (chat, text.chat))
    assert torch.equal(ids, told)  # the same words have the same ids
    with torch.no_grad():
        seen, read = (m(input_ids=ids).logits[..., : len(text.chat.tokenizer)] for m in (model.eval(), text.model))
    assert torch.allclose(seen, read, atol=1e-4)


def test_every_conversation_shows_pictures_of_the_models_size_and_losses_reach_the_tower() -> None:
    model, chat = new_vision_model(TINY)
    batch = batch_of(chat, TINY, 0)
    assert [len(said.pictures) for said in batch] == [1, 1, 1]
    assert {pixels_of(said.pictures[0]).shape for said in batch} == {(48, 48, 3)}
    assert [said.token_ids.count(chat.eye.token_id) for said in batch] == [4, 4, 4]  # 6 x 6 patches, 3 x 3 a token
    first = loss_of(model, batch, chat)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.model.vision_model.parameters())
    optimizers = new_optimizers(TINY, model)
    for _ in range(5):
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        last = loss_of(model, batch, chat)
    assert last < first - 0.05


def test_the_decoder_moves_at_its_share_of_the_rates() -> None:
    model, _ = new_vision_model(TINY)
    decoder = {id(p) for p in model.get_decoder().parameters()}
    for name, rate in (("muon", TINY.learning_rate), ("adamw", TINY.embedding_learning_rate)):
        for group in new_optimizers(TINY, model)[name].param_groups:
            shares = {TINY.decoder_share if id(p) in decoder else 1.0 for p in group["params"]}
            assert len(shares) == 1
            assert group["peak"] == pytest.approx(rate * shares.pop())


def test_failed_replies_also_misread_cards_that_are_seen() -> None:
    _, chat = new_vision_model(TINY)
    exercise = replace(cards.WITH_RETRIES, failed=1.0, misread=1.0, most=1)
    said = [chat.decode(cards.conversation(chat, exercise, 0, index, 48).token_ids) for index in range(12)]
    assert any("misread" in text for text in said)
    told = [chat.decode(cards.conversation(chat, exercise, 0, index).token_ids) for index in range(12)]
    assert not any("misread" in text for text in told)


def test_the_command_builds_a_folder_that_loads(tmp_path: Path) -> None:
    options = "--width 12 --layers 1 --heads 2 --feedforward 16 --picture 48 --patch 8 --batch 2 --walk-share 0"
    steps = "--first-steps 1 --retry-steps 1 --warmup 1"
    assert main(f"backbone build-vision --out {tmp_path}/b {options} {steps}".split()) == 0
    built = load_backbone(str(tmp_path / "b" / "model"), pictures=True)
    assert built.style == "stepwise"
    assert main(f"backbone build-vision --out {tmp_path}/c --picture 50".split()) == 2


def test_the_bundled_one_reads_most_cards_in_unseen_suits_and_is_imperfect() -> None:
    seeing = load_backbone("bundled", pictures=True)
    engine = LocalEngine(seeing.model, seeing.chat, Sampling(0.0, 80))
    cell = cell_of("visual-ood", "greedy", evaluate(engine, get_task("gp-vl"), "visual-ood", 48, 1, seeing.style))
    recognised = sum(cell.outcomes("recognition", 1)) / 48
    assert 0.75 < recognised <= 1.0
    assert 0.2 < sum(cell.outcomes("success", 1)) / 48 < 0.8
    assert sum(cell.outcomes("validity", 1)) / 48 > 0.95


def test_all_bundled_weights_take_12_megabytes_at_most() -> None:
    weights = list(BUNDLED.parent.rglob("*.safetensors"))
    assert len(weights) == 2
    assert sum(path.stat().st_size for path in weights) <= 12_000_000
