"""PPO as published, and that the policy which is trained is the one that samples."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from helpers import EchoProblem, EchoTask, new_rl, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.records import Verdict
from ruleshift.tasks import TASKS, get_task
from ruleshift.tasks.protocol import Style
from ruleshift.training.accounting import Sizes
from ruleshift.training.algorithms import check_algorithm
from ruleshift.training.learner import Counts, rate_scale
from test_rl import SMALL, apart, batch_of, new_ppo

pytestmark = pytest.mark.usefixtures("on_one_thread")


@dataclass(frozen=True)
class Hopeless(EchoTask):
    """Whatever is said earns -1, three times."""

    id: str = "hopeless"

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> EchoProblem:
        return Unmoved(**vars(EchoTask().problem(split, seed, index, style)))


class Unmoved(EchoProblem):
    """See `Hopeless`."""

    def submit(self, reply: str, last: bool) -> Verdict:
        return Verdict("wrong", -1.0, False, "wrong")


@dataclass(frozen=True)
class OneQuestion(EchoTask):
    """One question, and a reward that depends on the token that is answered."""

    id: str = "one"

    @staticmethod
    def pays(token: int) -> float:
        return 3.0 if token % 3 == 0 else -2.0

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> EchoProblem:
        return Answered(f"one/{index}", "K", 1)


class Answered(EchoProblem):
    """See `OneQuestion`."""

    def submit(self, reply: str, last: bool) -> Verdict:
        vocabulary = tiny_chat().tokenizer
        ids = vocabulary(reply, add_special_tokens=False)["input_ids"] or [vocabulary.eos_token_id]
        return Verdict("", OneQuestion.pays(ids[0]), False, "")


# The policy that is trained is the one that samples


@pytest.mark.parametrize("temperature", [1.0, 0.2, 2.0])
def test_ratios_are_one_before_the_first_step_whatever_the_temperature(temperature):
    ppo = new_ppo(replace(SMALL, temperature=temperature, epochs=1, minibatches=1, kl_coef=0.1))
    metrics = ppo.learn(batch_of(ppo))
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-8)
    assert metrics["kl_to_start"] == pytest.approx(0, abs=1e-8)
    assert metrics["mismatch_max"] < 1e-4


def test_the_gradient_is_that_of_what_the_policy_earns_at_its_temperature():
    """Of one token: the mean over replies of reward times score, against the gradient by enumeration."""
    for temperature in (1.0, 0.5):
        config = replace(
            SMALL, temperature=temperature, episodes=512, turns=1, max_new_tokens=1, epochs=1, minibatches=1, clip=None
        )
        config = replace(config, critic=False, value_steps=0, lam=1.0, max_grad_norm=1e9)
        ppo = new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), OneQuestion(), "terse", config)
        head, model = ppo.learner.model.lm_head.weight, ppo.learner.model
        batch = batch_of(ppo)
        ids = torch.tensor([batch.trajectories[0].ids[:-1]])
        logits = model(input_ids=ids).logits[0, -1]
        paid = torch.tensor([OneQuestion.pays(token) for token in range(len(logits))])
        (exact,) = torch.autograd.grad(((logits / temperature).softmax(-1) * paid).sum(), head, retain_graph=True)
        (other,) = torch.autograd.grad((logits / (1.5 - temperature)).softmax(-1) @ paid, head)
        counts = Counts.of(batch.trajectories, config)
        loss, _, _ = ppo.learner._loss(batch, range(512), counts)
        (found,) = torch.autograd.grad(-loss, head)
        alike = float(torch.cosine_similarity(found.flatten(), exact.flatten(), dim=0))
        assert alike > 0.8
        assert float(found.norm() / exact.norm()) == pytest.approx(1, abs=0.35)
        assert alike > float(torch.cosine_similarity(found.flatten(), other.flatten(), dim=0)) or temperature == 1.0


def test_mismatch_tells_a_sampler_that_is_another_model():
    same, deaf = apart(replace(SMALL, value_only=1)), apart(SMALL, deaf=True)
    assert "mismatch_mean" not in same.update()  # no pass of the model that learns
    assert same.update()["mismatch_max"] < 1e-4
    deaf.update()
    metrics = deaf.update()
    assert metrics["mismatch_mean"] > 0.01
    assert metrics["mismatch_max"] > metrics["mismatch_mean"]
    assert metrics["mismatch_kl"] > 1e-4


# Truncated importance weights

ONE_STEP = replace(SMALL, epochs=1, minibatches=1, kl_coef=0.0, importance_sampling_cap=1.2)


def test_importance_weights_change_nothing_where_sampler_and_trainer_agree():
    """The special case: what was done without them."""
    plain, weighed = (
        new_ppo(replace(SMALL, importance_sampling_cap=None)),
        new_ppo(replace(SMALL, importance_sampling_cap=2.0)),
    )
    for _ in range(2):
        before, after = plain.update(), weighed.update()
        assert after.pop("importance") == pytest.approx(1, abs=1e-4)
        assert after.pop("truncated") == 0
        assert after == pytest.approx(before, abs=1e-3, rel=1e-3)
    for one, other in zip(plain.learner.model.parameters(), weighed.learner.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_terms_are_weighed_by_how_likely_they_are_here_and_were_there(ratio):
    """Before the first step ratios are 1: the loss is -sum of w A over all terms, w = min(p / q, 1.2), by hand."""
    config = replace(ONE_STEP, ratio=ratio)
    rl = apart(config, deaf=True)
    rl.update()  # the sampler stays behind
    batch = rl.estimate(rl.rollout.collect(rl.done))[0]
    terms, weights = [], []
    for trajectory, advantages in zip(batch.trajectories, batch.advantages, strict=True):
        ids = torch.tensor([trajectory.ids])
        with torch.no_grad():
            table = rl.learner.model(input_ids=ids).logits[0].log_softmax(-1)
        apart_by = [0.0] * len(advantages)
        of_turns = advantages.tolist()
        for place, turn, drawn in zip(trajectory.positions, trajectory.turn, trajectory.sampled, strict=True):
            difference = float(table[place - 1, trajectory.ids[place]]) - drawn
            apart_by[turn] += difference
            if ratio == "token":
                weights.append(min(math.exp(difference), 1.2))
                terms.append(-weights[-1] * of_turns[turn])
        if ratio == "sequence":
            weights += [min(math.exp(difference), 1.2) for difference in apart_by]
            terms += [-w * a for w, a in zip(weights[-len(of_turns) :], of_turns, strict=True)]
    metrics = rl.learn(batch)
    assert metrics["policy_loss"] == pytest.approx(sum(terms) / len(terms), abs=1e-4)
    assert metrics["importance"] == pytest.approx(sum(weights) / len(weights), abs=1e-4)
    assert metrics["truncated"] == pytest.approx(sum(w == 1.2 for w in weights) / len(weights), abs=1e-6)
    assert 0 < metrics["truncated"] < 1
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-6)  # of the model that learns, from itself
    assert metrics["mismatch_mean"] > 0.01  # of the sampler
    blind = apart(replace(config, importance_sampling_cap=None), deaf=True)
    blind.update()
    assert blind.update()["approx_kl"] > 1e-4  # control: there, the sampler is where ratios start


def test_what_samples_in_bfloat16_is_corrected_too():
    rl = new_ppo(replace(SMALL, rollout_dtype="bfloat16", importance_sampling_cap=2.0, critic=False, value_steps=0))
    metrics = rl.update()
    assert {weight.dtype for weight in rl.learner.model.parameters()} == {torch.float32}
    assert metrics["mismatch_max"] > 1e-3
    assert 0 < abs(metrics["importance"] - 1) < 0.1
    tokens, read = rl.learner.account.tokens, sum(len(e.token_ids) for e in rl.rollout.collect(0))
    assert tokens.forward == 3 * read  # sampled, read by the start model, and by the one that learns


# Nothing to learn, cuts, and what learns together

NORMALISED = replace(SMALL, normalise_advantages=True)


def test_where_all_earn_the_same_the_model_stays_as_it_is():
    """The errors of the critic are all that is left of the advantages; scaled up, they would move the model."""
    ppo = new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), Hopeless(), "terse", NORMALISED)
    before = weights_of(ppo.learner.model)
    for _ in range(3):
        assert ppo.update()["grad_norm"] == 0.0
    assert same_weights(ppo.learner.model, before)
    assert float(ppo.learner.critic.layers[-1].bias.detach()) < 0  # which learns what is to be expected
    # Control: where one earns something else, there is something to learn.
    ppo = new_ppo(NORMALISED)
    ppo.update()
    assert not same_weights(ppo.learner.model, before)


def test_a_buffer_cuts_the_last_episode_and_its_value_stands_for_the_rest():
    config = replace(SMALL, lam=1.0, gamma=0.5)
    whole, cut = new_ppo(config), new_ppo(replace(config, buffer=11))
    for ppo in (whole, cut):
        ppo.learner.critic.layers[-1].bias.data.fill_(7.0)
    episodes = whole.rollout.collect(0)
    assert [len(e.turns) for e in episodes] == [3] * 8
    full, part = whole.estimate(episodes)[0], cut.estimate(episodes)[0]
    assert [len(t.rewards) for t in part.trajectories] == [3, 3, 3, 2]
    for a, b in zip(full.returns[:3], part.returns, strict=False):
        assert torch.equal(a, b)
    first, second = part.trajectories[3].rewards
    after = second + 0.5 * 7.0
    assert part.returns[3].tolist() == pytest.approx([first + 0.5 * after, after], abs=1e-5)
    read, left_out = sum(len(t.ids) for t in part.trajectories), sum(len(t.ids) for t in full.trajectories[4:])
    assert cut.learner.account.tokens.forward == 3 * read + left_out
    metrics = cut.learn(part)
    assert math.isfinite(metrics["policy_loss"])
    assert cut.learner.account.tokens.trained == 2 * read


def test_head_and_model_are_clipped_together_only_where_they_learn_together():
    def norms(value_steps: int) -> tuple[float, float]:
        ppo = new_ppo(replace(SMALL, value_steps=value_steps, value_coef=1e4, epochs=1, minibatches=1))
        moved = []
        ppo.learner.optimizer.step = lambda: moved.append(
            [p.grad.norm() for p in ppo.learner.trained if p.grad is not None]
        )
        metrics = ppo.learn(batch_of(ppo))
        return metrics["grad_norm"], float(torch.stack(moved[-1]).norm())

    assert norms(3)[1] == pytest.approx(min(0.5, norms(3)[0]), rel=1e-3)
    assert norms(0)[1] < 0.4  # the head has the greater part of what is left


def test_flops_of_adapters_are_those_of_a_backward_pass_without_most_weights():
    ppo = new_ppo(replace(SMALL, lora_rank=2))
    model = ppo.learner.model
    adapters = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    whole = sum(p.numel() for p in model.parameters())
    assert Sizes.of(model) == Sizes(whole, adapters, 0)
    assert 0 < adapters < whole / 3
    ppo.update()
    tokens = ppo.learner.account.tokens
    expected = (4 * whole + 2 * adapters) * tokens.trained + 2 * whole * tokens.forward
    assert ppo.learner.account.flops() == expected


# The preset


@pytest.mark.parametrize("task", ["gp-l", "gp-vl", "virl-l", "virl-vl"])
def test_the_paper_preset_holds_the_official_values(task):
    paper = get_task(task).recipe.rl["paper"]
    cards, rate = task.startswith("gp"), 1e-7 if task == "virl-vl" else 1e-6
    assert (paper.learning_rate, paper.value_learning_rate) == (rate, rate)
    assert (paper.updates, paper.schedule, paper.schedule_updates) == (
        (20, "cosine", 100) if cards else (15, "cosine", 20)
    )
    assert paper.final_rate * rate == pytest.approx(1e-9)
    assert (paper.clip, paper.clip_high, paper.epochs, paper.ratio, paper.weigh) == (0.1, None, 4, "sequence", "ratio")
    assert (paper.buffer, paper.buffer / paper.minibatches) == (8 * 256, 1_024)  # turns: an update, an optimiser step
    assert (paper.gamma, paper.lam, paper.estimator, paper.credit) == (0.9, 0.95, "gae", "turn")
    assert (paper.max_grad_norm, paper.adam_epsilon) == (0.01, 1e-7)
    assert (paper.temperature, paper.turns, paper.max_new_tokens) == (0.2, 5 if cards else 2, 512)
    assert (paper.value_coef, paper.value_clip, paper.entropy_coef, paper.kl_coef) == (0.5, 0.1, 0.0, 0.0)
    assert (paper.value_steps, paper.value_only, paper.target_kl) == (0, 0, None)
    assert (paper.normalise_advantages, paper.advantage_epsilon) == (True, 1e-5)
    assert (paper.skip_tokens, paper.thought_coef, paper.answer_key) == (2, 0.5, "formula" if cards else "")
    check_algorithm(paper)


def test_the_official_cosine_of_cards_is_cut_at_a_fifth_of_it():
    cards, walks = (get_task(name).recipe.rl["paper"] for name in ("gp-l", "virl-l"))
    rates = [rate_scale(cards, update) for update in range(20)]
    assert rates == pytest.approx([(1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * k / 100)) / 2) for k in range(20)])
    assert rates[0] == 1.0
    assert rate_scale(cards, 20) == pytest.approx(0.9, abs=0.01)
    assert rate_scale(walks, 15) == pytest.approx((1 + math.cos(math.pi * 15 / 20)) / 2, abs=1e-3)


@pytest.mark.parametrize("task", ["gp-l", "virl-l"])
def test_the_paper_preset_runs_on_the_loop(task):
    paper = replace(get_task(task).recipe.rl["paper"], episodes=8, buffer=16, turns=3, max_new_tokens=12)
    ppo = new_ppo(replace(paper, learning_rate=1e-3), seed=1)
    before = weights_of(ppo.learner.model)
    batch = batch_of(ppo)
    assert sum(len(t.rewards) for t in batch.trajectories) == 16
    assert batch.trajectories[-1].after is not None
    for trajectory in batch.trajectories:  # random replies: no key, so that the last five tokens are the answer
        for k, length in enumerate(trajectory.turn_lengths):
            counts = [c for c, turn in zip(trajectory.counts, trajectory.turn, strict=True) if turn == k]
            expected = [0.0 if i < 2 else 0.5 if i < length - 5 else 1.0 for i in range(length)]
            assert counts == expected
    metrics = ppo.learn(batch)
    assert all(math.isfinite(number) for number in metrics.values())
    assert metrics["value_loss"] > 0
    assert not same_weights(ppo.learner.model, before)


def test_the_paper_preset_has_nothing_of_what_was_chosen_for_small_models():
    """Rewards of later turns count, as there, and there is no KL."""
    for task in TASKS:
        paper, tiny = get_task(task).recipe.rl["paper"], get_task(task).recipe.rl["tiny"]
        assert (paper.gamma, paper.lam, paper.kl_coef, paper.epochs) == (0.9, 0.95, 0.0, 4)
        assert (tiny.gamma, tiny.kl_coef, tiny.kl_estimator, tiny.epochs) == (0.0, 0.02, "k2", 2)
