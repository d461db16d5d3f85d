"""What the tests of the local engine share: small models of several families, puzzles, and samplings."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)
from transformers.models.auto import AutoModelForCausalLM

from ruleshift.chat import Chat
from ruleshift.engines.protocol import Sampling
from ruleshift.records import Episode, Message, Verdict
from ruleshift.training.trajectories import Trajectory

RANKS = ("A", "J", "Q", "K")
SPECIAL = ("<pad>", "<unk>", "<user>", "<bot>", "<end>")
OTHER = ("wrong", "on", "value", "none", "numbers", "extra", "missing", "illegal", "target", "cards", "right")
TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content }}<end>"
    "{% else %}<user>{{ message.content }}<bot>{% endif %}{% endfor %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that stays as it is, so that the random models below do."""
    numbers = [str(number) for number in range(100)] + [f"0{digit}" for digit in range(10)]
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *"abcdefghijklm", *RANKS, *OTHER, *numbers))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<\w+>|\d{1,2}|\w+|\S"), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Fuse()
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=["<user>", "<bot>"], **special
    )
    wrapped.chat_template = TEMPLATE
    return wrapped


TOKENIZER = build_tokenizer()
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


@dataclass
class Route:
    """A problem of several steps, each with a feedback of its own length; a third of all replies lead on."""

    id: str
    steps: int
    at: int = 0
    lasts: int = 0

    def context(self) -> Sequence[Message]:
        return [Message("user", " ".join(RANKS[(self.steps + i) % 4] for i in range(1 + 5 * self.steps % 13)))]

    def submit(self, reply: str, last: bool) -> Verdict:
        right = len(reply) % 3 == 2
        self.at += right
        self.lasts += last
        solved = self.at == self.steps
        return Verdict("", 0.0, solved, " ".join(["on"] * (1 + (self.at + len(reply)) % 5)), advanced=right)


def routes(count: int) -> list[Route]:
    return [Route(f"route-{i}", 1 + i % 4) for i in range(count)]


def puzzles(count: int = 8, solved_by: int = 10**6) -> list[Puzzle]:
    return [Puzzle(f"puzzle-{i}", 1 + (7 * i) % 11, solved_by) for i in range(count)]


GREEDY = Sampling(temperature=0.0, max_new_tokens=10)
RANDOM = Sampling(temperature=1.0, max_new_tokens=14, seed=3)


def reply_ids(episode: Episode) -> list[tuple[int, ...]]:
    return [turn.completion.token_ids for turn in episode.turns]


def stops(episodes: Sequence[Episode]) -> set[str]:
    return {turn.completion.stop_reason for episode in episodes for turn in episode.turns}


@torch.no_grad()
def read_again(model: PreTrainedModel, episode: Episode) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest token where each reply token stands (T,), and the log-prob of that which does (T,), by a pass of
    transformers over the conversation alone, without cache."""
    trajectory = Trajectory.of(episode)
    places = torch.tensor(trajectory.positions)
    ids = torch.tensor([trajectory.ids])
    table = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].log_softmax(-1)
    return table[places - 1].argmax(-1), table[places - 1, ids[0, places]]


def drawn(episode: Episode) -> torch.Tensor:
    return torch.tensor([p for turn in episode.turns for p in turn.completion.logprobs])
