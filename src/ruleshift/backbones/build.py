"""`ruleshift backbone build`: train the bundled text backbone from scratch.

Deterministic (a function of the configuration), resumable after a kill, less than an hour on two CPU cores.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ruleshift.backbones.config import BuildConfig
from ruleshift.backbones.muon import Muon
from ruleshift.backbones.pretraining import conversation, echo
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.chat import Chat, Sequences
from ruleshift.training.batching import pack, pad


def new_model(config: BuildConfig) -> tuple[PreTrainedModel, Chat]:
    """An untrained backbone with its tokenizer; initial weights are a function of the seed."""
    tokenizer = build_tokenizer()
    torch.manual_seed(config.seed)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.feedforward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    shape.ruleshift_style = "terse"  # which prompts it reads, for `load_backbone`
    model = LlamaForCausalLM(shape)
    return model, Chat(tokenizer, "the bundled backbone")


def rate_scale(config: BuildConfig, step: int) -> float:
    """Share of the peak learning rates: linear warm-up, then a cosine down to 2%."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def batch_of(chat: Chat, config: BuildConfig, step: int) -> list[Sequences]:
    """The conversations of one step, none of which any other step sees."""
    indices = range(step * config.batch, (step + 1) * config.batch)
    if step < config.echo_steps:
        return [echo.conversation(chat, config.seed, index) for index in indices]
    careless = step >= config.echo_steps + config.clean_steps
    return [conversation(chat, careless, config.walk_share, config.seed, index) for index in indices]


def loss_of(model: PreTrainedModel, batch: Sequence[Sequences], max_tokens: int = 3_000) -> float:
    """Accumulate gradients of the mean cross-entropy over reply tokens, each weighted by its mask; returns it in nats
    per token."""
    total = sum(sum(sequence.reply_mask) for sequence in batch)
    loss_sum = 0.0
    for group in pack([len(sequence.token_ids) for sequence in batch], max_tokens):
        ids = pad([batch[i].token_ids for i in group], 0, torch.long).to(model.device)  # (B, T)
        weights = pad([batch[i].reply_mask for i in group], 0, torch.float32).to(model.device)[:, 1:]  # (B, T-1)
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, H)
        learned = weights > 0
        logits = model.get_output_embeddings()(hidden[learned])
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][learned], reduction="none")
        loss = (losses * weights[learned]).sum() / total
        loss.backward()
        loss_sum += loss.item()
    return loss_sum


def pretrain(
    config: BuildConfig,
    model: PreTrainedModel,
    chat: Chat,
    optimizers: Mapping[str, torch.optim.Optimizer],
    first_step: int,
    after_step: Callable[[int, float], None],
) -> None:
    """Run steps `first_step` to the last. `after_step(steps done, loss)` logs and saves."""
    model.train()
    for step in range(first_step, config.steps):
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * rate_scale(config, step)
        loss = loss_of(model, batch_of(chat, config, step))
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        after_step(step + 1, loss)


def new_optimizers(config: BuildConfig, model: PreTrainedModel) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding (decayed) and the norms (not decayed).

    Muon learns to copy and to solve hands in fewer steps (docs/log.md, section 9).
    """
    embedding = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.dim() > 1 and p is not embedding]
    norms = [p for p in model.parameters() if p.dim() <= 1]
    others = [{"params": [embedding], "weight_decay": config.weight_decay}, {"params": norms, "weight_decay": 0.0}]
    return {
        "muon": Muon(matrices, config.learning_rate, weight_decay=config.weight_decay),
        "adamw": torch.optim.AdamW(others, config.embedding_learning_rate, betas=(0.9, 0.95)),
    }
