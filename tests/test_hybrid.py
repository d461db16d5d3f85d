"""SFT in the loss of reinforcement learning: at a fixed weight, and weighed by the noise of both gradients."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import EchoTask, new_rl, tiny_chat, tiny_model
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.save import save_model
from ruleshift.errors import RuleshiftError
from ruleshift.runs import RunFolder
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.training.algorithms import configured
from ruleshift.training.mixing import noise_aware
from ruleshift.training.rl import RL, train_rl
from ruleshift.training.sft import train_sft
from ruleshift.training.teachers import load_teacher

CONFIG = replace(
    configured(RLConfig(), "reinforce"),
    updates=3,
    episodes=8,
    turns=3,
    max_new_tokens=5,
    learning_rate=1e-2,
    schedule="constant",
    warmup=0,
    minibatches=1,
    save_every=2,
)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def rl_of(config: RLConfig) -> RL:
    return new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), EchoTask(), "terse", config)


def tensors(*rows: list[float]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    a, b = ([torch.tensor(row[:1]), torch.tensor(row[1:])] for row in rows)
    return a, b


def test_the_weight_of_the_expert_is_that_worked_out_by_hand():
    # g_rl = (2, 0) with halves (1, 1), (1, -1): s = 4. g_sft = (2, 3), halves equal: s = 0; apart 9 - 4 = 5.
    mix = noise_aware(tensors([1.0, 1.0], [1.0, -1.0]), tensors([1.0, 1.5], [1.0, 1.5]))
    assert (mix.noise_rl, mix.noise_sft, mix.apart) == (4.0, 0.0, 5.0)
    assert mix.weight == pytest.approx(4 / 9)
    quiet = tensors([1.0, 1.0], [1.0, 1.0])
    assert noise_aware(quiet, tensors([3.0, 1.0], [0.0, 1.0])).weight == 0.0  # rewards without noise need no expert
    assert noise_aware(quiet, quiet).weight == 0.0
    noisy = tensors([5.0, 0.0], [-5.0, 0.0])
    assert noise_aware(noisy, tensors([0.1, 0.0], [0.1, 0.0])).weight > 0.9  # a quiet expert near noisy rewards


def test_without_rewards_it_is_sft():
    """The gradient is that of the mean negative log-likelihood of the expert's replies, whatever was sampled."""
    rl = rl_of(replace(CONFIG, reward_coef=0.0, sft_coef=1.0))
    losses = [rl.update()["sft_loss"] for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    episodes, _ = rl.collect()
    batch, _ = rl.estimate(episodes)
    words = tiny_chat().decode
    for episode, shown in zip(episodes, batch.demonstrations, strict=True):
        gold = EchoTask().problem("train", 0, rl.dealt[episode.problem_id]).gold()
        assert words([shown.ids[p] for p in shown.positions]).startswith(gold)


def gradient_after(config: RLConfig) -> list[torch.Tensor]:
    rl = rl_of(replace(config, max_grad_norm=1e9))
    episodes, _ = rl.collect()
    batch, _ = rl.estimate(episodes)
    seen: list[torch.Tensor] = []
    rl.learner.optimizer.register_step_pre_hook(lambda *of: seen.extend(p.grad.clone() for p in rl.learner.trained))
    rl.learner.step(batch, range(len(episodes)))
    return seen


def test_weights_add_up():
    plain, both, more, sft = (
        gradient_after(replace(CONFIG, sft_coef=coef, reward_coef=rewards))
        for coef, rewards in ((0.0, 1.0), (0.5, 1.0), (1.0, 1.0), (1.0, 0.0))
    )
    for a, b, c, d in zip(plain, both, more, sft, strict=True):
        torch.testing.assert_close(b - a, 0.5 * (c - a), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(c, a + d, atol=1e-5, rtol=1e-4)
    assert any(float((b - a).abs().max()) > 1e-3 for a, b in zip(plain, both, strict=True))


def test_the_noise_aware_step_is_the_mix_that_it_says():
    rl = rl_of(replace(CONFIG, sft_mix="noise", max_grad_norm=1e9))
    episodes, _ = rl.collect()
    batch, _ = rl.estimate(episodes)
    seen: list[torch.Tensor] = []
    rl.learner.optimizer.register_step_pre_hook(lambda *of: seen.extend(p.grad.clone() for p in rl.learner.trained))
    weight = rl.learner.step(batch, range(len(episodes)))["sft_weight"]
    assert 0 < weight < 1
    plain, sft = gradient_after(CONFIG), gradient_after(replace(CONFIG, reward_coef=0.0, sft_coef=1.0))
    for mixed, a, b in zip(seen, plain, sft, strict=True):
        torch.testing.assert_close(mixed, (1 - weight) * a + weight * b, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("changes", [{"sft_coef": 0.3}, {"sft_mix": "noise"}, {"sft_coef": 0.3, "lora_rank": 2}])
def test_a_hybrid_resumes_to_the_same_bytes(tmp_path, changes):
    config = replace(CONFIG, minibatches=2, **changes)

    class StopHereError(Exception):
        pass

    def stop(done: int, metrics: dict[str, float]) -> None:
        if done == 3:
            raise StopHereError

    def run_in(path: Path, progress=None) -> tuple[bytes, bytes]:
        with RunFolder.open(path, config) as run:
            train_rl(rl_of(config), run, progress=progress)
            last = run.latest_checkpoint()
            assert last is not None
            return run.metrics_path.read_bytes(), (last.path / "policy.safetensors").read_bytes()

    config = replace(config, updates=4)
    unbroken = run_in(tmp_path / "unbroken")
    with pytest.raises(StopHereError):
        run_in(tmp_path / "broken", stop)
    assert run_in(tmp_path / "broken") == unbroken


def test_rl_starts_from_every_checkpoint_of_sft_and_a_run_that_ended_teaches(tmp_path):
    config = SFTConfig(steps=3, examples=4, batch=4, micro_batch=4, save_every=1, checkpoints=3, learning_rate=1e-2)
    run, chat = tmp_path / "sft", tiny_chat()
    model = tiny_model(layers=1)
    with RunFolder.open(run, config) as folder:
        train_sft(model, chat, EchoTask(), "terse", config, folder)
    seen = []
    for step in (1, 2, 3):
        found = load_backbone(str(run / "checkpoints" / f"step-{step:06d}"), dtype="float32")
        new_rl(found.model, found.chat, EchoTask(), "terse", replace(CONFIG, updates=1)).update()
        seen.append(load_backbone(str(run / "checkpoints" / f"step-{step:06d}")).model.lm_head.weight)
    assert torch.equal(seen[2], model.lm_head.weight)
    assert not torch.equal(seen[0], seen[1])
    distil = DistilConfig(teacher=str(run))
    with pytest.raises(RuleshiftError, match="has not ended"):
        load_teacher(distil, chat, False)
    save_model(model, chat.source, run / "model")
    teacher = load_teacher(distil, chat, False)
    assert torch.equal(teacher.lm_head.weight, model.lm_head.weight)
    assert load_teacher(replace(distil, teacher="expert"), chat, False) is None


def test_the_expert_is_learned_once_a_problem_and_counted():
    alone, grouped = (
        replace(configured(replace(CONFIG, baseline_decay=None), "grpo"), episodes=8, group=group, sft_coef=coef)
        for group, coef in ((4, 0.0), (4, 1.0))
    )
    trained = []
    for config in (alone, grouped):
        rl = rl_of(config)
        rl.learner.step(rl.estimate(rl.collect()[0])[0], range(8))
        trained.append(rl.learner.account.tokens.trained)
    shown = {rl.dealt[e]: None for e in rl.dealt}
    assert len(shown) == 2
    lengths = sum(len(rl._demonstration(i).ids) for i in shown)
    assert trained[1] - trained[0] == lengths
