"""What a training run would take, without its weights: its own passes are made on tensors without numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.engines.forward import forward_of
from ruleshift.engines.local import READ_AT_ONCE
from ruleshift.engines.protocol import Reply, Request
from ruleshift.engines.window import Window
from ruleshift.records import Completion, Message
from ruleshift.revision import revise
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task, TaskProblem
from ruleshift.training.accounting import Sizes, TokenCount
from ruleshift.training.critic import ValueHead
from ruleshift.training.footprint import Footprint, weightless
from ruleshift.training.parts import choose
from ruleshift.training.sft_data import data_of, expert
from ruleshift.training.sft_lessons import Lesson, Lessons, tell
from ruleshift.training.trajectories import Thrift, Trajectory, forward, groups_of

LOOKED_AT = 64  # problems of the split whose conversations are told
PARTS = ("weights", "reference", "gradients", "optimiser", "activations", "logits", "cache", "sampler")


@dataclass(frozen=True)
class Phase:
    """Bytes of each of PARTS when this phase of a run needs most; `sampler` is what sampling makes for itself, a copy
    of small models that is quicker among it."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Forecast:
    """Tokens and FLOPs are of the whole run, every conversation as long as it may become (`accounting`)."""

    parameters: int
    learning: int
    conversation: int  # tokens of the longest one looked at
    pass_tokens: int  # padded tokens of the largest pass
    tokens: TokenCount
    flops: float
    phases: tuple[Phase, ...]


class LongReplies:
    """Answers everything with as many tokens as it may."""

    def __init__(self, chat: Chat, count: int, batch_size: int) -> None:
        self.chat, self.batch_size = chat, batch_size
        self.reply = (chat.encode_reply("a a")[0],) * count

    def open(self, requests: Sequence[Request]) -> "LongSession":
        return LongSession(self, requests)


class LongSession:
    def __init__(self, engine: LongReplies, requests: Sequence[Request]) -> None:
        self.engine = engine
        self.appended: list[tuple[int, ...]] = []
        self.append((), (), requests)

    def generate(self) -> list[Reply]:
        ids = self.engine.reply
        said = Completion(self.engine.chat.decode(ids), ids, (0.0,) * len(ids), "length")
        return [Reply(appended, said) for appended in self.appended]

    def append(self, keep: Sequence[int], feedback: Sequence[Message], joining: Sequence[Request] = ()) -> None:
        chat = self.engine.chat
        self.appended = [chat.encode_feedback(message, self.engine.reply) for message in feedback]
        self.appended += [chat.encode_prompt(request.messages) for request in joining]


def conversations(chat: Chat, task: Task, style: Style, config: SFTConfig | RLConfig) -> list[Trajectory]:
    """Of the first problems, each as long as it may become: what is learned from the expert where that is what SFT
    learns from, and else the longer of two: the longest wrong replies until the budget ends, and the expert's way."""
    if isinstance(config, SFTConfig) and not data_of(config).sampled:
        lessons = Lessons(chat, task, style, replace(config, pass_low=0.0, pass_high=1.0), None, None)
        return [_told(lessons[row]) for row in lessons.rows[:LOOKED_AT]]
    indices = range(min(LOOKED_AT, config.episodes if isinstance(config, RLConfig) else config.examples))

    def problems() -> list[TaskProblem]:
        return [task.problem(config.split, config.seed, index, style) for index in indices]

    engine = LongReplies(chat, config.max_new_tokens, len(indices))
    wrong = [Trajectory.of(episode) for episode in revise(problems(), engine, config.turns)]
    right = [_told(tell(chat, problem, lambda step: expert(None, 0.0), config.turns)) for problem in problems()]
    return [max(pair, key=lambda t: len(t.ids)) for pair in zip(wrong, right, strict=True)]


def _told(lesson: Lesson) -> Trajectory:
    places = tuple(place for place, learned in enumerate(lesson.learned) if learned)
    nothing = (0.0,) * len(places)
    return Trajectory(lesson.said.token_ids, places, (0,) * len(places), nothing, (places[0] - 1,), (0.0,))


def forecast(
    model: PreTrainedModel, chat: Chat, task: Task, style: Style, config: SFTConfig | RLConfig, device: str = "cpu"
) -> Forecast:
    """model: the one that is to learn, on the meta device, in the number format that it is loaded in; it is changed.
    device: "cpu" or "cuda", which need not be there: passes are planned as on a CPU.

    Raises RuleshiftError for settings that the model cannot be trained with."""
    told = conversations(chat, task, style, config)
    size = _together(config)
    group = _largest([told[i % len(told)] for i in range(size)], config.max_tokens)
    choose(model, config.train_parts, config.lora_rank, config.seed)
    with FakeTensorMode(allow_non_fake_inputs=True):
        weightless(model.eval(), torch.device("cpu"))
        sizes = Sizes.of(model)
        fixed = _fixed(model, config, device)
        phases = [_learning(model, group, config, fixed), _step(model, fixed, device)]
        if isinstance(config, RLConfig):
            phases.insert(0, _sampling(model, told, config, fixed))
    tokens = _tokens(sum(len(t.ids) for t in told) / len(told), config)
    return Forecast(
        sizes.decoder,
        sizes.learning,
        max(len(t.ids) for t in told),
        max(len(t.ids) for t in group) * len(group),
        tokens,
        tokens.flops(sizes),
        tuple(phases),
    )


def _together(config: SFTConfig | RLConfig) -> int:
    """Conversations among which passes are made up."""
    if isinstance(config, RLConfig):
        return max(1, config.episodes // config.minibatches)
    return min(config.micro_batch, config.batch)


def _largest(trajectories: Sequence[Trajectory], max_tokens: int) -> list[Trajectory]:
    """The pass with the most padded tokens."""
    groups = groups_of(trajectories, max_tokens, len(trajectories))
    largest = max(groups, key=lambda group: len(group) * len(trajectories[group[0]].ids))
    return [trajectories[i] for i in largest]


def _tokens(mean: float, config: SFTConfig | RLConfig) -> TokenCount:
    if isinstance(config, SFTConfig):
        return TokenCount(trained=round(config.steps * config.batch * mean))
    each = config.updates * config.episodes * mean
    learned = max(0, config.updates - config.value_only) * config.episodes * config.epochs * mean
    return TokenCount(trained=round(learned), forward=round((3 if config.critic else 2) * each))


def _fixed(model: PreTrainedModel, config: SFTConfig | RLConfig, device: str) -> dict[str, int]:
    """Bytes that are there as long as the run is."""
    learning = [p for p in model.parameters() if p.requires_grad]
    heads = list(ValueHead(model).parameters()) if isinstance(config, RLConfig) and config.critic else []
    steps = [*learning, *heads]
    weights = sum(p.nbytes for p in [*model.parameters(), *model.buffers(), *heads])
    copies = isinstance(config, RLConfig) and not config.lora_rank
    here = isinstance(config, RLConfig) and config.reference in ("device", device)
    return {
        "weights": weights,
        "reference": sum(p.nbytes for p in learning) if copies and here else 0,
        "optimiser": sum((2 if config.adam_8bit and p.numel() >= 4096 else 8) * p.numel() for p in steps),
    }


def _footprint(model: PreTrainedModel, part: str) -> Footprint:
    """One in which the model is counted already."""
    footprint = Footprint(model.get_output_embeddings().weight.shape, part)
    for tensor in (*model.parameters(), *model.buffers()):
        footprint.hold(tensor, "weights")
    return footprint


def _phase(name: str, footprint: Footprint, fixed: dict[str, int]) -> Phase:
    return Phase(name, {part: fixed.get(part, footprint.peak.get(part, 0)) for part in PARTS})


def _learning(
    model: PreTrainedModel, group: Sequence[Trajectory], config: SFTConfig | RLConfig, fixed: dict[str, int]
) -> Phase:
    """Two passes of a group, whose gradients add up."""
    learning = [p for p in model.parameters() if p.requires_grad]
    temperature = config.temperature if isinstance(config, RLConfig) else 1.0
    entropy_learns = isinstance(config, RLConfig) and config.entropy_coef > 0
    thrift = Thrift(config.bf16, config.gradient_checkpointing)
    with _footprint(model, "activations") as footprint, footprint.gradients_of(learning):
        for _ in range(2):
            result = forward(model, group, None, None, temperature, entropy_learns, thrift)
            (result.logprobs.sum() + result.entropy.sum() + result.states.sum()).backward()
            del result
    for parameter in learning:
        parameter.grad = None
    return _phase("learning", footprint, fixed)


def _step(model: PreTrainedModel, fixed: dict[str, int], device: str) -> Phase:
    """Adam divides the first moment by the root of the second, of one parameter at a time or (GPU) of all at once."""
    sizes = [p.nbytes for p in model.parameters() if p.requires_grad]
    passing = sum(sizes) if device == "cuda" else 2 * max(sizes)
    found = {"gradients": sum(sizes), "activations": passing}
    return Phase("step", {part: fixed.get(part, found.get(part, 0)) for part in PARTS})


@torch.inference_mode()
def _sampling(model: PreTrainedModel, told: Sequence[Trajectory], config: RLConfig, fixed: dict[str, int]) -> Phase:
    """Prompts are read and a reply begins; later the last of the longest conversations does."""
    rows = min(config.batch_size, config.episodes)
    longest = max(len(t.ids) for t in told)
    prompt = min(max(t.states[0] + 1 for t in told), longest - 1)
    with _footprint(model, "sampler") as footprint:
        forward_ = forward_of(model)
        window = Window.empty(forward_.new_cache(rows), rows, model.dtype, model.device)
        some = max(1, READ_AT_ONCE // (rows * longest))
        for width in (prompt, longest - prompt):
            for first in range(0, width, some):
                count = min(some, width - first)
                new = torch.ones(rows, count, dtype=torch.bool)
                position, mask = window.extend(new)
                logits = forward_(torch.zeros(rows, count, dtype=torch.long), position, mask, window.cache)
        (logits / config.temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
    return _phase("sampling", footprint, fixed)
