"""Sampling speed: the local engine against `model.generate`, and against what this machine allows.

    python benchmarks/engine.py                        # the bundled backbone, batch 256, two threads
    python benchmarks/engine.py --model PATH

Both sides answer the same GeneralPoints problems through the same loop (`ruleshift.revision.revise`), at temperature 1,
up to the same length, and stop at the same tokens; only tokens of replies up to their end are counted. `generate` gets
each turn's whole conversation anew, padded on the left, as is usual with it. The local engine also returns
log-probabilities, `generate` is not asked for them. Repetitions are interleaved, in alternating order.

The floor is the time that the engine's own conversations would take if nothing but unavoidable work were done at the
speed this machine reaches on that work alone:
    arithmetic  every token of a conversation, but the last of the last reply, passes once through all matrices
                (2 FLOP a weight; the output matrix for tokens that are followed by a sampled one), at the rate of the
                model's own matrices on as many rows as the batch has
    traffic     every step of every conversation reads the keys and values of its tokens so far, at the rate at which
                this machine copies (bytes read plus bytes written) an array as large as the cache of one layer
Attention arithmetic, norms, sampling, text, verifier and Python are left out: the floor cannot be reached.

A last table times the attention of one layer alone, in the engine's way and in PyTorch's.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from ruleshift.backbones.config import BuildConfig
from ruleshift.backbones.load import Backbone, load_backbone
from ruleshift.chat import Chat
from ruleshift.engines.attention import decode_attention
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Engine, Reply, Request, Sampling
from ruleshift.errors import RuleshiftError
from ruleshift.pretraining.build import new_model
from ruleshift.quiet import quiet_libraries
from ruleshift.records import Completion, Episode, Message
from ruleshift.revision import revise
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import Problem
from timing import median_rate, print_json, print_table

# ---------------------------------------------------------------- model.generate as an engine


@dataclass
class GenerateEngine:
    """Answers with `model.generate`, a fresh cache and a full prompt at every turn."""

    model: PreTrainedModel
    chat: Chat
    sampling: Sampling
    batch_size: int

    def open(self, requests: Sequence[Request]) -> "GenerateSession":
        session = GenerateSession(self)
        session.append((), (), requests)
        return session


@dataclass
class GenerateSession:
    engine: GenerateEngine
    appended: list[tuple[int, ...]] = field(default_factory=list)
    conversations: list[tuple[int, ...]] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)

    def generate(self) -> list[Reply]:
        chat, sampling = self.engine.chat, self.engine.sampling
        width = max(map(len, self.conversations))
        ids = torch.full((len(self.conversations), width), chat.pad_id)
        mask = torch.zeros_like(ids)
        for row, conversation in enumerate(self.conversations):
            ids[row, width - len(conversation) :] = torch.tensor(conversation)
            mask[row, width - len(conversation) :] = 1
        output = self.engine.model.generate(
            ids.to(self.engine.model.device),
            attention_mask=mask.to(self.engine.model.device),
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=sampling.max_new_tokens,
            eos_token_id=sorted(chat.end_ids),
            pad_token_id=chat.pad_id,
        )
        self.completions = [self._completion(row) for row in output[:, width:].tolist()]
        pairs = zip(self.conversations, self.completions, strict=True)
        self.conversations = [conversation + completion.token_ids for conversation, completion in pairs]
        return [Reply(ids, completion) for ids, completion in zip(self.appended, self.completions, strict=True)]

    def _completion(self, ids: list[int]) -> Completion:
        ends = [place for place, token in enumerate(ids) if token in self.engine.chat.end_ids]
        ids = ids[: ends[0] + 1] if ends else ids
        return Completion(self.engine.chat.decode(ids), tuple(ids), (), "stop" if ends else "length")

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Request] = ()) -> None:
        chat = self.engine.chat
        fed = [
            chat.encode_feedback(message, self.completions[row].token_ids)
            for row, message in zip(keep, feedback, strict=True)
        ]
        prompts = [chat.encode_prompt(request.messages) for request in joining]
        self.conversations = [self.conversations[row] + ids for row, ids in zip(keep, fed, strict=True)] + prompts
        self.appended = fed + prompts


# ---------------------------------------------------------------- the floor


@dataclass(frozen=True)
class Floor:
    """Unavoidable work of some conversations, and the seconds it takes at the measured rates."""

    read: int  # tokens that pass through the model, of prompts, feedback and replies
    projected: int  # of these, tokens that are followed by a sampled one
    cache_reads: int  # tokens' keys and values read, summed over steps
    arithmetic: float
    traffic: float

    @property
    def total(self) -> float:
        return self.arithmetic + self.traffic


def floor_of(episodes: Sequence[Episode], model: PreTrainedModel, batch: int) -> Floor:
    """The floor of these conversations; see the top of this file."""
    read = projected = cache_reads = 0
    for episode in episodes:
        length = 0  # tokens in the cache
        unread = 0
        for turn in episode.turns:
            replied = len(turn.completion.token_ids)
            length += unread + len(turn.appended_ids)  # one step reads the prompt or feedback
            cache_reads += length
            for _ in range(replied - 1):
                length += 1
                cache_reads += length
            projected += replied
            unread = 1  # the last token of a reply is read together with the feedback
        read += length
    matrices = [module for module in model.modules() if isinstance(module, nn.Linear)]
    output = model.get_output_embeddings()
    inner = [matrix for matrix in matrices if matrix is not output]
    inner_flop, output_flop = 2 * _weights(inner), 2 * _weights([output])
    arithmetic = read * inner_flop / flop_rate(inner, batch) + projected * output_flop / flop_rate([output], batch)
    mean_length = cache_reads / projected
    column = _bytes_per_token(model)
    layers = model.config.get_text_config().num_hidden_layers
    traffic = cache_reads * column / copy_rate(int(batch * mean_length * column / layers))
    return Floor(read, projected, cache_reads, arithmetic, traffic)


def _weights(matrices: Sequence[nn.Module]) -> int:
    return sum(matrix.weight.numel() for matrix in matrices)


def _head_shape(model: PreTrainedModel) -> tuple[int, int, int]:
    """Heads, key-value heads, and their width."""
    config = model.config.get_text_config().to_dict()
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    return heads, config.get("num_key_value_heads") or heads, width


def _bytes_per_token(model: PreTrainedModel) -> int:
    """Keys and values of one token in all layers."""
    _, key_heads, width = _head_shape(model)
    return 2 * model.config.get_text_config().num_hidden_layers * key_heads * width * model.dtype.itemsize


def flop_rate(matrices: Sequence[nn.Module], rows: int) -> float:
    """FLOP/s of these matrices, one after the other, on `rows` rows."""
    inputs = {m.weight.shape[1]: torch.randn(rows, m.weight.shape[1], dtype=m.weight.dtype) for m in matrices}

    def multiply() -> None:
        for matrix in matrices:
            nn.functional.linear(inputs[matrix.weight.shape[1]], matrix.weight)

    with torch.inference_mode():
        return median_rate(multiply, 2.0 * rows * _weights(matrices), repeats=51)


def copy_rate(size: int) -> float:
    """Bytes per second, read plus written, of copying arrays of `size` bytes."""
    source = torch.rand(max(1024, size // 4))
    target = torch.empty_like(source)
    return median_rate(lambda: target.copy_(source), 2.0 * 4 * len(source), repeats=51)


# ---------------------------------------------------------------- attention of one step


def attention_times(model: PreTrainedModel, batch: int, length: int = 64) -> dict[str, float]:
    """Microseconds of one layer's attention for one new token a row, with a mask: the engine's way and PyTorch's."""
    heads, key_heads, width = _head_shape(model)
    module = SimpleNamespace(num_key_value_groups=heads // key_heads, is_causal=True)
    query = torch.randn(batch, heads, 1, width)
    key, value = torch.randn(2, batch, key_heads, length, width)
    mask = torch.zeros(batch, 1, 1, length)
    mask[:, :, :, ::7] = torch.finfo(mask.dtype).min
    kernels = {"ours": decode_attention, "PyTorch's": sdpa_attention_forward}
    with torch.inference_mode():
        return {
            name: 1e6 / median_rate(lambda f=f: f(module, query, key, value, mask, scaling=width**-0.5), 1, repeats=101)
            for name, f in kernels.items()
        }


# ---------------------------------------------------------------- the comparison


def compare(backbone: Backbone, arguments: argparse.Namespace, turns: int) -> dict[str, float]:
    """Median tokens per second of both engines on the same problems, the median ratio, and the floor."""
    local: list[float] = []
    generate: list[float] = []
    floors: list[Floor] = []
    above: list[float] = []
    for repeat in range(-1, arguments.repeats):  # the first repetition warms up and is not counted
        seed, batch = arguments.seed + repeat, arguments.batch
        problems = [get_task("gp-l").problem("id", seed, i, backbone.style) for i in range(batch)]
        sampling = Sampling(1.0, arguments.max_new_tokens, seed)
        torch.manual_seed(seed % 2**32)
        ours = Timed(LocalEngine(backbone.model, backbone.chat, sampling, batch), problems, turns)
        theirs = Timed(GenerateEngine(backbone.model, backbone.chat, sampling, batch), problems, turns)
        for run in (ours, theirs) if repeat % 2 else (theirs, ours):
            run.start()
        if repeat >= 0:
            local.append(ours.rate)
            generate.append(theirs.rate)
            floors.append(floor_of(ours.episodes, backbone.model, batch))
            above.append(ours.took / floors[-1].total)
    return {
        "local": statistics.median(local),
        "generate": statistics.median(generate),
        "ratio": statistics.median(x / y for x, y in zip(local, generate, strict=True)),
        "floor": statistics.median(x * y for x, y in zip(local, above, strict=True)),
        "above_floor": statistics.median(above),
        "arithmetic_share": statistics.median(floor.arithmetic / floor.total for floor in floors),
    }


@dataclass
class Timed:
    """One engine on some problems, and how long it took."""

    engine: Engine
    problems: Sequence[Problem]
    turns: int
    episodes: list[Episode] = field(default_factory=list)
    took: float = 0.0

    def start(self) -> None:
        started = time.perf_counter()
        self.episodes = revise(self.problems, self.engine, self.turns)
        self.took = time.perf_counter() - started

    @property
    def rate(self) -> float:
        """Reply tokens per second."""
        return sum(len(turn.completion.token_ids) for e in self.episodes for turn in e.turns) / self.took


def load(name: str) -> Backbone:
    """A backbone to measure; "untrained" is the bundled shape with random weights, whose replies run to the limit."""
    if name == "untrained":
        model, chat = new_model(BuildConfig())
        return Backbone(name, model.eval(), chat, "terse")
    return load_backbone(name, device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help='"bundled", a folder, a hub id, or "untrained"')
    parser.add_argument("--batch", type=int, default=256, help="conversations at once (default: %(default)s)")
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 5], help="budgets of turns (default: 1 5)")
    parser.add_argument("--max-new-tokens", type=int, default=36, help="longest reply (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="repetitions (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of deals and samples (default: %(default)s)")
    arguments = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(arguments.threads)
    try:
        backbone = load(arguments.model)
    except RuleshiftError as error:
        sys.exit(f"{error}\n(--model untrained measures the bundled shape with random weights)")
    results = {}
    for turns in arguments.turns:
        results[f"{turns} turns" if turns > 1 else "1 turn"] = compare(backbone, arguments, turns)
    columns = ("local engine", "generate", "ratio", "floor", "above the floor", "arithmetic")
    units = ("tokens/s", "tokens/s", "times faster", "tokens/s", "times its time", "share of floor")
    header = ("conversation", *(f"{column} ({unit})" for column, unit in zip(columns, units, strict=True)))
    title = f"{arguments.model}, batch {arguments.batch}, {arguments.threads} threads"
    print_table(title, header, [[name, *row.values()] for name, row in results.items()])
    attention = attention_times(backbone.model, arguments.batch)
    print_table("Attention of one layer in one step, microseconds", ("", *attention), [["median", *attention.values()]])
    print_json("engine", vars(arguments), {**results, "attention_us": attention})


if __name__ == "__main__":
    main()
