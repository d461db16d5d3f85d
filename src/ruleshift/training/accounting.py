"""Training compute, counted from the tokens that were really processed.

    FLOPs = (4 N + 2 L) D_train + 2 N D_forward + 6 M P_train + 2 M P_forward

with N parameters of which L learn, D_train tokens through forward and backward passes (once per epoch), and D_forward
tokens through forward passes alone: sampling, values, reference log-probs, a teacher (one of another size in proportion
to its parameters), the old weights of a clipped SFT. A backward pass takes 2 N for what flows
through the layers and 2 L for the gradients of weights: 6 N in all where everything learns, little more than 4 N where
adapters do. Source: Kaplan et al. (arXiv 2001.08361), section 2.1, as used for figure 5 of arXiv 2501.17161, which
replaces D_forward by a fixed multiple of D_train. Evaluation is not counted, and padding neither.

In a vision-language model N are the parameters of the decoder, and the tokens of pictures that it reads are tokens like
others. M are the parameters of tower and projector, which process patches: P_train of them where the tower learns,
P_forward where it only looks. Features of a tower and projector that stay as they are, are computed once per update.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from transformers import PreTrainedModel

from ruleshift.backbones.vision import patches
from ruleshift.sight import Eye
from ruleshift.training.parts import learns, part_of
from ruleshift.training.trajectories import Trajectory


@dataclass(frozen=True)
class TokenCount:
    """Tokens processed so far by the decoder, and patches by the tower."""

    trained: int = 0
    forward: int = 0
    patches_trained: int = 0
    patches_forward: int = 0

    def __add__(self, other: "TokenCount") -> "TokenCount":
        return TokenCount(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def flops(self, sizes: "Sizes") -> float:
        """What a model of these sizes takes for them."""
        decoder, tower = float(sizes.decoder), sizes.tower
        seen = 6.0 * tower * self.patches_trained + 2.0 * tower * self.patches_forward
        trained = (4.0 * decoder + 2.0 * sizes.learning) * self.trained
        return trained + 2.0 * decoder * self.forward + seen


@dataclass(frozen=True)
class Sizes:
    """Numbers of parameters, shared ones once: of the decoder (adapters included), of those of them that learn, and of
    tower and projector."""

    decoder: int
    learning: int
    tower: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Sizes":
        """Of a model as it is trained: what learns is what asks for a gradient."""
        parts = [(part_of(model, name) == "decoder", p) for name, p in model.named_parameters()]
        decoder = [p for within, p in parts if within]
        learning = sum(p.numel() for p in decoder if p.requires_grad)
        return cls(sum(p.numel() for p in decoder), learning, sum(p.numel() for within, p in parts if not within))


class Account:
    """Keeps count of what a run of reinforcement learning processes."""

    def __init__(self, model: PreTrainedModel, eye: Eye | None) -> None:
        self.model, self.eye = model, eye
        self.tokens = TokenCount()
        self.problems = 0  # dealt so far
        self.features_stay = not learns(model, "tower", "projector")

    def passed(self, trajectories: Sequence[Trajectory], passes: int, share: float = 1.0) -> None:
        """The engine and `passes` - 1 forward passes have read these: pictures each time, or once for all passes of an
        update where their features stay as they are. share: the parameters of who reads them, in those of the model
        that learns; tokens count in proportion."""
        tokens = sum(len(t.ids) for t in trajectories)
        looks = min(passes, 2) if self.features_stay else passes
        patches = looks * self._patches(trajectories)
        self.tokens += TokenCount(forward=round(share * passes * tokens), patches_forward=round(share * patches))

    def trained(self, trajectories: Sequence[Trajectory]) -> None:
        """A forward and backward pass."""
        self.tokens += TokenCount(trained=sum(len(t.ids) for t in trajectories))
        if not self.features_stay:
            looked, learned = self._patches(trajectories), learns(self.model, "tower")
            self.tokens += TokenCount(0, 0, looked * learned, looked * (not learned))

    def flops(self) -> float:
        return self.tokens.flops(Sizes.of(self.model))

    def _patches(self, trajectories: Sequence[Trajectory]) -> int:
        return 0 if self.eye is None else sum(patches(self.model, self.eye, t.pictures) for t in trajectories)
