"""Whether a model of any family can be sampled from in batches: it must count tokens, not columns of the cache."""

import torch
from torch.nn.functional import pad
from transformers import PreTrainedModel

from ruleshift.backbones.room import ran_out
from ruleshift.engines.forward import Forward
from ruleshift.engines.window import Window
from ruleshift.errors import RuleshiftError
from ruleshift.files import reason_of

READ = 7  # tokens before the one in question
UNUSED = 300  # columns: more than the 256 that GPT-Neo's windows have
APART = 1e-3  # in total variation: what rounding makes is less
APART_ROUGHLY = 0.1  # of half precision, and of a GPU's TF32
REMEDY = "serve it, and give --model api:NAME with --base-url, or choose a model of a family named in docs/models.md"


def check_columns(forward: Forward, model: PreTrainedModel) -> None:
    """Raise RuleshiftError for a model that counts columns of the cache, unused ones too (windows in buffers, biases by
    distance), so that its replies depend on the conversations beside them, or that cannot read our cache at all."""
    try:
        alone, among = (_said(forward, model, unused) for unused in (0, UNUSED))
    except RuleshiftError:
        raise
    except Exception as error:  # whatever a family makes of a cache and a mask that it does not expect
        if ran_out(error):
            raise
        raise RuleshiftError(
            f"models of the kind {model.config.model_type} cannot be sampled from here, with a cache of several "
            f"conversations ({reason_of(error)[:100]}): {REMEDY}"
        ) from error
    is_exact = model.dtype == torch.float32 and model.device.type == "cpu"
    if (alone - among).abs().sum() / 2 > (APART if is_exact else APART_ROUGHLY):
        raise RuleshiftError(
            f"models of the kind {model.config.model_type} say something else of a conversation where others stand "
            f"beside it, since they count the columns of a cache: {REMEDY}"
        )


def _said(forward: Forward, model: PreTrainedModel, unused: int) -> torch.Tensor:
    """The probabilities of the token after some, so many unused columns before the last of which, (V,)."""
    window = Window.empty(forward.new_cache(1), 1, model.dtype, model.device)
    ids = torch.arange(READ + 1, device=model.device)[None]
    new = torch.ones_like(ids, dtype=torch.bool)
    position, mask = window.extend(new[:, :READ])
    forward(ids[:, :READ], position, mask, window.cache)
    columns = torch.tensor([[*range(READ), *[0] * unused]], device=model.device)
    window.cache.select(torch.zeros(1, dtype=torch.long, device=model.device), columns)
    window.bias = pad(window.bias, (0, unused), value=window.hidden)
    position, mask = window.extend(new[:, READ:])
    return forward(ids[:, READ:], position, mask, window.cache)[0].softmax(-1)
