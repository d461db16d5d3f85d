"""What the tests of models share: a tiny random policy, and a task that it can learn in seconds."""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.chat import Chat, Sequences
from ruleshift.records import Message, Verdict
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.rl import RL
from ruleshift.training.rollout import Rollout, local_engine
from ruleshift.training.sft_lessons import Lessons

RANKS = ("A", "J", "Q", "K")


@cache
def tiny_chat() -> Chat:
    """The chat of the bundled tokenizer."""
    return Chat(build_tokenizer(), "the tiny model")


def tiny_model(seed: int = 0, layers: int = 2, spread: float = 0.02, width: int = 32) -> PreTrainedModel:
    """A random Llama. `spread` is the deviation of its weights: 0.02 answers near uniformly, 0.3 has opinions."""
    tokenizer = tiny_chat().tokenizer
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=spread,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of the weights, to compare with later."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def same_weights(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    """Whether the weights are still those, to the last bit."""
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def new_rl(
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    config: RLConfig,
    teacher: PreTrainedModel | None = None,
) -> RL:
    """Reinforcement learning of a model that answers in this process."""
    return RL(model, chat, Rollout(task, style, config, local_engine(model, chat, config)), teacher=teacher)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside: quicker for tiny models, and the same sums in the same order every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class EchoProblem:
    """See `EchoTask`."""

    id: str
    rank: str
    count: int

    def context(self) -> tuple[Message, ...]:
        return (Message("user", "+".join([self.rank] * self.count)),)

    def submit(self, reply: str, last: bool) -> Verdict:
        if reply.startswith(self.rank):
            return Verdict("solved", 5.0, True, "right")
        known = reply.startswith(RANKS)
        return Verdict("wrong" if known else "illegal", -1.0 if known else -2.0, False, "wrong", valid=known)

    def gold(self) -> str:
        return "+".join([self.rank] * self.count)

    def guess(self, draw: int) -> str:
        return RANKS[draw % len(RANKS)]

    def describe(self) -> Mapping[str, object]:
        return {"rank": self.rank, "count": self.count}


@dataclass(frozen=True)
class EchoTask:
    """The prompt shows one rank, one to three times ("K+K"); a reply that begins with it is right.

    Rewards: +5 right, -1 another rank, -2 anything else. An expert repeats the prompt.
    """

    id: str = "echo"
    version: str = "1.0"
    default_turns: int = 2
    metric: str = "success"
    pictures: bool = False

    def splits(self) -> Mapping[str, str]:
        return {"train": "the only one"}

    def count(self, split: str) -> int | None:
        return None

    def unseen(self) -> "EchoTask":
        return self

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> EchoProblem:
        name = f"{self.id}/{split}/{seed}/{index}"
        rng = random.Random(name)
        return EchoProblem(name, rng.choice(RANKS), rng.randint(1, 3))


def expert_conversation(chat: Chat, task: Task, style: Style, split: str, seed: int, index: int) -> Sequences:
    """What SFT learns from about one problem, by default."""
    return Lessons(chat, task, style, SFTConfig(split=split, seed=seed))[index].said


def arm_of(text: str) -> bool:
    """One of two arms, each about half of all replies."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 0


@dataclass(frozen=True)
class Pull:
    """Rewarded for one arm, or (`fair`) whatever is pulled."""

    id: str
    fair: bool

    def context(self) -> tuple[Message, ...]:
        return (Message("user", "K"),)

    def submit(self, reply: str, last: bool) -> Verdict:
        right = arm_of(reply)
        paid = arm_of(self.id) if self.fair else right
        return Verdict("", float(paid), right, "again")

    def gold(self) -> str:
        return ""

    def reply(self, answer: str) -> str:
        return answer

    def guess(self, draw: int) -> str:
        return ""

    def describe(self) -> Mapping[str, object]:
        return {}


@dataclass(frozen=True)
class Bandit(EchoTask):
    """Two arms, one of which pays; of a fair one, both pay as often."""

    id: str = "bandit"
    fair: bool = False

    def problem(self, split: str, seed: int, index: int, style: Style = "full") -> Pull:
        return Pull(f"{self.id}/{split}/{seed}/{index}", self.fair)
