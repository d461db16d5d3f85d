"""The local engine gives what plain `generate` and a plain forward pass give, in any batch."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from engine_helpers import (
    FAMILIES,
    GREEDY,
    LLAMA,
    RANDOM,
    TOKENIZER,
    Puzzle,
    puzzles,
    reply_ids,
    stops,
    tiny_chat,
    tiny_model,
)
from ruleshift.chat import Chat, episode_sequence
from ruleshift.engines import local
from ruleshift.engines.local import LocalEngine, at_once
from ruleshift.engines.protocol import Sampling
from ruleshift.engines.window import Window
from ruleshift.errors import Diverged, RuleshiftError
from ruleshift.revision import revise

pytestmark = pytest.mark.usefixtures("on_one_thread")


# ---------------------------------------------------------------- against generate and a plain forward pass


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_replies_are_those_of_generate(family):
    model, chat = tiny_model(FAMILIES[family]), tiny_chat()
    episodes = revise(puzzles(), LocalEngine(model, chat, GREEDY), turns=2)
    assert len({episode.turns[0].appended_ids for episode in episodes}) == 8
    assert len({len(episode.turns[0].appended_ids) for episode in episodes}) > 4
    assert len({ids for episode in episodes for ids in reply_ids(episode)}) > 4
    for episode in episodes:
        prompt: tuple[int, ...] = ()
        for turn in episode.turns:  # the second turn has a fresh, full prompt
            prompt += turn.appended_ids
            output = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                do_sample=False,
                max_new_tokens=GREEDY.max_new_tokens,
                eos_token_id=sorted(chat.end_ids),
                pad_token_id=chat.tokenizer.pad_token_id,
            )
            assert turn.completion.token_ids == tuple(output[0, len(prompt) :].tolist())
            prompt += turn.completion.token_ids


@pytest.mark.parametrize("family", ["llama, grouped queries", "llama, multi-head", "gpt2, learned positions"])
def test_logprobs_are_those_of_a_pass_over_the_whole_conversation(family):
    model, chat = tiny_model(FAMILIES[family]), tiny_chat()
    sampling = replace(RANDOM, temperature=1.3)  # log-probs are those at which replies were drawn
    episodes = revise(puzzles(12, solved_by=5), LocalEngine(model, chat, sampling), turns=4)
    assert min(len(episode.turns) for episode in episodes) < 4 == max(len(episode.turns) for episode in episodes)
    assert stops(episodes) == {"stop", "length"}
    for episode in episodes:
        sequence = episode_sequence(episode)
        ids, mask = torch.tensor(sequence.token_ids), torch.tensor(sequence.reply_mask, dtype=torch.bool)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids[None]).logits[0] / sampling.temperature, dim=-1)
        expected = logprobs[:-1].gather(1, ids[1:, None])[:, 0][mask[1:]]
        drawn = [p for turn in episode.turns for p in turn.completion.logprobs]
        torch.testing.assert_close(torch.tensor(drawn), expected, atol=1e-4, rtol=0)


# ---------------------------------------------------------------- batches, order, seeds, forks


def test_fewer_conversations_are_held_at_once_where_each_takes_much_memory() -> None:
    """Two layers of two groups of 32 numbers are 256 in a column, keys and values; SmolLM2 has 11,520."""

    def held(place: str = "cpu", **config: int) -> int:
        sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 128}
        model: Any = SimpleNamespace(device=torch.device(place), config=LlamaConfig(**sizes | config))
        return at_once(model)

    assert held() == held(num_hidden_layers=16) == 256
    assert held(num_hidden_layers=17) == 240
    assert held(num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, hidden_size=576) == 45
    assert held(num_hidden_layers=30, head_dim=256) == 17
    assert held(num_hidden_layers=10**4) == 1
    assert held("cuda", num_hidden_layers=30, head_dim=256) == 256


def test_neither_batch_size_nor_order_changes_a_conversation():
    model, chat, problems = tiny_model(), tiny_chat(), puzzles(16, solved_by=6)

    def sampled(batch_size: int, order: int = 1, seed: int = 3) -> dict[str, list[tuple[int, ...]]]:
        engine = LocalEngine(model, chat, replace(RANDOM, max_new_tokens=8, seed=seed), batch_size)
        return {e.problem_id: reply_ids(e) for e in revise(problems[::order], engine, turns=3)}

    whole = sampled(16)
    assert len({ids for replies in whole.values() for ids in replies}) > 16
    assert sampled(1) == whole
    assert sampled(3) == whole
    assert sampled(16, order=-1) == whole
    other = sampled(16, seed=4)
    assert sum(other[name] != whole[name] for name in whole) >= 15


@pytest.mark.parametrize("family", ["llama, grouped queries", "gpt2, learned positions"])
def test_moving_ended_conversations_away_changes_nothing(monkeypatch, family):
    swaps: list[int] = []
    rows: list[int] = []

    class Watched(Window):
        def swap(self, some, others):
            swaps.append(len(some))
            super().swap(some, others)

        def extend(self, new):
            rows.append(len(new))
            return super().extend(new)

    monkeypatch.setattr(local, "Window", Watched)
    model, chat, problems = tiny_model(FAMILIES[family]), tiny_chat(ends=30), puzzles(16)
    moved = revise(problems, LocalEngine(model, chat, RANDOM), turns=3)
    assert sum(swaps) > 6
    assert len(set(rows)) > 6  # several times a turn
    assert stops(moved) == {"stop", "length"}
    monkeypatch.setattr(local, "DROP_SHARE", 2.0)
    swaps.clear()
    together = revise(problems, LocalEngine(model, chat, RANDOM), turns=3)
    alone = revise(problems, LocalEngine(model, chat, RANDOM, batch_size=1), turns=3)
    assert not swaps
    for a, b, c in zip(moved, together, alone, strict=True):
        assert reply_ids(a) == reply_ids(b) == reply_ids(c)
        for turn_a, turn_c in zip(a.turns, c.turns, strict=True):
            assert turn_a.completion.logprobs == pytest.approx(turn_c.completion.logprobs, abs=1e-4)


def test_replies_end_at_an_end_token_or_at_the_limit():
    chat = tiny_chat()
    episodes = revise(puzzles(12), LocalEngine(tiny_model(), chat, replace(RANDOM, max_new_tokens=5)), turns=3)
    assert stops(episodes) == {"stop", "length"}
    for completion in (turn.completion for episode in episodes for turn in episode.turns):
        ended = completion.token_ids[-1] in chat.end_ids
        assert completion.stop_reason == ("stop" if ended else "length")
        assert len(completion.token_ids) == 5 if not ended else len(completion.token_ids) <= 5
        assert not chat.end_ids & set(completion.token_ids[:-1])
        assert len(completion.logprobs) == len(completion.token_ids)
        assert completion.text == chat.decode(completion.token_ids)


def test_a_reply_cut_short_is_closed_before_the_feedback():
    chat = Chat(TOKENIZER)
    end = TOKENIZER.eos_token_id
    episodes = revise(puzzles(12), LocalEngine(tiny_model(), chat, replace(RANDOM, max_new_tokens=30)), turns=2)
    assert stops(episodes) == {"stop", "length"}
    for first, second in (episode.turns for episode in episodes):
        opening = TOKENIZER.convert_tokens_to_ids(["<user>", "wrong"])
        cut_short = first.completion.stop_reason == "length"
        assert list(second.appended_ids[: 2 + cut_short]) == [end] * cut_short + opening
        assert (first.completion.token_ids + second.appended_ids).count(end) == 1


# ---------------------------------------------------------------- the distribution of samples


@pytest.mark.parametrize("temperature", [0.7, 1.6])
def test_first_tokens_follow_the_softmax_at_the_temperature(temperature):
    model, chat = tiny_model(), tiny_chat()
    count = 1500
    engine = LocalEngine(model, chat, Sampling(temperature, max_new_tokens=1, seed=11), batch_size=count)
    episodes = revise([Puzzle(f"draw-{i}", 3) for i in range(count)], engine, turns=1)
    observed = np.bincount([reply_ids(e)[0][0] for e in episodes], minlength=len(TOKENIZER))
    with torch.no_grad():
        logits = model(torch.tensor([chat.encode_prompt(Puzzle("", 3).context())])).logits[0, -1].double()

    def chi_square(at: float) -> tuple[float, int]:
        expected = torch.softmax(logits / at, dim=-1).numpy() * count
        common = expected >= 5
        cells = np.append(expected[common], max(expected[~common].sum(), 1e-9))
        seen = np.append(observed[common], observed[~common].sum())
        return float(((seen - cells) ** 2 / cells).sum()), len(cells) - 1

    statistic, freedom = chi_square(temperature)
    assert freedom > 6
    bound = freedom + 4 * np.sqrt(2 * freedom)
    assert statistic < bound
    assert chi_square(1.0)[0] > 2 * bound  # the test can tell temperatures apart


def test_greedy_takes_the_likeliest_token():
    model, chat = tiny_model(), tiny_chat()
    episode = revise([Puzzle("a", 4)], LocalEngine(model, chat, replace(GREEDY, max_new_tokens=1)), turns=1)[0]
    with torch.no_grad():
        logits = model(torch.tensor([episode.turns[0].appended_ids])).logits[0, -1]
    assert episode.turns[0].completion.token_ids == (int(logits.argmax()),)


# ---------------------------------------------------------------- limits and modes


def test_outgrowing_the_context_is_an_error_that_names_the_remedy():
    model = tiny_model(LlamaConfig(**{**LLAMA.to_dict(), "max_position_embeddings": 24}))
    chat = Chat(TOKENIZER)
    chat.end_ids = frozenset([-1])  # nothing ends a reply
    model.train()
    fits = LocalEngine(model, chat, Sampling(max_new_tokens=24 - 13))
    assert len(reply_ids(revise([Puzzle("a", 11)], fits, turns=1)[0])[0]) == 11
    with pytest.raises(RuleshiftError, match=r"24 tokens.*--max-new-tokens"):
        revise([Puzzle("a", 11)], LocalEngine(model, chat, Sampling(max_new_tokens=12)), turns=1)
    with pytest.raises(RuleshiftError, match=r"24 tokens.*--turns"):
        revise([Puzzle("a", 11)], LocalEngine(model, chat, Sampling(max_new_tokens=9)), turns=3)
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    named_otherwise = tiny_model(GPT2Config(**{**FAMILIES["gpt2, learned positions"].to_dict(), "n_positions": 24}))
    with pytest.raises(RuleshiftError, match=r"24 tokens.*--max-new-tokens"):
        revise([Puzzle("a", 11)], LocalEngine(named_otherwise, chat, Sampling(max_new_tokens=12)), turns=1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_of_nan_is_refused(temperature):
    model = tiny_model()
    engine = LocalEngine(model, tiny_chat(30), Sampling(temperature, 8))
    revise(puzzles(2), engine, turns=2)
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(Diverged, match=r"log-probabilities of the model are NaN"):
        revise(puzzles(2), engine, turns=2)


@pytest.mark.parametrize("training", [True, False])
def test_sampling_has_no_dropout_and_leaves_the_mode_as_it_was(training):
    config = LlamaConfig(**{**LLAMA.to_dict(), "attention_dropout": 0.5})
    model, chat = tiny_model(config), tiny_chat()
    expected = [reply_ids(e) for e in revise(puzzles(), LocalEngine(tiny_model(), chat, GREEDY), turns=1)]
    model.train(training)
    episodes = revise(puzzles(), LocalEngine(model, chat, GREEDY), turns=1)
    assert model.training is training
    assert [reply_ids(e) for e in episodes] == expected
    assert all(parameter.grad is None and not parameter.is_inference() for parameter in model.parameters())


def test_the_model_is_used_as_it_is_at_each_call():
    model, chat = tiny_model(), tiny_chat()
    engine = LocalEngine(model, chat, GREEDY)
    before = [reply_ids(e) for e in revise(puzzles(), engine, turns=1)]
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.neg_()
    after = [reply_ids(e) for e in revise(puzzles(), engine, turns=1)]
    assert after != before


def test_the_cache_stays_as_wide_as_the_longest_conversation():
    """Columns that nobody uses are gone at the next turn, whatever the replies' lengths were."""
    widths: list[int] = []

    class Watched(local.LocalSession):
        def append(self, keep, feedback, joining=()):
            super().append(keep, feedback, joining)
            widths.append(self.window.bias.shape[1])
            if keep:
                assert self.window.bias.shape[1] == int(self.window.lengths.max())
                assert self.window.cache.used == self.window.bias.shape[1]

    class Engine(LocalEngine):
        def open(self, problems):
            return Watched(self, problems)

    episodes = revise(puzzles(12), Engine(tiny_model(), tiny_chat(30), RANDOM), turns=4)
    longest = max(len(episode.token_ids) - len(episode.turns[-1].completion.token_ids) for episode in episodes)
    assert len(widths) == 1 + 3
    assert widths[-1] <= longest
