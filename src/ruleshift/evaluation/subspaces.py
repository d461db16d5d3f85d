"""How far the directions in which weights act have turned: principal angles between singular subspaces."""

import math
from collections.abc import Iterator
from statistics import fmean

import torch
from transformers import PreTrainedModel

TOP = 8  # directions on either side of a matrix


def principal_angles(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The angles, in radians and rising, between the spaces spanned by orthonormal columns a (D, K) and b (D, K): (K,).

        theta_k = arccos sigma_k,  where a^T b = U diag(sigma) V^T

    Source: A. Bjorck and G. Golub, Numerical methods for computing angles between linear subspaces (1973); for weights
    before and after post-training, "RL Heals OOD Forgetting" (arXiv 2509.12235).
    """
    return torch.linalg.svdvals(a.T.double() @ b.double()).clamp(-1.0, 1.0).arccos()


def turned(before: torch.Tensor, after: torch.Tensor, top: int = TOP) -> float:
    """How far the `top` leading left and right singular directions of a matrix (D, E) have turned on average, in
    degrees: from 0 (the same spaces) to 90 (at right angles)."""
    k = min(top, *before.shape)
    (u, _, v), (x, _, y) = (torch.linalg.svd(matrix.double(), full_matrices=False) for matrix in (before, after))
    angles = torch.cat([principal_angles(u[:, :k], x[:, :k]), principal_angles(v[:k].T, y[:k].T)])
    return math.degrees(float(angles.mean()))


@torch.no_grad()
def rotation(start: PreTrainedModel, model: PreTrainedModel, top: int = TOP) -> float:
    """`turned`, averaged over the matrices of the decoder's layers, without one that did not change being read: it has
    turned by 0."""
    found = [
        0.0 if torch.equal(before, after) else turned(before.cpu(), after.cpu(), top)
        for before, after in _matrices(start, model)
    ]
    return fmean(found)


def _matrices(start: PreTrainedModel, model: PreTrainedModel) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The matrices of both decoders, embeddings left out."""
    embeddings = {id(one.get_input_embeddings().weight) for one in (start, model)}
    pairs = zip(start.get_decoder().parameters(), model.get_decoder().parameters(), strict=True)
    return ((a, b) for a, b in pairs if a.dim() == 2 and id(a) not in embeddings)
