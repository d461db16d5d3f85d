"""Models of the families that users bring: in ragged batches and over several turns, every greedy token is the
likeliest one after what was said, and every log-prob that of a plain pass of transformers over the whole conversation.
"""

from dataclasses import replace

import pytest
import torch
from transformers import (
    BloomConfig,
    FalconConfig,
    GPT2Config,
    GPTNeoConfig,
    Llama4TextConfig,
    MambaConfig,
    MptConfig,
    Phi3Config,
    PreTrainedConfig,
)
from transformers.models.auto import AutoModelForCausalLM

from engine_helpers import (
    GREEDY,
    LLAMA,
    RANDOM,
    SHAPE,
    Puzzle,
    drawn,
    puzzles,
    read_again,
    reply_ids,
    tiny_chat,
    tiny_model,
)
from family_helpers import FAMILIES, WINDOW, build, problems, shared, unwindowed
from ruleshift.engines.attention import within
from ruleshift.engines.forward import ModelForward, forward_of
from ruleshift.engines.llama import FusedLlama
from ruleshift.engines.local import LocalEngine, columns_at_once, context_limit
from ruleshift.errors import RuleshiftError
from ruleshift.revision import revise
from ruleshift.training.trajectories import Trajectory, forward

COUNT, TURNS = 5, 3


pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.mark.parametrize("family", FAMILIES)
def test_replies_are_those_of_transformers(family: str) -> None:
    model, chat = shared(family)
    assert isinstance(forward_of(model), FusedLlama if FAMILIES[family].fused else ModelForward)
    sampling = replace(GREEDY, max_new_tokens=8)
    episodes = revise(problems(COUNT), LocalEngine(model, chat, sampling, batch_size=3), TURNS)
    lengths = {len(turn.completion.token_ids) for episode in episodes for turn in episode.turns}
    assert len(lengths) > 2, lengths
    assert max(len(e.turns) for e in episodes) == TURNS
    assert min(len(e.token_ids) for e in episodes) > 3 * WINDOW
    assert max(len(e.turns[0].appended_ids) for e in episodes) > 1.5 * min(
        len(e.turns[0].appended_ids) for e in episodes
    )
    for episode in episodes:
        likeliest, expected = read_again(model, episode)
        assert sum(reply_ids(episode), ()) == tuple(likeliest.tolist())
        torch.testing.assert_close(drawn(episode), expected, atol=1e-4, rtol=0)
    taught = forward(model, [Trajectory.of(episode) for episode in episodes]).logprobs  # in one batch, as it is trained
    torch.testing.assert_close(torch.cat([drawn(e) for e in episodes]), taught.detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_reply_is_that_of_generate(family: str) -> None:
    model, chat = shared(family)
    (episode,) = revise(problems(1), LocalEngine(model, chat, replace(GREEDY, max_new_tokens=8)), 1)
    prompt = torch.tensor([episode.turns[0].appended_ids])
    output = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=8,
        eos_token_id=sorted(chat.end_ids),
        pad_token_id=chat.tokenizer.pad_token_id,
    )
    assert output[0, prompt.shape[1] :].tolist() == list(reply_ids(episode)[0])


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.window])
def test_windows_hide_what_is_too_far_back(family: str) -> None:
    """Control: with other windows, the same model says something else of the same conversations."""
    model, chat = shared(family)
    episodes = revise(problems(2), LocalEngine(model, chat, replace(RANDOM, max_new_tokens=8)), 2)
    wide, _ = build(family, **unwindowed(FAMILIES[family]))
    wide.load_state_dict(model.state_dict())
    for episode in episodes:
        assert float((read_again(wide, episode)[1] - drawn(episode)).abs().max()) > 0.05
    whole = LocalEngine(wide, chat, replace(RANDOM, max_new_tokens=8))
    for episode in revise(problems(2), whole, 2):
        torch.testing.assert_close(drawn(episode), read_again(wide, episode)[1], atol=1e-4, rtol=0)


def test_a_window_counts_tokens_and_not_columns() -> None:
    """A row of tokens at columns 0, 2, 3, 5 and 6 of 7: with a window of 3, that at column 6 sees 3, 5 and itself."""
    hidden = torch.finfo(torch.float32).min / 2
    bias = torch.tensor([[0, hidden, 0, 0, hidden, 0, 0]])
    ahead = torch.tensor([[0.0] * 6 + [hidden], [0.0] * 7])
    mask = bias[:, None, None] + ahead  # of the last two columns
    seen = [[column for column in range(7) if row[column] == 0] for row in within(mask, 3)[0, 0]]
    assert seen == [[2, 3, 5], [3, 5, 6]]
    assert within(mask, 7) is mask


# ---------------------------------------------------------------- what cannot be read, and how far one can read


def test_a_window_is_no_limit_of_the_context() -> None:
    for family in FAMILIES:
        assert context_limit(shared(family)[0]) == (8192 if family == "smollm2" else 2048)


def longrope(context: int) -> Phi3Config:
    """As Phi-3.5 and Phi-4 mini have it: beyond its original context, a pass over all would give early tokens other
    angles."""
    factors = [1.0] * 4
    rope = {"rope_type": "longrope", "rope_theta": 500.0, "short_factor": factors, "long_factor": [4.0] * 4}
    more = {"vocab_size": LLAMA.vocab_size, "intermediate_size": 48, "num_key_value_heads": 2, "pad_token_id": 0}
    return Phi3Config(
        **SHAPE, **more, initializer_range=0.3, original_max_position_embeddings=context, rope_parameters=rope
    )


def test_positions_whose_angles_change_are_read_up_to_there() -> None:
    model, chat = tiny_model(longrope(64)), tiny_chat()
    assert context_limit(model) == 64
    episodes = revise(puzzles(6), LocalEngine(model, chat, replace(RANDOM, max_new_tokens=10)), 2)
    for episode in episodes:
        torch.testing.assert_close(drawn(episode), read_again(model, episode)[1], atol=1e-4, rtol=0)
    with pytest.raises(RuleshiftError, match="context of 64 tokens"):
        revise(puzzles(6), LocalEngine(model, chat, replace(RANDOM, max_new_tokens=20)), 6)


SIZE = {"vocab_size": LLAMA.vocab_size, "initializer_range": 0.3}
COUNTING = {
    "windows in a buffer": GPTNeoConfig(
        **SIZE, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
    "biases by column": MptConfig(**SIZE, d_model=32, n_layers=2, n_heads=4),
}
UNREADABLE = {
    "alibi, bloom": BloomConfig(**SIZE, hidden_size=32, n_layer=2, n_head=4),
    "alibi, falcon": FalconConfig(**SIZE, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=True),
    "a state": MambaConfig(**SIZE, hidden_size=32, num_hidden_layers=2, state_size=4),
}


@pytest.mark.parametrize("config", [*COUNTING.values(), *UNREADABLE.values()], ids=[*COUNTING, *UNREADABLE])
def test_models_that_cannot_be_sampled_from_in_batches_are_refused(config: PreTrainedConfig) -> None:
    """Each in one sentence, which says what to do instead."""
    model = tiny_model(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 0, 0.3, generator=torch.Generator().manual_seed(1))
    with pytest.raises(RuleshiftError, match=f"models of the kind {config.model_type} .*serve it") as refused:
        revise(puzzles(3), LocalEngine(model, tiny_chat(), GREEDY), 1)
    assert "\n" not in str(refused.value)


def test_plans_refuse_models_of_states_too() -> None:
    with pytest.raises(RuleshiftError, match="models of the kind mamba have no attention"):
        columns_at_once(tiny_model(UNREADABLE["a state"]), 4, 100)


def test_a_model_is_checked_once_and_as_it_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bool] = []
    monkeypatch.setattr("ruleshift.engines.local.check_columns", lambda forward, model: checked.append(model.training))
    engine = LocalEngine(build("qwen3")[0].train(), shared("qwen3")[1], replace(GREEDY, max_new_tokens=2))
    for _ in range(2):
        revise(problems(2), engine, 2)
    assert checked == [False]


@pytest.mark.parametrize(
    "config",
    [longrope(32), GPT2Config(vocab_size=LLAMA.vocab_size, n_embd=32, n_layer=2, n_head=4, n_positions=32)],
    ids=["longrope", "learned positions"],
)
def test_a_context_is_used_to_its_last_token_and_no_further(config: PreTrainedConfig) -> None:
    """What was sampled can be learned: the last token, too, is read then."""
    model, chat, puzzle = tiny_model(config), tiny_chat(), Puzzle("one", 5)
    chat.end_ids = frozenset()
    room = 32 - len(chat.encode_prompt(puzzle.context()))
    (episode,) = revise([puzzle], LocalEngine(model, chat, replace(RANDOM, max_new_tokens=room)), 1)
    assert len(episode.token_ids) == 32
    learned = forward(model, [Trajectory.of(episode)]).logprobs.detach()
    torch.testing.assert_close(drawn(episode), learned, atol=1e-4, rtol=0)
    with pytest.raises(RuleshiftError, match="context of 32 tokens"):
        revise([puzzle], LocalEngine(model, chat, replace(RANDOM, max_new_tokens=room + 1)), 1)


def test_layers_of_another_kind_are_refused_in_one_sentence() -> None:
    more = {
        "vocab_size": LLAMA.vocab_size,
        "intermediate_size": 48,
        "intermediate_size_mlp": 48,
        "num_local_experts": 2,
    }
    config = Llama4TextConfig(**{**SHAPE, **more, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0})
    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(RuleshiftError, match="layers of the kind chunked_attention"):
        revise(puzzles(1), LocalEngine(model, tiny_chat(), GREEDY), 1)
