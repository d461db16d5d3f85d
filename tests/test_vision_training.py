"""PPO and SFT on pictures, for every family: what learns, what is scored, the same numbers again, and adapters."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor

from engine_helpers import RANDOM
from helpers import EchoTask, expert_conversation, new_rl, same_weights, tiny_chat, tiny_model, weights_of
from ruleshift.backbones import vision
from ruleshift.backbones.load import load_backbone
from ruleshift.backbones.lora import has_lora, without_lora
from ruleshift.backbones.save import save_model
from ruleshift.backbones.vision import patches, view_of
from ruleshift.engines.local import LocalEngine
from ruleshift.errors import RuleshiftError
from ruleshift.revision import revise
from ruleshift.runs import RunFolder
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.training import sft
from ruleshift.training.accounting import Sizes, TokenCount
from ruleshift.training.batching import pack
from ruleshift.training.parts import part_of
from ruleshift.training.rl import RL, train_rl
from ruleshift.training.sft import train_sft
from ruleshift.training.trajectories import Trajectory, evaluate_tokens, forward
from vision_helpers import BUILDERS, FAMILIES, HAS_VIDEOS, LookTask, shared, shows

TASK = LookTask()
ALL = ("tower", "projector", "decoder")
SMALL_PPO = RLConfig(
    entropy_coef=0.01,  # by which the model moves where all episodes earn the same
    updates=3,
    episodes=4,
    turns=1,
    max_new_tokens=4,
    learning_rate=1e-3,
    warmup=0,
    value_only=0,
    value_steps=2,
    minibatches=2,
    max_tokens=120,
    max_pictures=3,
    kl_coef=0.1,
    target_kl=None,
    save_every=1,
)
SMALL_SFT = SFTConfig(
    steps=2, examples=4, batch=4, micro_batch=2, learning_rate=1e-2, schedule="constant", warmup_share=0.0, save_every=2
)
WANTS_VIDEOS = ("smolvlm", "qwen2_5_vl", "qwen3_vl")


pytestmark = pytest.mark.usefixtures("on_one_thread")


def changed_parts(model, before: dict[str, torch.Tensor]) -> set[str]:
    return {part_of(model, name) for name, now in model.named_parameters() if not torch.equal(now, before[name])}


def new_ppo(config: RLConfig = SMALL_PPO, family: str = "idefics3") -> RL:
    model, chat = BUILDERS[family]()
    return new_rl(model, chat, TASK, "full", config)


def train(path: Path, config: SFTConfig = SMALL_SFT, family: str = "idefics3", **more):
    model, chat = BUILDERS[family]()
    with RunFolder.open(path, config) as run:
        train_sft(model, chat, TASK, "full", config, run, **more)
    return model


# What learns


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("parts", [("tower",), ("projector", "decoder")])
def test_an_update_changes_the_chosen_parts_and_no_others(family, parts):
    ppo = new_ppo(replace(SMALL_PPO, train_parts=parts), family)
    before = weights_of(ppo.learner.model)
    metrics = ppo.update()
    assert changed_parts(ppo.learner.model, before) == set(parts)
    with ppo.learner.as_at_start():
        assert same_weights(ppo.learner.model, before)
    assert metrics["approx_kl"] < 0.05
    assert metrics["kl_to_start"] < 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_sft_changes_the_chosen_parts_and_no_others(family, tmp_path):
    before = weights_of(BUILDERS[family]()[0])
    model = train(tmp_path, replace(SMALL_SFT, steps=1, train_parts=("projector",)), family)
    assert changed_parts(model, before) == {"projector"}


def test_nothing_that_learns_is_refused():
    with pytest.raises(RuleshiftError, match="--train-parts must name at least one"):
        new_ppo(replace(SMALL_PPO, train_parts=()))


def test_weights_in_half_precision_are_refused_and_adapters_beside_them_learn_from_small_steps():
    model, chat = BUILDERS["idefics3"]()
    with pytest.raises(RuleshiftError, match="bfloat16 would round small steps away: load the model with dtype="):
        new_rl(model.bfloat16(), chat, TASK, "full", SMALL_PPO)
    ppo = new_rl(model, chat, TASK, "full", replace(SMALL_PPO, lora_rank=2, learning_rate=1e-6, warmup=0))
    before = [p.detach().clone() for p in ppo.learner.trained]
    ppo.update()
    moved = [(now != old).float().mean() for now, old in zip(ppo.learner.trained, before, strict=True)]
    assert {p.dtype for p in ppo.learner.trained} == {torch.float32}
    assert torch.stack(moved).mean() > 0.9
    with pytest.raises(RuleshiftError, match="has adapters already"):
        new_rl(model, chat, TASK, "full", SMALL_PPO)


def test_all_parts_learn_if_nothing_is_said(tmp_path):
    before = weights_of(BUILDERS["qwen3_vl"]()[0])
    model = train(tmp_path, replace(SMALL_SFT, steps=1), "qwen3_vl")
    assert changed_parts(model, before) == set(ALL)


def test_features_are_computed_once_an_update_where_the_tower_stays(monkeypatch):
    looked: list[int] = []
    original = vision._features

    def counted(model, inputs):
        found = original(model, inputs)
        looked.append(len(found))
        return found

    monkeypatch.setattr(vision, "_features", counted)

    def looks(parts) -> int:
        looked.clear()
        new_ppo(replace(SMALL_PPO, train_parts=parts)).update()
        return sum(looked)

    pictures = 2 * SMALL_PPO.episodes
    assert looks(("decoder",)) == 2 * pictures  # by the engine, and in the update
    assert looks(("projector", "decoder")) == 4 * pictures  # by the engine, for values, by the reference, to learn


# What is scored and counted


def test_the_first_loss_of_sft_is_the_mean_cross_entropy_of_replies(tmp_path):
    model, chat = shared("idefics3")
    losses = []
    for index in range(4):
        row = expert_conversation(chat, TASK, "full", "train", 0, index)
        inputs = dict(chat.eye.inputs(row.pictures[:1]))  # both 28 x 28 after resizing
        second = chat.eye.inputs(row.pictures[1:])
        inputs = {name: torch.cat([value, second[name]], dim=1) for name, value in inputs.items()}
        with torch.no_grad():
            table = model(input_ids=torch.tensor([row.token_ids]), **inputs).logits[0].log_softmax(-1)
        losses += [-float(table[p - 1, row.token_ids[p]]) for p, learned in enumerate(row.reply_mask) if learned]
    train(tmp_path)
    first, second = RunFolder(tmp_path).read_metrics()
    assert first["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert second["loss"] < first["loss"]


def test_tokens_and_patches_are_counted(tmp_path):
    model, chat = shared("idefics3")
    rows = [expert_conversation(chat, TASK, "full", "train", 0, index) for index in range(4)]
    tokens = sum(len(row.token_ids) for row in rows)
    seen = sum(patches(model, chat.eye, row.pictures) for row in rows)
    assert seen == 8 * 16
    counts: list[TokenCount] = []
    train(tmp_path, at=(1, 2), evaluate=lambda step, count: counts.append(count))
    assert counts == [TokenCount(step * tokens, 0, step * seen, 0) for step in (1, 2)]
    sizes = Sizes.of(model)
    assert sizes.decoder + sizes.tower == sum(p.numel() for p in model.parameters())
    assert counts[0].flops(sizes) == 6 * sizes.decoder * tokens + 6 * sizes.tower * seen
    ppo = new_ppo(replace(SMALL_PPO, train_parts=("decoder",)))
    ppo.update()
    assert (ppo.learner.account.tokens.patches_trained, ppo.learner.account.tokens.patches_forward) == (0, 2 * seen)


def test_padding_and_its_tokens_change_nothing():
    model, chat = shared("qwen3_vl")
    episodes = revise(shows(4), LocalEngine(model, chat, replace(RANDOM, max_new_tokens=5)), turns=3)
    trajectories = [Trajectory.of(episode) for episode in episodes]
    assert len({len(t.ids) for t in trajectories}) > 2
    alone = [forward(model, [t], chat.eye).logprobs for t in trajectories]
    torch.testing.assert_close(forward(model, trajectories, chat.eye).logprobs, torch.cat(alone), atol=1e-4, rtol=0)
    ids = torch.tensor([[*trajectories[0].ids, chat.eye.token_id, chat.eye.token_id]])
    given = torch.ones_like(ids, dtype=torch.bool)
    given[:, -2:] = False
    given[:, list(trajectories[0].positions)] = False
    view = view_of(model, chat.eye, ids, given, [trajectories[0].pictures])
    assert (view.index[0, -2:] == -1).all()
    with pytest.raises(RuleshiftError, match="do not belong together"):
        view_of(model, chat.eye, ids, torch.ones_like(given), [trajectories[0].pictures])


def test_features_are_remembered_as_long_as_there_is_room():
    model, chat = shared("qwen3_vl")
    pictures = [picture for problem in shows(4) for message in problem.context() for picture in message.pictures]
    distinct = list(dict.fromkeys(pictures))
    assert len(distinct) > 2
    seen = vision.features(model, chat.eye, distinct)

    def size(some) -> int:
        return sum(one.tokens.nbytes + sum(level.nbytes for level in one.deep) for one in some)

    known = vision.Known(size(seen) // 2)
    again = vision.features(model, chat.eye, distinct, known)
    assert known.features
    assert size(known.features.values()) <= size(seen) // 2
    for one, other, third in zip(seen, again, vision.features(model, chat.eye, distinct, known), strict=True):
        torch.testing.assert_close((one.tokens, other.tokens), (other.tokens, third.tokens))


def test_a_pass_holds_no_more_pictures_than_are_allowed():
    assert pack([5, 5, 5, 5], 100, [1, 2, 1, 5], 3) == [[0, 1], [2], [3]]
    assert pack([5, 5, 5, 5], 100) == [[0, 1, 2, 3]]


# The same numbers again


def results(run: Path) -> tuple[bytes, bytes]:
    last = RunFolder(run).latest_checkpoint()
    return (run / "metrics.jsonl").read_bytes(), (last.path / "policy.safetensors").read_bytes()


class StopHereError(Exception):
    pass


def stop_at(step: int) -> Callable[[int, dict[str, float]], None]:
    def progress(done: int, metrics: dict[str, float]) -> None:
        if done == step:
            raise StopHereError

    return progress


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_ppo_goes_on_where_it_was_to_the_same_bytes(tmp_path, lora_rank):
    config = replace(SMALL_PPO, save_every=2, updates=4, lora_rank=lora_rank)

    def run_in(path: Path, progress=None) -> None:
        with RunFolder.open(path, config) as run:
            train_rl(new_ppo(config), run, progress=progress)

    run_in(tmp_path / "unbroken")
    with pytest.raises(StopHereError):
        run_in(tmp_path / "broken", stop_at(3))
    run_in(tmp_path / "broken")
    assert results(tmp_path / "broken") == results(tmp_path / "unbroken")


@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_sft_goes_on_where_it_was_to_the_same_bytes(tmp_path, family, lora_rank):
    config = replace(SMALL_SFT, steps=4, examples=6, lora_rank=lora_rank)
    unbroken = train(tmp_path / "unbroken", config, family)
    with pytest.raises(StopHereError):
        train(tmp_path / "broken", config, family, progress=stop_at(3))
    resumed = train(tmp_path / "broken", config, family)
    assert same_weights(resumed, weights_of(unbroken))
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("broken", "unbroken")]
    assert lines[0] == lines[1]


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    with pytest.raises(StopHereError):
        train(tmp_path, replace(SMALL_SFT, steps=4), progress=stop_at(3))
    (file,) = tmp_path.glob("checkpoints/step-000002/model.safetensors")
    weights = load_file(file)
    weights.pop("model.text_model.norm.weight")
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(RuleshiftError, match="lacks 1 of the model's weights and has 0 of others"):
        train(tmp_path, replace(SMALL_SFT, steps=4))


def test_one_of_several_gpus_is_used(tmp_path, monkeypatch):
    prepare = sft.TrlConfig.__post_init__

    def with_two(self) -> None:
        prepare(self)
        self._n_gpu = 2

    monkeypatch.setattr(sft.TrlConfig, "__post_init__", with_two)
    before = weights_of(BUILDERS["idefics3"]()[0])
    assert changed_parts(train(tmp_path, replace(SMALL_SFT, steps=1)), before) == set(ALL)


# Saving and loading


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_sees_the_same(family, tmp_path):
    if family in WANTS_VIDEOS and not HAS_VIDEOS:
        pytest.skip("its processor wants a video processor, and those of transformers want torchvision")
    model, chat = shared(family)
    save_model(model, chat.source, tmp_path / "model")
    loaded = load_backbone(str(tmp_path / "model"), device="cpu", pictures=True)
    assert type(loaded.chat.source) is type(chat.source)
    old, new = (
        revise(shows(), LocalEngine(m, c, RANDOM), turns=3) for m, c in ((model, chat), (loaded.model, loaded.chat))
    )
    assert [episode.token_ids for episode in old] == [episode.token_ids for episode in new]


def test_an_older_folder_of_llava_sees_the_same(tmp_path):
    model, chat = shared("llava")
    save_model(model, chat.source, tmp_path / "model")
    file = tmp_path / "model" / "processor_config.json"
    said = json.loads(file.read_text())
    for name in ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens"):
        del said[name]
    file.write_text(json.dumps(said))
    loaded = load_backbone(str(tmp_path / "model"), device="cpu", pictures=True)
    prompt = shows()[0].context()
    assert loaded.chat.encode_prompt(prompt) == chat.encode_prompt(prompt)


def test_a_model_of_text_is_refused_where_pictures_are_shown(tmp_path):
    save_model(tiny_model(), tiny_chat().tokenizer, tmp_path / "text")
    with pytest.raises(
        RuleshiftError, match="is of no vision-language family known here, and this task shows pictures"
    ):
        load_backbone(str(tmp_path / "text"), device="cpu", pictures=True)
    with pytest.raises(RuleshiftError, match="reads text only, and this task shows pictures"):
        revise(shows(), LocalEngine(tiny_model(), tiny_chat(), RANDOM), turns=1)


def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    model, chat = shared("idefics3")
    save_model(model, chat.source, tmp_path / "model")

    def refuse(*arguments: object, **more: object) -> None:
        raise ImportError("Qwen2VLVideoProcessor requires the Torchvision library")

    monkeypatch.setattr(AutoProcessor, "from_pretrained", refuse)
    with pytest.raises(RuleshiftError, match=r"needs torchvision.*pip install 'ruleshift\[vision\]'"):
        load_backbone(str(tmp_path / "model"), device="cpu")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RuleshiftError, match=r"pip install 'ruleshift\[lora\]'"):
        new_ppo(replace(SMALL_PPO, lora_rank=2))


# Adapters


@pytest.mark.parametrize("family", ["text", "idefics3", "mllama"])
def test_adapters_learn_beside_a_model_that_stays(family, tmp_path):
    model, chat = (tiny_model(), tiny_chat()) if family == "text" else BUILDERS[family]()
    task = EchoTask() if family == "text" else TASK
    before = weights_of(model)
    ppo = new_rl(model, chat, task, "full", replace(SMALL_PPO, lora_rank=2, entropy_coef=0.1))
    assert has_lora(model)
    trajectories = [Trajectory.of(episode) for episode in ppo.rollout.collect(0)]
    start, _ = evaluate_tokens(model, trajectories, 200, chat.eye)
    ppo.update()
    kept = {name.replace(".base_layer.", "."): w for name, w in model.state_dict().items() if ".lora_" not in name}
    assert kept.keys() == before.keys()
    assert all(torch.equal(weight, before[name]) for name, weight in kept.items())
    now, _ = evaluate_tokens(model, trajectories, 200, chat.eye)
    assert any(not torch.equal(a, b) for a, b in zip(now, start, strict=True))
    with without_lora(model):
        off, _ = evaluate_tokens(model, trajectories, 200, chat.eye)
    torch.testing.assert_close(off, start, atol=1e-6, rtol=0)
    save_model(model, chat.source, tmp_path / "model")
    loaded = load_backbone(str(tmp_path / "model"), device="cpu", pictures=family != "text")
    assert not has_lora(loaded.model)
    merged, _ = evaluate_tokens(loaded.model, trajectories, 200, loaded.chat.eye)
    torch.testing.assert_close(merged, now, atol=1e-5, rtol=0)


def test_sft_with_adapters_goes_on_where_it_was(tmp_path):
    config = replace(SMALL_SFT, steps=4, lora_rank=2)
    unbroken = train(tmp_path / "unbroken", config)
    assert has_lora(unbroken)
    with pytest.raises(StopHereError):
        train(tmp_path / "broken", config, progress=stop_at(3))
    resumed = train(tmp_path / "broken", config)
    assert same_weights(resumed, weights_of(unbroken))
    first = weights_of(BUILDERS["idefics3"]()[0])
    kept = {name.replace(".base_layer.", "."): w for name, w in resumed.state_dict().items() if ".lora_" not in name}
    assert all(torch.equal(weight, first[name]) for name, weight in kept.items())
