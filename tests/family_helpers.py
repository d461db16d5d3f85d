"""Small random models of the families that users bring, each with a tokenizer trained here and a template like its
own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PhiConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto import AutoModelForCausalLM

from ruleshift.chat import Chat
from ruleshift.tasks import get_task
from ruleshift.tasks.protocol import TaskProblem

VOCABULARY = 400
WINDOW = 12  # tokens: far shorter than any conversation of `problems`
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
    "bos_token_id": None,
}
SLIDES = ["sliding_attention", "full_attention"]


def problems(count: int) -> list[TaskProblem]:
    """Cards and walks, whose prompts have very different lengths."""
    tasks = [get_task("gp-l"), get_task("virl-l")]
    return [tasks[i % 2].problem("id", 7, i, "terse") for i in range(count)]


@cache
def corpus() -> list[str]:
    return [message.content for problem in problems(12) for message in problem.context()]


def byte_level(special: Sequence[str]) -> Tokenizer:
    """BPE over bytes, as Llama 3, Qwen and SmolLM2 have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    kind = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(special), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus(), kind)
    return tokenizer


def sentence_pieces(special: Sequence[str]) -> Tokenizer:
    """BPE over characters with a mark for spaces and bytes to fall back on, as Gemma, Mistral and Phi-3 have it."""
    rest = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    kind = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[*special, "<unk>", *rest])
    tokenizer.train_from_iterator(corpus(), kind)
    return tokenizer


def turns(user: str, assistant: str, header: str) -> str:
    """A template: what is printed for messages (M) of either role, and where a reply is asked for."""
    printed = {"user": user, "assistant": assistant}
    branches = "".join(
        "{% if m.role == '" + role + "' %}" + text.replace("M", "{{ m.content }}") + "{% endif %}"
        for role, text in printed.items()
    )
    return "{% for m in messages %}" + branches + "{% endfor %}{% if add_generation_prompt %}" + header + "{% endif %}"


CHATML = turns("<|im_start|>user\nM<|im_end|>\n", "<|im_start|>assistant\nM<|im_end|>\n", "<|im_start|>assistant\n")
LLAMA_3 = turns("<|h|>user<|e|>\n\nM<|eot_id|>", "<|h|>assistant<|e|>\n\nM<|eot_id|>", "<|h|>assistant<|e|>\n\n")
GEMMA = turns(
    "<start_of_turn>user\nM<end_of_turn>\n", "<start_of_turn>model\nM<end_of_turn>\n", "<start_of_turn>model\n"
)
PHI_TOKENS = ("<|end|>", "<|user|>", "<|assistant|>")
PHI = turns("<|user|>\nM<|end|>\n", "<|assistant|>\nM<|end|>\n", "<|assistant|>\n")
MISTRAL = turns("[INST] M[/INST]", " M</s>", "")


@dataclass(frozen=True)
class Family:
    """`window` names the settings that make its layers look back so far only; empty where none does."""

    config: type
    tokenizer: Callable[[Sequence[str]], Tokenizer]
    template: str
    special: tuple[str, ...]  # the end of replies first
    shape: dict[str, Any]
    window: tuple[str, ...] = ()
    fused: bool = False


FAMILIES = {
    "llama": Family(
        LlamaConfig, byte_level, LLAMA_3, ("<|eot_id|>", "<|h|>", "<|e|>"), {"rope_theta": 500_000.0}, fused=True
    ),
    "smollm2": Family(  # SmolLM2-135M-Instruct's own, but for the numbers of layers and of tokens
        LlamaConfig,
        byte_level,
        CHATML,
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>"),
        {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "rope_theta": 100_000.0,
            "tie_word_embeddings": True,
            "initializer_range": 0.06,
        },
        fused=True,
    ),
    "qwen2.5": Family(
        Qwen2Config,
        byte_level,
        CHATML,
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>"),
        {
            "use_sliding_window": True,
            "sliding_window": WINDOW,
            "max_window_layers": 1,
            "layer_types": SLIDES,
            "tie_word_embeddings": True,
        },
        ("layer_types",),
    ),
    "qwen3": Family(Qwen3Config, byte_level, CHATML, ("<|im_end|>", "<|im_start|>", "<|endoftext|>"), {"head_dim": 16}),
    "gemma 3": Family(
        Gemma3TextConfig,
        sentence_pieces,
        GEMMA,
        ("<end_of_turn>", "<start_of_turn>"),
        {"head_dim": 16, "sliding_window": WINDOW, "layer_types": SLIDES, "tie_word_embeddings": False},
        ("layer_types",),
    ),
    "phi 2": Family(  # layers whose halves stand side by side, heads turned in part, biases everywhere
        PhiConfig,
        byte_level,
        PHI,
        PHI_TOKENS,
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
            "initializer_range": 0.5,
        },
    ),
    "phi 4 mini": Family(
        Phi3Config,
        byte_level,
        PHI,
        PHI_TOKENS,
        {
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75},
            "hidden_size": 64,
            "tie_word_embeddings": True,
        },
    ),
    "phi 3": Family(
        Phi3Config,
        sentence_pieces,
        PHI,
        PHI_TOKENS,
        {"sliding_window": WINDOW},
        ("sliding_window",),
    ),
    "mistral": Family(
        MistralConfig,
        sentence_pieces,
        MISTRAL,
        ("</s>", "[INST]", "[/INST]"),
        {"head_dim": 16, "sliding_window": WINDOW},
        ("sliding_window",),
    ),
}


def unwindowed(family: Family) -> dict[str, Any]:
    """Settings with which no layer has a window."""
    return {name: ["full_attention"] * 2 if name == "layer_types" else None for name in family.window}


def build(name: str, **changes: object) -> tuple[PreTrainedModel, Chat]:
    """A model of this family, with norms and biases that do something, and its chat, in which some tokens end replies
    that would not else, so that those of a random model have all lengths."""
    family = FAMILIES[name]
    special = ("<pad>", *family.special)
    end = family.special[0]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=family.tokenizer(special), pad_token="<pad>", eos_token=end, extra_special_tokens=[]
    )
    tokenizer.chat_template = family.template
    chat = Chat(tokenizer, name)
    chat.end_ids = chat.end_ids | frozenset(range(8, len(tokenizer), 4))
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = family.config(**{**SHAPE, "vocab_size": len(tokenizer), **ids, **family.shape, **changes})
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(config).eval()
    for name_, weight in model.named_parameters():
        if weight.ndim == 1:
            middle = 0.0 if name_.endswith("bias") else 1.0
            torch.nn.init.uniform_(weight, middle - 0.5, middle + 0.5, generator=generator)
    return model, chat


@cache
def shared(name: str) -> tuple[PreTrainedModel, Chat]:
    """A model not to be changed, and its chat."""
    return build(name)
