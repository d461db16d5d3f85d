"""Training compute, counted from the tokens that were really processed.

    FLOPs = 6 N D_train + 2 N D_forward

with N parameters, D_train tokens through forward and backward passes (once per epoch), and D_forward tokens through
forward passes alone: sampling, values, reference log-probs. Source: Kaplan et al. (arXiv 2001.08361), section 2.1,
as used for figure 5 of arXiv 2501.17161, which replaces D_forward by a fixed multiple of D_train. Evaluation is not
counted, and padding neither.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class TokenCount:
    """Tokens processed so far."""

    trained: int = 0
    forward: int = 0

    def __add__(self, other: "TokenCount") -> "TokenCount":
        return TokenCount(self.trained + other.trained, self.forward + other.forward)

    def flops(self, parameters: int) -> float:
        return 6.0 * parameters * self.trained + 2.0 * parameters * self.forward


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
