"""How sharp the minimum is in which a model stands: the largest curvature of its loss on the expert's replies."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel

from ruleshift.chat import Chat
from ruleshift.evaluation.kl import MAX_PICTURES, MAX_TOKENS
from ruleshift.tasks.protocol import TaskProblem
from ruleshift.training.sft_lessons import demonstration
from ruleshift.training.trajectories import Trajectory, forward, groups_of

STEPS = 10  # of power iteration
AWAY = 1e-3  # of the norm of the weights, over which the gradient's change is read


def largest_curvature(
    gradient: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor, steps: int = STEPS, seed: int = 0
) -> float:
    """The largest eigenvalue of the Hessian H at `point` w (D,), of a loss with this gradient g.

    Power iteration from a direction that the seed gives, v <- H v / |H v|, lambda = v . H v, with H v read off central
    differences, (g(w + e v) - g(w - e v)) / 2e; where the eigenvalue of largest magnitude is negative, once more for
    H less that multiple of the identity. Few steps give a lower bound.
    Source of the measure: Cohen et al. (arXiv 2103.00065), who call this the sharpness.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(point.shape, generator=generator, dtype=point.dtype).to(point.device)
    away = AWAY * max(float(point.norm()), 1.0)

    def dominant(shift: float) -> float:
        """The eigenvalue of largest magnitude of H - shift."""
        direction, found = start / start.norm(), 0.0
        for _ in range(steps):
            turned = (gradient(point + away * direction) - gradient(point - away * direction)) / (2 * away)
            turned -= shift * direction
            found, size = float(direction @ turned), turned.norm()
            if size == 0:
                return 0.0
            direction = turned / size
        return found

    first = dominant(0.0)
    return first if first >= 0 else first + dominant(first)


def sharpness(model: PreTrainedModel, chat: Chat, problems: Sequence[TaskProblem]) -> float:
    """Of the mean negative log-likelihood per token (nats) of the expert's replies to these problems, over the weights
    of the model that learn. Weights and gradients are left as they are."""
    shown = [demonstration(chat, problem, 1) for problem in problems]
    learning = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in learning]
    training = model.training
    model.eval()

    def gradient(weights: torch.Tensor) -> torch.Tensor:
        _put(learning, weights.split([p.numel() for p in learning]))
        return _gradient(model, chat, shown, learning)

    try:
        return largest_curvature(gradient, torch.cat([p.flatten() for p in before]))
    finally:
        _put(learning, before)
        model.train(training)


@torch.no_grad()
def _put(parameters: Sequence[nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value.view_as(parameter))


@torch.enable_grad()
def _gradient(
    model: PreTrainedModel, chat: Chat, shown: Sequence[Trajectory], parameters: Sequence[nn.Parameter]
) -> torch.Tensor:
    """Of the mean negative log-likelihood per token: (D,)."""
    count = sum(len(t.positions) for t in shown)
    total = torch.zeros(sum(p.numel() for p in parameters), device=model.device)
    for chosen in groups_of(shown, MAX_TOKENS, MAX_PICTURES):
        result = forward(model, [shown[i] for i in chosen], chat.eye)
        loss = -result.logprobs.sum() / count
        parts = torch.autograd.grad(loss, list(parameters), allow_unused=True, materialize_grads=True)
        total += torch.cat([part.flatten() for part in parts])
    return total
