"""Distillation on the loop of RL: what a teacher is shown, what it says, and how a student learns from it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean

import pytest
import torch

from helpers import Bandit, EchoTask, Pull, arm_of, new_rl, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.backbones import head
from ruleshift.cli import main, parse
from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode
from ruleshift.runs import RunFolder
from ruleshift.settings import DistilConfig
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Style
from ruleshift.training.algorithms import DISTILLATIONS, check_algorithm, configured, guided_by_default
from ruleshift.training.objectives import divergence, policy_loss
from ruleshift.training.privileged import Asked, answers_of, shown
from ruleshift.training.rl import RL, train_rl
from ruleshift.training.teachers import SLIP, ExpertTeacher, MovingTeacher, Told
from ruleshift.training.trajectories import Trajectory, reply_states
from test_algorithms import check_that_micro_batches_change_nothing
from vision_helpers import BUILDERS, LookTask

BASE = DistilConfig(
    updates=25,
    episodes=64,
    turns=1,
    max_new_tokens=1,
    learning_rate=1e-2,
    schedule="constant",
    warmup=0,
    minibatches=2,
    max_grad_norm=1.0,
    save_every=2,
)
MULTI = replace(BASE, turns=3, max_new_tokens=5, episodes=16, minibatches=2, learning_rate=3e-3)


pytestmark = pytest.mark.usefixtures("on_one_thread")


def config_of(name: str, base: DistilConfig = MULTI, **changes: object) -> DistilConfig:
    """An entry with a teacher that has something to say."""
    config = configured(base, name, **changes)
    assert isinstance(config, DistilConfig)
    if config.teacher == "self" and config.privileged_context == "none" and config.fixed_advantage is None:
        return replace(config, privileged_context="demonstration")
    return config


def rl_of(config: DistilConfig, spread: float = 0.3, teacher: torch.nn.Module | None = None) -> RL:
    return new_rl(tiny_model(layers=1, spread=spread), tiny_chat(), EchoTask(), "terse", config, teacher)


# The mathematics

P, Q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.25, 0.5, 0.25]])


def test_divergences_are_those_worked_out_by_hand():
    teacher, student = P.log(), Q.log()
    assert float(divergence(student, teacher, 0.0)) == pytest.approx(0.5 * math.log(2))
    assert float(divergence(teacher, student, 1.0)) == pytest.approx(0.5 * math.log(2))  # roles and end swapped
    mixed = [0.375, 0.5, 0.125]
    js = 0.5 * (0.5 * math.log(0.5 / 0.375)) + 0.5 * (0.25 * math.log(0.25 / 0.375) + 0.25 * math.log(0.25 / 0.125))
    assert sum(mixed) == 1
    assert float(divergence(student, teacher, 0.5)) == pytest.approx(js)
    assert float(divergence(teacher, student, 0.5)) == pytest.approx(js)  # symmetric there, and only there
    assert float(divergence(student, student, 0.3)) == pytest.approx(0.0, abs=1e-7)


def test_towards_either_end_a_divergence_is_the_kl_of_that_end():
    teacher, student = torch.tensor([[[3.0, 0.0, 0.0]], [[0.0, 1.0, -2.0]]], dtype=torch.float64).log_softmax(-1)
    forward, reverse = (float(divergence(student, teacher, end)) for end in (0.0, 1.0))
    assert abs(forward - reverse) > 0.1
    assert float(divergence(student, teacher, 1e-5) / 1e-5) == pytest.approx(forward, rel=1e-3)
    assert float(divergence(student, teacher, 1 - 1e-5) / 1e-5) == pytest.approx(reverse, rel=1e-3)


def test_the_gradient_of_a_divergence_is_finite_where_the_teacher_never_draws_a_token():
    logits = torch.tensor([[0.1, 0.2, 0.3]], requires_grad=True)
    for alpha in (0.0, 0.5):
        (gradient,) = torch.autograd.grad(divergence(logits.log_softmax(-1), P.log(), alpha).sum(), logits)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_sampled_advantages_have_the_gradient_of_the_reverse_kl_in_expectation():
    """The sum over all tokens, each as often as the student draws it, of what the policy loss gives."""
    logits = torch.tensor([[0.3, -0.5, 0.9, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    student = logits.log_softmax(-1)
    tokens = torch.arange(4)
    drawn = student[0].detach()
    of_tokens = -(drawn - teacher[0])
    turn, nothing = torch.zeros(4, dtype=torch.long), torch.zeros(1)
    loss = policy_loss(student[0, tokens], drawn, turn, nothing, "token", None, of_tokens=of_tokens).loss
    (sampled,) = torch.autograd.grad((drawn.exp() * loss).sum(), logits, retain_graph=True)
    (whole,) = torch.autograd.grad(divergence(student, teacher, 1.0).sum(), logits)
    torch.testing.assert_close(sampled, whole, atol=1e-6, rtol=0)
    (forward,) = torch.autograd.grad(divergence(logits.log_softmax(-1), teacher, 0.0).sum(), logits)
    assert not torch.allclose(sampled, forward, atol=1e-2)  # control


# Who teaches


def told_of(ids: tuple[int, ...], answers: tuple[tuple[int, ...], ...]) -> Told:
    """One turn of which all ids but the first are the reply."""
    places = tuple(range(1, len(ids)))
    return Told(Trajectory(ids, places, (0,) * len(places), (0.0,) * len(places), (0,), (0.0,)), (answers,))


def test_an_expert_gives_each_of_its_answers_as_often_and_has_no_opinion_on_other_prefixes():
    expert = ExpertTeacher(tiny_chat(), 10, torch.device("cpu"))
    scores = expert.scores([told_of((9, 1, 2, 3), ((1, 2, 3), (1, 2, 4), (1, 5), (6,)))])
    assert scores.known.tolist() == [1, 1, 1]
    p = scores.logprobs(slice(None)).exp()
    torch.testing.assert_close(p.sum(-1), torch.ones(3))
    assert float(p[0, 1]) == pytest.approx(0.75, abs=SLIP)
    assert float(p[1, 2]) == pytest.approx(2 / 3, abs=SLIP)
    assert p[2, 3] == p[2, 4] > 0.49
    left = expert.scores([told_of((9, 6, 2, 3), ((1, 2), (6,)))])
    assert left.known.tolist() == [1, 0, 0]  # after 6 that answer is at its end; whatever follows is no prefix
    assert float(left.logprobs(slice(1, 2)).exp().max()) < 2 * SLIP


def test_the_expert_of_cards_has_all_solutions_and_one_without_several_has_one():
    problem = get_task("gp-l").problem("train", 0, 3, "terse")
    golds = answers_of(problem)
    assert problem.gold() in golds
    assert all(problem.submit(gold, False).solved for gold in golds)
    walk = get_task("virl-l").problem("train", 0, 0, "terse")
    assert list(answers_of(walk)) == [walk.gold()]


def episodes_of(task: str, split: str, style: Style, turns: int = 2, n: int = 6) -> tuple[RL, list[Episode]]:
    config = config_of("sdft", replace(MULTI, turns=turns, episodes=n, max_new_tokens=30, split=split))
    rl = new_rl(tiny_model(layers=1), tiny_chat(), get_task(task), style, config)
    return rl, rl.collect()[0]


def asked_of(rl: RL, episode: Episode, siblings: tuple[Episode, ...] = ()) -> Asked:
    problem = rl.rollout.again(rl.dealt[episode.problem_id])
    return Asked(episode, len(episode.turns), problem, rl.config.turns, siblings)


def test_what_a_teacher_is_shown():
    rl, episodes = episodes_of("gp-l", "fake", "terse")
    one = next(e for e in episodes if len(e.turns) == 2)
    assert shown("none", asked_of(rl, one)) == ["", ""]
    # The rule that is scored, where the prompt states another one; nothing of the hand.
    assert "J 11 Q 12 K 13" in one.messages[0].content
    assert shown("rule", asked_of(rl, one)) == ["J 10 Q 10 K 10 target 24", ""]
    gold, nothing = shown("demonstration", asked_of(rl, one))
    assert rl.rollout.again(rl.dealt[one.problem_id]).gold() == gold
    assert nothing == ""
    assert shown("feedback", asked_of(rl, one)) == [turn.verdict.feedback for turn in one.turns]
    right = replace(one.turns[0].verdict, solved=True)
    turn = replace(one.turns[0], verdict=right, completion=replace(one.turns[0].completion, text="solution"))
    sibling = replace(one, turns=(turn,))
    assert shown("success", asked_of(rl, one, (one, sibling))) == ["solution", ""]
    both = shown("success-or-feedback", asked_of(rl, one, (sibling,)))
    assert both == ["solution", one.turns[1].verdict.feedback]
    assert shown("feedback", Asked(sibling, 1, rl.rollout.again(0), 2)) == [""]  # it was right
    in_words = get_task("gp-l").problem("fake", 0, 0, "full").rule()
    assert in_words == "The rule that holds: J, Q and K each count 10; the formula equals 24."
    walk = get_task("virl-l").problem("rule-ood", 0, 0, "full")
    assert "how far it turns, with one of: " in walk.rule()
    with pytest.raises(RuleshiftError, match=r"have no `rule\(\)`"):
        shown("rule", asked_of(*_echo()))


def _echo() -> tuple[RL, Episode]:
    rl = rl_of(config_of("sdft"))
    return rl, rl.collect()[0][0]


def test_steps_of_a_walk_are_demonstrated_where_they_begin():
    rl, episodes = episodes_of("virl-l", "train", "terse", n=2)
    one = episodes[0]
    told = shown("demonstration", asked_of(rl, one))
    begins = [True, *(turn.verdict.advanced for turn in one.turns[:-1])]
    assert [bool(text) for text in told] == begins


def test_the_teacher_is_asked_about_the_same_replies_in_other_places():
    rl, episodes = episodes_of("gp-l", "train", "terse", turns=3)
    guide = rl.learner.guide
    for episode in episodes:
        trajectory = Trajectory.of(episode)
        told = guide.teacher.told(asked_of(rl, episode), trajectory).trajectory
        assert [told.ids[p] for p in told.positions] == [trajectory.ids[p] for p in trajectory.positions]
        assert len(told.ids) > len(trajectory.ids)
        gold = rl.rollout.again(rl.dealt[episode.problem_id]).gold()
        prompt = rl.learner.chat.decode(told.ids[: told.positions[0]])
        assert gold in prompt.replace(" ", "")
        assert told.turn == trajectory.turn
        assert told.states == tuple(
            p - 1 for p in (told.positions[told.turn.index(k)] for k in range(len(told.states)))
        )


def test_tokens_after_which_nothing_is_shown_are_read_as_the_student_reads_them():
    """A live teacher that is shown nothing more is the student, so that every advantage is 0."""
    config = replace(config_of("opd"), teacher_model_kind="live", privileged_context="feedback")
    rl = new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), TaughtBandit(), "terse", config)
    episodes, _ = rl.collect()
    right = [i for i, e in enumerate(episodes) if len(e.turns) == 1 and e.solved]
    batch, metrics = rl.estimate(episodes)
    assert right
    for i in right:
        torch.testing.assert_close(batch.of_tokens[i], torch.zeros(len(batch.of_tokens[i])), atol=1e-4, rtol=0)
    others = [i for i in range(len(episodes)) if i not in right]
    assert max(float(batch.of_tokens[i].abs().max()) for i in others) > 0.05  # control: feedback was shown
    assert math.isfinite(metrics["teacher_kl"])
    lifts = {True: [], False: []}
    for episode, advantages in zip(episodes, batch.of_tokens, strict=True):
        parts = advantages.split([len(turn.completion.token_ids) for turn in episode.turns])
        for turn, part in zip(episode.turns, parts, strict=True):
            lifts[turn.verdict.right].append(float(part.sum()))
    assert metrics["teacher_on_right"] == pytest.approx(fmean(lifts[True]), abs=1e-4)
    assert metrics["teacher_on_wrong"] == pytest.approx(fmean(lifts[False]), abs=1e-4)
    full = replace(config, distillation_mode="full_logits")
    rl = new_rl(tiny_model(layers=1, spread=0.3), tiny_chat(), TaughtBandit(), "terse", full)
    assert rl.estimate(rl.collect()[0])[1] == pytest.approx(metrics, abs=1e-4)  # before any step they are the same


def test_the_moving_average_moves_by_its_rate_and_the_student_stays_where_it_is():
    rl = rl_of(config_of("sdft", teacher_update_rate=0.25))
    teacher = rl.learner.guide.teacher
    assert isinstance(teacher, MovingTeacher)
    before = weights_of(rl.learner.model)
    first = [p.detach().clone() for p in rl.learner.trained]
    with torch.no_grad():
        for parameter in rl.learner.trained:
            parameter += 1.0
    teacher.follow()
    for average, start in zip(teacher.average.values, first, strict=True):
        torch.testing.assert_close(average.data, start + 0.25)
    with teacher.weights() as model:
        inside = weights_of(model)
    for name, weight in before.items():
        torch.testing.assert_close(inside[name], weight + 0.25)
        torch.testing.assert_close(rl.learner.model.state_dict()[name], weight + 1.0)


@pytest.mark.parametrize("kind", ["base", "ema"])
@pytest.mark.parametrize("place", ["device", "cpu", "disk"])
def test_a_teacher_is_put_in_the_place_of_the_student_once_a_pass(kind, place, monkeypatch):
    """What it says of parts of the tokens later is what it would say in that place."""
    monkeypatch.setattr(head, "AT_ONCE", 5 * head.vocabulary(tiny_model(layers=1)))
    rl = rl_of(config_of("gkd", teacher_model_kind=kind, reference=place))
    teacher, opened = rl.learner.guide.teacher, []
    weights = teacher.weights

    @contextmanager
    def counted() -> Iterator[torch.nn.Module]:
        opened.append(True)
        with weights() as model:
            yield model

    monkeypatch.setattr(teacher, "weights", counted)
    with torch.no_grad():
        for parameter in rl.learner.trained:
            parameter += 0.1
    episodes = rl.collect()[0]
    told = [teacher.told(asked_of(rl, episode), Trajectory.of(episode)) for episode in episodes]
    scores = teacher.scores(told)
    parts = head.chunks(rl.learner.model, len(scores.known))
    found = torch.cat([scores.logprobs(part) for part in parts])
    assert len(parts) > 2
    assert len(opened) == 1
    with weights() as model, torch.no_grad():
        before = reply_states(model, [one.trajectory for one in told]).before
        expected = (head.logits_of(model, before) / rl.config.temperature).log_softmax(-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    opened.clear()
    rl.update()
    assert len(opened) == rl.config.minibatches + 1  # and once to be measured


# The bandit


@dataclass(frozen=True)
class Taught(Pull):
    """One of which an expert knows the arm that pays: any one token with it."""

    def golds(self) -> list[str]:
        tokenizer = tiny_chat().tokenizer
        return [word for word in tokenizer.get_vocab() if word.isalnum() and arm_of(word)]


class TaughtBandit(Bandit):
    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> Taught:
        return Taught(f"{self.id}/{split}/{seed}/{index}", self.fair)


def pulls(config: DistilConfig, teacher: torch.nn.Module | None = None) -> list[float]:
    rl = new_rl(tiny_model(layers=1), tiny_chat(), TaughtBandit(), "terse", config, teacher)
    return [rl.update()["success_first"] for _ in range(BASE.updates)]


@pytest.mark.parametrize(("name", "changes"), [("opd", {}), ("gkd", {}), ("gkd", {"distillation_alpha": 0.0})])
def test_a_two_armed_bandit_is_learned_from_an_expert(name, changes):
    history = pulls(replace(config_of(name, BASE), teacher="expert", privileged_context="none", **changes))
    assert 0.3 < history[0] < 0.7
    assert sum(history[-3:]) / 3 > 0.95


def test_it_is_learned_from_a_model_that_knows_it_and_not_from_one_that_does_not():
    knows = new_rl(tiny_model(layers=1, seed=5), tiny_chat(), Bandit(), "terse", config_of("opd", BASE))
    expert = replace(config_of("opd", BASE), teacher="expert", privileged_context="none")
    knows = new_rl(tiny_model(layers=1, seed=5), tiny_chat(), TaughtBandit(), "terse", expert)
    for _ in range(BASE.updates):
        knows.update()
    config = replace(config_of("opd", BASE), teacher="another", privileged_context="none")
    assert sum(pulls(config, knows.learner.model)[-3:]) / 3 > 0.95
    ignorant = tiny_model(layers=1, seed=6)
    assert sum(pulls(config, ignorant)[-3:]) / 3 < 0.8


def test_the_control_with_one_fixed_advantage_does_not_learn_it():
    history = pulls(config_of("fixed", BASE))
    assert sum(history[-3:]) / 3 < 0.8


def test_the_student_comes_closer_to_a_teacher_that_stays():
    config = config_of("gkd", teacher="another", privileged_context="none")
    rl = rl_of(config, teacher=tiny_model(layers=1, spread=0.3, seed=5))
    divergences = [rl.update()["divergence"] for _ in range(8)]
    assert divergences[-1] < 0.9 * divergences[0]


def test_rewards_can_weigh_beside_a_teacher():
    def advantages(coef: float) -> torch.Tensor:
        rl = rl_of(config_of("opd", reward_coef=coef))
        return torch.cat(rl.estimate(rl.collect()[0])[0].advantages)

    assert not advantages(0.0).any()
    torch.testing.assert_close(2 * advantages(0.5), advantages(1.0))
    assert advantages(1.0).any()


# The same numbers again


@pytest.mark.parametrize("lora", [0, 2])
@pytest.mark.parametrize("name", DISTILLATIONS)
def test_every_entry_resumes_to_the_same_bytes(name, lora, tmp_path):
    config = config_of(name, replace(MULTI, updates=3, episodes=8, lora_rank=lora, save_every=2))

    class StopHereError(Exception):
        pass

    def stop(done: int, metrics: dict[str, float]) -> None:
        if done == 2:
            raise StopHereError

    def run_in(path: Path, progress: Callable[[int, dict[str, float]], object] | None = None) -> tuple[bytes, ...]:
        with RunFolder.open(path, config) as run:
            train_rl(rl_of(config), run, progress=progress)
            last = run.latest_checkpoint()
            assert last is not None
            kept = [last.path / f"{part}.safetensors" for part in ("policy", "teacher")]
            return run.metrics_path.read_bytes(), *(file.read_bytes() for file in kept if file.exists())

    unbroken = run_in(tmp_path / "unbroken")
    with pytest.raises(StopHereError):
        run_in(tmp_path / "broken", stop)
    assert run_in(tmp_path / "broken") == unbroken
    assert len(unbroken) == (3 if config.teacher_model_kind == "ema" and name != "fixed" else 2)


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_micro_batches_change_nothing(name):
    check_that_micro_batches_change_nothing(config_of(name), EchoTask())


def test_what_a_teacher_reads_is_counted():
    """Once for its advantages, and once a step where its divergence is in the loss; an expert reads nothing."""

    def forward(**changes: object) -> int:
        rl = rl_of(replace(config_of("opd"), **{"teacher_model_kind": "live", **changes}))
        rl.update()
        return rl.learner.account.tokens.forward

    expert = forward(teacher="expert", privileged_context="none", teacher_model_kind="base")
    once, each = forward(), forward(distillation_mode="full_logits", epochs=2)
    assert once > 1.5 * expert > 0
    assert each - expert == pytest.approx(2 * (once - expert), rel=0.01)
    small, large = tiny_model(layers=1, spread=0.3), tiny_model(layers=3, spread=0.3)
    ratio = sum(p.numel() for p in large.parameters()) / sum(p.numel() for p in small.parameters())
    rl = rl_of(replace(config_of("opd"), teacher="another", privileged_context="none"), teacher=large)
    assert rl.learner.guide.teacher.share == pytest.approx(ratio)
    rl.update()
    assert rl.learner.account.tokens.forward == pytest.approx((2 + ratio) / 2 * expert, rel=1e-3)


# Entries and options


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_entries_are_complete(name, tmp_path):
    entry = DISTILLATIONS[name]
    assert entry.summary
    assert entry.paper
    assert entry.deviations
    assert entry.settings.keys() <= {field.name for field in fields(DistilConfig)}
    command = parse(["distil", "gp-l", "--out", "x", "--algorithm", name])
    assert command.training == configured(guided_by_default(get_task("gp-l").recipe.rl["tiny"]), name)


def test_what_does_not_fit_is_refused_with_what_does(tmp_path, capsys):
    refused = [
        (config_of("opd", ratio="sequence"), "give --ratio token, or --distillation-mode full_logits"),
        (config_of("opd", distillation_alpha=0.5), "--distillation-alpha 0.5 weighs .*--distillation-mode full_logits"),
        (
            config_of("opd", distillation_is_clip=2.0),
            "--distillation-is-clip 2.0 corrects .*--distillation-mode full_logits",
        ),
        (config_of("opd", clip_high=0.3), "--clip-high 0.3 .*give --clip-high None"),
        (configured(BASE, "opd"), "--teacher self that is shown nothing more .*success-or-feedback.* teaches nothing"),
        (
            config_of("opd", teacher="expert", privileged_context="rule"),
            "give --privileged-context none, or --teacher self",
        ),
        (config_of("sdpo", privileged_context="success", group=1), "give --group 8, or --privileged-context feedback"),
        (replace(BASE, algorithm="ppo"), "use that, or one of opd, gkd, sdft, sdpo, fixed"),
    ]
    for config, named in refused:
        with pytest.raises(RuleshiftError, match=named):
            check_algorithm(config)
    few = tiny_model(layers=1)
    few.resize_token_embeddings(7)
    with pytest.raises(RuleshiftError, match="knows 7 tokens and the student"):
        rl_of(config_of("opd", teacher="few"), teacher=few)
    assert main(["distil", "gp-l", "--out", str(tmp_path / "x")]) == 2
    assert "--privileged-context" in capsys.readouterr().err
    assert main(["distil", "gp-l", "--teacher", str(tmp_path / "no"), "--out", str(tmp_path / "y")]) == 2
    assert not (tmp_path / "y" / "config.json").exists()
    with RunFolder.open(tmp_path / "run", BASE):
        pass
    capsys.readouterr()
    assert main(["distil", "gp-l", "--teacher", str(tmp_path / "run"), "--out", str(tmp_path / "y")]) == 2
    assert "run its command to the end" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("opd", {"teacher": "expert", "privileged_context": "none"}),
        ("sdft", {}),
        ("sdft", {"critic": True, "buffer": 5}),  # the second walk is cut before its last picture
    ],
)
def test_students_in_pictures_are_taught(name, changes):
    """The teacher sees what they see, and more words."""
    model, chat = BUILDERS["idefics3"]()
    config = replace(config_of(name), **changes, episodes=4, turns=2, minibatches=1, learning_rate=1e-2)
    rl = new_rl(model, chat, LookTask(), "full", config)
    before = weights_of(model)
    metrics = [rl.update() for _ in range(3)]
    assert not same_weights(model, before)
    said = "teacher_kl" if name == "opd" else "divergence"
    assert all(math.isfinite(line[said]) and line[said] != 0 for line in metrics)


def test_same_student_whatever_is_asked_of_a_teacher_that_weighs_nothing():
    config = config_of("opd", distillation_coef=0.0)
    rl = rl_of(config)
    before = weights_of(rl.learner.model)
    rl.update()
    assert same_weights(rl.learner.model, before)
