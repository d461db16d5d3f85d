"""The value head: a state is a conversation that ends before a reply; its value is read off the last prompt token."""

import torch
from torch import nn
from transformers import PreTrainedModel


class ValueHead(nn.Module):
    """MLP from the last hidden state of the last prompt token to a scalar, sized from the model's configuration.

    The official code uses 4096-1024-512-1 on an 11B model; here each hidden layer is a quarter and an eighth of the
    model's width, at least 64. The last layer starts at zero, so that the first values are 0.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        width = model.config.get_text_config().hidden_size
        first, second = max(64, width // 4), max(64, width // 8)
        self.layers = nn.Sequential(
            nn.Linear(width, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 1)
        )
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden: (N, H) -> values (N,)."""
        return self.layers(hidden.float())[:, 0]
