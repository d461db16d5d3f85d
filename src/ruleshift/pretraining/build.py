"""`ruleshift backbone build`: train the bundled backbones from scratch.

Deterministic (a function of the configuration), resumable after a kill, two hours at most each on two CPU cores. The
text backbone comes first; the vision-language one starts from it and learns to see.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch.utils.data import DataLoader, Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from ruleshift.backbones.config import BuildConfig, VisionBuildConfig
from ruleshift.backbones.tokenizer import build_tokenizer
from ruleshift.backbones.vision import read, view_of
from ruleshift.chat import Chat, Sequences
from ruleshift.pretraining import conversation, echo
from ruleshift.pretraining.muon import Muon
from ruleshift.tasks.generalpoints.pictures import drawing
from ruleshift.tasks.streams import stream
from ruleshift.tasks.virl.rules import PRETRAINING_CITIES
from ruleshift.tasks.virl.views import render
from ruleshift.training.batching import pack, pad

AnyConfig = BuildConfig | VisionBuildConfig
AHEAD = 4  # batches that are made while the model learns


def new_model(config: BuildConfig) -> tuple[PreTrainedModel, Chat]:
    """An untrained text backbone with its tokenizer; initial weights are a function of the seed."""
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
    shape.ruleshift_style = "stepwise"  # which prompts it reads, for `load_backbone`
    model = LlamaForCausalLM(shape)
    return model, Chat(tokenizer, "the bundled backbone")


def rate_scale(config: AnyConfig, step: int) -> float:
    """Share of the peak learning rates: linear warm-up, then a cosine down to 2%."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def batch_of(chat: Chat, config: AnyConfig, step: int) -> list[Sequences]:
    """The conversations of one step, none of which any other step sees."""
    indices = range(step * config.batch, (step + 1) * config.batch)
    if isinstance(config, BuildConfig) and step < config.echo_steps:
        return [echo.conversation(chat, config.seed, index) for index in indices]
    picture, share = (config.picture, 1.0) if isinstance(config, VisionBuildConfig) else (None, config.retry_share)
    share = share if step >= config.retries_from else 0.0
    retried = [stream("retries", config.seed, index).random() < share for index in indices]
    told = zip(retried, indices, strict=True)
    return [conversation(chat, retries, config.walk_share, config.seed, index, picture) for retries, index in told]


class Batches(Dataset[list[Sequences]]):
    """The batches of all steps from `first_step` on."""

    def __init__(self, chat: Chat, config: AnyConfig, first_step: int) -> None:
        self.chat, self.config, self.first_step = chat, config, first_step

    def __len__(self) -> int:
        return self.config.steps - self.first_step

    def __getitem__(self, index: int) -> list[Sequences]:
        return batch_of(self.chat, self.config, self.first_step + index)


def loss_of(
    model: PreTrainedModel, batch: Sequence[Sequences], chat: Chat, max_tokens: int = 3_000, bf16: bool = False
) -> float:
    """Accumulate gradients of the mean cross-entropy over reply tokens, each weighted by its mask; returns it in nats
    per token. bf16: matrix products in bfloat16 (autocast)."""
    total = sum(sum(sequence.reply_mask) for sequence in batch)
    loss_sum = 0.0
    for group in pack([len(sequence.token_ids) for sequence in batch], max_tokens):
        ids = pad([batch[i].token_ids for i in group], 0, torch.long).to(model.device)  # (B, T)
        weights = pad([batch[i].reply_mask for i in group], 0, torch.float32).to(model.device)  # (B, T)
        targets, learned = ids[:, 1:], weights[:, 1:] > 0
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            hidden = _hidden(model, chat, ids, weights == 0, [batch[i].pictures for i in group])[:, :-1]  # (B, T-1, H)
            logits = model.get_output_embeddings()(hidden[learned])
        losses = torch.nn.functional.cross_entropy(logits.float(), targets[learned], reduction="none")
        weights = weights[:, 1:]
        loss = (losses * weights[learned]).sum() / total
        loss.backward()
        loss_sum += loss.item()
    return loss_sum


def _hidden(
    model: PreTrainedModel, chat: Chat, ids: torch.Tensor, given: torch.Tensor, pictures: Sequence[Sequence]
) -> torch.Tensor:
    """Last hidden states (B, T, H); `given` (B, T) marks what is not a reply."""
    if chat.eye is None:
        return model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return read(model, ids, view_of(model, chat.eye, ids, given, pictures), use_cache=False)


def pretrain(
    config: AnyConfig,
    model: PreTrainedModel,
    chat: Chat,
    optimizers: Mapping[str, torch.optim.Optimizer],
    first_step: int,
    after_step: Callable[[int, float], None],
) -> None:
    """Run steps `first_step` to the last. `after_step(steps done, loss)` logs and saves. With the first failed tries,
    which make conversations longer and other than before, the optimisers begin anew.

    Conversations are made, and pictures drawn, by a process beside this one. Attention in bfloat16 on a CPU is written
    out in matrix products: PyTorch's fused one takes three times as long to differentiate.
    """
    model.train()
    if config.bf16 and model.device.type == "cpu":
        model.set_attn_implementation("eager")
    data = Batches(chat, config, first_step)
    batches = DataLoader(data, batch_size=None, num_workers=1, prefetch_factor=AHEAD, worker_init_fn=_remember)
    for step, batch in enumerate(batches, first_step):
        for optimizer in optimizers.values():
            if step == config.retries_from:
                optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate_scale(config, step)
        loss = loss_of(model, batch, chat, bf16=config.bf16)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        after_step(step + 1, loss)


def _remember(worker: int) -> None:
    """Keep all that pretraining's pictures are put together from: every city, every card at every angle."""
    render.KEPT = len(PRETRAINING_CITIES)
    drawing.KEPT.most = 2**30


def new_optimizers(config: AnyConfig, model: PreTrainedModel) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and patches (decayed), norms and biases (not decayed).

    Muon learns to copy, to solve hands and to see in fewer steps (docs/log.md, sections 9 and 13). What has learned
    already, the decoder of a vision-language model, moves at `decoder_share` of the rates.
    """
    share = config.decoder_share if isinstance(config, VisionBuildConfig) else 1.0
    decoder = {id(parameter) for parameter in model.get_decoder().parameters()}
    muon: list[dict[str, object]] = []
    adamw: list[dict[str, object]] = []
    for grown, scale in ((True, share), (False, 1.0)):
        named = [(name, p) for name, p in model.named_parameters() if (id(p) in decoder) == grown]
        matrices = [p for name, p in named if p.dim() == 2 and "embed" not in name]
        tables = [p for name, p in named if p.dim() > 2 or (p.dim() == 2 and "embed" in name)]
        vectors = [p for _, p in named if p.dim() <= 1]
        rates = {"peak": config.learning_rate * scale}, {"peak": config.embedding_learning_rate * scale}
        muon.append({"params": matrices, **rates[0]})
        adamw.append({"params": tables, "weight_decay": config.weight_decay, **rates[1]})
        adamw.append({"params": vectors, "weight_decay": 0.0, **rates[1]})
    muon, adamw = ([group for group in groups if group["params"]] for groups in (muon, adamw))
    return {
        "muon": Muon(muon, config.learning_rate, weight_decay=config.weight_decay),
        "adamw": torch.optim.AdamW(adamw, config.embedding_learning_rate, betas=(0.9, 0.95)),
    }
