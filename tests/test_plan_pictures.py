"""What plans foretell of tasks in pictures, and what the same passes take on real tensors, by family of models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from transformers import PreTrainedModel

from helpers import new_rl
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.vision import Known, features, patches
from ruleshift.chat import Chat
from ruleshift.records import Verdict
from ruleshift.settings import Part, RLConfig
from ruleshift.sight import Eye
from ruleshift.tasks import get_task
from ruleshift.training.footprint import Footprint, Shapes, weightless
from ruleshift.training.longest import Longest
from ruleshift.training.parts import choose
from ruleshift.training.plan import Forecast, forecast
from ruleshift.training.plan_pictures import apart
from ruleshift.training.sft_lessons import demonstration
from ruleshift.training.trajectories import Thrift, Trajectory, forward
from vision_helpers import BUILDERS, FAMILIES, Look, LookTask, shared

RL = RLConfig(updates=2, episodes=8, minibatches=1, max_new_tokens=8, turns=1, value_only=0)
WHOLE: tuple[Part, ...] = ("tower", "projector", "decoder")
PARTS: list[tuple[Part, ...]] = [WHOLE, ("decoder",)]
SOME = ("idefics3", "mllama", "qwen3_vl")  # families that differ the most
SAMPLING = ("activations", "logits", "cache", "sampler")  # parts of what is made to sample

pytestmark = pytest.mark.usefixtures("on_one_thread")


@dataclass
class Glance(Look):
    """The first step of three alone."""

    def submit(self, reply: str, last: bool) -> Verdict:
        return replace(super().submit(reply, last), ended=True, advanced=False, pictures=())


class GlanceTask(LookTask):
    """Pictures of one size, which are all looked at at once."""

    def problem(self, split: str, seed: int, index: int, style: str = "full") -> Glance:
        return Glance(f"{split}-{seed}-{index}", 2 * index)


def demonstrations(chat: Chat, count: int = 8) -> list[Trajectory]:
    return [demonstration(chat, LookTask().problem("train", 0, i), 1) for i in range(count)]


def foretold(family: str, told: Sequence[Trajectory], monkeypatch: pytest.MonkeyPatch, **changes: object) -> Forecast:
    """The plan of a run whose conversations are these."""
    monkeypatch.setattr("ruleshift.training.plan.longest", lambda *_: Longest(told, told))
    model, chat = BUILDERS[family]()
    return forecast(model.to("meta"), chat, LookTask(), "terse", replace(RL, **changes))


def held(model: PreTrainedModel, part: str = "activations") -> Footprint:
    footprint = Footprint(model.get_output_embeddings().weight.shape, part)
    for tensor in (*model.parameters(), *model.buffers()):
        footprint.hold(tensor, "weights")
    return footprint


@torch.no_grad()
def known_of(model: PreTrainedModel, eye: Eye, group: Sequence[Trajectory]) -> Known:
    """Features of all pictures of a group."""
    known = Known()
    features(model, eye, [picture for t in group for picture in t.pictures], known)
    return known


def taken(
    model: PreTrainedModel, eye: Eye, group: Sequence[Trajectory], parts: tuple[Part, ...], recompute: bool
) -> dict[str, int]:
    """The peak of two passes that learn, whose gradients add up, on real tensors."""
    choose(model, parts, 0, 0)
    known = None if "tower" in parts else known_of(model, eye, group)
    learning = [p for p in model.parameters() if p.requires_grad]
    with held(model) as footprint, footprint.gradients_of(learning):
        for _ in range(2):
            result = forward(model, group, eye, known, thrift=Thrift(recompute=recompute))
            (result.logprobs.sum() + result.entropy.sum() + result.states.sum()).backward()
            del result
    return dict(footprint.peak)


def sampled(family: str, task: LookTask) -> tuple[list[Trajectory], int]:
    """What a real engine samples in an update, and the peak of what it makes for that."""
    model, chat = BUILDERS[family]()
    rl = new_rl(model, chat, task, "terse", RL)
    with held(model, "sampler") as footprint:
        episodes = rl.collect()[0]
    return [Trajectory.of(episode) for episode in episodes], sum(footprint.peak.get(part, 0) for part in SAMPLING)


@pytest.mark.parametrize(
    ("family", "parts", "recompute"),
    [*((family, parts, False) for family in FAMILIES for parts in PARTS), *((f, WHOLE, True) for f in SOME)],
)
def test_planned_passes_over_pictures_take_what_real_ones_take(family, parts, recompute, monkeypatch):
    model, chat = BUILDERS[family]()
    group = demonstrations(chat)
    changes = {"train_parts": parts, "gradient_checkpointing": recompute}
    learning = foretold(family, group, monkeypatch, **changes).phases[1].parts
    real = taken(model, chat.eye, group, parts, recompute)
    for part in ("activations", "gradients"):
        assert learning[part] == pytest.approx(real[part], rel=0.001)
    assert learning["logits"] == real.get("logits", 0)


@pytest.mark.parametrize("parts", PARTS)
def test_so_do_those_over_pictures_of_walks(parts, monkeypatch):
    """With the bundled model, whose tower looks at some of a group's pictures at once."""
    found, blank = (load_backbone("bundled", device, pictures=True) for device in ("cpu", "meta"))
    walk = get_task("virl-vl").problem("train", 0, 0, found.style)
    group = 2 * [demonstration(found.chat, walk, 1)]
    monkeypatch.setattr("ruleshift.backbones.vision.PICTURES_AT_ONCE", 16)
    assert sum(len(t.pictures) for t in group) > 16
    monkeypatch.setattr("ruleshift.training.plan.longest", lambda *_: Longest(group, group))
    config = replace(RL, episodes=2, max_tokens=10**4, train_parts=parts)
    learning = forecast(blank.model, blank.chat, get_task("virl-vl"), found.style, config).phases[1].parts
    real = taken(found.model, found.chat.eye, [apart(t) for t in group], parts, recompute=False)
    assert learning["activations"] == pytest.approx(real["activations"], rel=0.001)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_with_pictures_take_what_is_foretold_of_sampling(family, monkeypatch):
    told, real = sampled(family, GlanceTask())
    sampling = foretold(family, told, monkeypatch).phases[0]
    assert sampling.name == "sampling"
    assert sum(sampling.parts[part] for part in SAMPLING) == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("family", SOME)
def test_replies_after_more_pictures_take_no_more_than_is_foretold(family, monkeypatch):
    told, real = sampled(family, LookTask())
    sampling = foretold(family, told, monkeypatch).phases[0]
    assert sum(sampling.parts[part] for part in SAMPLING) >= real


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plan_counts_the_patches_that_towers_process_and_the_features_that_are_kept(family, monkeypatch):
    model, chat = BUILDERS[family]()
    group, counted = demonstrations(chat), []
    flat = [picture for t in group for picture in t.pictures]
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    first.register_forward_hook(lambda module, given, made: counted.append(made.numel() // module.out_channels))
    with torch.no_grad():
        forward(model, group, chat.eye)
    looked = sum(counted)
    assert looked == patches(model, chat.eye, flat)
    whole, frozen = (foretold(family, group, monkeypatch, train_parts=parts) for parts in PARTS)
    assert whole.tokens.patches_trained == RL.updates * looked
    assert whole.tokens.patches_forward == 3 * RL.updates * looked
    assert frozen.tokens.patches_trained == 0
    assert frozen.tokens.patches_forward == 2 * RL.updates * looked  # to sample, and once for all passes
    pixels = sum(len(picture.pixels) for picture in flat)
    assert whole.phases[-1].parts["pictures"] == pixels
    seen = known_of(model, chat.eye, group).features.values()
    kept = sum(part.nbytes for one in seen for part in (one.tokens, *one.deep))  # those for the first layers among them
    assert frozen.phases[-1].parts["pictures"] == pixels + kept


def test_every_picture_counts_as_one_not_seen_before(monkeypatch):
    chat = shared("idefics3")[1]
    group = demonstrations(chat)
    same, others = 8 * group[:1], [apart(t) for t in 8 * group[:1]]
    assert len({picture for t in others for picture in t.pictures}) == 8 * len(group[0].pictures)
    again, apiece = (foretold("idefics3", told, monkeypatch).phases[1].parts for told in (same, others))
    assert again == apiece


def test_a_plan_of_a_task_in_pictures_is_made_without_weights():
    found = load_backbone("bundled", "meta", pictures=True)
    plan = forecast(found.model, found.chat, get_task("gp-vl"), found.style, RL)
    assert all(isinstance(parameter, FakeTensor) for parameter in found.model.parameters())
    assert [phase.name for phase in plan.phases] == ["sampling", "learning", "step"]
    assert plan.tokens.patches_trained == RL.updates * RL.episodes * 144  # of 192 pixels a side


def test_what_no_weight_takes_part_in_keeps_its_numbers():
    layer = nn.Linear(3, 3, device="meta")
    with Shapes():
        weightless(layer, torch.device("cpu"))
        ids = torch.arange(6) % torch.tensor([2])
        mask = torch.where(ids == 1, ids, -1) >= 0
        assert mask.tolist() == [False, True] * 3
        states = layer(torch.empty(6, 3))
        assert isinstance(states, FakeTensor)
        assert states[mask].shape == (3, 3)
        states[mask].sum().backward()
        pixels = torch.tensor([0.0, 0.5])
        assert (pixels / 2).tolist() == [0.0, 0.25]
        assert isinstance(mask.float(), FakeTensor)  # masks of attention, which can be large
        assert isinstance(layer.weight.grad, FakeTensor)
