"""One pass of a model over new columns of a cache: through transformers, or fused for plain Llama models.

Adapters beside float32 weights are merged into a copy first (`backbones/sampler.py`).
"""

from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from ruleshift.backbones.sampler import sampler_of
from ruleshift.backbones.vision import View, looks_across, read, sees
from ruleshift.engines.attention import fast_decoding, layer_masks
from ruleshift.engines.cache import GrowingCache, Rows, as_argument
from ruleshift.engines.crossing import CrossForward
from ruleshift.engines.llama import FusedLlama, can_fuse


class Forward(Protocol):
    """Reads new tokens of every row, into a cache of its own kind."""

    def new_cache(self, rows: int) -> Rows: ...

    def __call__(
        self, ids: torch.Tensor, position: torch.Tensor, mask: torch.Tensor, cache: Any, view: Any = None
    ) -> torch.Tensor:
        """Logits after the last new column, (B, V).

        ids and position (B, T), view: the pictures among them; mask (B, 1, T, L), additive, over all columns with the
        new ones, which are added to the cache. B may be less than the rows of the cache: the leading ones are meant.
        """
        ...


class ModelForward:
    """Any transformers decoder of text."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def new_cache(self, rows: int) -> GrowingCache:
        return GrowingCache(self.model.config.get_text_config().num_hidden_layers)

    def __call__(
        self,
        ids: torch.Tensor,
        position: torch.Tensor,
        mask: torch.Tensor,
        cache: GrowingCache,
        view: View | None = None,
    ) -> torch.Tensor:
        assert view is None
        with fast_decoding(self.model):
            output = self.model(
                input_ids=ids,
                attention_mask=layer_masks(self.model.get_decoder(), mask),
                position_ids=position,
                use_cache=True,
                logits_to_keep=1,
                **as_argument(cache, self.model),
            )
        return output.logits[:, -1].float()


class SeeingForward(ModelForward):
    """A vision-language model of a known family."""

    def __call__(
        self,
        ids: torch.Tensor,
        position: torch.Tensor,
        mask: torch.Tensor,
        cache: GrowingCache,
        view: View | None = None,
    ) -> torch.Tensor:
        with fast_decoding(self.model):
            decoder = self.model.get_decoder()
            masks = layer_masks(decoder, mask)
            hidden = read(self.model, ids, view, position, masks, use_cache=True, **as_argument(cache, decoder))
        return self.model.get_output_embeddings()(hidden[:, -1]).float()


def forward_of(model: PreTrainedModel) -> Forward:
    """The quickest way through the model as it is now; valid until its weights change.

    Fused: LlamaForCausalLM (SmolLM2, TinyLlama ...) and what sees through a decoder of that kind (Idefics3, SmolVLM,
    LLaVA), float32, up to 2^28 parameters. All else goes through transformers.
    """
    sampler = sampler_of(model)
    if can_fuse(sampler):
        return FusedLlama(sampler, spent=sampler is not model)
    if sees(sampler):
        return CrossForward(sampler) if looks_across(sampler) else SeeingForward(sampler)
    return ModelForward(sampler)
