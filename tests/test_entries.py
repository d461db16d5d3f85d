"""What the entries of algorithms make of one batch, worked by hand; and whose weights a student's own teacher has."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from helpers import same_weights, weights_of
from ruleshift.records import Completion, Episode, Turn, Verdict
from ruleshift.training.algorithms import ALGORITHMS, check_algorithm, configured
from ruleshift.training.rl import RL
from ruleshift.training.teachers import SLIP, MovingTeacher
from ruleshift.training.trajectories import Trajectory, evaluate_tokens
from test_algorithms import BASE, with_opinions
from test_distil import MULTI, asked_of, config_of, rl_of, told_of

pytestmark = pytest.mark.usefixtures("on_one_thread")


# One batch


PROMPT = (5, 6, 7)
LONGEST = 5


def replied(rl: RL, reply: tuple[int, ...], reward: float, ratios: Sequence[float]) -> Episode:
    """One reply, of tokens that are so many times as likely now as when they were drawn; 4 is paid for success."""
    with torch.no_grad():
        said = rl.learner.model(torch.tensor([[*PROMPT, *reply]])).logits[0].log_softmax(-1)
    now = [float(said[len(PROMPT) - 1 + place, token]) for place, token in enumerate(reply)]
    drawn = tuple(logprob - math.log(ratio) for logprob, ratio in zip(now, ratios, strict=True))
    verdict = Verdict("", reward, reward == 4, "")
    return Episode("p", (Turn(PROMPT, Completion("", reply, drawn), verdict),), ())


def step_on_four(name: str, ratios: Sequence[Sequence[float]]) -> dict[str, float]:
    """A step of an entry as it is, on one group: replies of one to four tokens, which earn 1, 0, 4 and 3."""
    config = configured(replace(BASE, minibatches=1, max_new_tokens=LONGEST), name, episodes=4, group=4)
    check_algorithm(config)
    rl = with_opinions(config)
    replies = ((11,), (12, 13), (14, 15, 16), (17, 18, 19, 20))
    given = zip(replies, (1.0, 0.0, 4.0, 3.0), ratios, strict=True)
    batch, _ = rl.estimate([replied(rl, *one) for one in given])
    return rl.learner.step(batch, range(4))


RATIOS = ((0.5,), (1.5, 1.0), (1.25, 1.0, 0.5), (2.0, 1.0, 1.0, 1.0))
PRODUCTS = (0.5, 1.5, 0.625, 2.0)
# What the replies earn less the mean is -1, -2, 2 and 1, of which the deviation is
DEVIATION = 2.5**0.5


def less_the_kl(weight: float) -> list[float]:
    """What the replies earn less `weight` times the log-ratio of each, when drawn, to the start model, which is the one
    that is there now."""
    return [earned + weight * math.log(p) for earned, p in zip((1, 0, 4, 3), PRODUCTS, strict=True)]


def of_reinforce_plus_plus() -> float:
    """Rewards less 0.01 KL (its `deviations`), in units of the deviation over the update; then as ppo."""
    earned = less_the_kl(0.01)
    mean = sum(earned) / 4
    deviation = (sum((r - mean) ** 2 for r in earned) / 4) ** 0.5
    a, b, c, d = ((r - mean) / deviation for r in earned)
    return -(a * 0.8 + b * (1.5 + 1) + c * (1.2 + 1 + 0.5) + d * (1.2 + 3)) / 10


def of_rloo() -> float:
    """Rewards less 0.03 KL, less those of the others, times the ratio of the whole reply (arXiv 2402.14740, section
    2.3)."""
    earned = less_the_kl(0.03)
    return -sum(p * (r - (sum(earned) - r) / 3) for p, r in zip(PRODUCTS, earned, strict=True)) / 4


LOSSES = {
    # -min(r A, clip(r, 0.8, 1.2) A), the mean over the ten tokens; values are 0 in the beginning, and one turn is all.
    "ppo": -(-1 * 0.8 - 2 * (1.5 + 1) + 2 * (1.2 + 1 + 0.5) + (1.2 + 3)) / 10 / DEVIATION,
    # -r R, the mean over tokens; no baseline in the first update, and no clip.
    "reinforce": -(1 * 0.5 + 0 * (1.5 + 1) + 4 * (1.25 + 1 + 0.5) + 3 * (2 + 3)) / 10,
    "reinforce++": of_reinforce_plus_plus(),
    "rloo": of_rloo(),
    # arXiv 2402.03300, equation 3: the mean over replies of the mean over their tokens.
    "grpo": -(-1 * 0.8 - 2 * (1.5 + 1) / 2 + 2 * (1.2 + 1 + 0.5) / 3 + (1.2 + 3) / 4) / 4 / DEVIATION,
    # arXiv 2503.20783, section 3: neither the deviation nor lengths divide, but the group and the longest reply.
    "dr-grpo": -(-1 * 0.8 - 2 * (1.5 + 1) + 2 * (1.2 + 1 + 0.5) + (1.2 + 3)) / (4 * LONGEST),
    # arXiv 2503.14476, section 3: up to 1.28, and the mean over tokens; no reply is within a fifth of the longest.
    "dapo": -(-1 * 0.8 - 2 * (1.5 + 1) + 2 * (1.25 + 1 + 0.5) + (1.28 + 3)) / 10 / DEVIATION,
    # arXiv 2507.18071, equations 5 and 7, with the clips of section 5.1: ratios are 0.5, 1.22, 0.85 and 1.19.
    "gspo": -(-1 * (1 - 3e-4) - 2 * 1.5 ** (1 / 2) + 2 * 0.625 ** (1 / 3) + (1 + 4e-4)) / 4 / DEVIATION,
    # arXiv 2602.02710: one of four succeeds, so that advantages are (1 - 1/4) / (1/4) and -1; no clip.
    "maxrl": -(-1 * 0.5 - 1 * (1.5 + 1) + 3 * (1.25 + 1 + 0.5) - 1 * (2 + 3)) / 10,
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_loss_of_an_entry_is_that_of_its_paper_worked_by_hand(name):
    assert step_on_four(name, RATIOS)["policy_loss"] == pytest.approx(LOSSES[name], abs=5e-6)


@pytest.mark.parametrize(("name", "clipped"), [("gspo", 2 / 4), ("grpo", 0.0)])
def test_a_reply_that_is_a_thousandth_more_likely_is_clipped_by_gspo_and_not_by_grpo(name, clipped):
    """arXiv 2507.18071, section 5.1: 3e-4 below 1, and 4e-4 above. The first and the third ratio are just within."""
    a, b, c, d = 1 - 2.5e-4, 0.999, 1 + 3.5e-4, 1.001
    assert step_on_four(name, ((a,), (b,) * 2, (c,) * 3, (d,) * 4))["clipped"] == clipped


# Teachers


def logprobs_now(rl: RL, trajectories: Sequence[Trajectory]) -> torch.Tensor:
    return torch.cat(evaluate_tokens(rl.learner.model, trajectories, 9_999)[0])


@pytest.mark.parametrize(("changes", "grows"), [({}, False), ({"fixed_advantage": 1.0}, True)])
def test_fixed_makes_what_was_sampled_less_likely(changes, grows):
    """As it is; the other way round the same tokens become more likely."""
    config = replace(configured(MULTI, "fixed"), minibatches=1, **changes)
    rl = rl_of(config)
    batch, _ = rl.estimate(rl.collect()[0])
    before = logprobs_now(rl, batch.trajectories)
    assert rl.learn(batch)["policy_loss"] == pytest.approx(-1.0 if grows else 1.0, abs=1e-5)
    risen = logprobs_now(rl, batch.trajectories) - before
    assert (float(risen.mean()) > 0.01) if grows else (float(risen.mean()) < -0.01)


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("kind", ["base", "live", "ema"])
def test_a_student_teaches_with_the_weights_that_its_own_teacher_is_said_to_have(kind, lora):
    """After three updates of two steps: those of its start, those of now, or their average, made here step by step."""
    rate = 0.25
    config = config_of("sdft", learning_rate=1e-2, teacher_model_kind=kind, teacher_update_rate=rate, lora_rank=lora)
    rl = rl_of(config)
    start = weights_of(rl.learner.model)
    average = dict(start)

    def follow(*of_step: object) -> None:
        for name, weight in weights_of(rl.learner.model).items():
            average[name] = average[name] + rate * (weight - average[name])

    rl.learner.optimizer.register_step_post_hook(follow)
    for _ in range(3):
        rl.update()
    now = weights_of(rl.learner.model)
    teacher = rl.learner.guide.teacher
    told = [teacher.told(asked_of(rl, episode), Trajectory.of(episode)) for episode in rl.collect()[0][:4]]
    found = teacher.scores(told).logprobs(slice(None))
    assert same_weights(rl.learner.model, now)
    other = rl_of(config).learner.model

    def said_with(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        other.load_state_dict(weights)
        rows = []
        for one in (each.trajectory for each in told):
            logits = other(torch.tensor([one.ids])).logits[0].detach()
            rows.append(logits[torch.tensor(one.positions) - 1].log_softmax(-1))
        return torch.cat(rows)

    weights = {"base": start, "live": now, "ema": average}
    apart = {of: float((found - said_with(weights[of])).abs().max()) for of in weights}
    assert apart.pop(kind) < 1e-4
    assert min(apart.values()) > 0.05


@pytest.mark.parametrize(("name", "rate"), [("sdft", 0.01), ("sdpo", 0.05)])
def test_the_average_of_an_entry_goes_a_small_part_of_every_step(name, rate):
    """A hundredth for SDFT, a twentieth for SDPO."""
    rl = rl_of(config_of(name, replace(MULTI, minibatches=1, learning_rate=1e-2)))
    teacher = rl.learner.guide.teacher
    assert isinstance(teacher, MovingTeacher)
    first = [p.detach().clone() for p in rl.learner.trained]
    rl.update()
    for average, start, now in zip(teacher.average.values, first, rl.learner.trained, strict=True):
        torch.testing.assert_close(average.data, start + rate * (now.detach() - start), atol=1e-6, rtol=0)
    assert not torch.allclose(rl.learner.trained[0], first[0], atol=5e-3, rtol=0)  # control: it took one


# The weight of divergences


def test_a_divergence_weighs_as_much_as_its_ratio_to_who_sampled_and_at_most_the_clip_worked_by_hand():
    """Of a student that says all V tokens alike and a teacher that says one of them, but for a slip e: with p = 1 - e +
    e / V, KL(teacher || student) = log V + p log p + (V - 1) e / V log(e / V)."""
    config = config_of("sdpo", teacher="expert", privileged_context="none", teacher_model_kind="base")
    config = replace(config, distillation_alpha=0.0)
    check_algorithm(config)
    rl = rl_of(config)
    with torch.no_grad():
        rl.learner.model.lm_head.weight.zero_()
    size, width = rl.learner.model.lm_head.weight.shape
    p, slip = 1 - SLIP + SLIP / size, SLIP / size
    kl = math.log(size) + p * math.log(p) + (size - 1) * slip * math.log(slip)
    told = [told_of((9, 1, 2, 3, 4), ((1, 2, 3, 4),))]
    log_ratio = torch.tensor([0.5, 1.0, 1.9, 7.0]).log().requires_grad_()
    found = rl.learner.guide.loss(told, torch.zeros(4, width), log_ratio)
    assert found.tolist() == pytest.approx([0.5 * kl, kl, 1.9 * kl, 2.0 * kl], rel=1e-4)
    rl.learner.guide.config = replace(config, distillation_is_clip=None)
    assert rl.learner.guide.loss(told, torch.zeros(4, width), log_ratio).tolist() == pytest.approx([kl] * 4, rel=1e-4)


def test_the_step_of_sdpo_grows_with_the_ratio_to_who_sampled_up_to_its_clip():
    """All tokens drawn when they were so many times less likely; the weight itself has no gradient."""

    def step(ratio: float) -> dict[str, float]:
        rl = rl_of(config_of("sdpo"))
        batch, _ = rl.estimate(rl.collect()[0])
        lower = math.log(ratio)
        drawn = [replace(one, old_logprobs=tuple(p - lower for p in one.old_logprobs)) for one in batch.trajectories]
        return rl.learner.step(replace(batch, trajectories=drawn), range(len(drawn)))

    steps = {ratio: step(ratio) for ratio in (0.5, 1.0, 1.5, 4.0)}
    assert steps[1.0]["divergence"] > 0.05
    for name in ("divergence", "grad_norm"):
        parts = [steps[ratio][name] / steps[1.0][name] for ratio in (0.5, 1.5, 4.0)]
        assert parts == pytest.approx([0.5, 1.5, 2.0], rel=1e-3)
