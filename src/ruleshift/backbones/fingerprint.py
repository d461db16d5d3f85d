"""Which weights a model has, in a word."""

import hashlib

import torch
from transformers import PreTrainedModel


def fingerprint(model: PreTrainedModel) -> str:
    """A digest of names, types and bits of all weights: another model, or one trained further, has another."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
