"""The local engine gives what plain `generate` and a plain forward pass give, in any batch; streams and cache."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    DynamicCache,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)
from transformers.models.auto import AutoModelForCausalLM

from helpers import one_thread
from ruleshift.backbones.tokenizer import RANKS, build_tokenizer
from ruleshift.chat import Chat, episode_sequence
from ruleshift.engines import local
from ruleshift.engines.attention import NAME, decode_attention, fast_decoding
from ruleshift.engines.cache import GrowingCache, GrowingLayer
from ruleshift.engines.local import LocalEngine, Window
from ruleshift.engines.protocol import Sampling
from ruleshift.engines.streams import stream_key, uniforms
from ruleshift.errors import RuleshiftError
from ruleshift.records import Episode, Message, Verdict
from ruleshift.revision import revise

TOKENIZER = build_tokenizer()
STREAM_KEY = 0x533824AB9A8FA367
FIRST_DRAW, LATER_DRAW = 0.9731393674214999, 0.0037701398948824516
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
LLAMA = LlamaConfig(
    **SHAPE, vocab_size=len(TOKENIZER), intermediate_size=48, num_key_value_heads=2, initializer_range=0.3
)
FAMILIES = {
    "llama, grouped queries": LLAMA,
    "llama, multi-head": LlamaConfig(**{**LLAMA.to_dict(), "num_key_value_heads": 4}),
    "llama, one key head": LlamaConfig(**{**LLAMA.to_dict(), "num_key_value_heads": 1}),
    "qwen2": Qwen2Config(
        **SHAPE, vocab_size=len(TOKENIZER), intermediate_size=48, num_key_value_heads=2, initializer_range=0.3
    ),
    "gpt-neox": GPTNeoXConfig(**SHAPE, vocab_size=len(TOKENIZER), intermediate_size=48, initializer_range=0.3),
    "gpt2, learned positions": GPT2Config(
        vocab_size=len(TOKENIZER), n_embd=32, n_layer=2, n_head=4, n_positions=512, initializer_range=0.3
    ),
    "gemma2, soft-capped": Gemma2Config(
        **SHAPE,
        vocab_size=len(TOKENIZER),
        intermediate_size=48,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=512,
        initializer_range=0.3,
    ),
}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def tiny_model(config: PreTrainedConfig = LLAMA) -> PreTrainedModel:
    ids = {"bos_token_id": None, "eos_token_id": TOKENIZER.eos_token_id, "pad_token_id": TOKENIZER.pad_token_id}
    config = type(config)(**{**config.to_dict(), **ids})
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return AutoModelForCausalLM.from_config(config).eval()


def tiny_chat(ends: int = 12) -> Chat:
    """A chat in which some words end a reply too, so that replies of a random model have all lengths."""
    chat = Chat(TOKENIZER)
    extra = [str(number) for number in range(ends)]
    chat.end_ids = chat.end_ids | frozenset(TOKENIZER.convert_tokens_to_ids(extra))
    return chat


@dataclass(frozen=True)
class Puzzle:
    """A problem with a prompt and a feedback of its own length. Solved by replies of a multiple of `solved_by`."""

    id: str
    words: int
    solved_by: int = 10**6

    def context(self) -> Sequence[Message]:
        return [Message("user", " ".join(RANKS[(self.words + i) % 4] for i in range(self.words)))]

    def submit(self, reply: str, last: bool) -> Verdict:
        solved = len(reply) % self.solved_by == self.solved_by - 1
        return Verdict("", 0.0, solved, " ".join(["wrong"] * (1 + (self.words + len(reply)) % 5)))


def puzzles(count: int = 8, solved_by: int = 10**6) -> list[Puzzle]:
    return [Puzzle(f"puzzle-{i}", 1 + (7 * i) % 11, solved_by) for i in range(count)]


GREEDY = Sampling(temperature=0.0, max_new_tokens=10)
RANDOM = Sampling(temperature=1.0, max_new_tokens=14, seed=3)


def reply_ids(episode: Episode) -> list[tuple[int, ...]]:
    return [turn.completion.token_ids for turn in episode.turns]


def stops(episodes: Sequence[Episode]) -> set[str]:
    return {turn.completion.stop_reason for episode in episodes for turn in episode.turns}


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
                pad_token_id=chat.pad_id,
            )
            assert turn.completion.token_ids == tuple(output[0, len(prompt) :].tolist())
            prompt += turn.completion.token_ids


@pytest.mark.parametrize("family", ["llama, grouped queries", "llama, multi-head", "gpt2, learned positions"])
def test_logprobs_are_those_of_a_pass_over_the_whole_conversation(family):
    model, chat = tiny_model(FAMILIES[family]), tiny_chat()
    sampling = replace(RANDOM, temperature=1.3)  # log-probs are at temperature 1 all the same
    episodes = revise(puzzles(12, solved_by=9), LocalEngine(model, chat, sampling), turns=4)
    assert min(len(episode.turns) for episode in episodes) < 4 == max(len(episode.turns) for episode in episodes)
    assert stops(episodes) == {"stop", "length"}
    for episode in episodes:
        sequence = episode_sequence(episode)
        ids, mask = torch.tensor(sequence.token_ids), torch.tensor(sequence.reply_mask, dtype=torch.bool)
        with torch.no_grad():
            logprobs = torch.log_softmax(model(ids[None]).logits[0], dim=-1)
        expected = logprobs[:-1].gather(1, ids[1:, None])[:, 0][mask[1:]]
        drawn = [p for turn in episode.turns for p in turn.completion.logprobs]
        torch.testing.assert_close(torch.tensor(drawn), expected, atol=1e-4, rtol=0)


# ---------------------------------------------------------------- batches, order, seeds, forks


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


def test_forking_changes_nothing(monkeypatch):
    forks: list[int] = []
    merges: list[int] = []

    class Watched(Window):
        def fork(self, rows):
            forks.append(len(rows))
            part = super().fork(rows)
            return Watched(part.cache, part.valid)

        def merge(self, part, rows):
            merges.append(len(rows))
            super().merge(part, rows)

    monkeypatch.setattr(local, "Window", Watched)
    model, chat, problems = tiny_model(), tiny_chat(ends=30), puzzles(16)
    forked = revise(problems, LocalEngine(model, chat, RANDOM), turns=3)
    assert max(forks) >= 4  # forks
    assert min(forks) == 1  # forks of forks
    assert len(merges) == len(forks) > 3
    assert stops(forked) == {"stop", "length"}
    forks.clear()
    alone = revise(problems, LocalEngine(model, chat, RANDOM, batch_size=1), turns=3)
    assert not forks
    for a, b in zip(forked, alone, strict=True):
        assert reply_ids(a) == reply_ids(b)
        for turn_a, turn_b in zip(a.turns, b.turns, strict=True):
            assert turn_a.completion.logprobs == pytest.approx(turn_b.completion.logprobs, abs=1e-4)


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
    fits = LocalEngine(model, chat, Sampling(max_new_tokens=24 - 13 + 1))  # the last token is never read
    assert len(reply_ids(revise([Puzzle("a", 11)], fits, turns=1)[0])[0]) == 12
    with pytest.raises(RuleshiftError, match=r"24 tokens.*--max-new-tokens"):
        revise([Puzzle("a", 11)], LocalEngine(model, chat, Sampling(max_new_tokens=13)), turns=1)
    with pytest.raises(RuleshiftError, match=r"24 tokens.*--turns"):
        revise([Puzzle("a", 11)], LocalEngine(model, chat, Sampling(max_new_tokens=9)), turns=3)
    assert model.training
    assert model.config._attn_implementation == "sdpa"


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


# ---------------------------------------------------------------- attention


def random_attention(groups: int, queries: int = 1) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(groups)
    query = torch.randn(5, 4, queries, 8, generator=generator)
    key, value = (torch.randn(5, groups, 13, 8, generator=generator) for _ in range(2))
    allowed = torch.rand(5, 1, queries, 13, generator=generator) < 0.6
    allowed[..., 0] = True
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return query, key, value, mask


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("queries", [1, 3])
def test_decode_attention_is_pytorch_attention(groups, queries):
    query, key, value, mask = random_attention(groups, queries)
    module = SimpleNamespace(num_key_value_groups=4 // groups, is_causal=True)
    mixed, _ = decode_attention(module, query, key, value, mask, scaling=0.3)
    key, value = (part.repeat_interleave(4 // groups, dim=1) for part in (key, value))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3)
    torch.testing.assert_close(mixed, expected.transpose(1, 2), atol=1e-6, rtol=1e-5)


def test_decode_attention_reads_neither_masked_keys_nor_masked_values():
    query, key, value, mask = random_attention(2)
    module = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    before, _ = decode_attention(module, query, key, value, mask, scaling=0.3)
    hidden = (mask < 0)[:, :, 0, :, None]  # (B, 1, L, 1)
    after, _ = decode_attention(module, query, key + 9 * hidden, value - 9 * hidden, mask, scaling=0.3)
    torch.testing.assert_close(after, before, atol=0, rtol=0)


def test_fast_decoding_is_taken_back_even_after_an_error():
    model = tiny_model()

    def fail() -> None:
        with fast_decoding(model):
            assert model.config._attn_implementation == NAME
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model.config._attn_implementation == "sdpa"


def test_fast_decoding_leaves_other_attention_alone():
    model = tiny_model()
    model.set_attn_implementation("eager")
    with fast_decoding(model):
        assert model.config._attn_implementation == "eager"


# ---------------------------------------------------------------- streams


def test_streams_never_change():
    assert stream_key(0, "gp-l/id/0/0") == STREAM_KEY
    assert uniforms(np.array([STREAM_KEY], dtype=np.uint64), 0, 0).tolist() == [FIRST_DRAW]
    assert uniforms(np.array([STREAM_KEY], dtype=np.uint64), 4, 35).tolist() == [LATER_DRAW]
    # The first outputs of SplitMix64 seeded with 0 and with 1234567, as published with the algorithm.
    assert uniforms(np.array([0], dtype=np.uint64), 0, 0).tolist() == [((0xE220A8397B1DCDAF >> 11) + 0.5) / 2**53]
    words = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    seeded = [float(uniforms(np.array([1234567], dtype=np.uint64), 0, step)[0]) for step in range(3)]
    assert seeded == [((word >> 11) + 0.5) / 2**53 for word in words]


def test_draws_are_uniform_and_inside_the_interval():
    keys = np.array([stream_key(1, f"problem-{i}") for i in range(2000)], dtype=np.uint64)
    draws = np.stack([uniforms(keys, turn, token) for turn in range(3) for token in range(10)])  # (30, 2000)
    assert draws.min() > 0
    assert draws.max() < 1
    assert draws.mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / draws.size))
    assert draws.var() == pytest.approx(1 / 12, abs=4 * np.sqrt(1 / 180 / draws.size))
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - draws.size / 20) ** 2 / (draws.size / 20)).sum() < 19 + 4 * np.sqrt(38)
    correlations = np.corrcoef(draws) - np.eye(len(draws))  # between turns and tokens, over keys
    assert np.abs(correlations).max() < 4.5 / np.sqrt(2000)
    across = np.corrcoef(draws[:, :-1].ravel(), draws[:, 1:].ravel())[0, 1]  # between neighbouring keys
    assert abs(across) < 4 / np.sqrt(draws.size)


def test_keys_depend_on_seed_and_problem():
    keys = {stream_key(seed, f"{name}") for seed in range(20) for name in range(20)}
    assert len(keys) == 400
    assert uniforms(np.array([5], dtype=np.uint64), 1, 0) != uniforms(np.array([5], dtype=np.uint64), 0, 1)


def test_the_largest_keys_and_counters_stay_inside():
    keys = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    draws = uniforms(keys, 255, 2**24 - 2)
    assert len(set(draws.tolist())) == 4
    assert 0 < draws.min() <= draws.max() < 1


# ---------------------------------------------------------------- cache


def columns(count: int, rows: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, count, 4, generator=generator), torch.randn(rows, 2, count, 3, generator=generator)


def same(found: tuple[torch.Tensor, torch.Tensor], expected: tuple[torch.Tensor, torch.Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_the_growing_cache_holds_what_a_dynamic_cache_holds():
    growing, dynamic = GrowingCache(2), DynamicCache()
    assert growing.get_seq_length() == 0
    for step, count in enumerate((5, 1, 1, 40, 1, 90, 1)):
        for layer in range(2):
            new = columns(count, seed=10 * step + layer)
            same(growing.update(*new, layer), dynamic.update(*new, layer))
        assert growing.get_seq_length() == dynamic.get_seq_length()
        assert growing.get_mask_sizes(1, 0) == dynamic.get_mask_sizes(1, 0)


def test_select_keeps_rows_and_of_each_its_columns():
    cache = GrowingCache(1)
    keys, values = cache.update(*columns(7), 0)
    keys, values = keys.clone(), values.clone()
    rows = torch.tensor([4, 0, 3])
    chosen = torch.tensor([[0, 2, 3, 6], [1, 0, 5, 4], [6, 5, 4, 3]])
    cache.select(rows, chosen)
    assert cache.get_seq_length() == 4
    new = columns(2, rows=3, seed=1)
    found = cache.update(*new, 0)
    expected = [
        torch.cat([torch.stack([old[row][:, of] for row, of in zip(rows, chosen, strict=True)]), more], dim=2)
        for old, more in zip((keys, values), new, strict=True)
    ]
    same(found, (expected[0], expected[1]))


def test_a_fork_gains_columns_alone_and_merge_takes_them_over():
    cache = GrowingCache(1)
    old = tuple(part.clone() for part in cache.update(*columns(5), 0))
    rows, inner_rows = torch.tensor([1, 4, 5]), torch.tensor([2, 0])
    part = cache.fork(rows)
    assert part.get_seq_length() == 5
    gained = columns(3, rows=3, seed=1)
    same(part.update(*gained, 0), tuple(torch.cat([a[rows], b], dim=2) for a, b in zip(old, gained, strict=True)))
    inner = part.fork(inner_rows)
    more = columns(60, rows=2, seed=2)  # beyond the capacity of the outer caches
    inner.update(*more, 0)
    assert (cache.get_seq_length(), part.get_seq_length(), inner.get_seq_length()) == (5, 8, 68)
    part.merge(inner, inner_rows)
    cache.merge(part, rows)
    layer = cache.layers[0]
    assert isinstance(layer, GrowingLayer)
    for found, before, first, second in zip((layer.keys, layer.values), old, gained, more, strict=True):
        expected = torch.zeros(6, 2, 68, found.shape[3])
        expected[:, :, :5] = before
        expected[rows, :, 5:8] = first
        expected[rows[inner_rows], :, 8:] = second
        torch.testing.assert_close(found, expected, atol=0, rtol=0)
    assert cache.get_seq_length() == 68


def test_a_window_squeezes_out_unused_columns():
    valid = torch.tensor([[0, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    cache = GrowingCache(1)
    keys = cache.update(*columns(6, rows=3), 0)[0].clone()
    window = Window(cache, valid)
    window.keep(torch.tensor([2, 0]))
    assert window.valid.tolist() == [[True, True, False], [True, True, True]]
    kept = cache.layers[0].keys
    torch.testing.assert_close(kept[0, :, :2], keys[2][:, [2, 3]], atol=0, rtol=0)
    torch.testing.assert_close(kept[1], keys[0][:, [1, 2, 4]], atol=0, rtol=0)


def test_the_cache_stays_as_wide_as_the_longest_conversation():
    """Columns that nobody uses are gone at the next turn, whatever the replies' lengths were."""
    widths: list[int] = []

    class Watched(local.LocalSession):
        def append(self, keep, feedback):
            super().append(keep, feedback)
            widths.append(self.window.valid.shape[1])
            assert self.window.valid.shape[1] == int(self.window.valid.sum(1).max())
            assert self.window.cache.get_seq_length() == self.window.valid.shape[1]

    class Engine(LocalEngine):
        def open(self, problems):
            return Watched(self, problems)

    episodes = revise(puzzles(12), Engine(tiny_model(), tiny_chat(30), RANDOM), turns=4)
    longest = max(len(episode.token_ids) - len(episode.turns[-1].completion.token_ids) for episode in episodes)
    assert len(widths) == 3
    assert widths[-1] <= longest
