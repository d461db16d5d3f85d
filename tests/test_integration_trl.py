"""TRL: rewards, the environment and the rollouts give the verdicts of our own loop; GRPO and RLOO learn."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from integration_helpers import PLACES, episode, replies, run_example
from ruleshift import RuleshiftError, load_backbone, revise
from ruleshift.engines.local import LocalEngine
from ruleshift.engines.protocol import Sampling
from ruleshift.integrations import trl
from ruleshift.integrations.places import ProblemRef, options_text
from ruleshift.pictures import pixels_of

SMALL = ProblemRef("gp-l", "train", style="terse", turns=3)


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_the_reward_of_a_first_reply_is_the_verdict_on_it(place: ProblemRef, pattern: str) -> None:
    first = episode(place, pattern).turns[0]
    row = {name: [value, value] for name, value in place.row().items()}
    said = [first.completion.text, [{"role": "assistant", "content": first.completion.text}]]
    assert trl.reward(completions=said, prompts=None, trainer_state=None, **row) == [first.verdict.reward] * 2
    assert trl.solved(completions=said, **row) == [float(first.verdict.solved or first.verdict.advanced)] * 2


@pytest.mark.parametrize(("place", "pattern"), PLACES)
def test_the_environment_gives_the_verdicts_of_our_own_loop(place: ProblemRef, pattern: str) -> None:
    talk, env = episode(place, pattern), trl.ToolEnvironment()
    shown = env.reset(**place.row())
    assert shown == talk.messages[0].content or shown[-1]["text"] == talk.messages[0].content
    for turn, reply in zip(talk.turns, replies(talk), strict=True):
        assert env.submit_reply(reply) == turn.verdict.feedback
    assert env.get_reward() == talk.total_reward
    with pytest.raises(ValueError, match="has ended"):
        env.submit_reply("more")
    assert env.reset(prompt=[{"role": "user", "content": "as above"}], **place.row()) is None


@pytest.mark.slow
def test_tools_return_what_is_seen_next() -> None:
    place, env = ProblemRef("virl-vl", style="terse", options=options_text({"size": 32})), trl.ToolEnvironment()
    first, told = env.reset(**place.row())
    assert (first["type"], first["image"].size, told["type"]) == ("image", (32, 32), "text")
    problem = place.problem()
    verdict = problem.submit(problem.gold(), last=False)
    seen, told = env.submit_reply(place.problem().gold())
    assert np.array_equal(np.asarray(seen["image"]), pixels_of(verdict.pictures[0]))
    assert told["text"] == verdict.feedback


def test_who_never_answers_earns_what_an_empty_reply_earns() -> None:
    env = trl.ToolEnvironment()
    env.reset(**SMALL.row())
    assert env.get_reward() == SMALL.problem().submit("", last=True).reward < 0
    with pytest.raises(RuleshiftError, match="reset"):
        trl.ToolEnvironment().get_reward()


def test_the_tool_has_a_schema() -> None:
    from transformers.utils import get_json_schema

    schema = get_json_schema(trl.ToolEnvironment().submit_reply)["function"]
    assert schema["name"] == "submit_reply"
    assert schema["parameters"]["required"] == ["reply"]


def test_rollouts_are_our_own_conversations_token_for_token() -> None:
    backbone = load_backbone("bundled")
    tokenizer = backbone.chat.tokenizer
    data = trl.dataset(SMALL, 2, completions=False)
    prompts = [data[0]["prompt"], data[0]["prompt"], data[1]["prompt"]]
    accelerator = SimpleNamespace(unwrap_model=lambda model: model, num_processes=1, process_index=0)
    trainer = SimpleNamespace(
        model=backbone.model, processing_class=tokenizer, accelerator=accelerator, state=SimpleNamespace(global_step=4)
    )
    made = trl.Rollouts(data)(prompts, trainer)
    engine = LocalEngine(backbone.model, backbone.chat, Sampling(1.0, 80, 4), 3)
    problems = [SMALL.at(index).problem() for index in (0, 0, 1)]
    talks = revise(problems, engine, 3, samples=[0, 1, 0])
    assert made["episode_reward"] == [talk.total_reward for talk in talks]
    assert trl.episode_reward(**made) == made["episode_reward"]
    for number, talk in enumerate(talks):
        ids = made["prompt_ids"][number] + made["completion_ids"][number]
        assert ids == list(talk.token_ids)
        sampled = [token for turn in talk.turns for token in turn.completion.token_ids]
        kept = zip(made["completion_ids"][number], made["env_mask"][number], strict=True)
        assert [token for token, mask in kept if mask] == sampled
        assert len(made["logprobs"][number]) == len(made["completion_ids"][number])
    assert made["completion_ids"][0] != made["completion_ids"][1]


def test_rollouts_refuse_pictures() -> None:
    data = trl.dataset(ProblemRef("gp-vl", style="terse", options=options_text({"size": 32})), 1, completions=False)
    assert data[0]["images"][0].size == (32, 32)
    with pytest.raises(RuleshiftError, match="ToolEnvironment"):
        trl.Rollouts(data)


def spelling_tokenizer():
    """A tokenizer of bytes, with the chat template of Qwen 2.5, which has tools."""
    import trl as library
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    marks = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>"]
    spelled = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    spelled.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelled.decoder = decoders.ByteLevel()
    spelled.add_special_tokens(marks[:3])
    spelled.add_tokens(marks[3:])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=spelled, eos_token=marks[1], pad_token=marks[2])
    tokenizer.chat_template = (Path(library.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    return tokenizer


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_grpo_plays_the_environment_with_tool_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's own loop of tools and its update, with a model in whose mouth the calls are put."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    place = ProblemRef("gp-l", "rule-ood", 3, 0, "full", 3)
    talk, tokenizer = episode(place, "ncg"), spelling_tokenizer()
    calls = [{"name": "submit_reply", "arguments": {"reply": reply}} for reply in replies(talk)]
    script = [f"<tool_call>\n{json.dumps(call)}\n</tool_call><|im_end|>" for call in calls] + ["Done.<|im_end|>"]

    class Scripted(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids, *others, **options):
            texts = [self._tokenizer.decode(ids).partition("assistant\n")[2] for ids in prompt_ids]
            numbers = [text.count("</tool_response>") for text in texts]
            return [self._tokenizer(script[n], add_special_tokens=False)["input_ids"] for n in numbers], None

    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=8192, **size))
    model.save_pretrained(tmp_path / "model")
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=4096,
        max_steps=1,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
    )
    trainer = Scripted(
        str(tmp_path / "model"),
        args=config,
        processing_class=tokenizer,
        train_dataset=trl.dataset(place, 1, completions=False),
        environment_factory=trl.ToolEnvironment,
    )
    trainer.train()
    for environment in trainer.environments:
        assert environment._conversation.episode() == talk
    (logged,) = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert logged["reward"] == pytest.approx(talk.total_reward)
    assert logged["tools/call_frequency"] == len(talk.turns)
    assert logged["tools/failure_frequency"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trl_grpo.py", "trl_rloo.py", "trl_many_turns.py"])
def test_examples_learn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        means = [float(mean) for mean in run_example(name, 8).rpartition("step: ")[2].split()]
    assert len(means) == 8
    assert sum(means[-3:]) / 3 > sum(means[:2]) / 2 + 1.0
