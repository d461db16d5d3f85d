"""Episodes as tensors: what PPO scores is what the engine drew, and nothing else counts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from helpers import EchoProblem, EchoTask, tiny_chat, tiny_model
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.records import Completion, Episode, Message, Turn, Verdict
from ruleshift.revision import revise
from ruleshift.training.trajectories import Trajectory, evaluate_tokens, forward, group_turns

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("on_one_thread")


def wrong(reward: float) -> Verdict:
    return Verdict("wrong", reward, False, "no")


BY_HAND = Trajectory.of(
    Episode(
        "p",
        (
            Turn((7, 8, 9), Completion("", (1, 2), (-0.5, -0.25)), wrong(-1.0)),
            Turn((5, 6), Completion("", (3,), (-0.125,)), wrong(-2.0)),
        ),
        (),
    )
)


class Lenient(EchoProblem):
    """Solved by chance, so that conversations have different numbers of turns."""

    def submit(self, reply: str, last: bool) -> Verdict:
        return replace(wrong(-1.0), solved=len(reply) % 4 == 0)


def sampled(temperature: float = 1.0, count: int = 20) -> tuple[torch.nn.Module, list[Trajectory], list[Episode]]:
    """A model with opinions, and conversations of up to four turns with it."""
    model = tiny_model(spread=0.3)
    problems = [Lenient(**vars(EchoTask().problem("train", 0, index))) for index in range(count)]
    sampling = Sampling(temperature, max_new_tokens=80, seed=1)
    episodes = revise(problems, LocalEngine(model, tiny_chat(), sampling), turns=4)
    return model, [Trajectory.of(episode) for episode in episodes], episodes


class Fixed(torch.nn.Module):
    """A model with the same hidden states whatever it reads, so that ids matter as labels only."""

    device = CPU
    config = SimpleNamespace(get_text_config=lambda: None)

    def __init__(self, rows: int, columns: int, vocabulary: int = 12) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = torch.randn(rows, columns, 4)
        self.decoder, self.head = torch.nn.Identity(), torch.nn.Linear(4, vocabulary)

    def get_decoder(self) -> torch.nn.Module:
        return self.decoder

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, **kwargs: object) -> SimpleNamespace:
        self.decoder(SimpleNamespace(last_hidden_state=self.hidden))
        return SimpleNamespace(logits=None)


def test_a_trajectory_by_hand():
    assert (
        Trajectory(
            ids=(7, 8, 9, 1, 2, 5, 6, 3),
            positions=(3, 4, 7),
            turn=(0, 0, 1),
            old_logprobs=(-0.5, -0.25, -0.125),
            states=(2, 6),
            rewards=(-1.0, -2.0),
        )
        == BY_HAND
    )


def test_turns_are_numbered_over_the_group():
    assert group_turns([BY_HAND, BY_HAND], CPU).tolist() == [0, 0, 1, 2, 2, 3]


def test_forward_reads_the_logits_before_each_reply_token():
    model = Fixed(1, 8)
    result = forward(model, [BY_HAND])
    table = model.head(model.hidden)[0].log_softmax(-1)
    torch.testing.assert_close(result.logprobs, torch.stack([table[2, 1], table[3, 2], table[6, 3]]), atol=1e-6, rtol=0)
    assert torch.equal(result.states, model.hidden[0, [2, 6]])
    expected = -(table.exp() * table).sum(-1)[[2, 3, 6]]
    torch.testing.assert_close(result.entropy, expected, atol=1e-6, rtol=0)
    assert result.turn.tolist() == [0, 0, 1]


@pytest.mark.parametrize("place", range(8))
def test_only_reply_tokens_are_scored(place):
    ids = list(BY_HAND.ids)
    ids[place] = 11
    model = Fixed(1, 8)
    before, after = forward(model, [BY_HAND]), forward(model, [replace(BY_HAND, ids=tuple(ids))])
    assert torch.equal(before.logprobs, after.logprobs) == (place not in BY_HAND.positions)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probs_are_those_recorded_while_sampling(temperature):
    model, trajectories, episodes = sampled(temperature)
    assert {turn.completion.stop_reason for e in episodes for turn in e.turns} == {"stop", "length"}
    assert {len(t.states) for t in trajectories} >= {1, 4}
    logprobs, _ = evaluate_tokens(model, trajectories, max_tokens=500, temperature=temperature)
    for trajectory, again in zip(trajectories, logprobs, strict=True):
        recorded = torch.tensor(trajectory.old_logprobs)
        torch.testing.assert_close(again, recorded, atol=1e-4, rtol=0)
    # Control: at another temperature they are others.
    others, _ = evaluate_tokens(model, trajectories, max_tokens=500, temperature=0.7)
    assert all((a - b).abs().max() > 0.1 for a, b in zip(others, logprobs, strict=True))
    # Control: one token to the left or right is another number.
    shifted = [replace(t, positions=tuple(p - 1 for p in t.positions)) for t in trajectories]
    wrongly, _ = evaluate_tokens(model, shifted, max_tokens=500, temperature=temperature)
    assert all((a - b).abs().max() > 0.1 for a, b in zip(wrongly, logprobs, strict=True))


def test_neither_padding_nor_company_matters():
    model, trajectories, _ = sampled()
    assert len({len(t.ids) for t in trajectories}) > 5
    alone = [forward(model, [trajectory]) for trajectory in trajectories]
    together = forward(model, trajectories)
    torch.testing.assert_close(together.logprobs, torch.cat([r.logprobs for r in alone]), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.entropy, torch.cat([r.entropy for r in alone]), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.states, torch.cat([r.states for r in alone]), atol=1e-5, rtol=0)


def test_neither_padding_nor_company_matters_to_gradients():
    model, trajectories, _ = sampled(count=8)
    gradients = []
    for groups in ([[t] for t in trajectories], [trajectories]):
        model.zero_grad()
        for group in groups:
            forward(model, group).logprobs.sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    largest = float(gradients[0].abs().max())
    assert largest > 0
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5 * largest, rtol=0)


def test_evaluate_tokens_answers_in_the_order_asked():
    model, trajectories, _ = sampled()
    small = evaluate_tokens(model, trajectories, max_tokens=100)
    large = evaluate_tokens(model, trajectories, max_tokens=10**6)
    for a, b in zip(small, large, strict=True):
        for x, y, trajectory in zip(a, b, trajectories, strict=True):
            assert len(x) in (len(trajectory.positions), len(trajectory.states))
            assert not x.requires_grad
            torch.testing.assert_close(x, y, atol=1e-5, rtol=0)


def test_evaluate_tokens_knows_no_dropout():
    model, trajectories, _ = sampled(count=4)
    expected, _ = evaluate_tokens(model, trajectories, max_tokens=10**6)
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.train()
    dropped = forward(model, trajectories).logprobs
    found, _ = evaluate_tokens(model, trajectories, max_tokens=10**6)
    torch.testing.assert_close(torch.cat(found), torch.cat(expected), atol=1e-5, rtol=0)
    assert model.training
    assert (dropped - torch.cat(expected)).abs().max() > 0.1  # control: training knows it


def test_an_episode_that_is_cut_ends_with_the_state_after():
    episode = Episode(
        "p",
        (
            Turn((7, 8, 9), Completion("", (1, 2), (-0.5, -0.25)), wrong(-1.0)),
            Turn((5, 6), Completion("", (3,), (-0.125,)), wrong(-2.0)),
        ),
        (Message("user", ""), *(Message("user", "") for _ in range(4))),
    )
    cut = Trajectory.of(episode, 1)
    assert cut == Trajectory((7, 8, 9, 1, 2, 5, 6), (3, 4), (0, 0), (-0.5, -0.25), (2,), (-1.0,), after=6)
    assert Trajectory.of(episode, 2) == Trajectory.of(episode)
    # What is learned of the turns that stay is what the whole episode says of them.
    model, _, episodes = sampled()
    for whole in (e for e in episodes if len(e.turns) > 1):
        result, part = forward(model, [Trajectory.of(whole)]), forward(model, [Trajectory.of(whole, 1)])
        torch.testing.assert_close(part.logprobs, result.logprobs[: len(part.logprobs)], atol=1e-5, rtol=0)
        after = replace(Trajectory.of(whole, 1), states=(Trajectory.of(whole, 1).after,))
        torch.testing.assert_close(forward(model, [after]).states[0], result.states[1], atol=1e-5, rtol=0)


def test_the_entropy_is_part_of_the_graph_only_where_it_learns():
    model, trajectories, _ = sampled(count=2)
    assert not forward(model, trajectories).entropy.requires_grad
    assert forward(model, trajectories, entropy_learns=True).entropy.requires_grad
