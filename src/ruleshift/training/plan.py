"""What a training run would take, without its weights: its own passes are made on tensors without numbers."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import astuple, dataclass, replace

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedModel

from ruleshift.backbones.head import chunks
from ruleshift.backbones.sampler import sampler_of
from ruleshift.chat import Chat
from ruleshift.engines.forward import forward_of
from ruleshift.engines.local import columns_at_once, context_limit
from ruleshift.engines.window import Window
from ruleshift.settings import DistilConfig, RLConfig, SFTConfig
from ruleshift.tasks.protocol import Style, Task
from ruleshift.training.accounting import Account, Sizes, TokenCount
from ruleshift.training.context import outgrown
from ruleshift.training.critic import ValueHead
from ruleshift.training.footprint import Footprint, Shapes, weightless
from ruleshift.training.guide import Guide, Pupil, guide_of
from ruleshift.training.longest import Longest, longest
from ruleshift.training.parts import check_recompute, choose, learns, recomputes, start_of
from ruleshift.training.plan_pictures import apart, bytes_of_features, bytes_of_pixels, looked_at, seen_first
from ruleshift.training.privileged import Asked
from ruleshift.training.rollout import rollout_dtype
from ruleshift.training.sft_losses import LAGGING
from ruleshift.training.sft_samples import used
from ruleshift.training.teachers import ModelTeacher, MovingTeacher, StartTeacher, Told
from ruleshift.training.trajectories import Thrift, Trajectory, forward, groups_of

PARTS = (
    *("weights", "reference", "teacher", "gradients", "optimiser", "activations", "logits", "cache", "sampler"),
    "pictures",
)


@dataclass(frozen=True)
class Phase:
    """Bytes of each of PARTS when this phase of a run needs most; `sampler` is what sampling makes for itself, a copy
    of small models that is quicker among it, and `pictures` their pixels and what is kept of their features."""

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
    again: bool  # whether layers of the model can be computed again
    outgrown: str  # what may be longer than the model's context, in words; "" where nothing is


@dataclass(frozen=True)
class Planned:
    """What is planned: conversations of the first problems (`found`), those that make the largest pass that learns
    (`group`) and the largest over what the expert says (`shown`), and what a teacher is told of the former."""

    model: PreTrainedModel
    chat: Chat
    config: SFTConfig | RLConfig
    device: str
    found: Longest
    group: list[Trajectory]
    shown: list[Trajectory]
    guide: Guide | None
    taught: list[Told]

    @property
    def learning(self) -> list[torch.nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def halved(self) -> bool:
        """Whether gradients of halves of a mini-batch are kept, to tell how noisy they are."""
        return isinstance(self.config, RLConfig) and self.config.sft_mix == "noise"

    @property
    def known(self) -> bool:
        """Whether features of pictures are computed once an update."""
        return isinstance(self.config, RLConfig) and not learns(self.model, "tower", "projector")


def forecast(
    model: PreTrainedModel,
    chat: Chat,
    task: Task,
    style: Style,
    config: SFTConfig | RLConfig,
    device: str = "cpu",
    teacher: PreTrainedModel | None = None,
) -> Forecast:
    """model: the one that is to learn, on the meta device, in the number format that it is loaded in; it is changed.
    teacher: another one that guides it, there too. device: "cpu" or "cuda", which need not be there: passes are planned
    as on a CPU.

    Raises RuleshiftError for settings that the model cannot be trained with."""
    found = longest(chat, task, style, config, context_limit(model))
    check_recompute(model, config.gradient_checkpointing)
    start = deepcopy(model) if isinstance(config, SFTConfig) and found.sampled else None
    choose(model, config.train_parts, config.lora_rank, config.seed)
    mode = Shapes() if task.pictures else FakeTensorMode(allow_non_fake_inputs=True)  # masks of texts can be large
    with mode:
        for one in (model, teacher, start):
            if one is not None:
                weightless(one.eval(), torch.device("cpu"))
        run = _planned(model, chat, config, device, found, teacher)
        phases = _phases(run)
        if start is not None and isinstance(config, SFTConfig):
            phases.insert(0, _start_sampling(start, chat, config, found, device))
        sizes, tokens = Sizes.of(model), _tokens(run)
    return Forecast(
        sizes.decoder + sizes.tower,
        sum(p.numel() for p in run.learning),
        max(len(t.ids) for t in found.learned),
        max(len(t.ids) for t in run.group) * len(run.group),
        tokens,
        tokens.flops(sizes),
        tuple(phases),
        recomputes(model),
        _outgrown(run),
    )


def _planned(
    model: PreTrainedModel,
    chat: Chat,
    config: SFTConfig | RLConfig,
    device: str,
    found: Longest,
    teacher: PreTrainedModel | None,
) -> Planned:
    guide, members = _guide(model, chat, config, teacher), _largest(found.learned, config)
    group = [apart(found.learned[i]) for i in members]
    shown = [apart(found.shown[i]) for i in _largest(found.shown, config)] if found.shown else []
    taught = _told(guide, [found.asked[i] for i in members if found.asked], group)
    return Planned(model, chat, config, device, found, group, shown, guide, taught)


def _phases(run: Planned) -> list[Phase]:
    """Those of a run in the order in which they come, but for what SFT samples before it learns."""
    config, fixed = run.config, _fixed(run)
    phases = [_learning(run, fixed)]
    if run.shown:
        phases.append(_showing(run, fixed))
    if run.halved:
        phases.append(_mixing(run, fixed))
    phases.append(_step(run, fixed))
    if run.taught and isinstance(config, DistilConfig) and config.distillation_mode == "sampled_token":
        phases.insert(0, _teaching(run, fixed))
    if isinstance(config, RLConfig):
        more = config.resample * config.episodes  # drawn and not learned from
        pictures = fixed["pictures"] + _pixels(run.chat, run.device, run.found.sampled, more)
        asked = (run.model, run.chat, config, run.found.sampled, min(config.batch_size, config.episodes))
        phases.insert(0, _sampling(*asked, fixed | {"pictures": pictures}))
    return phases


def _largest(told: Sequence[Trajectory], config: SFTConfig | RLConfig) -> list[int]:
    """Which conversations make the pass with the most padded tokens: those that are dealt into one may be the longest
    of all."""
    if isinstance(config, RLConfig):
        size, most = max(1, config.episodes // config.minibatches), config.max_pictures
        size = -(-size // 2) if config.sft_mix == "noise" else size
    else:
        size, most = min(config.micro_batch, config.batch), sum(len(t.pictures) for t in told) * config.batch
    longest_first = sorted(range(len(told)), key=lambda i: -len(told[i].ids))
    drawn = [longest_first[i % len(told)] for i in range(size)]
    groups = groups_of([told[i] for i in drawn], config.max_tokens, most)
    return [drawn[i] for i in max(groups, key=lambda group: len(group) * len(told[drawn[group[0]]].ids))]


def _guide(
    model: PreTrainedModel, chat: Chat, config: SFTConfig | RLConfig, teacher: PreTrainedModel | None
) -> Guide | None:
    if not isinstance(config, DistilConfig):
        return None
    start = start_of(model, replace(config, reference="device"))  # there is nothing to write to a disk
    return guide_of(config, Pupil(model, start, chat, None, Account(model, chat.eye)), teacher)


def _told(guide: Guide | None, asked: Sequence[Asked], group: Sequence[Trajectory]) -> list[Told]:
    if guide is None or guide.teacher is None:
        return []
    return [guide.teacher.told(one, trajectory) for one, trajectory in zip(asked, group, strict=True)]


def _outgrown(run: Planned) -> str:
    """What the checks of a run would say of its longest conversations."""
    learned, shown = ([len(t.ids) for t in some] for some in (run.found.learned, run.found.shown))
    lessons = isinstance(run.config, SFTConfig)
    said = outgrown(run.model, learned, "lessons") if lessons else outgrown(run.model, shown, "demonstrations")
    if run.guide is None or not isinstance(run.guide.teacher, ModelTeacher):
        return said
    return said or outgrown(run.guide.teacher.model, [len(one.trajectory.ids) for one in run.taught], "teaching")


def _tokens(run: Planned) -> TokenCount:
    """What `Account` would count, and what SFT counts."""
    config, found = run.config, run.found
    told = found.learned
    account = Account(run.model, run.chat.eye)
    if isinstance(config, SFTConfig):
        account.trained(told)
        learned, account.tokens = _scaled(account.tokens, config.steps * config.batch / len(told)), TokenCount()
        account.passed(found.sampled, 1)
        read = _scaled(account.tokens, found.each * used(config) / max(1, len(found.sampled)))
        again = learned if config.loss in LAGGING else TokenCount()
        return learned + read + TokenCount(0, again.trained, 0, again.patches_trained + again.patches_forward)
    each, epochs = config.episodes / len(told), max(0, config.updates - config.value_only) * config.epochs
    account.passed(told, 3 if config.critic or config.importance_sampling_cap is not None else 2)
    account.passed(told, 1, config.resample)
    if run.taught and run.guide is not None and run.guide.teacher is not None:
        account.passed([one.trajectory for one in run.taught], 1, run.guide.teacher.share * len(told) / len(run.taught))
    read, account.tokens = _scaled(account.tokens, config.updates * each), TokenCount()
    account.trained(told)
    learned, account.tokens = _scaled(account.tokens, epochs * each), TokenCount()
    account.trained(found.shown)  # each problem once a mini-batch
    problems = min(config.episodes, config.episodes // config.group * config.minibatches)
    return read + learned + _scaled(account.tokens, epochs * problems / max(1, len(found.shown)))


def _scaled(tokens: TokenCount, factor: float) -> TokenCount:
    return TokenCount(*(round(count * factor) for count in astuple(tokens)))


def _fixed(run: Planned) -> dict[str, int]:
    """Bytes that are there as long as the run is."""
    model, config, teacher = run.model, run.config, run.guide and run.guide.teacher
    heads = list(ValueHead(model).parameters()) if isinstance(config, RLConfig) and config.critic else []
    copies = isinstance(config, RLConfig) and not config.lora_rank
    here = isinstance(config, RLConfig) and config.reference in ("device", run.device)
    lags = isinstance(config, SFTConfig) and config.loss in LAGGING
    learning = sum(p.nbytes for p in run.learning)
    of_teacher = learning if isinstance(teacher, MovingTeacher) else 0
    if isinstance(teacher, ModelTeacher) and teacher.model is not model:
        of_teacher = sum(p.nbytes for p in teacher.model.parameters())
    return {
        "weights": sum(p.nbytes for p in [*model.parameters(), *model.buffers(), *heads]),
        "reference": learning if lags or (copies and (here or isinstance(teacher, StartTeacher))) else 0,
        "teacher": of_teacher,
        "optimiser": sum(
            (2 if config.adam_8bit and p.numel() >= 4096 else 8) * p.numel() for p in [*run.learning, *heads]
        ),
        "pictures": _pictures(run),
    }


def _pictures(run: Planned) -> int:
    """Bytes of the pictures of an update or a step, and of what is kept of them."""
    eye, config, told = run.chat.eye, run.config, run.found.learned
    count = config.episodes if isinstance(config, RLConfig) else config.batch
    kept = bytes_of_features(run.model, eye, told, count) if eye is not None and run.known else 0
    return _pixels(run.chat, run.device, told, count) + kept


def _pixels(chat: Chat, device: str, told: Sequence[Trajectory], count: int) -> int:
    """Bytes of the pictures of so many conversations like these, which are in the memory of the CPU."""
    return round(bytes_of_pixels(told) * count) if chat.eye is not None and device == "cpu" else 0


def _footprint(model: PreTrainedModel, part: str) -> Footprint:
    """One in which models are counted already."""
    footprint = Footprint(model.get_output_embeddings().weight.shape, part)
    for tensor in (*model.parameters(), *model.buffers()):
        footprint.hold(tensor, "weights")
    return footprint


def _phase(name: str, footprint: Footprint, fixed: dict[str, int]) -> Phase:
    return Phase(name, {part: fixed.get(part, footprint.peak.get(part, 0)) for part in PARTS})


def _learning(run: Planned, fixed: dict[str, int]) -> Phase:
    """Two passes of a group, whose gradients add up."""
    return _passes(run, "learning", run.group, run.taught, fixed, halves=1)


def _showing(run: Planned, fixed: dict[str, int]) -> Phase:
    """The same over what the expert says."""
    return _passes(run, "showing", run.shown, [], fixed, halves=3)


def _passes(
    run: Planned, name: str, group: Sequence[Trajectory], taught: Sequence[Told], fixed: dict[str, int], halves: int
) -> Phase:
    """halves: gradients of halves of a mini-batch that are kept meanwhile, where any are."""
    config = run.config
    temperature = config.temperature if isinstance(config, RLConfig) else 1.0
    entropy_learns = isinstance(config, RLConfig) and config.entropy_coef > 0
    known = looked_at(run.model, run.chat.eye, group) if run.chat.eye is not None and run.known else None
    how = (known, temperature, entropy_learns, Thrift(config.bf16, config.gradient_checkpointing))
    diverges = taught if isinstance(config, DistilConfig) and config.distillation_mode == "full_logits" else []
    with _footprint(run.model, "activations") as footprint, footprint.gradients_of(run.learning):
        for _ in range(2):
            result = forward(run.model, group, run.chat.eye, *how)
            loss = result.logprobs.sum() + result.entropy.sum() + result.states.sum()
            if diverges and run.guide is not None:
                loss = loss + run.guide.loss(diverges, result.before, torch.zeros_like(result.logprobs)).sum()
            loss.backward()
            del result, loss
    for parameter in run.learning:
        parameter.grad = None
    phase = _phase(name, footprint, fixed)
    kept = halves * sum(p.nbytes for p in run.learning) if run.halved else 0
    return Phase(name, phase.parts | {"gradients": phase.parts["gradients"] + kept})


def _mixing(run: Planned, fixed: dict[str, int]) -> Phase:
    """Four gradients of halves give a fifth, or differences of the same size, which are squared in double precision."""
    sizes = [p.nbytes for p in run.learning]
    return _counted("mixing", fixed, {"gradients": 5 * sum(sizes), "activations": 4 * max(sizes)})


@torch.no_grad()
def _teaching(run: Planned, fixed: dict[str, int]) -> Phase:
    """A teacher reads the group, and says how likely its tokens are."""
    assert run.guide is not None
    assert run.guide.teacher is not None
    with _footprint(run.model, "activations") as footprint:
        scores = run.guide.teacher.scores(run.taught)
        scores.logprobs(chunks(run.model, len(scores.known))[0])
    return _phase("teaching", footprint, fixed)


def _step(run: Planned, fixed: dict[str, int]) -> Phase:
    """Adam divides the first moment by the root of the second, of one parameter at a time or (GPU) of all at once. The
    halves of a mini-batch of RL are still there."""
    sizes = [p.nbytes for p in run.learning]
    passing = sum(sizes) if run.device == "cuda" else 2 * max(sizes)
    return _counted("step", fixed, {"gradients": (3 if run.halved else 1) * sum(sizes), "activations": passing})


def _counted(name: str, fixed: dict[str, int], found: dict[str, int]) -> Phase:
    return Phase(name, {part: fixed.get(part, found.get(part, 0)) for part in PARTS})


def _start_sampling(model: PreTrainedModel, chat: Chat, config: SFTConfig, found: Longest, device: str) -> Phase:
    """What SFT has the start model say, before anything in it is made to learn."""
    count = found.each * min(config.batch_size, used(config))
    fixed = {
        "weights": sum(p.nbytes for p in [*model.parameters(), *model.buffers()]),
        "pictures": _pixels(chat, device, found.sampled, count),
    }
    return _sampling(model, chat, config, found.sampled, min(config.batch_size, count), fixed)


@torch.inference_mode()
def _sampling(
    model: PreTrainedModel,
    chat: Chat,
    config: SFTConfig | RLConfig,
    told: Sequence[Trajectory],
    rows: int,
    fixed: dict[str, int],
) -> Phase:
    """Prompts are read and a reply begins; later the last of the longest conversations does. A tower that looks is not
    what samples: what it takes are activations."""
    eye, most = chat.eye, max(len(t.ids) for t in told)
    prompt = min(max(t.states[0] + 1 for t in told), most - 1)
    with _footprint(model, "sampler") as footprint:
        dtype = rollout_dtype(config) if isinstance(config, RLConfig) else None
        sampler = model if dtype in (None, model.dtype) else sampler_of(model, dtype)
        forward_ = forward_of(sampler)
        window = Window.empty(forward_.new_cache(rows), rows, sampler.dtype, sampler.device)
        some = columns_at_once(sampler, rows, most)
        later = [t for t in told if len(t.states) > 1]
        for width, shown in ((prompt, told), (most - prompt, later)):
            footprint.part = "activations"
            view = seen_first(sampler, eye, shown, rows, width) if eye is not None and shown else None
            footprint.part = "sampler"
            for first in range(0, width, some):
                count = min(some, width - first)
                new = torch.ones(rows, count, dtype=torch.bool)
                position, mask = window.extend(new)
                ids = torch.zeros(rows, count, dtype=torch.long)
                logits = forward_(ids, position, mask, window.cache, view and view.columns(first, first + count))
            del view
        (logits / config.temperature).softmax(-1).cumsum(-1, dtype=torch.float64)
    return _phase("sampling", footprint, fixed)
