"""Losses of SFT, and its data: noise, other rules, slices of difficulty."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from trl import SFTTrainer

from helpers import EchoTask, tiny_chat, tiny_model, weights_of
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import SFTConfig
from ruleshift.tasks import get_task
from ruleshift.training.accounting import TokenCount
from ruleshift.training.sft import train_sft
from ruleshift.training.sft_data import check_data
from ruleshift.training.sft_lessons import Lessons, wrong_reply
from ruleshift.training.sft_losses import LEAST, LOSSES
from ruleshift.training.sft_samples import pass_rates
from ruleshift.training.trainer import Trainer
from vision_helpers import BUILDERS, LookTask

TASK = EchoTask()
CONFIG = SFTConfig(
    steps=4, examples=4, batch=4, micro_batch=2, learning_rate=1e-2, schedule="constant", warmup_share=0.0, save_every=2
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def trained(
    path: Path, config: SFTConfig, family: str | None = None, progress: Callable[[int, dict], object] | None = None
) -> tuple[torch.nn.Module, list[dict[str, float]]]:
    model, chat = (tiny_model(layers=1, spread=0.3), tiny_chat()) if family is None else BUILDERS[family]()
    task, style = (TASK, "terse") if family is None else (LookTask(), "full")
    with RunFolder.open(path, config) as run:
        train_sft(model, chat, task, style, config, run, progress=progress)
        return model, run.read_metrics()


# The losses

P = torch.tensor([0.5, 0.001, 0.9]).log()


def test_losses_are_those_worked_out_by_hand():
    config = SFTConfig(loss_tau=2.0, loss_clip=0.2)
    expected = {
        "nll": [-math.log(0.5), -math.log(0.001), -math.log(0.9)],
        "dft": [-0.5 * math.log(0.5), -0.001 * math.log(0.001), -0.9 * math.log(0.9)],
        "talr": [-(p**0.5) * math.log(p) for p in (0.5, 0.001, 0.9)],
    }
    for name, values in expected.items():
        torch.testing.assert_close(LOSSES[name](P, None, config), torch.tensor(values))
    old = torch.tensor([0.5, 0.0009, 0.5]).log()
    psft = LOSSES["psft"](P, old, config)
    torch.testing.assert_close(psft, -torch.tensor([1.0, 0.001 / 0.0009, 1.2]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("loss", ["nll", "dft"])
def test_losses_and_gradients_are_those_of_trl(tmp_path, monkeypatch, loss):
    """Where TRL has the loss, in passes of different lengths of which some are padded."""
    found: list[tuple[float, float]] = []
    own = Trainer.loss_of

    def compared(self: Trainer, model: torch.nn.Module, inputs: dict, items: torch.Tensor) -> torch.Tensor:
        self.args.loss_type = loss
        learning = [p for p in model.parameters() if p.requires_grad]
        losses = [SFTTrainer.compute_loss(self, model, dict(inputs), num_items_in_batch=items)]
        losses.append(own(self, model, inputs, items))
        expected, gradients = (torch.autograd.grad(one, learning, retain_graph=True) for one in losses)
        for theirs, ours in zip(expected, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
        found.append((losses[0].item(), losses[1].item()))
        return losses[1]

    monkeypatch.setattr(Trainer, "loss_of", compared)
    trained(tmp_path, replace(CONFIG, loss=loss, examples=12, max_tokens=20))
    theirs, ours = zip(*found, strict=True)
    assert len(found) > CONFIG.steps
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert min(ours) > 0


def gradient(name: str, logprobs: torch.Tensor, old: torch.Tensor | None, config: SFTConfig) -> torch.Tensor:
    leaf = logprobs.clone().requires_grad_()
    (found,) = torch.autograd.grad(LOSSES[name](leaf, old, config).sum(), leaf)
    return found


def test_special_cases():
    config = SFTConfig(loss_tau=1.0)
    # talr with tau 1 is dft but for its floor, with a large one nll; psft at its own weights is nll, beyond the clip 0.
    dft, talr = (gradient(name, P, None, config) for name in ("dft", "talr"))
    torch.testing.assert_close(talr[[0, 2]], dft[[0, 2]])
    assert float(talr[1]) == pytest.approx(-LEAST)
    torch.testing.assert_close(
        gradient("talr", P, None, replace(config, loss_tau=1e6)), gradient("nll", P, None, config)
    )
    torch.testing.assert_close(gradient("psft", P, P, config), gradient("nll", P, None, config))
    moved = gradient("psft", P, P - 0.5, config)
    assert not moved.any()
    assert gradient("psft", P, P + 0.5, config).all()  # control: less likely than before, it still teaches


@pytest.mark.parametrize("family", [None, "idefics3"])
def test_psft_whose_old_weights_follow_at_every_step_is_nll_and_else_is_not(tmp_path, family):
    """In text and pictures, with gradients over several passes."""
    steps = replace(CONFIG, save_every=4, max_grad_norm=1e9)
    nll, metrics = trained(tmp_path / "nll", steps, family)
    same, own = trained(tmp_path / "same", replace(steps, loss="psft", loss_lag=1), family)
    other, _ = trained(tmp_path / "other", replace(steps, loss="psft", loss_lag=4, loss_clip=0.01), family)
    before = weights_of(nll)
    apart = [max(float((t - before[n]).abs().max()) for n, t in m.state_dict().items()) for m in (same, other)]
    assert apart[0] < 1e-3 < apart[1]
    assert [line["loss"] for line in own] == pytest.approx([-1.0] * 4, abs=1e-4)
    assert [line["grad_norm"] for line in own][:1] == pytest.approx(
        [line["grad_norm"] for line in metrics][:1], rel=1e-3
    )


def test_unlikely_tokens_weigh_less_in_the_trainer(tmp_path):
    losses = {
        name: trained(tmp_path / name, replace(CONFIG, loss=name, loss_tau=3.0, steps=1))[1][0]
        for name in ("nll", "talr", "dft")
    }
    assert losses["dft"]["loss"] < losses["talr"]["loss"] < losses["nll"]["loss"]
    assert losses["talr"]["grad_norm"] < losses["nll"]["grad_norm"]


class StopHereError(Exception):
    pass


@pytest.mark.parametrize("loss", ["psft", "talr"])
def test_they_resume_to_the_same_bytes(tmp_path, loss):
    config = replace(CONFIG, loss=loss, loss_lag=2, loss_clip=0.01, steps=6, lora_rank=0)
    unbroken, metrics = trained(tmp_path / "unbroken", config)

    def stop(step: int, line: dict) -> None:
        if step == 5:
            raise StopHereError

    with pytest.raises(StopHereError):
        trained(tmp_path / "broken", config, progress=stop)
    resumed, again = trained(tmp_path / "broken", config)
    assert again == metrics
    before = weights_of(unbroken)
    assert all(torch.equal(tensor, before[name]) for name, tensor in resumed.state_dict().items())
    with pytest.raises(RuleshiftError, match=r"--save-every 3 is not a multiple of --loss-lag 2.*give --save-every 4"):
        replace(config, loss="psft", save_every=3)


def test_the_pass_of_the_old_weights_is_counted(tmp_path):
    counts = {}
    for loss in ("nll", "psft"):
        config = replace(CONFIG, loss=loss, loss_lag=2, steps=2)
        with RunFolder.open(tmp_path / loss, config) as run:
            at = counts.setdefault(loss, [])
            model = tiny_model(layers=1)
            train_sft(
                model, tiny_chat(), TASK, "terse", config, run, (2,), lambda step, tokens, at=at: at.append(tokens)
            )
    (plain,), (psft,) = counts["nll"], counts["psft"]
    assert psft == plain + TokenCount(forward=plain.trained)


# The data


def test_wrong_labels_are_wrong_in_the_share_asked_for_and_the_rest_is_untouched():
    cards = get_task("gp-l")
    clean, noisy = (Lessons(tiny_chat(), cards, "terse", SFTConfig(examples=200, noise=noise)) for noise in (0.0, 0.25))
    wrong = 0
    for index in range(200):
        a, b = clean[index], noisy[index]
        if a == b:
            continue
        wrong += 1
        problem = cards.problem("train", 0, index, "terse")
        text = tiny_chat().decode([t for t, learned in zip(b.said.token_ids, b.learned, strict=True) if learned])
        verdict = problem.submit(text, False)
        assert not verdict.solved
        assert verdict.valid  # in the right form
    assert 30 < wrong < 70
    assert Lessons(tiny_chat(), cards, "terse", SFTConfig(examples=9, noise=1.0))[3] != clean[3]


def test_a_walk_goes_on_behind_a_wrong_label():
    walks = get_task("virl-l")
    clean, noisy = (Lessons(tiny_chat(), walks, "terse", SFTConfig(examples=3, noise=noise)) for noise in (0.0, 1.0))
    for index in range(3):
        a, b = clean[index], noisy[index]
        turns = [sum(x > y for x, y in zip(one.learned[1:], one.learned, strict=False)) for one in (a, b)]
        assert turns[0] == turns[1] > 1
        assert a.said.token_ids != b.said.token_ids


def test_noise_needs_replies_of_the_expert():
    with pytest.raises(RuleshiftError, match=r"--data self-verified has none: give --noise 0.0$"):
        check_data(SFTConfig(data="self-verified", noise=0.1), ("train",))
    with pytest.raises(RuleshiftError, match="needs a split 'pretrain'"):
        check_data(SFTConfig(data="varied"), ("train",))
    check_data(SFTConfig(data="varied"), get_task("gp-l").splits())
    right = get_task("gp-l").problem("train", 0, 0, "terse")
    assert not right.submit(wrong_reply(right, 0), False).right


def test_varied_data_is_of_other_rules_at_every_second_problem_and_of_varied_prompts():
    cards = get_task("gp-l")
    lessons = Lessons(tiny_chat(), cards, "terse", SFTConfig(examples=40, data="varied"))
    told = [tiny_chat().decode(lessons[i].said.token_ids) for i in range(40)]
    stated = ["J10Q10K10" in text.replace(" ", "") for text in told]
    assert all(stated[::2])
    assert not any(stated[1::2])
    assert lessons._problem(cards, 0).style == "terse"
    full = Lessons(tiny_chat(), cards, "full", SFTConfig(examples=4, data="varied"))
    assert full._problem(cards, 0).style == full._problem(cards, 1).style == "varied"
    assert full._problem(cards, 1).id.startswith("gp-l/pretrain/")


def test_slices_of_difficulty_are_of_the_problems_that_the_start_model_solves_so_often(tmp_path):
    config = SFTConfig(
        steps=3, examples=24, batch=8, micro_batch=8, pass_samples=6, max_new_tokens=4, batch_size=7, save_every=2
    )
    start = tiny_model(layers=1, spread=0.3)
    rates = pass_rates(start, tiny_chat(), TASK, "terse", config, tmp_path)
    assert len(rates.shares) == 24
    assert len(set(rates.shares)) > 1
    assert rates.taken.forward > 0
    middle = sorted(rates.shares)[12]
    easy, hard = rates.within(middle, 1.0), rates.within(0.0, middle - 1e-9)
    assert sorted([*easy, *hard]) == list(range(24))
    assert easy
    lessons = Lessons(tiny_chat(), TASK, "terse", replace(config, pass_low=middle), rates=rates)
    assert lessons.rows == easy
    assert lessons.sampling(3) == TokenCount(forward=round(rates.taken.forward))
    # Files are there whole; one that is of something else is refused.
    files = sorted(tmp_path.glob("pass-*.json"))
    assert len(files) == 4
    before = files[0].stat().st_mtime_ns
    assert pass_rates(start, tiny_chat(), TASK, "terse", config, tmp_path) == rates
    assert files[0].stat().st_mtime_ns == before
    content = json.loads(files[0].read_bytes())
    for damage in ({**content, "right": [7] * 7}, {**content, "right": [1]}, {"right": []}, []):
        files[0].write_text(json.dumps(damage))
        with pytest.raises(RuleshiftError, match="delete it and run the same command again"):
            pass_rates(start, tiny_chat(), TASK, "terse", config, tmp_path)
    with pytest.raises(Diverged, match="another --pass-low"):
        Lessons(tiny_chat(), TASK, "terse", replace(config, pass_low=1.0), rates=replace(rates, shares=(0.0,) * 24))
    with pytest.raises(RuleshiftError, match=r"give --pass-low 0.5 --pass-high 0.6$"):
        replace(config, pass_low=0.6, pass_high=0.5)


def test_a_run_on_a_slice_counts_what_it_took_to_know_it(tmp_path):
    config = replace(CONFIG, examples=16, pass_high=0.9, pass_samples=2, max_new_tokens=4, steps=2)
    _, metrics = trained(tmp_path, config)
    assert metrics[-1]["sampling_tokens"] > 0
    assert not any("accepted_first" in line for line in metrics)
    assert 16 * 2 <= metrics[0]["generated_tokens"] <= 16 * 2 * 4
    assert metrics[0]["step"] == 0
