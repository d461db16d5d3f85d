"""A forward pass of plain Llama models in few operations, for decoding many short rows.

transformers dispatches some forty small operations a layer, which in a small model take longer than its matrix
products. Here a layer is four products, and a dozen operations that write into buffers kept from step to step:

- queries, keys and values come from one matrix, gate and up from another; residual sums are part of the products
- the weights of norms are folded into the matrix behind them, the scale of attention into the queries'
- the halves of each head are interleaved, so that turning by a position is one product of complex numbers
- in the last layer, only the last column goes beyond keys and values

The matrices are copies: make a new FusedLlama after the model has changed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import silu
from transformers import PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.models.llama import modeling_llama as llama

from ruleshift.backbones.vision import View, sees
from ruleshift.engines.cache import Columns

MOST_WEIGHTS = 2**28  # larger models gain little, and their copy is large
PLAIN_PARTS = {
    *(llama.LlamaForCausalLM, llama.LlamaModel, llama.LlamaDecoderLayer, llama.LlamaAttention, llama.LlamaMLP),
    *(llama.LlamaRMSNorm, llama.LlamaRotaryEmbedding, SiLUActivation, nn.SiLU, nn.Linear, nn.Embedding, nn.ModuleList),
}
STATIC_POSITIONS = ("default", "linear", "llama3", "yarn")


def can_fuse(model: PreTrainedModel) -> bool:
    """Whether its decoder is a plain Llama (of a vision-language model too): nothing attached, no biases, static
    positions; small, and float32 on one device, a CPU or a GPU."""
    decoder: Any = model.get_decoder()
    head: Any = model.get_output_embeddings()
    parts = [*decoder.modules(), head] if sees(model) else list(model.modules())
    modules = [*parts, model, model.base_model]
    weights = [*decoder.parameters(), *head.parameters()]
    return (
        all(type(module) in PLAIN_PARTS for module in parts)
        and not any("forward" in vars(module) for module in modules)
        and not any(_is_foreign(hook) for module in modules for hook in _hooks(module))
        and not any(module.bias is not None for module in modules if isinstance(module, nn.Linear))
        and all(weight.dtype == torch.float32 for weight in weights)
        and {weight.device for weight in weights} == {head.weight.device}
        and head.weight.device.type in ("cpu", "cuda")
        and sum(weight.numel() for weight in weights) <= MOST_WEIGHTS
        and decoder.config._attn_implementation == "sdpa"
        and decoder.config.to_dict()["rope_parameters"]["rope_type"] in STATIC_POSITIONS
    )


def _hooks(module: nn.Module) -> list[Callable[..., object]]:
    return [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]


def _is_foreign(hook: Callable[..., object]) -> bool:
    """Whether a hook is other than those that transformers leaves behind when hidden states were asked for once, which
    change nothing."""
    return not hook.__module__.startswith("transformers.")


@dataclass(frozen=True)
class Layer:
    """The matrices of a layer, to be multiplied from the right. H is the model's width, D that of a head.

    G groups of R query heads each share a key head and a value head.
    """

    inward: torch.Tensor  # (H, G (R + 2) D): of each group its queries, key and value
    outward: torch.Tensor  # (G R D, H)
    gate_up: torch.Tensor  # (H, 2 F)
    down: torch.Tensor  # (F, H)


class FusedLlama:
    """The decoder of a model as it is now. Called like any `engines.forward.Forward`.

    spent: nobody else needs the model, which gives up a layer as soon as it is packed."""

    def __init__(self, model: PreTrainedModel, spent: bool = False) -> None:
        decoder: Any = model.get_decoder()
        head: Any = model.get_output_embeddings()
        first = decoder.layers[0].self_attn
        self.head_width, self.shared = first.head_dim, first.num_key_value_groups  # D, R
        self.groups = first.k_proj.out_features // first.head_dim  # G
        self.rotary = decoder.rotary_emb
        self.embedding = decoder.embed_tokens.weight.detach()  # (V, H)
        # |x| / sqrt(H) is the root mean square of norms: sqrt(H) is a factor of the weights.
        self.root = self.embedding.shape[1] ** 0.5
        self.floor = self.embedding.new_tensor(decoder.config.rms_norm_eps**0.5 * self.root)
        self.layers = []
        for index, layer in enumerate(decoder.layers):
            self.layers.append(self._pack(layer))
            if spent:
                decoder.layers[index] = nn.Identity()
        self.output = _packed(head.weight * (self.root * decoder.norm.weight))  # (H, V)
        self.turns = self._turns(256)
        self.buffers = Buffers(self, 0, 1)

    def new_cache(self, rows: int) -> Columns:
        """Of each group its keys, then its values."""
        return Columns(self.embedding.new_zeros(len(self.layers), rows, 2 * self.groups, 0, self.head_width))

    def __call__(
        self, ids: torch.Tensor, position: torch.Tensor, mask: torch.Tensor, cache: Columns, view: View | None = None
    ) -> torch.Tensor:
        batch, length = ids.shape
        new = cache.extend(length)
        if new.stop > len(self.turns):
            self.turns = self._turns(2 * new.stop)
        turn = self.turns.index_select(0, position.flatten())[:, None, None]  # (B T, 1, 1, D/2)
        x = self.embedding.index_select(0, ids.flatten())  # (B T, H)
        if view is not None:
            x = view.put(x.view(batch, length, -1)).flatten(0, 1)
        use = self._buffers(batch, length)
        stored = cache.data[:, :batch].unflatten(2, (self.groups, 2))  # (N, B, G, 2, capacity, D)
        slots = stored[:, :, :, :, new].unbind(0)  # (B, G, 2, T, D) of each layer
        keys, values = stored[:, :, :, :, : new.stop].flatten(1, 2).unbind(2)  # (N, B G, L, D)
        keys, values, seen = keys.transpose(2, 3).unbind(0), values.unbind(0), mask
        for index, layer in enumerate(self.layers):
            torch.mm(use.normal(x), layer.inward, out=use.inward)
            use.pairs.mul_(turn)
            slots[index].copy_(use.stored)
            query = use.query
            if length > 1 and index == len(self.layers) - 1:
                x, query, seen = x.view(batch, length, -1)[:, -1], query[:, :, -1:], mask[:, :, -1:]
                use = self._buffers(batch, 1)
            x.addmm_(attend(query, keys[index], values[index], seen), layer.outward)
            torch.mm(use.normal(x), layer.gate_up, out=use.gate_up)
            x.addmm_(silu(use.gate, inplace=True).mul_(use.up), layer.down)
        return torch.mm(use.normal(x), self.output)

    def _buffers(self, batch: int, length: int) -> "Buffers":
        if (self.buffers.batch, self.buffers.length) != (batch, length):
            self.buffers = Buffers(self, batch, length)
        return self.buffers

    def _turns(self, count: int) -> torch.Tensor:
        """Rotations of the first positions as complex numbers, (count, D/2)."""
        cos, sin = self.rotary(self.embedding, torch.arange(count, device=self.embedding.device)[None])
        return torch.complex(*(part[0, :, : self.head_width // 2].contiguous() for part in (cos, sin)))

    def _pack(self, layer: llama.LlamaDecoderLayer) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        query = self._interleaved(attention.q_proj.weight * attention.scaling)
        key = self._interleaved(attention.k_proj.weight)
        value = attention.v_proj.weight.unflatten(0, (self.groups, 1, self.head_width))
        inward = torch.cat([query, key, value], dim=1).flatten(0, 2)
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        return Layer(
            _packed(inward * (self.root * layer.input_layernorm.weight)),
            _packed(attention.o_proj.weight),
            _packed(gate_up * (self.root * layer.post_attention_layernorm.weight)),
            _packed(mlp.down_proj.weight),
        )

    def _interleaved(self, weight: torch.Tensor) -> torch.Tensor:
        """(G, heads, D, H), rows of a head in the order 0, D/2, 1, D/2 + 1, ...: turned pairs are neighbours."""
        halves = weight.unflatten(0, (self.groups, -1, 2, self.head_width // 2))
        return halves.transpose(2, 3).flatten(2, 3)


def _packed(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().t().contiguous()


class Buffers:
    """What a pass over (batch, length) new tokens writes, and views of it."""

    def __init__(self, model: FusedLlama, batch: int, length: int) -> None:
        self.batch, self.length, self.floor = batch, length, model.floor
        tokens, groups, heads, width = batch * length, model.groups, model.shared + 2, model.head_width
        hidden, empty = model.layers[0].down.shape[0], model.embedding.new_empty
        self.size = empty(tokens, 1)
        self.normed = empty(tokens, model.embedding.shape[1])
        self.inward = empty(tokens, groups * heads * width)
        pairs = self.inward.view(tokens, groups, heads, width // 2, 2)[:, :, :-1]
        self.pairs = torch.view_as_complex(pairs)  # of queries and keys, (B T, G, R + 1, D/2)
        columns = self.inward.view(batch, length, groups, heads, width).transpose(1, 2)
        self.query, stored = columns[:, :, :, :-2], columns[:, :, :, -2:]  # (B, G, T, R, D) and (B, G, T, 2, D)
        self.stored = stored.transpose(2, 3)
        self.gate_up = empty(tokens, 2 * hidden)
        self.gate, self.up = self.gate_up[:, :hidden], self.gate_up[:, hidden:]

    def normal(self, x: torch.Tensor) -> torch.Tensor:
        """x / sqrt(|x|^2 + H eps), (B T, H)."""
        torch.linalg.vector_norm(x, dim=1, keepdim=True, out=self.size)
        return torch.div(x, torch.hypot(self.size, self.floor, out=self.size), out=self.normed)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """softmax(q k + mask) v; the queries of a group are rows of one product.

    query (B, G, T, R, D), key (B G, D, L), value (B G, L, D), mask (B, 1, T, L), additive. Returns (B T, G R D).
    """
    batch, groups, length, shared, width = query.shape
    scores = torch.bmm(query.reshape(batch * groups, length * shared, width), key)  # (B G, T R, L)
    scores.view(batch, groups, length, shared, -1).add_(mask[:, :, :, None])
    mixed = torch.bmm(scores.softmax(dim=-1), value)
    return mixed.view(query.shape).transpose(1, 2).reshape(batch * length, -1)
